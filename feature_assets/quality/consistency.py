"""Consistency of the online copy with the offline truth: what each push's read-back found, kept as evidence.

Invariant: evidence is about one (view version, target) at one commit, and a read-back that looked at nothing is no
evidence of anything: it has failed. This is the first form; what is served is compared as it is served later on.
"""

from datetime import datetime
from typing import Protocol

import msgspec
import pyarrow as pa

from feature_assets.clock import Clock
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.lake import Lake

SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("version", pa.string()),
        ("target", pa.string()),
        ("pushed_seq", pa.int64()),
        ("sampled", pa.int64()),
        ("mismatches", pa.int64()),
        ("missing", pa.int64()),
        ("checked_at", pa.timestamp("us", tz="UTC")),
    ]
)


class Sampled(Protocol):
    """What a read-back found: entities looked at, those that differed, those that were not there."""

    @property
    def sampled(self) -> int: ...

    @property
    def mismatches(self) -> int: ...

    @property
    def missing(self) -> int: ...


class ConsistencyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What reading back a push of a view version at `pushed_seq` to `target` found."""

    view: str
    version: str
    target: str
    pushed_seq: int
    sampled: int
    mismatches: int
    missing: int
    checked_at: datetime

    @property
    def passed(self) -> bool:
        """Whether something was looked at and all of it was as it should be."""
        return self.sampled > 0 and self.mismatches == 0 and self.missing == 0


def consistency_of(
    view: str, version: str, target: str, pushed_seq: int, found: Sampled, clock: Clock
) -> ConsistencyRecord:
    """The evidence that a read-back is."""
    return ConsistencyRecord(
        view=view,
        version=version,
        target=target,
        pushed_seq=pushed_seq,
        sampled=found.sampled,
        mismatches=found.mismatches,
        missing=found.missing,
        checked_at=clock.now(),
    )


class ConsistencyHistory:
    """The evidence of all views: the table `consistency/`."""

    def __init__(self, lake: Lake) -> None:
        self._table = AppendTable(lake, ("consistency",), SCHEMA)

    def append(self, record: ConsistencyRecord, *, run_id: str = "") -> int:
        """Keep a piece of evidence; returns the number of its commit."""
        return self._table.append(pa.Table.from_pylist([msgspec.structs.asdict(record)], schema=SCHEMA), run_id=run_id)

    def latest(self, view: str, version: str, target: str) -> ConsistencyRecord | None:
        """The newest evidence on a view version and target; None if there is none."""
        found = self._table.read(equal={"view": view, "version": version, "target": target})
        return msgspec.convert(found.to_pylist()[-1], ConsistencyRecord) if found.num_rows else None
