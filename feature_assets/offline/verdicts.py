"""Verdicts: whether a committed version of a partition passed its expectations. The table `verdicts/`.

Invariant: a verdict is about exactly one (view, version, partition, commit_seq) and final; of two, the first recorded
one counts. So what a commit's verdict is never changes, and whatever is published re-reads it here. It does not
evaluate anything.
"""

from collections.abc import Sequence
from datetime import datetime
from threading import Lock

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.offline.append_table import AppendTable, Seen
from feature_assets.offline.lake import Lake, PerLake
from feature_assets.offline.stored import TIME
from feature_assets.offline.versions import Version, settled

SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("version", pa.string()),
        ("partition", pa.string()),
        ("partition_seq", pa.int64()),
        ("passed", pa.bool_()),
        ("blocking_failures", pa.int64()),
        ("warnings", pa.int64()),
        ("error", pa.string()),
        ("suite", pa.string()),
        ("results", pa.string()),
        ("checked_at", TIME),
    ]
)
"""As stored: `partition_seq` is the verdict's `commit_seq`; the table's own `commit_seq` numbers its appends."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the expectations said about one version of one partition.

    `suite`: the digest of the expectations. `results`: JSON, one entry per expectation. `error`: why they could not be
    evaluated; then `passed` is false. It is final: a later one for the same version is ignored.
    """

    view: str
    version: str
    partition: str
    commit_seq: int
    passed: bool
    blocking_failures: int = 0
    warnings: int = 0
    error: str = ""
    suite: str = ""
    results: str = "[]"
    checked_at: datetime


class Verdicts:
    """The verdicts of all views. Keeps what it has read: they are final and only appended, so each is read once."""

    def __init__(self, lake: Lake) -> None:
        self._table = AppendTable(lake, ("verdicts",), SCHEMA)
        self._known: pa.Table | None = None
        self._seen = Seen()
        self._reading = Lock()

    def record(self, verdicts: Sequence[Verdict], *, run_id: str = "") -> int:
        """Record, in one commit, those that are about versions without a verdict; returns how many that were."""
        known: dict[tuple[str, str], frozenset[Version]] = {}
        fresh: dict[tuple[str, str, Version], Verdict] = {}
        for verdict in verdicts:
            of = (verdict.view, verdict.version)
            if of not in known:
                known[of] = judged(self.of(*of))
            version = (verdict.partition, verdict.commit_seq)
            if version not in known[of]:
                fresh.setdefault((*of, version), verdict)
        columns = {
            field.name: [getattr(verdict, _attribute(field.name)) for verdict in fresh.values()] for field in SCHEMA
        }
        self._table.append(pa.table(columns, schema=SCHEMA), run_id=run_id)
        return len(fresh)

    def of(self, view: str, version: str) -> pa.Table:
        """The verdicts that count of a view version: the fields of `Verdict`, by (commit_seq, partition)."""
        known = self._refreshed()
        mine = pc.and_(pc.equal(known["view"], view), pc.equal(known["version"], version))
        rows = known.filter(mine).select(SCHEMA.names)
        rows = rows.rename_columns([_attribute(name) for name in SCHEMA.names])
        numbered = rows.append_column("_at", pa.array(range(rows.num_rows), pa.int64()))
        first = numbered.group_by(["partition", "commit_seq"]).aggregate([("_at", "min")]).column("_at_min")
        return rows.take(first).sort_by([("commit_seq", "ascending"), ("partition", "ascending")])

    def _refreshed(self) -> pa.Table:
        with self._reading:
            newer = self._table.newer(self._seen)
            if self._known is None or not newer.continues:
                self._known = newer.rows
            elif newer.rows.num_rows:
                self._known = pa.concat_tables([self._known, newer.rows])
            self._seen = newer.seen
            return self._known

    def pending(self, view: str, version: str, partition_versions: pa.Table) -> pa.Table:
        """The rows of `partition_versions` that have no verdict."""
        known = judged(self.of(view, version))
        unknown = [pair not in known for pair in _pairs(partition_versions)]
        return partition_versions.filter(pa.array(unknown, pa.bool_()))

    def excluded(self, view: str, version: str) -> frozenset[Version]:
        """The versions that failed."""
        rows = self.of(view, version)
        return frozenset(_pairs(rows.filter(pc.invert(rows.column("passed")))))


_SHARED = PerLake(Verdicts)


def verdicts_of(lake: Lake) -> Verdicts:
    """The verdicts of a lake: the same object for the whole process, so that it reads each verdict once."""
    return _SHARED.of(lake)


def judged(verdicts: pa.Table) -> frozenset[Version]:
    """The versions that `verdicts` (as `Verdicts.of` gives them) are about."""
    return frozenset(_pairs(verdicts))


def settled_head(partition_versions: pa.Table, verdicts: pa.Table) -> int:
    """The greatest n such that every version committed at or below n has a verdict; 0 if there is none.

    `partition_versions` as of `PartitionedTable.partition_versions()`, `verdicts` as of `Verdicts.of`. What counts at n
    is then a pure function of n: no verdict that is still to come can change it.
    """
    return settled(_pairs(partition_versions), judged(verdicts))


def _pairs(rows: pa.Table) -> list[Version]:
    return list(zip(rows.column("partition").to_pylist(), rows.column("commit_seq").to_pylist(), strict=True))


def _attribute(column: str) -> str:
    return "commit_seq" if column == "partition_seq" else column
