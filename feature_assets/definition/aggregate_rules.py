"""What each aggregate function takes and gives: columns, parameters, types.

Invariant: what passes here can be computed: a function has every parameter that it needs and no other, each in its
range, and its column has a type that it is defined for.
What the functions mean is in docs/semantics.md, how they are computed in `feature_assets.compute.aggregates`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.duration import require_duration
from feature_assets.definition.place import refusal
from feature_assets.errors import did_you_mean

_KIND: Final = "Aggregate"
MAX_K: Final = 1000
MAX_BOUND: Final = 10_000
MAX_EDGES: Final = 256


@dataclass(frozen=True, slots=True)
class FunctionRule:
    """`result`: from the column's type to the feature's. `takes`: types of column that it is defined for.

    `parameters`: those it has, with their defaults; a default of `...` has to be given.
    """

    result: Callable[[pa.DataType | None], pa.DataType]
    takes: Callable[[pa.DataType], bool]
    needs_column: bool = True
    needs_size: bool = False
    may_be_keyed: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


def is_number(dtype: pa.DataType) -> bool:
    """Integers and floats."""
    return bool(pa.types.is_integer(dtype) or dtype in {pa.float32(), pa.float64()})


def is_ordered(dtype: pa.DataType) -> bool:
    """What has a least and a greatest value."""
    return is_number(dtype) or dtype in {INSTANT, pa.date32()}


def is_scalar(dtype: pa.DataType) -> bool:
    """What is no list, map, struct or decimal."""
    return not pa.types.is_nested(dtype) and not pa.types.is_decimal(dtype)


def is_countable(dtype: pa.DataType) -> bool:
    """What has values that can be told apart and listed: scalars but floats, whose values are seldom equal."""
    return is_scalar(dtype) and not pa.types.is_floating(dtype)


def _anything(_: pa.DataType) -> bool:
    return True


def _int64(_: pa.DataType | None) -> pa.DataType:
    return pa.int64()


def _float64(_: pa.DataType | None) -> pa.DataType:
    return pa.float64()


def _same(dtype: pa.DataType | None) -> pa.DataType:
    return dtype


def _list(dtype: pa.DataType | None) -> pa.DataType:
    return pa.list_(dtype)


def _sum(dtype: pa.DataType | None) -> pa.DataType:
    return pa.int64() if dtype is not None and pa.types.is_integer(dtype) else pa.float64()


def _counts(_: pa.DataType | None) -> pa.DataType:
    return pa.list_(pa.int64())


_NUMBERS: Final[Mapping[str, Any]] = {"takes": is_number, "may_be_keyed": True}
_SCALED: Final[Mapping[str, Any]] = {**_NUMBERS, "parameters": {"scale": None}}
FUNCTIONS: Final[Mapping[str, FunctionRule]] = MappingProxyType(
    {
        "count": FunctionRule(_int64, _anything, needs_column=False, may_be_keyed=True),
        "sum": FunctionRule(_sum, **_SCALED),
        "mean": FunctionRule(_float64, **_SCALED),
        "min": FunctionRule(_same, takes=is_ordered, may_be_keyed=True),
        "max": FunctionRule(_same, takes=is_ordered, may_be_keyed=True),
        "var": FunctionRule(_float64, **_NUMBERS),
        "stddev": FunctionRule(_float64, **_NUMBERS),
        "first": FunctionRule(_same, is_scalar),
        "last": FunctionRule(_same, is_scalar),
        "last_k": FunctionRule(_list, is_scalar, parameters={"k": ...}),
        "last_distinct_k": FunctionRule(_list, is_countable, parameters={"k": ...}),
        "count_distinct": FunctionRule(_int64, is_scalar, parameters={"bound": 256}),
        "approx_count_distinct": FunctionRule(_int64, is_scalar, parameters={"precision": 10}),
        "approx_percentile": FunctionRule(
            _float64, is_number, parameters={"percentile": ..., "accuracy": 0.01, "bound": 2048}
        ),
        "time_since_last": FunctionRule(_float64, _anything, needs_column=False),
        "rate": FunctionRule(_float64, _anything, needs_column=False, needs_size=True, may_be_keyed=True),
        "ratio": FunctionRule(_float64, is_number, may_be_keyed=True, parameters={"over": ..., "scale": None}),
        "top_k": FunctionRule(_list, is_countable, parameters={"k": ..., "bound": 256}),
        "histogram": FunctionRule(_counts, is_number, parameters={"edges": ...}),
        "decayed_sum": FunctionRule(_float64, is_number, parameters={"half_life": ...}),
        "decayed_count": FunctionRule(_float64, _anything, needs_column=False, parameters={"half_life": ...}),
    }
)
KEYED_BOUND: Final = 64
"""How many values of the column an aggregate is kept apart by, unless it says otherwise."""


def require_parameters(function: str, name: str, given: Mapping[str, object], *, keyed: bool) -> dict[str, object]:
    """The parameters with their defaults. Refuses one that is missing, out of range, or not the function's."""
    known = dict(FUNCTIONS[function].parameters)
    if keyed:
        known["bound"] = KEYED_BOUND
    found: dict[str, object] = {}
    for parameter, value in given.items():
        if value is None:
            if known.get(parameter) is ...:
                raise refusal(_KIND, name, f"{parameter}: there is none", f"{function} needs it: {parameter}=...")
            found[parameter] = known.get(parameter)
            continue
        if parameter not in known:
            what = f"{parameter}: {function} has no such parameter"
            raise refusal(_KIND, name, what, did_you_mean(parameter, known) if known else "leave it out")
        _require_range(name, parameter, value)
        found[parameter] = value
    return found


