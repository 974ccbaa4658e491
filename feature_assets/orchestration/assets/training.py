"""Training-set assets: what a model may learn from, as it was served.

Invariant: the rows end at the clock's now, and a row whose outcome is not known by then takes no part. What was read is
pinned in the manifest beside the table, so the set can be built again with the same bytes.
"""

from collections.abc import Iterator

import dagster as dg

from feature_assets.definition.model import Model
from feature_assets.definition.project import Project
from feature_assets.modelling import LEAKAGE_PAGE, leakage, model_training_set
from feature_assets.orchestration.assets.keys import online_key, owners, training_set_key, view_key
from feature_assets.orchestration.metadata import share_plot, table_metadata
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.store import FeatureStore
from feature_assets.training.leakage import LeakageReport
from feature_assets.training.loader import TrainingSet


def training_set_asset(project: Project, model: Model) -> dg.AssetsDefinition:
    """The asset `training_sets/<model>`, with its leakage report."""
    key = training_set_key(model)
    views = model.service.views
    deps = [online_key(view) if view.online else view_key(view) for view in views]

    @dg.asset(
        key=key,
        deps=deps,
        group_name="training",
        kinds={"delta"},
        owners=owners(model.owner),
        description=f"The history that model {model.name} learns from: what serving would have returned, row by row.",
        check_specs=[
            dg.AssetCheckSpec(
                "no_leak", asset=key, blocking=True, description="no used feature was invisible at its row's instant"
            )
        ],
    )
    def _training_set(platform: Platform) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        with reported(f"training set of {model.name}"):
            store = platform.open(project)
            built = model_training_set(store, model)
            address = built.to_delta()
            report = leakage(store, built)
        yield dg.MaterializeResult(
            metadata=_metadata(store, built, address, report), data_version=dg.DataVersion(built.manifest.id)
        )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="no_leak",
            passed=report.leaked_served == 0,
            metadata={"leaked_rows": dg.MetadataValue.int(report.leaked_served)},
        )

    return _training_set


def _metadata(
    store: FeatureStore, built: TrainingSet, address: str, report: LeakageReport
) -> dict[str, dg.MetadataValue]:
    features = [name for name in built.table.column_names if "__" in name]
    counts = built.table["availability"].value_counts().to_pylist()
    return {
        **table_metadata(built.table, features),
        "manifest_id": dg.MetadataValue.text(built.manifest.id),
        "address": dg.MetadataValue.path(address),
        "target": dg.MetadataValue.text(store.target),
        "commit_seq": dg.MetadataValue.json(built.manifest.commit_seq),
        "availability": dg.MetadataValue.json({str(c["values"]): c["counts"] for c in counts}),
        "leakage": dg.MetadataValue.md(report.to_markdown()),
        "leakage_page": dg.MetadataValue.path(f"{address}/{LEAKAGE_PAGE}"),
        "leakage_plot": share_plot(
            "rows that differ if joined by event time", [(one.feature, one.share) for one in report.by_share]
        ),
    }
