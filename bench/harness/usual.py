"""The usual view of windows, and items of it: what cards, shops or flights have, from the quiet to the busy.

Five aggregates of an amount in cents over an hour, a day and a week. How often things happen to an entity is skewed:
the busiest has `BUSIEST` events a day, the next half of that, then a third (Zipf, exponent 1).

Invariant: items are made as a push makes them: the ring of an entity's records, rolled up for the time of the push.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import duration_us, to_us
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.tiles import packed, ring_of_records
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.view import FeatureView
from feature_assets.online.item import BatchSection, Item, Row, pack_item
from feature_assets_tests.histories import SOURCE, unchanged

WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
FUNCTIONS = ("sum", "mean", "max", "stddev")
BUSIEST = 5_000.0
ENTITY = Entity("card", {"card": pa.string()})
PUSHED = datetime(2026, 3, 2, 14, 37, 11, tzinfo=UTC)
DAY = timedelta(days=1)
Columns = Callable[[np.random.Generator, int], dict[str, pa.Array]]
"""Makes the columns of so many records."""


def usual_view(name: str) -> FeatureView:
    """Count, sum, mean, max and standard deviation over an hour, a day and a week: 15 features."""
    aggregates = [
        Aggregate("count", None, WINDOWS),
        *(Aggregate(function, "amount", WINDOWS) for function in FUNCTIONS),
    ]
    columns = [("amount", pa.float64())]
    return FeatureView(name, ENTITY, SOURCE, unchanged, columns=columns, aggregates=aggregates)


def keys_of(items: int) -> pa.Array:
    """The keys of all entities."""
    return pa.array([f"C{number:08d}" for number in range(items)])


def zipf(items: int) -> npt.NDArray[np.float64]:
    """Events a day of each entity, in no order of number."""
    rates = BUSIEST / np.arange(1, items + 1)
    return np.random.default_rng(5).permutation(rates)


def amounts(random: np.random.Generator, count: int) -> dict[str, pa.Array]:
    """Amounts in cents, as doubles."""
    return {"amount": pa.array(np.round(random.lognormal(3.0, 1.0, count), 2))}


def items_of(
    view: FeatureView,
    rates: npt.NDArray[np.float64],
    seed: int = 0,
    columns: Columns = amounts,
    pushed: datetime = PUSHED,
) -> list[bytes]:
    """The bytes of an item for each rate, in events a day, as pushed at `pushed`."""
    random = np.random.default_rng(seed)
    now, layout = to_us(pushed), layout_of(view)
    kept = (layout.reach or 0) + 2 * duration_us(DAY)
    counts = random.poisson(rates * (kept / duration_us(DAY)))
    entity = np.repeat(np.arange(len(counts)), counts)
    at = now - random.integers(1, kept, len(entity))
    records = Records(columns(random, len(at)), at, np.arange(len(at)))
    newest = np.full(len(counts), now)
    np.maximum.at(newest, entity, at)
    day = pushed.date().isoformat()
    rings = packed(ring_of_records(layout, records, entity, len(counts), now))
    return [
        pack_item(Item(0, BatchSection(7, now, Row(last, 0, day, ring) if ring else None)))
        for last, ring in zip(newest.tolist(), rings, strict=True)
    ]
