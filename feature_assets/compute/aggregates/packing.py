"""Columns of integers as bytes: for each item its cells' values, in the narrowest width that holds them all.

Invariant: equal values have equal bytes, and come back as they were; what is zero throughout takes no bytes.

A code says how an item's bytes are to be read; it is per item, so that one entity with large values does not widen the
others.

    0        nothing is stored and every value is 0
    1 to 8   that many bytes for each value, little endian, two's complement
    16 + w   the least value in 8 bytes as above, then for each value what it is above that, in w bytes (0 to 7) without
             a sign; taken where that is shorter
    64 + c   `packed_sparse` only: the values by code c; there is an identity that code 0 stands for
    128 + c  the same, but first a bit for each value, lowest bit first: whether it is not the identity. Then by code c
             those that are not; taken where that is shorter
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.stretches import Stretches
from feature_assets.errors import CodecError

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Blobs = Sequence[bytes | memoryview]

_WORD: Final = 8
OFFSET: Final = 16
EVERY: Final = 64
SOME: Final = 128


def packed_integers(values: Ints, counts: Ints) -> tuple[Codes, list[bytes]]:
    """The code and the bytes of each item: `values` stand item after item, `counts[i]` of them in item `i`."""
    codes, least, _ = _planned(values, counts)
    blobs = [b""] * len(counts)
    for code in np.unique(codes[codes > 0]).tolist():
        items = np.flatnonzero(codes == code)
        chosen = counts[items]
        part = values[np.repeat(codes == code, counts)]
        width = code % OFFSET
        if code >= OFFSET:
            part = part - np.repeat(least[items], chosen)
        raw = _narrow(part, width)
        ends = np.cumsum(chosen) * width
        cuts = zip(items.tolist(), (ends - chosen * width).tolist(), ends.tolist(), strict=True)
        for item, start, end in cuts:
            head = int(least[item]).to_bytes(_WORD, "little", signed=True) if code >= OFFSET else b""
            blobs[item] = head + raw[start:end]
    return codes, blobs


def unpacked_integers(codes: Codes, blobs: Blobs, counts: Ints) -> Ints:
    """The values of all items, one item after the other. Raises `CodecError` for what `packed_integers` never makes."""
    stretches = Stretches.of(blobs)
    require_lengths(codes, stretches.length, counts)
    if not codes.any():
        return np.zeros(int(counts.sum()), np.int64)
    width = (codes % OFFSET).astype(np.int64)
    if codes.max() < OFFSET:
        return stretches.integers(np.zeros_like(width), width, counts)
    above = codes >= OFFSET
    least = np.zeros_like(width)
    least[above] = stretches.words(stretches.start[above] + _WORD)
    found = stretches.integers(np.where(above, _WORD, 0), width, counts)
    # What is above the least has no sign.
    found &= np.repeat(np.where(above, (1 << 8 * width) - 1, -1), counts)
    found += np.repeat(least, counts)
    return found


def packed_sparse(values: Ints, identity: int, counts: Ints) -> tuple[Codes, list[bytes]]:
    """As `packed_integers`, where many values are `identity`; of an item with nothing else nothing is stored."""
    some = values != identity
    filled = present(some, counts)
    every, every_blobs = packed_integers(values, counts)
    marked, marked_blobs = packed_integers(values[some], filled)
    bits = _bits(some, counts)
    codes, blobs = np.zeros(len(counts), np.uint8), [b""] * len(counts)
    for item in np.flatnonzero(filled).tolist():
        if len(bits[item]) + len(marked_blobs[item]) < len(every_blobs[item]):
            codes[item], blobs[item] = SOME | marked[item], bits[item] + marked_blobs[item]
        else:
            codes[item], blobs[item] = EVERY | every[item], every_blobs[item]
    return codes, blobs


def unpacked_sparse(codes: Codes, blobs: Blobs, identity: int, counts: Ints) -> Ints:
    """The values of all items. Raises `CodecError` for what `packed_sparse` never makes."""
    inner, rest, some = unmarked(codes, blobs, counts)
    found = unpacked_integers(inner, rest, present(some, counts))
    return found if len(found) == len(some) else scattered(found, some, identity)


def scattered(values: Ints, some: npt.NDArray[np.bool_], identity: int) -> Ints:
    """The values where some are, and the identity elsewhere."""
    found = np.full(len(some), identity, np.int64)
    found[some] = values
    return found


def unmarked(codes: Codes, blobs: Blobs, counts: Ints) -> tuple[Codes, Stretches, npt.NDArray[np.bool_]]:
    """Codes and bytes without the marks for identities, and which values are none."""
    stretches = Stretches.of(blobs)
    mark = codes & np.uint8(EVERY | SOME)
    if len(codes) and (mark == EVERY).all():
        return codes ^ np.uint8(EVERY), stretches, np.ones(int(counts.sum()), np.bool_)
    wrong = np.flatnonzero((codes > 0) & (mark != EVERY) & (mark != SOME))
    if len(wrong):
        raise damaged(f"item {wrong[0]}: there is no code {codes[wrong[0]]}")
    some = np.repeat(mark == EVERY, counts)
    marked = np.flatnonzero(mark == SOME)
    if len(marked):
        sizes = (counts[marked] + 7) // 8
        # Bits that an item does not have are those of nobody.
        heads = Stretches(stretches.data, stretches.start[marked], np.minimum(sizes, stretches.length[marked]))
        some[np.repeat(mark == SOME, counts)] = _marked(heads, sizes, counts[marked])
        head = np.zeros(len(codes), np.int64)
        head[marked] = sizes
        stretches = stretches.beyond(head)
    return codes & np.uint8(EVERY - 1), stretches, some


def _marked(heads: Blobs, sizes: Ints, counts: Ints) -> npt.NDArray[np.bool_]:
    """The bits of items, one item after the other, without those that fill their last bytes."""
    joined = b"".join(heads)
    if len(joined) != int(sizes.sum()):
        raise damaged("an item that has not as many bits as values")
    bits = np.unpackbits(np.frombuffer(joined, np.uint8), bitorder="little").astype(np.bool_)
    found = bits[_places(sizes, counts)]
    if np.count_nonzero(found) != np.count_nonzero(bits) or not present(found, counts).all():
        raise damaged("an item with bits for no values")
    return found


def marks(some: npt.NDArray[np.bool_], counts: Ints) -> tuple[list[bytes], Ints]:
    """For each item a bit per value, and how many are set. No bytes for an item of which all are."""
    filled = present(some, counts)
    bits = _bits(some, counts)
    return [b"" if count == of else one for one, count, of in zip(bits, filled, counts, strict=True)], filled


def damaged(what: str) -> CodecError:
    """Bytes that are none of ours."""
    return CodecError(
        what, hint="the stored bytes are damaged or not ours; retire the version on this store and push it again"
    )


def _planned(values: Ints, counts: Ints) -> tuple[Codes, Ints, Ints]:
    """The code of each item, and its least and greatest value."""
    ends = np.cumsum(counts)
    filled = np.flatnonzero(counts)
    codes = np.zeros(len(counts), np.uint8)
    least, greatest = np.zeros(len(counts), np.int64), np.zeros(len(counts), np.int64)
    if not len(filled):
        return codes, least, greatest
    first = (ends - counts)[filled]
    least[filled] = np.minimum.reduceat(values, first)
    greatest[filled] = np.maximum.reduceat(values, first)
    # The sign takes a bit; of a negative value its complement is what has to fit.
    plain = _bytes_of(np.maximum(least ^ (least >> 63), greatest ^ (greatest >> 63)).astype(np.uint64) << np.uint64(1))
    above = _bytes_of(greatest.astype(np.uint64) - least.astype(np.uint64))
    codes[:] = np.maximum(plain, 1)
    codes[(least == 0) & (greatest == 0)] = 0
    shorter = (above < _WORD) & (_WORD + above * counts < codes * counts)
    codes[shorter] = OFFSET + above[shorter]
    return codes, least, greatest


def _bytes_of(numbers: npt.NDArray[np.uint64]) -> Ints:
    """How many bytes hold each number."""
    thresholds = np.uint64(1) << np.arange(0, 64, 8, dtype=np.uint64)
    return np.searchsorted(thresholds, numbers, side="right").astype(np.int64)


def _narrow(values: Ints, width: int) -> bytes:
    """The lowest `width` bytes of each value."""
    if not width or not len(values):
        return b""
    wide = np.ascontiguousarray(values, "<i8")
    return np.ndarray(len(wide), f"V{width}", wide.data, strides=(_WORD,)).tobytes()


def require_lengths(codes: Codes, lengths: Ints, counts: Ints) -> None:
    """Raises `CodecError` for codes that `packed_integers` never makes, and for as many bytes as it does not."""
    plain = codes <= _WORD
    offset = (codes >= OFFSET) & (codes < OFFSET + _WORD) & (counts > 0)
    due = codes % OFFSET * counts + np.where(plain, 0, _WORD)
    right = (lengths == due) & (plain | offset)
    if not right.all():
        item = int(np.argmin(right))
        raise damaged(f"item {item}: {lengths[item]} bytes of code {codes[item]} for {counts[item]} values")


def present(some: npt.NDArray[np.bool_], counts: Ints) -> Ints:
    """How many are true in each item."""
    if some.all():
        return counts
    running = np.append(0, np.cumsum(some))
    ends = np.cumsum(counts)
    found: Ints = running[ends] - running[ends - counts]
    return found


def _bits(some: npt.NDArray[np.bool_], counts: Ints) -> list[bytes]:
    """A bit for each value, each item's padded to whole bytes."""
    sizes = (counts + 7) // 8
    spread = np.zeros(int(sizes.sum()) * 8, np.bool_)
    spread[_places(sizes, counts)] = some
    raw = np.packbits(spread, bitorder="little").tobytes()
    ends = np.cumsum(sizes)
    return [raw[start:end] for start, end in zip((ends - sizes).tolist(), ends.tolist(), strict=True)]


def _places(sizes: Ints, counts: Ints) -> Ints:
    """The place of each value's bit among the bits of all items, which have `sizes` bytes each."""
    ahead = (np.cumsum(sizes) - sizes) * 8 - (np.cumsum(counts) - counts)
    found: Ints = np.repeat(ahead, counts) + np.arange(int(counts.sum()))
    return found
