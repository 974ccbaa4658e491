"""Starting runs from this process, for the command line and the demo: the same jobs, assets and sensor as in the UI.

Invariant: a run started here is recorded in the project's Dagster instance like any other, and a sensor tick
evaluated here honours run keys as the daemon does: a key that was launched before is not launched again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.storage.tags import RUN_KEY_TAG

from feature_assets.definition.project import Project
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError
from feature_assets.offline.verdicts import settled_head
from feature_assets.orchestration.assets.keys import source_key, view_key
from feature_assets.orchestration.build import definitions_of
from feature_assets.orchestration.jobs import MATERIALIZE_JOB
from feature_assets.orchestration.partitions import project_partitions, range_tags, source_days, view_days
from feature_assets.orchestration.sensors import PUSH_JOB, push_sensor
from feature_assets.store import FeatureStore

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    `failures`: the message of each failed step, or of the run if it failed outside of all steps; `failed_checks`: the
    assets and names of the checks that said no.
    """

    run_id: str
    success: bool
    failures: tuple[str, ...]
    failed_checks: tuple[str, ...]


class Launcher:
    """Runs jobs of `project` in this process, recorded in `instance`."""

    def __init__(self, project: Project, instance: dg.DagsterInstance) -> None:
        self.project = project
        self.instance = instance
        self.definitions = definitions_of(project)

    def run(self, job: str, assets: Sequence[dg.AssetKey], tags: Mapping[str, str] | None = None) -> RunOutcome:
        """Run `assets` of `job` to the end. A failed step or check is in the outcome, not raised."""
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            asset_selection=list(assets),
            tags=dict(tags or {}),
            run_config=_QUIET,
            raise_on_error=False,
        )
        events = result.all_events
        checks = [
            f"{'/'.join(check.asset_key.path)}: {check.check_name}"
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR
        ]
        failures = [cause for event in events if event.is_step_failure for cause in _causes(event.step_failure_data)]
        if not result.success and not failures and not checks:
            failures = [cause for event in events if event.is_job_failure for cause in _causes(event.job_failure_data)]
        return RunOutcome(result.run_id, result.success, tuple(failures), tuple(checks))

    def materialize(self, assets: Sequence[dg.AssetKey], days: Sequence[date]) -> RunOutcome:
        """Materialize `assets` for a contiguous range of days in one run.

        Raises `InputError` for days that the project does not have, or does not have yet.
        """
        partitions = project_partitions(self.project)
        first, last = partitions.get_first_partition_key(), partitions.get_last_partition_key()
        asked = f"{min(days).isoformat()} to {max(days).isoformat()}"
        if first is None or last is None or not first <= min(days).isoformat() <= max(days).isoformat() <= last:
            raise InputError(
                f"materialize {asked}: project {self.project.name!r} has the days {first} to {last}",
                hint="the first and last day are those of its sources; a day is there when it is over",
            )
        return self.run(MATERIALIZE_JOB, assets, range_tags(days))

    def requested_pushes(self) -> list[dg.RunRequest]:
        """What one tick of the push sensor asks for. Evaluated, not run."""
        sensor = push_sensor(self.project)
        # What it declares and no more: to make AWS's clients takes longer than the tick.
        known = self.definitions.resources or {}
        resources = {name: known[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(
            instance=self.instance, definitions=self.definitions, resources=resources
        ) as context:
            return list(sensor.evaluate_tick(context).run_requests or ())

    def tick_push_sensor(self) -> list[RunOutcome]:
        """One tick of the push sensor: runs what it asks for, once per run key."""
        outcomes = []
        for request in self.requested_pushes():
            tags = {**request.tags, RUN_KEY_TAG: request.run_key or ""}
            if self.instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: tags[RUN_KEY_TAG]}), limit=1):
                continue
            outcomes.append(self.run(PUSH_JOB, request.asset_selection or (), tags))
        return outcomes


def _causes(data: object) -> list[str]:
    """What a failed step or run says, as one message; nothing for a check that said no, which is told as such."""
    failure = getattr(data, "user_failure_data", None)
    if failure is not None and failure.description:
        return [str(failure.description)]
    error = getattr(data, "error", None)
    if error is None:
        return ["it failed without saying why"]
    # Dagster wraps what it caught, some of it more than once.
    while error.cls_name is not None and error.cls_name.startswith("Dagster") and error.cause is not None:
        error = error.cause
    return [] if error.cls_name == DagsterAssetCheckFailedError.__name__ else [str(error.message).strip()]


def month_chunks(days: Sequence[date]) -> list[tuple[date, ...]]:
    """The days of each calendar month, in order: the size of a run in a long backfill.

    A month in which days are left out gives several: a run is for a range without gaps.
    """
    chunks: list[list[date]] = []
    for day in sorted(set(days)):
        if day.day > 1 and chunks and chunks[-1][-1] == day - timedelta(days=1):
            chunks[-1].append(day)
        else:
            chunks.append([day])
    return [tuple(chunk) for chunk in chunks]


def missing_days(
    store: FeatureStore, sources: Sequence[BatchSource], views: Sequence[FeatureView], days: Sequence[date]
) -> tuple[date, ...]:
    """Those of `days` that some source lacks, or some view lacks or has without a verdict. Decided from the lake."""
    missing: set[date] = set()
    for source in sources:
        have = set(store.source_table(source).partition_versions()["partition"].to_pylist())
        missing |= {day for day in source_days(source).within(days) if day.isoformat() not in have}
    for view in views:
        versions = store.view_table(view).partition_versions()
        verdicts = store.verdicts.of(view.name, store.version(view))
        head = settled_head(versions, verdicts)
        pairs = zip(versions["partition"].to_pylist(), versions["commit_seq"].to_pylist(), strict=True)
        have = {partition for partition, seq in pairs if seq <= head}
        missing |= {day for day in view_days(view).within(days) if day.isoformat() not in have}
    return tuple(sorted(missing))


def asset_keys(sources: Sequence[BatchSource], views: Sequence[FeatureView]) -> list[dg.AssetKey]:
    """The keys of sources and views, in the order in which the data flows."""
    return [source_key(source) for source in sources] + [view_key(view) for view in views]
