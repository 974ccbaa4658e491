"""Percentiles, within a relative error: counts in buckets whose bounds grow by a constant factor.

With accuracy `a` and gamma = (1 + a) / (1 - a), bucket i has the numbers x with gamma**(i - 1) < x <= gamma**i, that is
i = ceil(log(x) / log(gamma)); its value, 2 * gamma**i / (gamma + 1), is within the share `a` of each of them (C. Masson
et al., DDSketch, VLDB 2019). Negative numbers have buckets of their own, and so have zero and the two infinities. NaN
has none. The logarithm is computed from operations that IEEE 754 rounds correctly, and a bucket's value by decimal
arithmetic, so that no machine's library decides where a number belongs; at a bucket's very bound, where the last bits
of it decide, a number may count into the neighbour, which is as near.

Invariant: a state is the exact number of records in each bucket. One of more than `bound` buckets is *overflowed* and
holds none; it makes every state that it is merged into overflowed.

A *place* numbers buckets by ascending value: 0 is zero, i + 2**23 bucket i, 2**24 infinity, and the negative of a place
the place of the negative number. It is the key of a tally; the keys' one part are `varints`: of each cell the first
place (2 * place, or -2 * place - 1 for a negative one), then how far each is from the one before it. A state of format
1 was, as msgpack, overflowed as two empty arrays:

    [[the first place, how far the second is from it, ...], [records in the first, in the second, ...]]
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.entries import ITEM_BYTES, Entries, Part
from feature_assets.compute.aggregates.packing import damaged
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Asked, Computation, Finished, Ints, Records
from feature_assets.compute.aggregates.tallies import MOST, Occurrences, Tally, often
from feature_assets.compute.aggregates.varints import packed_varints, unpacked_varints
from feature_assets.definition.aggregate import Aggregate

Floats = npt.NDArray[np.float64]

_MIDDLE: Final = 2**23
"""Beyond every bucket's number: the finest accuracy, 0.0001, has numbers from -3.8 to 3.6 million."""
_INFINITE: Final = 2**24
_EXACT: Final = Context(prec=40, Emin=-999_999, Emax=999_999)
_LN2: Final = 0.6931471805599453
"""Written out, as a library's logarithm may differ from another's in the last bit."""
_APART: Final = 1e6
_BUCKET_BYTES: Final = 4
"""Of a step below 128 and a count below 2**16."""
_MORE_BYTES: Final = 600
"""Two more for each of 2**24 / 2**16 larger counts, and for the steps to the first bucket, to zero and beyond."""
_TERMS: Final = 12
"""Of the series of the logarithm: the first that is left out is below 2**-60."""


class Buckets(Tally):
    """How many records there are in each bucket.

    For `max_bytes`, numbers are taken to lie within a factor of `_APART`, and fewer than 2**24 of them in a cell.
    """

    form: ClassVar[Any] = tuple[list[int], list[int]]
    key_parts: ClassVar[int] = 1

    def __init__(self, column: str, accuracy: float, bound: int) -> None:
        super().__init__(f"buckets({column}, {accuracy!r}, {bound})", (column,), (Occurrences(),), bound)
        buckets = min(bound, math.ceil(_steps(accuracy) * math.log(_APART)))
        self.max_bytes = COUNT_BYTES + buckets * _BUCKET_BYTES + _MORE_BYTES
        self._accuracy = accuracy
        self._most = bound

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        """See `Slot`."""
        del suffix, endless
        return self.max_bytes * tiles + ITEM_BYTES

    def keyed(self, records: Records) -> tuple[Ints, Ints, tuple[bytes, ...]]:
        column = records.columns[self.columns[0]]
        values = column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(~np.isnan(values))
        return rows, places_of(values[rows], self._accuracy), ()

    def packed_keys(self, states: Entries, entries: Ints) -> list[Part]:
        keys, first = states.keys.astype(np.int64), _first(states.counts)
        steps: Ints = np.diff(keys, prepend=0)
        steps[first] = np.where(keys[first] < 0, -2 * keys[first] - 1, 2 * keys[first])
        return [((entries > 0).astype(np.uint8), packed_varints(steps, entries))]

    def unpacked_keys(self, parts: Sequence[Part], entries: Ints, cells: Ints) -> tuple[Ints, tuple[bytes, ...]]:
        ((codes, blobs),) = parts
        steps, first = unpacked_varints(blobs, entries), _first(cells)
        if (codes != (entries > 0)).any():
            raise damaged(f"{self.name}: there is no such code")
        steps[first] = np.where(steps[first] & 1, -(steps[first] + 1 >> 1), steps[first] >> 1)
        try:
            return _summed(steps, first, cells[cells > 0]), ()
        except ValueError as error:
            raise damaged(f"{self.name}: {error}") from error

    def former(self, plain: Sequence[Any]) -> Entries:
        """See `Tally`."""
        sizes = np.fromiter((len(steps) for steps, _ in plain), np.int64, len(plain))
        if any(len(steps) != len(counts) for steps, counts in plain) or sizes.max(initial=0) > self._most:
            raise ValueError(f"buckets and counts that are not as many, or more than {self._most}")
        steps = _array(chain.from_iterable(steps for steps, _ in plain), int(sizes.sum()))
        times = _array(chain.from_iterable(counts for _, counts in plain), len(steps))
        if (times < 1).any() or int(times.max(initial=0)) >= MOST:
            raise ValueError("buckets with no records, or with more than there can be")
        places = _summed(steps, _first(sizes), sizes[sizes > 0])
        return self.entries(sizes, np.zeros(len(sizes), np.bool_), places, times, ())


