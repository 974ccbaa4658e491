"""Exact numbers as bytes: for each item its cells' numbers as integers of one width, over one power of 256.

Invariant: equal numbers have equal bytes, whatever their digits in memory look like; and come back as the same numbers.

    code 0   nothing is stored and every number is 0
    code 1   integers: for each cell a two's complement integer, little endian, of w bytes; w follows from the length
    code 2   first e in two bytes (two's complement, little endian), then the same: each number is its integer * 256**e

w is the least, and e the greatest, with which nothing is lost. Code 1 stands for e = 0 where e could be more; it is
taken where it is not longer. A sum of amounts in cents has two or three bytes, one of doubles of like size about nine.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.exact import BITS, MASK, canonical, concatenated
from feature_assets.compute.aggregates.packing import Blobs, Codes, damaged
from feature_assets.compute.aggregates.slot import Additive, Ints
from feature_assets.compute.aggregates.stretches import WORD, Stretches

_BYTES: Final = BITS // 8
WHOLE: Final = 1
MOVED: Final = 2
_HEAD: Final = 2
_NEAR: Final = 8
"""Digits: where all numbers of all items lie within so many, each is read with all of them."""
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
    stretches = Stretches.of(blobs)
    head, width, place = _shapes(codes, stretches, counts)
    used = width > 0
    if not used.any():
        return Additive(0, np.zeros((int(counts.sum()), 1), np.int64))
    if not used.all():
        place[~used] = place[used].min()
    base = int(place.min()) // _BYTES
    offset = place - _BYTES * base
    columns = -(-int((offset + width).max()) // _BYTES)
    if columns <= _NEAR:
        return Additive(base, _digits(stretches, _Form(head, offset, width), columns, counts))
    # Items whose numbers may be of very different sizes: each begins at a digit of its own.
    digit, byte = offset // _BYTES, offset % _BYTES
    found = _digits(stretches, _Form(head, byte, width), -(-int((byte + width).max()) // _BYTES), counts)
    values = np.zeros((len(found), columns), np.int64)
    for first in np.unique(digit).tolist():
        rows = np.repeat(digit == first, counts)
        size = min(columns - first, found.shape[1])
        values[rows, first : first + size] = found[rows, :size]
    return Additive(base, values)


@dataclass(frozen=True, slots=True)
class _Form:
    """How the numbers of each item stand: behind how many bytes, from which byte of the digits on, and how wide."""

    head: Ints
    byte: Ints
    width: Ints


def _digits(stretches: Stretches, form: _Form, size: int, counts: Ints) -> Ints:
    """The numbers as `size` digits, the last of which has the sign; above it there are none. Column after column."""
    before = np.cumsum(counts) - counts
    start = np.repeat(stretches.start + form.head - form.byte - form.width * before, counts)
    start += np.repeat(form.width, counts) * np.arange(len(start))
    digits = stretches.rows(start, _BYTES * size).view("<u4")
    end = form.byte + form.width
    # What is beside a number is left out.
    if size <= _NEAR:
        which = np.repeat(form.byte * (_BYTES * size + 1) + end, counts)
        digits &= np.take(_every_mask(size), which, axis=0)
    else:
        digits &= np.repeat(_masks(form.byte, end, size), counts, axis=0)
    columns = np.ascontiguousarray(digits.T, np.int64)
    # The highest bit counts as less than nothing.
    place = np.maximum(end - 1, 0) // _BYTES
    sign = np.where(form.width > 0, 1 << 8 * (end - _BYTES * place) - 1, 0)
    if (place == place[0]).all():
        highest, turned = columns[place[0]], np.repeat(sign, counts)
        highest ^= turned
        highest -= turned
    else:
        flat, at = columns.reshape(-1), np.repeat(place * len(start), counts) + np.arange(len(start))
        turned = np.repeat(sign, counts)
        flat[at] = (flat[at] ^ turned) - turned
    return columns.T


@lru_cache(maxsize=_NEAR)
def _every_mask(size: int) -> npt.NDArray[np.uint32]:
    """The masks of all bounds that there are, by the first and then by the second."""
    bounds = np.arange(_BYTES * size + 1)
    return _masks(np.repeat(bounds, len(bounds)), np.tile(bounds, len(bounds)), size)


def _masks(first: Ints, end: Ints, size: int) -> npt.NDArray[np.uint32]:
    """Which bits of the digits are those of a number from a byte to before another."""
    place = _BYTES * np.arange(size)
    return (_lowest(end[:, None] - place) & ~_lowest(first[:, None] - place)).astype(np.uint32)


def _lowest(number: Ints) -> Ints:
    """As many of the lowest bytes of a digit."""
    lowest: Ints = (1 << 8 * np.clip(number, 0, _BYTES)) - 1
    return lowest


def _shapes(codes: Codes, stretches: Stretches, counts: Ints) -> tuple[Ints, Ints, Ints]:
    """Of each item how many bytes come before its integers, how wide these are, and their place, in bytes."""
    moved = codes == MOVED
    head = np.where(moved, _HEAD, 0)
    if (stretches.length < head).any():
        raise damaged("an item of code 2 without a place")
    # The place is in the upper bytes of the word that ends behind it.
    place = np.where(moved, stretches.words(stretches.start + _HEAD) >> 8 * (WORD - _HEAD), 0)
    body = stretches.length - head
    width = body // np.maximum(counts, 1)
    fits = (width > 0) & (width <= _FARTHEST) & (np.abs(place) <= _FARTHEST) & (width * counts == body)
    wrong = np.where(codes == 0, body > 0, ~fits) | (codes > MOVED)
    if wrong.any():
        item = int(np.flatnonzero(wrong)[0])
        raise damaged(f"item {item}: {body[item] + head[item]} bytes of code {codes[item]} for {counts[item]} numbers")
    return head, width, place


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
