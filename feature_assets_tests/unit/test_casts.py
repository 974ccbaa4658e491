"""Casts that lose nothing: which types fit into which, and which value does not."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.casts import LossyCastError, is_permitted, lossless

NUMBER = pa.struct([("a", pa.int32()), ("b", pa.string())])


def column(values: list[object], dtype: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values[:1], dtype), pa.array(values[1:], dtype)])


@pytest.mark.parametrize(
    ("values", "source", "target"),
    [
        ([1, None, -128], pa.int8(), pa.int64()),
        ([1, None, 127], pa.int64(), pa.int8()),
        ([2**53, None, -(2**53)], pa.int64(), pa.float64()),
        ([2**24, None], pa.int64(), pa.float32()),
        ([0.5, None, float("inf")], pa.float32(), pa.float64()),
        ([Decimal(7), None], pa.decimal128(38, 0), pa.int64()),
        ([Decimal("1.5"), None], pa.decimal128(4, 1), pa.decimal128(10, 3)),
        ([7, None], pa.int32(), pa.decimal128(12, 0)),
        (["a", None, ""], pa.large_string(), pa.string()),
        (["a", None, ""], pa.string_view(), pa.string()),
        (["a", None, "a"], pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        ([b"a", None], pa.large_binary(), pa.binary()),
        ([b"ab", None], pa.binary(2), pa.binary()),
        ([date(2024, 1, 1), None], pa.date64(), pa.date32()),
        ([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("s", "UTC"), pa.timestamp("us", "UTC")),
        ([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("ns", "America/New_York"), pa.timestamp("us", "UTC")),
        ([[1, None], None, []], pa.large_list(pa.int32()), pa.list_(pa.float64())),
        ([[1.0, 2.0], None], pa.list_(pa.float32(), 2), pa.list_(pa.float32())),
        ([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()), pa.list_(pa.float32(), 2)),
        ([{"a": 1, "b": None}, None], NUMBER, pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([[("k", 1)], None], pa.map_(pa.string(), pa.int32()), pa.map_(pa.string(), pa.int64())),
        ([None, None], pa.null(), pa.list_(pa.float64())),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_what_fits_stays_what_it_is(values: list[object], source: pa.DataType, target: pa.DataType) -> None:
    given = column(values, source)
    cast = lossless(given, target)
    assert cast.type == target
    # What a value is, in Python's words; an instant is the same in every zone.
    assert cast.to_pylist() == given.to_pylist()


@pytest.mark.parametrize(
    ("values", "source", "target", "first"),
    [
        ([1, 128, 300], pa.int64(), pa.int8(), 128),
        ([1, None, -1], pa.int8(), pa.uint8(), -1),
        ([0, 2**53 + 1, 2**53 + 3], pa.int64(), pa.float64(), 2**53 + 1),
        ([0, 2**24 + 1], pa.int64(), pa.float32(), 2**24 + 1),
        ([Decimal(1), Decimal(2**63)], pa.decimal128(38, 0), pa.int64(), Decimal(2**63)),
        ([Decimal("1.50"), Decimal("1.55")], pa.decimal128(4, 2), pa.decimal128(4, 1), Decimal("1.55")),
        ([[1], [2**31]], pa.list_(pa.int64()), pa.list_(pa.int32()), [2**31]),
        ([[1.0], [1.0, 2.0]], pa.list_(pa.float64()), pa.list_(pa.float64(), 1), [1.0, 2.0]),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
)
def test_the_first_value_that_does_not_fit_is_named(
    values: list[object], source: pa.DataType, target: pa.DataType, first: object
) -> None:
    with pytest.raises(LossyCastError) as caught:
        lossless(column(values, source), target)
    assert (caught.value.value, caught.value.source, caught.value.target) == (first, source, target)
    assert repr(first) in str(caught.value)


def test_nanoseconds_must_be_whole_microseconds() -> None:
    exact = pa.chunked_array([pa.array([1_000, None, -2_000], pa.timestamp("ns", "UTC"))])
    assert lossless(exact, pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist() == [1, None, -2]
    with pytest.raises(LossyCastError, match="to timestamp"):
        lossless(pa.chunked_array([pa.array([1_000, 1_001], pa.timestamp("ns", "UTC"))]), pa.timestamp("us", "UTC"))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.float64(), pa.int64()), (pa.float64(), pa.float32()), (pa.bool_(), pa.int64()), (pa.int64(), pa.bool_()),
        (pa.string(), pa.int64()), (pa.int64(), pa.string()), (pa.string(), pa.binary()), (pa.binary(), pa.string()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")), (pa.date32(), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "UTC"), pa.date32()), (pa.timestamp("us", "UTC"), pa.int64()),
        (pa.decimal128(4, 1), pa.float64()), (pa.decimal128(4, 1), pa.int64()), (pa.float64(), pa.decimal128(4, 1)),
        (pa.list_(pa.float64()), pa.list_(pa.int64())), (pa.float64(), pa.list_(pa.float64())),
        (pa.list_(pa.float64()), pa.float64()), (NUMBER, pa.struct([("b", pa.string()), ("a", pa.int32())])),
        (NUMBER, pa.struct([("a", pa.int32())])), (NUMBER, pa.map_(pa.string(), pa.int32())),
        (pa.map_(pa.string(), pa.float64()), pa.map_(pa.string(), pa.int64())), (pa.duration("us"), pa.int64()),
    ],
    ids=str,
)  # fmt: skip
def test_types_of_another_kind_never_fit(source: pa.DataType, target: pa.DataType) -> None:
    assert not is_permitted(source, target)
    with pytest.raises(LossyCastError, match=" to ") as caught:
        lossless(pa.chunked_array([], source), target)
    assert caught.value.value is None


def test_missing_and_no_number_stay_apart() -> None:
    given = pa.chunked_array([pa.array([np.nan, None, 0.0], pa.float32(), from_pandas=False)])
    cast = lossless(given, pa.float64())
    assert cast.null_count == 1
    assert np.isnan(cast[0].as_py())
    assert cast[1].as_py() is None