def require_column(function: str, name: str, column: str, dtype: pa.DataType) -> None:
    """Refuse a column of a type that the function is not defined for."""
    if not FUNCTIONS[function].takes(dtype):
        others = ", ".join(other for other, rule in FUNCTIONS.items() if rule.takes(dtype))
        what = f"column: {function} of {column!r}, which is {dtype}"
        raise refusal(_KIND, name, what, f"convert it in the transform; of {dtype} there are: {others}")


def _require_range(name: str, parameter: str, value: Any) -> None:  # noqa: ANN401 - this is where it is found out
    whole = {"k": (1, MAX_K), "bound": (1, MAX_BOUND), "precision": (4, 16), "scale": (0, 18)}
    shares = {"percentile": (0.0, 1.0), "accuracy": (0.0001, 0.2)}
    if parameter in whole:
        least, most = whole[parameter]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            what = f"{parameter}: {value!r} is no whole number from {least} to {most}"
            raise refusal(_KIND, name, what, "a state is part of every item: it has to stay small")
    elif parameter in shares:
        low, high = shares[parameter]
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise refusal(_KIND, name, f"{parameter}: {value!r} is not from {low} to {high}", "e.g. 0.95, or 0.01")
    elif parameter == "half_life":
        require_duration(_KIND, name, parameter, value, positive=True)
    elif parameter == "edges":
        _require_edges(name, value)
    elif not isinstance(value, str):
        raise refusal(_KIND, name, f"{parameter}: {value!r} is no column", "give its name")


def _require_edges(name: str, edges: tuple[Any, ...]) -> None:
    numbers = all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in edges)
    if not 1 <= len(edges) <= MAX_EDGES or not numbers or not all(map(math.isfinite, edges)):
        what = f"edges: {edges!r} are no finite numbers, from 1 to {MAX_EDGES} of them"
        raise refusal(_KIND, name, what, "e.g. edges=(0, 10, 100): four counts, of what is below, between and above")
    if any(later <= earlier for earlier, later in pairwise(edges)):
        raise refusal(_KIND, name, f"edges: {edges!r} do not ascend", "sort them, and name each once")
