"""The schedules: which days a tick asks for, by the platform's clock and not by the machine's."""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import ReplayClock
from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.orchestration.build import definitions_of
from feature_assets.orchestration.schedules import days_due, materialize_schedules
from feature_assets_tests.weather import source, view

FIRST = date(2024, 1, 1)
DAY = timedelta(days=1)
NEVER = date(2100, 1, 1)


def view_of(first: int, length: int | None, revisit: int) -> FeatureView:
    """A view whose source has `length` days from the `first` day of 2024 on."""
    start = FIRST + first * DAY
    days = source(start=start, end=None if length is None else start + length * DAY)
    return view(sources=days, revisit=revisit)


VIEWS = st.lists(
    st.builds(view_of, st.integers(0, 20), st.none() | st.integers(1, 20), st.integers(0, 5)), min_size=1, max_size=3
)


@given(VIEWS, st.integers(-5, 50))
def test_yesterday_and_what_may_still_change_as_far_as_somebody_has_it(views: list[FeatureView], number: int) -> None:
    today = FIRST + number * DAY
    back = max(one.revisit for one in views)
    expected = []
    for ago in range(back + 1, 0, -1):
        day = today - ago * DAY
        if any(one.sources[0].start <= day < (one.sources[0].end or NEVER) for one in views):
            expected.append(day)
    assert days_due(views, today) == tuple(expected)


def test_a_view_with_several_sources_has_the_days_that_all_of_them_have() -> None:
    early, late = source(name="early", end=FIRST + 10 * DAY), source(name="late", start=FIRST + 5 * DAY)
    both = view(Sql("SELECT * FROM early JOIN late USING (airport)"), sources=[early, late], revisit=1)
    assert days_due([both], FIRST + 5 * DAY) == ()
    assert days_due([both], FIRST + 6 * DAY) == (FIRST + 5 * DAY,)
    assert days_due([both], FIRST + 11 * DAY) == (FIRST + 9 * DAY,)
    assert days_due([both], FIRST + 12 * DAY) == ()


def evaluated(project: Project, name: str) -> ScheduleExecutionData:
    definitions = definitions_of(project)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(instance=instance, resources=definitions.resources) as context,
    ):
        return definitions.resolve_schedule_def(name).evaluate_tick(context)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReplayClock:
    monkeypatch.setenv("FEATURE_ASSETS_ROOT", str(tmp_path))
    return ReplayClock(tmp_path / "replay_clock.json")


def test_a_tick_asks_for_its_views_and_their_sources_at_the_simulated_day(clock: ReplayClock) -> None:
    reports, other = source(), source(name="other")
    early = view(name="early", sources=reports, schedule="0 1 * * *", revisit=2)
    late = view(name="late", sources=other, schedule="0 6 * * *")
    project = Project("two", sources=[reports, other], views=[late, early], services=[])
    assert [(one.name, one.cron_schedule) for one in materialize_schedules(project)] == [
        ("daily", "0 1 * * *"),
        ("daily_1", "0 6 * * *"),
    ]
    clock.set(datetime(2024, 3, 10, 1, 0, 1, tzinfo=UTC))
    [request] = evaluated(project, "daily").run_requests or []
    assert request.asset_selection == [dg.AssetKey(["events", reports.name]), dg.AssetKey(["features", "early"])]
    assert request.tags["dagster/asset_partition_range_start"] == "2024-03-07"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-03-09"
    [request] = evaluated(project, "daily_1").run_requests or []
    assert request.asset_selection == [dg.AssetKey(["events", "other"]), dg.AssetKey(["features", "late"])]
    assert request.tags["dagster/asset_partition_range_start"] == "2024-03-09"


def test_a_tick_after_the_end_says_why_it_asks_for_nothing(clock: ReplayClock) -> None:
    ended = source(end=date(2024, 2, 1))
    project = Project("one", sources=[ended], views=[dataclasses.replace(view(), sources=(ended,))], services=[])
    clock.set(datetime(2024, 3, 10, tzinfo=UTC))
    found = evaluated(project, "daily")
    assert not found.run_requests
    assert found.skip_message == "no partition is due on 2024-03-10"
