"""How two columns differ and how old rows are, naively: value by value, in exact numbers where it can be."""

import math
import statistics
from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TypeVar

Ordered = TypeVar("Ordered", float, timedelta)
GREATEST = 1.7976931348623157e308


def differs(one: object, other: object) -> bool:
    """Whether two values differ; NaN is NaN."""
    if one is None or other is None:
        return one is not other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(differs(a, b) for a, b in zip(one, other, strict=True))
    return one != other


def kinds(served: Sequence[object], other: Sequence[object]) -> tuple[int, int, int]:
    """How many rows have a value instead of null, null instead of a value, another value."""
    gained = lost = changed = 0
    for one, two in zip(served, other, strict=True):
        gained += one is None and two is not None
        lost += one is not None and two is None
        changed += one is not None and two is not None and differs(one, two)
    return gained, lost, changed


def signed(served: Sequence[float | None], other: Sequence[float | None]) -> list[float]:
    """The differences of the rows that differ in finite numbers."""
    found = []
    for one, two in zip(served, other, strict=True):
        if one is None or two is None or not differs(one, two):
            continue
        if math.isfinite(one) and math.isfinite(two):
            found.append(max(-GREATEST, min(GREATEST, float(two) - float(one))))
    return found


def percentile(values: Sequence[Ordered], percent: int) -> Ordered:
    """The least of the values that at least that share of them does not exceed."""
    return min(value for value in values if 100 * sum(other <= value for other in values) >= percent * len(values))


def spread(values: Sequence[float | None]) -> float | None:
    """The standard deviation of the finite values, from exact fractions; None if it is zero."""
    finite = [Fraction(value) for value in values if value is not None and math.isfinite(value)]
    if len(set(finite)) <= 1:
        return None
    variance = statistics.pvariance(finite)
    # Of a fraction too large or small for a float, the root is taken piece by piece.
    shift = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(variance / Fraction(4) ** shift), shift) or None


def bars(differences: Sequence[float], limit: float, half: int) -> list[int]:
    """How many differences fall into each of `2 * half` steps from minus `limit` to `limit`, the rest at the ends."""
    counts = [0] * (2 * half)
    for one in differences:
        kept = max(-limit, min(limit, one))
        counts[max(0, min(2 * half - 1, (math.floor(kept / limit * half) if limit else 0) + half))] += 1
    return counts


def ages(rows: Sequence[tuple[datetime, datetime | None]], ttl: timedelta | None) -> list[timedelta]:
    """The ages of rows (as_of, event_at) that were found and had not expired; none is negative."""
    found = []
    for as_of, event_at in rows:
        if event_at is not None and (ttl is None or as_of - event_at <= ttl):
            found.append(max(as_of - event_at, timedelta(0)))
    return found


def steps(found: Sequence[timedelta], bounds: Sequence[timedelta]) -> list[int]:
    """How many ages lie below the first bound, from each to the next, and from the last on."""
    counts = [0] * (len(bounds) + 1)
    for one in found:
        counts[sum(bound <= one for bound in bounds)] += 1
    return counts
