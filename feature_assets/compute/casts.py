"""Casts that lose nothing.

Invariant: a value that comes out is the value that went in. Where a type can hold some of another's values and not
all, it is the values that decide: 3 is a float64, 2**53 + 1 is none. A float is never an integer, however round it
looks: the day on which it is not would be the day on which the view breaks.
"""

from typing import Final

import pyarrow as pa

_INSTANT_UNITS: Final = frozenset({"s", "ms", "us", "ns"})


class LossyCastError(ValueError):
    """A cast that would change values. `value` is the first of them; None if the types alone forbid it."""

    def __init__(self, source: pa.DataType, target: pa.DataType, value: object = None) -> None:
        self.source = source
        self.target = target
        self.value = value
        super().__init__(f"{source} to {target}" if value is None else f"{value!r} ({source}) to {target}")


def lossless(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """`column` as `target`, nulls kept. Raises `LossyCastError`."""
    if column.type == target:
        return column
    if not is_permitted(column.type, target):
        raise LossyCastError(column.type, target)
    plain = _decoded(column)
    try:
        return plain.cast(target, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LossyCastError(column.type, target, _first_lost(plain, target)) from error


def is_permitted(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether some values of `source` are values of `target` as well."""
    if source == target or pa.types.is_null(source):
        return True
    if pa.types.is_dictionary(source):
        return is_permitted(source.value_type, target)
    if pa.types.is_nested(target):
        return _is_permitted_nested(source, target)
    if pa.types.is_timestamp(target):
        return pa.types.is_timestamp(source) and source.tz is not None and source.unit in _INSTANT_UNITS
    return (
        (_is_text(source) and _is_text(target))
        or (_is_bytes(source) and _is_bytes(target))
        or (pa.types.is_date(source) and pa.types.is_date(target))
        or _is_permitted_number(source, target)
    )


def _is_permitted_number(source: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_integer(source):
        return bool(pa.types.is_integer(target) or pa.types.is_floating(target) or pa.types.is_decimal(target))
    if pa.types.is_floating(source):
        return bool(pa.types.is_floating(target) and source.bit_width <= target.bit_width)
    if pa.types.is_decimal(source):
        whole = pa.types.is_integer(target) and source.scale == 0
        return bool(pa.types.is_decimal(target) or whole)
    return False


def _is_permitted_nested(source: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_map(target):
        return bool(
            pa.types.is_map(source)
            and is_permitted(source.key_type, target.key_type)
            and is_permitted(source.item_type, target.item_type)
        )
    if pa.types.is_struct(target):
        return bool(
            pa.types.is_struct(source)
            and [field.name for field in source] == [field.name for field in target]
            and all(is_permitted(a.type, b.type) for a, b in zip(source, target, strict=True))
        )
    return _is_list(source) and _is_list(target) and is_permitted(source.value_type, target.value_type)


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def _is_bytes(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(dtype)
        or pa.types.is_large_binary(dtype)
        or pa.types.is_fixed_size_binary(dtype)
        or pa.types.is_binary_view(dtype)
    )


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _first_lost(column: pa.ChunkedArray, target: pa.DataType) -> object:
    """The first value that cannot be cast, by halving."""
    first, count = 0, len(column)
    while count > 1:
        half = count // 2
        if _is_castable(column.slice(first, half), target):
            first, count = first + half, count - half
        else:
            count = half
    return column[first].as_py() if count else None


def _is_castable(column: pa.ChunkedArray, target: pa.DataType) -> bool:
    try:
        column.cast(target, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True
