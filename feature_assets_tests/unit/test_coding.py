"""Composite keys as codes: equal exactly where the keys are, whatever their types and however many."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.coding import key_codes
from feature_assets.errors import InputError

VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.sampled_from(["", "a", "b", "ä", "a\0b"]),
    pa.binary(): st.sampled_from([b"", b"a", b"\xff"]),
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-128, 127),
    pa.int64(): st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 10**12]),
    pa.int32(): st.integers(-3, 3),
    pa.date32(): st.sampled_from([date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29), date(9999, 12, 31)]),
}


@st.composite
def keys(draw: st.DrawFn) -> tuple[list[pa.DataType], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    types = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    row = st.tuples(*(VALUES[dtype] for dtype in types))
    question = st.tuples(*(st.none() | VALUES[dtype] for dtype in types))
    rows = draw(st.lists(row, max_size=12))
    return types, rows, draw(st.lists(st.sampled_from(rows) | question if rows else question, max_size=12))


def columns(types: Sequence[pa.DataType], rows: Sequence[tuple[Any, ...]], chunk: int = 5) -> list[pa.ChunkedArray]:
    """In chunks, and text as a dictionary for each."""
    found = []
    for at, dtype in enumerate(types):
        values = [row[at] for row in rows]
        chunks = [pa.array(values[start : start + chunk], dtype) for start in range(0, len(values), chunk)]
        if dtype == pa.string() and len(rows) % 2:
            chunks = [one.dictionary_encode() for one in chunks]
            found.append(pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.string())))
            continue
        found.append(pa.chunked_array(chunks, dtype))
    return found


@given(keys())
def test_codes_are_equal_exactly_where_keys_are(
    drawn: tuple[list[pa.DataType], list[tuple[Any, ...]], list[tuple[Any, ...]]],
) -> None:
    types, rows, questions = drawn
    codes = key_codes(columns(types, rows), columns(types, questions))
    of = dict(zip(rows, codes.rows.tolist(), strict=True))
    assert len(set(of.values())) == len(of)
    assert codes.rows.tolist() == [of[row] for row in rows]
    for code, question in zip(codes.questions.tolist(), questions, strict=True):
        # A key that no row has, or with a null, has no row's code.
        assert code == of[question] if question in of else code not in of.values()
        assert code >= 0 or question not in of
    assert all(0 <= code < codes.size for code in codes.rows.tolist())


def test_many_wide_columns_do_not_overflow() -> None:
    rows = [(number * 10**15, f"k{number}", -number * 10**14, number) for number in range(1_000)]
    types = [pa.int64(), pa.string(), pa.int64(), pa.int64()]
    codes = key_codes(columns(types, rows, 300), columns(types, rows[::-1], 300))
    assert len(set(codes.rows.tolist())) == 1_000
    assert codes.questions.tolist() == codes.rows.tolist()[::-1]


def test_a_feature_row_without_a_key_is_refused() -> None:
    with pytest.raises(InputError, match="2 feature rows have no key"):
        key_codes([pa.chunked_array([["a", None, None]])], [pa.chunked_array([["a"]])])
