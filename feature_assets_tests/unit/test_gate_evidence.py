"""Gathering evidence: what is in the lake about the versions in a training set, and nothing else."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.version import view_version
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.quality.baseline import check_drift
from feature_assets.quality.consistency import ConsistencyHistory, ConsistencyRecord
from feature_assets.quality.history import Window
from feature_assets.retraining.gate import Evidence, evidence_for
from feature_assets.retraining.retrain import retrain
from feature_assets_tests.delays import TARGET, VIEW, data_of, model_of, weather_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)
VERSION = view_version(VIEW)
JANUARY, FEBRUARY = Window("2026-01-01", "2026-01-03", 3), Window("2026-02-01", "2026-02-03", 4)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """The three commits that the training set pins, and a later one with other weather."""
    lake = Lake(str(tmp_path / "lake"))
    for days, shift in (
        ([date(2026, 1, 1)], 0),
        ([date(2026, 1, 2)], 0),
        ([date(2026, 1, 3)], 0),
        ([date(2026, 2, day) for day in (1, 2, 3)], 3),
    ):
        tables = {day.isoformat(): weather_of(day.toordinal(), 200, day, shift=shift) for day in days}
        feature_table(lake, VIEW).commit(tables, source_seq=dict.fromkeys(tables, 1))
    return lake


def evidence(lake: Lake) -> Evidence:
    return evidence_for(model_of(), data_of(), lake=lake, verdicts=Verdicts(lake), target=TARGET)


def judge(lake: Lake, partition: str, commit_seq: int, *, passed: bool) -> None:
    verdict = Verdict(
        view="weather", version=VERSION, partition=partition, commit_seq=commit_seq, passed=passed, checked_at=NOW
    )
    Verdicts(lake).record([verdict])


def read_back(lake: Lake, *, target: str = TARGET, version: str = VERSION, mismatches: int = 0) -> None:
    record = ConsistencyRecord(
        view="weather",
        version=version,
        target=target,
        pushed_seq=3,
        sampled=9,
        mismatches=mismatches,
        missing=0,
        checked_at=NOW,
    )
    ConsistencyHistory(lake).append(record)


def look_at_drift(lake: Lake, at: datetime) -> None:
    check_drift(
        VIEW,
        VERSION,
        baseline=JANUARY,
        current=FEBRUARY,
        lake=lake,
        verdicts=Verdicts(lake),
        clock=ManualClock(at),
    )


def test_where_there_is_nothing_everything_is_missing(lake: Lake) -> None:
    found = evidence(lake)
    assert (found.champion, found.drift, found.consistency, found.against) == (None, (), (), ())
    assert found.missing == (
        f"view weather (version {VERSION}): no verdict for 2026-01-01, 2026-01-02, 2026-01-03",
        "view weather: never read back from the online store",
    )


def test_verdicts_count_up_to_the_commit_in_the_training_set(lake: Lake) -> None:
    for partition, seq in (("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 3)):
        judge(lake, partition, seq, passed=True)
    judge(lake, "2026-02-01", 4, passed=False)
    found = evidence(lake)
    assert (found.verdicts[0].passed, found.verdicts[0].failed, found.verdicts[0].missing) == (3, (), ())
    assert found.against == ()


def test_a_failed_version_in_the_training_set_speaks_against_it(lake: Lake) -> None:
    judge(lake, "2026-01-02", 2, passed=False)
    assert evidence(lake).against == (f"view weather (version {VERSION}): expectations failed for 2026-01-02",)


def test_consistency_counts_for_the_version_and_the_target(lake: Lake) -> None:
    read_back(lake, target="other", mismatches=1)
    read_back(lake, version="0123456789", mismatches=1)
    assert evidence(lake).consistency == ()
    read_back(lake, mismatches=1)
    assert "9 sampled, 1 differ" in evidence(lake).against[0]
    read_back(lake)
    assert evidence(lake).against == ()


def test_drift_counts_if_it_was_measured_since_the_champion_was_trained(lake: Lake) -> None:
    look_at_drift(lake, NOW)
    assert [one.drifted for one in evidence(lake).drift] == [("wind",)]
    for partition, seq in (("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 3)):
        judge(lake, partition, seq, passed=True)
    read_back(lake)
    trained_at = NOW + timedelta(days=1)
    done = retrain(model_of(), data_of(), evidence=evidence(lake), lake=lake, clock=ManualClock(trained_at))
    found = evidence(lake)
    assert (found.champion, found.champion_since, found.drift) == (done.champion, trained_at, ())
    look_at_drift(lake, trained_at + timedelta(days=1))
    assert [one.drifted for one in evidence(lake).drift] == [("wind",)]
