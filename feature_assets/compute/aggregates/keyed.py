"""Aggregates that are kept apart by a column: a map from its values to the aggregate over the records that have them.

Invariant: a map has an entry for each value of that column among the records, in the order of the values' canonical
bytes, and the entry is what the aggregate alone gives for these records. A record whose value is null is in none. Past
the bound of different values there is no map at all: null, with `overflow`; as if one of the entries overflows.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import coded, from_canonical
from feature_assets.compute.aggregates.entries import ITEM_BYTES, Divided, Entries, Part
from feature_assets.compute.aggregates.objects import LONGEST
from feature_assets.compute.aggregates.packing import damaged, packed_integers, unpacked_integers
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, Slot


class ByKey(Divided):
    """For each value of a column the states of other slots.

    The keys' parts: how many different ones the item has, the length of each, their bytes one after the other by
    ascending bytes (code 0), and for each entry the place of its key among these; the numbers by
    `packing.packed_integers`.
    """

    key_parts: ClassVar[int] = 4

    def __init__(self, by: str, inner: tuple[Slot[Any], ...], bound: int) -> None:
        names = ", ".join(slot.name for slot in inner)
        columns = tuple(dict.fromkeys([by, *(column for slot in inner for column in slot.columns)]))
        super().__init__(f"by({by}, {bound}, {names})", columns, inner, bound)
        self.by = by

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        """See `Slot`. An item is taken to have no more different keys than one cell may: a window of more has none."""
        del suffix, endless
        return self.max_bytes * tiles + (LONGEST + 1) * (self.bound or 1) + ITEM_BYTES

    def keyed(self, records: Records) -> tuple[Ints, Ints, tuple[bytes, ...]]:
        found = coded(records.columns[self.by])
        names = tuple(sorted(found.values))
        place = {name: number for number, name in enumerate(names)}
        places = np.array([place[name] for name in found.values], np.int64)
        rows = np.flatnonzero(found.codes >= 0)
        return rows, places[found.codes[rows]], names

    def packed_keys(self, states: Entries, entries: Ints) -> list[Part]:
        size = max(len(states.names), 1)
        item = np.repeat(np.arange(len(entries)), entries)
        distinct, place = np.unique(item * size + states.keys, return_inverse=True)
        known = np.bincount(distinct // size, minlength=len(entries)).astype(np.int64)
        ends = np.cumsum(known)
        names = [states.names[name] for name in (distinct % size).tolist()]
        lengths = np.fromiter(map(len, names), np.int64, len(names))
        cuts = zip((ends - known).tolist(), ends.tolist(), strict=True)
        joined = [b"".join(names[start:end]) for start, end in cuts]
        return [
            packed_integers(known, np.ones(len(entries), np.int64)),
            packed_integers(lengths, known),
            (np.zeros(len(entries), np.uint8), joined),
            packed_integers(place - (ends - known)[item], entries),
        ]

    def unpacked_keys(self, parts: Sequence[Part], entries: Ints, cells: Ints) -> tuple[Ints, tuple[bytes, ...]]:
        del cells
        known = unpacked_integers(*parts[0], np.ones(len(entries), np.int64))
        if ((known < 0) | (known > entries)).any() or parts[2][0].any():
            raise damaged(f"{self.name}: more different keys than entries")
        lengths = unpacked_integers(*parts[1], known)
        place = unpacked_integers(*parts[3], entries)
        item = np.repeat(np.arange(len(entries)), entries)
        if (lengths <= 0).any() or ((place < 0) | (place >= known[item])).any():
            raise damaged(f"{self.name}: a key that is none")
        joined = b"".join(parts[2][1])
        ends = np.cumsum(lengths)
        if (ends[-1] if len(ends) else 0) != len(joined):
            raise damaged(f"{self.name}: keys of {lengths.sum()} bytes in {len(joined)}")
        each = [joined[start:end] for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
        names = tuple(sorted(set(each)))
        number = {name: at for at, name in enumerate(names)}
        numbers = np.array([number[name] for name in each], np.int64)
        return numbers[(np.cumsum(known) - known)[item] + place], names


class Keyed(Computation):
    """`by=`: a map; the empty one if there is no record. `inner`: how the aggregate alone is computed."""

    def __init__(self, inner: Computation, by: str, bound: int, dtype: pa.DataType) -> None:
        """`dtype`: the type of the map."""
        self._inner = inner
        self._dtype = dtype
        self.slots = (ByKey(by, inner.slots, bound),)
        self.error_bound = inner.error_bound
        self.is_of_any_window = inner.is_of_any_window

    def finish(self, cells: Sequence[Entries], asked: Asked) -> Finished:
        (states,) = cells
        cell = states.cell
        found = self._inner.finish(states.inner, Asked(asked.as_of[cell], asked.start[cell]))
        over = states.over.copy()
        over[cell[found.overflow]] = True
        names = from_canonical(states.names, self._dtype.key_type)
        offsets = pa.array(np.append(0, np.cumsum(states.counts)), pa.int32())
        mask = pa.array(over) if over.any() else None
        keys, values = names.take(pa.array(states.keys)), found.values
        return Finished(pa.MapArray.from_arrays(offsets, keys, values, type=self._dtype, mask=mask), over)
