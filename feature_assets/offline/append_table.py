"""An append-only Delta table whose commits are numbered: the ledger, verdicts, drift, decisions.

Invariant: `commit_seq` is dense from 1, rows of one append stay together and in order, and a read up to a number is the
same for ever, whatever was appended or compacted since. Concurrent appenders are safe: each append is there once or has
raised. It does not deduplicate: an append that raised may still be there, so what it says must be harmless if said
twice. A large one lies in months: a compaction then touches only those that were appended to.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from deltalake import DeltaTable
from deltalake.schema import Field

from feature_assets.errors import DefinitionError
from feature_assets.offline import commit as commits
from feature_assets.offline import files, integrity
from feature_assets.offline.files import DataFile
from feature_assets.offline.lake import Lake
from feature_assets.offline.snapshot import SEQUENCE, Snapshot, read_newest, snapshot_of
from feature_assets.offline.stored import added_columns, as_stored, check_types, stored_schema, with_nulls_as_in

_NUMBERED = (pa.field("commit_seq", pa.int64()), pa.field("row", pa.int32()))
_MONTH = pa.field("month", pa.string())
_ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader has seen of a table: the data files, and the newest commit as it was before they were listed."""

    files: frozenset[str] = frozenset()
    mark: integrity.Mark | None = None


@dataclass(frozen=True, slots=True)
class Newer:
    """Rows in order, with their `commit_seq`, and what is `seen` by now.

    `continues`: the rows come after those that were known; if not, they are all that there is.
    """

    rows: pa.Table
    seen: Seen
    continues: bool


class AppendTable:
    """Rows in the order of their commits, each with its `commit_seq`. Holds no state."""

    def __init__(
        self, lake: Lake, path: tuple[str, ...], schema: pa.Schema, *, monthly: str = "", partial: bool = False
    ) -> None:
        """`schema` without `commit_seq`, `row` and `month`; added nullable columns are merged, other changes refused.

        `monthly`: the column of times (without nulls) by whose month rows lie in folders; empty: they lie in none.
        `partial`: the table may have columns that `schema` lacks: what is appended is null in them.
        """
        self.lake = lake
        self.path = path
        self.name = "/".join(path)
        self.monthly = monthly
        self._partial = partial
        own = (*_NUMBERED, _MONTH) if monthly else _NUMBERED
        taken = [field.name for field in own if field.name in schema.names]
        if taken:
            raise DefinitionError(f"{self.name}: {taken[0]!r} is a name of the table's own", hint="rename the column")
        self.schema = schema
        self.stored = pa.schema([*stored_schema(schema, self.name), *own])

    @property
    def in_files(self) -> pa.Schema:
        """The columns that are in the table's files: the month of its rows is in the name of their folder."""
        return pa.schema([field for field in self.stored if not self.monthly or field.name != _MONTH.name])

    def append(self, rows: pa.Table, *, run_id: str = "") -> int:
        """Append `rows` in one commit, durable; returns its commit_seq. No rows: nothing is written, returns the head.

        Raises `SchemaError`, `CommitConflictError`, `StorageFullError`, `OfflineError`.
        """
        if rows.num_rows == 0:
            return self.head()
        plain = as_stored(rows, with_nulls_as_in(self.schema, self.stored), self.name)
        position = pa.array(np.arange(rows.num_rows, dtype=np.int32))

        def prepared(_handle: DeltaTable, seq: int) -> list[DataFile]:
            numbers = pa.repeat(pa.scalar(seq, pa.int64()), rows.num_rows)
            table = pa.table([*plain.columns, numbers, position], schema=self.in_files)
            return [
                files.write_file(self.lake, self.path, [part], month=month, event_at=self.monthly)
                for month, part in _by_month(table, self.monthly)
            ]

        done = commits.committed_next(self.lake, self.path, self._writable, prepared, run_id=run_id)
        return self.head() if done.seq is None else done.seq

    def read(
        self,
        *,
        after: int = 0,
        upto: int | None = None,
        equal: Mapping[str, str | int] | None = None,
        matching: pds.Expression | None = None,
        columns: tuple[str, ...] | None = None,
    ) -> pa.Table:
        """Rows of commits `after < commit_seq <= upto` whose columns equal `equal` and are `matching`, in order.

        Default columns: the schema's, then `commit_seq`. Empty if there is no table.
        """
        names = columns if columns is not None else (*self.schema.names, "commit_seq")
        form = pa.schema([self._field(name) for name in names])
        if not self.lake.exists(*self.path):
            return form.empty_table()

        def read(snapshot: Snapshot) -> pa.Table:
            low = after + 1
            wanted = [file for file in snapshot.files if file.may_hold("commit_seq", low, upto)]
            order = [name for name in ("commit_seq", "row") if name not in names]
            chosen = _expression(low, upto, equal or {})
            chosen = chosen if matching is None else chosen & matching
            rows = files.scan(self.lake, self.path, wanted, self.stored, columns=[*names, *order], matching=chosen)
            return _in_order(rows).select(list(names))

        return read_newest(self.snapshot, read).cast(form)

    def newer(self, seen: "Seen") -> "Newer":
        """What the table has beyond what an earlier call has `seen`; all of it if a file that it saw is gone.

        Files never change and their names are never used again, so rows that were read from files which are all still
        there are what they were, whichever process appended meanwhile. One is gone when the table was compacted or
        restored, when rows were given up, or when this is another table in the same place.
        """
        names = (*self.schema.names, "commit_seq")
        form = pa.schema([self._field(name) for name in names])
        # Before the table is looked at: a commit in between is then seen twice, and not never.
        mark = None if self.lake.is_remote else integrity.mark(self.lake.path(*self.path))
        if mark is not None and mark == seen.mark:
            return Newer(form.empty_table(), seen, continues=True)
        if not self.lake.exists(*self.path):
            return Newer(form.empty_table(), Seen(), continues=not seen.files)

        def read(snapshot: Snapshot) -> Newer:
            now = frozenset(file.path for file in snapshot.files)
            continues = seen.files <= now
            unread = [file for file in snapshot.files if not continues or file.path not in seen.files]
            rows = files.scan(self.lake, self.path, unread, self.stored, columns=[*names, "row"])
            return Newer(_in_order(rows).select(list(names)).cast(form), Seen(now, mark), continues=continues)

        return read_newest(self.snapshot, read)

    def head(self) -> int:
        """The last commit_seq; 0 if there is none."""
        if not self.lake.exists(*self.path):
            return 0
        return self.lake.open(*self.path).transaction_version(SEQUENCE) or 0

    def snapshot(self) -> Snapshot:
        """The newest version of the table. Raises `OfflineError` if there is no table."""
        return self.opened()[1]

    def opened(self) -> tuple[DeltaTable, Snapshot]:
        """A handle on the newest version, and what it holds; for what commits on exactly what it has read."""
        handle = self.lake.open(*self.path)
        check_types(pa.schema(handle.schema()), self.stored, self.name)
        return handle, snapshot_of(self.lake, self.path, self.stored, handle, event_at=self.monthly)

    def _field(self, name: str) -> pa.Field:
        at = self.schema.get_field_index(name)
        return self.stored.field(name) if at < 0 else self.schema.field(at)

    def _writable(self) -> DeltaTable:
        handle = self.lake.create(self.stored, *self.path, partition_by=_MONTH.name if self.monthly else None)
        return evolved(self.lake, self.path, handle, self.stored, self.schema, partial=self._partial)


