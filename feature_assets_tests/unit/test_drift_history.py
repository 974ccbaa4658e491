"""Drift of a view between two windows of its partitions, and the record of it; the record of consistency."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.version import view_version
from feature_assets.errors import InputError
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.quality.baseline import FOLDER, check_drift
from feature_assets.quality.consistency import ConsistencyHistory, ConsistencyRecord, consistency_of
from feature_assets.quality.history import DriftHistory, DriftRecord, Window
from feature_assets_tests.delays import TARGET, VIEW, weather_of

CLOCK = ManualClock(datetime(2026, 2, 1, tzinfo=UTC))
VERSION = view_version(VIEW)
JANUARY = Window("2026-01-01", "2026-01-10", 1)


def days(first: date, count: int, *, shift: float = 0.0) -> dict[str, pa.Table]:
    each = [first + timedelta(days=number) for number in range(count)]
    return {at.isoformat(): weather_of(at.toordinal(), 100, at, shift=shift) for at in each}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Ten calm days; then four as calm, one that failed its expectations, and four windy ones."""
    lake = Lake(str(tmp_path / "lake"))
    table = feature_table(lake, VIEW)
    for tables in (
        days(date(2026, 1, 1), 10),
        days(date(2026, 1, 11), 4),
        days(date(2026, 1, 15), 1, shift=1_000),
        days(date(2026, 1, 16), 4, shift=2),
    ):
        table.commit(tables, source_seq=dict.fromkeys(tables, 1))
    versions = table.partition_versions()
    pairs = zip(versions["partition"].to_pylist(), versions["commit_seq"].to_pylist(), strict=True)
    Verdicts(lake).record(
        [
            Verdict(view=VIEW.name, version=VERSION, partition=day, commit_seq=n, passed=n != 3, checked_at=CLOCK.now())
            for day, n in pairs
        ]
    )
    return lake


def compared(lake: Lake, current: Window, baseline: Window = JANUARY, reference: str = "") -> DriftRecord:
    return check_drift(
        VIEW,
        VERSION,
        baseline=baseline,
        current=current,
        lake=lake,
        verdicts=Verdicts(lake),
        clock=CLOCK,
        reference=reference,
    )


def test_windows_of_a_view_are_compared_and_what_failed_takes_no_part(lake: Lake) -> None:
    calm = compared(lake, Window("2026-01-11", "2026-01-15", 4)).report
    assert (calm.rows_ref, calm.rows_cur, calm.drifted) == (1_000, 400, ())
    windy = compared(lake, Window("2026-01-16", "2026-01-19", 4)).report
    assert [feature.name for feature in windy.drifted] == ["wind"]
    assert [feature.name for feature in windy.features] == ["wind", "sky", "runways"]


def test_a_window_is_read_in_its_state_at_its_commit(lake: Lake) -> None:
    assert compared(lake, Window("2026-01-11", "2026-01-19", 2)).report.rows_cur == 400


def test_reports_are_kept_as_they_were(lake: Lake) -> None:
    history = DriftHistory(lake, VIEW.name)
    assert history.latest() is None
    first = compared(lake, Window("2026-01-11", "2026-01-14", 4), reference="model a")
    second = compared(lake, Window("2026-01-16", "2026-01-19", 4), reference="model b")
    assert history.records() == [first, second]
    assert history.latest() == second
    assert history.latest(VERSION) == second
    assert history.latest("0123456789") is None
    assert first.report.features[1].bins[0].label in {"clear", "cloudy", "storm"}


def test_the_baselines_profile_is_made_once(lake: Lake) -> None:
    compared(lake, Window("2026-01-11", "2026-01-14", 4))
    at = (FOLDER, VIEW.name, VERSION)
    assert lake.names(*at) == ("2026-01-01_2026-01-10_1.json",)
    kept = lake.read_bytes(*at, "2026-01-01_2026-01-10_1.json")
    compared(lake, Window("2026-01-16", "2026-01-19", 4))
    assert lake.read_bytes(*at, "2026-01-01_2026-01-10_1.json") == kept
    lake.write_bytes(b"{", *at, "2026-01-01_2026-01-10_1.json")
    with pytest.raises(InputError, match="cannot be read"):
        compared(lake, Window("2026-01-16", "2026-01-19", 4))


def test_a_window_without_rows_is_no_drift(lake: Lake) -> None:
    report = compared(lake, Window("2027-01-01", "2027-01-02", 4)).report
    assert (report.rows_cur, report.drifted) == (0, ())
    assert {feature.reason for feature in report.features} == {"no rows to compare"}


@pytest.mark.parametrize("window", [Window("2026-01-02", "2026-01-01", 1), Window("yesterday", "2026-01-01", 1)])
def test_a_window_that_is_none_is_refused(lake: Lake, window: Window) -> None:
    with pytest.raises(InputError, match="window"):
        compared(lake, window)


@dataclass(frozen=True)
class Found:
    sampled: int
    mismatches: int
    missing: int


@pytest.mark.parametrize(
    ("found", "passed"),
    [(Found(5, 0, 0), True), (Found(0, 0, 0), False), (Found(5, 1, 0), False), (Found(5, 0, 1), False)],
    ids=str,
)
def test_a_read_back_of_nothing_is_no_evidence(found: Found, passed: bool) -> None:
    assert consistency_of("weather", "v", TARGET, 3, found, CLOCK).passed is passed


def test_the_newest_evidence_on_a_version_and_target_counts(tmp_path: Path) -> None:
    history = ConsistencyHistory(Lake(str(tmp_path)))
    assert history.latest("weather", "v", TARGET) is None
    records = [
        consistency_of("weather", version, target, 3, Found(5, wrong, 0), CLOCK)
        for version, target, wrong in (("v", TARGET, 1), ("v", TARGET, 0), ("w", TARGET, 2), ("v", "other", 3))
    ]
    for record in records:
        history.append(record)
    assert history.latest("weather", "v", TARGET) == records[1]
    assert isinstance(records[1], ConsistencyRecord)
