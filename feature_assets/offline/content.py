"""Whether two tables hold the same rows, to the bit.

Invariant: unlike Arrow's own `equals`, NaN is the same as the same NaN, and 0.0 differs from -0.0; a null is a null
whatever lies beneath it. It compares in order: sort first where the order does not count.
"""

import pyarrow as pa
import pyarrow.compute as pc

_BITS = {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def same_content(left: pa.Table, right: pa.Table) -> bool:
    """Whether both have the same columns in the same order with the same rows in the same order."""
    if left.num_rows != right.num_rows or left.schema.names != right.schema.names:
        return False
    return all(
        left.schema.field(name).type == right.schema.field(name).type
        and _same(left.column(name).combine_chunks(), right.column(name).combine_chunks())
        for name in left.schema.names
    )


def _same(left: pa.Array, right: pa.Array) -> bool:
    if len(left) != len(right) or left.null_count != right.null_count:
        return False
    if not _has_floats(left.type):
        return bool(left.equals(right))
    if left.null_count and not left.is_valid().equals(right.is_valid()):
        return False
    return _same_valid(left.drop_null(), right.drop_null())


def _same_valid(left: pa.Array, right: pa.Array) -> bool:
    """For arrays of floats, or of something that holds floats, without nulls at the top."""
    if pa.types.is_floating(left.type):
        bits = _BITS[left.type.bit_width]
        return bool(left.view(bits).equals(right.view(bits)))
    if pa.types.is_struct(left.type):
        return all(_same(a, b) for a, b in zip(left.flatten(), right.flatten(), strict=True))
    if pa.types.is_map(left.type):
        return _same_map(left, right)
    lengths = pc.list_value_length(left).equals(pc.list_value_length(right))
    return lengths and _same(left.flatten(), right.flatten())


def _same_map(left: pa.Array, right: pa.Array) -> bool:
    entries = pa.list_(pa.struct([("key", left.type.key_type), ("value", left.type.item_type)]))
    return _same(left.cast(entries), right.cast(entries))


def _has_floats(dtype: pa.DataType) -> bool:
    if pa.types.is_floating(dtype):
        return True
    return any(_has_floats(dtype.field(index).type) for index in range(dtype.num_fields))
