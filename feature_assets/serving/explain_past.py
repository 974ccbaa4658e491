"""The status that a feature would have had at an instant in the past.

Invariant: it is the status of docs/semantics.md for what the loader found; what it could not read is an `ERROR`.
It reads nothing.
"""

from collections.abc import Mapping

from feature_assets.definition.service import OutputColumn
from feature_assets.serving.explain_offline import Missing, Trained
from feature_assets.serving.explain_view import Looking
from feature_assets.serving.explanation import Cause
from feature_assets.serving.status import Status
from feature_assets.training.point_in_time import NOTHING


def past_status(column: OutputColumn, row: Trained, looking: Mapping[str, Looking]) -> Status:
    """Of an output column."""
    raw = row.without_default.get(column.name)
    if raw is None:
        return Status.ERROR
    base = Status.PRESENT if column.ref is None else _of_view(column.ref.prefix, column.feature.name, row, looking)
    if base in {Status.PRESENT, Status.STALE} and raw[0].is_valid:
        return base
    if base in {Status.PRESENT, Status.STALE}:
        base = Status.NULL
    return Status.DEFAULTED if column.feature.default is not None and base is not Status.OVERFLOW else base


def _of_view(prefix: str, feature: str, row: Trained, looking: Mapping[str, Looking]) -> Status:
    """Before the feature's own value and default are looked at."""
    found, view = row.looked[prefix], looking[prefix]
    if isinstance(found, Missing):
        return Status.NOT_FOUND if found.cause is Cause.NO_KEY else Status.ERROR
    if not view.ref.view.aggregates:
        if found.provenance[0] == NOTHING:
            return Status.NOT_FOUND
        if found.expired[0]:
            return Status.EXPIRED
    elif view.tiled is not None and view.tiled.overflown(view.uses, view.asked.as_of).get(feature, False):
        return Status.OVERFLOW
    return Status.STALE if view.freshness.stale else Status.PRESENT
