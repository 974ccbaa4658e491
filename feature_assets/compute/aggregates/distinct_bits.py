"""Sets of values as bits, for columns with few different ones: a bit for each, set if the value is in the set.

Invariant: `sets` of the cells are the cells that the slot itself would have made of the same records. Merging is a
bitwise or, so that a million sets are merged in the time in which a thousand Python sets are. Bits mean something only
beside the values that they are counted by: they are never stored.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import coded
from feature_assets.compute.aggregates.slot import Ints, Kind, Records, Slot, segments

MOST: Final = 2048
"""Values: as bits they take less than a set of a few of them."""
_WORD: Final = 64
_AT_ONCE: Final = 1 << 14
Words = npt.NDArray[np.uint64]


class Bits(Slot[Words]):
    """Cells of shape (cells, words). `values`: what each bit stands for, from the lowest of the first word on."""

    kind: ClassVar[Kind] = "object"

    def __init__(self, name: str, column: str, values: Sequence[bytes]) -> None:
        self.name = f"bits({name})"
        self.columns = (column,)
        self.values = values
        self.words = max(-(-len(values) // _WORD), 1)
        self.max_bytes = 8 * self.words

    def empty(self, cells: int) -> Words:
        return np.zeros((cells, self.words), np.uint64)

    def lift(self, records: Records, cell: Ints, cells: int) -> Words:
        """The column has the number of each value, as `of` makes it."""
        found = self.empty(cells)
        column = records.columns[self.columns[0]]
        rows = np.flatnonzero(np.asarray(column.is_valid()))
        if not len(rows):
            return found
        codes = np.asarray(column.fill_null(0))[rows]
        word = cell[rows] * self.words + (codes >> 6)
        bits = np.uint64(1) << (codes & (_WORD - 1)).astype(np.uint64)
        order = np.argsort(word, kind="stable")
        of, first = segments(word[order])
        found.reshape(-1)[of] = np.bitwise_or.reduceat(bits[order], first)
        return found

    def merge(self, states: Words, group: Ints, groups: int) -> Words:
        merged = self.empty(groups)
        found, first = segments(group)
        if len(found):
            merged[found] = np.bitwise_or.reduceat(states, first, axis=0)
        return merged

    def take(self, states: Words, cells: Ints) -> Words:
        return states[cells]

    def concat(self, parts: Sequence[Words]) -> Words:
        return np.concatenate(parts) if parts else self.empty(0)

    def encode(self, states: Words, counts: Ints) -> tuple[npt.NDArray[np.uint8], list[bytes]]:
        raise NotImplementedError("bits are not stored")

    def decode(self, codes: npt.NDArray[np.uint8], blobs: Sequence[bytes | memoryview], counts: Ints) -> Words:
        raise NotImplementedError("bits are not stored")

    def sets(self, states: Words, bound: int) -> npt.NDArray[np.object_]:
        """The sets themselves: None for an empty one, the empty one for one of more than `bound`."""
        found = np.full(len(states), None, object)
        sizes = np.bitwise_count(states).sum(axis=1)
        names = np.fromiter(self.values, object, len(self.values))
        for at in np.flatnonzero(sizes > bound).tolist():
            found[at] = frozenset()
        known = np.flatnonzero((sizes > 0) & (sizes <= bound))
        for first in range(0, len(known), _AT_ONCE):
            some = known[first : first + _AT_ONCE]
            bits = np.unpackbits(
                np.ascontiguousarray(states[some]).astype("<u8").view(np.uint8), axis=1, bitorder="little"
            )
            _, code = np.nonzero(bits)
            members, end = names[code].tolist(), 0
            for at, size in zip(some.tolist(), sizes[some].tolist(), strict=True):
                start, end = end, end + size
                found[at] = frozenset(members[start:end])
        return found


def of(name: str, column: str, records: Records) -> tuple[Bits, Records] | None:
    """Bits for a column of some records, and these with the number of each value; None if there are too many."""
    values = coded(records.columns[column])
    if len(values.values) > MOST:
        return None
    numbers = pa.array(values.codes, mask=values.codes < 0)
    return Bits(name, column, values.values), Records({column: numbers}, records.event_at, records.sequence)
