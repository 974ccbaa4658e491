"""Which Arrow types a key, a feature and a column of a source may have.

Invariant: a value of an accepted type survives Delta, the online codec and a training set unchanged.
It converts nothing.
"""

from typing import Final

import pyarrow as pa

from feature_assets.definition.place import refusal

INSTANT: Final = pa.timestamp("us", "UTC")
"""The type of every time in a table."""

KEY_DTYPES: Final = frozenset(
    {pa.string(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.bool_(), pa.date32(), pa.binary()}
)
_PLAIN: Final = KEY_DTYPES | {pa.float32(), pa.float64(), INSTANT}
_ALL: Final = "string, bool, int8 to int64, a float, date32, decimal128, binary, or a list, map or struct of them"
_INSTEAD: Final = {
    "large_string": "pa.string()",
    "string_view": "pa.string()",
    "large_binary": "pa.binary()",
    "binary_view": "pa.binary()",
    "uint8": "pa.int16()",
    "uint16": "pa.int32()",
    "uint32": "pa.int64()",
    "uint64": "pa.int64(), or pa.decimal128(20, 0) if it can pass 2**63",
    "halffloat": "pa.float32()",
    "date64[ms]": "pa.date32()",
    "null": "the type that the values would have",
}


def require_key_dtype(kind: str, name: str, key: str, dtype: object) -> None:
    """Refuse a type that a key cannot have."""
    if dtype not in KEY_DTYPES:
        allowed = ", ".join(sorted(str(one) for one in KEY_DTYPES))
        raise refusal(kind, name, f"keys: {key!r} cannot have the dtype {_shown(dtype)}", f"a key is one of: {allowed}")


def require_dtype(kind: str, name: str, field: str, dtype: object) -> None:
    """Refuse a type that a stored column cannot have; `field` says which column."""
    if not isinstance(dtype, pa.DataType):
        raise refusal(kind, name, f"{field}: {_shown(dtype)} is no dtype", "give an Arrow type, e.g. pa.float64()")
    wrong = _illegal_part(dtype)
    if wrong is not None:
        inside = "" if wrong == dtype else f" (inside {dtype})"
        raise refusal(kind, name, f"{field}: the dtype {wrong}{inside} cannot be stored", _way_out(wrong))


def _illegal_part(dtype: pa.DataType) -> pa.DataType | None:
    """The first part of a type that is not accepted; None if all is."""
    if dtype in _PLAIN or pa.types.is_decimal128(dtype):
        return None
    if pa.types.is_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return _illegal_part(dtype.value_type)
    if pa.types.is_map(dtype):
        return _illegal_part(dtype.key_type) or _illegal_part(dtype.item_type)
    if pa.types.is_struct(dtype) and dtype.num_fields:
        parts = (_illegal_part(dtype.field(at).type) for at in range(dtype.num_fields))
        return next((part for part in parts if part is not None), None)
    return dtype


def _way_out(dtype: pa.DataType) -> str:
    if pa.types.is_timestamp(dtype):
        lacks = "it has no time zone; " if dtype.tz is None else ""
        return f"{lacks}all times are pa.timestamp('us', 'UTC')"
    if pa.types.is_dictionary(dtype):
        return f"use its value type, {dtype.value_type}"
    if pa.types.is_duration(dtype) or pa.types.is_time(dtype):
        return "keep it as a number and say the unit in the name, e.g. delay_seconds: pa.float64()"
    if pa.types.is_large_list(dtype):
        return f"use pa.list_(...) of {dtype.value_type}"
    return f"use {_INSTEAD.get(str(dtype), _ALL)}"


def _shown(dtype: object) -> str:
    return str(dtype) if isinstance(dtype, pa.DataType) else repr(dtype)
