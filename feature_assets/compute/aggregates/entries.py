"""Cells that are divided further: for each cell a map from keys to states of other slots.

Invariant: a cell has an entry for each key that a record of it has, by ascending keys, and the entry's states are those
of these records; or, past the bound, no entries and a mark. So a cell is a function of its records, like any other.

They are kept flat, all entries of all cells one after the other, so that merging is sorting numbers and merging inner
cells. The bytes of an item, code 1, are parts one after the other behind a head that has for each part its code (1
byte) and length (3 bytes, little endian):

    how many entries each cell has, -1 past the bound; by `packing.packed_integers`
    the keys, which are one or several parts: see `ByHop` and `ByKey`
    the cells of each inner slot, one for each entry of the item, by its own code

Code 0: no cell has an entry.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.packing import Blobs, Codes, damaged, packed_integers, unpacked_integers
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Ints, Kind, Records, Slot

Bools = npt.NDArray[np.bool_]
Part = tuple[Codes, Blobs]

_OVER: Final = -1
_HEAD: Final = 4
"""Bytes of the head for each part."""
_LARGEST: Final = 2**24
ITEM_BYTES: Final = 64
"""Of an item beside its cells: the head, and what its parts begin with."""
KEY_BYTES: Final = 4
"""Of an entry's key: a place, or the number of a hop."""


