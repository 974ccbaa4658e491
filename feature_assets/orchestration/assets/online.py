"""Online assets: what readers of the store see.

Invariant: a push publishes exactly what is committed and passed, as read from the lake in the same breath; the event
that made Dagster start it is only a hint.
"""

from collections.abc import Iterator

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView
from feature_assets.online.push import PushResult
from feature_assets.orchestration.assets.keys import freshness, online_key, owners, view_key
from feature_assets.orchestration.checks import read_back_result, read_back_spec
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.settings import load_settings


def online_asset(project: Project, view: FeatureView) -> dg.AssetsDefinition:
    """The asset `online/<view>`, with a read-back as its check."""
    key = online_key(view)

    @dg.asset(
        key=key,
        deps=[view_key(view)],
        group_name="online",
        kinds={load_settings().online.value},
        owners=owners(view.owner),
        description=f"The newest visible row of each {view.entity.name}, packed, in the online store.",
        freshness_policy=freshness(view.freshness),
        check_specs=[read_back_spec(key)],
        pool=f"push_{view.name}",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL),
    )
    def _online(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        with reported(f"push of {view.name}"):
            store = platform.open(project)
            plan = store.plan_push(view)
            result = store.push(view, plan, run_id=context.run.run_id) if plan is not None else None
            found = store.read_back(view)
            store.record_consistency(view, found, run_id=context.run.run_id)
        yield dg.MaterializeResult(metadata=_metadata(store.target, result))
        yield read_back_result(key, found)

    return _online


def _metadata(target: str, result: PushResult | None) -> dict[str, dg.MetadataValue]:
    out: dict[str, dg.MetadataValue] = {"target": dg.MetadataValue.text(target)}
    if result is None:
        return {**out, "outcome": dg.MetadataValue.text("already published: nothing to write")}
    return {
        **out,
        "outcome": dg.MetadataValue.text("bootstrap" if result.bootstrap else "push"),
        "commit_seq": dg.MetadataValue.int(result.n),
        "entities": dg.MetadataValue.int(result.entities),
        "written": dg.MetadataValue.int(result.written),
        "conflicts": dg.MetadataValue.int(result.conflicts),
        "retried": dg.MetadataValue.int(result.retried),
        "bytes": dg.MetadataValue.int(result.bytes),
        "sent_at": dg.MetadataValue.timestamp(result.sent_at.timestamp()),
        "acked_at": dg.MetadataValue.timestamp(result.acked_at.timestamp()),
    }
