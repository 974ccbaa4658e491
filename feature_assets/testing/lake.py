"""Versioned partitions and verdicts in memory, under the same rules as the tables in Delta.

Invariant: a commit is prepared against a number and appended only while that number is still the next, so that of two
writers, or of two deliveries of one commit, exactly one gets in.
It keeps no files and survives nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_assets.offline.versions import Version, is_committed, newest, next_seq

VERSIONS = pa.schema(
    [("partition", pa.string()), ("commit_seq", pa.int64()), ("source_seq", pa.int64()), ("rows", pa.int64())]
)
VERDICTS = pa.schema([("partition", pa.string()), ("commit_seq", pa.int64()), ("passed", pa.bool_())])
LIFECYCLE = pa.schema([("partition", pa.string()), ("commit_seq", pa.int64()), ("source_seq", pa.int64())])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit on its way: its number, and the changed partitions with the source position each was computed from."""

    seq: int
    partitions: Mapping[str, pa.Table]
    source_seq: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Kept:
    partition: str
    commit_seq: int
    source_seq: int
    rows: pa.Table


class MemoryTable:
    """A table of versioned partitions. `schema`: its columns, with `bucket` (int32), without those of `LIFECYCLE`."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.kept: list[_Kept] = []
        self._empty = pa.schema([*schema, *LIFECYCLE]).empty_table()

    # ---- writing
    def commit(
        self,
        partitions: Mapping[str, pa.Table],
        *,
        source_seq: Mapping[str, int] | None = None,
        force: frozenset[str] = frozenset(),
    ) -> int | None:
        """Commit the partitions that changed; returns the number of the commit, None if nothing had changed."""
        prepared = self.prepared(partitions, source_seq=source_seq or {}, force=force)
        if prepared is None:
            return None
        self.append(prepared)
        return prepared.seq

    def prepared(
        self, partitions: Mapping[str, pa.Table], *, source_seq: Mapping[str, int], force: frozenset[str] = frozenset()
    ) -> Prepared | None:
        """The commit of what differs from the newest versions (or is in `force`), as the next one from here."""
        current = {kept.partition: kept.rows for kept in self.kept}
        changed = {
            name: rows
            for name, rows in partitions.items()
            if name in force or name not in current or not current[name].select(self.schema.names).equals(rows)
        }
        return Prepared(next_seq(self.head()), changed, source_seq) if changed else None

    def append(self, prepared: Prepared) -> bool:
        """Let a prepared commit in, unless one with its number is there: it is outdated then, or was let in before."""
        if self.is_there(prepared.seq):
            return False
        for partition, rows in sorted(prepared.partitions.items()):
            source_seq = prepared.source_seq.get(partition, 0)
            columns = [
                pa.repeat(pa.scalar(value, field.type), len(rows))
                for value, field in zip((partition, prepared.seq, source_seq), LIFECYCLE, strict=True)
            ]
            table = pa.table([*rows.select(self.schema.names).columns, *columns], schema=self._empty.schema)
            self.kept.append(_Kept(partition, prepared.seq, source_seq, table))
        return True

    def is_there(self, seq: int) -> bool:
        """The check that makes an append idempotent."""
        return is_committed(seq, self.head())

    # ---- reading
    def head(self) -> int:
        """The last commit_seq; 0 if there is none."""
        return max((kept.commit_seq for kept in self.kept), default=0)

    def versions(self) -> list[Version]:
        """Every version, in the order of the commits."""
        return [(kept.partition, kept.commit_seq) for kept in self.kept]

    def partition_versions(self, upto: int | None = None) -> pa.Table:
        kept = [kept for kept in self.kept if upto is None or kept.commit_seq <= upto]
        rows = [(each.partition, each.commit_seq, each.source_seq, len(each.rows)) for each in kept]
        columns = zip(*rows, strict=True) if rows else ([], [], [], [])
        return pa.table([list(column) for column in columns], schema=VERSIONS)

    def read(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
        excluded: frozenset[Version] = frozenset(),
    ) -> pa.Table:
        counts = newest(self.versions(), upto=upto, excluded=excluded)
        chosen = [kept for kept in self.kept if counts.get(kept.partition) == kept.commit_seq]
        return self._rows(chosen, partitions, buckets, columns)

    def read_versions(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
    ) -> pa.Table:
        chosen = [kept for kept in self.kept if upto is None or kept.commit_seq <= upto]
        return self._rows(chosen, partitions, buckets, columns)

    def _rows(
        self,
        chosen: list[_Kept],
        partitions: Collection[str] | None,
        buckets: Collection[int] | None,
        columns: tuple[str, ...] | None,
    ) -> pa.Table:
        tables = [kept.rows for kept in chosen if partitions is None or kept.partition in partitions]
        rows = pa.concat_tables(tables) if tables else self._empty
        if buckets is not None:
            rows = rows.filter(np.isin(np.asarray(rows["bucket"]), list(buckets)))
        return rows if columns is None else rows.select(columns)


class MemoryVerdicts:
    """Verdicts of one view version; the first for a version of a partition counts."""

    def __init__(self) -> None:
        self.passed: dict[Version, bool] = {}

    def record(self, version: Version, *, passed: bool) -> None:
        """Record a verdict, unless there is one."""
        self.passed.setdefault(version, passed)

    def of(self, view: str, version: str) -> pa.Table:
        del view, version
        rows = [(partition, seq, passed) for (partition, seq), passed in self.passed.items()]
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        return pa.table([list(column) for column in columns], schema=VERDICTS)
