"""Exact numbers, many at a time: sums of integers and of doubles as digits of base 2**32.

Invariant: nothing is ever rounded here (that is done in `rounding`); so the order and the grouping in which
numbers are added cannot show. It is integer arithmetic on columns: column `i` of `Additive.values` counts multiples of
2**(32 * (base + i)).

A number goes in as a list of *limbs*, each less than 2**32 in magnitude, times a power of two of its own: a double is
its integer mantissa (two limbs), a square of one four limbs. `summed` moves each to the digits' grid and adds up per
cell.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Additive, Ints, segments

Floats = npt.NDArray[np.float64]
Unsigned = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Limbs = Sequence[Ints]

BITS: Final = 32
MASK: Final = 2**32 - 1
MANTISSA: Final = 53
"""Bits of a double's mantissa."""
_CHUNK: Final = 2**16
"""Records that are spread over columns at a time, so that the columns stay in the cache."""
_MASK: Final = np.array(MASK)
_BITS: Final = np.array(BITS)
"""Arrays of no dimension: a number of Python's is made one again in each step, which takes as long as the step."""
_LOW: Final = np.uint64(MASK)
_HALF: Final = np.uint64(BITS)


def integer_limbs(values: Ints) -> Limbs:
    """Any int64 as two limbs, the higher one with the sign."""
    return values & MASK, values >> BITS


def float_limbs(values: Floats) -> tuple[Limbs, Ints]:
    """Finite doubles as the limbs of their integer mantissas and the exponents of these. Denormals too."""
    mantissa, exponent = _mantissas(values)
    return integer_limbs(mantissa), exponent


def squares_of_integers(values: Ints) -> Limbs:
    """The squares of any int64."""
    # The magnitude of the least int64 is itself, read without a sign.
    return _squares(np.abs(values).astype(np.uint64))


def squares_of_floats(values: Floats) -> tuple[Limbs, Ints]:
    """The squares of finite doubles, and their exponents: nothing overflows and nothing is lost."""
    mantissa, exponent = _mantissas(values)
    return _squares(np.abs(mantissa).astype(np.uint64)), 2 * exponent


def product_limbs(values: Floats, factor: int) -> tuple[Limbs, Ints]:
    """Finite doubles times an integer from 0 to 2**60 - 1."""
    mantissa, exponent = _mantissas(values)
    low, high = (np.abs(mantissa).astype(np.uint64) >> np.uint64(shift) & _LOW for shift in (0, BITS))
    by_low, by_high = np.uint64(factor & MASK), np.uint64(factor >> BITS)
    lowest = low * by_low
    middle = (lowest >> _HALF) + low * by_high
    crossed = (middle & _LOW) + high * by_low
    top = (middle >> _HALF) + (crossed >> _HALF) + high * by_high
    sign = np.sign(mantissa)
    return [
        sign * part.astype(np.int64) for part in (lowest & _LOW, crossed & _LOW, top & _LOW, top >> _HALF)
    ], exponent


