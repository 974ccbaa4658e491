"""What a training row of the same instant holds, of one entity: the loader's own kernels over its bucket alone.

Invariant: the values are those of `training_set` for a spine of this one row: a part that is not read holds no row of
this entity that could be visible and count. A view that cannot be read leaves the others as they are.
It compares nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from feature_assets.clock import from_us
from feature_assets.compute.on_demand import on_demand_columns
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature, FeatureRef
from feature_assets.errors import FeatureAssetsError
from feature_assets.serving.explain_history import Kept
from feature_assets.serving.explanation import Cause
from feature_assets.training.answer import provenance_names, with_default
from feature_assets.training.memory import Part
from feature_assets.training.modes import AsServed
from feature_assets.training.point_in_time import Looked, looked_up
from feature_assets.training.spine import Spine, as_instants
from feature_assets.training.window_parts import Group
from feature_assets.training.windows import windows_looked_up


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no training row of a view."""

    cause: Cause
    reason: str


@dataclass(slots=True)
class Trained:
    """A training row. `looked`: by prefix what was found, or why nothing was. `values`: by output column, one value.

    `without_default`: the same before defaults stand in. `failures`: by on-demand view, why its function failed.
    """

    looked: Mapping[str, Looked | Missing]
    values: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    without_default: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def event_at(self, prefix: str) -> datetime | None:
        """Of the row that was used, expired or not; of windows, of the newest record."""
        found = self.looked.get(prefix)
        at: datetime | None = found.event_at[0].as_py() if isinstance(found, Looked) else None
        return at

    def availability(self, prefix: str) -> str | None:
        """Where its availability comes from."""
        found = self.looked.get(prefix)
        name: str | None = provenance_names(found.provenance)[0].as_py() if isinstance(found, Looked) else None
        return name

    def put(self, name: str, feature: Feature, column: pa.Array | pa.ChunkedArray) -> None:
        """A column of one value."""
        self.without_default[name] = _chunked(column)
        self.values[name] = _chunked(with_default(column, feature))


def looked(kept: Kept, ref: FeatureRef, spine: Spine, key: pa.Table, start: int | None) -> Looked:
    """What the loader finds for a spine of one row. `start`: nothing that happened earlier can count (microseconds)."""
    part = Part((kept.bucket(key),), None if start is None else from_us(start), None)
    if ref.view.aggregates:
        groups = [Group(None, (part,))]
        (found,) = windows_looked_up(kept.state, [ref], spine, mode=AsServed(), groups=groups)
    else:
        (found,) = looked_up(kept.state, [ref], spine, mode=AsServed(), parts=[part])
    return found


def trained(
    service: FeatureService, spine: Spine, found: Mapping[str, Looked | Missing], *, keyless: bool = False
) -> Trained:
    """The row, with defaults and request-time features, as far as it can be had.

    `keyless`: without a key nothing is found, as it is online; else there is no such row, as in a training set.
    """
    row = Trained(found)
    for ref in service.refs:
        answer = found.get(ref.prefix)
        if keyless and isinstance(answer, Missing) and answer.cause is Cause.NO_KEY:
            for one in ref.selected:
                row.put(ref.column(one.name), one, pa.nulls(1, one.dtype))
        if isinstance(answer, Looked):
            for one in ref.selected:
                row.put(ref.column(one.name), one, answer.features[one.name])
    given = {name: spine.table.column(name) for name in spine.table.column_names}
    for view in service.on_demand:
        if not row.values.keys() >= set(view.inputs):
            continue
        try:
            computed = on_demand_columns(view, {**given, **row.values}, as_instants(spine.as_of))
        except FeatureAssetsError as error:
            row.failures[view.name] = str(error)
            continue
        for one in view.features:
            row.put(view.column(one.name), one, computed[one.name])
    return row


def _chunked(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
