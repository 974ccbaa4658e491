"""The area under the ROC curve and its bootstrap, against counting pairs."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feature_assets.errors import RetrainingError
from feature_assets.retraining.metrics import MIN_BLOCKS, auc, paired_bootstrap
from feature_assets_tests.oracle.auc import auc as naive_auc

ROWS = st.lists(
    st.tuples(st.integers(0, 1).map(float), st.integers(-3, 3).map(float) | st.floats(-1e9, 1e9)),
    min_size=2,
    max_size=40,
)


@given(ROWS)
def test_it_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[float, float]]) -> None:
    labels, scores = [row[0] for row in rows], [row[1] for row in rows]
    assume(0 < sum(labels) < len(labels))
    assert auc(np.array(labels), np.array(scores)) == pytest.approx(naive_auc(labels, scores), abs=1e-12)


@given(ROWS)
def test_turning_the_scores_round_turns_the_area_round(rows: list[tuple[float, float]]) -> None:
    labels, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assume(0 < labels.sum() < len(labels))
    assert auc(labels, scores) + auc(labels, -scores) == pytest.approx(1.0)


@given(st.integers(0, 5))
def test_the_bootstrap_is_that_of_resampled_rows(seed: int) -> None:
    """Drawn again with the same seed, row by row and by the naive area."""
    rng = np.random.default_rng(100 + seed)
    labels = (rng.random(30) < 0.5).astype(float)
    champion, challenger = rng.integers(0, 5, 30).astype(float), rng.normal(size=30) + labels
    found = paired_bootstrap(labels, champion, challenger, seed=seed, resamples=20)
    drawn, differences = np.random.default_rng(seed), []
    for _ in range(20):
        rows = drawn.integers(0, 30, 30)
        differences.append(
            naive_auc(labels[rows].tolist(), challenger[rows].tolist())
            - naive_auc(labels[rows].tolist(), champion[rows].tolist())
        )
    assert found.lower == pytest.approx(float(np.quantile(differences, 0.05)))
    assert found.upper == pytest.approx(float(np.quantile(differences, 0.95)))
    assert found.units == 30


def _scores(seed: int, rows: int, strength: float) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.4).astype(np.float64)
    return labels, labels * strength + rng.normal(size=rows)


def test_the_bounds_enclose_the_difference_and_narrow_with_rows() -> None:
    widths = []
    for rows in (100, 1_000, 10_000):
        labels, champion = _scores(1, rows, 0.5)
        challenger = champion + labels * 0.5
        found = paired_bootstrap(labels, champion, challenger, seed=3, resamples=200)
        assert found.lower <= found.difference <= found.upper
        assert found.difference == pytest.approx(found.challenger_auc - found.champion_auc)
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)


def test_a_pair_is_compared_more_sharply_than_two_strangers() -> None:
    """What makes the comparison paired: two models that err on the same rows differ surely by little."""
    labels, champion = _scores(2, 2_000, 1.0)
    found = paired_bootstrap(labels, champion, champion, seed=1, resamples=100)
    assert (found.lower, found.upper, found.difference) == (0.0, 0.0, 0.0)


def test_the_bound_is_wrong_as_often_as_it_says() -> None:
    """Two equally good models: the challenger is called surely better about five times in a hundred, not thirty."""
    wrong = 0
    for seed in range(200):
        labels, champion = _scores(seed, 300, 1.0)
        challenger = labels + np.random.default_rng(1_000 + seed).normal(size=300)
        wrong += paired_bootstrap(labels, champion, challenger, seed=seed, resamples=200).lower > 0
    assert 2 <= wrong <= 20


def test_days_are_resampled_whole_if_there_are_enough() -> None:
    labels, champion = _scores(4, 1_000, 1.0)
    challenger = champion + np.random.default_rng(0).normal(size=1_000)
    many = paired_bootstrap(labels, champion, challenger, blocks=np.arange(1_000) // 50, seed=1, resamples=50)
    few = paired_bootstrap(labels, champion, challenger, blocks=np.arange(1_000) // 200, seed=1, resamples=50)
    assert (many.units, few.units) == (20, 1_000)
    assert len(np.unique(np.arange(1_000) // 200)) < MIN_BLOCKS


def test_clumped_rows_are_worth_less_than_as_many_independent_ones() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat((rng.random(40) < 0.5).astype(float), 50)
    champion = np.repeat(rng.normal(size=40), 50)
    challenger = np.repeat(rng.normal(size=40), 50)
    blocks = np.repeat(np.arange(40), 50)
    by_rows = paired_bootstrap(labels, champion, challenger, seed=1, resamples=200)
    by_blocks = paired_bootstrap(labels, champion, challenger, blocks=blocks, seed=1, resamples=200)
    assert by_blocks.upper - by_blocks.lower > 3 * (by_rows.upper - by_rows.lower)


@pytest.mark.parametrize(
    ("labels", "scores", "says"),
    [
        ([1.0, 1.0], [0.1, 0.2], "only one"),
        ([1.0, 0.0], [0.1, float("nan")], "1 scores are NaN"),
        ([1.0, 0.5], [0.1, 0.2], "0 or 1"),
        ([], [], "0 labels"),
        ([1.0, 0.0], [0.1], "2 labels and 1 scores"),
    ],
    ids=["one class", "nan", "label", "empty", "lengths"],
)
def test_what_has_no_area_is_refused(labels: list[float], scores: list[float], says: str) -> None:
    with pytest.raises(RetrainingError, match=says):
        auc(np.array(labels), np.array(scores))
