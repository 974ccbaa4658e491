"""`kill -9` at each named point of each step, then the step again: nothing lost, doubled or half visible."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feature_assets.crash import ARMED_BY
from feature_assets.offline.lake import Lake
from feature_assets.offline.maintenance import history, tables, vacuum
from feature_assets_tests.drills.offline_steps import STEPS, state, take

pytestmark = [pytest.mark.drill, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
COMMIT = ("table.after_files", "table.after_log")
MATERIALIZE = ("materialize.before_commit", *COMMIT, "materialize.after_commit")
POINTS = {
    "source": MATERIALIZE,
    "view": MATERIALIZE,
    "verdict": COMMIT,
    "ledger": COMMIT,
    "correct_source": MATERIALIZE,
    "correct_view": MATERIALIZE,
    "compact": ("compact.before_commit", "table.after_log", "compact.after_commit"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each step, the lake as it was before it; and under "end" as it was after the last."""
    lakes: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("undisturbed") / "lake"
    root.mkdir()
    for step in STEPS:
        lakes[step] = tmp_path_factory.mktemp(step) / "lake"
        shutil.copytree(root, lakes[step])
        take(str(root), step)
    lakes["end"] = root
    return lakes


def killed_at(point: str, root: Path, step: str) -> None:
    """Take the step in a process that dies at the point."""
    done = subprocess.run(
        [sys.executable, "-m", "feature_assets_tests.drills.offline_steps", str(root), step],
        cwd=REPOSITORY,
        env={**os.environ, ARMED_BY: point},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def number_of_commits(root: Path) -> dict[str, int]:
    lake = Lake(str(root))
    return {"/".join(path): len(history(lake, *path)) for path in tables(lake)}


@pytest.mark.parametrize(("step", "point"), [(step, point) for step in STEPS for point in POINTS[step]])
def test_the_step_again_is_as_if_nothing_had_happened(
    undisturbed: dict[str, Path], tmp_path: Path, step: str, point: str
) -> None:
    root = tmp_path / "lake"
    before, after = undisturbed[step], undisturbed[[*STEPS, "end"][STEPS.index(step) + 1]]
    shutil.copytree(before, root)
    killed_at(point, root, step)
    seen, old, new = state(str(root)), state(str(before)), state(str(after))
    for table, rows in seen.items():
        assert rows in (old[table], new[table]), f"{table} is neither as it was nor as it will be"
    take(str(root), step)
    assert state(str(root)) == new
    if step != "ledger":
        # Not a commit more than without the kill: what was there already was not written again.
        assert number_of_commits(root) == number_of_commits(after)


def test_what_a_killed_writer_leaves_is_taken_away_by_vacuum(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "lake"
    shutil.copytree(undisturbed["source"], root)
    killed_at("table.after_files", root, "source")
    take(str(root), "source")
    lake, path = Lake(str(root)), ("events", "reports")
    files = sorted(root.glob("events/reports/month=*/*.parquet"))
    assert len(files) == 2
    for file in files:
        os.utime(file, (0, 0))
    expected = state(str(root))
    assert len(vacuum(lake, *path, orphans=True)) == 1
    assert state(str(root)) == expected
