"""A service, compiled: what is the same for each of its requests; and what a request then asks of each view.

Invariant: whatever is compiled follows from the service's definition alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureRef, FeatureView
from feature_assets.online.codec import ValueCodec
from feature_assets.serving.lookup import Found, Ints, Reading, Served, failed
from feature_assets.serving.request import Needed, Request
from feature_assets.serving.row_values import RowValues
from feature_assets.serving.status import Status
from feature_assets.serving.versions import Serving
from feature_assets.serving.window_values import WindowValues


@dataclass(frozen=True, slots=True)
class Compiled:
    """A service, with everything about it that is the same for each request."""

    service: FeatureService
    needed: Needed
    views: tuple[tuple[Served, tuple["Reference", ...]], ...]
    columns: tuple[str, ...]
    schema: pa.Schema

    @classmethod
    def of(cls, service: FeatureService) -> "Compiled":
        """Of this service."""
        refs = {view.name: tuple(ref for ref in service.refs if ref.view.name == view.name) for view in service.views}
        views = tuple(
            (Served(view, view_version(view), _reading(view, mine)), tuple(map(Reference.of, mine)))
            for view, mine in ((view, refs[view.name]) for view in service.views)
        )
        columns = service.output_columns
        schema = pa.schema([(column.name, column.dtype) for column in columns])
        return cls(service, Needed.of(service), views, tuple(schema.names), schema)

    def lookups(self, request: Request) -> "list[Lookup]":
        """What a request asks of each view."""
        return [Lookup.of(served, refs, request) for served, refs in self.views]


def _reading(view: FeatureView, refs: Sequence[FeatureRef]) -> Reading:
    wanted = {one.name for ref in refs for one in ref.selected}
    if view.aggregates:
        return WindowValues.of(layout_of(view), wanted)
    ttl = None if view.ttl is None else duration_us(view.ttl)
    return RowValues(ttl, ValueCodec(view.features), frozenset(wanted))


class Reference(msgspec.Struct, frozen=True, eq=False):
    """A reference to a view. `columns`: of each feature that is asked for, the output column."""

    prefix: str
    key_columns: tuple[str, ...]
    columns: tuple[tuple[str, Feature], ...]

    @classmethod
    def of(cls, ref: FeatureRef) -> "Reference":
        """What this one says."""
        return cls(ref.prefix, ref.key_columns, tuple((ref.column(one.name), one) for one in ref.selected))


class Lookup(msgspec.Struct, frozen=True, eq=False):
    """What is asked of one view: distinct keys, and for each reference the key of each row (last: a row without).

    `places`: None where each row has a key of its own, in order.
    """

    served: Served
    refs: tuple[Reference, ...]
    keys: list[bytes]
    places: list[Ints | None]

    @classmethod
    def of(cls, served: Served, refs: tuple[Reference, ...], request: Request) -> "Lookup":
        """What a request asks by these references, which are all to the one view."""
        if len(refs) == 1:
            keys = request.keys(refs[0].key_columns)
            return cls(served, refs, keys.distinct, [keys.place])
        place: dict[bytes, int] = {}
        places: list[Ints | None] = []
        for ref in refs:
            keys = request.keys(ref.key_columns)
            # The last one is that of a row without a key, -1 in either numbering.
            among_all = np.array([*(place.setdefault(key, len(place)) for key in keys.distinct), -1], np.int64)
            places.append(among_all[:-1] if keys.place is None else among_all[keys.place])
        return cls(served, refs, list(place), places)

    def all_failed(self, serving: Serving | None, status: Status, reason: str, *, gone: bool = False) -> Found:
        """Nothing is known of any key."""
        return failed(self.served, serving, len(self.keys), status, reason, gone=gone)
