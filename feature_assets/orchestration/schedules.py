"""Schedules: when days are materialized, when drift is looked at, when retraining is considered.

Invariant: which days a tick asks for follows from the platform's clock (so a simulated clock works in the UI too),
never from what ran before; asking for a day twice is harmless.
"""

from collections import defaultdict
from datetime import date, timedelta

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView
from feature_assets.orchestration.assets.keys import source_key, view_key
from feature_assets.orchestration.jobs import DRIFT_JOB, MATERIALIZE_JOB, RETRAIN_JOB
from feature_assets.orchestration.partitions import day_range, range_tags, view_days
from feature_assets.orchestration.resources import Platform

DRIFT_CRON = "0 8 * * *"
RETRAIN_CRON = "0 9 * * 1"


def materialize_schedules(project: Project) -> list[dg.ScheduleDefinition]:
    """One schedule per distinct cron of the project's views."""
    by_cron: dict[str, list[FeatureView]] = defaultdict(list)
    for view in project.views:
        by_cron[view.schedule].append(view)
    return [_materialize_schedule(project, cron, views, i) for i, (cron, views) in enumerate(sorted(by_cron.items()))]


def _materialize_schedule(project: Project, cron: str, views: list[FeatureView], index: int) -> dg.ScheduleDefinition:
    sources = {source.name: source for view in views for source in view.sources}
    selection = [source_key(source) for source in sources.values()] + [view_key(view) for view in views]

    @dg.schedule(
        name=f"daily_{index}" if index else "daily",
        job_name=MATERIALIZE_JOB,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=f"Yesterday, and the days before it that late data may still change, for {len(views)} views.",
    )
    def _schedule(platform: Platform) -> dg.RunRequest | dg.SkipReason:
        now = platform.open(project).clock.now()
        days = days_due(views, now.date())
        if not days:
            return dg.SkipReason(f"no partition is due on {now.date().isoformat()}")
        return dg.RunRequest(
            run_key=f"{days[0]}:{days[-1]}:{now.isoformat()}", asset_selection=selection, tags=range_tags(days)
        )

    return _schedule


def days_due(views: list[FeatureView], today: date) -> tuple[date, ...]:
    """The days to materialize on `today`: yesterday and the views' `revisit` before it, as far as they exist."""
    last = today - timedelta(days=1)
    wanted = day_range(last - timedelta(days=max(view.revisit for view in views)), last)
    due = {day for view in views for day in view_days(view).within(wanted)}
    return tuple(sorted(due))


def model_schedules(project: Project) -> list[dg.ScheduleDefinition]:
    """Drift every morning, retraining considered every Monday: the gate decides whether it happens."""
    if not project.models:
        return []
    return [
        dg.ScheduleDefinition(
            name="drift_daily", job_name=DRIFT_JOB, cron_schedule=DRIFT_CRON, execution_timezone="UTC"
        ),
        dg.ScheduleDefinition(
            name="retrain_weekly", job_name=RETRAIN_JOB, cron_schedule=RETRAIN_CRON, execution_timezone="UTC"
        ),
    ]
