"""On-demand views: features computed at the time of the request, from the request and from other features.

Invariant: the function that a training set is built with is the one that answers a request, on columns of any length;
the request's time is an argument, so it reads no clock.
It is called in `feature_assets.compute.on_demand`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from feature_assets.definition.dtypes import require_dtype
from feature_assets.definition.naming import (
    RESERVED,
    SEPARATOR,
    is_legal,
    require_callable,
    require_free,
    require_name,
    require_unique,
)
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.view import Feature

OnDemandFunction = Callable[[Mapping[str, pa.Array], pa.Array], Mapping[str, pa.Array]]
"""`function(columns, as_of)`: equally long arrays by name, and the instant of each row; one array per feature."""


@dataclass(frozen=True, slots=True)
class RequestField:
    """A column that the spine or the request must have."""

    name: str
    dtype: pa.DataType

    def __post_init__(self) -> None:
        require_name("RequestField", self.name)
        require_dtype("RequestField", self.name, "dtype", self.dtype)


@dataclass(frozen=True, slots=True, init=False)
class OnDemandView:
    """Features of a request.

    `request`: columns taken from the spine or request. `inputs`: output columns of the same service, e.g.
    `carrier_hourly__mean_dep_delay`, of views or of other on-demand views. `function` gets all of them by name,
    and never an empty array; where a feature has no value, its input is null.
    """

    name: str
    request: tuple[RequestField, ...]
    inputs: tuple[str, ...]
    function: OnDemandFunction
    features: tuple[Feature, ...]
    description: str
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        name: str,
        request: Sequence[RequestField] = (),
        inputs: Sequence[str] = (),
        *,
        function: OnDemandFunction,
        features: Sequence[Feature],
        description: str = "",
    ) -> None:
        assign(self, name=name, request=tuple(request), inputs=tuple(inputs), function=function)
        assign(self, features=tuple(features), description=description, place=current_place())
        require_name("OnDemandView", name)
        self._require_columns()
        require_callable("OnDemandView", name, "function", function, "(columns, as_of) -> {feature: array}")
        if not self.features:
            raise refusal("OnDemandView", name, "features: there is none", "declare at least one Feature")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    def column(self, feature: str) -> str:
        """The output column of a feature."""
        return f"{self.name}{SEPARATOR}{feature}"

    def _require_columns(self) -> None:
        require_unique("OnDemandView", self.name, "features", self.feature_names)
        require_free("OnDemandView", self.name, "features", self.feature_names, RESERVED)
        require_unique("OnDemandView", self.name, "request", [one.name for one in self.request])
        require_unique("OnDemandView", self.name, "inputs", self.inputs)
        for column in self.inputs:
            prefix, _, feature = column.partition(SEPARATOR)
            if not (is_legal(prefix) and is_legal(feature)):
                what = f"inputs: {column!r} is no output column of a service"
                hint = "write <view or role>__<feature>; a column of the request goes into request=[RequestField(...)]"
                raise refusal("OnDemandView", self.name, what, hint)
