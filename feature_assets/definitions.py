"""The one object that Dagster loads: everything that the project named by FEATURE_ASSETS_PROJECT declares.

Invariant: loading opens nothing and writes nothing; a wrong definition stops it here with an error that names file,
view and the way out.
"""

import dagster as dg

from feature_assets.compute.dry_run import check_transforms
from feature_assets.opening import import_project
from feature_assets.orchestration.build import definitions_of
from feature_assets.quality.suite import check_suite
from feature_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the project."""
    project = import_project(load_settings().project)
    check_transforms(project)
    for view in project.views:
        check_suite(view)
    return definitions_of(project)
