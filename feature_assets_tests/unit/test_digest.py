"""The digest of a table: what it sees, and what it must not see."""

import math
from decimal import Decimal

import pyarrow as pa
import pytest

from feature_assets.training.digest import table_digest

INSTANT = pa.timestamp("us", "UTC")
COLUMNS = {
    "i": pa.array([1, None, 0], pa.int64()),
    "f": pa.array([1.0, math.nan, None]),
    "b": pa.array([True, None, False]),
    "s": pa.array(["a", None, ""]),
    "ls": pa.array(["a", None, ""], pa.large_string()),
    "sv": pa.array(["a", None, ""], pa.string_view()),
    "bin": pa.array([b"a", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "at": pa.array([1, None, 0]).cast(INSTANT),
    "day": pa.array([1, None, 0], pa.int32()).cast(pa.date32()),
    "exact": pa.array([Decimal("1.20"), None, Decimal("0.00")]),
    "list": pa.array([[1, None], None, []]),
    "pair": pa.array([[1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32(), 2)),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "struct": pa.array([{"x": 1, "y": "q"}, None, {"x": None, "y": ""}]),
    "deep": pa.array([[{"x": [1.5]}], None, [None]]),
    "dict": pa.array(["a", None, "b"]).dictionary_encode(),
    "null": pa.nulls(3),
}
TABLE = pa.table(COLUMNS)


def test_it_does_not_see_how_a_table_lies_in_memory() -> None:
    whole = table_digest(TABLE)
    twice = pa.concat_tables([TABLE, TABLE])
    assert table_digest(twice.slice(3)) == whole
    assert table_digest(twice.slice(3).combine_chunks()) == whole
    assert table_digest(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])) == whole
    assert table_digest(TABLE.replace_schema_metadata({"a": "b"})) == whole


def test_it_does_not_see_what_lies_under_a_null() -> None:
    data = pa.py_buffer(bytes([1, 0, 0, 0, 9, 9, 9, 9, 3, 0, 0, 0]))
    valid = pa.py_buffer(bytes([0b11111101]))
    garbage = pa.Array.from_buffers(pa.int32(), 3, [valid, data])
    assert table_digest(pa.table({"x": garbage})) == table_digest(pa.table({"x": pa.array([1, None, 3], pa.int32())}))


def test_it_does_not_see_more_than_one_block_differently() -> None:
    numbers = pa.array(range(200_000))
    pieces = pa.chunked_array([numbers.slice(0, 70_001), numbers.slice(70_001)])
    assert table_digest(pa.table({"x": pieces})) == table_digest(pa.table({"x": numbers}))
    changed = pa.concat_arrays([numbers.slice(0, 199_999), pa.array([0])])
    assert table_digest(pa.table({"x": changed})) != table_digest(pa.table({"x": numbers}))


@pytest.mark.parametrize("name", COLUMNS)
def test_it_sees_every_column_and_their_order(name: str) -> None:
    assert table_digest(TABLE.drop_columns([name])) != table_digest(TABLE)
    at = TABLE.schema.get_field_index(name)
    assert table_digest(TABLE.rename_columns([*TABLE.column_names[:at], "other", *TABLE.column_names[at + 1 :]])) != (
        table_digest(TABLE)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([0.0]), pa.array([None], pa.float64())),
        (pa.array([math.nan]), pa.array([None], pa.float64())),
        (pa.array([""]), pa.array([None], pa.string())),
        (pa.array([[]], pa.list_(pa.int64())), pa.array([None], pa.list_(pa.int64()))),
        (pa.array([[None]], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))),
        (pa.array([[1], []]), pa.array([[], [1]])),
        (pa.array(["ab", ""]), pa.array(["a", "b"])),
        (pa.array([1], pa.int64()), pa.array([1], pa.int32())),
        (pa.array([1]).cast(INSTANT), pa.array([1]).cast(pa.timestamp("us"))),
        (pa.array([True, False]), pa.array([False, True])),
        (pa.array([None, 1]), pa.array([1, None])),
        (pa.array([{"x": None}]), pa.array([None], pa.struct([("x", pa.null())]))),
        (pa.array([1, 2]), pa.array([2, 1])),
        (pa.array([], pa.int64()), pa.array([0], pa.int64())),
    ],
)
def test_it_sees_every_difference(one: pa.Array, other: pa.Array) -> None:
    assert table_digest(pa.table({"x": one})) != table_digest(pa.table({"x": other}))
