"""Expectations, naively: one partition at a time, one row at a time."""

import math
from collections.abc import Callable, Sequence

Value = float | int | str | None


def is_missing(value: Value) -> bool:
    """Null, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def holds(values: Sequence[Value], passes: Callable[[float], bool], mostly: float) -> bool:
    """Whether enough of the values that are there pass; none at all is enough."""
    there = [float(value) for value in values if value is not None and not is_missing(value)]
    return not there or sum(map(passes, there)) / len(there) >= mostly


def is_filled(values: Sequence[Value], mostly: float) -> bool:
    """Whether enough of all values are there."""
    return not values or sum(not is_missing(value) for value in values) / len(values) >= mostly


def is_unique(values: Sequence[Value]) -> bool:
    """Whether no value that is there occurs twice."""
    there = [value for value in values if not is_missing(value)]
    return len(there) == len(set(there))
