"""Aggregates of numbers: from exact sums to `sum mean var stddev ratio rate`.

Invariant: a value is a fixed function of the exact sums, so it is the same bits whoever computes it and from however
many parts. Nulls are no values. Any NaN, or both infinities, make NaN of a sum; one infinity makes itself. What is
beyond the range of int64 or of a double is null, with `overflow`; what is null for lack of values is so without.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.columns import is_float
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.exact import Bools, Floats, integers, spreads
from feature_assets.compute.aggregates.rounding import (
    Scaled,
    divided,
    quotients,
    roots,
    rounded,
    rounded_sums,
    scaled_sums,
    whole,
)
from feature_assets.compute.aggregates.slot import Additive, Asked, Computation, Finished, Ints, Slot
from feature_assets.compute.aggregates.sums import FixedSum, FloatSum, IntegerSum, NonFinite, SquareSum
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window

Columns = Mapping[str, pa.DataType]

_NEAREST: Final = "the double that is nearest to the exact sum"
_ROUNDED_ONCE: Final = "within 0.5000001 units in the last place of the exact value"


class Total:
    """The exact sum of a column: its slots, in order, and what their cells say.

    Slots: the sum, how many values, and of floats what is not finite.
    """

    def __init__(self, column: str, dtype: pa.DataType, scale: int | None) -> None:
        self.floats = is_float(dtype)
        self.scale = scale if self.floats else None
        self.slots: tuple[Slot[Any], ...]
        if not self.floats:
            self.slots = (IntegerSum(column), Count(column))
        elif self.scale is None:
            self.slots = (FloatSum(column), Count(column), NonFinite(column))
        else:
            self.slots = (FixedSum(column, self.scale), Count(column), NonFinite(column))

    def scaled(self, cells: Sequence[Additive]) -> Scaled:
        """The sums of what is finite."""
        found = scaled_sums(cells[0])
        return found if self.scale is None else quotients(found, _power_of_ten(self.scale, len(found.high)))

    def rounded(self, cells: Sequence[Additive]) -> tuple[Floats, Bools]:
        """The sums of what is finite as doubles, and which are beyond the range."""
        return rounded_sums(cells[0]) if self.scale is None else rounded(self.scaled(cells))

    def counts(self, cells: Sequence[Additive]) -> Ints:
        """How many values there are."""
        return cells[1].values[:, 0]

    def special(self, cells: Sequence[Additive]) -> tuple[Floats, Bools]:
        """Where something is not finite, what the sum is by IEEE 754; and where that is."""
        if not self.floats:
            size = len(cells[0].values)
            return np.zeros(size), np.zeros(size, np.bool_)
        if not cells[2].values.any():
            # As it usually is.
            return np.zeros(len(cells[2].values)), np.zeros(len(cells[2].values), np.bool_)
        nan, above, below = (cells[2].values > 0).T
        value = np.where(nan | (above & below), np.nan, np.where(above, np.inf, -np.inf))
        return value, nan | above | below


class Summed(Computation):
    """`sum`: int64 of integers, float64 of floats; null if there is no value."""

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        (column,) = aggregate.columns[:1]
        self._total = Total(column, columns[column], aggregate.scale)
        self.slots = self._total.slots
        if self._total.floats:
            self.error_bound = _NEAREST if aggregate.scale is None else _ROUNDED_ONCE

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        del asked
        missing = self._total.counts(cells) == 0
        if not self._total.floats:
            return finished(*integers(cells[0]), missing)
        values, beyond = self._total.rounded(cells)
        return finished(*_instead(values, beyond, *self._total.special(cells)), missing)


class Mean(Computation):
    """`mean`: float64; null if there is no value."""

    error_bound = _ROUNDED_ONCE

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        (column,) = aggregate.columns[:1]
        self._total = Total(column, columns[column], aggregate.scale)
        self.slots = self._total.slots

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        del asked
        counts = self._total.counts(cells)
        values, beyond = rounded(divided(self._total.scaled(cells), counts))
        return finished(*_instead(values, beyond, *self._total.special(cells)), counts == 0)


class Spread(Computation):
    """`var` and `stddev` of the population: float64; null if there is no value, NaN if one is not finite.

    The variance is (n * sum(x**2) - sum(x)**2) / n**2, whose numerator is an exact number: nothing cancels.
    """

    error_bound = _ROUNDED_ONCE

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        (column,) = aggregate.columns[:1]
        self._total = Total(column, columns[column], None)
        self._is_root = aggregate.function == "stddev"
        self.slots = (*self._total.slots, SquareSum(column, floats=self._total.floats))

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        del asked
        counts = self._total.counts(cells)
        variance = divided(scaled_sums(spreads(cells[0], cells[-1], counts)), counts, times=2)
        values, beyond = rounded(roots(variance) if self._is_root else variance)
        _, special = self._total.special(cells)
        # What is finite of a column that is not is no sum of all its values, and means nothing.
        return finished(*_instead(values, beyond, np.full(len(values), np.nan), special), counts == 0)


class Ratio(Computation):
    """`ratio`: the sum of a column over that of another, float64; null if either has no value, or the latter is 0."""

    error_bound = _ROUNDED_ONCE

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        above, below = aggregate.column or "", aggregate.over or ""
        self._above = Total(above, columns[above], aggregate.scale)
        self._below = Total(below, columns[below], aggregate.scale)
        self.slots = (*self._above.slots, *self._below.slots)

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        del asked
        above, below = cells[: len(self._above.slots)], cells[len(self._above.slots) :]
        one, other = self._above.scaled(above), self._below.scaled(below)
        values, beyond = rounded(quotients(one, other))
        (above_special, above_odd), (below_special, below_odd) = self._above.special(above), self._below.special(below)
        # Of what is finite only the sign matters beside an infinity.
        upper = np.where(above_odd, above_special, _signs(one))
        lower = np.where(below_odd, below_special, _signs(other))
        missing = (self._above.counts(above) == 0) | (self._below.counts(below) == 0) | (lower == 0)
        with np.errstate(invalid="ignore"):
            special = upper / np.where(lower == 0, 1.0, lower)
        return finished(*_instead(values, beyond, special, above_odd | below_odd), missing)


class Rate(Computation):
    """`rate`: how many records, or values of a column, per second of the window's size; 0.0 for none."""

    error_bound = "the double that is nearest to the exact value"
    is_of_any_window = False

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del columns
        self.slots = (Count(aggregate.column),)
        self._size = 1 if window.size is None else duration_us(window.size)

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        # Both are whole and below 2**53: one rounding, that of the division.
        values = (cells[0].values[:, 0] * 1_000_000).astype(np.float64) / self._size
        nowhere = np.zeros(len(asked.as_of), np.bool_)
        return finished(values, nowhere, nowhere)


