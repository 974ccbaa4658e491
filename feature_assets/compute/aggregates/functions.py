"""From an aggregate's definition to how it is computed.

Invariant: every function that may be declared is here, and nothing else decides what it means.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.cardinality import DistinctEstimated
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.orders import Ended, Listed
from feature_assets.compute.aggregates.percentiles import Percentile
from feature_assets.compute.aggregates.sets import DistinctCounted, Ranked
from feature_assets.compute.aggregates.slot import Additive, Asked, Computation, Finished
from feature_assets.definition.aggregate import Aggregate

Columns = Mapping[str, pa.DataType]


class Counted(Computation):
    """How many records there are; of a column, how many have a value. 0 for none."""

    def __init__(self, aggregate: Aggregate, columns: Columns) -> None:
        del columns
        self.slots = (Count(aggregate.column),)

    def finish(self, cells: Sequence[Additive], asked: Asked) -> Finished:
        (counts,) = cells
        return Finished(pa.array(counts.values[:, 0]), np.zeros(len(asked.as_of), np.bool_))


_COMPUTATIONS: Final[Mapping[str, Callable[[Aggregate, Columns], Computation]]] = {
    "count": Counted,
    "first": Ended,
    "last": Ended,
    "last_k": Listed,
    "last_distinct_k": Listed,
    "count_distinct": DistinctCounted,
    "top_k": Ranked,
    "approx_count_distinct": DistinctEstimated,
    "approx_percentile": Percentile,
}


def computation(aggregate: Aggregate, columns: Columns) -> Computation:
    """How `aggregate` is computed from a view's `columns` (name and type)."""
    return _COMPUTATIONS[aggregate.function](aggregate, columns)
