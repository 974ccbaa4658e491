"""Values as bytes: what makes two values of a column the same one, and which of two is the greater.

The form is msgpack's, each value in its shortest form, so that any language with a msgpack library reads it: a string
is str, an integer int, a bool bool, binary bin; a float is a float64, a float32 widened; a timestamp the timestamp
extension (type -1), a date32 that of its midnight in UTC, as in keys.

Invariant: within a column two values have the same bytes exactly if they are the same value. NaN is one value, and -0.0
is 0.0: they come back as the one NaN, and as 0.0. The order of the bytes is an order, not the one of the numbers.
A null has no bytes.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.slot import TEXT_BYTES, Ints
from feature_assets.errors import CodecError

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_NIL: Final = b"\xc0"
_FLOAT: Final = struct.Struct(">Bd")
_FLOAT_MARK: Final = 0xCB
_DAY_SECONDS: Final = 86_400
_SECOND_US: Final = 1_000_000
_SECONDS_BITS: Final = 34
"""Of the timestamp extension's 64 bits; the nanoseconds have the others."""
_SIZES: Final = (6, 10, 15)
"""Of the timestamp extension's three forms, in bytes, head and all."""
_NUMBER_BYTES: Final = 9
_TEXT_HEAD: Final = 2
_DAMAGED: Final = "the stored bytes are damaged or not ours; retire the version on this store and push it again"


@dataclass(frozen=True, slots=True)
class Coded:
    """A column with each distinct value once: `values[codes[i]]` are the bytes of row `i`; the code of a null is -1."""

    codes: Ints
    values: list[bytes]


def coded(column: pa.Array) -> Coded:
    """The bytes of a column's values, each distinct value encoded once. No Python step per row."""
    if pa.types.is_dictionary(column.type) and len(column.dictionary) <= len(column):
        return _of_dictionary(column)
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    encoded = _comparable(plain).dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    return Coded(codes, _encoded(encoded.dictionary, plain.type))


def _of_dictionary(column: pa.Array) -> Coded:
    """The same, without looking at a row. A dictionary may have nulls, a value twice, and some that no row has."""
    known = coded(column.dictionary)
    codes = np.asarray(column.indices.fill_null(-1)).astype(np.int64)
    # The last place is that of a null.
    found = np.append(known.codes, -1)[codes]
    used = np.zeros(len(known.values) + 1, np.bool_)
    used[found] = True
    if used[:-1].all():
        return Coded(found, known.values)
    number = np.append(np.cumsum(used[:-1]) - 1, -1)
    return Coded(number[found], [value for value, one in zip(known.values, used.tolist(), strict=False) if one])


def canonical_bytes(column: pa.Array) -> list[bytes | None]:
    """The bytes of each value; None for a null."""
    found = coded(column)
    # The last place is that of code -1.
    values = np.fromiter((*found.values, None), dtype=object, count=len(found.values) + 1)
    of_rows: list[bytes | None] = values[found.codes].tolist()
    return of_rows


def most_bytes(dtype: pa.DataType) -> int:
    """How many bytes a value takes at most; a text or binary of `TEXT_BYTES`."""
    plain = dtype.value_type if pa.types.is_dictionary(dtype) else dtype
    if pa.types.is_boolean(plain):
        return 1
    if pa.types.is_integer(plain) or pa.types.is_floating(plain):
        return _NUMBER_BYTES
    return _SIZES[-1] if pa.types.is_timestamp(plain) or pa.types.is_date32(plain) else TEXT_BYTES + _TEXT_HEAD


def from_canonical(values: Sequence[bytes | None], dtype: pa.DataType) -> pa.Array:
    """The column whose bytes these are, None as null. Raises `CodecError` for bytes that are no value of `dtype`."""
    try:
        if pa.types.is_timestamp(dtype) or pa.types.is_date32(dtype):
            return _times(values, dtype)
        # One array of them all is read in one step.
        joined = b"".join([b"\xdd", len(values).to_bytes(4, "big"), *(_NIL if one is None else one for one in values)])
        return pa.array(_decoder(dtype).decode(joined), dtype)
    except (msgspec.MsgspecError, pa.ArrowException, OverflowError, ValueError) as error:
        raise CodecError(f"a value that is no {dtype}: {error}", hint=_DAMAGED) from error


