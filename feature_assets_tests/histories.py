"""Feature histories for tests of the loader: views without a pipeline, and tables filled by hand.

Invariant: the same rows, commits, verdicts and ledger rows can be put into memory or into Delta, and mean the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import EPOCH
from feature_assets.compute.engine import view_schema
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.offline.snapshot import VERSIONS_SCHEMA
from feature_assets.offline.verdicts import Verdict
from feature_assets.offline.versions import Version

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def nothing(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """A reader of a source that has no rows."""
    return pa.table({"event_at": pa.array([], pa.timestamp("us", "UTC"))})


def unchanged(frame: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """A transform that is never run."""
    return frame


SOURCE = BatchSource(
    "nowhere",
    schema=pa.schema([("event_at", pa.timestamp("us", "UTC"))]),
    reader=nothing,
    arrived_at=None,
    start=date(2024, 1, 1),
)


def view_of(
    name: str,
    keys: Mapping[str, pa.DataType],
    features: Mapping[str, pa.DataType] | Sequence[Feature],
    **options: Any,  # noqa: ANN401 - what a view takes
) -> FeatureView:
    """A view that is filled by hand."""
    given = [Feature(one, dtype) for one, dtype in features.items()] if isinstance(features, Mapping) else features
    return FeatureView(name, Entity("_".join(keys), keys), SOURCE, unchanged, given, **options)


def instants(values: Sequence[int | datetime | None]) -> pa.Array:
    """Timestamps from microseconds or datetimes."""
    whole = [(value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value for value in values]
    return pa.array(whole, pa.int64()).cast(pa.timestamp("us", "UTC"))


def partition_table(view: FeatureView, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Rows of one partition as a table takes them: `view_schema`, and the bucket of each.

    What a row leaves out is null; `sequence` is then 0 and `arrived_at` is `event_at`.
    """
    schema = view_schema(view)
    filled = [{"sequence": 0, "arrived_at": row["event_at"], **row} for row in rows]
    columns = [
        instants([row[one.name] for row in filled])  # type: ignore[misc]  # times are ints or datetimes
        if one.name in {"event_at", "arrived_at"}
        else pa.array([row.get(one.name) for row in filled], one.type)
        for one in schema
    ]
    table = pa.table(columns, schema=schema)
    buckets = buckets_of(encoded_keys(table, view.entity.key_names), view.buckets)
    return table.append_column(pa.field("bucket", pa.int32()), pa.array(buckets, pa.int32()))


@dataclass
class MemoryTable:
    """The table of a view version in memory: `FeatureRows`, plus a way to commit."""

    view: FeatureView
    versions: dict[Version, tuple[pa.Table, int]] = field(default_factory=dict)
    head: int = 0
    counted: str = "source"

    def counted_in(self) -> str:
        return self.counted

    def commit(self, partitions: Mapping[str, pa.Table], source_seq: Mapping[str, int] | None = None) -> int:
        """Each partition as a new version."""
        self.head += 1
        for partition, table in partitions.items():
            self.versions[partition, self.head] = (table, (source_seq or {}).get(partition, 0))
        return self.head

    def partition_versions(self, upto: int | None = None) -> pa.Table:
        found = sorted((seq, partition) for partition, seq in self.versions if upto is None or seq <= upto)
        columns = [
            [partition for _, partition in found],
            [seq for seq, _ in found],
            [self.versions[partition, seq][1] for seq, partition in found],
            [self.versions[partition, seq][0].num_rows for seq, partition in found],
        ]
        return pa.table(
            [pa.array(values, one.type) for values, one in zip(columns, VERSIONS_SCHEMA, strict=True)],
            schema=VERSIONS_SCHEMA,
        )

    def read_numbered(
        self,
        versions: Collection[Version],
        *,
        columns: tuple[str, ...],
        buckets: Collection[int] | None = None,
        event_range: tuple[datetime | None, datetime | None] | None = None,
        ordered: bool = True,  # noqa: ARG002 - in memory, rows are always in order
    ) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        schema = view_schema(self.view).append(pa.field("bucket", pa.int32()))
        whole = [self.versions[version][0] for version in sorted(versions)]
        table = pa.concat_tables([schema.empty_table(), *whole])
        number = np.repeat(np.arange(len(whole)), [one.num_rows for one in whole]).astype(np.int64)
        keep = np.ones(len(number), np.bool_)
        if buckets is not None:
            keep &= np.isin(np.asarray(table.column("bucket")), list(buckets))
        low, high = event_range or (None, None)
        event_at = table.column("event_at").to_pylist()
        keep &= np.array([(low is None or at >= low) and (high is None or at <= high) for at in event_at], np.bool_)
        return table.filter(pa.array(keep)).select(list(columns)), number[keep]


@dataclass
class MemoryVerdicts:
    """Verdicts in memory."""

    known: dict[tuple[str, str], dict[Version, bool]] = field(default_factory=dict)

    def judge(self, view: str, version: str, verdicts: Mapping[Version, bool]) -> None:
        """Record whether versions passed; a first verdict stays."""
        mine = self.known.setdefault((view, version), {})
        for one, passed in verdicts.items():
            mine.setdefault(one, passed)

    def of(self, view: str, version: str) -> pa.Table:
        rows = sorted(self.known.get((view, version), {}).items())
        return pa.table(
            {
                "partition": pa.array([partition for (partition, _), _ in rows], pa.string()),
                "commit_seq": pa.array([seq for (_, seq), _ in rows], pa.int64()),
                "passed": pa.array([passed for _, passed in rows], pa.bool_()),
            }
        )

    def excluded(self, view: str, version: str) -> frozenset[Version]:
        return frozenset(one for one, passed in self.known.get((view, version), {}).items() if not passed)


def verdict(view: str, version: str, partition: str, commit_seq: int, *, passed: bool = True) -> Verdict:
    """A verdict as it is recorded in Delta."""
    return Verdict(
        view=view, version=version, partition=partition, commit_seq=commit_seq, passed=passed, checked_at=START
    )
