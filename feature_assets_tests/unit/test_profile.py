"""Profiles: every dtype, every kind of nothing, one stored form."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.errors import InputError
from feature_assets.quality.profile import (
    FINE_BINS,
    MAX_CATEGORIES,
    ColumnProfile,
    NumericProfile,
    profiled,
    read_profile,
)

DAY = datetime(2026, 1, 1, tzinfo=UTC)
INF = float("inf")


def column_of(values: object, kind: pa.DataType | None = None) -> ColumnProfile:
    return profiled(pa.table({"x": pa.array(values, kind)})).columns[0]


def numeric_of(column: ColumnProfile) -> NumericProfile:
    assert column.numeric is not None
    return column.numeric


def test_numbers_are_counted_by_their_values() -> None:
    found = column_of([1.0, 2.0, 2.0, None, float("nan")])
    numeric = numeric_of(found)
    assert (found.rows, found.nulls, found.nans, found.missing, found.present) == (5, 1, 1, 2, 3)
    assert numeric.edges == (np.nextafter(1.0, -INF), 1.0, 2.0)
    assert numeric.counts == (0, 1, 2, 0)
    assert (numeric.least, numeric.greatest) == (1.0, 2.0)
    assert numeric.mean == pytest.approx(5 / 3)


def test_infinities_are_beyond_the_edges() -> None:
    numeric = numeric_of(column_of([-INF, 1.0, INF, INF]))
    assert numeric.counts == (1, 1, 2)
    assert numeric.mean == 1.0
    assert numeric_of(column_of([INF, -INF])).counts == (2,)


@pytest.mark.parametrize(
    ("values", "kind", "least"),
    [
        ([3, None, 5], pa.int64(), 3),
        ([2**63 - 1, 7], pa.int64(), 7),
        ([1, 2], pa.uint8(), 1),
        ([0.5, 1.5], pa.float32(), 0.5),
        ([Decimal("1.25"), None], pa.decimal128(10, 2), 1.25),
        ([DAY, DAY + timedelta(days=1)], pa.timestamp("us", tz="UTC"), DAY.timestamp() * 1e6),
        ([date(1970, 1, 3)], pa.date32(), 2),
        ([timedelta(seconds=2)], pa.duration("us"), 2e6),
    ],
    ids=str,
)
def test_every_quantity_is_numeric(values: list[object], kind: pa.DataType, least: float) -> None:
    assert numeric_of(column_of(values, kind)).least == least


def test_text_and_booleans_are_categories() -> None:
    found = column_of(["b", "a", "b", None, ""])
    assert found.categories is not None
    assert found.categories.counts == (("b", 2), ("", 1), ("a", 1))
    assert found.categories.singletons == 2
    flags = column_of([True, None, True]).categories
    assert flags is not None
    assert flags.counts == (("true", 2),)
    encoded = column_of(pa.array(["a", "b", "a"]).dictionary_encode())
    assert encoded.categories is not None
    assert encoded.categories.counts == (("a", 2), ("b", 1))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([[1.0], None], pa.list_(pa.float64())), ([{"a": 1}], pa.struct([("a", pa.int64())])), ([b"x"], pa.binary())],
    ids=["list", "struct", "binary"],
)
def test_what_is_neither_is_profiled_by_what_is_missing(values: list[object], kind: pa.DataType) -> None:
    found = column_of(values, kind)
    assert (found.numeric, found.categories) == (None, None)
    assert found.nulls == values.count(None)


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.int64(), pa.string(), pa.bool_(), pa.timestamp("us", tz="UTC")], ids=str
)
@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_at_all_is_a_profile(kind: pa.DataType, rows: int) -> None:
    found = column_of([None] * rows, kind)
    assert (found.rows, found.missing, found.present) == (rows, rows, 0)
    assert read_profile(profiled(pa.table({"x": pa.array([None] * rows, kind)})).to_json()).columns == (found,)


def test_bins_stay_few_and_end_at_values() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    numeric = numeric_of(column_of(values))
    assert len(numeric.edges) <= FINE_BINS + 2
    assert set(numeric.edges[1:]) <= set(values.tolist())
    assert sum(numeric.counts) == 10_000
    assert max(numeric.counts) <= 10_000 / FINE_BINS + 1


def test_extreme_numbers_do_not_overflow() -> None:
    numeric = numeric_of(column_of([-1.7976931348623157e308, 1.7976931348623157e308, 1e308]))
    assert np.isfinite(numeric.edges).all()
    assert numeric.mean is not None
    assert np.isfinite(numeric.mean)


def test_a_profile_does_not_depend_on_the_order_or_the_chunks() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=1_000) * 10.0 ** rng.integers(-8, 8, 1_000)
    shuffled = rng.permutation(values)
    whole = profiled(pa.table({"x": values}))
    cut = profiled(pa.table({"x": pa.chunked_array([shuffled[:10], [], shuffled[10:]], pa.float64())}))
    assert whole == cut


def test_with_a_reference_its_bins_and_categories_are_used() -> None:
    reference = profiled(pa.table({"x": [1.0, 2.0, 3.0], "c": ["a", "b", "c"]}))
    current = profiled(pa.table({"x": [0.0, 2.5, 9.0, 9.0], "c": ["z", "a", "z", "z"]}), reference=reference)
    assert numeric_of(current.columns[0]).edges == numeric_of(reference.columns[0]).edges
    assert numeric_of(current.columns[0]).counts == (1, 0, 0, 1, 2)


def test_rare_categories_are_counted_together_but_the_references_keep_their_names() -> None:
    names = [f"c{i:05}" for i in range(MAX_CATEGORIES + 5)]
    often = pa.table({"c": [name for name in names for _ in range(2)] + ["old"]})
    reference = profiled(pa.table({"c": ["old"]}))
    for profile, kept in (
        (profiled(often), MAX_CATEGORIES),
        (profiled(often, reference=reference), MAX_CATEGORIES + 1),
    ):
        categories = profile.columns[0].categories
        assert categories is not None
        assert len(categories.counts) == kept
        assert categories.rest_rows + sum(count for _, count in categories.counts) == often.num_rows
        assert (("old", 1) in categories.counts) == (kept > MAX_CATEGORIES)


def test_the_stored_form_is_read_back_and_refused_if_newer_or_damaged() -> None:
    profile = profiled(pa.table({"x": [1.0, None], "c": ["a", None], "l": [[1], None]}))
    assert read_profile(profile.to_json()) == profile
    with pytest.raises(InputError, match="format 2"):
        read_profile(profile.to_json().replace(b'"format":1', b'"format":2'))
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(profile.to_json()[:-5])


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(InputError, match="no column 'y'"):
        profiled(pa.table({"x": [1]}), ["x", "y"])