def _comparable(plain: pa.Array) -> pa.Array:
    """The column in a type in which Arrow finds equal exactly what is the same value."""
    if pa.types.is_timestamp(plain.type):
        return plain.cast(pa.int64())
    if not pa.types.is_floating(plain.type):
        return plain
    values = plain.fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
    # Adding 0.0 makes 0.0 of -0.0 and changes nothing else.
    bits = np.where(np.isnan(values), np.nan, values + 0.0).view(np.int64)
    return pa.array(bits, mask=np.asarray(plain.is_null()))


def _encoded(distinct: pa.Array, dtype: pa.DataType) -> list[bytes]:
    """`distinct`: values as `_comparable` gives them, without nulls."""
    if pa.types.is_timestamp(dtype):
        return [_timestamp(*divmod(value, _SECOND_US)) for value in np.asarray(distinct).tolist()]
    if pa.types.is_date32(dtype):
        return [_timestamp(day * _DAY_SECONDS, 0) for day in np.asarray(distinct.cast(pa.int32())).tolist()]
    if pa.types.is_floating(dtype):
        return [_FLOAT.pack(_FLOAT_MARK, value) for value in np.asarray(distinct).view(np.float64).tolist()]
    values = np.asarray(distinct).tolist() if pa.types.is_integer(dtype) else distinct.to_pylist()
    return list(map(_ENCODE, values))


def _timestamp(seconds: int, microseconds: int) -> bytes:
    """The timestamp extension in the shortest of its three forms: 32, 64 or 96 bits."""
    nanoseconds = microseconds * 1000
    if not nanoseconds and 0 <= seconds < 2**32:
        return b"\xd6\xff" + seconds.to_bytes(4, "big")
    if 0 <= seconds < 2**_SECONDS_BITS:
        return b"\xd7\xff" + (nanoseconds << _SECONDS_BITS | seconds).to_bytes(8, "big")
    return b"\xc7\x0c\xff" + nanoseconds.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True)


def _instant(value: bytes) -> tuple[int, int]:
    """The seconds and nanoseconds of a timestamp extension. Raises `ValueError`."""
    head, size = value[:2], len(value)
    if head == b"\xd6\xff" and size == _SIZES[0]:
        return int.from_bytes(value[2:], "big"), 0
    if head == b"\xd7\xff" and size == _SIZES[1]:
        nanoseconds, seconds = divmod(int.from_bytes(value[2:], "big"), 2**_SECONDS_BITS)
        return seconds, nanoseconds
    if value[:3] == b"\xc7\x0c\xff" and size == _SIZES[2]:
        return int.from_bytes(value[7:], "big", signed=True), int.from_bytes(value[3:7], "big")
    raise ValueError(f"{value[:16]!r} is no timestamp")


def _times(values: Sequence[bytes | None], dtype: pa.DataType) -> pa.Array:
    instants = [None if value is None else _instant(value) for value in values]
    if pa.types.is_date32(dtype):
        days = [None if one is None else one[0] // _DAY_SECONDS for one in instants]
        return pa.array(days, pa.int32()).cast(dtype)
    microseconds = [None if one is None else one[0] * _SECOND_US + one[1] // 1000 for one in instants]
    return pa.array(microseconds, pa.int64()).cast(dtype)


_DECODERS: Final[Mapping[str, "msgspec.msgpack.Decoder[Any]"]] = {
    "string": msgspec.msgpack.Decoder(list[str | None]),
    "binary": msgspec.msgpack.Decoder(list[bytes | None]),
    "bool": msgspec.msgpack.Decoder(list[bool | None]),
    "float": msgspec.msgpack.Decoder(list[float | None]),
    "integer": msgspec.msgpack.Decoder(list[int | None]),
}
_KINDS: Final[Sequence[tuple[str, Callable[[pa.DataType], bool]]]] = (
    ("string", lambda dtype: bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))),
    ("binary", lambda dtype: bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))),
    ("bool", pa.types.is_boolean),
    ("float", pa.types.is_floating),
    ("integer", pa.types.is_integer),
)


def _decoder(dtype: pa.DataType) -> "msgspec.msgpack.Decoder[Any]":
    for name, matches in _KINDS:
        if matches(dtype):
            return _DECODERS[name]
    raise ValueError(f"{dtype} has no bytes")
