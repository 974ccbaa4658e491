"""The first and the last: of a column's values, and of its different values.

The order is (event_at, sequence, bytes of the value), so that it is one whatever order the records come in.

Invariant: a state holds the records that win in it, and no other; records that cannot win are never kept.

An entry is a record's `event_at` (int64 microseconds), its `sequence` and the bytes of its value. A state as msgpack:

    last, first                  [event_at, sequence, value]
    last_k, last_distinct_k      [[event_at, ...], [sequence, ...], [value, ...]]: up to k entries, newest first; of the
                                 times the first is as it is, each later one how long before the one ahead of it
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from operator import sub
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import Coded, coded, from_canonical, most_bytes
from feature_assets.compute.aggregates.objects import LONGEST, Objects, ValueSlot, lists_of, of_items, put, slices
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, segments
from feature_assets.compute.ordering import by_key_and_time
from feature_assets.definition.aggregate import Aggregate

Entry = tuple[int, int, bytes]

_RAW: Final = msgspec.Raw
_WHOLE_BYTES: Final = 9
"""Of any int64."""
_REPEATED: Final = 2
"""Entries of rows that come so often are made once."""


class One(ValueSlot[Entry]):
    """The last or the first record that has a value."""

    form = tuple[int, int, msgspec.Raw]

    def __init__(self, column: str, *, latest: bool, value_bytes: int = LONGEST) -> None:
        super().__init__(f"{'last' if latest else 'first'}({column})", column, 1 + 2 * _WHOLE_BYTES + value_bytes)
        self._latest = latest
        self.prunes = latest
        self.newest = 1 if latest else None

    def lift(self, records: Records, cell: Ints, cells: int) -> Objects:
        return self.lift_rows(records, np.arange(len(records)), cell, cells)

    def lift_rows(self, records: Records, rows: Ints, cell: Ints, cells: int) -> Objects:
        states = self.empty(cells)
        values, rows, cell = _ordered(self, records, rows, cell)
        found, first = segments(cell)
        winners = np.append(first, len(rows))[1:] - 1 if self._latest else first
        put(states, found, _entries(records, values, rows[winners]))
        return states

    def merged(self, several: Iterable[Sequence[Entry]]) -> Iterable[Entry]:
        return map(max, several) if self._latest else map(min, several)

    def plain(self, states: Sequence[Entry]) -> Iterable[object]:
        return [(event_at, sequence, _RAW(value)) for event_at, sequence, value in states]

    def restored(self, plain: Sequence[Any]) -> Iterable[Entry]:
        return [(event_at, sequence, bytes(value)) for event_at, sequence, value in plain]

    def pruned(self, states: Objects, counts: Ints) -> Objects:
        """Of the last, only the newest cell of an item: whatever suffix has a record has that one."""
        if not self._latest:
            return states
        kept = states.copy()
        for places in of_items(states, counts):
            kept[places[:-1]] = None
        return kept


class Latest(ValueSlot[tuple[Entry, ...]]):
    """The last k records that have a value, newest first; or the last k different values, each with its last record."""

    form = tuple[list[int], list[int], list[msgspec.Raw]]
    state_bytes = 10
    prunes = True

    def __init__(self, column: str, k: int, *, distinct: bool, value_bytes: int = LONGEST) -> None:
        name = f"{'last_distinct_k' if distinct else 'last_k'}({column}, {k})"
        super().__init__(name, column, self.state_bytes + k * (2 * _WHOLE_BYTES + value_bytes))
        self._k = k
        self._distinct = distinct
        self.newest = None if distinct else k

    def lift(self, records: Records, cell: Ints, cells: int) -> Objects:
        return self.lift_rows(records, np.arange(len(records)), cell, cells)

    def lift_rows(self, records: Records, rows: Ints, cell: Ints, cells: int) -> Objects:
        states = self.empty(cells)
        values, rows, cell = _ordered(self, records, rows, cell)
        if self._distinct and len(rows):
            place = cell * len(values.values) + values.codes[rows]
            _, from_behind = np.unique(place[::-1], return_index=True)
            latest = np.sort(len(rows) - 1 - from_behind)
            rows, cell = rows[latest], cell[latest]
        found, first = segments(cell)
        every = np.diff(np.append(first, len(rows)))
        late = np.repeat(first + every, every) - np.arange(len(rows)) <= self._k
        size = np.minimum(every, self._k)
        # Newest first: the whole is turned round, and with it the cells' bounds.
        entries = _entries(records, values, rows[late][::-1])
        begin = len(entries) - np.cumsum(size)
        put(states, found, (tuple(entries[bound]) for bound in slices(begin, begin + size)))
        return states

    def merged(self, several: Iterable[Sequence[tuple[Entry, ...]]]) -> Iterable[tuple[Entry, ...]]:
        return map(self._of, several)

    def plain(self, states: Sequence[tuple[Entry, ...]]) -> Iterable[object]:
        for state in states:
            times, sequences, values = zip(*state, strict=True)
            yield (times[0], *(ahead - time for ahead, time in pairwise(times))), sequences, list(map(_RAW, values))

    def restored(self, plain: Sequence[Any]) -> Iterable[tuple[Entry, ...]]:
        for times, sequences, values in plain:
            if not 0 < len(times) <= self._k:
                raise ValueError(f"{len(times)} entries, of at most {self._k}")
            entries = list(zip(accumulate(times, sub), sequences, map(bytes, values), strict=True))
            if entries != sorted(entries, reverse=True):
                raise ValueError("entries that are not newest first")
            if self._distinct and len({entry[2] for entry in entries}) < len(entries):
                raise ValueError("two entries of one value")
            yield tuple(entries)

    def pruned(self, states: Objects, counts: Ints) -> Objects:
        """Of the entries of an item only those that win among all of it: in a suffix that has them they win, too."""
        kept = states.copy()
        for places in of_items(states, counts):
            # Later cells hold later records, so the winners are the first k that are met from the end.
            left, seen = self._k, set[bytes]()
            for at in reversed(range(len(places))):
                entries = [entry for entry in states[places[at]] if entry[2] not in seen][:left]
                kept[places[at]] = tuple(entries) or None
                left -= len(entries)
                if not left:
                    kept[places[:at]] = None
                    break
                if self._distinct:
                    seen.update(entry[2] for entry in entries)
        return kept

    def _of(self, several: Sequence[tuple[Entry, ...]]) -> tuple[Entry, ...]:
        if not self._distinct:
            return tuple(sorted(chain.from_iterable(several), reverse=True)[: self._k])
        latest: dict[bytes, Entry] = {}
        for entry in sorted(chain.from_iterable(several), reverse=True):
            latest.setdefault(entry[2], entry)
        return tuple(latest.values())[: self._k]


class Ended(Computation):
    """`last`, `first`: null if there is no record with a value."""

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        (column,) = aggregate.columns
        self._dtype = columns[column]
        latest = aggregate.function == "last"
        self.slots = (One(column, latest=latest, value_bytes=most_bytes(self._dtype)),)

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        (states,) = cells
        values = from_canonical([None if state is None else state[2] for state in states.tolist()], self._dtype)
        return Finished(values, np.zeros(len(asked.as_of), np.bool_))


class Listed(Computation):
    """`last_k`, `last_distinct_k`: newest first; the empty list if there is no record with a value."""

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        (column,) = aggregate.columns
        self._dtype = columns[column]
        distinct, each = aggregate.function == "last_distinct_k", most_bytes(self._dtype)
        self.slots = (Latest(column, aggregate.k or 1, distinct=distinct, value_bytes=each),)

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        (states,) = cells
        overflow = np.zeros(len(asked.as_of), np.bool_)
        values = [[entry[2] for entry in state or ()] for state in states.tolist()]
        return Finished(lists_of(values, self._dtype, overflow), overflow)


def _ordered(slot: ValueSlot[Any], records: Records, rows: Ints, cell: Ints) -> tuple[Coded, Ints, Ints]:
    """The column's values; those of `rows` that have one, in the order of records cell by cell; and their cells."""
    values = coded(records.columns[slot.columns[0]])
    having = values.codes[rows] >= 0
    if not having.all():
        rows, cell = rows[having], cell[having]
    keys = records.sequence[rows], records.event_at[rows], cell
    if _strictly_ascends(keys):
        return values, rows, cell
    order = by_key_and_time(cell, keys[1])
    order = np.arange(len(rows)) if order is None else order
    tied = _equals_previous([key[order] for key in keys[1:]])
    if tied.any():
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        some = order[places]
        order[places] = some[np.lexsort([key[some] for key in keys])]
        equal = _equals_previous([key[order] for key in keys])
        if equal.any():
            ranks = _ranks(values, values.codes[rows[order[np.append(equal, False) | np.append(False, equal)]]])
            order[places] = some[np.lexsort([ranks[values.codes[rows[some]]], *(key[some] for key in keys)])]
    return values, rows[order], cell[order]


