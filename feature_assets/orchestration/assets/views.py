"""Feature-view assets: sources, transformed, checked, committed.

Invariant: a run commits first and records its verdict second, so a partition is never served on the word of a run that
died in between: without a verdict it is pending, and pending is not pushed.
"""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from feature_assets.compute.transform import view_schema
from feature_assets.definition.project import Project
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.offline.materialize import ViewCommit, materialize_view
from feature_assets.orchestration.assets.keys import LAKE_POOL, freshness, owners, source_key, view_key
from feature_assets.orchestration.checks import view_check_results, view_check_specs
from feature_assets.orchestration.metadata import (
    aggregates_metadata,
    commit_metadata,
    histogram_plot,
    schema_metadata,
    table_metadata,
    view_descriptions,
)
from feature_assets.orchestration.partitions import days_of, project_partitions, upstream_mapping, view_days
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.quality.checked import check_commit


def view_asset(project: Project, view: FeatureView) -> dg.AssetsDefinition:
    """The asset `features/<view>`, with its expectations as checks."""
    key = view_key(view)

    @dg.asset(
        key=key,
        deps=[dg.AssetDep(source_key(source), partition_mapping=upstream_mapping(view)) for source in view.sources],
        partitions_def=project_partitions(project),
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=view_version(view),
        group_name="features",
        kinds={"delta", "sql" if isinstance(view.transform, Sql) else "python"},
        owners=owners(view.owner),
        tags=dict(view.tags),
        description=view.description or f"Features of {view.entity.name}.",
        metadata={
            "entity": view.entity.name,
            "keys": ", ".join(view.entity.key_names),
            **aggregates_metadata(view),
        },
        freshness_policy=freshness(view.freshness),
        check_specs=view_check_specs(view, key),
        pool=LAKE_POOL,
    )
    def _features(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        days = view_days(view).within(days_of(context))
        with reported(f"view {view.name}"):
            store = platform.open(project)
            done = materialize_view(view, days, lake=store.lake, clock=store.clock, run_id=context.run.run_id)
            verdicts = check_commit(view, done, lake=store.lake, verdicts=store.verdicts, clock=store.clock)
        for partition, table in done.tables.items():
            context.add_asset_metadata({"dagster/partition_row_count": table.num_rows}, partition_key=partition)
        yield dg.MaterializeResult(metadata=_metadata(view, done), data_version=_data_version(view, done))
        yield from view_check_results(view, key, verdicts, done.commit.seq or 0)

    return _features


def _data_version(view: FeatureView, done: ViewCommit) -> dg.DataVersion | None:
    return None if done.commit.seq is None else dg.DataVersion(f"{view_version(view)}-{done.commit.seq}")


def _metadata(view: FeatureView, done: ViewCommit) -> dict[str, dg.MetadataValue]:
    schema = view_schema(view)
    table = pa.concat_tables(list(done.tables.values())) if done.tables else schema.empty_table()
    features = list(view.stored_names)
    out = {
        **commit_metadata(done.commit),
        **table_metadata(table, features),
        "view_version": dg.MetadataValue.text(view_version(view)),
        "dagster/column_schema": schema_metadata(schema, view_descriptions(view)),
    }
    plot = histogram_plot(table, features)
    return {**out, "plot": plot} if plot is not None else out
