"""The bytes of many items in one buffer, of which each has a stretch: so that all are read in a few steps.

Invariant: before and behind each stretch stand `ROOM` bytes at least, whatever they are; so a word that begins before a
stretch, or ends behind it, can be read, and what is not of the stretch is taken off again.
It knows nothing of what the bytes mean; that a stretch is as long as it has to be is for its caller to see to.
"""

from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import Final, overload

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

WORD: Final = 8
ROOM: Final = 1024
"""More than the widest number has bytes."""
_MARGIN: Final = b"\0" * ROOM


class Stretches(Sequence[bytes]):
    """`start`, `length`: of each item's stretch in `data`, int64."""

    __slots__ = ("data", "length", "start")

    def __init__(self, data: bytes, start: Ints, length: Ints) -> None:
        self.data = data
        self.start = start
        self.length = length

    @classmethod
    def of(cls, blobs: Sequence[bytes | memoryview]) -> "Stretches":
        """The same blobs in one buffer."""
        if isinstance(blobs, Stretches):
            return blobs
        length = np.fromiter(map(len, blobs), np.int64, len(blobs))
        start = np.cumsum(length)
        start += ROOM - length
        return cls(b"".join((_MARGIN, *blobs, _MARGIN)), start, length)

    @classmethod
    def together(cls, parts: "Sequence[Stretches]") -> "Stretches":
        """Those of one buffer, one part after the other."""
        start, length = (np.concatenate(each) for each in zip(*((one.start, one.length) for one in parts), strict=True))
        return cls(parts[0].data, start, length)

    def __len__(self) -> int:
        """How many items."""
        return len(self.start)

    @overload
    def __getitem__(self, item: int) -> bytes: ...
    @overload
    def __getitem__(self, item: slice) -> list[bytes]: ...
    def __getitem__(self, item: int | slice) -> bytes | list[bytes]:
        if isinstance(item, slice):
            return Stretches(self.data, self.start[item], self.length[item]).blobs()
        start = int(self.start[item])
        return self.data[start : start + int(self.length[item])]

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of each item."""
        return iter(self.blobs())

    def blobs(self) -> list[bytes]:
        """The bytes of each item."""
        return list(map(self.data.__getitem__, starmap(slice, self._bounds())))

    def beyond(self, head: Ints) -> "Stretches":
        """Each without its first bytes, of which it has as many."""
        return Stretches(self.data, self.start + head, self.length - head)

    def words(self, end: Ints) -> Ints:
        """The words of 8 bytes, little endian, that end at these places in `data`."""
        found: Ints = self.rows(end - WORD, WORD).view("<i8").reshape(-1).astype(np.int64, copy=False)
        return found

    def pairs(self, end: Ints) -> Ints:
        """The words of 2 bytes that end at these places: single bytes are gathered in a fraction of the time."""
        octets = np.frombuffer(self.data, np.uint8)
        found = octets[end - 1].view(np.int8).astype(np.int64)
        found <<= 8
        found |= octets[end - 2]
        return found

    def rows(self, start: Ints, width: int) -> npt.NDArray[np.uint8]:
        """The `width` bytes, `ROOM` at most, that begin at each of these places in `data`: uint8 [places, width]."""
        every = np.ndarray((len(self.data) - width + 1,), f"V{width}", self.data, 0, (1,))
        return every[start].view(np.uint8).reshape(-1, width)

    def integers(self, head: Ints, width: Ints, counts: Ints) -> Ints:
        """Integers in two's complement, `counts` of each item, one item after the other, from the bytes behind `head`.

        `width`: how many bytes each has, from 0 (which is 0) to 8, by item.
        """
        total = int(counts.sum())
        if not total or not width.any():
            return np.zeros(total, np.int64)
        end = np.repeat(self.start + head + width * (1 + counts - np.cumsum(counts)), counts)
        end += np.repeat(width, counts) * np.arange(total)
        words, size = (self.pairs(end), 2) if width.max() <= 2 else (self.words(end), WORD)  # noqa: PLR2004 - bytes
        # The word that ends where an integer does has it in its upper bytes: moving it down again spreads the sign.
        words >>= np.repeat(8 * (size - np.maximum(width, 1)), counts)
        if not width.all():
            words[np.repeat(width == 0, counts)] = 0
        return words

    def _bounds(self) -> Iterator[tuple[int, int]]:
        return zip(self.start.tolist(), (self.start + self.length).tolist(), strict=True)