def summed(limbs: Limbs, exponent: Ints | int, cell: Ints, cells: int) -> Additive:
    """The exact sums per cell of numbers `sum(limbs[i] * 2**(32 * i)) * 2**exponent`. `cell` ascends.

    One `exponent` for all has to be a multiple of 32.
    """
    if not len(cell):
        return Additive(0, np.zeros((cells, 1), np.int64))
    if isinstance(exponent, int):
        return _trimmed(Additive(exponent // BITS, _reduced(np.stack(limbs), cell, cells)))
    # A zero has no place of its own: it must not widen the rest.
    some = np.flatnonzero(np.logical_or.reduce([limb != 0 for limb in limbs]))
    if len(some) < len(cell):
        return summed([limb[some] for limb in limbs], exponent[some], cell[some], cells)
    place, shift = exponent >> 5, exponent & (BITS - 1)
    base = int(place.min())
    width = int(place.max()) - base + len(limbs) + 1
    total = np.zeros((width, cells), np.int64)
    for start in range(0, len(cell), _CHUNK):
        rows = slice(start, start + _CHUNK)
        spread = _spread([limb[rows] for limb in limbs], shift[rows], place[rows] - base, width)
        found, first = segments(cell[rows])
        total[:, found] += np.add.reduceat(spread, first, axis=1)
    return _trimmed(Additive(base, total.T))


def merged(states: Additive, group: Ints, groups: int) -> Additive:
    """The sums of cells per group. `group` ascends."""
    found, first = segments(group)
    values = np.zeros((groups, states.values.shape[1]), np.int64)
    if len(found):
        values[found] = np.add.reduceat(states.values, first, axis=0)
    return Additive(states.base, values)


def concatenated(parts: Sequence[Additive]) -> Additive:
    """The cells of all parts, one part after the other, over the columns of all."""
    parts = [part for part in parts if len(part.values)]
    if not parts:
        return Additive(0, np.zeros((0, 1), np.int64))
    if len({(part.base, part.values.shape[1]) for part in parts}) == 1:
        return Additive(parts[0].base, np.concatenate([part.values for part in parts]))
    base = min(part.base for part in parts)
    width = max(part.base + part.values.shape[1] for part in parts) - base
    values = np.zeros((sum(len(part.values) for part in parts), width), np.int64)
    row = 0
    for part in parts:
        column = part.base - base
        values[row : row + len(part.values), column : column + part.values.shape[1]] = part.values
        row += len(part.values)
    return Additive(base, values)


def added(one: Additive, other: Additive) -> Additive:
    """The sums of two sets of cells, cell by cell."""
    cells = len(one.values)
    both = concatenated([one, other])
    return Additive(both.base, both.values[:cells] + both.values[cells:])


def canonical(number: Additive) -> Additive:
    """The same numbers in the one form: all digits from 0 to 2**32 - 1, but the last, which has the sign and 32 bits.

    It has one column more, so that the last is -1 or 0 wherever the others suffice to read the number in two's
    complement.
    """
    cells, width = number.values.shape
    values = np.empty((width + 1, cells), np.int64)
    values[:width] = number.values.T
    for column in range(width):
        np.right_shift(values[column], _BITS, out=values[width])
        values[column] &= _MASK
        if column + 1 < width:
            values[column + 1] += values[width]
    return Additive(number.base, values.T)


def spreads(sums: Additive, squares: Additive, counts: Ints) -> Additive:
    """`counts * squares - sums**2`, cell by cell. `counts`: from 0 to 2**31 - 1; `squares`: none is negative."""
    number, more = magnitudes(sums)[0], canonical(squares)
    digits = np.ascontiguousarray(number.values.T).view(np.uint64)
    width, above = len(digits), more.values.shape[1]
    base = min(2 * number.base, more.base)
    total = np.zeros((max(2 * (number.base + width), more.base + above) - base, len(counts)), np.int64)
    first = more.base - base
    np.multiply(more.values.T, counts, out=total[first : first + above])
    for place in range(width):
        # A digit times itself, and twice what it makes with each higher one.
        products = digits[place:] * digits[place]
        low, high = (products & _LOW).view(np.int64), (products >> _HALF).view(np.int64)
        low[1:] <<= 1
        high[1:] <<= 1
        first = 2 * (number.base + place) - base
        total[first : first + len(low)] -= low
        total[first + 1 : first + 1 + len(high)] -= high
    return Additive(base, total.T)


def magnitudes(number: Additive) -> tuple[Additive, Bools]:
    """The magnitudes, canonical, with all digits from 0 to 2**32 - 1; and which numbers are negative."""
    known: tuple[Additive, Bools] | None = number.known.get(magnitudes)
    if known is None:
        known = number.known[magnitudes] = _magnitudes(number)
    return known


def _magnitudes(number: Additive) -> tuple[Additive, Bools]:
    digits = canonical(number)
    negative = digits.values[:, -1] < 0
    if negative.any():
        digits = canonical(Additive(digits.base, np.where(negative[:, None], -digits.values, digits.values)))
    return _trimmed(digits), negative


def integers(number: Additive) -> tuple[Ints, Bools]:
    """Whole numbers (`base` is not negative) as int64, and which are beyond its range: there it means nothing."""
    if number.base == 0 and number.values.shape[1] == 1:
        return number.values[:, 0].copy(), np.zeros(len(number.values), np.bool_)
    aligned = concatenated([Additive(0, np.zeros((1, 2), np.int64)), number])
    digits = canonical(Additive(0, aligned.values[1:])).values
    value = digits[:, 0] | (digits[:, 1] << BITS)
    sign = value >> 63
    beyond = (digits[:, -1] != sign) | (digits[:, 2:-1] != (sign & MASK)[:, None]).any(axis=1)
    return value, beyond


def _mantissas(values: Floats) -> tuple[Ints, Ints]:
    fraction, exponent = np.frexp(values)
    return (fraction * 2.0**MANTISSA).astype(np.int64), exponent.astype(np.int64) - MANTISSA


def _squares(magnitude: Unsigned) -> Limbs:
    """Of magnitudes up to 2**63: the schoolbook's square of two limbs. No step passes 2**64 - 1."""
    low, high = magnitude & _LOW, magnitude >> _HALF
    lowest = low * low
    middle = (lowest >> _HALF) + np.uint64(2) * low * high
    upper = (middle >> _HALF) + high * high
    parts = (lowest & _LOW, middle & _LOW, upper & _LOW, upper >> _HALF)
    return [part.astype(np.int64) for part in parts]


def _spread(limbs: Limbs, shift: Ints, place: Ints, width: int) -> Ints:
    """Numbers on the grid of digits: of shape (width, numbers)."""
    columns = np.zeros((width, len(shift)), np.int64)
    flat = columns.reshape(-1)
    at = place * len(shift) + np.arange(len(shift))
    carry = np.zeros(len(shift), np.int64)
    for limb in limbs:
        moved = (limb << shift) + carry
        flat[at] = moved & MASK
        carry = moved >> BITS
        at += len(shift)
    flat[at] = carry
    return columns


def _reduced(columns: Ints, cell: Ints, cells: int) -> Ints:
    found, first = segments(cell)
    total = np.zeros((len(columns), cells), np.int64)
    total[:, found] = np.add.reduceat(columns, first, axis=1)
    return total.T


def _trimmed(number: Additive) -> Additive:
    """Without the outer columns that are zero in every cell; one column is left at least."""
    used = np.flatnonzero(number.values.any(axis=0))
    if not len(used):
        return Additive(0, np.zeros((len(number.values), 1), np.int64))
    return Additive(number.base + int(used[0]), number.values[:, used[0] : used[-1] + 1])