class Counted(Computation):
    """`count`: how many records there are; of a column, how many have a value. 0 for none."""

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window, columns
        self.slots = (Count(aggregate.column),)

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        nowhere = np.zeros(len(asked.as_of), np.bool_)
        return finished(cells[0].values[:, 0], nowhere, nowhere)


def finished(values: Floats | Ints, beyond: Bools, missing: Bools) -> Finished:
    """Null where there is nothing, and where it is beyond the range; this is said."""
    overflow = beyond & ~missing
    null = overflow | missing
    if not null.any():
        return Finished(pa.array(values), overflow)
    # Always the same number below a null, so that equal answers are equal arrays.
    return Finished(masked(np.where(null, values.dtype.type(0), values), null), overflow)


def masked(values: Floats | Ints, null: Bools) -> pa.Array:
    """An Arrow array of numbers of 64 bits, null where it is said."""
    valid = pa.py_buffer(np.packbits(~null, bitorder="little"))
    dtype = pa.int64() if values.dtype == np.int64 else pa.float64()
    buffers = [valid, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(dtype, len(values), buffers, int(np.count_nonzero(null)))


def _instead(values: Floats, beyond: Bools, special: Floats, odd: Bools) -> tuple[Floats, Bools]:
    return (np.where(odd, special + 0.0, values), beyond & ~odd) if odd.any() else (values, beyond)


def _signs(numbers: Scaled) -> Floats:
    sign = np.where(numbers.negative, -1.0, 1.0)
    return np.where(numbers.high == 0, 0.0, sign)


def _power_of_ten(scale: int, size: int) -> Scaled:
    return whole(np.full(size, 10**scale, np.int64))
