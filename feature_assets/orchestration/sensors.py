"""The push sensor: level-triggered, so that a lost event, a crash or a restart costs a tick and never a push.

Wanted is what is committed and has a verdict (from the lake), have is what the ledger acknowledges. The difference,
minus runs in flight, is launched: one run per view and tick, with the run key (view, version, wanted sequence,
attempt). The same tick twice asks for the same keys, and Dagster launches a key once; a failed push gets a new key
with the next attempt.

Invariant: it decides from the lake and the ledger alone, for each view by itself: one whose state cannot be read is
asked for like one that is behind, so that the run fails where everybody sees it, and the others are not held up. It
publishes nothing itself.
"""

from datetime import UTC, timedelta

import dagster as dg

from feature_assets.clock import SystemClock
from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView
from feature_assets.errors import FeatureAssetsError
from feature_assets.orchestration.assets.keys import online_key
from feature_assets.orchestration.resources import Platform
from feature_assets.store import FeatureStore

PUSH_JOB = "push"
VIEW_TAG = "feature_assets/push_view"
WANTED_TAG = "feature_assets/push_wanted"
UNREADABLE = "unreadable"
"""Stands for the wanted sequence where it cannot be said."""
MAX_BACKOFF = timedelta(minutes=15)
_FIRST_BACKOFF = timedelta(seconds=30)
_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def push_sensor(project: Project) -> dg.SensorDefinition:
    """The sensor over all online views of `project`."""

    @dg.sensor(
        name="push_sensor",
        job_name=PUSH_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Launches a push for every view whose committed and passed state is ahead of the online store.",
    )
    def _sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
        store = platform.open(project)
        requests, reasons = [], []
        for view in project.views:
            if not view.online:
                continue
            request, reason = _wanted_push(context.instance, store, view)
            if request is not None:
                requests.append(request)
            reasons.append(f"{view.name}: {reason}")
        skip = None if requests else dg.SkipReason("; ".join(reasons))
        return dg.SensorResult(run_requests=requests, skip_reason=skip)

    return _sensor


def _wanted_push(
    instance: dg.DagsterInstance, store: FeatureStore, view: FeatureView
) -> tuple[dg.RunRequest | None, str]:
    wanted, reason = _due(store, view)
    if wanted is None:
        return None, reason
    if instance.get_runs(dg.RunsFilter(tags={VIEW_TAG: view.name}, statuses=_IN_FLIGHT), limit=1):
        return None, f"a push is in flight, and one is due: {reason}"
    earlier = instance.get_run_records(dg.RunsFilter(tags={VIEW_TAG: view.name, WANTED_TAG: wanted}))
    attempt = len(earlier)
    if attempt:
        ended = max(record.update_timestamp for record in earlier)
        ready = ended.replace(tzinfo=UTC) + backoff(attempt)
        # Run records carry the machine's time, whatever clock the features live by.
        if SystemClock().now() < ready:
            return None, f"attempt {attempt} at {wanted} failed; the next not before {ready.isoformat()}"
    request = dg.RunRequest(
        run_key=f"{view.name}:{wanted}:{attempt}",
        asset_selection=[online_key(view)],
        tags={VIEW_TAG: view.name, WANTED_TAG: wanted},
    )
    return request, reason


def _due(store: FeatureStore, view: FeatureView) -> tuple[str | None, str]:
    """What should be pushed, and why; None if nothing should, and why not."""
    try:
        plan = store.plan_push(view)
        return (None, store.held_up(view)) if plan is None else (f"{plan.version}:{plan.commit_seq}", plan.reason)
    except FeatureAssetsError as error:
        return f"{store.version(view)}:{UNREADABLE}", f"what is due cannot be read: {error.message}"


def backoff(attempt: int) -> timedelta:
    """The pause after the `attempt`-th failed push of the same state: 30 s doubled each time, 15 min at most."""
    doublings = min(attempt - 1, int(MAX_BACKOFF / _FIRST_BACKOFF).bit_length())
    return min(_FIRST_BACKOFF * (1 << doublings), MAX_BACKOFF)
