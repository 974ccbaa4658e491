"""Rows for tests of the offline store: a small feature table's partitions, made from plain values.

Invariant: the same arguments give the same rows; nothing here knows how they are stored.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from feature_assets.offline.lake import Lake
from feature_assets.offline.table import PartitionedTable

TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("k", pa.string(), nullable=False),
        pa.field("event_at", TIME, nullable=False),
        pa.field("arrived_at", TIME, nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("x", pa.float64()),
    ]
)
BUCKETS = 4
PATH = ("features", "speeds", "0123456789")


def feature_rows(day: str, values: Iterable[float | None], *, hour: int = 0) -> pa.Table:
    """One row per value, of key k0, k1, ..., a second apart from `hour` o'clock on, in a bucket by its number."""
    xs = list(values)
    start = int(datetime.fromisoformat(day).replace(tzinfo=UTC, hour=hour).timestamp()) * 1_000_000
    at = pa.array(start + np.arange(len(xs)) * 1_000_000, pa.int64()).cast(TIME)
    fields = [*SCHEMA, pa.field("bucket", pa.int32())]
    columns = [
        pa.array([f"k{i}" for i in range(len(xs))], pa.string()),
        at,
        at,
        pa.array(np.zeros(len(xs), np.int64)),
        pa.array(xs, pa.float64()),
        pa.array([i % BUCKETS for i in range(len(xs))], pa.int32()),
    ]
    return pa.table(columns, schema=pa.schema(fields))


def speeds(lake: Lake, schema: pa.Schema = SCHEMA) -> PartitionedTable:
    """A feature table over `SCHEMA`, or over another one with the same keys."""
    return PartitionedTable(lake, PATH, schema, features=True, order=("k", "event_at", "sequence"))


def xs(rows: pa.Table) -> list[float | None]:
    """The values of a table's rows, in its order."""
    values: list[float | None] = rows.column("x").to_pylist()
    return values
