"""Feature services: the named vector of features that one model uses.

Invariant: the output columns of a service are known from its definition alone, in a fixed order, each from one origin;
and so are the columns that a spine or a request must bring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain

import pyarrow as pa

from feature_assets.definition.naming import SEPARATOR, require_name
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.view import Feature, FeatureRef, FeatureView
from feature_assets.errors import did_you_mean


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of a service's answer. Exactly one of `ref` and `on_demand` says where it comes from."""

    name: str
    dtype: pa.DataType
    feature: Feature
    ref: FeatureRef | None = None
    on_demand: OnDemandView | None = None


@dataclass(frozen=True, slots=True, init=False)
class FeatureService:
    """A named vector: views (with all features), references (`view["a", "b"]`, aliases) and on-demand views.

    From them follow: `refs`, what is looked up, in order; `views`, the views of those, each once; `on_demand`, what is
    computed at the request, every view after those that it reads; `output_columns`, the columns of an answer, in the
    order of the definition; `key_columns`, what a spine or a request must bring: keys (after aliasing), then the fields
    of on-demand views.
    """

    name: str
    features: tuple[FeatureRef | OnDemandView, ...]
    description: str
    refs: tuple[FeatureRef, ...] = field(init=False, compare=False, repr=False)
    views: tuple[FeatureView, ...] = field(init=False, compare=False, repr=False)
    on_demand: tuple[OnDemandView, ...] = field(init=False, compare=False, repr=False)
    output_columns: tuple[OutputColumn, ...] = field(init=False, compare=False, repr=False)
    key_columns: tuple[RequestField, ...] = field(init=False, compare=False, repr=False)
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(
        self, name: str, features: Sequence[FeatureView | FeatureRef | OnDemandView], description: str = ""
    ) -> None:
        given = tuple(item.everything if isinstance(item, FeatureView) else item for item in features)
        assign(self, name=name, features=given, description=description, place=current_place())
        require_name("FeatureService", name)
        if not given:
            raise refusal("FeatureService", name, "features: there is none", "name at least one view")
        refs = tuple(item for item in given if isinstance(item, FeatureRef))
        assign(self, refs=refs, views=tuple({ref.view.name: ref.view for ref in refs}.values()))
        assign(self, output_columns=tuple(column for item in given for column in _columns(item)))
        self._require_prefixes()
        assign(self, on_demand=self._in_order())
        assign(self, key_columns=self._required())

    def _require_prefixes(self) -> None:
        seen: set[str] = set()
        for item in self.features:
            prefix = item.prefix if isinstance(item, FeatureRef) else item.name
            if prefix in seen:
                what = f"features: two of them give columns {prefix}{SEPARATOR}..."
                hint = f"put all features of a view into one reference, or give one a role: .alias('other_{prefix}')"
                raise refusal("FeatureService", self.name, what, hint)
            seen.add(prefix)
        by_name = {view.name: view for view in self.views}
        for ref in self.refs:
            if by_name[ref.view.name] != ref.view:
                what = f"features: two different views are called {ref.view.name!r}"
                raise refusal("FeatureService", self.name, what, f"rename one; they are defined at {ref.view.place}")

    def _in_order(self) -> tuple[OnDemandView, ...]:
        """The on-demand views, each after those that it reads. Refuses unknown inputs and circles."""
        known = [column.name for column in self.output_columns]
        views = {item.name: item for item in self.features if isinstance(item, OnDemandView)}
        for view in views.values():
            for column in view.inputs:
                if column not in known:
                    what = f"on-demand view {view.name!r} has the input {column!r}, which the service does not give"
                    raise refusal("FeatureService", self.name, what, did_you_mean(column, known))
        try:
            return tuple(views[name] for name in TopologicalSorter(_needs(views)).static_order())
        except CycleError as error:
            path = " -> ".join(reversed(error.args[1]))
            what = f"on-demand views need one another in a circle: {path}"
            raise refusal("FeatureService", self.name, what, "compute both in one on-demand view") from error

    def _required(self) -> tuple[RequestField, ...]:
        dtypes: dict[str, pa.DataType] = {}
        keys = ((ref.key_columns[at], key.dtype) for ref in self.refs for at, key in enumerate(ref.view.entity.keys))
        request = ((one.name, one.dtype) for view in self.on_demand for one in view.request)
        for name, dtype in chain(keys, request):
            if dtypes.setdefault(name, dtype) != dtype:
                what = f"column {name!r} of the request is needed as {dtypes[name]} and as {dtype}"
                raise refusal(
                    "FeatureService", self.name, what, "read one of them from another column: view.alias(...)"
                )
        return tuple(RequestField(name, dtype) for name, dtype in dtypes.items())


def _columns(item: FeatureRef | OnDemandView) -> list[OutputColumn]:
    if isinstance(item, FeatureRef):
        return [OutputColumn(item.column(one.name), one.dtype, one, ref=item) for one in item.selected]
    return [OutputColumn(item.column(one.name), one.dtype, one, on_demand=item) for one in item.features]


def _needs(views: Mapping[str, OnDemandView]) -> dict[str, list[str]]:
    """For each on-demand view, the on-demand views that it reads."""
    return {
        view.name: [other for other in views if any(column.startswith(other + SEPARATOR) for column in view.inputs)]
        for view in views.values()
    }
