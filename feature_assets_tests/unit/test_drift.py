"""Drift: large enough to matter and larger than chance, or it is none."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from feature_assets.errors import InputError
from feature_assets.quality import distances
from feature_assets.quality.drift import DriftReport, FeatureDrift, drifted
from feature_assets.quality.profile import profiled
from feature_assets.quality.report import PANELS, drift_rows, image, markdown, plot

RNG = np.random.default_rng(5)
NORMAL = RNG.normal(size=2_000)


def compared(reference: object, current: object, kind: pa.DataType | None = None) -> FeatureDrift:
    then = profiled(pa.table({"x": pa.array(reference, kind)}))
    return drifted(then, profiled(pa.table({"x": pa.array(current, kind)}), reference=then)).features[0]


def test_the_same_rows_have_not_drifted() -> None:
    found = compared(NORMAL, NORMAL)
    assert (found.drifted, found.psi, found.ks, found.p_value) == (False, 0.0, 0.0, 1.0)
    assert found.reason == "no change that matters"
    assert len(found.bins) == 10


@pytest.mark.parametrize("change", ["shift", "scale", "jump", "constant", "missing", "gone", "infinite"])
def test_sudden_changes_are_seen_and_explained(change: str) -> None:
    fresh = np.random.default_rng(6).normal(size=1_000)
    current: dict[str, Sequence[float | None] | np.ndarray[tuple[int], np.dtype[np.float64]]] = {
        "shift": fresh + 1,
        "scale": fresh * 4,
        "jump": fresh + 1e6,
        "constant": np.zeros(1_000),
        "missing": [None if i % 3 == 0 else float(value) for i, value in enumerate(fresh)],
        "gone": [None] * 1_000,
        "infinite": np.where(fresh > 0, np.inf, fresh),
    }
    found = compared(NORMAL, current[change], pa.float64())
    assert found.drifted, found
    assert found.p_value < 0.001
    says = {"missing": "missing values 0.0% -> 33.4%", "gone": "missing values 0.0% -> 100.0%"}
    assert says.get(change, " > ") in found.reason


def test_a_change_that_is_real_but_small_does_not_matter() -> None:
    many = np.random.default_rng(7).normal(size=(2, 200_000))
    found = compared(many[0], many[1] + 0.1)
    assert not found.drifted
    assert found.psi is not None
    assert 0.005 < found.psi < 0.05


def test_few_rows_raise_no_alarm_and_say_so() -> None:
    rng = np.random.default_rng(8)
    for rows in (1, 2, 3, 5, 10):
        found = compared(NORMAL, rng.normal(size=rows))
        assert not found.drifted
        assert found.psi_noise is not None
        assert found.psi_noise > 9 / rows
    shifted = compared(NORMAL, rng.normal(size=4) + 1)
    assert not shifted.drifted
    assert "within chance for 4 rows" in shifted.reason


@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.list_(pa.int64())], ids=str)
def test_columns_without_any_value_compare(kind: pa.DataType) -> None:
    assert not compared([None] * 500, [None] * 500, kind).drifted
    assert not compared([], [None] * 500, kind).drifted
    assert compared([None] * 500, [], kind).reason == "no rows to compare"


def test_a_column_that_was_always_missing_and_is_filled_has_drifted() -> None:
    found = compared([None] * 500, [1.0] * 500, pa.float64())
    assert found.drifted
    assert (found.psi, found.ks) == (None, None)
    assert found.null_share_ref == 1.0


def test_constant_columns_drift_when_the_constant_changes_either_way() -> None:
    assert not compared([3.0] * 400, [3.0] * 50).drifted
    for other in (2.0, 4.0):
        found = compared([3.0] * 400, [other] * 50)
        assert (found.drifted, found.ks) == (True, 1.0)


def test_a_value_that_most_rows_share_has_a_bin_of_its_own() -> None:
    """Nine of ten rows are zero: with bins of equal share alone, the few below it would share theirs."""
    rng = np.random.default_rng(9)
    reference = np.where(rng.random(5_000) < 0.9, 0.0, rng.normal(size=5_000))
    current = np.where(rng.random(5_000) < 0.4, 0.0, -np.abs(rng.normal(size=5_000)))
    found = compared(reference, current)
    assert found.drifted
    assert found.psi is not None
    assert found.psi > 1


def test_categories() -> None:
    reference = ["a"] * 500 + ["b"] * 300 + ["c"] * 200
    same = compared(reference, reference[::2])
    assert not same.drifted
    moved = compared(reference, ["a"] * 100 + ["b"] * 300 + ["c"] * 100)
    assert moved.drifted
    assert moved.psi is not None
    assert [one.label for one in moved.bins] == ["a", "b", "c", "(other)"]


def test_a_new_category_is_named_and_matters_from_its_share_on() -> None:
    reference = ["a"] * 500 + ["b"] * 500
    rare = compared(reference, ["a"] * 490 + ["b"] * 490 + ["new"] * 20)
    assert (rare.drifted, rare.new_categories, rare.new_share) == (False, ("new",), 0.02)
    often = compared(reference, ["a"] * 450 + ["b"] * 450 + ["new"] * 100)
    assert often.drifted
    assert "10.0% of rows in 1 new categories" in often.reason


def test_identifiers_are_always_new_and_that_is_no_drift() -> None:
    found = compared([f"u{i}" for i in range(1_000)], [f"u{i}" for i in range(1_000, 2_000)])
    assert found.new_share == 1.0
    assert not found.drifted


def test_what_a_tiny_reference_never_saw_is_not_new() -> None:
    """Five rows saw one category; that the other 1,000 hold more was to be expected."""
    found = compared(["a"] * 5, ["a"] * 200 + ["b"] * 800)
    assert (found.drifted, found.new_categories) == (False, ("b",))


def test_a_column_that_is_gone_or_of_another_kind_has_drifted() -> None:
    then = profiled(pa.table({"x": [1.0], "y": ["a"]}))
    now = profiled(pa.table({"y": [1.0]}), reference=then)
    gone, other = drifted(then, now).features
    assert (gone.drifted, gone.reason) == (True, "the column is gone")
    assert (other.drifted, other.reason) == (True, "its type changed from string to double")


def test_profiles_with_other_bins_are_refused() -> None:
    then, now = profiled(pa.table({"x": [1.0, 2.0]})), profiled(pa.table({"x": [1.0, 3.0]}))
    with pytest.raises(InputError, match="other bins"):
        drifted(then, now)


def test_the_limit_is_the_callers() -> None:
    shifted = np.random.default_rng(3).normal(size=2_000) + 0.4
    then = profiled(pa.table({"x": NORMAL}))
    now = profiled(pa.table({"x": shifted}), reference=then)
    assert not drifted(then, now, max_psi=0.25).features[0].drifted
    assert drifted(then, now, max_psi=0.1).features[0].drifted


def test_more_columns_need_more_proof() -> None:
    """One column's p-value is held against the number of tests in the whole report."""
    then = {f"c{i}": NORMAL for i in range(50)}
    alone = compared(NORMAL, NORMAL[:20] + 1.2).p_value
    reference = profiled(pa.table(then))
    among = drifted(
        reference,
        profiled(pa.table({**{n: v[:20] for n, v in then.items()}, "c0": NORMAL[:20] + 1.2}), reference=reference),
    )
    assert among.features[0].p_value == pytest.approx(alone * 50)


