"""Views of aggregates, their records and questions of them, as hypothesis makes them.

Instants are on a grid of seconds with something beside it, so that records meet the ends of tiles and windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.slot import Ints, Records
from feature_assets.compute.tiles import Rings, packed
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets_tests.oracle.rings import Kept, Shape

SECOND = 1_000_000
START = 400_000 * SECOND
ENTITIES = 3
COLUMNS = {"amount": pa.int64(), "price": pa.float64(), "place": pa.string()}
HOPS = (1, 2, 10, 60, 120, 600)
"""Seconds; those of a view are some that divide one another."""
GIVEN: dict[str, dict[str, Any]] = {
    "last_k": {"k": 2},
    "last_distinct_k": {"k": 2},
    "top_k": {"k": 2, "bound": 4},
    "count_distinct": {"bound": 3},
    "approx_percentile": {"percentile": 0.5},
    "histogram": {"edges": (0.0, 2.0)},
    "ratio": {"over": "amount"},
    "decayed_sum": {"half_life": timedelta(seconds=5)},
    "decayed_count": {"half_life": timedelta(seconds=5)},
}
ENTITY = Entity("shop", {"shop": pa.string()})
SOURCE = BatchSource(
    "sales",
    pa.schema([("shop", pa.string()), *COLUMNS.items(), ("event_at", INSTANT), ("arrived_at", INSTANT)]),
    lambda start, end, now: pa.table([]),  # noqa: ARG005 - never called
    start=date(2026, 1, 1),
)


def every_aggregate() -> list[tuple[str, str | None, str | None]]:
    """Every function with each column that it may be of, and some that are kept apart by another."""
    found: list[tuple[str, str | None, str | None]] = []
    for function, rule in FUNCTIONS.items():
        found += [(function, name, None) for name, dtype in COLUMNS.items() if rule.takes(dtype)]
        if not rule.needs_column:
            found.append((function, None, None))
        if rule.may_be_keyed:
            found.append((function, "price" if rule.takes(pa.float64()) else None, "place"))
    return found


EVERY = every_aggregate()


def view_of(asked: Sequence[tuple[tuple[str, str | None, str | None], Sequence[Window]]]) -> FeatureView:
    aggregates = [
        Aggregate(function, column, windows, name=f"a{number}", by=by, **GIVEN.get(function, {}))
        for number, ((function, column, by), windows) in enumerate(asked)
    ]
    return FeatureView(
        "ring", ENTITY, SOURCE, Sql("SELECT * FROM sales"), columns=list(COLUMNS.items()), aggregates=aggregates
    )


def shape_of(window: Window) -> Shape:
    """The window as the oracle takes it."""
    size = None if window.size is None else duration_us(window.size)
    return Shape(size, duration_us(window.hop), duration_us(window.offset), window.closed, window.count)


@dataclass(slots=True)
class Story:
    """A view, records of some entities, and the oracle that has them. `now`: after every one that was written."""

    random: Random
    view: FeatureView
    layout: Layout
    now: int
    item: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    table: Records | None = None
    kept: Kept = field(default_factory=lambda: Kept(ENTITIES))

    @property
    def records(self) -> Records:
        assert self.table is not None
        return self.table

    def some(self, rows: Sequence[int] | Ints) -> tuple[Records, Ints]:
        """Some of the records, and whose they are."""
        chosen = np.asarray(rows, np.int64)
        return self.records.take(chosen), self.item[chosen]

    def moment(self, around: int) -> int:
        """Something that lies about as far back as windows look, on the edge of a tile or beside it."""
        hops = [level.hop for level in self.layout.levels if level.hop <= 3600 * SECOND] or [SECOND]
        reach = max([level.reach for level in self.layout.levels if level.reach is not None], default=60 * SECOND)
        hop = self.random.choice(hops)
        back = self.random.choice([reach, reach // 4, hop * 3, 2 * reach + 10 * hop])
        at = around - int(back * self.random.random())
        if self.random.random() < 0.6:
            at = at // hop * hop + self.random.choice([0, 0, -1, 1])
        return at + (self.random.randint(0, 30) * SECOND if self.random.random() < 0.05 else 0)


def columns_of(random: Random, count: int) -> dict[str, pa.Array]:
    """Few values, so that they repeat; nulls; and everything that a float can be."""
    floats = [None, 0.5, 0.1, -2.0, 1e300, -0.0, nan, inf, -inf][: random.choice([4, 4, 9])]
    given = {
        "amount": random.choices([None, 0, 1, -3, 2**40, 2**62], k=count),
        "price": random.choices(floats, k=count),
        "place": random.choices([None, "", "a", "b", "c", "d"], k=count),
    }
    return {name: pa.array(given[name], dtype) for name, dtype in COLUMNS.items()}


def _windows(random: Random, hops: Sequence[int], *, needs_size: bool) -> list[Window]:
    found: dict[str, Window] = {}
    for _ in range(random.randint(1, 3)):
        hop = timedelta(seconds=random.choice(hops))
        size = hop * random.choice([1, 2, 3, 12, 30])
        kind = random.choice(["sliding", "sliding", "offset", "tumbling", "series", "lifetime"])
        if kind == "lifetime" and needs_size:
            continue
        made = Window.sliding(size, hop=hop)
        match kind:
            case "offset":
                made = Window.sliding(size, hop=hop, offset=hop * random.choice([1, 2, 7]))
            case "tumbling":
                made = Window.tumbling(hop)
            case "series":
                made = Window.series(size, random.choice([2, 3]), hop=hop)
            case "lifetime":
                made = Window.lifetime()
        found[made.label] = made
    return list(found.values()) or [Window.sliding(timedelta(seconds=hops[0] * 2), hop=timedelta(seconds=hops[0]))]


@lru_cache(maxsize=4096)
def _drawn(seed: int, most: int) -> tuple[FeatureView, Layout]:
    random = Random(seed)
    hops = [random.choice(HOPS)]
    hops += [one for one in HOPS if one > hops[-1] and one % hops[-1] == 0 and random.random() < 0.5]
    nested = [hops[0]]
    for hop in hops[1:]:
        if hop % nested[-1] == 0:
            nested.append(hop)
    asked = []
    for function, column, by in random.sample(EVERY, random.randint(1, most)):
        asked.append(((function, column, by), _windows(random, nested, needs_size=FUNCTIONS[function].needs_size)))
    view = view_of(asked)
    return view, layout_of(view)


@st.composite
def stories(draw: st.DrawFn, most: int = 4) -> Story:
    """Records late and early, of a view that has up to `most` aggregates, rolled up for a `now` near the last."""
    random = draw(st.randoms(use_true_random=True))
    view, layout = _drawn(random.randrange(2000), most)
    story = Story(random, view, layout, START + random.randint(0, 1200) * SECOND + random.choice([0, 1, -1]))
    count = draw(st.sampled_from([30, 12, 80, 3, 1, 0]))
    entities = random.choice([[0, 0, 1], [0, 1, 2], [0, 2], [2]])
    story.item = np.array([random.choice(entities) for _ in range(count)], np.int64)
    at = np.array([story.moment(story.now) for _ in range(count)], np.int64)
    sequence = np.array([random.randint(0, 2) for _ in range(count)], np.int64)
    story.table = Records(columns_of(random, count), at, sequence)
    for entity, one in zip(story.item.tolist(), at.tolist(), strict=True):
        story.kept.add(entity, one)
    return story


def same(one: Rings, other: Rings) -> bool:
    """Byte for byte; and what the bytes leave out."""
    alike = np.array_equal(one.starts, other.starts) and np.array_equal(one.counts, other.counts)
    return alike and packed(one) == packed(other)
