"""The figures of the leakage report against counting by hand, on any columns."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_assets.clock import from_us, to_us
from feature_assets.training.differences import (
    AGE_BOUNDS,
    AGE_PERCENTILES,
    HALF_BINS,
    Ages,
    ages_of,
    kinds_of,
    same_values,
    size_of,
)
from feature_assets_tests.oracle import differences as naive

SMALL = st.integers(-3, 3).map(float)
FLOATS = st.none() | SMALL | st.floats()
WHOLE = st.none() | st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
TEXT = st.none() | st.sampled_from(["", "a", "b"])
LISTS = st.none() | st.lists(st.none() | SMALL | st.just(float("nan")), max_size=2)
COLUMNS = st.one_of(
    st.tuples(st.just(pa.float64()), st.lists(st.tuples(FLOATS, FLOATS), max_size=30)),
    st.tuples(st.just(pa.int64()), st.lists(st.tuples(WHOLE, WHOLE), max_size=30)),
    st.tuples(st.just(pa.string()), st.lists(st.tuples(TEXT, TEXT), max_size=30)),
    st.tuples(st.just(pa.list_(pa.float64())), st.lists(st.tuples(LISTS, LISTS), max_size=30)),
)
START = to_us(datetime(2026, 1, 1, tzinfo=UTC))
LONG = 60 * 24 * 3600 * 1_000_000
BOUNDS = [bound // timedelta(microseconds=1) for bound in AGE_BOUNDS]


def columns(dtype: pa.DataType, pairs: list[tuple[object, object]]) -> list[pa.ChunkedArray]:
    """Both sides, in pieces that are not the same."""
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    cut = len(pairs) // 2
    return [
        pa.chunked_array([left[:cut], left[cut:]], dtype),
        pa.chunked_array([right], dtype),
    ]


@given(COLUMNS)
def test_which_rows_differ_and_how(given_columns: tuple[pa.DataType, list[tuple[object, object]]]) -> None:
    served, other = columns(*given_columns)
    differing = ~same_values(served, other)
    left, right = served.to_pylist(), other.to_pylist()
    assert differing.tolist() == [naive.differs(*pair) for pair in zip(left, right, strict=True)]
    found = kinds_of(served, other, differing)
    assert (found.null_to_value, found.value_to_null, found.value_to_other) == naive.kinds(left, right)
    assert found.rows == int(differing.sum())


@given(
    st.one_of(
        st.tuples(st.just(pa.float64()), st.lists(st.tuples(FLOATS, FLOATS), max_size=30)),
        st.tuples(st.just(pa.int64()), st.lists(st.tuples(WHOLE, WHOLE), max_size=30)),
    )
)
@example((pa.float64(), [(1e308, -1e308), (-1e308, 1e308)]))
@example((pa.float64(), [(5e-324, 0.0), (0.0, 5e-324)]))
@example((pa.float64(), [(1e16, 1e16 + 2), (1e16 + 2, 1e16)]))
@example((pa.float64(), [(0.1, 0.2), (0.1, 0.1), (0.1, 0.1)]))
@example((pa.int64(), [(2**62 + 1, 2**62), (0, 0)]))
def test_how_large_differences_are(given_columns: tuple[pa.DataType, list[tuple[object, object]]]) -> None:
    served, other = columns(*given_columns)
    left, right = served.to_pylist(), other.to_pylist()
    signed = naive.signed(left, right)
    found = size_of(served, other, ~same_values(served, other))
    if not signed:
        assert found is None
        return
    assert found is not None
    absolute = [abs(one) for one in signed]
    assert (found.rows, found.median, found.p95) == (
        len(signed),
        naive.percentile(absolute, 50),
        naive.percentile(absolute, 95),
    )
    assert list(found.counts) == naive.bars(signed, found.p95, HALF_BINS)
    spread = naive.spread([None if one is None else float(one) for one in left])
    assert found.spread == (None if spread is None else pytest.approx(spread, rel=1e-9, abs=5e-324))
    assert found.relative_median == (None if found.spread is None else found.median / found.spread)


@given(
    st.lists(
        st.tuples(
            st.integers(0, LONG),
            st.integers(-1_000, LONG) | st.sampled_from(BOUNDS) | st.sampled_from([bound - 1 for bound in BOUNDS]),
        ),
        max_size=40,
    )
)
def test_how_old_rows_are(given_rows: list[tuple[int, int]]) -> None:
    as_of = np.array([START + at for at, _ in given_rows], np.int64)
    event_at = np.array([START + at - age for at, age in given_rows], np.int64)
    found = ages_of(as_of, event_at)
    ages = naive.ages([(from_us(int(one)), from_us(int(two))) for one, two in zip(as_of, event_at, strict=True)], None)
    if not ages:
        assert found is None
        return
    assert found == Ages(
        rows=len(ages),
        percentiles=tuple(naive.percentile(ages, percent) for percent in AGE_PERCENTILES),
        counts=tuple(naive.steps(ages, AGE_BOUNDS)),
    )
    assert found.percentiles[-1] == max(ages)


def test_decimals_have_a_size_and_what_is_no_number_has_none() -> None:
    low, high = (pa.chunked_array([pa.array([Decimal(one)], pa.decimal128(9, 2))]) for one in ("1.25", "2.50"))
    found = size_of(low, high, ~same_values(low, high))
    assert found is not None
    assert (found.median, found.spread) == (1.25, None)
    yes, no = (pa.chunked_array([[one]]) for one in (True, False))
    assert size_of(yes, no, ~same_values(yes, no)) is None
