"""Tallies: for each cell how many records there are of each key, all in a few arrays.

Invariant: that of entries; and how often a key occurs is at least once. So every step, from the bytes of an item to the
merge of its tiles, is one of whole arrays, however many cells and keys there are.

The bytes of an item, code 3, are those of entries; how often each occurs is one `varints` after the other. Codes 1 and
2 are of format 1 of rings, which kept a msgpack value for each cell; they are read, and not written any more.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.entries import Divided, Entries
from feature_assets.compute.aggregates.objects import EVERY, SOME, decoders_of, read_cells
from feature_assets.compute.aggregates.packing import Blobs, Codes, damaged
from feature_assets.compute.aggregates.slot import Additive, Ints, Records
from feature_assets.compute.aggregates.varints import packed_varints, unpacked_varints

TALLIED: Final = 3
_SPARSE: Final = 8
"""A table of all cells by all keys is made if it is at most so many times as large as what is counted."""
_LARGEST: Final = 1 << 23
"""Of such a table; beyond, sorting takes less memory."""
_TABLE: Final = 1 << 26
MOST: Final = 2**31
"""Records are fewer."""


class Occurrences(Count):
    """How often, by `varints`, code 1; never 0."""

    def encode(self, states: Additive, counts: Ints) -> tuple[Codes, list[bytes]]:
        return (counts > 0).astype(np.uint8), packed_varints(states.values[:, 0], counts)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
        values = unpacked_varints(blobs, counts)
        if (codes != (counts > 0)).any() or (values < 1).any() or int(values.max(initial=0)) >= MOST:
            raise damaged("what does not occur, or more often than there can be records")
        return Additive(0, values[:, None])


class Tally(Divided):
    """A slot of entries that are counted. `form`: what format 1 had for a cell, as msgpack has it."""

    code: ClassVar[int] = TALLIED
    since: ClassVar[int] = 2
    form: ClassVar[Any]
    _decoders: ClassVar[dict[int, "msgspec.msgpack.Decoder[Any]"]]

    def __init_subclass__(cls, **given: object) -> None:
        super().__init_subclass__(**given)
        cls._decoders = decoders_of(cls.form)

    @abstractmethod
    def former(self, plain: Sequence[Any]) -> Entries:
        """The cells of these states of `form`. Raises `ValueError` for what was never made."""

    def lift(self, records: Records, cell: Ints, cells: int) -> Entries:
        rows, keys, names = self.keyed(records)
        return self._counted(cell[rows], keys, None, np.zeros(cells, np.bool_), names)

    def merge(self, states: Entries, group: Ints, groups: int) -> Entries:
        over = np.zeros(groups, np.bool_)
        over[group[states.over]] = True
        return self._counted(np.repeat(group, states.counts), states.keys, often(states), over, states.names)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Entries:
        is_former = (codes == EVERY) | (codes == SOME)
        if not is_former.any():
            return _narrow(super().decode(codes, blobs, counts))
        new = [b"" if old else blob for blob, old in zip(blobs, is_former.tolist(), strict=True)]
        old = [blob if old else b"" for blob, old in zip(blobs, is_former.tolist(), strict=True)]
        found = _narrow(super().decode(np.where(is_former, 0, codes), new, counts))
        read = self._former(np.where(is_former, codes, 0), old, counts)
        # Each cell is of the one or of the other.
        place = np.arange(len(found)) + len(found) * np.repeat(is_former, counts)
        return self.take(self.concat([found, read]), place)

    def _former(self, codes: Codes, blobs: Blobs, counts: Ints) -> Entries:
        places, plain = read_cells(self.name, self._decoders, codes, blobs, counts)
        try:
            found = self.former(plain)
        except ValueError as error:
            raise damaged(f"{self.name}: {error}") from error
        of_cells, over = np.zeros(int(counts.sum()), np.int64), np.zeros(int(counts.sum()), np.bool_)
        of_cells[places], over[places] = found.counts, found.counts == 0
        return Entries(of_cells, over, found.keys, found.inner, found.names)

    def _counted(self, cell: Ints, keys: Ints, times: Ints | None, over: Any, names: tuple[bytes, ...]) -> Entries:  # noqa: ANN401 - bools
        """Entries of as many cells as `over` has, from some in any order; `times`: how often each, None for once."""
        if not len(keys):
            return self.entries(np.zeros(len(over), np.int64), over, keys, keys, names)
        distinct, place = _among(keys)
        size = len(distinct)
        code = cell * size + place
        if len(over) * size <= min(_SPARSE * len(keys) + _SPARSE, _LARGEST):
            # Sums of integers below 2**53 are exact.
            table = np.bincount(code, weights=times, minlength=len(over) * size)
            found = np.flatnonzero(table)
            total = table[found].astype(np.int64)
        else:
            order = np.argsort(code, kind="stable")
            code = code[order]
            first = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
            found = code[first]
            total = np.diff(np.append(first, len(code))) if times is None else np.add.reduceat(times[order], first)
        of, place = np.divmod(found, size)
        counts = np.bincount(of, minlength=len(over)).astype(np.int64)
        return self.entries(counts, over, distinct[place], total, names)

    def entries(self, counts: Ints, over: Any, keys: Ints, times: Ints, names: tuple[bytes, ...]) -> Entries:  # noqa: ANN401 - bools
        """Entries of which each occurs so often, without those of cells that are past the bound."""
        return self._bounded(_narrow(Entries(counts, over, keys, (Additive(0, times[:, None]),), names)))


def often(states: Entries) -> Ints:
    """How often each entry occurs."""
    inner: Ints = states.inner[0].values[:, 0].astype(np.int64, copy=False)
    return inner


def _narrow(states: Entries) -> Entries:
    """In half as many bytes: keys are places and records fewer than 2**31, and there may be very many entries."""
    (times,) = states.inner
    inner = (Additive(0, times.values.astype(np.int32, copy=False)),)
    return Entries(states.counts, states.over, states.keys.astype(np.int32, copy=False), inner, states.names)


def _among(keys: Ints) -> tuple[Ints, Ints]:
    """The distinct keys, ascending, and the place of each key among them."""
    least = int(keys.min())
    span = int(keys.max()) - least + 1
    if span > _TABLE:
        distinct, place = np.unique(keys, return_inverse=True)
        return distinct, place.astype(np.int64)
    present = np.zeros(span, np.bool_)
    offset = keys - least
    present[offset] = True
    distinct = np.flatnonzero(present)
    number = np.empty(span, np.int32)
    number[distinct] = np.arange(len(distinct), dtype=np.int32)
    return distinct + least, number[offset].astype(np.int64)
