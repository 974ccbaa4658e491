"""Many blobs in one buffer: cut and picked without an object for each of them.

Invariant: it is the sequence of its blobs; that they stand one after the other in one buffer is how, not what.
Cutting and picking are Arrow's `take` of a binary array, which moves each piece with one copy.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.slot import Ints


class Joined(Sequence[bytes]):
    """Blobs of which `lengths` says how long each is, and `raw` is all of them, one after the other."""

    __slots__ = ("_starts", "lengths", "raw")

    def __init__(self, raw: bytes | memoryview, lengths: Ints) -> None:
        self.raw = raw
        self.lengths = lengths
        self._starts: Ints | None = None

    @classmethod
    def of(cls, blobs: Sequence[bytes | memoryview]) -> "Joined":
        """These blobs."""
        if isinstance(blobs, Joined):
            return blobs
        return cls(b"".join(blobs), np.fromiter(map(len, blobs), np.int64, len(blobs)))

    @classmethod
    def nothing(cls, blobs: int) -> "Joined":
        """So many blobs of no bytes."""
        return cls(b"", np.zeros(blobs, np.int64))

    @property
    def starts(self) -> Ints:
        """Where each begins."""
        if self._starts is None:
            self._starts = np.cumsum(self.lengths) - self.lengths
        return self._starts

    def pick(self, items: Ints, skip: Ints | None = None) -> "Joined":
        """Some of them, in that order; of each blob without the first `skip` bytes."""
        if skip is None:
            return Joined(_picked(self.raw, self.lengths, items), self.lengths[items])
        rest = self.lengths - skip
        # Every other piece is what is left of a blob.
        pieces = np.stack((skip, rest), axis=1)
        return Joined(_picked(self.raw, pieces.ravel(), 2 * items + 1), rest[items])

    def groups(self, keys: Ints, skip: Ints | None = None) -> Iterator[tuple[int, Ints, "Joined"]]:
        """For each key that is not negative: the key, the blobs that have it, ascending, and what is in them.

        `skip`: how many bytes of each blob are left out, at its beginning.
        """
        order = np.argsort(keys, kind="stable")
        order = order[np.searchsorted(keys[order], 0) :]
        picked = self.pick(order, skip)
        sorted_keys = keys[order]
        first = np.flatnonzero(np.append(True, sorted_keys[1:] != sorted_keys[:-1])) if len(order) else order
        places = [*np.append(0, np.cumsum(picked.lengths))[[*first.tolist(), len(order)]].tolist()]
        whole = memoryview(picked.raw)
        for number, (start, end) in enumerate(pairwise([*first.tolist(), len(order)])):
            raw = whole[places[number] : places[number + 1]]
            yield int(sorted_keys[start]), order[start:end], Joined(raw, picked.lengths[start:end])

    def cut(self, sizes: npt.NDArray[np.int64], without: Collection[int] = ()) -> list["Joined"]:
        """The parts of each: `sizes`, of shape (blobs, parts), says how long they are. Together they are the whole.

        `without`: parts that nobody needs; of these there are no bytes in what is returned.
        """
        blobs, parts = sizes.shape
        order = np.arange(blobs * parts).reshape(blobs, parts).T
        some: list[bool] = np.asarray(sizes.any(axis=0)).tolist()
        used = [part for part in range(parts) if some[part] and part not in without]
        found = [Joined.nothing(blobs)] * parts
        if len(used) == 1 and some.count(True) == 1:
            found[used[0]] = self
        elif used:
            whole = memoryview(_picked(self.raw, sizes.ravel(), order[used].ravel()))
            ends = np.cumsum(sizes[:, used].sum(axis=0)).tolist()
            for part, start, end in zip(used, [0, *ends], ends, strict=False):
                found[part] = Joined(whole[start:end], np.ascontiguousarray(sizes[:, part]))
        return found

    def heads(self, width: int, items: Ints | None = None) -> npt.NDArray[np.void]:
        """The first `width` bytes of each (or of some), which are all at least as long, as one thing each."""
        if not len(self.lengths):
            return np.empty(0, f"V{width}")
        # A view with an element at every byte.
        everywhere = np.ndarray((len(self.raw) - width + 1,), f"V{width}", self.raw, strides=(1,))
        return everywhere[self.starts if items is None else self.starts[items]]

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, item: int) -> bytes: ...
    @overload
    def __getitem__(self, item: slice) -> list[bytes]: ...
    def __getitem__(self, item: int | slice) -> bytes | list[bytes]:
        if isinstance(item, slice):
            return list(self)[item]
        start = int(self.starts[item])
        return bytes(self.raw[start : start + int(self.lengths[item])])

    def __iter__(self) -> Iterator[bytes]:
        ends = np.cumsum(self.lengths)
        raw = bytes(self.raw)
        return iter([raw[one:other] for one, other in zip((ends - self.lengths).tolist(), ends.tolist(), strict=True)])


def _picked(raw: bytes | memoryview, lengths: Ints, items: Ints) -> pa.Buffer:
    """The bytes of some pieces, of which all of `raw` consists, one after the other."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    pieces = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(raw)]
    )
    found = pieces.take(pa.array(items)).buffers()[2]
    return pa.py_buffer(b"") if found is None else found
