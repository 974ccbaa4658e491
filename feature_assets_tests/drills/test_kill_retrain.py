"""Killed at each named step of a retraining: the old champion or the new one, and running it again finishes it."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from feature_assets.crash import ARMED_BY
from feature_assets.offline.lake import Lake
from feature_assets.retraining.decisions import Decisions, Kind
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.retrain import Outcome
from feature_assets_tests.delays import UNTIL, data_of

pytestmark = pytest.mark.drill

POINTS = ["retrain.after_train", "retrain.after_model", "retrain.after_decision", "retrain.after_promote"]
LATER = UNTIL + timedelta(days=28)
PROCESS = "feature_assets_tests.drills.retraining_process"
WEAK, STRONG = (600, 1.0), (12_000, 2.0)
ROOT = Path(__file__).parents[2]


def retrained(lake: Lake, seed: int, until: datetime, form: tuple[int, float], kill_at: str = "") -> Outcome | None:
    """Run it in a process of its own; None if it was killed, and it must be if it was to be."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if kill_at:
        environment[ARMED_BY] = kill_at
    rows, strength = form
    done = subprocess.run(
        [sys.executable, "-m", PROCESS, lake.root, str(seed), until.isoformat(), str(rows), str(strength)],
        env=environment,
        capture_output=True,
        check=False,
        timeout=240,
    )
    if kill_at:
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        return None
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout, type=Outcome)


def counted(lake: Lake) -> Counter[tuple[Kind, str]]:
    return Counter((row.kind, row.candidate) for row in Decisions(lake).rows("late"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Outcome, Counter[tuple[Kind, str]]]:
    """What it looks like if nobody is killed: a first champion, and a better one that takes over."""
    lake = Lake(str(tmp_path_factory.mktemp("undisturbed")))
    first, second = retrained(lake, 0, UNTIL, WEAK), retrained(lake, 1, LATER, STRONG)
    assert first is not None
    assert second is not None
    assert first.champion != second.champion == second.model_id
    return first, second, counted(lake)


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_run_again(
    point: str, tmp_path: Path, undisturbed: tuple[Outcome, Outcome, Counter[tuple[Kind, str]]]
) -> None:
    first, second, decisions = undisturbed
    lake = Lake(str(tmp_path / "lake"))
    registry = ModelRegistry(lake, "late")
    for seed, until, form, before, after in ((0, UNTIL, WEAK, None, first), (1, LATER, STRONG, first, second)):
        retrained(lake, seed, until, form, kill_at=point)
        expected = after if point == "retrain.after_promote" else before
        champion = registry.champion()
        assert champion == (expected.champion if expected is not None else None)
        if champion is not None:
            assert len(registry.load(champion).predict(data_of(7, rows=50).table)) == 50
        for id_ in registry.ids():
            registry.load(id_)
        assert retrained(lake, seed, until, form) == after
        assert registry.champion() == after.champion
    assert counted(lake) == decisions, "nothing was decided twice"
    assert registry.ids() == tuple(sorted([str(first.model_id), str(second.model_id)]))


def test_killed_at_every_point_in_turn_and_run_again(
    tmp_path: Path, undisturbed: tuple[Outcome, Outcome, Counter[tuple[Kind, str]]]
) -> None:
    first, _, _ = undisturbed
    lake = Lake(str(tmp_path / "lake"))
    for point in POINTS:
        retrained(lake, 0, UNTIL, WEAK, kill_at=point)
    assert retrained(lake, 0, UNTIL, WEAK) == first
    assert set(counted(lake).values()) == {1}
