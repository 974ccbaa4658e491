"""The simulated view of aggregates: batch rows and records of the logs are purchases alike, summed up over windows.

Invariant: both sides hold the same kind of record, so that one that is on both sides, or on neither, shows in every
count. The definition is a real one, and rings, reducer and reader are the product's.
What its windows must say is in `naive`, which knows nothing of this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from random import Random

import pyarrow as pa

from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.online.ring_reducer import RingReducer, payloads
from feature_assets.online.sections import Contents
from feature_assets.online.tile_rings import TileRings
from feature_assets.serving.window_values import WindowValues
from feature_assets.testing.naive import DISTINCT, NEWEST, SHOPS, amount_of, price_of, shop_of
from feature_assets.testing.subject import BEFORE_VALUES, HOUR, KEY_NAMES, VIEW
from feature_assets.testing.truth import FeatureRow

COLUMNS = (("amount", pa.int64()), ("price", pa.float64()), ("shop", pa.string()))
PURCHASES_SCHEMA = pa.schema([*BEFORE_VALUES, *COLUMNS, ("bucket", pa.int32())])
_HOURS = timedelta(hours=1)
_RECENT = Window.sliding(24 * _HOURS, hop=2 * _HOURS)
_BEFORE = Window.sliding(24 * _HOURS, hop=6 * _HOURS, offset=12 * _HOURS)
_YESTERDAY = Window.tumbling(24 * _HOURS)
_EVER = Window.lifetime()
_AGGREGATES = (
    Aggregate("count", None, [_RECENT, _BEFORE, _YESTERDAY, _EVER]),
    Aggregate("sum", "amount", [_RECENT, _BEFORE, _EVER]),
    Aggregate("sum", "price", [_RECENT, _EVER]),
    Aggregate("max", "amount", [_RECENT, _YESTERDAY]),
    Aggregate("last", "amount", [_RECENT, _BEFORE]),
    Aggregate("last_k", "amount", [_RECENT], k=NEWEST),
    Aggregate("count_distinct", "amount", [_RECENT], bound=DISTINCT),
    Aggregate("count", None, [_RECENT, _YESTERDAY], by="shop", bound=SHOPS),
)


@lru_cache(maxsize=1)
def purchases_view() -> FeatureView:
    """The definition. Its source is never read: the simulated world is one."""
    schema = pa.schema([*BEFORE_VALUES, *COLUMNS])
    return FeatureView(
        VIEW,
        Entity("entity", {"entity": pa.string()}),
        BatchSource("purchases", schema, lambda start, end, now: pa.table([]), start=date(2026, 1, 1)),  # noqa: ARG005 - never called
        Sql("SELECT * FROM purchases"),
        columns=list(COLUMNS),
        aggregates=_AGGREGATES,
        delay=_HOURS,
        buckets=2,
    )


@dataclass(frozen=True, slots=True)
class Purchases:
    """A view of aggregates, all of whose versions are fed by streams, too.

    A test replaces what writers or readers go by. `lag`: the finest level has a tile of that length to spare.
    """

    schema: pa.Schema = PURCHASES_SCHEMA
    requests: int = 8
    lag: int = 2 * HOUR

    @property
    def view(self) -> FeatureView:
        """The definition."""
        return purchases_view()

    @property
    def layout(self) -> Layout:
        """By which rings are made."""
        return layout_of(purchases_view())

    @property
    def reducer(self) -> RingReducer:
        """What streams do."""
        return RingReducer(self.layout, RingReducer.of(self.view).dtypes)

    @property
    def reading(self) -> WindowValues:
        """What readers do."""
        layout = layout_of(self.view)
        return WindowValues.of(layout, [use.feature.name for use in layout.uses])

    def contents(self, rng: Random) -> Contents:
        """What a push does."""
        del rng
        return TileRings(KEY_NAMES, self.layout)

    def stored(self, rows: Sequence[FeatureRow]) -> list[pa.Array]:
        """Their purchases."""
        return list(columns_of([row.value for row in rows]).values())

    def payload(self, amount: int) -> bytes:
        """The purchase, as the reducer reads it."""
        return _payload(amount)

    def is_streamed(self, version: str) -> bool:
        """Each is."""
        del version
        return True


def columns_of(values: Sequence[int]) -> dict[str, pa.Array]:
    """What is stored of purchases, by what each follows from."""
    each = (amount_of, price_of, shop_of)
    return {
        name: pa.array([function(value) for value in values], dtype)
        for (name, dtype), function in zip(COLUMNS, each, strict=True)
    }


@lru_cache(maxsize=4096)
def _payload(amount: int) -> bytes:
    return payloads(layout_of(purchases_view()), columns_of([amount]), 1)[0]
