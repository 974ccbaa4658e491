"""Columns of integers as bytes: for each item its cells' values, in the narrowest width that holds them all.

Invariant: equal values have equal bytes, and come back as they were; what is zero throughout takes no bytes.

A code says the width: 0 nothing is stored and every value is 0; 1, 2, 4, 8: that many bytes for each value, little
endian, two's complement. Codes are per item, so that one entity with large values does not widen the others.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.errors import CodecError

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

_WIDTHS: Final = (1, 2, 4, 8)


def packed_integers(values: Ints, counts: Ints) -> tuple[Codes, list[bytes]]:
    """The code and the bytes of each item: `values` stand item after item, `counts[i]` of them in item `i`."""
    ends = np.cumsum(counts)
    starts = ends - counts
    codes = np.zeros(len(counts), np.uint8)
    filled = np.flatnonzero(counts)
    if len(filled):
        least = np.minimum.reduceat(values, starts[filled])
        greatest = np.maximum.reduceat(values, starts[filled])
        codes[filled] = _codes(least, greatest)
    blobs = [b""] * len(counts)
    for width in _WIDTHS:
        items = np.flatnonzero(codes == width)
        if len(items):
            narrow = values.astype(f"<i{width}").tobytes()
            for item in items.tolist():
                blobs[item] = narrow[starts[item] * width : ends[item] * width]
    return codes, blobs


def unpacked_integers(codes: Codes, blobs: Sequence[bytes | memoryview], counts: Ints) -> Ints:
    """The values of all items, one item after the other. Raises `CodecError` for what `packed_integers` never makes."""
    _require_lengths(codes, blobs, counts)
    if len(codes) and (codes == codes[0]).all():
        # The common case needs no copying about.
        width = int(codes[0])
        return _read(blobs, width) if width else np.zeros(int(counts.sum()), np.int64)
    values = np.zeros(int(counts.sum()), np.int64)
    code_of = np.repeat(codes, counts)
    for width in _WIDTHS:
        items = np.flatnonzero(codes == width).tolist()
        if items:
            values[code_of == width] = _read([blobs[item] for item in items], width)
    return values


def _codes(least: Ints, greatest: Ints) -> Codes:
    codes = np.full(len(least), 8, np.uint8)
    for width in (4, 2, 1):
        bounds = np.iinfo(f"i{width}")
        codes[(least >= bounds.min) & (greatest <= bounds.max)] = width
    codes[(least == 0) & (greatest == 0)] = 0
    return codes


def _read(blobs: Sequence[bytes | memoryview], width: int) -> Ints:
    return np.frombuffer(b"".join(blobs), f"<i{width}").astype(np.int64)


def _require_lengths(codes: Codes, blobs: Sequence[bytes | memoryview], counts: Ints) -> None:
    lengths = np.fromiter(map(len, blobs), np.int64, len(blobs))
    wrong = np.flatnonzero((lengths != codes * counts) | ~np.isin(codes, (0, *_WIDTHS)))
    if len(wrong):
        item = int(wrong[0])
        raise CodecError(
            f"item {item}: {lengths[item]} bytes of code {codes[item]} for {counts[item]} values",
            hint="the stored bytes are damaged or not ours; retire the version on this store and push it again",
        )
