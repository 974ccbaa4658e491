"""Versioned partitions in Delta.

A partition is a UTC day. Materializing it again writes a new version (a new commit_seq) if its content changed, and
nothing if it did not; a version supersedes its predecessor whole. An empty version is one marker row (`row` -1, all
other columns of the user null, `bucket` -1), so that it is as atomic as any other.

Invariant: rows are only ever added. What is read `upto` n is the same for ever, in the same order, whatever was
appended, compacted or vacuumed since. It knows neither verdicts nor the ledger: they are handed in.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, Transaction

from feature_assets.definition.naming import EVENT_AT, LIFECYCLE
from feature_assets.errors import DefinitionError, SchemaError
from feature_assets.offline import commit as commits
from feature_assets.offline import files, source_positions
from feature_assets.offline.append_table import evolved
from feature_assets.offline.basis import Basis
from feature_assets.offline.content import same_content
from feature_assets.offline.files import DataFile
from feature_assets.offline.lake import Lake
from feature_assets.offline.selection import MARKER_ROW, EventRange, Ints
from feature_assets.offline.snapshot import (
    SEQUENCE,
    VERSIONS_SCHEMA,
    Snapshot,
    read_newest,
    require_replaced,
    snapshot_of,
)
from feature_assets.offline.stored import TIME, as_stored, check_types, stored_schema, with_nulls_as_in
from feature_assets.offline.versions import Version, newest

_EVENTS = (("partition", pa.string()), ("month", pa.string()), ("commit_seq", pa.int64()), ("row", pa.int32()))
_FEATURES = (
    *_EVENTS,
    ("source_seq", pa.int64()),
    ("bucket", pa.int32()),
    ("available_at", TIME),
    ("superseded_at", TIME),
)
_INTERNAL = ("month", "row")
_MARKER_BUCKET = -1


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit did.

    `seq`: its number, None if nothing had changed. `written`, `unchanged`: partitions, sorted. `rows`: how many rows
    were written, markers not counted. `delta_version`: the version of the table that has them.
    """

    seq: int | None
    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    rows: int
    delta_version: int