def evolved(
    lake: Lake,
    path: tuple[str, ...],
    handle: DeltaTable,
    stored: pa.Schema,
    declared: pa.Schema,
    *,
    partial: bool = False,
) -> DeltaTable:
    """A handle on the table with the columns of `stored` that it lacked. Raises `SchemaError` for any other change.

    `partial`: that the table has more columns is none.
    """
    required = [field.name for field in declared if not field.nullable]
    there = pa.schema(handle.schema())
    if partial:
        there = pa.schema([field for field in there if field.name in stored.names])
    added = added_columns(there, stored, required, "/".join(path))
    if not added:
        return handle
    before = handle.version()
    with lake.faults(*path):
        handle.alter.add_columns([Field.from_arrow(field) for field in added])
    lake.sync_log(*path, after=before - 1)
    return lake.open(*path)


def _by_month(rows: pa.Table, monthly: str) -> list[tuple[str | None, pa.Table]]:
    """The rows of each month, in order; all of them, if the table has no months."""
    if not monthly:
        return [(None, rows)]
    months = pc.strftime(rows.column(monthly), "%Y-%m")
    return [(month, rows.filter(pc.equal(months, month))) for month in sorted(months.unique().to_pylist())]


def _expression(low: int, upto: int | None, equal: Mapping[str, str | int]) -> pds.Expression:
    whole = pds.field("commit_seq") >= low
    if upto is not None:
        whole &= pds.field("commit_seq") <= upto
    for name, value in equal.items():
        whole &= pds.field(name) == value
    return whole


def _in_order(rows: pa.Table) -> pa.Table:
    key = (rows.column("commit_seq").to_numpy() << _ROW_BITS) | rows.column("row").to_numpy().astype(np.int64)
    if len(key) > 1 and not bool((key[1:] > key[:-1]).all()):
        return rows.take(pa.array(np.argsort(key, kind="stable")))
    return rows
