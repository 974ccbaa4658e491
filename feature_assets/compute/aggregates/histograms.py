"""How many values lie between given edges.

Invariant: a value is counted once, in the bin whose lower edge is the greatest that it is not less than, compared
exactly; below the first edge and from the last on there is a bin each, which have the infinities too. NaN is counted
nowhere.

Bytes: for each cell the counts of its bins, one after the other, by `packing.packed_sparse` with the identity 0.
"""

from collections.abc import Sequence
from math import ceil, inf, nextafter

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.columns import floats_of, integers_of, is_float
from feature_assets.compute.aggregates.numbers import Columns
from feature_assets.compute.aggregates.packing import Blobs, Codes, packed_sparse, unpacked_sparse
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Additive, Asked, Computation, Finished, Ints, Records
from feature_assets.compute.aggregates.sums import Sum
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window


class Bins(Sum):
    """A count for each bin. `floats`: whether the column is of floats."""

    def __init__(self, column: str, edges: Sequence[float], *, floats: bool) -> None:
        self.name = f"bins({column}, {', '.join(map(repr, edges))})"
        self.columns = (column,)
        self.width = len(edges) + 1
        self.max_bytes = self.width * COUNT_BYTES
        self.floats = floats
        # The least value of the column's type that is not below the edge: then comparing is exact.
        self._edges = np.array([_least_double(edge) for edge in edges]) if floats else _least_integers(edges)

    def empty(self, cells: int) -> Additive:
        return Additive(0, np.zeros((cells, self.width), np.int64))

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        if self.floats:
            values, cell = floats_of(records, self.columns[0], cell)
            some = ~np.isnan(values)
            place, cell = np.searchsorted(self._edges, values[some], side="right"), cell[some]
        else:
            integers, cell = integers_of(records, self.columns[0], cell)
            place = np.searchsorted(self._edges, integers, side="right")
        counts = np.bincount(cell * self.width + place, minlength=cells * self.width)
        return Additive(0, counts.astype(np.int64).reshape(cells, self.width))

    def concat(self, parts: Sequence[Additive]) -> Additive:
        return Additive(0, np.concatenate([part.values for part in parts]) if parts else self.empty(0).values)

    def encode(self, states: Additive, counts: Ints) -> tuple[Codes, list[bytes]]:
        return packed_sparse(states.values.reshape(-1), 0, counts * self.width)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Additive:
        return Additive(0, unpacked_sparse(codes, blobs, 0, counts * self.width).reshape(-1, self.width))


class Histogram(Computation):
    """`histogram`: one count more than there are edges; zeros if there is no value."""

    def __init__(self, aggregate: Aggregate, window: Window, columns: Columns) -> None:
        del window
        (column,) = aggregate.columns[:1]
        self.slots = (Bins(column, aggregate.edges or (), floats=is_float(columns[column])),)

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        size, width = cells[0].values.shape
        offsets = pa.array(np.arange(size + 1) * width, pa.int32())
        values = pa.ListArray.from_arrays(offsets, pa.array(cells[0].values.reshape(-1)))
        return Finished(values, np.zeros(len(asked.as_of), np.bool_))


def _least_double(edge: float) -> float:
    found = float(edge)
    return found if found >= edge else nextafter(found, inf)


def _least_integers(edges: Sequence[float]) -> Ints:
    """Without the edges that no int64 reaches."""
    whole = [max(ceil(edge), -(2**63)) for edge in edges]
    return np.array([edge for edge in whole if edge < 2**63], np.int64)
