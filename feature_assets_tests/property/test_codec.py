"""Packed feature values: whatever goes in comes out, bit for bit, and damage is never decoded."""

import re
import struct
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_assets.definition.view import Feature
from feature_assets.errors import CodecError
from feature_assets.online.codec import ValueCodec
from feature_assets_tests.oracle.packed_values import unpacked

INSTANT = pa.timestamp("us", "UTC")
NOT_A_NUMBER = 0x7FA00001
"""A signalling NaN with a payload: what every conversion to a wider float changes."""

# ----------------------------------------------------------------------------------------------- random Arrow columns
# A value is drawn as Arrow stores it: an integer for everything of fixed width, so that every bit pattern occurs.
STORAGE = {
    pa.int8(): pa.int8(),
    pa.int16(): pa.int16(),
    pa.int32(): pa.int32(),
    pa.int64(): pa.int64(),
    pa.uint8(): pa.uint8(),
    pa.uint16(): pa.uint16(),
    pa.uint32(): pa.uint32(),
    pa.uint64(): pa.uint64(),
    pa.float32(): pa.uint32(),
    pa.float64(): pa.uint64(),
    pa.date32(): pa.int32(),
    INSTANT: pa.int64(),
    pa.timestamp("ns"): pa.int64(),
    pa.duration("us"): pa.int64(),
}
BITS = {
    pa.float32(): [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, NOT_A_NUMBER, 0x3F800000],
    pa.float64(): [0, 1 << 63, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, (0x7FF << 52) + 1, 0x3FF0 << 48],
}

plain_types = st.one_of(
    st.sampled_from([*STORAGE, pa.bool_(), pa.string(), pa.binary(), pa.large_string()]),
    st.builds(pa.decimal128, st.integers(20, 38), st.integers(0, 9)),
)
names = st.text("abcde", min_size=1, max_size=3)


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    fields = st.lists(st.tuples(names, inner), min_size=1, max_size=3, unique_by=lambda one: one[0])
    return st.one_of(
        st.builds(pa.list_, inner),
        st.builds(pa.list_, inner, st.integers(0, 3)),
        fields.map(pa.struct),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int64(), pa.date32()]), inner),
    )


dtypes = st.recursive(plain_types, nested, max_leaves=4)


def arrays(dtype: pa.DataType, size: int, *, nullable: bool = True) -> st.SearchStrategy[pa.Array]:
    """Columns of a type, with nulls at every depth where they may be."""
    valid = st.lists(st.booleans() if nullable else st.just(True), min_size=size, max_size=size)
    if pa.types.is_struct(dtype):
        columns = st.tuples(*(arrays(dtype.field(at).type, size) for at in range(dtype.num_fields)))
        fields = [dtype.field(at) for at in range(dtype.num_fields)]
        return st.builds(
            lambda parts, present: pa.StructArray.from_arrays(
                list(parts), fields=fields, mask=pa.array([not one for one in present], pa.bool_())
            ),
            columns,
            valid,
        )
    if pa.types.is_nested(dtype):
        return valid.flatmap(lambda present: lists(dtype, present))
    return st.builds(
        lambda values, present: stored(dtype, [v if p else None for v, p in zip(values, present, strict=True)]),
        st.lists(scalars(dtype), min_size=size, max_size=size),
        valid,
    )


@st.composite
def lists(draw: st.DrawFn, dtype: pa.DataType, present: list[bool]) -> pa.Array:
    fixed = dtype.list_size if pa.types.is_fixed_size_list(dtype) else None
    # Under a null of a variable list there is nothing; under one of a fixed size there is something, to be ignored.
    lengths = [draw(st.integers(0, 3)) if one else 0 for one in present] if fixed is None else [fixed] * len(present)
    mask = pa.py_buffer(np.packbits(np.array(present, np.bool_), bitorder="little"))
    if pa.types.is_map(dtype):
        keys = draw(arrays(dtype.key_type, sum(lengths), nullable=False))
        items = draw(arrays(dtype.item_type, sum(lengths)))
        elements = pa.StructArray.from_arrays([keys, items], fields=[dtype.key_field, dtype.item_field])
    else:
        elements = draw(arrays(dtype.value_type, sum(lengths)))
    offsets = pa.py_buffer(np.cumsum([0, *lengths], dtype=np.int32))
    buffers = [mask] if fixed is not None else [mask, offsets]
    return pa.Array.from_buffers(dtype, len(present), buffers, children=[elements])


