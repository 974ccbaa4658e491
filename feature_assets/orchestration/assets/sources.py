"""Source assets: what happened, day by day, as the log took it.

Invariant: an asset materializes exactly the days that its run names; everything else about a source is in
`feature_assets.offline.materialize`.
"""

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.definition.source import BatchSource
from feature_assets.offline.materialize import materialize_source
from feature_assets.orchestration.assets.keys import LAKE_POOL, owners, source_key
from feature_assets.orchestration.metadata import (
    commit_metadata,
    schema_metadata,
    source_descriptions,
    table_metadata,
)
from feature_assets.orchestration.partitions import days_of, project_partitions, source_days
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.store import FeatureStore


def source_asset(project: Project, source: BatchSource) -> dg.AssetsDefinition:
    """The asset `events/<source>`."""

    @dg.asset(
        key=source_key(source),
        partitions_def=project_partitions(project),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="sources",
        kinds={"delta", "python"},
        owners=owners(source.owner),
        tags=dict(source.tags),
        description=source.description or f"Events of {source.name}.",
        pool=LAKE_POOL,
    )
    def _events(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        days = source_days(source).within(days_of(context))
        with reported(f"source {source.name}"):
            store = platform.open(project)
            done = materialize_source(source, days, lake=store.lake, clock=store.clock, run_id=context.run.run_id)
        return dg.MaterializeResult(
            metadata={
                **commit_metadata(done.commit),
                **_content(store, source, [day.isoformat() for day in days[-1:]]),
                "quarantined": dg.MetadataValue.int(done.quarantined),
            }
        )

    return _events


def _content(store: FeatureStore, source: BatchSource, newest: list[str]) -> dict[str, dg.MetadataValue]:
    table = store.source_table(source).read(partitions=newest)
    names = [field.name for field in source.schema]
    return {
        **table_metadata(table.select(names), names),
        "dagster/column_schema": schema_metadata(source.schema, source_descriptions(source)),
    }
