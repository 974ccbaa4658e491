"""Feature services: the named vector of features that one model uses.

Invariant: the output columns of a service are known from its definition alone, in a fixed order, each from one origin;
and so are the columns that a spine or a request must bring.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

import pyarrow as pa

from feature_assets.definition.naming import require_name
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
    """A named vector: views (with all features), references (`view["a", "b"]`, aliases) and on-demand views."""

    name: str
    features: tuple[FeatureRef | OnDemandView, ...]
    description: str
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(
        self, name: str, features: Sequence[FeatureView | FeatureRef | OnDemandView], description: str = ""
    ) -> None:
        given = tuple(item._ref() if isinstance(item, FeatureView) else item for item in features)  # noqa: SLF001
        assign(self, name=name, features=given, description=description, place=current_place())
        require_name("FeatureService", name)
        if not given:
            raise refusal("FeatureService", name, "features: there is none", "name at least one view")
        self._require_prefixes()
        self._require_inputs()
        self._require_columns()

    @property
    def refs(self) -> tuple[FeatureRef, ...]:
        """What is looked up, in order."""
        return tuple(item for item in self.features if isinstance(item, FeatureRef))

    @property
    def on_demand(self) -> tuple[OnDemandView, ...]:
        """What is computed at the request, in an order in which every input is there before it is used."""
        views = {item.name: item for item in self.features if isinstance(item, OnDemandView)}
        return tuple(views[name] for name in TopologicalSorter(_needs(views)).static_order())

    @property
    def output_columns(self) -> tuple[OutputColumn, ...]:
        """The columns of an answer, in the order of the definition."""
        return tuple(column for item in self.features for column in _columns(item))

    @property
    def key_columns(self) -> tuple[RequestField, ...]:
        """The columns that a spine or request must bring: keys (after aliasing), then the fields of on-demand views."""
        return tuple(RequestField(name, dtype) for name, dtype in dict(self._required()).items())

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """The views that are looked up, each once."""
        return tuple({ref.view.name: ref.view for ref in self.refs}.values())

    def _required(self) -> Iterator[tuple[str, pa.DataType]]:
        for ref in self.refs:
            for key, column in zip(ref.view.entity.keys, ref.key_columns, strict=True):
                yield column, key.dtype
        for item in self.features:
            if isinstance(item, OnDemandView):
                yield from ((one.name, one.dtype) for one in item.request)

    def _require_prefixes(self) -> None:
        seen: set[str] = set()
        for item in self.features:
            prefix = item.prefix if isinstance(item, FeatureRef) else item.name
            if prefix in seen:
                what = f"features: two of them give columns {prefix}__..."
                hint = f"put all features of a view into one reference, or give one a role: .alias('other_{prefix}')"
                raise refusal("FeatureService", self.name, what, hint, self.place)
            seen.add(prefix)
        by_name: dict[str, FeatureView] = {}
        for ref in self.refs:
            if by_name.setdefault(ref.view.name, ref.view) != ref.view:
                what = f"features: two different views are called {ref.view.name!r}"
                raise refusal("FeatureService", self.name, what, f"rename one; they are defined at {ref.view.place}")

    def _require_inputs(self) -> None:
        known = [column.name for column in self.output_columns]
        views = {item.name: item for item in self.features if isinstance(item, OnDemandView)}
        for view in views.values():
            for column in view.inputs:
                if column not in known:
                    what = f"on-demand view {view.name!r} has the input {column!r}, which the service does not give"
                    raise refusal("FeatureService", self.name, what, did_you_mean(column, known))
        try:
            TopologicalSorter(_needs(views)).prepare()
        except CycleError as error:
            path = " -> ".join(reversed(error.args[1]))
            what = f"on-demand views need one another in a circle: {path}"
            raise refusal("FeatureService", self.name, what, "compute both in one on-demand view") from error

    def _require_columns(self) -> None:
        dtypes: dict[str, pa.DataType] = {}
        for name, dtype in self._required():
            if dtypes.setdefault(name, dtype) != dtype:
                what = f"column {name!r} of the request is needed as {dtypes[name]} and as {dtype}"
                raise refusal(
                    "FeatureService", self.name, what, "read one of them from another column: view.alias(...)"
                )


def _columns(item: FeatureRef | OnDemandView) -> list[OutputColumn]:
    if isinstance(item, FeatureRef):
        return [OutputColumn(item.column(one.name), one.dtype, one, ref=item) for one in item.selected]
    return [OutputColumn(item.column(one.name), one.dtype, one, on_demand=item) for one in item.features]


def _needs(views: Mapping[str, OnDemandView]) -> dict[str, list[str]]:
    """For each on-demand view, the on-demand views that it reads."""
    return {
        view.name: [other for other in views if any(column.startswith(f"{other}__") for column in view.inputs)]
        for view in views.values()
    }