class Percentile(Computation):
    """`approx_percentile`: null if there is no number; null, and overflow, if they need more than `bound` buckets.

    It is the value of the bucket of the record that floor(percentile * (n - 1)) of all n are before.
    """

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        del columns
        (column,) = aggregate.columns
        self._share = aggregate.percentile or 0.0
        self._accuracy = aggregate.accuracy or 0.01
        self.slots = (Buckets(column, self._accuracy, aggregate.bound or 1),)
        self.error_bound = f"within {self._accuracy:.4g} of the value, relatively"

    def finish(self, cells: Sequence[Entries], asked: Asked) -> Finished:
        (states,) = cells
        del asked
        values, first, times = np.full(len(states), np.nan), _first(states.counts), often(states)
        if len(first):
            before = np.cumsum(times) - times
            total = np.add.reduceat(times, first)
            rank = np.floor(self._share * (total - 1)).astype(np.int64)
            hit = np.searchsorted(before, before[first] + rank, side="right") - 1
            values[states.counts > 0] = [value_of(place, self._accuracy) for place in states.keys[hit].tolist()]
        return Finished(pa.array(values, mask=np.isnan(values)), states.over)


def places_of(values: Floats, accuracy: float) -> Ints:
    """The place of each number; none is NaN."""
    size = np.abs(values)
    inside = np.isfinite(size) & (size > 0)
    places = np.where(np.isinf(size), _INFINITE, 0)
    places[inside] = np.ceil(_log(size[inside]) * _steps(accuracy)).astype(np.int64) + _MIDDLE
    return np.where(values < 0, -places, places).astype(np.int64)


@lru_cache(maxsize=2**16)
def value_of(place: int, accuracy: float) -> float:
    """What stands for the numbers of a bucket; the greatest double for what would be beyond it, which is nearer."""
    if place < 0:
        return -value_of(-place, accuracy)
    if place in {0, _INFINITE}:
        return 0.0 if place == 0 else math.inf
    gamma = _gamma(accuracy)
    power = _EXACT.power(gamma, Decimal(place - _MIDDLE))
    value = float(_EXACT.divide(_EXACT.multiply(Decimal(2), power), _EXACT.add(gamma, Decimal(1))))
    return min(value, float(np.finfo(np.float64).max))


@lru_cache
def _gamma(accuracy: float) -> Decimal:
    share = Decimal(accuracy)
    return _EXACT.divide(_EXACT.add(Decimal(1), share), _EXACT.subtract(Decimal(1), share))


@lru_cache
def _steps(accuracy: float) -> float:
    """How many buckets there are to a factor of e."""
    return float(_EXACT.divide(Decimal(1), _EXACT.ln(_gamma(accuracy))))


def _log(values: Floats) -> Floats:
    """The natural logarithm of positive, finite numbers, within some units of its last place.

    From +, -, * and / alone: with m * 2**e = x and s = (m - 1) / (m + 1), it is e * log(2) + 2 * (s + s**3 / 3 + ...).
    """
    mantissa, exponent = np.frexp(values)
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), exponent - low
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    series = np.full(len(values), 1 / (2 * _TERMS + 1))
    for term in range(_TERMS - 1, -1, -1):
        series = series * square + 1 / (2 * term + 1)
    found: Floats = exponent * _LN2 + 2 * ratio * series
    return found


def _first(counts: Ints) -> Ints:
    """The place of the first entry of each cell that has some."""
    return (np.cumsum(counts) - counts)[counts > 0]


def _summed(steps: Ints, first: Ints, sizes: Ints) -> Ints:
    """The places, from the first of each cell and the steps from there. Raises `ValueError` for what is never made."""
    inner = np.ones(len(steps), np.bool_)
    inner[first] = False
    if (np.abs(steps) > 2 * _INFINITE).any() or (steps[inner] < 1).any():
        raise ValueError("buckets that do not ascend")
    total = np.cumsum(steps)
    places: Ints = total - np.repeat(total[first] - steps[first], sizes)
    if (np.abs(places) > _INFINITE).any():
        raise ValueError("buckets beyond infinity")
    return places


def _array(numbers: Iterable[int], size: int) -> Ints:
    try:
        return np.fromiter(numbers, np.int64, size)
    except OverflowError as error:
        raise ValueError("a number beyond 64 bits") from error