def scalars(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_boolean(dtype):
        return st.booleans()
    if pa.types.is_decimal128(dtype):
        return st.decimals(-(10**9), 10**9, places=dtype.scale)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return st.text(max_size=4)
    if pa.types.is_binary(dtype):
        return st.binary(max_size=4)
    signed = pa.types.is_signed_integer(STORAGE[dtype])
    width = STORAGE[dtype].bit_width
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    return st.sampled_from([*BITS.get(dtype, []), low, high]) | st.integers(low, high)


def stored(dtype: pa.DataType, values: list[Any]) -> pa.Array:
    storage = STORAGE.get(dtype, dtype)
    array = pa.array(values, storage)
    return array if storage == dtype else array.view(dtype)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    fields = draw(st.lists(st.tuples(names, dtypes), min_size=1, max_size=4, unique_by=lambda one: one[0]))
    size = draw(st.integers(0, 5))
    columns = [draw(arrays(dtype, size)) for _, dtype in fields]
    return pa.table(columns, schema=pa.schema(fields))


def bits(array: pa.Array) -> list[Any]:
    """Values with floats as their bits, so that equal means the same in every bit."""
    dtype = array.type
    if pa.types.is_floating(dtype):
        return list(array.view(pa.uint32() if dtype == pa.float32() else pa.uint64()).to_pylist())
    if pa.types.is_struct(dtype):
        rows = zip(*(bits(array.field(at)) for at in range(dtype.num_fields)), strict=True)
        return [row if ok else None for row, ok in zip(rows, array.is_valid().to_pylist(), strict=True)]
    if pa.types.is_map(dtype):
        pair = pa.struct([dtype.key_field.with_nullable(False), dtype.item_field])
        return bits(array.cast(pa.list_(pair)))
    if pa.types.is_nested(dtype):
        return [bits(one.values) if one.is_valid else None for one in array]
    if pa.types.is_temporal(dtype):
        return list(array.view(pa.int32() if dtype.bit_width == 32 else pa.int64()).to_pylist())
    return list(array.to_pylist())


def features_of(schema: pa.Schema) -> list[Feature]:
    """Features of any type that the codec takes; a definition takes fewer."""
    made = []
    for field in schema:
        feature = object.__new__(Feature)
        for name, value in (("name", field.name), ("dtype", field.type), ("default", None), ("description", "")):
            object.__setattr__(feature, name, value)
        made.append(feature)
    return made


def codec_of(schema: pa.Schema) -> ValueCodec:
    return ValueCodec(features_of(schema))


# --------------------------------------------------------------------------------------------------------- properties
@settings(max_examples=200)
@given(tables())
def test_everything_comes_back_bit_for_bit(table: pa.Table) -> None:
    codec = codec_of(table.schema)
    packed = codec.pack_table(table)
    assert len(packed) == len(table)
    for before, after in zip(table.columns, codec.unpack_many(packed), strict=True):
        after.validate(full=True)
        assert after.type == before.type
        assert bits(after) == bits(before.combine_chunks())


@given(tables(), st.integers(0, 4), st.integers(0, 4))
def test_a_slice_packs_like_a_copy_of_it(table: pa.Table, start: int, length: int) -> None:
    codec = codec_of(table.schema)
    part = table.slice(start, length)
    assert codec.pack_table(part) == codec.pack_table(table)[start : start + length]


@given(tables(), st.data())
def test_any_order_and_repetition_can_be_read(table: pa.Table, data: st.DataObject) -> None:
    codec = codec_of(table.schema)
    packed = codec.pack_table(table)
    places = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=6)) if packed else []
    for column, array in zip(table.columns, codec.unpack_many([packed[at] for at in places]), strict=True):
        whole = bits(column.combine_chunks())
        assert bits(array) == [whole[at] for at in places]


@given(tables())
def test_equal_values_have_equal_bytes_whatever_lies_under_their_nulls(table: pa.Table) -> None:
    codec = codec_of(table.schema)
    packed = codec.pack_table(table)
    assert codec.pack_table(pa.table(codec.unpack_many(packed), schema=table.schema)) == packed


