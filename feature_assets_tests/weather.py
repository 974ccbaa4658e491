"""A small project for tests: reports of airports, a view of them, a service.

Invariant: nothing here reads or writes; a test that wants a variation asks for it by keyword.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import narwhals as nw
import pyarrow as pa

from feature_assets.compute.transform import Period
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureView

INSTANT = pa.timestamp("us", "UTC")
DAY = datetime(2024, 3, 10, tzinfo=UTC)
PERIOD = Period.day(DAY.date())

AIRPORT = Entity("airport", {"airport": pa.string()})
SCHEMA = pa.schema(
    [
        ("airport", pa.string()),
        ("event_at", INSTANT),
        ("arrived_at", INSTANT),
        ("temp", pa.float64()),
        ("n", pa.int64()),
    ]
)


def no_events(_start: datetime, _end: datetime, _now: datetime) -> pa.Table:
    return SCHEMA.empty_table()


def source(**changes: object) -> BatchSource:
    fields: dict[str, Any] = {"name": "reports", "schema": SCHEMA, "reader": no_events, "start": date(2024, 1, 1)}
    return BatchSource(**{**fields, **changes})


REPORTS = source()


def as_reported(reports: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    return reports.drop("n")


TEMP = Feature("temp", pa.float64())


def view(transform: object = as_reported, features: Sequence[Feature] = (TEMP,), **changes: object) -> FeatureView:
    fields: dict[str, Any] = {"name": "weather", "entity": AIRPORT, "sources": REPORTS, "transform": transform}
    return FeatureView(**{**fields, "features": features, **changes})


def reports(*rows: tuple[object, float, float | None, int]) -> pa.Table:
    """Reports of `PERIOD`: airport, hours after its start, temperature, a number. Each arrives an hour later."""
    at = [DAY + timedelta(hours=hours) for _, hours, _, _ in rows]
    columns = [
        [airport for airport, *_ in rows],
        at,
        [one + timedelta(hours=1) for one in at],
        [temp for _, _, temp, _ in rows],
        [number for *_, number in rows],
    ]
    return pa.table(columns, schema=SCHEMA)