class PartitionedTable:
    """A table of versioned partitions. Holds no state: every call sees the newest version of the table."""

    def __init__(
        self,
        lake: Lake,
        path: tuple[str, ...],
        schema: pa.Schema,
        *,
        features: bool,
        order: tuple[str, ...],
        event_at: str = EVENT_AT,
        counted_in: str = "",
    ) -> None:
        """`schema`: the user's columns. `features`: whether there are `bucket` and the columns of a feature's life.

        `order`: the columns by which the rows of a version are put in order, so that the same rows in another order are
        the same content; ties are broken by the remaining columns. `event_at`: the column of event time.
        `counted_in`: what its source positions are positions in; the table keeps it.
        """
        self.lake = lake
        self.path = path
        self.name = "/".join(path)
        taken = sorted(LIFECYCLE.intersection(schema.names))
        if taken:
            raise DefinitionError(f"{self.name}: {taken[0]!r} is a name of the table's own", hint="rename the column")
        self.schema = schema
        self.has_features = features
        self.event_at = event_at
        self._counted_in = counted_in
        added = [pa.field(*field) for field in (_FEATURES if features else _EVENTS)]
        self.stored = pa.schema([*stored_schema(schema, self.name), *added])
        sortable = [name for name in schema.names if not pa.types.is_nested(self.stored.field(name).type)]
        first = (*(("bucket",) if features else ()), *order)
        self._order = [(name, "ascending") for name in dict.fromkeys((*first, *sortable))]

    @property
    def _content(self) -> tuple[str, ...]:
        """The columns by which a version equals another, in order; what `commit` is given."""
        return (*self.schema.names, "bucket") if self.has_features else tuple(self.schema.names)

    # ---- writing
    def commit(
        self,
        partitions: Mapping[str, pa.Table],
        *,
        source_seq: Mapping[str, int] | None = None,
        run_id: str = "",
        force: frozenset[str] = frozenset(),
        basis: Basis | None = None,
    ) -> Commit:
        """One Delta commit for all changed partitions, all under one number; durable when this returns.

        A partition whose content equals its newest version's is left alone, unless it is in `force`. A feature table's
        partitions carry the column `bucket` (int32) beside the user's. `basis`: what they were made from, asked on the
        handle that is committed on. Raises `SchemaError` for a change that is no evolution, `OutdatedError` if the
        basis is, `CommitConflictError`, `StorageFullError`, `OfflineError`: then nothing of it is visible.
        """
        ready = {name: self._in_order(name, table) for name, table in sorted(partitions.items())}
        changed: dict[str, pa.Table] = {}

        def prepared(handle: DeltaTable, seq: int) -> list[DataFile]:
            changed.clear()
            counts, different = self._changed(handle, ready, force)
            changed.update(different)
            if basis is not None:
                basis.require_current(handle, counts, changed)
            return self._write(changed, seq, source_seq or {})

        def noted(handle: DeltaTable) -> list[Transaction]:
            return [] if basis is None or not ready else basis.notes(handle)

        done = commits.committed_next(self.lake, self.path, self._writable, prepared, noted=noted, run_id=run_id)
        written = tuple(changed)
        rows = sum(table.num_rows for table in changed.values())
        return Commit(done.seq, written, tuple(name for name in ready if name not in changed), rows, done.version)

    def _in_order(self, partition: str, table: pa.Table) -> pa.Table:
        wanted = with_nulls_as_in(self.schema, self.stored)
        if self.has_features:
            wanted = wanted.append(self.stored.field("bucket").with_nullable(nullable=False))
        stored = as_stored(table, wanted, f"{self.name}, partition {partition}")
        return stored.sort_by(self._order) if stored.num_rows else stored

    def _writable(self) -> DeltaTable:
        """A handle on the table, made if absent, with the columns that this definition adds."""
        said = source_positions.properties(self._counted_in)
        handle = self.lake.create(self.stored, *self.path, partition_by="month", properties=said)
        handle = evolved(self.lake, self.path, handle, self.stored, self.schema)
        return source_positions.kept(self.lake, self.path, handle, self._counted_in)

    def _changed(
        self, handle: DeltaTable, ready: Mapping[str, pa.Table], force: frozenset[str]
    ) -> tuple[dict[str, int], dict[str, pa.Table]]:
        """The version of each partition that counts, and what is to be written."""
        snapshot = self._snapshot(handle)
        rows = _rows(snapshot.versions())
        counts = newest(rows)
        compared = {name: counts[name] for name in ready if name in counts and name not in force}
        wanted = {version: rows[version] for version in compared.items()}
        try:
            before = snapshot.rows_of(wanted, columns=[*self._content, "partition"])
        except FileNotFoundError as error:
            require_replaced(snapshot, self.snapshot(), error)
            raise
        found = _slices(before)
        nothing = before.slice(0, 0)
        changed = {
            name: table
            for name, table in ready.items()
            if name not in compared or not same_content(found.get(name, nothing).drop_columns(["partition"]), table)
        }
        return counts, changed

    def _write(self, changed: Mapping[str, pa.Table], seq: int, source_seq: Mapping[str, int]) -> list[DataFile]:
        by_month: dict[str, list[pa.Table]] = {}
        for name, table in changed.items():
            by_month.setdefault(name[:7], []).append(self._with_lifecycle(name, table, seq, source_seq.get(name)))
        written: list[DataFile] = []
        try:
            for month, tables in by_month.items():
                written.append(files.write_file(self.lake, self.path, tables, month=month, event_at=self.event_at))
        except BaseException:
            files.discard(self.lake, self.path, written)
            raise
        return written

    def _with_lifecycle(self, partition: str, table: pa.Table, seq: int, source_seq: int | None) -> pa.Table:
        empty = table.num_rows == 0
        rows = 1 if empty else table.num_rows
        columns = {
            **{field.name: pa.nulls(1, field.type) if empty else table.column(field.name) for field in table.schema},
            "partition": _repeated(partition, rows, pa.string()),
            "commit_seq": _repeated(seq, rows, pa.int64()),
            "row": pa.array([MARKER_ROW] if empty else np.arange(rows, dtype=np.int32), pa.int32()),
        }
        if self.has_features:
            columns["source_seq"] = _repeated(source_seq, rows, pa.int64())
            columns["available_at"] = columns["superseded_at"] = pa.nulls(rows, TIME)
            if empty:
                columns["bucket"] = pa.array([_MARKER_BUCKET], pa.int32())
        # The month stands in the file's path.
        fields = [field for field in self.stored if field.name != "month"]
        return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))

    # ---- reading
    def head(self) -> int:
        """The last commit_seq; 0 if there is none."""
        if not self.lake.exists(*self.path):
            return 0
        return self.lake.open(*self.path).transaction_version(SEQUENCE) or 0

    def counted_in(self) -> str | None:
        """What the source positions of its versions are positions in; None if the table does not say."""
        if not self.lake.exists(*self.path):
            return None
        return source_positions.said_by(self.lake.open(*self.path))

    def partition_versions(self, upto: int | None = None) -> pa.Table:
        """Every version ever committed `<= upto`, as `VERSIONS_SCHEMA`, by (commit_seq, partition); `rows` 0: empty."""
        if not self.lake.exists(*self.path):
            return VERSIONS_SCHEMA.empty_table()
        return read_newest(self.snapshot, lambda snapshot: snapshot.versions(upto))

    def read(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
        excluded: frozenset[tuple[str, int]] = frozenset(),
        event_range: EventRange | None = None,
    ) -> pa.Table:
        """The newest version per partition `<= upto`, without `excluded` versions and markers, by (partition, row).

        `event_range`: both bounds inclusive. Default columns: the user's, then `partition`, `commit_seq` and, of a
        feature table, `source_seq`, `bucket`, `available_at`, `superseded_at`. Any column of the table can be asked
        for.
        """
        wanted = None if partitions is None else frozenset(partitions)

        def read(snapshot: Snapshot) -> pa.Table:
            rows = _rows(snapshot.versions(upto))
            counts = newest(rows, upto=upto, excluded=excluded).items()
            chosen = {version: rows[version] for version in counts if wanted is None or version[0] in wanted}
            return snapshot.rows_of(chosen, columns=self._columns(columns), buckets=buckets, event_range=event_range)

        return self._read(read, columns, buckets)

    def read_versions(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
        event_range: EventRange | None = None,
    ) -> pa.Table:
        """The rows of all versions `<= upto`, without markers, by (partition, commit_seq, row)."""
        wanted = None if partitions is None else frozenset(partitions)

        def read(snapshot: Snapshot) -> pa.Table:
            rows = _rows(snapshot.versions(upto)).items()
            chosen = {version: count for version, count in rows if wanted is None or version[0] in wanted}
            return snapshot.rows_of(chosen, columns=self._columns(columns), buckets=buckets, event_range=event_range)

        return self._read(read, columns, buckets)

    def read_numbered(
        self,
        versions: Collection[tuple[str, int]],
        *,
        columns: tuple[str, ...],
        buckets: Collection[int] | None = None,
        event_range: EventRange | None = None,
        ordered: bool = True,
    ) -> tuple[pa.Table, Ints]:
        """The rows of those versions, ordered as in `read_versions`, and each one's place in `sorted(versions)`.

        `ordered=False`, of a feature table: in any order, which is faster.
        """

        def read(snapshot: Snapshot) -> tuple[pa.Table, Ints]:
            return snapshot.numbered_rows(
                versions, columns=columns, buckets=buckets, event_range=event_range, ordered=ordered
            )

        form = self._form(columns, buckets)
        if not self._has_rows(buckets):
            return form.empty_table(), np.empty(0, np.int64)
        rows, places = read_newest(self.snapshot, read)
        return rows.cast(form), places

    def snapshot(self) -> Snapshot:
        """The newest version of the table, for a reader of its own. Raises `OfflineError` if there is no table."""
        return self.opened()[1]

    def opened(self) -> tuple[DeltaTable, Snapshot]:
        """A handle on the newest version, and what it holds; for what commits on exactly what it has read."""
        handle = self.lake.open(*self.path)
        check_types(pa.schema(handle.schema()), self.stored, self.name)
        return handle, self._snapshot(handle)

    def _snapshot(self, handle: DeltaTable) -> Snapshot:
        return snapshot_of(self.lake, self.path, self.stored, handle, event_at=self.event_at)

    def _columns(self, columns: tuple[str, ...] | None) -> tuple[str, ...]:
        return columns if columns is not None else tuple(name for name in self.stored.names if name not in _INTERNAL)

    def _read(
        self,
        read: Callable[[Snapshot], pa.Table],
        columns: tuple[str, ...] | None,
        buckets: Collection[int] | None,
    ) -> pa.Table:
        form = self._form(self._columns(columns), buckets)
        return read_newest(self.snapshot, read).cast(form) if self._has_rows(buckets) else form.empty_table()

    def _has_rows(self, buckets: Collection[int] | None) -> bool:
        return (buckets is None or len(buckets) > 0) and self.lake.exists(*self.path)

    def _form(self, columns: tuple[str, ...], buckets: Collection[int] | None) -> pa.Schema:
        """The schema of what is read. Raises `SchemaError` for a column that the table does not have."""
        asked = (*columns, *(("bucket",) if buckets is not None else ()))
        unknown = [name for name in asked if name not in self.stored.names or name == "month"]
        if unknown:
            known = ", ".join(name for name in self.stored.names if name != "month")
            raise SchemaError(f"{self.name} has no column {unknown[0]!r}", hint=f"columns: {known}")
        return pa.schema([self._field(name) for name in columns])

    def _field(self, name: str) -> pa.Field:
        """As the caller knows it: the user's columns as declared, the table's own as stored."""
        at = self.schema.get_field_index(name)
        return self.stored.field(name) if at < 0 else self.schema.field(at)


def _rows(versions: pa.Table) -> dict[Version, int]:
    """How many rows each version has."""
    pairs = zip(versions.column("partition").to_pylist(), versions.column("commit_seq").to_pylist(), strict=True)
    return dict(zip(pairs, versions.column("rows").to_pylist(), strict=True))


def _repeated(value: object, times: int, dtype: pa.DataType) -> pa.Array:
    return pa.nulls(times, dtype) if value is None else pa.repeat(pa.scalar(value, dtype), times)


def _slices(rows: pa.Table) -> dict[str, pa.Table]:
    """Rows that lie by partition, cut at its changes."""
    whole = rows.column("partition").combine_chunks().dictionary_encode()
    codes = whole.indices.to_numpy()
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else [0]
    names = whole.dictionary.to_pylist()
    return {names[codes[a]]: rows.slice(a, b - a) for a, b in itertools.pairwise(cuts)}