@pytest.mark.parametrize("dtype", [pa.int64(), pa.float32(), pa.decimal128(38, 2), pa.list_(pa.int16(), 2)])
def test_what_lies_under_a_null_is_not_packed(dtype: pa.DataType) -> None:
    width = 2 if pa.types.is_nested(dtype) else dtype.bit_width // 8
    values = pa.Array.from_buffers(pa.int8(), 4 * width, [None, pa.py_buffer(bytes(range(1, 4 * width + 1)))])
    second = pa.py_buffer(b"\x01")
    if pa.types.is_nested(dtype):
        # Both elements of the first value, and of the second none.
        elements = pa.Array.from_buffers(pa.int16(), 4, [pa.py_buffer(b"\x03"), values.buffers()[1]])
        array = pa.Array.from_buffers(dtype, 2, [second], children=[elements])
    else:
        array = pa.Array.from_buffers(dtype, 2, [second, values.buffers()[1]])
    clean = pa.array(array.to_pylist(), dtype)
    codec = codec_of(pa.schema([("x", dtype)]))
    assert codec.pack_table(pa.table({"x": array})) == codec.pack_table(pa.table({"x": clean}))


@given(tables(), st.data())
def test_no_damage_is_decoded(table: pa.Table, data: st.DataObject) -> None:
    codec = codec_of(table.schema)
    packed = codec.pack_table(table)
    if not packed:
        return
    at = data.draw(st.integers(0, len(packed) - 1))
    place = data.draw(st.integers(0, len(packed[at]) * 8 - 1))
    flipped = bytearray(packed[at])
    flipped[place // 8] ^= 1 << place % 8
    shorter = packed[at][: data.draw(st.integers(0, len(packed[at]) - 1))]
    for damaged in (bytes(flipped), shorter, packed[at] + b"\0"):
        with pytest.raises(CodecError):
            codec.unpack_many([*packed[:at], damaged, *packed[at + 1 :]])


@given(st.binary(max_size=40), tables())
def test_foreign_bytes_are_refused(value: bytes, table: pa.Table) -> None:
    with pytest.raises(CodecError):
        codec_of(table.schema).unpack_many([value])


@given(tables(), tables())
def test_values_of_other_features_are_refused(one: pa.Table, other: pa.Table) -> None:
    codec = codec_of(other.schema)
    for packed in codec_of(one.schema).pack_table(one):
        if codec.fits(packed):
            assert one.schema.names == other.schema.names
            continue
        with pytest.raises(CodecError, match="packed for other features"):
            codec.unpack_many([packed])


SOUND = pa.table(
    {
        "a": pa.array([1], pa.int64()),
        "b": pa.array([[1.0, None]], pa.list_(pa.float32())),
        "c": pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
    }
)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=3)
        | st.binary(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=6,
    )
)
@example([(b"\x01", b"\0\0\0\0\0\0\0\0"), [("k", "v")]])
@example([(b"", b"\0\0\0\0"), None])
@example([b"\0\0\0", None])
@example([None, None])
def test_a_well_made_checksum_over_nonsense_is_an_error_or_a_value_of_the_type(variable: object) -> None:
    """Not damage but a wrong writer: the checksum is right, and what it covers is anything."""
    codec = codec_of(SOUND.schema)
    fixed = codec.pack_table(SOUND)[0][: 5 + 1 + 8]
    body = fixed + msgspec.msgpack.encode(variable)
    try:
        found = codec.unpack_many([body + crc32(body).to_bytes(4, "little")])
    except CodecError:
        return
    for array, field in zip(found, SOUND.schema, strict=True):
        array.validate(full=True)
        assert array.type == field.type


def test_a_bitmap_that_contradicts_the_values_is_an_error() -> None:
    codec = codec_of(pa.schema([("s", pa.string())]))
    body = bytearray(codec.pack(["x"])[:-4])
    body[5] ^= 1
    with pytest.raises(CodecError, match="feature 's': the bitmap and the values differ on what is null"):
        codec.unpack_many([bytes(body) + crc32(body).to_bytes(4, "little")])


