"""A digest of what a table says: equal content, equal digest, however it is chunked, padded or encoded in memory.

Invariant: it covers the names, the types, the order of columns and rows, every value to the bit, and which are null;
null, NaN, zero and empty differ. It is computed over canonical Arrow buffers, one block of rows at a time.
It is no signature: whoever can change a table can change its digest.
"""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 1 << 16


def table_digest(table: pa.Table) -> str:
    """The SHA-256 of a table's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    digest.update(f"{table.num_rows}".encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"\0{name}\0{_plain_type(column.type)}\0".encode())
        for start in range(0, len(column), _BLOCK):
            block = column.slice(start, _BLOCK).combine_chunks()
            # One piece, except where a type cannot hold a block of it in one.
            for piece in block.chunks if isinstance(block, pa.ChunkedArray) else [block]:
                _update(digest, piece)
    return digest.hexdigest()


def _plain_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _update(digest: "_Hash", array: Any) -> None:  # noqa: ANN401 - a pyarrow array of any type
    """Null map first, then values with zero under every null, then children."""
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        _update(digest, array.dictionary_decode())
        return
    if isinstance(dtype, pa.BaseExtensionType):
        _update(digest, array.storage)
        return
    digest.update(b"\1" if array.null_count else b"\0")
    if array.null_count:
        digest.update(np.packbits(np.asarray(array.is_valid())).tobytes())
    if pa.types.is_null(dtype):
        return
    if pa.types.is_struct(dtype):
        for child in array.flatten():
            _update(digest, child)
    elif pa.types.is_map(dtype):
        _update(digest, array.cast(pa.list_(pa.struct([("key", dtype.key_type), ("value", dtype.item_type)]))))
    elif pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        digest.update(np.asarray(pc.fill_null(pc.list_value_length(array), 0)).tobytes())
        _update(digest, array.flatten())
    elif _is_text(dtype):
        _update_text(digest, array)
    else:
        _update_fixed(digest, array)


def _is_text(dtype: pa.DataType) -> bool:
    kinds = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    return any(kind(dtype) for kind in kinds) or dtype in {pa.string_view(), pa.binary_view()}


def _update_text(digest: "_Hash", array: Any) -> None:  # noqa: ANN401 - a pyarrow array of text or bytes
    whole = array.cast(pa.large_binary()) if array.type in {pa.large_string(), pa.large_binary()} else array
    whole = whole.cast(pa.large_binary())
    whole = pc.fill_null(whole, b"") if whole.null_count else whole
    offsets = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    digest.update(np.diff(offsets).tobytes())
    if len(offsets) and whole.buffers()[2] is not None:
        digest.update(memoryview(whole.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def _update_fixed(digest: "_Hash", array: Any) -> None:  # noqa: ANN401 - a pyarrow array of a type of fixed width
    if array.null_count:
        array = pc.if_else(array.is_valid(), array, _zero(array.type))
    if pa.types.is_boolean(array.type):
        digest.update(np.packbits(np.asarray(array)).tobytes())
        return
    width = array.type.bit_width // 8
    digest.update(memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width])


def _zero(dtype: pa.DataType) -> pa.Scalar:
    width = dtype.bit_width // 8
    if pa.types.is_boolean(dtype):
        return pa.scalar(False)  # noqa: FBT003 - the value itself
    zero = pa.Array.from_buffers(dtype, 1, [None, pa.py_buffer(bytes(width))])
    return zero[0]
