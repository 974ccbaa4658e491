"""How large states that a parameter bounds become: what is said of them beforehand is enough, and not far from it.

The records are the worst that the parameters allow: as many different values as there may be, texts as long as they are
taken to be, numbers that take all their bytes.
"""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.compute.aggregates.slot import TEXT_BYTES, Records
from feature_assets.compute.tiles import packed, require_small, ring_of_records, size_bound
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.errors import DefinitionError
from feature_assets_tests.ring_records import COLUMNS, ENTITY, SOURCE, START

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
USUAL = [HOUR, DAY, WEEK]
OFFSET = [Window.sliding(DAY, offset=HOUR)]
NOW = START + duration_us(30 * DAY)
VALUES = 20


def view(*aggregates: Aggregate) -> FeatureView:
    columns = list(COLUMNS.items())
    return FeatureView("ring", ENTITY, SOURCE, Sql("SELECT * FROM sales"), columns=columns, aggregates=list(aggregates))


def worst(rows: int = 60_000, *, fresh: bool = False) -> Records:
    """Two months of one entity. `fresh`: each hour has other numbers than the one before it."""
    random = np.random.default_rng(3)
    at = np.sort(random.integers(NOW - duration_us(60 * DAY), NOW, rows))
    which = random.integers(0, VALUES, rows)
    names = [f"{number:0{TEXT_BYTES}}" for number in range(VALUES)]
    columns = {
        "amount": pa.array(2**62 + which + (at // duration_us(HOUR) * VALUES if fresh else 0)),
        "price": pa.array(np.exp(random.uniform(0, np.log(1e6), rows))),
        "place": pa.array(names).take(pa.array(which)),
    }
    return Records(columns, at, 2**62 + np.arange(rows))


def length(of: FeatureView, records: Records) -> int:
    (blob,) = packed(ring_of_records(layout_of(of), records, np.zeros(len(records), np.int64), 1, NOW))
    return len(blob)


BOUNDED = [
    Aggregate("first", "place", USUAL),
    Aggregate("last", "place", USUAL),
    Aggregate("last", "amount", OFFSET),
    Aggregate("last_k", "place", USUAL, k=100),
    Aggregate("last_k", "amount", OFFSET, k=10),
    Aggregate("last_distinct_k", "place", USUAL, k=VALUES),
    Aggregate("last_distinct_k", "amount", OFFSET, k=VALUES),
    Aggregate("count_distinct", "place", USUAL, bound=VALUES),
    Aggregate("count_distinct", "place", OFFSET, bound=VALUES),
    Aggregate("count_distinct", "amount", Window.lifetime(), bound=VALUES),
    Aggregate("top_k", "place", USUAL, k=1, bound=VALUES),
    Aggregate("top_k", "amount", OFFSET, k=1, bound=VALUES),
    Aggregate("approx_count_distinct", "price", USUAL, precision=6),
    Aggregate("approx_percentile", "price", USUAL, percentile=0.5),
    Aggregate("approx_percentile", "price", USUAL, percentile=0.5, bound=10, accuracy=0.2),
    Aggregate("decayed_sum", "price", USUAL, half_life=HOUR),
    Aggregate("decayed_count", None, Window.lifetime(), half_life=DAY),
    Aggregate("count", None, USUAL, by="place", bound=VALUES),
    Aggregate("mean", "price", USUAL, by="place", bound=VALUES),
    Aggregate("max", "amount", OFFSET, by="place", bound=VALUES),
    Aggregate("histogram", "price", USUAL, edges=(1.0, 10.0, 100.0)),
]


@pytest.mark.parametrize("aggregate", BOUNDED, ids=lambda one: f"{one.name} {one.windows[0].label} {one.bound}")
def test_no_ring_is_larger_than_what_is_said_of_it(aggregate: Aggregate) -> None:
    of = view(aggregate)
    assert length(of, worst()) <= size_bound(layout_of(of))


@pytest.mark.parametrize(
    "aggregate",
    [one for one in BOUNDED if one.function in {"last", "last_k", "last_distinct_k", "count_distinct", "top_k"}],
)
def test_the_worst_comes_near_it(aggregate: Aggregate) -> None:
    """What is said is not so much that views are refused which never could become so large."""
    of = view(aggregate)
    # Where nothing is pruned, each tile may have other values.
    fresh = aggregate.function == "top_k" and not layout_of(of).suffixes[0]
    assert size_bound(layout_of(of)) <= 2.5 * length(of, worst(fresh=fresh)) + 1000


def test_only_what_the_layout_prunes_is_said_to_be_pruned() -> None:
    """With one window that ends earlier, each tile may have as many as any."""
    pruned = view(Aggregate("count_distinct", "place", USUAL, bound=200))
    whole = view(Aggregate("count_distinct", "place", [*USUAL, Window.tumbling(DAY)], bound=200))
    assert size_bound(layout_of(pruned)) < 9_000
    assert size_bound(layout_of(whole)) > 400_000
    first = view(Aggregate("first", "place", USUAL))
    last = view(Aggregate("last", "place", USUAL))
    assert size_bound(layout_of(first)) > 4 * size_bound(layout_of(last))


def test_a_slot_of_objects_has_cells_where_its_own_windows_look() -> None:
    """The first value of the last hour is not kept for each hour of a week."""
    alone = size_bound(layout_of(view(Aggregate("first", "place", HOUR))))
    both = view(Aggregate("first", "place", HOUR), Aggregate("count", None, USUAL))
    assert size_bound(layout_of(both)) < alone + 1_500


def test_usual_views_pass() -> None:
    require_small(
        view(
            *(Aggregate(function, "price", USUAL) for function in ("sum", "mean", "min", "max", "stddev")),
            Aggregate("count", None, USUAL),
            Aggregate("count", None, USUAL, by="place"),
            Aggregate("last", "place", USUAL),
            Aggregate("last_k", "amount", USUAL, k=50),
            Aggregate("count_distinct", "place", USUAL),
            Aggregate("approx_count_distinct", "place", USUAL),
        )
    )
    require_small(view(Aggregate("approx_percentile", "price", USUAL, percentile=0.95)))
    require_small(view(Aggregate("top_k", "place", USUAL, k=5)))
    require_small(view(Aggregate("top_k", "place", [*USUAL, Window.lifetime()], k=5), Aggregate("count", None, USUAL)))
    require_small(view(Aggregate("top_k", "place", Window.tumbling(DAY), k=5)))
    require_small(view(Aggregate("mean", "price", USUAL, by="place")))
    require_small(view(Aggregate("decayed_sum", "price", USUAL, half_life=DAY)))


@pytest.mark.parametrize(
    "aggregate",
    [
        Aggregate("count_distinct", "place", Window.sliding(30 * DAY, hop=HOUR, offset=HOUR), bound=10_000),
        Aggregate("last_k", "place", Window.sliding(30 * DAY, hop=HOUR, offset=HOUR), k=1000),
        Aggregate("top_k", "place", WEEK, k=5, bound=10_000),
        Aggregate("approx_count_distinct", "place", USUAL, precision=16),
        Aggregate("approx_percentile", "price", USUAL, percentile=0.5, accuracy=0.001, bound=10_000),
        Aggregate("sum", "price", USUAL, by="place", bound=1_000),
    ],
    ids=lambda one: one.name,
)
def test_what_would_outgrow_a_store_is_refused(aggregate: Aggregate) -> None:
    with pytest.raises(DefinitionError, match=f"FeatureView 'ring': an item could have .* {aggregate.name!r}"):
        require_small(view(aggregate))
