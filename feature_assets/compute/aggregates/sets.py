"""Different values, counted exactly.

They are bounded. Invariant: a state of more than `bound` different values is *overflowed* and holds none of them; it
makes every state that it is merged into overflowed. So whether it is depends on the records alone.

A state as msgpack; values ascend by their bytes; overflowed is empty: [value, ...].
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates import distinct_bits
from feature_assets.compute.aggregates.canonical import most_bytes
from feature_assets.compute.aggregates.distinct_bits import Bits, Words
from feature_assets.compute.aggregates.objects import LONGEST, Objects, ValueSlot, of_items, put, slices
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, segments
from feature_assets.definition.aggregate import Aggregate

Values = frozenset[bytes]

_RAW: Final = msgspec.Raw
_OVERFLOWED: Final[Values] = frozenset()


class Distinct(ValueSlot[Values]):
    """The different values; none of them if they are more than `bound`."""

    form = list[msgspec.Raw]

    prunes = True

    def __init__(self, column: str, bound: int, value_bytes: int = LONGEST) -> None:
        super().__init__(f"distinct({column}, {bound})", column, self.state_bytes + bound * value_bytes)
        self._bound = bound

    def lift(self, records: Records, cell: Ints, cells: int) -> Objects:
        states = self.empty(cells)
        found, values, _, bounds = _counted(self, records, cell)
        put(states, found, (self._bounded(values[bound]) for bound in bounds))
        return states

    def as_bits(self, records: Records) -> tuple[Bits, Records] | None:
        """The same of some records in another form, where that is less; see `sets_of`."""
        return distinct_bits.of(self.name, self.columns[0], records)

    def sets_of(self, bits: Bits, states: Words) -> Objects:
        """The cells that this slot has for those of `as_bits`."""
        return bits.sets(states, self._bound)

    def merged(self, several: Iterable[Sequence[Values]]) -> Iterable[Values]:
        for cells in several:
            if not all(cells):
                yield _OVERFLOWED
                continue
            # The largest is copied, which is less than to put its values into an empty one.
            largest = max(cells, key=len)
            yield self._bounded(largest.union(*cells))

    def plain(self, states: Sequence[Values]) -> Iterable[object]:
        return (list(map(_RAW, sorted(state))) for state in states)

    def restored(self, plain: Sequence[Any]) -> Iterable[Values]:
        return map(frozenset, ascending(plain, self._bound))

    def pruned(self, states: Objects, counts: Ints) -> Objects:
        """Of an item each value only in the last cell that has it.

        The last cell that, with those after it, has too many is overflowed; those before it are empty, as a suffix that
        has them has it.
        """
        kept = states.copy()
        for places in of_items(states, counts):
            seen: set[bytes] = set()
            for at in reversed(range(len(places))):
                state = states[places[at]]
                fresh = state - seen
                seen |= fresh
                if not state or len(seen) > self._bound:
                    kept[places[at]] = _OVERFLOWED
                    kept[places[:at]] = None
                    break
                if len(fresh) < len(state):
                    kept[places[at]] = fresh or None
        return kept

    def _bounded(self, values: Iterable[bytes]) -> Values:
        found = frozenset(values)
        return found if len(found) <= self._bound else _OVERFLOWED


class DistinctCounted(Computation):
    """`count_distinct`: 0 if there is no value; null, and overflow, if there are more than `bound`."""

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        (column,) = aggregate.columns
        self.slots = (Distinct(column, aggregate.bound or 1, most_bytes(columns[column])),)

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        states = cells[0].tolist()
        counts = np.fromiter((0 if state is None else len(state) or -1 for state in states), np.int64, len(asked.as_of))
        return Finished(pa.array(counts, mask=counts < 0), counts < 0)


def _counted(
    slot: ValueSlot[Any], records: Records, cell: Ints
) -> tuple[Ints, list[bytes], list[int], Iterable[slice]]:
    """The cells that have values; the different values of each, cell after cell; how often; where each cell's are."""
    values, rows, cell = slot.valid(records, cell)
    size = max(len(values.values), 1)
    pairs, often = np.unique(cell * size + values.codes[rows], return_counts=True)
    found, first = segments(pairs // size)
    of_pairs = [values.values[code] for code in (pairs % size).tolist()]
    return found, of_pairs, often.tolist(), slices(first, np.append(first, len(pairs))[1:])


def ascending(raw: Sequence[Sequence[msgspec.Raw]], bound: int) -> list[list[bytes]]:
    """The values of each state. Raises `ValueError` where they do not ascend, or are more than `bound`."""
    flat = list(map(bytes, chain.from_iterable(raw)))
    ends = list(accumulate(map(len, raw)))
    found = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for values in found:
        if len(values) > 1 and (len(values) > bound or values != sorted(set(values))):
            raise ValueError(f"{len(values)} values, of at most {bound}, or that do not ascend")
    return found
