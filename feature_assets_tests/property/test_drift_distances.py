"""Distances and profiles against counting by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.quality import distances
from feature_assets.quality.drift import drifted
from feature_assets.quality.profile import profiled
from feature_assets_tests.oracle import drift as naive

VALUES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)
SAMPLES = st.lists(VALUES, min_size=1, max_size=40)
COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12)
ANYTHING = st.none() | st.floats() | st.integers(-3, 3).map(float)
TEXT = st.none() | st.text(max_size=3)


@given(COUNTS)
def test_psi_is_its_definition(pairs: list[tuple[int, int]]) -> None:
    reference, current = ([pair[side] for pair in pairs] for side in (0, 1))
    found = distances.psi(np.array(reference), np.array(current))
    expected = naive.psi(reference, current) if sum(reference) and sum(current) else 0.0
    assert found == pytest.approx(expected, abs=1e-12)
    assert found >= 0


@given(SAMPLES, SAMPLES)
def test_ks_of_samples_and_of_their_bins(reference: list[float], current: list[float]) -> None:
    exact = naive.ks(reference, current)
    assert distances.exact_ks(np.array(reference), np.array(current)) == pytest.approx(exact)
    then = profiled(pa.table({"x": reference}))
    now = profiled(pa.table({"x": current}), reference=then)
    numeric = [profile.columns[0].numeric for profile in (then, now)]
    assert numeric[0] is not None
    assert numeric[1] is not None
    counts = [np.array(side.counts) for side in numeric if side is not None]
    assert counts[1].tolist() == naive.counts(current, numeric[0].edges)
    binned = distances.ks(counts[0], counts[1])
    widest = max(float((side / side.sum()).max()) for side in counts)
    assert exact - widest - 1e-12 <= binned <= exact + 1e-12


@given(SAMPLES)
def test_few_distinct_values_make_binned_ks_exact_at_them(reference: list[float]) -> None:
    then = profiled(pa.table({"x": reference}))
    half = reference[::2]
    now = profiled(pa.table({"x": half}), reference=then)
    assert drifted(then, now).features[0].ks == pytest.approx(naive.ks(reference, half))


@given(st.lists(ANYTHING, max_size=60), st.lists(ANYTHING, max_size=60), st.lists(TEXT, max_size=60))
def test_anything_compares_with_anything_and_itself_has_not_drifted(
    one: list[float | None], other: list[float | None], text: list[str | None]
) -> None:
    for left, right, kind in ((one, other, pa.float64()), (text, text[::-2], pa.string())):
        tables = [pa.table({"x": pa.array(side, kind)}) for side in (left, right)]
        then = profiled(tables[0])
        found = drifted(then, profiled(tables[1], reference=then)).features[0]
        assert found.psi is None or np.isfinite(found.psi)
        assert found.ks is None or 0 <= found.ks <= 1
        assert 0 <= found.p_value <= 1
        assert not drifted(then, profiled(tables[0], reference=then)).drifted


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.01, 0.99))
def test_the_bound_is_above_the_binomial_tail(successes: int, trials: int, probability: float) -> None:
    found = distances.chernoff_tail(min(successes, trials), trials, probability)
    assert found >= naive.binomial_tail(min(successes, trials), trials, probability) * (1 - 1e-9)
