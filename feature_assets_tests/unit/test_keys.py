"""Keys as bytes: the exact bytes, the accepted forms of a column, and what is refused."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.keys import buckets_of, encoded_key, encoded_keys
from feature_assets.errors import InputError


def one(values: Sequence[object], dtype: pa.DataType) -> pa.Table:
    return pa.table({"k": pa.array(values, dtype)})


def test_the_bytes_of_these_keys_never_change() -> None:
    """What is stored is found by them: a change here loses every stored item."""
    table = pa.table(
        {
            "origin": ["JFK", "é"],
            "number": pa.array([7, -300], pa.int32()),
            "day": pa.array([date(2013, 1, 1), date(1969, 12, 31)], pa.date32()),
            "flag": [True, False],
            "raw": [b"\x00", b""],
        }
    )
    first, second = encoded_keys(table, ["origin", "number", "day", "flag", "raw"])
    assert first.hex() == "95a34a464b07d6ff50e22700c3c40100"
    assert second.hex() == "95a2c3a9d1fed4c70cff00000000fffffffffffeae80c2c400"
    assert buckets_of([first, second, b""], 16).tolist() == [2, 11, 0]


def test_the_order_of_the_columns_is_part_of_the_key() -> None:
    table = pa.table({"a": [1], "b": [2]})
    assert encoded_keys(table, ["a", "b"]) != encoded_keys(table, ["b", "a"])
    assert encoded_keys(table, ["b"]) == [b"\x91\x02"]


@pytest.mark.parametrize(
    "dtype",
    [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64(), pa.dictionary(pa.int8(), pa.int64())],
)
def test_an_integer_is_the_same_key_in_every_width(dtype: pa.DataType) -> None:
    assert encoded_keys(one([3, 3], dtype), ["k"]) == [b"\x91\x03"] * 2


@pytest.mark.parametrize(
    "dtype", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_a_text_is_the_same_key_in_every_form(dtype: pa.DataType) -> None:
    assert encoded_keys(pa.table({"k": pa.array(["a", "b", "a"]).cast(dtype)}), ["k"]) == [
        b"\x91\xa1a",
        b"\x91\xa1b",
        b"\x91\xa1a",
    ]


def test_equal_values_under_two_codes_are_one_key() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "a", "b"]))
    assert encoded_keys(pa.table({"k": coded}), ["k"]) == [b"\x91\xa1a", b"\x91\xa1a", b"\x91\xa1b"]


def test_no_rows_have_no_keys() -> None:
    assert encoded_keys(one([], pa.string()), ["k"]) == []
    assert buckets_of([], 4).tolist() == []


def test_more_combinations_than_an_integer_counts() -> None:
    """Five columns of 2**13 values: 2**65 combinations, and two rows that are the same modulo 2**64."""
    numbers = np.arange(2**13)
    others = np.append(numbers, 0)
    table = pa.table({"a": np.append(numbers, 2**12), "b": others, "c": others, "d": others, "e": others})
    found = encoded_keys(table, list("abcde"))
    assert found == [encoded_key(list(row.values()), [pa.int64()] * 5) for row in table.to_pylist()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        (
            one(["a", None, None], pa.string()),
            ["key column 'k' is null in 2 of 3 rows, first in row 1", "drop the rows"],
        ),
        (one([1.5], pa.float64()), ["key column 'k' is double", "a key is a string, an integer"]),
        (
            one([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            ["is timestamp[us, tz=UTC]", "cast the column"],
        ),
        (one([None], pa.null()), ["key column 'k' is null"]),
        (pa.table({"kk": [1]}), ["key column 'k' is missing", "did you mean 'kk'?"]),
        (pa.table({"kay": [1], "key": [1]}), ["key column 'k' is missing", "known: kay, key"]),
    ],
)
def test_a_column_that_is_no_key_is_refused(table: pa.Table, parts: Sequence[str]) -> None:
    with pytest.raises(InputError) as caught:
        encoded_keys(table, ["k"])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, pa.string()), ("1", pa.int64()), (True, pa.int64()), (1, pa.bool_()), (1.0, pa.int64()), (128, pa.int8()),
        (2**63, pa.int64()), (b"a", pa.string()), ("a", pa.binary()), ("2024-01-01", pa.date32()),
        (np.bool_(1), pa.int8()), (datetime(2024, 1, 1, tzinfo=UTC), pa.date32()), (1.5, pa.float64()),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(value: object, dtype: pa.DataType) -> None:
    with pytest.raises(InputError) as caught:
        encoded_key([value], [dtype])
    assert (
        str(caught.value)
        == f"the key {value!r} is {type(value).__name__}, its column is {dtype}\nHint: give it as {dtype}"
    )


def test_one_key_is_refused_for_a_null_and_for_its_length() -> None:
    with pytest.raises(InputError, match="a key is null"):
        encoded_key(["a", None], [pa.string(), pa.string()])
    with pytest.raises(InputError, match="a key of 2 columns was given 1 values"):
        encoded_key(["a"], [pa.string(), pa.string()])


def test_numbers_of_numpy_are_numbers() -> None:
    dtypes = [pa.int64(), pa.bool_(), pa.string(), pa.binary()]
    values = [np.int16(5), np.bool_(1), np.str_("a"), bytearray(b"b")]
    assert encoded_key(values, dtypes) == encoded_key([5, True, "a", b"b"], dtypes)
