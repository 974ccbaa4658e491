"""Small numbers as bytes, each in as few as it needs: LEB128, as in DWARF and Protocol Buffers.

Seven bits a byte, the lowest first; the highest bit of a byte says that another one follows. One large number among
many small ones then costs itself, and not a wider column.

Invariant: a number has one form, the shortest; numbers come back as they were, and bytes that are none are refused.
"""

from itertools import pairwise
from typing import Final

import numpy as np

from feature_assets.compute.aggregates.packing import Blobs, damaged
from feature_assets.compute.aggregates.slot import Ints

_BITS: Final = 7
_MORE: Final = 1 << _BITS
_LONGEST: Final = 9
"""Bytes of a number below 2**63."""


def packed_varints(values: Ints, counts: Ints) -> list[bytes]:
    """The bytes of each item: `values`, none negative, stand item after item, `counts[i]` of them in item `i`."""
    values = values.astype(np.int64, copy=False)
    size = np.ones(len(values), np.int64)
    for place in range(1, _LONGEST):
        some = values >> (_BITS * place) > 0
        if not some.any():
            break
        size += some
    ends = np.cumsum(size)
    raw = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    start = ends - size
    for place in range(int(size.max(initial=0))):
        mine = np.flatnonzero(size > place)
        more = np.where(size[mine] > place + 1, _MORE, 0)
        raw[start[mine] + place] = values[mine] >> (_BITS * place) & (_MORE - 1) | more
    cuts = np.append(0, ends)[np.append(0, np.cumsum(counts))].tolist()
    joined = raw.tobytes()
    return [joined[one:other] for one, other in pairwise(cuts)]


def unpacked_varints(blobs: Blobs, counts: Ints) -> Ints:
    """The numbers of all items, `counts[i]` of them in item `i`. Raises `CodecError` for what is never packed."""
    raw = np.frombuffer(b"".join(blobs), np.uint8)
    lengths = np.fromiter(map(len, blobs), np.int64, len(blobs))
    is_last = raw < _MORE
    if is_last.all():
        _require(bool((lengths == counts).all()))
        plain: Ints = raw.astype(np.int64)
        return plain
    ends = np.flatnonzero(is_last)
    # Each item ends where a number does, and has as many as it should.
    bounds = np.cumsum(lengths)
    known = np.searchsorted(ends, bounds)
    _require(bool((np.diff(known, prepend=0) == counts).all()) and len(ends) == int(known[-1]))
    _require(bool(is_last[bounds[lengths > 0] - 1].all()))
    start = np.append(0, ends[:-1] + 1)
    size = ends - start + 1
    _require(int(size.max()) <= _LONGEST and not (raw[ends[size > 1]] == 0).any())
    values: Ints = raw[start].astype(np.int64) & (_MORE - 1)
    for place in range(1, int(size.max())):
        mine = np.flatnonzero(size > place)
        values[mine] |= (raw[start[mine] + place].astype(np.int64) & (_MORE - 1)) << (_BITS * place)
    return values


def _require(is_whole: bool) -> None:  # noqa: FBT001 - what is asserted
    if not is_whole:
        raise damaged("numbers that are not as many as they should be, or that are none")
