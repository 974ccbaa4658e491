"""Keys as bytes against an encoder written out, and read back by a msgpack library."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.keys import buckets_of, encoded_key, encoded_keys
from feature_assets_tests.oracle import keys as oracle

Row = tuple[object, ...]

VALUES: dict[pa.DataType, st.SearchStrategy[object]] = {
    pa.string(): st.text(max_size=40) | st.sampled_from(["", "a", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "é" * 16]),
    pa.binary(): st.binary(max_size=40) | st.sampled_from([b"", b"x" * 255, b"x" * 256, b"x" * 65_536]),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates()
    | st.sampled_from([date(1969, 12, 31), date(1970, 1, 1), date(2106, 2, 8), date(2514, 6, 1)]),
    **{
        dtype: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        | st.integers(-130, 130).filter(lambda n: -128 <= n < 128)
        for dtype, bits in [(pa.int8(), 8), (pa.int16(), 16), (pa.int32(), 32), (pa.int64(), 64)]
    },
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[pa.DataType], list[Row]]:
    """Key columns and rows, many of them equal in some or all columns."""
    dtypes = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    pools = [draw(st.lists(VALUES[dtype], min_size=1, max_size=4)) for dtype in dtypes]
    rows = draw(st.lists(st.tuples(*(st.sampled_from(pool) for pool in pools)), max_size=30))
    return dtypes, rows


def table_of(dtypes: Sequence[pa.DataType], rows: Sequence[Row], cut: int = 0) -> pa.Table:
    """The rows as a table, in two chunks if `cut` is inside."""
    fields = [(f"k{at}", dtype) for at, dtype in enumerate(dtypes)]
    schema = pa.schema(fields)
    parts = [
        pa.table([pa.array([row[at] for row in part], dtype) for at, dtype in enumerate(dtypes)], schema=schema)
        for part in (rows[:cut], rows[cut:])
    ]
    return pa.concat_tables(parts)


@settings(max_examples=300)
@given(tables(), st.integers(0, 30), st.integers(1, 4096))
def test_keys_are_as_documented(drawn: tuple[list[pa.DataType], list[Row]], cut: int, buckets: int) -> None:
    dtypes, rows = drawn
    table = table_of(dtypes, rows, cut)
    expected = [oracle.key_bytes(row) for row in rows]
    assert encoded_keys(table, table.column_names) == expected
    assert [encoded_key(row, dtypes) for row in rows] == expected
    assert buckets_of(expected, buckets).tolist() == [oracle.bucket(key, buckets) for key in expected]


@given(tables())
def test_a_library_reads_them_back(drawn: tuple[list[pa.DataType], list[Row]]) -> None:
    dtypes, rows = drawn
    for row, key in zip(
        rows, encoded_keys(table_of(dtypes, rows), [f"k{at}" for at in range(len(dtypes))]), strict=True
    ):
        read = msgspec.msgpack.decode(key)
        assert [one.date() if isinstance(one, datetime) else one for one in read] == list(row)
        assert [type(one) for one in read] == [datetime if isinstance(one, date) else type(one) for one in row]
        assert all(one.astimezone(UTC).time() == datetime.min.time() for one in read if isinstance(one, datetime))


ANY_VALUE = st.one_of(*VALUES.values())


def dtype_of(value: object) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    return {int: pa.int64(), str: pa.string(), bytes: pa.binary(), date: pa.date32()}[type(value)]


@settings(max_examples=500)
@given(st.lists(ANY_VALUE, max_size=3), st.lists(ANY_VALUE, max_size=3))
def test_different_keys_have_different_bytes_also_across_types(one: list[object], other: list[object]) -> None:
    keys = [encoded_key(values, [dtype_of(value) for value in values]) for values in (one, other)]
    same = [(type(value), value) for value in one] == [(type(value), value) for value in other]
    assert (keys[0] == keys[1]) == same