def _strictly_ascends(keys: Sequence[Ints]) -> bool:
    """Whether rows ascend by the last of the keys, then the one before it, and so on, with no two equal."""
    ascends = np.zeros(max(len(keys[0]) - 1, 0), np.bool_)
    for key in keys:
        ascends = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & ascends)
    return bool(ascends.all())


def _equals_previous(keys: Sequence[Ints]) -> npt.NDArray[np.bool_]:
    """For each row but the first."""
    equal: npt.NDArray[np.bool_] = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return equal


def _ranks(values: Coded, codes: Ints) -> Ints:
    """For each code of `codes`, where its value comes in the order of bytes; for others something."""
    ranks = np.zeros(len(values.values), np.int64)
    order = sorted(np.unique(codes).tolist(), key=values.values.__getitem__)
    ranks[order] = np.arange(len(order))
    return ranks


def _entries(records: Records, values: Coded, rows: Ints) -> list[Entry]:
    """Of each row its entry; of one that comes again the same."""
    used = np.zeros(len(records), np.bool_)
    used[rows] = True
    distinct = np.flatnonzero(used)
    if _REPEATED * len(distinct) > len(rows):
        return _made(records, values, rows)
    made = np.fromiter(_made(records, values, distinct), object, len(distinct))
    found: list[Entry] = made[(np.cumsum(used) - 1)[rows]].tolist()
    return found


def _made(records: Records, values: Coded, rows: Ints) -> list[Entry]:
    found = [values.values[code] for code in values.codes[rows].tolist()]
    return list(zip(records.event_at[rows].tolist(), records.sequence[rows].tolist(), found, strict=True))
