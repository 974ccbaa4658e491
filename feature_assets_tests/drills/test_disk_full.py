"""A full disk at each kind of file: no acknowledgement, the last version stays readable, and later it goes on."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from feature_assets.offline.lake import Lake
from feature_assets_tests.drills.full_disk import BOUNDS, DAY
from feature_assets_tests.partitions import feature_rows, speeds

pytestmark = pytest.mark.drill

REPOSITORY = Path(__file__).parents[2]
Attempt = tuple[int, str, int, list[float]]


def attempted(root: Path, kind: str) -> list[Attempt]:
    done = subprocess.run(
        [sys.executable, "-m", "feature_assets_tests.drills.full_disk", str(root), kind],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return [msgspec.json.decode(line, type=Attempt) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["data", "log", "ledger", "checkpoint"])
def test_only_what_was_acknowledged_is_there(tmp_path: Path, kind: str) -> None:
    attempts = attempted(tmp_path, kind)
    assert [bound for bound, *_ in attempts] == list(BOUNDS)
    head, value = (0, 0.0) if kind == "ledger" else (1, 0.0)
    for number, (_, outcome, seen_head, seen) in enumerate(attempts, start=1):
        if outcome == "acknowledged":
            head, value = head + 1, float(number)
        assert (seen_head, seen) == (head, [value])
    outcomes = [outcome for _, outcome, *_ in attempts]
    assert outcomes == sorted(outcomes, reverse=True), "with more space it does not fail again"
    assert outcomes[0] == "full"
    assert outcomes[-1] == "acknowledged"


def test_a_checkpoint_that_cannot_be_written_is_no_error_of_its_commit(tmp_path: Path) -> None:
    acknowledged = sum(outcome == "acknowledged" for _, outcome, *_ in attempted(tmp_path, "checkpoint"))
    checkpoints = len(list(tmp_path.rglob("*.checkpoint.parquet")))
    assert 0 < checkpoints < acknowledged
    assert len(list(tmp_path.rglob("*.sha256"))) == checkpoints


def test_a_log_entry_that_cannot_be_written_takes_its_data_file_with_it(tmp_path: Path) -> None:
    attempts = attempted(tmp_path, "log")
    assert [outcome for _, outcome, *_ in attempts] == ["full"] * (len(BOUNDS) - 1) + ["acknowledged"]
    assert len(list(tmp_path.rglob("month=*/*"))) == 2
    assert {path.suffix for path in tmp_path.rglob("_delta_log/*")} == {".json"}


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    attempts = attempted(tmp_path, "data")
    acknowledged = sum(outcome == "acknowledged" for _, outcome, *_ in attempts)
    assert len(list(tmp_path.rglob("month=*/*"))) == acknowledged + 1
    assert speeds(Lake(str(tmp_path))).commit({DAY: feature_rows(DAY, [99.0])}).seq == acknowledged + 2
