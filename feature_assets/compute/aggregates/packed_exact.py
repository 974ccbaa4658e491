"""Exact numbers as bytes: for each item its cells' numbers as integers of one width, over one power of 256.

Invariant: equal numbers have equal bytes, whatever their digits in memory look like; and come back as the same numbers.

    code 0   nothing is stored and every number is 0
    code 1   integers: for each cell a two's complement integer, little endian, of w bytes; w follows from the length
    code 2   first e in two bytes (two's complement, little endian), then the same: each number is its integer * 256**e

w is the least, and e the greatest, with which nothing is lost. Code 1 stands for e = 0 where e could be more; it is
taken where it is not longer. A sum of amounts in cents has two or three bytes, one of doubles of like size about nine.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.exact import BITS, MASK, canonical, concatenated
from feature_assets.compute.aggregates.joined import Joined
from feature_assets.compute.aggregates.packing import Blobs, Codes, damaged
from feature_assets.compute.aggregates.slot import Additive, Ints

_BYTES: Final = BITS // 8
WHOLE: Final = 1
MOVED: Final = 2
_HEAD: Final = 2
_FARTHEST: Final = 600
"""Bytes: squares of doubles lie between 256**-269 and 256**256, and 2**31 of them are not much more."""


def packed_numbers(number: Additive, counts: Ints) -> tuple[Codes, list[bytes]]:
    """The code and the bytes of each item: cells stand item after item, `counts[i]` of them in item `i`."""
    codes, blobs = np.zeros(len(counts), np.uint8), [b""] * len(counts)
    if number.base > 0:
        number = concatenated([Additive(0, np.zeros((1, 1), np.int64)), number])
        number = Additive(0, number.values[1:])
    digits = canonical(number)
    low, end = _extents(digits.values, counts)
    place = low + _BYTES * digits.base
    used = end > low
    whole = used & (place >= 0) & ((end + _BYTES * digits.base) * counts <= _HEAD + (end - low) * counts)
    codes[used] = MOVED
    codes[whole] = WHOLE
    low[whole] = -_BYTES * digits.base
    raw = np.ascontiguousarray(digits.values & MASK, "<u4")
    kinds = np.stack([codes, low, end], axis=1)
    for code, first, last in np.unique(kinds[used], axis=0).tolist():
        chosen = (kinds == (code, first, last)).all(axis=1)
        width = last - first
        part = raw[np.repeat(chosen, counts)] if not chosen.all() else raw
        stride = (part.shape[1] * _BYTES,)
        joined = np.ndarray(len(part), f"V{width}", part.data, first, stride).tobytes()
        head = b"" if code == WHOLE else (first + _BYTES * digits.base).to_bytes(_HEAD, "little", signed=True)
        start = 0
        for item in np.flatnonzero(chosen).tolist():
            size = int(counts[item]) * width
            blobs[item] = head + joined[start : start + size]
            start += size
    return codes, blobs


def unpacked_numbers(codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
    """The numbers of all items, one item after the other. Raises `CodecError` for what `packed_numbers` never makes."""
    joined = Joined.of(blobs)
    width, place = _shapes(codes, joined, counts)
    used = (codes > 0) & (counts > 0)
    if not used.any():
        return Additive(0, np.zeros((int(counts.sum()), 1), np.int64))
    base = int(place[used].min()) // _BYTES
    columns = -(-int((place + width)[used].max()) // _BYTES) - base
    kinds = np.where(used, (place - _BYTES * base) * 2 * _FARTHEST + width, -1)
    narrow = np.zeros((int(counts.sum()), columns), "<i4")
    # A row is one thing to numpy, which so moves it as a whole.
    rows, kind_of = narrow.view(f"V{_BYTES * columns}").reshape(-1), np.repeat(kinds, counts)
    for kind, _, part in joined.groups(kinds, np.where(codes == MOVED, _HEAD, 0)):
        rows[kind_of == kind] = _digits(part.raw, kind, columns).view(rows.dtype).reshape(-1)
    values = narrow.view("<u4").astype(np.int64)
    values[:, -1] = narrow[:, -1]
    return Additive(base, values)


def _digits(raw: bytes | memoryview, kind: int, columns: int) -> npt.NDArray[np.int32]:
    """Integers of one kind as rows of digits in two's complement."""
    offset, width = divmod(kind, 2 * _FARTHEST)
    digits = np.zeros((len(raw) // width, columns), "<i4")
    stride = (columns * _BYTES,)
    np.ndarray(len(digits), f"V{width}", digits.data, offset, stride)[:] = np.frombuffer(raw, f"V{width}")
    top = (offset + width - 1) // _BYTES
    # The sign is in the highest byte: up to the end of the digit and down again spreads it over the digit.
    up = BITS - 8 * (offset + width - _BYTES * top)
    digits[:, top] = digits[:, top] << up >> up
    digits[:, top + 1 :] = (digits[:, top] >> (BITS - 1))[:, None]
    return digits


def _shapes(codes: Codes, blobs: Joined, counts: Ints) -> tuple[Ints, Ints]:
    """The width of each item's integers and their place, in bytes."""
    lengths = blobs.lengths
    place = np.zeros(len(codes), np.int64)
    moved = codes == MOVED
    if (lengths[moved] < _HEAD).any():
        raise damaged("an item of code 2 without a place")
    if moved.any():
        place[moved] = blobs.heads(_HEAD, np.flatnonzero(moved)).view("<i2")
    body = lengths - np.where(moved, _HEAD, 0)
    width = body // np.maximum(counts, 1)
    fits = (width > 0) & (width <= _FARTHEST) & (np.abs(place) <= _FARTHEST) & (width * counts == body)
    wrong = np.flatnonzero(np.where(codes == 0, lengths > 0, ~fits) | (codes > MOVED))
    if len(wrong):
        item = int(wrong[0])
        raise damaged(f"item {item}: {lengths[item]} bytes of code {codes[item]} for {counts[item]} numbers")
    return width, place


def _extents(digits: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """The bytes that each item's numbers begin at, and end before, from the lowest; equal where all are 0."""
    low, end = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
    filled = np.flatnonzero(counts)
    if not len(filled):
        return low, end
    first = (np.cumsum(counts) - counts)[filled]
    union = np.bitwise_or.reduceat(digits, first, axis=0) & MASK
    # In two's complement a sign repeats upwards: what differs from it has to be kept, and one bit of it.
    differing = np.bitwise_or.reduceat((digits ^ (digits[:, -1:] >> 63)) & MASK, first, axis=0)
    size = differing.shape[1]
    lowest = np.argmax(union != 0, axis=1)
    row = np.arange(len(filled))
    digit = union[row, lowest]
    low[filled] = _BYTES * lowest + _trailing(digit)
    highest = size - 1 - np.argmax(differing[:, ::-1] != 0, axis=1)
    # Where nothing differs (only 0 and -1) argmax points at the highest digit, whose bits are none.
    bits = np.where(differing.any(axis=1), BITS * highest, 0) + np.frexp(differing[row, highest].astype(np.float64))[1]
    end[filled] = bits // 8 + 1
    nothing = filled[~union.any(axis=1)]
    low[nothing] = end[nothing] = 0
    return low, end


def _trailing(digits: Ints) -> Ints:
    """How many of the lowest bytes of each digit are 0; 0 for 0."""
    zeros = np.zeros(len(digits), np.int64)
    for place in (1, 2, 3):
        zeros += (digits & (256**place - 1) == 0) & (digits != 0)
    return zeros
