"""Transforms, run on no rows: what is wrong with their columns shows when the project loads, not at night.

Invariant: nothing is read and nothing is written.
What depends on values (a null key, an event outside of its partition) it cannot see.
"""

from feature_assets.compute.transform import Period, typed_output
from feature_assets.definition.project import Project
from feature_assets.definition.view import FeatureView


def check_transform(view: FeatureView) -> None:
    """Run a view's transform on empty events. Raises `TransformError` or `NaiveTimestampError`."""
    empty = {source.name: source.event_schema.empty_table() for source in view.sources}
    typed_output(view, empty, Period.day(max(source.start for source in view.sources)))


def check_transforms(project: Project) -> None:
    """`check_transform` for every view of a project; the first that is wrong is raised."""
    for view in project.views:
        check_transform(view)
