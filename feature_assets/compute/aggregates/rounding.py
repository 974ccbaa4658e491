"""Exact numbers to doubles: sums, quotients and roots of what `exact` keeps.

Invariant: a result is a fixed function of the exact number, whatever its digits look like. A sum is correctly rounded
(to nearest, ties to even). A quotient or a root is computed with about 100 bits and rounded once: it is off by at most
0.5000001 units in the last place, and by one where it is denormal. Zero is always 0.0, never -0.0.
What is beyond the range of a double is said so, apart from the values, and never an infinity.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from feature_assets.compute.aggregates.exact import BITS, MANTISSA, Bools, Floats, Unsigned, magnitudes
from feature_assets.compute.aggregates.slot import Additive, Ints

_SPLITTER: Final = 2.0**27 + 1
"""Dekker, "A floating-point technique for extending the available precision", 1971."""
_BELOW: Final = 64 - MANTISSA
"""Bits of two digits that are below a mantissa."""
_DIGIT: Final = np.uint64(BITS)


Leading = tuple[Unsigned, Unsigned, Bools, Ints, Bools]
"""The leading 53 bits of each magnitude, the 53 behind them, and whether there are more; then the place of the former's
lowest bit as a power of two, and which numbers are negative."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Numbers (high + low) * 2**exponent, with a sign of their own; `low` is less than the last place of `high`.

    `high` is 0 for zero, else of a size between 2**-60 and 2**120, so that nothing in between overflows.
    """

    high: Floats
    low: Floats
    exponent: Ints
    negative: Bools


def rounded_sums(number: Additive) -> tuple[Floats, Bools]:
    """The nearest doubles of sums of doubles or of integers, and which are beyond the range (there the value is 0)."""
    if number.values.shape[1] == 1:
        # One column: numpy's conversion is the correct rounding, and the column's place only moves it.
        return _moved(number.values[:, 0].astype(np.float64), np.full(len(number.values), BITS * number.base))
    mantissa, rest, sticky, exponent, negative = _leading(number)
    half = np.uint64(2 ** (MANTISSA - 1))
    up = (rest > half) | ((rest == half) & (sticky | (mantissa & np.uint64(1)).astype(np.bool_)))
    value = (mantissa + up).astype(np.float64)
    return _moved(np.where(negative, -value, value), exponent)


def scaled_sums(number: Additive) -> Scaled:
    """Numbers as pairs of doubles: 106 bits, the rest cut off."""
    mantissa, rest, _, exponent, negative = _leading(number)
    return Scaled(mantissa.astype(np.float64), rest.astype(np.float64) * 2.0**-MANTISSA, exponent, negative)


def whole(numbers: Ints) -> Scaled:
    """Integers that are doubles as well, e.g. of a magnitude up to 2**53."""
    size = len(numbers)
    return Scaled(
        np.abs(numbers).astype(np.float64), np.zeros(size), np.zeros(size, np.int64), np.asarray(numbers < 0, np.bool_)
    )


def quotients(one: Scaled, other: Scaled) -> Scaled:
    """`one / other`. Where `other` is 0 the result means nothing."""
    divisor = np.where(other.high == 0, 1.0, other.high)
    first = one.high / divisor
    product, error = _product(first, divisor)
    second = ((one.high - product) - error + one.low - first * other.low) / divisor
    high = first + second
    return Scaled(high, second - (high - first), one.exponent - other.exponent, one.negative ^ other.negative)


def roots(numbers: Scaled) -> Scaled:
    """Square roots of magnitudes."""
    odd = (numbers.exponent & 1).astype(np.bool_)
    high, low = (np.where(odd, 2 * part, part) for part in (numbers.high, numbers.low))
    first = np.sqrt(high)
    product, error = _product(first, first)
    second = ((high - product) - error + low) / np.where(first == 0, 1.0, 2 * first)
    root = first + second
    return Scaled(root, second - (root - first), numbers.exponent >> 1, np.zeros(len(root), np.bool_))


def rounded(numbers: Scaled) -> tuple[Floats, Bools]:
    """The doubles, and which are beyond the range (there the value is 0)."""
    value = numbers.high + numbers.low
    return _moved(np.where(numbers.negative, -value, value), numbers.exponent)


def products(values: Floats, factor: float) -> tuple[Floats, Floats]:
    """`values * factor` as the rounded products and what they are off by, exactly, while nothing is over 2**120."""
    return _product(values, np.full(len(values), factor))


def _leading(number: Additive) -> Leading:
    known: Leading | None = number.memo.get("leading")
    if known is None:
        known = number.memo["leading"] = _looked_at(number)
    return known


def _looked_at(number: Additive) -> Leading:
    digits, negative = magnitudes(number)
    cells, width = digits.values.shape
    # Column after column, below three of zeros: the four digits from the highest on are then that many columns apart.
    padded = np.zeros((width + 3, cells), np.uint64)
    padded[3:] = digits.values.T
    top = np.zeros(cells, np.int64)
    for place in range(1, width):
        top[padded[place + 3] != 0] = place
    flat, at = padded.reshape(-1), top * cells + np.arange(cells)
    first, second, third, fourth = (flat.take(at + place * cells) for place in (3, 2, 1, 0))
    # Moved up until the highest bit is set; a double holds any digit, so that frexp counts its bits.
    shift = (BITS - np.frexp(first.astype(np.float64))[1]).astype(np.uint64)
    upper, lower = (first << _DIGIT) | second, (third << _DIGIT) | fourth
    upper = (upper << shift) | (lower >> np.uint64(1) >> (np.uint64(63) - shift))
    lower <<= shift
    below = _BELOW + _BELOW
    rest = ((upper & np.uint64(2**_BELOW - 1)) << np.uint64(MANTISSA - _BELOW)) | (lower >> np.uint64(below))
    sticky = (lower & np.uint64(2**below - 1)) != 0
    if width > 4:  # noqa: PLR2004 - four digits have been looked at
        sticky |= np.argmax(digits.values != 0, axis=1) < top - 3
    exponent = BITS * (digits.base + top - 1) - shift.astype(np.int64) + _BELOW
    return upper >> np.uint64(_BELOW), rest, sticky, exponent, negative


def _product(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The rounded products and what they are off by, exactly."""
    product = one * other
    (one_high, one_low), (other_high, other_low) = _split(one), _split(other)
    error = ((one_high * other_high - product) + one_high * other_low + one_low * other_high) + one_low * other_low
    return product, error


def _split(values: Floats) -> tuple[Floats, Floats]:
    moved = values * _SPLITTER
    high = moved - (moved - values)
    return high, values - high


def _moved(values: Floats, exponent: Ints) -> tuple[Floats, Bools]:
    """`values * 2**exponent`; 0.0 for what is beyond the range, and which that is."""
    with np.errstate(over="ignore", under="ignore"):
        # Beyond 4000 every double but zero is beyond the range, on either side.
        found = np.ldexp(values, np.clip(exponent, -4000, 4000).astype(np.int32))
    beyond = np.isinf(found)
    # Adding 0.0 makes 0.0 of -0.0.
    return np.where(beyond, 0.0, found) + 0.0, beyond
