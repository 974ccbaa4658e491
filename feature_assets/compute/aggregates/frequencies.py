"""How often each value of a column occurs, and which are the most frequent.

Invariant: a state has every value of its records, or, if they are more than `bound`, none and a mark that every state
has that it is merged into. So whether it has overflowed depends on the records alone.

A value is stored once for each item, as `ByKey` has it: tiles point to it. A state of format 1 was, as msgpack, values
ascending by their bytes and overflowed as two empty arrays:

    [[value, ...], [how often, ...]]
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import from_canonical, most_bytes
from feature_assets.compute.aggregates.entries import ITEM_BYTES, Entries
from feature_assets.compute.aggregates.keyed import ByKey
from feature_assets.compute.aggregates.objects import LONGEST
from feature_assets.compute.aggregates.sets import ascending
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished
from feature_assets.compute.aggregates.tallies import MOST, Occurrences, Tally, often
from feature_assets.definition.aggregate import Aggregate

_CELL_BYTES: Final = 2
"""How many values a cell has: at most 10,000."""
_OFTEN_BYTES: Final = 3
"""Of a number below 2**21."""
_LENGTH_BYTES: Final = 1


class Frequencies(Tally, ByKey):
    """How often each value occurs; nothing if they are more than `bound`."""

    form: ClassVar[Any] = tuple[list[msgspec.Raw], list[int]]

    def __init__(self, column: str, bound: int, value_bytes: int = LONGEST) -> None:
        super().__init__(column, (Occurrences(),), bound)
        self.name = f"frequencies({column}, {bound})"
        self._most = bound
        self._value_bytes = value_bytes + _LENGTH_BYTES
        self.max_bytes = self._item_bytes(1, bound)

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        """See `Slot`. Tiles that are `pruned` have no more different values together than one may have."""
        del endless
        return self._item_bytes(tiles, self._most if suffix else self._most * tiles)

    def _item_bytes(self, tiles: int, values: int) -> int:
        """Of an item with so many tiles and different values. Where a value is takes a sign, too."""
        entry = _OFTEN_BYTES + (values.bit_length() + 8) // 8
        return ITEM_BYTES + values * self._value_bytes + tiles * (_CELL_BYTES + self._most * entry)

    def former(self, plain: Sequence[Any]) -> Entries:
        """See `Tally`."""
        states = ascending([raw for raw, _ in plain], self._most)
        times = [one for _, counts in plain for one in counts]
        if any(len(values) != len(counts) for values, (_, counts) in zip(states, plain, strict=True)):
            raise ValueError("values and counts that are not as many")
        if not all(0 < one < MOST for one in times):
            raise ValueError("a value that occurred less than once, or more often than there can be records")
        names = tuple(sorted({value for values in states for value in values}))
        place = {name: number for number, name in enumerate(names)}
        keys = np.array([place[value] for values in states for value in values], np.int64)
        counts = np.fromiter(map(len, states), np.int64, len(states))
        return self.entries(counts, np.zeros(len(states), np.bool_), keys, np.array(times, np.int64), names)


class Ranked(Computation):
    """`top_k`: the most frequent first, of equals the one with the lesser bytes; the empty list if there is no value.

    Null, and overflow, if there are more than `bound` different ones.
    """

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        (column,) = aggregate.columns
        self._k = aggregate.k or 1
        self._dtype = columns[column]
        self.slots = (Frequencies(column, aggregate.bound or 1, most_bytes(self._dtype)),)

    def finish(self, cells: Sequence[Entries], asked: Asked) -> Finished:
        del asked
        (states,) = cells
        cell = states.cell
        # Keys ascend by the bytes of their values.
        order = np.lexsort((states.keys, -often(states), cell))
        rank = np.arange(len(order)) - (np.cumsum(states.counts) - states.counts)[cell]
        top = states.keys[order[rank < self._k]]
        ends = np.cumsum(np.minimum(states.counts, self._k))
        values = from_canonical(states.names, self._dtype).take(pa.array(top))
        mask = pa.array(states.over) if states.over.any() else None
        offsets = pa.array(np.append(0, ends), pa.int32())
        return Finished(pa.ListArray.from_arrays(offsets, values, mask=mask), states.over)
