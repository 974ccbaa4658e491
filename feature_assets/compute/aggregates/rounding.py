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
_ONE: Final = np.uint64(1)
_LAST: Final = np.uint64(63)
_BEHIND: Final = np.uint64(_BELOW)
_BELOW_MASK: Final = np.uint64(2**_BELOW - 1)
_UP: Final = np.uint64(MANTISSA - _BELOW)
_REST: Final = np.uint64(2 * _BELOW)
_REST_MASK: Final = np.uint64(2 ** (2 * _BELOW) - 1)

_Parts = tuple[Floats, Floats]
"""A double's upper half of bits, and the rest."""


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
    found = leading(number)
    half, odd = np.uint64(2 ** (MANTISSA - 1)), (found.mantissa & np.uint64(1)).astype(np.bool_)
    up = (found.rest > half) | ((found.rest == half) & (odd | found.has_more()))
    value = (found.mantissa + up).astype(np.float64)
    return _moved(np.where(found.negative, -value, value), found.exponent)


def scaled_sums(number: Additive) -> Scaled:
    """Numbers as pairs of doubles: 106 bits, the rest cut off."""
    found = leading(number)
    low = found.rest.astype(np.float64) * 2.0**-MANTISSA
    return Scaled(found.mantissa.astype(np.float64), low, found.exponent, found.negative)


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


def divided(one: Scaled, counts: Ints, *, times: int = 1) -> Scaled:
    """`one / counts**times`, a division at a time. Where a count, up to 2**53, is 0 the result means nothing."""
    divisor = np.maximum(counts, 1).astype(np.float64)
    parts = _split(divisor)
    high, low = one.high, one.low
    for _ in range(times):
        first = high / divisor
        product, error = _product_of(first, _split(first), divisor, parts)
        second = ((high - product) - error + low) / divisor
        high = first + second
        low = second - (high - first)
    return Scaled(high, low, one.exponent, one.negative)


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


@dataclass(frozen=True, slots=True)
class Leading:
    """Of each number the leading 53 bits of its magnitude, and the 53 behind them.

    `exponent`: the place of the former's lowest bit as a power of two. `behind`: what is left of the four highest
    `digits`, of which the first is that of `top`.
    """

    mantissa: Unsigned
    rest: Unsigned
    exponent: Ints
    negative: Bools
    behind: Unsigned
    digits: Ints
    top: Ints

    def has_more(self) -> Bools:
        """Whether there are more bits."""
        found: Bools = self.behind != 0
        # Four digits have been looked at.
        for place in range(len(self.digits) - 4):
            found |= (self.digits[place] != 0) & (self.top > place + 3)
        return found


def leading(number: Additive) -> Leading:
    """What a double is made from, worked out once."""
    known: Leading | None = number.known.get(leading)
    if known is None:
        known = number.known[leading] = _leading(number)
    return known


def _leading(number: Additive) -> Leading:
    magnitude, negative = magnitudes(number)
    digits = magnitude.values.T
    width, cells = digits.shape
    # Column after column, below three of zeros: the four digits from the highest on are then that many columns apart.
    padded = np.zeros((width + 3, cells), np.uint64)
    padded[3:] = digits
    some = digits != 0
    top = np.zeros(cells, np.int64)
    for place in range(1, width):
        np.copyto(top, place, where=some[place])
    flat, at = padded.reshape(-1), top * cells
    at += np.arange(cells)
    first, second, third, fourth = (flat.take(at + place * cells) for place in (3, 2, 1, 0))
    # Moved up until the highest bit is set; a double holds any digit, so that frexp counts its bits.
    shift = (BITS - np.frexp(first.astype(np.float64))[1]).astype(np.uint64)
    upper, lower = (first << _DIGIT) | second, (third << _DIGIT) | fourth
    upper = (upper << shift) | (lower >> _ONE >> (_LAST - shift))
    lower <<= shift
    rest = ((upper & _BELOW_MASK) << _UP) | (lower >> _REST)
    exponent = BITS * top - shift.astype(np.int64)
    exponent += BITS * (magnitude.base - 1) + _BELOW
    return Leading(upper >> _BEHIND, rest, exponent, negative, lower & _REST_MASK, digits, top)


def _product(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """The rounded products and what they are off by, exactly."""
    parts = _split(one)
    return _product_of(one, parts, other, parts if other is one else _split(other))


def _product_of(one: Floats, parts: _Parts, other: Floats, other_parts: _Parts) -> tuple[Floats, Floats]:
    product = one * other
    (one_high, one_low), (other_high, other_low) = parts, other_parts
    error = ((one_high * other_high - product) + one_high * other_low + one_low * other_high) + one_low * other_low
    return product, error


def _split(values: Floats) -> _Parts:
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
