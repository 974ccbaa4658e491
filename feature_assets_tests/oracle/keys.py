"""Keys as bytes, by the documentation alone: a msgpack encoder for the few forms that a key can have, written out.

It imports nothing of the product and no msgpack library, so it stands for a reader in another language.
"""

import zlib
from collections.abc import Sequence
from datetime import date

_EPOCH = date(1970, 1, 1)
_DAY_SECONDS = 86_400


def key_bytes(values: Sequence[object]) -> bytes:
    """A msgpack array with one element per value."""
    return _headed(len(values), short=(0x90, 15), long=((0xDC, 2), (0xDD, 4))) + b"".join(
        _element(one) for one in values
    )


def bucket(key: bytes, buckets: int) -> int:
    """CRC-32 modulo the number of buckets."""
    return zlib.crc32(key) % buckets


def _element(value: object) -> bytes:
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, str):
        text = value.encode()
        return _headed(len(text), short=(0xA0, 31), long=((0xD9, 1), (0xDA, 2), (0xDB, 4))) + text
    if isinstance(value, bytes):
        return _headed(len(value), short=(0, -1), long=((0xC4, 1), (0xC5, 2), (0xC6, 4))) + value
    assert isinstance(value, date)
    return _timestamp((value - _EPOCH).days * _DAY_SECONDS)


def _headed(size: int, short: tuple[int, int], long: Sequence[tuple[int, int]]) -> bytes:
    """The head of something with a length: the shortest one that holds it."""
    if size <= short[1]:
        return bytes([short[0] | size])
    mark, width = next((mark, width) for mark, width in long if size < 256**width)
    return bytes([mark]) + size.to_bytes(width, "big")


def _integer(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return bytes([256 + value])
    if value >= 0:
        mark, width = next((0xCC + at, 2**at) for at in range(4) if value < 256 ** (2**at))
        return bytes([mark]) + value.to_bytes(width, "big")
    mark, width = next((0xD0 + at, 2**at) for at in range(4) if value >= -(256 ** (2**at)) // 2)
    return bytes([mark]) + value.to_bytes(width, "big", signed=True)


def _timestamp(seconds: int) -> bytes:
    """The timestamp extension, type -1: 32 bits of seconds, or 34 beside 30 of nanoseconds, or 64 beside 32."""
    if 0 <= seconds < 2**32:
        return b"\xd6\xff" + seconds.to_bytes(4, "big")
    if 0 <= seconds < 2**34:
        return b"\xd7\xff" + seconds.to_bytes(8, "big")
    return b"\xc7\x0c\xff" + bytes(4) + seconds.to_bytes(8, "big", signed=True)
