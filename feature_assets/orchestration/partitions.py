"""Daily partitions of sources and views, and what a run is asked for in days.

Invariant: a partition is one UTC day and its key is the ISO date; nothing finer exists in Dagster (rows keep their
own times). All sources and views of a project have the same partitions, as a Dagster job can only hold assets that do;
what has fewer days of its own does nothing on the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView


@dataclass(frozen=True, slots=True)
class Days:
    """Days from `start` on, to `end` (exclusive; None: they go on)."""

    start: date
    end: date | None

    def within(self, days: Iterable[date]) -> tuple[date, ...]:
        """Those of `days` that are among these, in the same order."""
        return tuple(day for day in days if day >= self.start and (self.end is None or day < self.end))


def source_days(source: BatchSource) -> Days:
    """The days of a source."""
    return Days(source.start, source.end)


def view_days(view: FeatureView) -> Days:
    """The days of a view: those on which all of its sources have data."""
    ends = [source.end for source in view.sources if source.end is not None]
    return Days(max(source.start for source in view.sources), min(ends) if ends else None)


def project_partitions(project: Project) -> dg.DailyPartitionsDefinition:
    """The days of a project: from the first of any source to the last of any, or to yesterday."""
    ends = [source.end for source in project.sources]
    end = max((end for end in ends if end is not None), default=None) if None not in ends else None
    return dg.DailyPartitionsDefinition(
        start_date=_midnight(min(source.start for source in project.sources)),
        end_date=None if end is None else _midnight(end),
        timezone="UTC",
        fmt="%Y-%m-%d",
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def upstream_mapping(view: FeatureView) -> dg.TimeWindowPartitionMapping:
    """A view's day needs the same day of its sources, and the days that its lookback reaches."""
    days = -(-view.lookback // timedelta(days=1))
    return dg.TimeWindowPartitionMapping(start_offset=-days, allow_nonexistent_upstream_partitions=True)


def days_of(context: dg.AssetExecutionContext) -> tuple[date, ...]:
    """The days that this run materializes: one, or all of a single-run backfill."""
    return tuple(date.fromisoformat(key) for key in context.partition_keys)


def range_tags(days: Sequence[date]) -> dict[str, str]:
    """Run tags that ask for a contiguous range of days in a single run."""
    return {
        "dagster/asset_partition_range_start": min(days).isoformat(),
        "dagster/asset_partition_range_end": max(days).isoformat(),
    }


def day_range(first: date, last: date) -> tuple[date, ...]:
    """All days from `first` to `last`, both included."""
    return tuple(first + timedelta(days=i) for i in range((last - first).days + 1))
