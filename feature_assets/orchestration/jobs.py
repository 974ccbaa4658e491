"""Jobs: the selections that schedules, sensors and people launch.

Invariant: a job names assets and nothing else; what a run does is in the assets.
"""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from feature_assets.definition.project import Project
from feature_assets.orchestration.assets.keys import (
    drift_key,
    model_key,
    online_key,
    source_key,
    training_set_key,
    view_key,
)
from feature_assets.orchestration.sensors import PUSH_JOB

MATERIALIZE_JOB = "materialize"
RETRAIN_JOB = "retrain"
DRIFT_JOB = "drift"


def materialize_job(project: Project) -> UnresolvedAssetJobDefinition:
    """All sources and views, for the days of the run."""
    keys = [source_key(source) for source in project.sources] + [view_key(view) for view in project.views]
    return dg.define_asset_job(
        MATERIALIZE_JOB, selection=dg.AssetSelection.assets(*keys), description="Sources and views of one or more days."
    )


def push_job(project: Project) -> UnresolvedAssetJobDefinition:
    """The online assets; the push sensor selects the one that is behind."""
    keys = [online_key(view) for view in project.views if view.online]
    return dg.define_asset_job(
        PUSH_JOB, selection=dg.AssetSelection.assets(*keys), description="Publish what is committed and passed."
    )


def model_jobs(project: Project) -> list[UnresolvedAssetJobDefinition]:
    """Training set and model of every model, and the drift of every view that a model reads."""
    if not project.models:
        return []
    drift = [drift_key(view) for view in project.views]
    train = [key for model in project.models for key in (training_set_key(model), model_key(model))]
    return [
        dg.define_asset_job(
            DRIFT_JOB, selection=dg.AssetSelection.assets(*drift), description="Drift against training."
        ),
        dg.define_asset_job(
            RETRAIN_JOB,
            selection=dg.AssetSelection.assets(*train),
            description="A fresh training set, the gate, a challenger against the champion.",
        ),
    ]
