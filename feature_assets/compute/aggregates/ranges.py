"""Aggregates of order: `min`, `max` and `time_since_last`.

Invariant: the answer is one of the values that there are, of the column's own type; null if there is none. NaN is no
value here, the infinities are. Zero is 0.0, also where the column has -0.0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.columns import is_float
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.extremes import FloatExtreme, IntegerExtreme, Newest, floats_of_order
from feature_assets.compute.aggregates.numbers import Columns, finished, masked
from feature_assets.compute.aggregates.packing import damaged
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Slot
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window


class Ranged(Computation):
    """`min` and `max`."""

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        (column,) = aggregate.columns[:1]
        self._dtype = columns[column]
        greatest = aggregate.function == "max"
        extreme: Slot[Any]
        if is_float(self._dtype):
            extreme = FloatExtreme(column, greatest=greatest)
        else:
            extreme = IntegerExtreme(column, greatest=greatest)
        self._identity = extreme.identity
        # Of 64 bits the identity can be a value: then how many there are tells the two apart.
        self._is_wide = not is_float(self._dtype) and self._dtype.bit_width > 32  # noqa: PLR2004 - bits
        self.slots = (extreme, Count(column)) if self._is_wide else (extreme,)

    def finish(self, cells: Sequence[Any], asked: Asked) -> Finished:
        del asked
        missing = cells[1].values[:, 0] == 0 if self._is_wide else cells[0] == self._identity
        states = np.where(missing, 0, cells[0])
        values = masked(floats_of_order(states) if is_float(self._dtype) else states, missing)
        try:
            if pa.types.is_date32(self._dtype):
                values = values.cast(pa.int32())
            return Finished(values.cast(self._dtype), np.zeros(len(states), np.bool_))
        except pa.ArrowInvalid as error:
            raise damaged(f"an extreme that is no {self._dtype}: {error}") from error


class SinceLast(Computation):
    """`time_since_last`: seconds since the greatest `event_at`, never negative.

    With a column, of the records of which it is not null.
    """

    error_bound = "the double that is nearest to the exact value"

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window, columns
        newest = Newest(aggregate.column)
        self._identity = newest.identity
        self.slots = (newest,)

    def finish(self, cells: Sequence[Any], asked: Asked) -> Finished:
        missing = cells[0] == self._identity
        age = np.maximum(asked.as_of - np.where(missing, asked.as_of, cells[0]), 0)
        return finished(age / 1e6, np.zeros(len(age), np.bool_), missing)
