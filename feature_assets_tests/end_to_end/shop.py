"""A small project whose world the tests hold in their hands: orders of users, spent by day.

The world is a folder of JSON (one file per day), so that a subprocess sees the same one.
"""

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import narwhals as nw
import pyarrow as pa

import feature_assets as fa

TIME = pa.timestamp("us", "UTC")
ORDERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("amount", pa.float64()),
        ("event_at", TIME),
        ("arrived_at", TIME),
        ("item", pa.string()),
    ]
)
WORLD = "SHOP_WORLD"
BROKEN = "broken"
"""A file of the world: the transform of `last_order` fails."""
UNREADABLE = "unreadable"
"""A file of the world: the source does."""
FIRST = date(2026, 1, 1)


def world() -> Path:
    """The folder that the tests write to."""
    return Path(os.environ[WORLD])


def put_orders(day: date, orders: list[tuple[str, float]], *, hour: int = 12, late: timedelta = timedelta(0)) -> None:
    """Replace the orders of a day: (user, amount), one minute apart."""
    start = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    rows = []
    for number, (user_id, amount) in enumerate(orders):
        at = start + timedelta(minutes=number)
        rows.append([user_id, amount, at.isoformat(), (at + late).isoformat(), f"item-{number}"])
    (world() / f"{day.isoformat()}.json").write_text(json.dumps(rows), encoding="utf-8")


def read_orders(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """The orders of some days that have arrived by `now`."""
    if (world() / UNREADABLE).exists():
        raise ConnectionError("the warehouse does not answer")
    days = sorted(
        path for path in world().glob("*.json") if start.date().isoformat() <= path.stem < end.date().isoformat()
    )
    rows = [row for path in days for row in json.loads(path.read_text(encoding="utf-8"))]
    parsed = [
        {
            "user_id": user_id,
            "amount": amount,
            "event_at": datetime.fromisoformat(event_at),
            "arrived_at": datetime.fromisoformat(arrived_at),
            "item": item,
        }
        for user_id, amount, event_at, arrived_at, item in rows
    ]
    return pa.Table.from_pylist([row for row in parsed if row["arrived_at"] <= now], schema=ORDERS)


def last_orders(orders: nw.DataFrame[pa.Table]) -> nw.DataFrame[pa.Table]:
    """Each order as a row; while the world says so it raises, or leaves out the column that is named there."""
    columns = ["user_id", "event_at", "arrived_at", "amount", "item"]
    if (world() / BROKEN).exists():
        column = (world() / BROKEN).read_text(encoding="utf-8")
        if not column:
            raise RuntimeError("the shop is closed")
        columns.remove(column)
    return orders.select(columns)


orders = fa.BatchSource("orders", ORDERS, read_orders, start=FIRST, end=date(2026, 3, 1), order_by=("event_at",))
user = fa.Entity("user", keys={"user_id": pa.string()})
daily_spend = fa.FeatureView(
    "daily_spend",
    user,
    orders,
    fa.Sql(
        "SELECT user_id, CAST($partition_end AS TIMESTAMPTZ) AS event_at, max(arrived_at) AS arrived_at, "
        "sum(amount) AS spend, count(*) AS orders FROM orders GROUP BY user_id"
    ),
    features=[fa.Feature("spend", pa.float64()), fa.Feature("orders", pa.int64(), default=0)],
    delay=timedelta(hours=1),
    revisit=1,
    expectations=[
        fa.Expectation("expect_column_values_to_be_between", "spend", arguments={"min_value": 0}),
        fa.Expectation("expect_column_values_to_be_between", "orders", "warning", arguments={"max_value": 3}),
    ],
    owner="shop",
)
last_order = fa.FeatureView(
    "last_order",
    user,
    orders,
    last_orders,
    features=[fa.Feature("amount", pa.float64()), fa.Feature("item", pa.string())],
    ttl=timedelta(days=3),
    delay=timedelta(hours=1),
)
checkout = fa.FeatureService("checkout", [daily_spend, last_order])
project = fa.Project("shop", sources=[orders], views=[daily_spend, last_order], services=[checkout])