def test_gradual_drift_is_seen_once_it_adds_up() -> None:
    rng = np.random.default_rng(11)
    reference = profiled(pa.table({"x": NORMAL}))
    found = [
        drifted(reference, profiled(pa.table({"x": rng.normal(size=2_000) + week * 0.1}), reference=reference))
        for week in range(12)
    ]
    flags = [bool(report.drifted) for report in found]
    assert flags == sorted(flags), "once it has drifted, it goes on having drifted"
    assert flags[:3] == [False, False, False]
    assert flags[-1]
    psis = [report.features[0].psi for report in found]
    assert psis[-1] is not None
    assert psis[-1] > 0.25


# ---- the distances themselves, against an outside judge
@pytest.mark.parametrize(("a", "b"), [(50, 50), (1_000, 200), (7, 3)])
def test_exact_ks_is_scipys(a: int, b: int) -> None:
    rng = np.random.default_rng(a)
    left, right = rng.integers(0, 20, a).astype(float), rng.integers(3, 20, b).astype(float)
    assert distances.exact_ks(left, right) == pytest.approx(stats.ks_2samp(left, right, method="asymp").statistic)


def test_the_gamma_tail_is_scipys() -> None:
    for degrees in (1, 2, 5, 9, 50, 400):
        for x in (1e-6, 0.5, 3.0, 9.0, 60.0, 500.0):
            expected = float(stats.chi2.sf(x, degrees))
            assert distances.upper_gamma(degrees / 2, x / 2) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_kolmogorov_tail_is_scipys_for_many_rows() -> None:
    for distance in (0.0005, 0.001, 0.005, 0.01):
        expected = float(stats.kstwobign.sf(distance * math.sqrt(50_000)))
        assert distances.kolmogorov_tail(distance, 100_000, 100_000) == pytest.approx(expected, rel=0.02, abs=1e-9)


