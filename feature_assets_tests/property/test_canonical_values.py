"""Values as bytes against the form written out, and back."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.canonical import canonical_bytes, coded, from_canonical
from feature_assets.definition.dtypes import INSTANT
from feature_assets.errors import CodecError
from feature_assets_tests.object_records import VALUES, comparable
from feature_assets_tests.oracle.aggregates_objects import value_bytes


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[object]]:
    dtype = draw(st.sampled_from(list(VALUES)))
    return dtype, draw(st.lists(st.none() | VALUES[dtype], max_size=12))


@settings(max_examples=300)
@given(columns(), st.integers(0, 5))
def test_bytes_are_as_documented(drawn: tuple[pa.DataType, list[object]], start: int) -> None:
    dtype, values = drawn
    column = pa.array(values, dtype)
    expected = [None if value is None else value_bytes(value) for value in values]
    assert canonical_bytes(column) == expected
    assert canonical_bytes(column[start:]) == expected[start:]
    if not pa.types.is_boolean(dtype):
        assert canonical_bytes(column.dictionary_encode()) == expected
    back = from_canonical(expected, dtype)
    assert back.type == dtype
    assert list(map(comparable, back.to_pylist())) == list(map(comparable, values))
    found = coded(column)
    assert len(set(found.values)) == len(found.values)
    assert [None if code < 0 else found.values[code] for code in found.codes] == expected


@settings(max_examples=200)
@given(columns(), st.sampled_from(list(VALUES)), st.binary(max_size=12))
def test_what_is_no_value_of_the_type_is_refused(
    drawn: tuple[pa.DataType, list[object]], other: pa.DataType, junk: bytes
) -> None:
    dtype, values = drawn
    for blob in [*canonical_bytes(pa.array(values, dtype)), junk]:
        try:
            read = from_canonical([blob], other)
        except CodecError:
            continue
        assert read.type == other
        assert len(read) == 1


@pytest.mark.parametrize("dtype", list(VALUES), ids=str)
def test_the_bytes_of_another_type_are_refused(dtype: pa.DataType) -> None:
    foreign = b"\xa1a" if not pa.types.is_string(dtype) else b"\x01"
    with pytest.raises(CodecError, match=f"no {str(dtype).split('[')[0]}"):
        from_canonical([foreign], dtype)
    with pytest.raises(CodecError):
        from_canonical([b""], dtype)


@pytest.mark.parametrize(("dtype", "bits"), [(INSTANT, 64), (pa.date32(), 32)], ids=str)
def test_times_that_python_has_no_name_for(dtype: pa.DataType, bits: int) -> None:
    whole = {32: pa.int32(), 64: pa.int64()}[bits]
    column = pa.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, None], whole).cast(dtype)
    assert from_canonical(canonical_bytes(column), dtype).equals(column)


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
    st.lists(st.none() | st.integers(0, 5), max_size=12),
)
def test_a_dictionary_is_coded_as_what_it_stands_for(dictionary: list[str | None], numbers: list[int | None]) -> None:
    """Whatever is in it: nulls, a value twice, values that no row has."""
    indices = pa.array([None if one is None else one % len(dictionary) for one in numbers], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(dictionary, pa.string()))
    found, plain = coded(column), column.cast(pa.string())
    assert canonical_bytes(column) == canonical_bytes(plain)
    assert sorted(found.values) == sorted(coded(plain).values)
