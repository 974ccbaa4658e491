"""The head of a ring's bytes and where its tiles start, read as documented, value by value. Imports nothing of ours."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
    """`starts`: (hop, start) of each tile, in order; `blobs`: the code and the bytes of each slot's cells."""

    format: int
    fingerprint: bytes
    rolled_at: int
    starts: list[tuple[int, int]]
    blobs: list[tuple[int, bytes]]


def read(blob: bytes, hops: Sequence[int], slots: int, all_time: int) -> Head:
    """`hops`: from the finest; `all_time`: the one that is a tile for everything."""
    body, check = blob[:-4], int.from_bytes(blob[-4:], "little")
    assert zlib.crc32(body) == check
    form = f"<B4sq{len(hops)}H2B{slots}B{slots}I"
    kind, fingerprint, rolled_at, *rest = struct.unpack_from(form, body)
    counts, codes, lengths = rest[: len(hops)], rest[len(hops) :][: 2 + slots], rest[-slots:]
    at = struct.calcsize(form)
    ago, at = integers(body, at, codes[0], len(hops))
    left_out, at = integers(body, at, codes[1], sum(count - 1 for count in counts if count))
    starts, gaps = [], iter(left_out)
    for hop, count, back in zip(reversed(hops), reversed(counts), ago, strict=True):
        step = rolled_at // hop - back
        for tile in range(count):
            step += next(gaps) + 1 if tile else 0
            starts.append((hop, -(2**62) if hop == all_time else step * hop))
    blobs = []
    for code, length in zip(codes[2:], lengths, strict=True):
        blobs.append((code, body[at : at + length]))
        at += length
    assert at == len(body)
    return Head(kind, fingerprint, rolled_at, starts, blobs)


def integers(body: bytes, at: int, code: int, count: int) -> tuple[list[int], int]:
    """The values, and where what follows them begins."""
    width, least = code % 16, 0
    is_moved = code >= 16
    if is_moved and count:
        least, at = int.from_bytes(body[at : at + 8], "little", signed=True), at + 8
    parts = [body[at + width * number : at + width * (number + 1)] for number in range(count)]
    return [least + int.from_bytes(part, "little", signed=not is_moved) for part in parts], at + width * count
