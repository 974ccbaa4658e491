"""Sums and counts that fade: a record weighs 2**-(age / half-life), its age counted in whole hops of the window.

Invariant: the state is the exact sum of each hop, so it does not depend on the instant that is asked for; and the
answer is the same bits on every machine, as the weights are computed here from additions and multiplications alone.

What is kept of a hop is small, and a tile that is no longer than the hop has one. Of a cell that is rolled up it is as
many as it has hops with records.
"""

from collections.abc import Sequence
from datetime import timedelta
from math import isqrt
from typing import Any, ClassVar, Final

import numpy as np

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.columns import is_float, valid
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.entries import ITEM_BYTES, Divided, Entries, Part
from feature_assets.compute.aggregates.exact import Floats, float_limbs, summed
from feature_assets.compute.aggregates.numbers import Columns, finished
from feature_assets.compute.aggregates.packing import packed_integers, unpacked_integers
from feature_assets.compute.aggregates.rounding import Scaled, rounded, rounded_sums, scaled_sums
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, Slot
from feature_assets.compute.aggregates.sums import FloatSum, IntegerSum, NonFinite
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window

LIFETIME: Final = duration_us(timedelta(days=3653))
"""Ten years: as long as an entity is taken to have records, where it is said how large an item may become."""
_STEPS: Final = 64
_PLACES: Final = 120
_NOTHING: Final = 5000
"""Half-lives after which nothing of a double is left, whatever it was."""
_LN2: Final = 0.6931471805599453
_TERMS: Final = 7


class ByHop(Divided):
    """For each hop with records, the state of another slot. A key is the hop's number, counted from 1970-01-01.

    Of a column only records count in which it is not null. The keys' one part is `packing.packed_integers`.
    """

    key_parts: ClassVar[int] = 1

    def __init__(self, inner: Slot[Any], hop: int) -> None:
        super().__init__(f"by_hop({inner.name}, {hop})", inner.columns, (inner,), None)
        self.hop = hop

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        del suffix
        # The tile for all time has an entry for each hop that ever was; every other one has one.
        return self.max_bytes * (tiles + (LIFETIME // self.hop if endless else 0)) + ITEM_BYTES

    def keyed(self, records: Records) -> tuple[Ints, Ints, tuple[bytes, ...]]:
        rows = np.arange(len(records))
        for column in self.columns:
            rows, _ = valid(records, column, rows)
        return rows, records.event_at[rows] // self.hop, ()

    def packed_keys(self, states: Entries, entries: Ints) -> list[Part]:
        return [packed_integers(states.keys, entries)]

    def unpacked_keys(self, parts: Sequence[Part], entries: Ints, cells: Ints) -> tuple[Ints, tuple[bytes, ...]]:
        del cells
        return unpacked_integers(*parts[0], entries), ()


class Decayed(Computation):
    """`decayed_sum`, `decayed_count`: float64; 0.0 if there is no value, NaN if one is not finite."""

    error_bound = "within 5e-16 of what the sum would be if each hop's weighted part had no sign"
    is_of_any_window = False

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        self._hop = duration_us(window.hop)
        self._half_life = duration_us(aggregate.half_life or window.hop)
        column = aggregate.column
        inner: Slot[Any] = Count(column)
        self._floats = False
        if aggregate.function == "decayed_sum" and column is not None:
            self._floats = is_float(columns[column])
            inner = FloatSum(column) if self._floats else IntegerSum(column)
        self.slots = (ByHop(inner, self._hop),)
        if self._floats and column is not None:
            self.slots += (NonFinite(column),)

    def finish(self, cells: Sequence[Any], asked: Asked) -> Finished:
        entries: Entries = cells[0]
        cell, size = entries.cell, len(asked.as_of)
        age = np.maximum(asked.as_of[cell] // self._hop - entries.keys, 0) * self._hop
        parts, beyond = self._weighted(scaled_sums(entries.inner[0]), age)
        values, over = rounded_sums(summed(*float_limbs(parts), cell, size))
        over[cell[beyond]] = True
        if self._floats:
            odd = cells[1].values.any(axis=1)
            values, over = np.where(odd, np.nan, values), over & ~odd
        return finished(values, over, np.zeros(size, np.bool_))

    def _weighted(self, sums: Scaled, age: Ints) -> tuple[Floats, Any]:
        halvings, rest = np.divmod(age, self._half_life)
        weight = halved(rest / self._half_life)
        exponent = sums.exponent - np.minimum(halvings, _NOTHING)
        return rounded(Scaled((sums.high + sums.low) * weight, np.zeros(len(weight)), exponent, sums.negative))


def halved(share: Floats) -> Floats:
    """`2 ** -share` for shares from 0 to 1, within 1.1 units in the last place; 1.0 for 0."""
    step = np.floor(share * _STEPS)
    # Exact: both are multiples of the share's last place, and they are close.
    rest = (step / _STEPS - share) * _LN2
    series = np.zeros(len(share))
    for term in range(_TERMS, 0, -1):
        series = rest * (1.0 + series) / term
    table = _TABLE[step.astype(np.int64)]
    return table + table * series


def _table() -> Floats:
    """`2 ** (-i / 64)`, each the nearest double: the 64th root is six square roots, taken of integers."""
    found = []
    for step in range(_STEPS + 1):
        number = 2 ** (_PLACES * _STEPS - step)
        for _ in range(6):
            number = isqrt(number)
        found.append(number / 2**_PLACES)
    return np.array(found)


_TABLE: Final = _table()
