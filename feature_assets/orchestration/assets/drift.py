"""Drift assets: the newest week of a view against what the champion was trained on.

Invariant: the baseline is the window and the commit in the champion's manifest, so it moves only when the champion
does. Without a champion there is nothing to compare with, and the asset says so.
"""

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView
from feature_assets.modelling import view_drift
from feature_assets.orchestration.assets.keys import drift_key, owners, view_key
from feature_assets.orchestration.resources import Platform, reported
from feature_assets.quality.report import drift_rows, image, markdown, plot


def drift_asset(project: Project, view: FeatureView) -> dg.AssetsDefinition:
    """The asset `drift/<view>`."""

    @dg.asset(
        key=drift_key(view),
        deps=[view_key(view)],
        group_name="drift",
        kinds={"delta"},
        owners=owners(view.owner),
        description=f"How far {view.name} has moved since the champion was trained.",
        automation_condition=dg.AutomationCondition.on_cron("0 8 * * *"),
    )
    def _drift(platform: Platform) -> dg.MaterializeResult[None]:
        with reported(f"drift of {view.name}"):
            record = view_drift(platform.open(project), view)
        if record is None:
            return dg.MaterializeResult(
                metadata={"outcome": dg.MetadataValue.text("no champion was trained on this view yet: no baseline")}
            )
        report = record.report
        psi = [feature.psi for feature in report.features if feature.psi is not None]
        return dg.MaterializeResult(
            metadata={
                "outcome": dg.MetadataValue.text(f"{len(report.drifted)} of {len(report.features)} features drifted"),
                "drifted": dg.MetadataValue.int(len(report.drifted)),
                "max_psi": dg.MetadataValue.float(max(psi, default=0.0)),
                "baseline": dg.MetadataValue.text(
                    f"{record.baseline.first} to {record.baseline.last} at commit {record.baseline.commit_seq} "
                    f"(model {record.reference})"
                ),
                "current": dg.MetadataValue.text(f"{record.current.first} to {record.current.last}"),
                "features": dg.MetadataValue.table([dg.TableRecord(row) for row in drift_rows(report)]),
                "report": dg.MetadataValue.md(markdown(report)),
                "plot": dg.MetadataValue.md(image(plot(report), f"drift of {view.name}")),
            }
        )

    return _drift
