"""From an aggregate's definition to how it is computed.

Invariant: every function that may be declared is here, and nothing else decides what it means.
"""

from collections.abc import Callable, Mapping
from typing import Final

from feature_assets.compute.aggregates.cardinality import DistinctEstimated
from feature_assets.compute.aggregates.decay import Decayed
from feature_assets.compute.aggregates.frequencies import Ranked
from feature_assets.compute.aggregates.histograms import Histogram
from feature_assets.compute.aggregates.keyed import Keyed
from feature_assets.compute.aggregates.numbers import Columns, Counted, Mean, Rate, Ratio, Spread, Summed
from feature_assets.compute.aggregates.orders import Ended, Listed
from feature_assets.compute.aggregates.percentiles import Percentile
from feature_assets.compute.aggregates.ranges import Ranged, SinceLast
from feature_assets.compute.aggregates.sets import DistinctCounted
from feature_assets.compute.aggregates.slot import Computation
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window

_OF_RECORDS: Final[Mapping[str, Callable[[Aggregate, Columns], Computation]]] = {
    "first": Ended,
    "last": Ended,
    "last_k": Listed,
    "last_distinct_k": Listed,
    "count_distinct": DistinctCounted,
    "top_k": Ranked,
    "approx_count_distinct": DistinctEstimated,
    "approx_percentile": Percentile,
}
_OF_NUMBERS: Final[Mapping[str, Callable[[Aggregate, Window, Columns], Computation]]] = {
    "count": Counted,
    "sum": Summed,
    "mean": Mean,
    "min": Ranged,
    "max": Ranged,
    "var": Spread,
    "stddev": Spread,
    "rate": Rate,
    "ratio": Ratio,
    "time_since_last": SinceLast,
    "histogram": Histogram,
    "decayed_sum": Decayed,
    "decayed_count": Decayed,
}


def computation(aggregate: Aggregate, window: Window, columns: Columns) -> Computation:
    """How `aggregate` is computed over one of its windows, from a view's `columns` (name and type)."""
    if aggregate.function in _OF_RECORDS:
        return _OF_RECORDS[aggregate.function](aggregate, columns)
    found = _OF_NUMBERS[aggregate.function](aggregate, window, columns)
    if aggregate.by is None:
        return found
    dtype = aggregate.dtype(window, columns)
    # A series is a list of maps; each window of it is computed for itself.
    return Keyed(found, aggregate.by, aggregate.bound or 1, dtype.value_type if window.count > 1 else dtype)
