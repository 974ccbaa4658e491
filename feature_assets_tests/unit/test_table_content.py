"""Same rows to the bit: NaN is NaN, a null is a null whatever lies beneath, minus zero is not zero."""

import pyarrow as pa
import pytest

from feature_assets.offline.content import same_content

NAN = float("nan")
STRUCT = pa.struct([("a", pa.float32()), ("b", pa.string())])
MAP = pa.map_(pa.string(), pa.float64())
VECTOR = pa.list_(pa.float32(), 2)


def in_chunks(values: list[object], dtype: pa.DataType) -> pa.Table:
    return pa.table({"x": pa.chunked_array([pa.array(values[:1], dtype), pa.array(values[1:], dtype)])})


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pa.float64(), [NAN, 1.0, None]),
        (pa.int64(), [1, None]),
        (pa.string(), ["", None]),
        (pa.decimal128(10, 2), [1, None]),
        (pa.list_(pa.float64()), [[NAN], None, []]),
        (VECTOR, [[1.0, NAN], None]),
        (STRUCT, [{"a": NAN, "b": "x"}, None, {"a": None, "b": None}]),
        (MAP, [[("a", NAN)], None, []]),
        (pa.list_(STRUCT), [[{"a": 0.0, "b": "x"}], [None], None]),
        (pa.float64(), []),
    ],
)
def test_the_same_however_it_is_cut(dtype: pa.DataType, values: list[object]) -> None:
    assert same_content(in_chunks(values, dtype), pa.table({"x": pa.array(values, dtype)}))


@pytest.mark.parametrize(
    ("dtype", "one", "other"),
    [
        (pa.float64(), [0.0], [-0.0]),
        (pa.float64(), [NAN], [None]),
        (pa.float64(), [1.0, None], [None, 1.0]),
        (pa.int64(), [1], [1, 1]),
        (pa.list_(pa.float64()), [[]], [None]),
        (pa.list_(pa.float64()), [[1.0], []], [[], [1.0]]),
        (pa.list_(pa.int64()), [[1], [2]], [[1, 2], []]),
        (VECTOR, [[1.0, 2.0]], [[1.0, -2.0]]),
        (STRUCT, [{"a": 1.0, "b": None}], [{"a": 1.0, "b": ""}]),
        (STRUCT, [{"a": None, "b": None}], [None]),
        (MAP, [[("a", 1.0)]], [[("b", 1.0)]]),
        (MAP, [[("a", 1.0)]], [[("a", 2.0)]]),
    ],
)
def test_another_value_anywhere_is_another_content(dtype: pa.DataType, one: list[object], other: list[object]) -> None:
    assert not same_content(pa.table({"x": pa.array(one, dtype)}), pa.table({"x": pa.array(other, dtype)}))


def test_what_lies_beneath_a_null_does_not_count() -> None:
    mask = pa.array([True, False])
    one = pa.Array.from_buffers(
        pa.float64(), 2, [pa.array([False, True]).buffers()[1], pa.array([7.0, 1.0]).buffers()[1]]
    )
    other = pa.Array.from_buffers(
        pa.float64(), 2, [pa.array([False, True]).buffers()[1], pa.array([8.0, 1.0]).buffers()[1]]
    )
    assert one.is_null().equals(mask)
    assert same_content(pa.table({"x": one}), pa.table({"x": other}))


def test_other_names_or_types_are_another_content() -> None:
    assert not same_content(pa.table({"x": [1]}), pa.table({"y": [1]}))
    assert not same_content(pa.table({"x": [1]}), pa.table({"x": [1.0]}))
    assert not same_content(pa.table({"x": [1], "y": [1]}), pa.table({"y": [1], "x": [1]}))
