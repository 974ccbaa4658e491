"""Counts, sums, spreads and extremes of numbers: over a list of records, with fractions.

It imports nothing of the product. An answer is None, `OVERFLOW`, a value that has to be met exactly, or a `Near`: an
exact number that the product's double has to be next to.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from feature_assets_tests.oracle.aggregates_objects import value_bytes

OVERFLOW = "overflow"
GREATEST = Fraction(1.7976931348623157e308)


@dataclass(frozen=True, slots=True)
class Record:
    """`x`, `y`, `by`: None for a null."""

    event_at: int
    x: Any = None
    y: Any = None
    by: Any = None


@dataclass(frozen=True, slots=True)
class Near:
    """The double next to `value`, or next to its square root; or one that is not further off than `slack`."""

    value: Fraction
    is_root: bool = False
    slack: Fraction = Fraction(0)

    def is_met(self, answer: object) -> bool:
        if not isinstance(answer, float):
            # A square root is in range if its square is in the range squared.
            return answer == OVERFLOW and abs(self.value) > (GREATEST**2 if self.is_root else GREATEST)
        place = Fraction(math.ulp(answer))
        # The least doubles are rounded once more.
        off = place if place == Fraction(5e-324) else place * Fraction(5_000_001, 10_000_000)
        low, high = Fraction(answer) - off - self.slack, Fraction(answer) + off + self.slack
        if self.is_root:
            return max(low, Fraction(0)) ** 2 <= self.value <= high**2
        return low <= self.value <= high


def values(records: Iterable[Record], column: str = "x") -> list[Any]:
    return [getattr(one, column) for one in records if getattr(one, column) is not None]


def special(numbers: Sequence[Any]) -> float | None:
    """What a sum is if not all is finite, by IEEE 754."""
    odd = {str(one) for one in numbers if isinstance(one, float) and not math.isfinite(one)}
    if not odd:
        return None
    return float(odd.pop()) if len(odd) == 1 else math.nan


def fractions(numbers: Sequence[Any], scale: int | None) -> list[Fraction]:
    """Exactly, or rounded to so many decimals."""
    exact = [Fraction(one) for one in numbers]
    return exact if scale is None else [Fraction(round(one * 10**scale), 10**scale) for one in exact]


def sum_(records: Sequence[Record], *, scale: int | None = None) -> object:
    numbers = values(records)
    if not numbers:
        return None
    if all(isinstance(one, int) for one in numbers):
        whole = sum(numbers)
        return whole if -(2**63) <= whole < 2**63 else OVERFLOW
    odd = special(numbers)
    if odd is not None:
        return odd
    total = sum(fractions(numbers, scale), Fraction(0))
    return nearest(total) if scale is None else Near(total)


def nearest(exact: Fraction) -> object:
    """A division of Python's integers is rounded correctly."""
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return OVERFLOW


def mean(records: Sequence[Record], *, scale: int | None = None) -> object:
    numbers = values(records)
    if not numbers:
        return None
    odd = special(numbers)
    return Near(sum(fractions(numbers, scale), Fraction(0)) / len(numbers)) if odd is None else odd


def variance(records: Sequence[Record], *, is_root: bool = False) -> object:
    numbers = values(records)
    if not numbers:
        return None
    if special(numbers) is not None:
        return math.nan
    exact = fractions(numbers, None)
    middle = sum(exact, Fraction(0)) / len(exact)
    return Near(sum(((one - middle) ** 2 for one in exact), Fraction(0)) / len(exact), is_root)


def ratio(records: Sequence[Record], *, scale: int | None = None) -> object:
    above, below = values(records, "x"), values(records, "y")
    if not above or not below:
        return None
    odd = special(above), special(below)
    one, other = (
        sum(fractions(part, scale if isinstance(part[0], float) else None), Fraction(0)) if out is None else out
        for part, out in zip((above, below), odd, strict=True)
    )
    if other == 0:
        return None
    if odd == (None, None):
        return Near(Fraction(one) / Fraction(other))
    if any(out is not None and math.isnan(out) for out in odd) or None not in odd:
        return math.nan
    if odd[1] is not None:
        return 0.0
    return math.copysign(math.inf, one) * (1 if other > 0 else -1)


