"""From a project to everything that Dagster loads.

Invariant: the same project always gives the same definitions; nothing is opened, read or written while they are built.
"""

import os
from collections.abc import Mapping

import dagster as dg
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource

from feature_assets.definition.project import Project
from feature_assets.opening import require_storable
from feature_assets.orchestration.assets.drift import drift_asset
from feature_assets.orchestration.assets.models import model_asset
from feature_assets.orchestration.assets.online import online_asset
from feature_assets.orchestration.assets.sources import source_asset
from feature_assets.orchestration.assets.training import training_set_asset
from feature_assets.orchestration.assets.views import view_asset
from feature_assets.orchestration.jobs import materialize_job, model_jobs, push_job
from feature_assets.orchestration.resources import Platform
from feature_assets.orchestration.schedules import materialize_schedules, model_schedules
from feature_assets.orchestration.sensors import push_sensor
from feature_assets.orchestration.upkeep import upkeep_job, upkeep_schedule


def definitions_of(project: Project) -> dg.Definitions:
    """All assets, checks, jobs, schedules, sensors and resources of `project`. Raises what `require_storable` does."""
    require_storable(project)
    return dg.Definitions(
        assets=[
            *(source_asset(project, source) for source in project.sources),
            *(view_asset(project, view) for view in project.views),
            *(online_asset(project, view) for view in project.views if view.online),
            *(training_set_asset(project, model) for model in project.models),
            *(drift_asset(project, view) for view in project.views if project.models),
            *(model_asset(project, model) for model in project.models),
        ],
        jobs=[materialize_job(project), push_job(project), upkeep_job(project), *model_jobs(project)],
        schedules=[*materialize_schedules(project), *model_schedules(project), upkeep_schedule()],
        sensors=[push_sensor(project)],
        resources=_resources(os.environ),
        # Steps are small, and a process per step would import everything again: 30 s where the work takes one.
        executor=dg.in_process_executor,
    )


def _resources(environment: Mapping[str, str]) -> dict[str, object]:
    endpoint = environment.get("FEATURE_ASSETS_S3_ENDPOINT")
    s3 = S3Resource(endpoint_url=endpoint) if endpoint else S3Resource()
    secrets = SecretsManagerResource()
    name = environment.get("FEATURE_ASSETS_CREDENTIALS_SECRET")
    return {"platform": Platform(s3=s3, secrets=secrets, credentials_secret=name), "s3": s3, "secrets": secrets}
