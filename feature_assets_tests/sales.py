"""A shop's sales, with a value of every type that a feature can have, and the views that are made of them.

Invariant: the same random numbers give the same sales; which rows of a day are known, and in which order they come,
says nothing. It commits, pushes and asks nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from random import Random
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureRef, FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.serving.reader import Answer
from feature_assets.training.digest import table_digest

TIME = pa.timestamp("us", "UTC")
START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
GRID = 6 * HOUR
PLACE = pa.struct([("x", pa.float64()), ("label", pa.string())])

VALUES: dict[str, tuple[pa.DataType, list[object]]] = {
    "amount": (pa.float64(), [nan, -0.0, 0.0, 1.5, inf]),
    "price": (pa.float32(), [nan, 0.1, 3.0, -inf]),
    "pieces": (pa.int64(), [0, 2**63 - 1, -(2**63), 2**53 + 1]),
    "note": (pa.string(), ["", "x", "Zürich 🍎"]),
    "code": (pa.binary(), [b"", b"\x00", b"\xff\x00"]),
    "is_open": (pa.bool_(), [True, False]),
    "shelved_on": (pa.date32(), [date(1969, 12, 31), date(2024, 2, 29)]),
    "seen_at": (TIME, [START, START + TICK]),
    "cost": (pa.decimal128(12, 3), [Decimal("0.001"), Decimal("-999999999.999")]),
    "tags": (pa.list_(pa.string()), [[], ["a", None], ["", "b"]]),
    "vector": (pa.list_(pa.float32(), 2), [[0.1, nan], [-0.0, None]]),
    "place": (PLACE, [{"x": nan, "label": None}, {"x": 1.0, "label": ""}, {"x": None, "label": "y"}]),
    "sizes": (pa.map_(pa.string(), pa.int32()), [[], [("s", 1), ("m", None)]]),
}
"""Every feature of a sale: its type, and what it may be besides null."""
DEFAULTS: dict[str, object] = {
    "amount": 0.5,
    "note": "none",
    "cost": Decimal("1.000"),
    "tags": ["-"],
    "vector": [1.0, 2.0],
    "place": {"x": 0.0, "label": "nowhere"},
    "seen_at": START,
}
SHOPS = ["a", "b", "", "Zürich"]
SALES = pa.schema(
    [
        ("shop", pa.string()),
        ("shelf", pa.int32()),
        ("event_at", TIME),
        ("arrived_at", TIME),
        ("sequence", pa.int64()),
        ("number", pa.int64()),
        *((name, dtype) for name, (dtype, _) in VALUES.items()),
    ]
)

Row = dict[str, Any]
Key = tuple[object, ...]


def no_sales(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """The reader where the sales are at hand anyway."""
    return SALES.empty_table()


def as_sold(sales: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """A row of the view for each sale."""
    return sales.drop("number")


def by_slot(sales: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """The sales of which everything is known that a slot has as its key."""
    key = ("pieces", "shelved_on", "is_open", "code")
    whole = sales.filter(~nw.any_horizontal(*(nw.col(name).is_null() for name in key), ignore_nulls=False))
    return whole.select(*key, "event_at", "number", sold=nw.col("note"))


def margin(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """From the request, a feature with a default and one without, and the time of the request."""
    age = pc.subtract(as_of.cast(pa.int64()), columns["here__seen_at"].cast(pa.int64()))
    over = pc.subtract(columns["here__amount"], columns["limit"])
    return {"over": over, "age": age, "late": pc.greater(as_of, columns["until"])}


def bill(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """From another request-time view."""
    return {"due": pc.multiply(columns["margin__over"], columns["daily__sales"].cast(pa.float64()))}


SOURCE = BatchSource("sales", SALES, no_sales, start=date(2024, 1, 1), order_by=("shop", "shelf", "sequence"))


def as_records(sales: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """A record for each sale, of its shop."""
    return sales.select("shop", "event_at", "arrived_at", "sequence", *MEASURED)


MEASURED = ("amount", "price", "pieces", "note", "code", "is_open", "shelved_on", "seen_at")
"""What a record of a sale holds: all that can be aggregated."""
RECENT = Window.sliding(2 * DAY, hop=GRID)
WINDOWS = (
    RECENT,
    Window.sliding(DAY, hop=HOUR, offset=DAY),
    Window.tumbling(DAY),
    Window.lifetime(),
    Window.series(GRID, 3, hop=GRID),
)
PACE = (
    Aggregate("count", windows=WINDOWS),
    Aggregate("count", "note", RECENT),
    Aggregate("sum", "amount", WINDOWS),
    Aggregate("sum", "pieces", WINDOWS[2:]),
    Aggregate("sum", "price", RECENT),
    Aggregate("sum", "amount", RECENT, scale=1, name="rounded"),
    *(Aggregate("mean", name, WINDOWS[:2], default=0.25) for name in ("price", "pieces")),
    *(Aggregate(end, "amount", WINDOWS) for end in ("min", "max")),
    *(Aggregate("max", name, WINDOWS[1:3]) for name in ("pieces", "shelved_on", "seen_at")),
    *(Aggregate(spread, name, RECENT) for spread, name in (("var", "amount"), ("stddev", "price"), ("var", "pieces"))),
    Aggregate("first", "code", WINDOWS),
    *(Aggregate("last", name, WINDOWS[:3]) for name in ("note", "price", "is_open")),
    Aggregate("last_k", "note", WINDOWS, k=2),
    Aggregate("last_distinct_k", "shelved_on", WINDOWS[:2], k=2),
    Aggregate("count_distinct", "amount", WINDOWS, bound=2),
    Aggregate("approx_count_distinct", "price", WINDOWS[:2], precision=4),
    Aggregate("approx_percentile", "amount", WINDOWS, percentile=0.5),
    Aggregate("time_since_last", windows=WINDOWS[:4]),
    Aggregate("rate", "note", RECENT),
    Aggregate("ratio", "price", RECENT, over="amount"),
    Aggregate("top_k", "note", WINDOWS[2:], k=1, default=["nothing"], bound=2),
    Aggregate("histogram", "pieces", WINDOWS[3:], edges=(0, 1e6)),
    Aggregate("decayed_sum", "price", WINDOWS[:2], half_life=GRID),
    Aggregate("decayed_count", "note", RECENT, half_life=HOUR),
    Aggregate("sum", "amount", WINDOWS, by="is_open"),
    *(Aggregate(function, "amount", RECENT, by="is_open") for function in ("max", "mean")),
    Aggregate("count", windows=RECENT, by="note", bound=2),
)
"""Every function, every kind of window, every type of column: not each with each, which would take minutes."""


def views_of(source: BatchSource, generation: int) -> tuple[FeatureView, ...]:
    """Rows by a function, days by SQL, rows of an entity with a key of every other type, and aggregates.

    Each `generation` has versions of its own of the first, with the same values.
    """
    stock = FeatureView(
        "stock",
        Entity("shelf", {"shop": pa.string(), "shelf": pa.int32()}),
        source,
        as_sold,
        [Feature(name, dtype, default=DEFAULTS.get(name)) for name, (dtype, _) in VALUES.items()],
        order_by="sequence",
        ttl=5 * GRID,
        delay=2 * HOUR,
        # Part of the version, and not of the values.
        buckets=3 + generation,
    )
    daily = FeatureView(
        "daily",
        Entity("shop", {"shop": pa.string()}),
        source,
        Sql(
            "SELECT shop, CAST($partition_end AS TIMESTAMPTZ) AS event_at, count(*) % 2 AS rank, count(*) AS sales, "
            "max(cost) AS dearest, list(note ORDER BY note) AS notes FROM sales WHERE shelf < 0 GROUP BY shop "
            # At the very instant at which the day before closes, and of other shops.
            "UNION ALL SELECT DISTINCT shop, CAST($partition_start AS TIMESTAMPTZ), 0, -1, NULL, NULL FROM sales "
            "WHERE shelf > 0"
        ),
        [
            Feature("sales", pa.int64(), default=0),
            Feature("dearest", pa.decimal128(12, 3)),
            Feature("notes", pa.list_(pa.string())),
        ],
        order_by="rank",
        buckets=2,
    )
    slot = Entity("slot", {"pieces": pa.int64(), "shelved_on": pa.date32(), "is_open": pa.bool_(), "code": pa.binary()})
    slots = FeatureView(
        "slots", slot, source, by_slot, [Feature("sold", pa.string())], order_by="number", ttl=3 * DAY, buckets=1
    )
    pace = FeatureView(
        "pace",
        daily.entity,
        source,
        as_records,
        order_by="sequence",
        columns=[(name, VALUES[name][0]) for name in MEASURED],
        aggregates=PACE,
        delay=HOUR,
        buckets=2,
    )
    return stock, daily, slots, pace


def project_of(source: BatchSource, generation: int = 0) -> Project:
    """One service, `shop`, over all of it."""
    stock, daily, slots, pace = views_of(source, generation)
    over = [Feature("over", pa.float64(), default=-1.0), Feature("age", pa.int64()), Feature("late", pa.bool_())]
    request = [RequestField("limit", pa.float64()), RequestField("until", TIME)]
    inputs = ["here__seen_at", "here__amount"]
    on_demand = OnDemandView("margin", request, inputs, function=margin, features=over)
    due = [Feature("due", pa.float64())]
    features: list[FeatureRef | FeatureView | OnDemandView] = [
        OnDemandView("bill", inputs=["margin__over", "daily__sales"], function=bill, features=due),
        stock.alias("here"),
        on_demand,
        daily,
        stock["tags", "amount", "sizes"].alias("rival", shop="rival_shop", shelf="rival_shelf"),
        slots,
        pace,
        pace["count_2d", "amount_sum_1d_tumbling"].alias("rival_pace", shop="rival_shop"),
    ]
    service = FeatureService("shop", features)
    return Project("shop", sources=[source], views=[stock, daily, slots, pace], services=[service])


PROJECT = project_of(SOURCE)
SERVICE = PROJECT.service("shop")
NAMES = [column.name for column in SERVICE.output_columns]
VIEW_OF = {ref.prefix: ref.view.name for ref in SERVICE.refs}


@dataclass
class Sales:
    """What was sold, as far as it is known: by day, then by key."""

    random: Random
    by_day: dict[date, dict[Key, Row]] = field(default_factory=dict)
    sold: int = 0

    def change(self, day: date) -> None:
        """Some sales of a day are gone, some are corrected, some are new; now and then there is none left."""
        known = self.by_day.setdefault(day, {})
        for key in list(known):
            if self.random.random() < 0.3:
                del known[key]
        if self.random.random() < 0.15:
            known.clear()
            return
        for _ in range(self.random.choice([1, 4, 9])):
            row = self._row(day)
            known[tuple(row[name] for name in ("shop", "shelf", "event_at", "sequence"))] = row

    def table(self, day: date) -> pa.Table:
        """The sales of a day, in an order that says nothing."""
        rows = list(self.by_day.get(day, {}).values())
        self.random.shuffle(rows)
        return pa.table({one.name: pa.array([row[one.name] for row in rows], one.type) for one in SALES}, schema=SALES)

    def read(self, start: datetime, end: datetime, now: datetime) -> pa.Table:
        """The reader of a source of them: what has arrived by `now`."""
        days = [self.table((start + day * DAY).date()) for day in range((end - start) // DAY)]
        known = pa.concat_tables([SALES.empty_table(), *days])
        return known.filter(pc.less_equal(known["arrived_at"], pa.scalar(now, TIME)))

    def _row(self, day: date) -> Row:
        self.sold += 1
        event_at = midnight(day) + self.random.choice([0, 0, 1, 3]) * GRID + self.random.choice([0, 0, 1]) * TICK
        return {
            "shop": self.random.choice(SHOPS),
            "shelf": self.random.choice([1, -2]),
            "event_at": event_at,
            "arrived_at": event_at + self.random.choice([0, 0, 5]) * GRID,
            "sequence": self.random.randint(0, 2),
            "number": self.sold,
            **{name: self.random.choice([None, *values]) for name, (_, values) in VALUES.items()},
        }


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def questions(random: Random, count: int) -> pa.Table:
    """Rows to ask for, some of them twice. Types may be narrower than the service's, or encoded."""
    columns: dict[str, pa.Array] = {
        "shop": pa.array([random.choice([*SHOPS, "never"]) for _ in range(count)]),
        "shelf": pa.array([random.choice([1, -2, 3]) for _ in range(count)], pa.int8()),
        "rival_shop": pa.array([random.choice(SHOPS) for _ in range(count)], pa.large_string()),
        "rival_shelf": pa.array([random.choice([1, -2]) for _ in range(count)], pa.int64()),
        "limit": pa.array([random.choice([None, nan, 0.1, -0.0]) for _ in range(count)], pa.float64()),
        "until": pa.array([random.choice([None, START, START + 2 * DAY]) for _ in range(count)]).cast(
            pa.timestamp("ms", "Europe/Berlin")
        ),
    }
    for name in ("pieces", "shelved_on", "is_open", "code"):
        dtype, values = VALUES[name]
        columns[name] = pa.array([random.choice(values) for _ in range(count)], dtype)
    if random.random() < 0.5:
        columns["shop"] = columns["shop"].dictionary_encode()
    asked = pa.table(columns)
    return pa.concat_tables([asked, asked.slice(0, random.choice([0, 1]))])


def as_handed_over(random: Random, asked: pa.Table) -> Any:  # noqa: ANN401 - as the reader takes it
    """The same rows as a program has them, or as a request from outside does."""
    return asked if random.random() < 0.7 else asked.to_pylist()


def differences(answer: Answer, trained: pa.Table, columns: Collection[str]) -> list[str]:
    """The columns in which some value, null or type differs."""
    return [
        name for name in columns if table_digest(answer.table.select([name])) != table_digest(trained.select([name]))
    ]
