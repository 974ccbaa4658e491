"""Several processes read, compute and commit the same partition, some of them slowly: it never goes back."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from feature_assets.offline.lake import Lake
from feature_assets.offline.table import PartitionedTable, event_table, feature_table
from feature_assets_tests.drills.offline_racer import count_of, counter, counts

pytestmark = [pytest.mark.drill, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]


def values(table: PartitionedTable) -> list[float]:
    """What each version of the one partition says, in the order of their commits."""
    found: list[float] = table.read_versions(columns=("temp",)).column("temp").to_pylist()
    return found


def backwards(found: list[float]) -> list[tuple[float, float]]:
    """Where a version says less than the one that it supersedes."""
    return [(before, after) for before, after in pairwise(found) if after < before]


def test_no_partition_ever_goes_back_to_an_older_state(tmp_path: Path, long_drills: bool) -> None:
    racers, rounds = (5, 60) if long_drills else (3, 8)
    module = "feature_assets_tests.drills.offline_racer"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(tmp_path), str(rounds)], cwd=REPOSITORY, stderr=subprocess.PIPE
        )
        for _ in range(racers)
    ]
    try:
        ended = [(process.wait(timeout=240), process.stderr.read() if process.stderr else b"") for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()
    assert ended == [(0, b"")] * racers
    lake = Lake(str(tmp_path))
    events, features = event_table(lake, counter(str(tmp_path))), feature_table(lake, counts(str(tmp_path)))
    assert len(values(events)) > rounds
    assert backwards(values(events)) == []
    assert backwards(values(features)) == []
    # Whoever counted last has read and computed after it: nothing newer is left behind.
    assert values(events)[-1] == values(features)[-1] == count_of(str(tmp_path)) == racers * rounds


def test_a_version_that_goes_back_would_be_seen() -> None:
    assert backwards([1.0, 3.0, 2.0, 4.0]) == [(3.0, 2.0)]
