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
the place of the negative number. A state as msgpack, overflowed as two empty arrays:

    [[the first place, how far the second is from it, ...], [records in the first, in the second, ...]]
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.objects import Objects, ObjectSlot, put
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, segments
from feature_assets.definition.aggregate import Aggregate

Floats = npt.NDArray[np.float64]

_ENTRY: Final = np.dtype([("place", "<i4"), ("count", "<i8")])
_OVERFLOWED: Final = b""
_MIDDLE: Final = 2**23
"""Beyond every bucket's number: the finest accuracy, 0.0001, has numbers from -3.8 to 3.6 million."""
_INFINITE: Final = 2**24
_PLACE_BITS: Final = 26
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


class Buckets(ObjectSlot[bytes]):
    """How many records there are in each bucket: the bytes of an array of (place, count), by ascending place.

    For `max_bytes`, numbers are taken to lie within a factor of `_APART`, and fewer than 2**24 of them in a cell.
    """

    form = tuple[list[int], list[int]]

    def __init__(self, column: str, accuracy: float, bound: int) -> None:
        buckets = min(bound, math.ceil(_steps(accuracy) * math.log(_APART)))
        largest = 1 + 2 * self.state_bytes + buckets * _BUCKET_BYTES + _MORE_BYTES
        super().__init__(f"buckets({column}, {accuracy!r}, {bound})", (column,), largest)
        self._accuracy = accuracy
        self._bound = bound

    def lift(self, records: Records, cell: Ints, cells: int) -> Objects:
        column = records.columns[self.columns[0]]
        values = column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(~np.isnan(values))
        states = self.empty(cells)
        found, made = self._states(cell[rows], places_of(values[rows], self._accuracy), np.ones(len(rows), np.int64))
        put(states, found, made)
        return states

    def merged(self, several: Sequence[Sequence[bytes]]) -> Iterable[bytes]:
        sizes = np.fromiter(map(len, several), np.int64, len(several))
        flat = [state for states in several for state in states]
        cell, places, counts = entries(flat)
        group = np.repeat(np.arange(len(several)), sizes)
        found, made = self._states(group[cell], places, counts)
        merged = [_OVERFLOWED] * len(several)
        for at, state in zip(found.tolist(), made, strict=True):
            merged[at] = state
        for at in group[np.fromiter((not state for state in flat), np.bool_, len(flat))].tolist():
            merged[at] = _OVERFLOWED
        return merged

    def plain(self, states: Sequence[bytes]) -> Iterable[object]:
        cell, places, counts = entries(states)
        _, first = segments(cell)
        steps = np.diff(places, prepend=0)
        steps[first] = places[first]
        end = 0
        listed, often = steps.tolist(), counts.tolist()
        for state in states:
            start, end = end, end + len(state) // _ENTRY.itemsize
            yield listed[start:end], often[start:end]

    def restored(self, plain: Sequence[Any]) -> Iterable[bytes]:
        sizes = np.fromiter((len(steps) for steps, _ in plain), np.int64, len(plain))
        if any(len(steps) != len(counts) for steps, counts in plain) or sizes.max(initial=0) > self._bound:
            raise ValueError(f"buckets and counts that are not as many, or more than {self._bound}")
        end = np.cumsum(sizes)
        first = (end - sizes)[sizes > 0]
        steps = _array(chain.from_iterable(steps for steps, _ in plain), int(sizes.sum()))
        read = np.zeros(len(steps), _ENTRY)
        counts = _array(chain.from_iterable(counts for _, counts in plain), len(steps))
        if len(steps):
            inner = np.ones(len(steps), np.bool_)
            inner[first] = False
            if np.abs(steps).max() > 2 * _INFINITE or (steps[inner] < 1).any() or (counts < 1).any():
                raise ValueError("buckets that do not ascend, or with no records")
            total = np.cumsum(steps)
            before = np.repeat(total[first] - steps[first], sizes[sizes > 0])
            places = total - before
            if np.abs(places).max() > _INFINITE:
                raise ValueError("buckets beyond infinity")
            read["place"], read["count"] = places, counts
        return _split(read, end - sizes, end)

    def _states(self, cell: Ints, places: Ints, counts: Ints) -> tuple[Ints, list[bytes]]:
        """The cells that have entries, and their states; entries of one place are added up. `cell` may be unsorted."""
        joined = (cell << _PLACE_BITS) + places + _INFINITE
        order = np.argsort(joined, kind="stable")
        distinct, first = segments(joined[order])
        read = np.zeros(len(distinct), _ENTRY)
        if len(distinct):
            read["count"] = np.add.reduceat(counts[order], first)
        read["place"] = (distinct & (2**_PLACE_BITS - 1)) - _INFINITE
        found, start = segments(distinct >> _PLACE_BITS)
        end = np.append(start, len(distinct))[1:]
        end[end - start > self._bound] = start[end - start > self._bound]
        return found, _split(read, start, end)


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

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        states = cells[0].tolist()
        overflow = np.fromiter((state is not None and not state for state in states), np.bool_, len(asked.as_of))
        cell, places, counts = entries([state or b"" for state in states])
        found, first = segments(cell)
        values = np.full(len(states), np.nan)
        if len(found):
            before = np.cumsum(counts) - counts
            total = np.add.reduceat(counts, first)
            rank = np.floor(self._share * (total - 1)).astype(np.int64)
            hit = np.searchsorted(before, before[first] + rank, side="right") - 1
            values[found] = [value_of(place, self._accuracy) for place in places[hit].tolist()]
        return Finished(pa.array(values, mask=np.isnan(values)), overflow)


def entries(states: Sequence[bytes]) -> tuple[Ints, Ints, Ints]:
    """All entries, state after state: whose state, the place, the count."""
    read = np.frombuffer(b"".join(states), _ENTRY)
    sizes = np.fromiter(map(len, states), np.int64, len(states)) // _ENTRY.itemsize
    return np.repeat(np.arange(len(states)), sizes), read["place"].astype(np.int64), read["count"].astype(np.int64)


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


def _split(read: npt.NDArray[np.void], start: Ints, end: Ints) -> list[bytes]:
    raw, size = read.tobytes(), _ENTRY.itemsize
    return [raw[one * size : other * size] for one, other in zip(start.tolist(), end.tolist(), strict=True)]


def _array(numbers: Iterable[int], size: int) -> Ints:
    try:
        return np.fromiter(numbers, np.int64, size)
    except OverflowError as error:
        raise ValueError("a number beyond 64 bits") from error