def test_the_homogeneity_tail_is_scipys_where_nothing_is_pooled() -> None:
    left, right = np.array([50, 40, 30, 20]), np.array([30, 40, 50, 60])
    expected = float(stats.chi2_contingency(np.array([left, right]), correction=False).pvalue)
    assert distances.homogeneity_tail(left, right) == pytest.approx(expected)


def test_sparse_bins_are_pooled_before_they_are_tested() -> None:
    assert distances.homogeneity_tail(np.array([1, 1, 1]), np.array([1, 1, 1])) == 1.0
    assert distances.homogeneity_tail(np.array([10_000, 0]), np.array([99, 1])) == 1.0


def test_ks_of_a_shift_is_that_of_the_normal_distribution() -> None:
    for shift in (0.1, 0.5, 1.0):
        expected = 2 * stats.norm.cdf(shift / 2) - 1
        assert distances.ks_of_shift(shift**2) == pytest.approx(float(expected))


def test_the_noise_of_the_index_is_what_no_drift_shows_on_average() -> None:
    rng = np.random.default_rng(2)
    shown = []
    for _ in range(300):
        counts = [np.bincount(rng.integers(0, 10, n), minlength=10) for n in (1_000, 500)]
        shown.append(distances.psi(counts[0], counts[1]))
    assert np.mean(shown) == pytest.approx(distances.psi_noise(10, 1_000, 500), rel=0.1)


# ---- what people see
def _report() -> DriftReport:
    rng = np.random.default_rng(1)
    tables = [
        pa.table(
            {
                **{f"n{i}": rng.normal(size=300) + shift * i for i in range(10)},
                "c$1|x": rng.choice(["a", "b_{2}"], 300),
                "empty": pa.nulls(300, pa.float64()),
            }
        )
        for shift in (0, 1)
    ]
    then = profiled(tables[0])
    return drifted(then, profiled(tables[1], reference=then))


def test_the_table_names_every_column_and_says_why() -> None:
    report = _report()
    text = markdown(report)
    assert text.startswith("9 of 12 columns drifted (300 reference rows, 300 current rows, PSI limit 0.25).")
    assert all(feature.name.replace("|", "\\|") in text for feature in report.features)
    assert {line.count(" | ") for line in text.splitlines()[2:] if not line.startswith("|---")} == {6}
    rows = drift_rows(report)
    assert [row["feature"] for row in rows] == [feature.name for feature in report.features]
    assert rows[-1]["psi"] == -1.0


def test_the_plot_is_a_png_and_the_same_each_time() -> None:
    report = _report()
    png = plot(report)
    assert png.startswith(b"\x89PNG\r\n")
    assert png == plot(report)
    assert image(png, "drift").startswith("![drift](data:image/png;base64,iVBOR")
    nothing = DriftReport(features=(), rows_ref=0, rows_cur=0)
    assert plot(nothing).startswith(b"\x89PNG\r\n")
    assert len(report.features) > PANELS