def extreme(records: Sequence[Record], *, greatest: bool) -> object:
    found = [one for one in values(records) if one == one]  # noqa: PLR0124 - NaN is not itself
    if not found:
        return None
    return max(found) if greatest else min(found)


def rate(records: Sequence[Record], size: int, column: str | None) -> object:
    """`size`: microseconds."""
    return nearest(Fraction(count(records, column) * 1_000_000, size))


def count(records: Sequence[Record], column: str | None) -> int:
    return len(records) if column is None else len(values(records, column))


def since_last(records: Sequence[Record], as_of: int, column: str | None) -> object:
    having = [one.event_at for one in records if column is None or getattr(one, column) is not None]
    return max(as_of - max(having), 0) / 1e6 if having else None


def histogram(records: Sequence[Record], edges: Sequence[float]) -> list[int]:
    numbers = [one for one in values(records) if one == one]  # noqa: PLR0124 - NaN is not itself
    bounds = [-math.inf, *edges, math.inf]
    counts = [sum(low <= one < high for one in numbers) for low, high in pairwise(bounds)]
    counts[-1] += sum(one == math.inf for one in numbers)
    return counts


def decayed(
    records: Sequence[Record], as_of: int, hop: int, half_life: int, *, column: str | None, counts: bool
) -> object:
    having = [one for one in records if column is None or getattr(one, column) is not None]
    ages = [divmod(max(as_of // hop - one.event_at // hop, 0) * hop, half_life) for one in having]
    weights = [Fraction(2.0 ** -(rest / half_life)) / 2**halvings for halvings, rest in ages]
    numbers = [1 if counts else one.x for one in having]
    if special(numbers) is not None:
        return math.nan
    parts = [Fraction(number) * weight for number, weight in zip(numbers, weights, strict=True)]
    # The weights here are rounded to doubles, and so are their exponents.
    slack = sum(map(abs, parts), Fraction(0)) / 10**12 + Fraction(5e-324) * 40
    return Near(sum(parts, Fraction(0)), slack=slack)


def keyed(records: Sequence[Record], inner: Callable[[Sequence[Record]], object], bound: int) -> object:
    """A list of pairs, by the keys' bytes."""
    groups: dict[bytes, list[Record]] = {}
    for one in records:
        if one.by is not None:
            groups.setdefault(value_bytes(one.by), []).append(one)
    if len(groups) > bound:
        return OVERFLOW
    found = [(groups[key][0].by, inner(groups[key])) for key in sorted(groups)]
    return OVERFLOW if any(isinstance(one, str) and one == OVERFLOW for _, one in found) else found


# ---------------------------------------------------------------------------------------- bytes, by the documentation


def packed_integers(code: int, blob: bytes, count: int) -> list[int]:
    if code == 0:
        return [0] * count
    width = code % 16
    if code < 16:
        return [int.from_bytes(blob[width * at : width * (at + 1)], "little", signed=True) for at in range(count)]
    least = int.from_bytes(blob[:8], "little", signed=True)
    return [least + int.from_bytes(blob[8 + width * at : 8 + width * (at + 1)], "little") for at in range(count)]


def packed_sparse(code: int, blob: bytes, count: int, identity: int) -> list[int]:
    if code == 0:
        return [identity] * count
    if code >= 128:
        size = -(-count // 8)
        some = [blob[at // 8] >> at % 8 & 1 for at in range(count)]
        inner = iter(packed_integers(code - 128, blob[size:], sum(some)))
        return [next(inner) if one else identity for one in some]
    return packed_integers(code - 64, blob, count)


def packed_numbers(code: int, blob: bytes, count: int) -> list[Fraction]:
    if code == 0:
        return [Fraction(0)] * count
    place = int.from_bytes(blob[:2], "little", signed=True) if code == 2 else 0
    body = blob[2:] if code == 2 else blob
    width = len(body) // count
    each = [int.from_bytes(body[width * at : width * (at + 1)], "little", signed=True) for at in range(count)]
    return [one * Fraction(256) ** place for one in each]
