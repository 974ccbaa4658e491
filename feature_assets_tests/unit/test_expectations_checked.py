"""Checking commits: a verdict for whatever has none, recorded once, and never one for what was not looked at."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.compute.engine import view_schema
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Expectation
from feature_assets.offline.lake import Lake
from feature_assets.offline.materialize import ViewCommit
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.quality.checked import check_commit, verdicts_at
from feature_assets.quality.expectations import results_of
from feature_assets_tests.delays import VIEW, weather_of

CLOCK = ManualClock(datetime(2026, 2, 1, tzinfo=UTC))
CALM = replace(
    VIEW,
    expectations=(
        Expectation("expect_column_values_to_be_between", "wind", arguments={"max_value": 50}),
        Expectation("expect_table_row_count_to_be_between", severity="warning", arguments={"min_value": 1}),
    ),
)
VERSION = view_version(CALM)
EMPTY = view_schema(CALM).append(pa.field("bucket", pa.int32())).empty_table()


def day(number: int, *, shift: float = 0.0, seed: int = 0) -> dict[str, pa.Table]:
    at = date(2026, 1, number)
    return {at.isoformat(): weather_of(seed, 20, at, shift=shift)}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def committed(lake: Lake, tables: Mapping[str, pa.Table], *, force: bool = False) -> ViewCommit:
    done = feature_table(lake, CALM).commit(
        tables, source_seq=dict.fromkeys(tables, 1), force=frozenset(tables) if force else frozenset()
    )
    return ViewCommit(commit=done, tables=tables, source_seq=dict.fromkeys(tables, 1))


def checked(lake: Lake, done: ViewCommit) -> list[tuple[str, int, bool]]:
    found = check_commit(CALM, done, lake=lake, verdicts=Verdicts(lake), clock=CLOCK)
    return [(verdict.partition, verdict.commit_seq, verdict.passed) for verdict in found]


def test_the_view_version_does_not_depend_on_its_expectations() -> None:
    assert view_version(VIEW) == VERSION


def test_every_written_partition_gets_its_verdict(lake: Lake) -> None:
    done = committed(lake, {**day(1), **day(2, shift=100), "2026-01-03": EMPTY})
    assert checked(lake, done) == [("2026-01-01", 1, True), ("2026-01-02", 1, False), ("2026-01-03", 1, True)]
    recorded = Verdicts(lake)
    assert recorded.excluded(CALM.name, VERSION) == {("2026-01-02", 1)}
    warnings = {row["partition"]: row["warnings"] for row in recorded.of(CALM.name, VERSION).to_pylist()}
    assert warnings == {"2026-01-01": 0, "2026-01-02": 0, "2026-01-03": 1}


def test_what_a_killed_run_left_behind_is_evaluated_from_the_lake(lake: Lake) -> None:
    """Two commits without verdicts, over partitions that later ones, the run's own among them, change again."""
    committed(lake, {**day(1, shift=100), **day(2), "2026-01-03": EMPTY})
    committed(lake, {**day(1, seed=5), **day(4, shift=100)})
    done = committed(lake, {**day(1, seed=6), **day(4)})
    assert checked(lake, done) == [
        ("2026-01-01", 1, False),
        ("2026-01-02", 1, True),
        ("2026-01-03", 1, True),
        ("2026-01-01", 2, True),
        ("2026-01-04", 2, False),
        ("2026-01-01", 3, True),
        ("2026-01-04", 3, True),
    ]
    assert feature_table(lake, CALM).read(excluded=Verdicts(lake).excluded(CALM.name, VERSION)).num_rows == 60


def test_an_unchanged_partition_answers_with_the_verdict_it_has(lake: Lake) -> None:
    checked(lake, committed(lake, day(1)))
    again = committed(lake, day(1))
    assert (again.commit.seq, again.commit.unchanged) == (None, ("2026-01-01",))
    assert checked(lake, again) == [("2026-01-01", 1, True)]
    assert Verdicts(lake).of(CALM.name, VERSION).num_rows == 1


def test_the_first_recorded_verdict_is_the_one_that_is_returned(lake: Lake) -> None:
    """Another process was faster: what counts is what is recorded, whatever this one found."""
    done = committed(lake, day(1))
    faster = Verdict(
        view=CALM.name, version=VERSION, partition="2026-01-01", commit_seq=1, passed=False, checked_at=CLOCK.now()
    )

    class Racing(Verdicts):
        def record(self, verdicts: object, *, run_id: str = "") -> int:
            super().record([faster], run_id=run_id)
            assert isinstance(verdicts, list)
            return super().record(verdicts, run_id=run_id)

    found = check_commit(CALM, done, lake=lake, verdicts=Racing(lake), clock=CLOCK)
    assert [verdict.passed for verdict in found] == [False]


def test_results_are_kept_with_the_verdict(lake: Lake) -> None:
    done = committed(lake, day(1, shift=100))
    (verdict,) = check_commit(CALM, done, lake=lake, verdicts=Verdicts(lake), clock=CLOCK)
    between, rows = results_of(verdict)
    assert (between.failing_rows, between.considered, rows.observed) == (20, 20, "20")


def test_the_state_of_a_view_is_as_good_as_the_newest_version_of_each_partition(lake: Lake) -> None:
    verdicts = Verdicts(lake)
    checked(lake, committed(lake, {**day(1), **day(2)}))
    checked(lake, committed(lake, day(1, shift=100)))
    committed(lake, day(3))
    states = [verdicts_at(CALM, VERSION, n, lake=lake, verdicts=verdicts) for n in (1, 2, 3)]
    assert [(state.passed, state.failed, state.missing) for state in states] == [
        (2, (), ()),
        (1, ("2026-01-01",), ()),
        (1, ("2026-01-01",), ("2026-01-03",)),
    ]
