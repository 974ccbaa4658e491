"""The naive reader of packed feature values: the documented layout, field by field, as one would in any language.

Invariant: it uses `struct`, `zlib` and a MessagePack decoder, and imports nothing of the product.
It reads features of fixed width that `struct` has a letter for; all others are given as MessagePack decodes them.
"""

import struct
import zlib
from collections.abc import Sequence

import msgspec

Layout = Sequence[tuple[str, str, str | None]]
"""Of each feature the name, the type's text, and the letter of `struct` (None: it stands in the variable part)."""


class UnreadableError(ValueError):
    """The bytes do not follow the layout."""


def unpacked(data: bytes, layout: Layout) -> list[object]:
    """The values, in the order of the layout."""
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise UnreadableError("checksum")
    if data[0] != 1:
        raise UnreadableError("format version")
    text = "".join(f"{name}:{dtype}\n" for name, dtype, _ in layout)
    if int.from_bytes(data[1:5], "little") != zlib.crc32(text.encode()):
        raise UnreadableError("fingerprint")
    bits = int.from_bytes(data[5 : 5 + (len(layout) + 7) // 8], "little")
    at = 5 + (len(layout) + 7) // 8
    values: list[object] = []
    for number, (_, _, letter) in enumerate(layout):
        value: object = None
        if letter is not None:
            (value,) = struct.unpack_from(f"<{letter}", data, at)
            at += struct.calcsize(f"<{letter}")
        values.append(value if bits >> number & 1 else None)
    if any(letter is None for _, _, letter in layout):
        variable = iter(msgspec.msgpack.decode(data[at:-4]))
        values = [
            next(variable) if letter is None else value for value, (_, _, letter) in zip(values, layout, strict=True)
        ]
    elif at != len(data) - 4:
        raise UnreadableError("length")
    return values
