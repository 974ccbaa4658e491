"""Exact sums of a column, and what keeps them from being finite.

Invariant: a sum is the exact one of the values that are finite; so it is the same in whatever order and in however many
steps they were added. NaN and the infinities are counted apart, in `NonFinite`.

The bytes of `IntegerSum`, `FloatSum`, `FixedSum` and `SquareSum` are those of `packed_exact`. Of `NonFinite`: for each
cell how many are NaN, infinity and minus infinity, one after the other, by `packing.packed_integers`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.columns import floats_of, integers_of
from feature_assets.compute.aggregates.exact import (
    MANTISSA,
    Floats,
    added,
    canonical,
    concatenated,
    float_limbs,
    integer_limbs,
    merged,
    product_limbs,
    squares_of_floats,
    squares_of_integers,
    summed,
)
from feature_assets.compute.aggregates.packed_exact import packed_numbers, unpacked_numbers
from feature_assets.compute.aggregates.packing import Blobs, Codes, damaged, packed_integers, unpacked_integers
from feature_assets.compute.aggregates.rounding import products
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Additive, Ints, Kind, Records, Slot

_SMALL: Final = 2.0**31
"""Whole doubles up to here are added as plain integers."""
_EVERY_BIT: Final = 2.0**MANTISSA
"""From here on every double is a whole number."""


class Sum(Slot[Additive]):
    """What all slots share whose merge is addition."""

    kind: ClassVar[Kind] = "additive"

    def empty(self, cells: int) -> Additive:
        return Additive(0, np.zeros((cells, 1), np.int64))

    def merge(self, states: Additive, group: Ints, groups: int) -> Additive:
        return merged(states, group, groups)

    def take(self, states: Additive, cells: Ints) -> Additive:
        # Rows taken so are moved as a whole, which is four times as fast as indexing.
        return Additive(states.base, np.take(states.values, cells, axis=0))

    def concat(self, parts: Sequence[Additive]) -> Additive:
        return concatenated(parts)


class ExactSum(Sum):
    """An exact number for each cell."""

    max_bytes = 20
    """153 bits: 64 of a factor of 2**64, 53 of the mantissa, 31 for 2**31 records, and the sign. Integers take less."""

    def __init__(self, name: str, column: str) -> None:
        self.name = name
        self.columns = (column,)

    @abstractmethod
    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        """See `Slot`."""

    def encode(self, states: Additive, counts: Ints) -> tuple[Codes, list[bytes]]:
        return packed_numbers(states, counts)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
        return unpacked_numbers(codes, blobs, counts)


class WholeSum(ExactSum):
    """An exact integer for each cell."""

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
        found = unpacked_numbers(codes, blobs, counts)
        if found.base < 0:
            raise damaged(f"{self.name}: a sum of integers is none")
        return found


class IntegerSum(WholeSum):
    """The sum of a column of integers."""

    def __init__(self, column: str) -> None:
        super().__init__(f"sum({column})", column)

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        values, cell = integers_of(records, self.columns[0], cell)
        return _integers_summed(values, cell, cells)


class FloatSum(ExactSum):
    """The sum of a column of floats, of the finite ones."""

    def __init__(self, column: str) -> None:
        super().__init__(f"sum({column})", column)

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        values, cell = _finite(records, self.columns[0], cell)
        if len(values) and (np.abs(values) < _SMALL).all() and (values == np.rint(values)).all():
            return _integers_summed(values.astype(np.int64), cell, cells)
        limbs, exponent = float_limbs(values)
        return summed(limbs, exponent, cell, cells)


class FixedSum(WholeSum):
    """The sum of a column of floats, of the finite ones, each times 10**scale and rounded, half to even, to an integer.

    It is the exact double that is rounded: 1.005 is less than its literal, so of two decimals it is 1.00.
    """

    def __init__(self, column: str, scale: int) -> None:
        super().__init__(f"sum({column}, scale={scale})", column)
        self.scale = scale

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        values, cell = _finite(records, self.columns[0], cell)
        large = np.abs(values) >= _EVERY_BIT
        fixed = self._fixed(values[~large], cell[~large], cells)
        if not large.any():
            return fixed
        # A whole number already: only its product has to be exact.
        limbs, exponent = product_limbs(values[large], 10**self.scale)
        return _both(fixed, summed(limbs, exponent, cell[large], cells))

    def _fixed(self, values: Floats, cell: Ints, cells: int) -> Additive:
        product, error = products(values, 10.0**self.scale)
        nearest = np.rint(product)
        # Where the product was rounded to a tie, the exact one is beside it, and the error says on which side.
        tie = (np.abs(product - np.trunc(product)) == 0.5) & (error != 0)  # noqa: PLR2004 - a tie is at one half
        nearest = np.where(tie, np.where(error > 0, np.ceil(product), np.floor(product)), nearest)
        if len(values) and np.abs(nearest).max() >= _EVERY_BIT / 2:
            # A product so large is whole, and what it is off by has a whole part of its own.
            one, other = (float_limbs(part) for part in (nearest, np.rint(error) * (product == nearest)))
            return _both(summed(*one, cell, cells), summed(*other, cell, cells))
        return _integers_summed(nearest.astype(np.int64), cell, cells)


class SquareSum(ExactSum):
    """The sum of the squares of a column of numbers, of the finite ones."""

    def __init__(self, column: str, *, floats: bool) -> None:
        super().__init__(f"sum({column}**2)", column)
        self.floats = floats

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        if self.floats:
            values, cell = _finite(records, self.columns[0], cell)
            limbs, exponent = squares_of_floats(values)
            return summed(limbs, exponent, cell, cells)
        integers, cell = integers_of(records, self.columns[0], cell)
        if len(integers) and integers.min() > -_SMALL and integers.max() < _SMALL:
            return _integers_summed(integers * integers, cell, cells)
        return summed(squares_of_integers(integers), 0, cell, cells)


class NonFinite(Sum):
    """How many values of a column of floats are NaN, infinity and minus infinity: three counts for each cell."""

    WIDTH: ClassVar[int] = 3
    integers: ClassVar[int] = WIDTH
    max_bytes = WIDTH * COUNT_BYTES

    def __init__(self, column: str) -> None:
        self.name = f"nonfinite({column})"
        self.columns = (column,)

    def empty(self, cells: int) -> Additive:
        return Additive(0, np.zeros((cells, self.WIDTH), np.int64))

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        found = self.empty(cells)
        values, cell = floats_of(records, self.columns[0], cell)
        odd = np.flatnonzero(~np.isfinite(values))
        if len(odd):
            values, cell = values[odd], cell[odd]
            for column, which in enumerate((np.isnan(values), values == np.inf, values == -np.inf)):
                found.values[:, column] = np.bincount(cell[which], minlength=cells)
        return found

    def concat(self, parts: Sequence[Additive]) -> Additive:
        return Additive(0, np.concatenate([part.values for part in parts]) if parts else self.empty(0).values)

    def encode(self, states: Additive, counts: Ints) -> tuple[Codes, list[bytes]]:
        return packed_integers(states.values.reshape(-1), counts * self.WIDTH)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
        return self.of_integers(unpacked_integers(codes, blobs, counts * self.WIDTH))

    def of_integers(self, values: Ints) -> Additive:
        return Additive(0, values.reshape(-1, self.WIDTH))


def _finite(records: Records, column: str, cell: Ints) -> tuple[npt.NDArray[np.float64], Ints]:
    values, cell = floats_of(records, column, cell)
    finite = np.isfinite(values)
    return (values, cell) if finite.all() else (values[finite], cell[finite])


def _integers_summed(values: Ints, cell: Ints, cells: int) -> Additive:
    if len(values) and values.min() > -_SMALL and values.max() < _SMALL:
        return summed([values], 0, cell, cells)
    return summed(integer_limbs(values), 0, cell, cells)


def _both(one: Additive, other: Additive) -> Additive:
    """The sums of two; canonical, so that what is added has digits below 2**32 again."""
    return added(canonical(one), canonical(other))
