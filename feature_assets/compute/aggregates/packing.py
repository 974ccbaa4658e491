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

from feature_assets.compute.aggregates.joined import Joined
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.errors import CodecError

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
    joined = Joined.of(blobs)
    _require_lengths(codes, joined.lengths, counts)
    kinds = list(dict.fromkeys(codes.tolist()))
    if len(kinds) == 1:
        # The common case needs no copying about.
        return _read(joined, kinds[0], counts)
    values = np.zeros(int(counts.sum()), np.int64)
    code_of = np.repeat(codes, counts)
    for code, items, part in joined.groups(np.where(codes > 0, codes.astype(np.int64), -1)):
        values[code_of == code] = _read(part, code, counts[items])
    return values


def packed_sparse(values: Ints, identity: int, counts: Ints) -> tuple[Codes, list[bytes]]:
    """As `packed_integers`, where many values are `identity`; of an item with nothing else nothing is stored."""
    some = values != identity
    present = _sums(some, counts)
    every, every_blobs = packed_integers(values, counts)
    marked, marked_blobs = packed_integers(values[some], present)
    bits = _bits(some, counts)
    codes, blobs = np.zeros(len(counts), np.uint8), [b""] * len(counts)
    for item in np.flatnonzero(present).tolist():
        if len(bits[item]) + len(marked_blobs[item]) < len(every_blobs[item]):
            codes[item], blobs[item] = SOME | marked[item], bits[item] + marked_blobs[item]
        else:
            codes[item], blobs[item] = EVERY | every[item], every_blobs[item]
    return codes, blobs


def unpacked_sparse(codes: Codes, blobs: Blobs, identity: int, counts: Ints) -> Ints:
    """The values of all items. Raises `CodecError` for what `packed_sparse` never makes."""
    inner, rest, some = unmarked(codes, blobs, counts)
    present = _sums(some, counts)
    values = np.full(int(counts.sum()), identity, np.int64)
    values[some] = unpacked_integers(inner, rest, present)
    return values


def unmarked(codes: Codes, blobs: Blobs, counts: Ints) -> tuple[Codes, Blobs, npt.NDArray[np.bool_]]:
    """Codes and bytes without the marks for identities, and which values are none."""
    mark = codes & np.uint8(EVERY | SOME)
    if len(codes) and (mark == EVERY).all():
        return codes ^ np.uint8(EVERY), blobs, np.ones(int(counts.sum()), np.bool_)
    wrong = np.flatnonzero((codes > 0) & (mark != EVERY) & (mark != SOME))
    if len(wrong):
        raise damaged(f"item {wrong[0]}: there is no code {codes[wrong[0]]}")
    some = np.repeat(mark == EVERY, counts)
    is_marked = mark == SOME
    rest = Joined.of(blobs)
    if is_marked.any():
        sizes = np.where(is_marked, (counts + 7) // 8, 0)
        if (rest.lengths < sizes).any():
            raise damaged("an item that has not as many bits as values")
        heads, rest = rest.cut(np.stack((sizes, rest.lengths - sizes), axis=1))
        some[np.repeat(is_marked, counts)] = _marked(heads.raw, sizes[is_marked], counts[is_marked])
    return codes & np.uint8(EVERY - 1), rest, some


def _marked(heads: bytes | memoryview, sizes: Ints, counts: Ints) -> npt.NDArray[np.bool_]:
    """The bits of items, one item after the other, without those that fill their last bytes."""
    bits = np.unpackbits(np.frombuffer(heads, np.uint8), bitorder="little").astype(np.bool_)
    found = bits[_places(sizes, counts)]
    if np.count_nonzero(found) != np.count_nonzero(bits) or not _sums(found, counts).all():
        raise damaged("an item with bits for no values")
    return found


def marks(some: npt.NDArray[np.bool_], counts: Ints) -> tuple[list[bytes], Ints]:
    """For each item a bit per value, and how many are set. No bytes for an item of which all are."""
    present = _sums(some, counts)
    bits = _bits(some, counts)
    return [b"" if count == of else one for one, count, of in zip(bits, present, counts, strict=True)], present


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


def _wide(raw: bytes | memoryview, width: int, *, signed: bool) -> Ints:
    """Values of `width` bytes each."""
    if width in {1, 2, 4, 8}:
        return np.frombuffer(raw, f"<{'i' if signed else 'u'}{width}").astype(np.int64)
    values = np.zeros(len(raw) // width, "<i8")
    # At the upper end of a word: moving it down again spreads the sign.
    place = _WORD - width if signed else 0
    np.ndarray(len(values), f"V{width}", values.data, place, (_WORD,))[:] = np.frombuffer(raw, f"V{width}")
    return (values >> (8 * place)).astype(np.int64)


def _read(blobs: Joined, code: int, counts: Ints) -> Ints:
    width = code % OFFSET
    if code < OFFSET:
        return _wide(blobs.raw, width, signed=True) if width else np.zeros(int(counts.sum()), np.int64)
    least: Ints = blobs.heads(_WORD).view("<i8").astype(np.int64)
    values: Ints = np.repeat(least, counts)
    if not width:
        return values
    rest = blobs.pick(np.arange(len(blobs)), np.full(len(blobs), _WORD))
    return values + _wide(rest.raw, width, signed=False)


def _require_lengths(codes: Codes, lengths: Ints, counts: Ints) -> None:
    plain = codes <= _WORD
    offset = (codes >= OFFSET) & (codes < OFFSET + _WORD) & (counts > 0)
    due = codes % OFFSET * counts + np.where(plain, 0, _WORD)
    wrong = np.flatnonzero((lengths != due) | ~(plain | offset))
    if len(wrong):
        item = int(wrong[0])
        raise damaged(f"item {item}: {lengths[item]} bytes of code {codes[item]} for {counts[item]} values")


def _sums(some: npt.NDArray[np.bool_], counts: Ints) -> Ints:
    """How many are true in each item."""
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
