"""Keys as bytes: what identifies an entity in an online store, the ledger and a bucket.

The form: a msgpack array with one element per key column, in the order of the entity's keys. A string is str, an
integer int, a bool bool, binary bin, a date32 the timestamp extension (type -1) of its midnight in UTC; each in its
shortest msgpack form, which makes it unique. So any language with a msgpack library can read and make keys, 3 is the
same key whether it was an int8 or an int64, and 3, "3", b"3" and True are four different keys.

Invariant: equal keys have equal bytes, different keys different bytes; for ever, as stored items are found by them.
A null is no key: it is refused.
"""

import operator
import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.errors import InputError, did_you_mean

_ENCODER: Final = msgspec.msgpack.Encoder()
_KEYS_ARE: Final = "a key is a string, an integer, a bool, a date or binary"
_VIEWS: Final = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
"""Arrow cannot take rows of its view types yet."""
_FEW: Final = 1024
"""Up to so many rows, looking for equal ones takes longer than encoding them."""
_ROOM: Final = 2**62
"""Combined codes stay below this; beyond it they are made dense again."""


def encoded_keys(table: pa.Table, key_columns: Sequence[str]) -> list[bytes]:
    """The key of each row. Each distinct combination is encoded once.

    Raises `InputError` for a column that is missing, is of a type that no key has, or holds a null.
    """
    columns = [_key_column(table, name) for name in key_columns]
    if not table.num_rows or not columns:
        return [_ENCODER.encode(())] * table.num_rows
    return encoded_columns(columns)


def encoded_columns(columns: Sequence[pa.ChunkedArray]) -> list[bytes]:
    """The key of each row of one column or more. They are of types that keys have, and without nulls."""
    if len(columns[0]) <= _FEW:
        return encoded_values([_plain_values(column) for column in columns])
    codes = _combined([_codes(column) for column in columns])
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    distinct = zip(*(_plain_values(column.take(pa.array(first))) for column in columns), strict=True)
    encoded = np.empty(len(first), dtype=object)
    encoded[:] = [_ENCODER.encode(values) for values in distinct]
    keys: list[bytes] = encoded[inverse].tolist()
    return keys


def encoded_values(columns: Sequence[Sequence[object]]) -> list[bytes]:
    """The key of each row of one column or more, of values as Python has them: exactly those of the key's types."""
    return list(map(_ENCODER.encode, zip(*columns, strict=True)))


def encoded_key(values: Sequence[object], dtypes: Sequence[pa.DataType]) -> bytes:
    """The key of one entity. Raises `InputError` for a null, or a value that is not of its dtype."""
    if len(values) != len(dtypes):
        raise InputError(
            f"a key of {len(dtypes)} columns was given {len(values)} values", hint="give one value for each"
        )
    return _ENCODER.encode([_plain(value, dtype) for value, dtype in zip(values, dtypes, strict=True)])


def buckets_of(keys: Sequence[bytes], buckets: int) -> npt.NDArray[np.int32]:
    """The bucket of each key: CRC-32 of its bytes (as zlib, gzip and PNG have it) modulo `buckets`."""
    return np.fromiter((zlib.crc32(key) % buckets for key in keys), dtype=np.int32, count=len(keys))


def _key_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InputError(f"key column {name!r} is missing", hint=did_you_mean(name, table.column_names))
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.type in _VIEWS:
        column = column.cast(_VIEWS[column.type])
    if not _is_key_dtype(column.type):
        raise InputError(f"key column {name!r} is {column.type}", hint=f"{_KEYS_ARE}; cast the column")
    if column.null_count:
        row = column.is_null().index(pa.scalar(value=True)).as_py()
        what = f"key column {name!r} is null in {column.null_count} of {table.num_rows} rows, first in row {row}"
        raise InputError(what, hint="drop the rows, or fill in the key: a null identifies nothing")
    return column


def _is_key_dtype(dtype: pa.DataType) -> bool:
    checks = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary,
        pa.types.is_integer, pa.types.is_boolean, pa.types.is_date32,
    )  # fmt: skip
    return any(check(dtype) for check in checks)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], int]:
    """A number for each row, equal iff the values are; and how many numbers there are."""
    encoded = column.dictionary_encode().unify_dictionaries()
    codes = np.concatenate([np.asarray(chunk.indices) for chunk in encoded.chunks]).astype(np.int64, copy=False)
    return codes, len(encoded.chunk(0).dictionary)


def _combined(parts: Sequence[tuple[npt.NDArray[np.int64], int]]) -> npt.NDArray[np.int64]:
    """One number for each row, equal iff all parts are."""
    codes, size = parts[0]
    for more, count in parts[1:]:
        if size * count >= _ROOM:
            distinct, codes = np.unique(codes, return_inverse=True)
            size = len(distinct)
        codes, size = codes * count + more, size * count
    return codes


def _plain_values(column: pa.ChunkedArray) -> list[object]:
    if pa.types.is_date32(column.type):
        return [_midnight(value) for value in column.to_pylist()]
    values: list[object] = column.to_numpy().tolist()
    return values


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _plain(value: object, dtype: pa.DataType) -> object:
    """A value as msgspec encodes it to the documented form."""
    if value is None:
        raise InputError("a key is null", hint="a null identifies nothing: leave the row out, or fill in the key")
    if pa.types.is_string(dtype) and isinstance(value, str):
        return str(value)
    if pa.types.is_binary(dtype) and isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if pa.types.is_boolean(dtype) and isinstance(value, bool | np.bool_):
        return bool(value)
    if pa.types.is_date32(dtype) and isinstance(value, date) and not isinstance(value, datetime):
        return _midnight(value)
    if pa.types.is_integer(dtype) and not isinstance(value, bool | np.bool_):
        return _integer(value, dtype)
    raise _not_of(value, dtype)


def _integer(value: object, dtype: pa.DataType) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what has no __index__ raises TypeError
        pa.scalar(number, dtype)
    except (TypeError, OverflowError, pa.ArrowInvalid) as error:
        raise _not_of(value, dtype) from error
    return number


def _not_of(value: object, dtype: pa.DataType) -> InputError:
    return InputError(f"the key {value!r} is {type(value).__name__}, its column is {dtype}", hint=f"give it as {dtype}")