# ------------------------------------------------------------------------------------------------ the documented form
LAYOUT = [
    ("whole", "int64", "q"),
    ("real", "float64", "d"),
    ("name", "string", None),
    ("yes", "bool", "?"),
    ("day", "date32[day]", "i"),
    ("at", "timestamp[us,tz=UTC]", "q"),
    ("embedding", "list<float32,2>", None),
    ("marks", "list<int16>", None),
    ("words", "list<string>", None),
    ("pair", "struct<x:int64,y:float32>", None),
    ("counts", "map<string,int64>", None),
]
ROWS = pa.table(
    {
        "whole": pa.array([-(2**63), None], pa.int64()),
        "real": pa.array([-0.0, float("inf")], pa.float64()),
        "name": pa.array(["", None], pa.string()),
        "yes": pa.array([True, False], pa.bool_()),
        "day": pa.array([1, None], pa.int32()).view(pa.date32()),
        "at": pa.array([2**40, None], pa.int64()).view(INSTANT),
        "embedding": pa.array([[1.0, -2.0], None], pa.list_(pa.float32(), 2)),
        "marks": pa.array([[1, None, 3], []], pa.list_(pa.int16())),
        "words": pa.array([["a", None], []], pa.list_(pa.string())),
        "pair": pa.array([{"x": None, "y": 0.5}, None], pa.struct([("x", pa.int64()), ("y", pa.float32())])),
        "counts": pa.array([[("k", 7), ("k", None)], []], pa.map_(pa.string(), pa.int64())),
    }
)


def test_the_documented_layout_is_all_that_another_language_needs() -> None:
    first, second = (unpacked(value, LAYOUT) for value in codec_of(ROWS.schema).pack_table(ROWS))
    assert first == [
        *(-(2**63), -0.0, "", True, 1, 2**40),
        struct.pack("<2f", 1, -2),
        [b"\x05", struct.pack("<3h", 1, 0, 3)],
        ["a", None],
        [None, struct.pack("<f", 0.5)],
        [["k", 7], ["k", None]],
    ]
    assert str(first[1]) == "-0.0"
    assert second == [None, float("inf"), None, False, None, None, None, b"", [], None, []]


def test_the_bytes_of_this_format_do_not_change() -> None:
    table = pa.table({"n": pa.array([258], pa.int64()), "s": pa.array(["é"]), "gone": pa.array([None], pa.float32())})
    (packed,) = codec_of(table.schema).pack_table(table)
    # In this order: format, fingerprint, bitmap, n, gone, the array with s, checksum.
    assert packed.hex(" ") == "01 bc ab 09 97 03 02 01 00 00 00 00 00 00 00 00 00 00 91 a2 c3 a9 04 e1 53 67"


# -------------------------------------------------------------------------------------------------------- one by one
def test_one_entity_at_a_time() -> None:
    codec = codec_of(pa.schema([("n", pa.int64()), ("s", pa.string()), ("d", pa.decimal128(5, 2))]))
    assert codec.unpack(codec.pack([7, None, None])) == [7, None, None]
    assert codec.fits(codec.pack([7, "x", None]))
    with pytest.raises(CodecError, match="2 values for 3 features"):
        codec.pack([7, "x"])
    with pytest.raises(CodecError, match="feature 'n': 'x' is no int64"):
        codec.pack(["x", "x", None])


def test_any_legal_name_will_do() -> None:
    schema = pa.schema([("head", pa.int64()), ("bitmap", pa.bool_()), ("check", pa.int8())])
    assert codec_of(schema).unpack(codec_of(schema).pack([1, True, 2])) == [1, True, 2]


def test_a_newer_format_names_both() -> None:
    codec = codec_of(pa.schema([("n", pa.int64())]))
    with pytest.raises(CodecError, match="written in format 2, and this release reads up to format 1"):
        codec.unpack_many([b"\x02" + codec.pack([1])[1:]])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"n": pa.array([1], pa.int32())}), "'n' is to be packed as int64, and is int32"),
        (pa.table({"m": pa.array([1], pa.int64())}), "'n' is to be packed as int64, and is there 0 times"),
    ],
    ids=["another type", "missing"],
)
def test_a_wrong_column_is_named(table: pa.Table, message: str) -> None:
    with pytest.raises(CodecError, match=re.escape(message)):
        codec_of(pa.schema([("n", pa.int64())])).pack_table(table)


@pytest.mark.parametrize(
    "dtype", [pa.null(), pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.month_day_nano_interval())]
)
def test_a_type_that_cannot_be_packed_is_refused_when_the_codec_is_made(dtype: pa.DataType) -> None:
    with pytest.raises(CodecError, match=r"feature 'odd': values of the type .* cannot be packed"):
        codec_of(pa.schema([("odd", dtype)]))