@dataclass(frozen=True, slots=True)
class Entries:
    """`counts`: of each cell, how many entries. `over`: of each cell, whether it is past the bound.

    `keys` and `inner`: of each entry. Where `names` are given they are sorted, and a key is a place among them.
    """

    counts: Ints
    over: Bools
    keys: Ints
    inner: tuple[Any, ...]
    names: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def cell(self) -> Ints:
        """The cell of each entry."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


class Divided(Slot[Entries]):
    """A slot of entries. `inner`: the slots of an entry's states; `bound`: how many entries a cell has at most."""

    kind: ClassVar[Kind] = "object"
    code: ClassVar[int] = 1
    """Of an item with entries."""

    def __init__(self, name: str, columns: tuple[str, ...], inner: tuple[Slot[Any], ...], bound: int | None) -> None:
        self.name = name
        self.columns = columns
        self.inner = inner
        self.bound = bound
        entry = KEY_BYTES + sum(slot.max_bytes for slot in inner)
        self.max_bytes = COUNT_BYTES + entry * (1 if bound is None else bound)

    @abstractmethod
    def keyed(self, records: Records) -> tuple[Ints, Ints, tuple[bytes, ...]]:
        """The rows that count, the key of each, and the names that keys are places of."""

    @abstractmethod
    def packed_keys(self, states: Entries, entries: Ints) -> list[Part]:
        """The keys of each item, `entries[i]` of them in item `i`, as parts; always as many."""

    @abstractmethod
    def unpacked_keys(self, parts: Sequence[Part], entries: Ints, cells: Ints) -> tuple[Ints, tuple[bytes, ...]]:
        """The keys again, and their names; `cells`: how many entries each cell has. Raises `CodecError`."""

    key_parts: ClassVar[int]

    def empty(self, cells: int) -> Entries:
        inner = tuple(slot.empty(0) for slot in self.inner)
        return Entries(np.zeros(cells, np.int64), np.zeros(cells, np.bool_), np.zeros(0, np.int64), inner)

    def lift(self, records: Records, cell: Ints, cells: int) -> Entries:
        rows, keys, names = self.keyed(records)
        order, entry, first = _grouped(cell[rows], keys)
        if not len(first):
            return self.empty(cells)
        sorted_rows = rows[order]
        columns = {name: records.columns[name] for name in self.columns}
        chosen = Records(columns, records.event_at, records.sequence).take(sorted_rows)
        inner = tuple(slot.lift(chosen, entry, len(first)) for slot in self.inner)
        counts = np.bincount(cell[sorted_rows[first]], minlength=cells).astype(np.int64)
        return self._bounded(Entries(counts, np.zeros(cells, np.bool_), keys[order[first]], inner, names))

    def merge(self, states: Entries, group: Ints, groups: int) -> Entries:
        over = np.zeros(groups, np.bool_)
        over[group[states.over]] = True
        group_of = group[states.cell]
        order, entry, first = _grouped(group_of, states.keys)
        chosen = order[first]
        inner = tuple(
            slot.merge(slot.take(cells, order), entry, len(first))
            for slot, cells in zip(self.inner, states.inner, strict=True)
        )
        counts = np.bincount(group_of[chosen], minlength=groups).astype(np.int64)
        return self._bounded(Entries(counts, over, states.keys[chosen], inner, states.names))

    def take(self, states: Entries, cells: Ints) -> Entries:
        counts = states.counts[cells]
        starts = (np.cumsum(states.counts) - states.counts)[cells]
        rows = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))
        inner = tuple(slot.take(each, rows) for slot, each in zip(self.inner, states.inner, strict=True))
        return Entries(counts, states.over[cells], states.keys[rows], inner, states.names)

    def concat(self, parts: Sequence[Entries]) -> Entries:
        if not parts:
            return self.empty(0)
        keys, names = [part.keys for part in parts], parts[0].names
        if any(part.names != names for part in parts):
            names = tuple(sorted(set().union(*(part.names for part in parts))))
            place = {name: number for number, name in enumerate(names)}
            keys = [np.array([place[one] for one in part.names], np.int64)[part.keys] for part in parts]
        filled = [part for part in parts if len(part.keys)] or parts[:1]
        inner = tuple(slot.concat([part.inner[at] for part in filled]) for at, slot in enumerate(self.inner))
        counts, over = np.concatenate([part.counts for part in parts]), np.concatenate([part.over for part in parts])
        return Entries(counts, over, np.concatenate(keys), inner, names)

    def pruned(self, states: Entries, counts: Ints) -> Entries:
        """Without the entries that only suffixes have which are past the bound.

        The last cell that, with those after it, has too many keys is past the bound; those before it are empty, as a
        suffix that has them has it.
        """
        if self.bound is None or not len(states):
            return states
        item = np.repeat(np.arange(len(counts)), counts)
        cell = states.cell
        # Of each key of an item the last cell that has it: a suffix from there on has one more.
        order = np.lexsort((cell, states.keys, item[cell]))
        of, key = item[cell[order]], states.keys[order]
        last = np.append((of[1:] != of[:-1]) | (key[1:] != key[:-1]), True)[: len(order)]
        fresh = np.bincount(cell[order[last]], minlength=len(states))
        ends = np.cumsum(counts)
        running = np.append(0, np.cumsum(fresh))
        behind = running[ends][item] - running[:-1]
        past = np.flatnonzero(states.over | (behind > self.bound))
        if not len(past):
            return states
        edge = np.full(len(counts), -1)
        edge[item[past]] = past
        place = np.arange(len(states))
        over = place == edge[item]
        rows = np.flatnonzero((place > edge[item])[cell])
        inner = tuple(slot.take(each, rows) for slot, each in zip(self.inner, states.inner, strict=True))
        return Entries(np.where(place > edge[item], states.counts, 0), over, states.keys[rows], inner, states.names)

    def encode(self, states: Entries, counts: Ints) -> tuple[Codes, list[bytes]]:
        entries = _sums(states.counts, counts)
        over = _sums(states.over.astype(np.int64), counts)
        codes = np.where((entries > 0) | (over > 0), self.code, 0).astype(np.uint8)
        parts: list[Part] = [packed_integers(np.where(states.over, _OVER, states.counts), counts)]
        parts += self.packed_keys(states, entries)
        parts += [slot.encode(cells, entries) for slot, cells in zip(self.inner, states.inner, strict=True)]
        blobs = [b""] * len(counts)
        for item in np.flatnonzero(codes).tolist():
            each = [(int(part[item]), raw[item]) for part, raw in parts]
            head = b"".join([bytes([code]) + len(raw).to_bytes(_HEAD - 1, "little") for code, raw in each])
            blobs[item] = b"".join([head, *(raw for _, raw in each)])
        return codes, blobs

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Entries:
        parts = self._parts(codes, blobs)
        per_cell = unpacked_integers(*parts[0], counts)
        over = per_cell == _OVER
        cells = np.where(over, 0, per_cell)
        most = _LARGEST if self.bound is None else self.bound
        # The second entry of a cell, and each after it, takes a byte at least.
        if ((cells < 0) | (cells > most)).any() or int(cells.sum()) > len(cells) + sum(map(len, blobs)):
            raise damaged(f"{self.name}: cells with {cells.min()} to {cells.max()} entries, of at most {most}")
        entries = _sums(cells, counts)
        keys, names = self.unpacked_keys(parts[1 : 1 + self.key_parts], entries, cells)
        inner = tuple(
            slot.decode(*part, entries) for slot, part in zip(self.inner, parts[1 + self.key_parts :], strict=True)
        )
        found = Entries(cells, over, keys, inner, names)
        cell = found.cell
        if ((cell[1:] == cell[:-1]) & (keys[1:] <= keys[:-1])).any():
            raise damaged(f"{self.name}: the keys of a cell do not ascend")
        return found

    def _parts(self, codes: Codes, blobs: Blobs) -> list[Part]:
        size = 1 + self.key_parts + len(self.inner)
        some = np.flatnonzero(codes)
        if ((codes > 0) & (codes != self.code)).any() or any(
            len(blob) for blob, code in zip(blobs, codes.tolist(), strict=True) if not code
        ):
            raise damaged(f"{self.name}: there is no such code")
        short = [item for item in some.tolist() if len(blobs[item]) < _HEAD * size]
        if short:
            raise damaged(f"{self.name}: item {short[0]}: {len(blobs[short[0]])} bytes")
        heads = np.frombuffer(b"".join([blobs[item][: _HEAD * size] for item in some.tolist()]), "<u4")
        heads = heads.reshape(len(some), size).astype(np.int64)
        ends = _HEAD * size + np.cumsum(heads >> 8, axis=1)
        bounds = np.concatenate([np.full((len(some), 1), _HEAD * size), ends], axis=1).tolist()
        parts: list[Part] = []
        for place in range(size):
            part = np.zeros(len(codes), np.uint8)
            part[some] = heads[:, place] & 0xFF
            raw: list[bytes | memoryview] = [b""] * len(codes)
            for item, cuts in zip(some.tolist(), bounds, strict=True):
                raw[item] = blobs[item][cuts[place] : cuts[place + 1]]
            parts.append((part, raw))
        for item, cuts in zip(some.tolist(), bounds, strict=True):
            if cuts[-1] != len(blobs[item]):
                raise damaged(f"{self.name}: item {item}: {len(blobs[item])} bytes, its head says {cuts[-1]}")
        return parts

    def _bounded(self, states: Entries) -> Entries:
        """Without the entries of cells that are past the bound."""
        over = states.over if self.bound is None else states.over | (states.counts > self.bound)
        if not (states.counts[over] > 0).any():
            return Entries(states.counts, over, states.keys, states.inner, states.names)
        rows = np.flatnonzero(~over[states.cell])
        inner = tuple(slot.take(each, rows) for slot, each in zip(self.inner, states.inner, strict=True))
        return Entries(np.where(over, 0, states.counts), over, states.keys[rows], inner, states.names)


def _grouped(cell: Ints, keys: Ints) -> tuple[Ints, Ints, Ints]:
    """The order by cell and key; of each in that order its entry's number; and the place of each entry's first."""
    order = np.lexsort((keys, cell))
    if not len(order):
        return order, order, order
    cell, keys = cell[order], keys[order]
    new = np.append(True, (cell[1:] != cell[:-1]) | (keys[1:] != keys[:-1]))
    return order, np.cumsum(new) - 1, np.flatnonzero(new)


def _sums(values: Ints, counts: Ints) -> Ints:
    """The sum of each item's values."""
    running = np.append(0, np.cumsum(values))
    ends = np.cumsum(counts)
    found: Ints = running[ends] - running[ends - counts]
    return found
