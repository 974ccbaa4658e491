"""How two columns of one feature differ, row by row, and how old what was used was.

Invariant: every figure is a count, a share of a count or a value that is there: a percentile is one of the values, so
that at least that many of them are no greater. Null and NaN are two values; null equals null, and NaN equals NaN.
It knows no lake and no ledger: columns in, figures out.
"""

from datetime import timedelta
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

AGE_PERCENTILES: Final = (50, 90, 99, 100)
AGE_BOUNDS: Final = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=7),
    timedelta(days=30),
)
"""Ages are counted below the first bound, from each to the next, and from the last on: steps that people think in."""

HALF_BINS: Final = 10
"""Bars on each side of "no difference"."""

_GREATEST: Final = float(np.finfo(np.float64).max)


class Kinds(msgspec.Struct, frozen=True):
    """In how many rows there is a value instead of null, null instead of a value, and another value."""

    null_to_value: int
    value_to_null: int
    value_to_other: int

    @property
    def rows(self) -> int:
        """The rows that differ."""
        return self.null_to_value + self.value_to_null + self.value_to_other


class Size(msgspec.Struct, frozen=True):
    """How large differences of numbers are, over the `rows` that differ and have a finite number on both sides.

    `median` and `p95` are of the absolute difference. `spread` is the standard deviation of the finite values as served
    in all rows; None if they do not vary. `counts`: rows by difference (other less served), in `2 * HALF_BINS` equal
    steps from `-p95` to `p95`; what lies beyond is counted at the ends.
    """

    rows: int
    median: float
    p95: float
    spread: float | None
    counts: tuple[int, ...]

    @property
    def relative_median(self) -> float | None:
        """The median in spreads."""
        return None if self.spread is None else self.median / self.spread

    @property
    def relative_p95(self) -> float | None:
        """The 95th percentile in spreads."""
        return None if self.spread is None else self.p95 / self.spread


class Ages(msgspec.Struct, frozen=True):
    """How old the used rows were: as_of minus event_at, never below zero.

    `percentiles`: one for each of `AGE_PERCENTILES`, the last of which is the maximum. `counts`: see `AGE_BOUNDS`.
    """

    rows: int
    percentiles: tuple[timedelta, ...]
    counts: tuple[int, ...]


def same_values(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Bools:
    """Row by row, whether two columns of one type hold the same; null equals null, and NaN equals NaN."""
    if pa.types.is_nested(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.fromiter((repr(one) == repr(other) for one, other in pairs), np.bool_, count=len(left))
    same: Bools = np.array(pc.fill_null(pc.equal(left, right), False))  # noqa: FBT003 - Arrow's signature
    if pa.types.is_floating(left.type):
        same |= np.asarray(pc.fill_null(pc.and_(pc.is_nan(left), pc.is_nan(right)), False))  # noqa: FBT003
    same |= np.asarray(left.is_null()) & np.asarray(right.is_null())
    return same


def kinds_of(served: pa.ChunkedArray, other: pa.ChunkedArray, differing: Bools) -> Kinds:
    """What kind of change each differing row shows, from what was served to the other."""
    had, has = np.asarray(served.is_valid()), np.asarray(other.is_valid())
    return Kinds(
        null_to_value=int((differing & ~had & has).sum()),
        value_to_null=int((differing & had & ~has).sum()),
        value_to_other=int((differing & had & has).sum()),
    )


def size_of(served: pa.ChunkedArray, other: pa.ChunkedArray, differing: Bools) -> Size | None:
    """How large the differences are; None unless the columns hold numbers and some row differs in one."""
    if not is_number(served.type):
        return None
    one, two = numbers(served), numbers(other)
    finite = np.isfinite(one)
    both = differing & finite & np.isfinite(two)
    if not both.any():
        return None
    with np.errstate(over="ignore"):
        # An infinite difference of finite values is written as the greatest one: JSON has no infinity.
        signed = np.clip(two[both] - one[both], -_GREATEST, _GREATEST)
    absolute = np.sort(np.abs(signed))
    p95 = float(absolute[_rank(95, len(absolute))])
    return Size(
        rows=len(signed),
        median=float(absolute[_rank(50, len(absolute))]),
        p95=p95,
        spread=_spread(one[finite]),
        counts=_binned(signed, p95),
    )


def ages_of(as_of: Ints, event_at: Ints) -> Ages | None:
    """The ages of used rows, both in microseconds; None if there are none."""
    if not len(as_of):
        return None
    age = np.sort(np.maximum(as_of - event_at, 0))
    bounds = np.array([bound // timedelta(microseconds=1) for bound in AGE_BOUNDS])
    counts = np.bincount(np.searchsorted(bounds, age, side="right"), minlength=len(bounds) + 1)
    return Ages(
        rows=len(age),
        percentiles=tuple(timedelta(microseconds=int(age[_rank(one, len(age))])) for one in AGE_PERCENTILES),
        counts=tuple(int(count) for count in counts),
    )


def is_number(dtype: pa.DataType) -> bool:
    """Whether differences of such values have a size."""
    return bool(pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype))


def numbers(column: pa.ChunkedArray) -> Floats:
    """A column of numbers as floats, NaN where it is null."""
    # Not a safe cast: that refuses whole numbers beyond 2**53, whose last digits no figure here shows.
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")), np.float64)


def _rank(percent: int, count: int) -> int:
    """The place, from zero, of a percentile among sorted values: the first with `percent` of them at or before it."""
    return max(-(-percent * count // 100) - 1, 0)


def _spread(values: Floats) -> float | None:
    """The standard deviation of finite values; None if all are the same."""
    if values.min() == values.max():
        return None
    # By a power of two, which loses nothing, below one: squares of the largest numbers would not be finite. And
    # counted from one of the values: of numbers that are large and close, the differences are exact, the mean is not.
    exponent = int(np.frexp(np.abs(values).max())[1])
    scaled = np.ldexp(values, -exponent)
    return float(np.ldexp(np.std(scaled - scaled[0]), exponent)) or None


def _binned(signed: Floats, limit: float) -> tuple[int, ...]:
    # No limit: whole numbers so large that as floats they are the same.
    steps = np.zeros(len(signed)) if limit == 0 else np.floor(np.clip(signed, -limit, limit) / limit * HALF_BINS)
    place = np.clip(steps, -HALF_BINS, HALF_BINS - 1).astype(np.int64) + HALF_BINS
    return tuple(int(count) for count in np.bincount(place, minlength=2 * HALF_BINS))
