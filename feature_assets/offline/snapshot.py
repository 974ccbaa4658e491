"""One version of a table as seen by one reader: its files, the partition versions in them, the rows that count.

Invariant: what is read for a given `upto` depends on nothing but the committed rows: not on how they lie in files, so a
compaction or a vacuum changes neither the rows nor their order, (partition, commit_seq, row).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from deltalake import DeltaTable
from pyarrow import fs

from feature_assets.errors import OfflineError
from feature_assets.offline import files
from feature_assets.offline.faults import damaged
from feature_assets.offline.files import Bounds, FileInfo
from feature_assets.offline.footer import FileVersion, local_versions_in, versions_in
from feature_assets.offline.lake import Lake
from feature_assets.offline.losses import lost_commits
from feature_assets.offline.selection import MARKER_ROW, Chosen, EventRange, Ints, bounds_of, expression, selected
from feature_assets.offline.versions import Version

VERSIONS_SCHEMA = pa.schema(
    [("partition", pa.string()), ("commit_seq", pa.int64()), ("source_seq", pa.int64()), ("rows", pa.int64())]
)
"""What `partition_versions` returns: every version, with how many rows it has; a marker counts as none."""

SEQUENCE = "feature_assets/commit_seq"
"""The application whose transaction version is the number of a table's last commit."""
_ROW_BITS = 32
_READ_ATTEMPTS = 3

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one version of a table.

    `schema`: what the reader expects, lifecycle columns included. `event_at`: the column of event time, if there is
    one. `head`: the number of the last commit, as the log's transaction says.
    """

    lake: Lake
    parts: tuple[str, ...]
    schema: pa.Schema
    event_at: str
    version: int
    head: int
    files: tuple[FileInfo, ...]

    def versions(self, upto: int | None = None) -> pa.Table:
        """Every version committed `<= upto`, as `VERSIONS_SCHEMA`, by (commit_seq, partition).

        From the log for files that hold one version, as commits of one day make them, and from the footers of the
        others; where neither says it, three columns are read.
        """
        told: list[FileVersion] = []
        unread: list[FileInfo] = []
        for file in self.files:
            if not file.may_hold("commit_seq", None, upto):
                continue
            versions = _logged_version(file) or self._versions_in(file)
            if versions is None:
                unread.append(file)
            else:
                told += [version for version in versions if upto is None or version.commit_seq <= upto]
        columns = [[getattr(version, name) for version in told] for name in VERSIONS_SCHEMA.names]
        listed = pa.table(columns, schema=VERSIONS_SCHEMA)
        found = pa.concat_tables([listed, self._scanned_versions(unread, upto)])
        self._require_every_commit(set(found.column("commit_seq").to_pylist()), upto)
        return (
            found.group_by(["partition", "commit_seq"])
            .aggregate([("source_seq", "max"), ("rows", "sum")])
            .rename_columns({"source_seq_max": "source_seq", "rows_sum": "rows"})
            .select(VERSIONS_SCHEMA.names)
            .cast(VERSIONS_SCHEMA)
            .sort_by([("commit_seq", "ascending"), ("partition", "ascending")])
        )

    def _versions_in(self, file: FileInfo) -> list[FileVersion] | None:
        if self.lake.is_remote:
            return versions_in(self.lake.filesystem(*self.parts), file.path)
        return local_versions_in(self.lake.path(*self.parts) / file.path)

    def _require_every_commit(self, seqs: set[int], upto: int | None) -> None:
        """Each commit wrote a row at least and none is ever taken away, so all numbers must be there."""
        last = self.head if upto is None else min(upto, self.head)
        if len(seqs) == last and (not seqs or (min(seqs), max(seqs)) == (1, last)):
            return
        known = seqs | lost_commits(self.lake, self.parts)
        name = "/".join(self.parts)
        absent = next((seq for seq in range(1, last + 1) if seq not in known), None)
        if absent is not None:
            what = f"its files have no row of commit {absent}, and its log has {self.head} commits"
            raise damaged(name, what)
        if max(seqs, default=0) > last:
            raise damaged(name, f"its files have rows of commit {max(seqs)}, and its log has {self.head} commits")

    def _scanned_versions(self, unread: Sequence[FileInfo], upto: int | None) -> pa.Table:
        names = [name for name in ("partition", "commit_seq", "source_seq", "row") if name in self.schema.names]
        matching = None if upto is None else pds.field("commit_seq") <= upto
        rows = files.scan(self.lake, self.parts, unread, self._dictionary_schema(), columns=names, matching=matching)
        if "source_seq" not in names:
            rows = rows.append_column("source_seq", pa.nulls(rows.num_rows, pa.int64()))
        counted = pc.cast(pc.greater_equal(rows.column("row"), 0), pa.int64())
        rows = rows.drop_columns(["row"]).append_column("rows", counted)
        rows = rows.set_column(0, "partition", rows.column("partition").cast(pa.string()))
        return rows.select(VERSIONS_SCHEMA.names).cast(VERSIONS_SCHEMA)

    def rows_of(
        self,
        wanted: Mapping[Version, int],
        *,
        columns: Sequence[str],
        buckets: Collection[int] | None = None,
        event_range: EventRange | None = None,
    ) -> pa.Table:
        """The rows of the wanted versions, by (partition, commit_seq, row), without markers.

        `wanted`: with how many rows each version has; fewer or more are damage, where all are asked for.
        """
        rows = self.numbered_rows(wanted, columns=columns, buckets=buckets, event_range=event_range)[0]
        expected = sum(wanted.values())
        if buckets is None and event_range is None and rows.num_rows != expected:
            what = f"its files hold {rows.num_rows} of the {expected} rows that were asked for"
            raise damaged("/".join(self.parts), what)
        return rows

    def numbered_rows(
        self,
        wanted: Collection[Version],
        *,
        columns: Sequence[str],
        buckets: Collection[int] | None = None,
        event_range: EventRange | None = None,
        ordered: bool = True,
    ) -> tuple[pa.Table, Ints]:
        """The same rows in the same order, and for each the place of its version in `sorted(wanted)`.

        `ordered=False`, for a table with buckets: in any order, which saves reading the rows' numbers.
        """
        marked = "row" if ordered else "bucket"
        rows, place = self._chosen_rows(wanted, columns, buckets, event_range, marked)
        if not ordered:
            return self._plain(rows, columns), place
        key = (place << _ROW_BITS) | rows.column("row").to_numpy().astype(np.int64)
        # Nothing is moved if they lie that way already, as committed files do.
        if len(key) > 1 and not bool((key[1:] > key[:-1]).all()):
            order = np.argsort(key, kind="stable")
            rows, place = rows.take(pa.array(order)), place[order]
        return self._plain(rows, columns), place

    def _chosen_rows(
        self,
        wanted: Collection[Version],
        columns: Sequence[str],
        buckets: Collection[int] | None,
        event_range: EventRange | None,
        marked: str,
    ) -> tuple[pa.Table, Ints]:
        """`marked`: the column by which a marker is known."""
        low, high = bounds_of(event_range)
        chosen = Chosen(wanted)
        kept = [file for file in self.files if chosen.may_be_in(file) and file.may_hold(self.event_at, low, high)]
        if buckets is not None:
            kept = [file for file in kept if any(file.may_hold("bucket", bucket, bucket) for bucket in buckets)]
        kept.sort(key=lambda file: (file.bounds.get("partition", ("", ""))[0], file.path))
        matching = expression(chosen, kept, buckets, self.event_at, event_range)
        numbers = None if matching is not None or "commit_seq" in columns else _numbers(kept)
        needed = ["partition", marked] if numbers is not None else ["partition", "commit_seq", marked]
        wanted_columns = list(dict.fromkeys((*columns, *needed)))
        schema = self._dictionary_schema()
        rows = files.scan(self.lake, self.parts, kept, schema, columns=wanted_columns, matching=matching)
        if numbers is not None and len(numbers) != rows.num_rows:
            what = f"its files hold {rows.num_rows} rows, and its log has {len(numbers)}"
            raise damaged("/".join(self.parts), what)
        commit_seq = rows.column("commit_seq").to_numpy() if numbers is None else numbers
        return selected(rows, commit_seq, chosen, marked)

    def _dictionary_schema(self) -> pa.Schema:
        """With `partition` dictionary-encoded: a few hundred texts instead of one per row."""
        at = self.schema.get_field_index("partition")
        return self.schema.set(at, pa.field("partition", pa.dictionary(pa.int32(), pa.string())))

    def _plain(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        rows = rows.select(list(columns))
        if "partition" in columns:
            at = rows.schema.get_field_index("partition")
            rows = rows.set_column(at, "partition", rows.column("partition").cast(pa.string()))
        return rows


def _numbers(kept: Sequence[FileInfo]) -> Ints | None:
    """The commit_seq of each row of whole files, if the log says it: each file was written by one commit."""
    numbers = [number for file in kept if isinstance(number := file.constant("commit_seq"), int)]
    if len(numbers) < len(kept):
        return None
    return np.repeat(np.array(numbers, np.int64), [file.rows for file in kept])


def _logged_version(file: FileInfo) -> list[FileVersion] | None:
    """The one version that the file holds, if the log alone tells it."""
    partition, commit_seq = file.constant("partition"), file.constant("commit_seq")
    source_seq = file.constant("source_seq")
    if not isinstance(partition, str) or not isinstance(commit_seq, int) or "row" not in file.bounds:
        return None
    if source_seq is None and "source_seq" in file.bounds:
        return None
    rows = 0 if file.constant("row") == MARKER_ROW else file.rows
    return [FileVersion(partition, commit_seq, source_seq if isinstance(source_seq, int) else None, rows)]


def snapshot_of(
    lake: Lake, parts: tuple[str, ...], schema: pa.Schema, handle: DeltaTable, *, event_at: str = ""
) -> Snapshot:
    """What the handle's version holds. Raises `TableDamagedError` if the files cannot hold all of its commits."""
    with lake.faults(*parts, reading=True):
        head = handle.transaction_version(SEQUENCE) or 0
        found = files.listed(handle, event_at)
    covered = _covered([file.bounds.get("commit_seq", (1, head)) for file in found])
    if covered != head:
        lost = [(number, number) for number in lost_commits(lake, parts)]
        covered = _covered([*(file.bounds.get("commit_seq", (1, head)) for file in found), *lost])
    if covered != head:
        what = f"its files hold commits up to {covered} without a gap, and its log has {head}"
        raise damaged("/".join(parts), what)
    return Snapshot(lake, parts, schema, event_at, handle.version(), head, found)


def _covered(bounds: Iterable[Bounds]) -> int:
    """Up to which number the bounds leave no gap."""
    covered = 0
    numbers = [(low, high) for low, high in bounds if isinstance(low, int) and isinstance(high, int)]
    for low, high in sorted(numbers):
        if low > covered + 1:
            break
        covered = max(covered, high)
    return covered


def read_newest(taken: Callable[[], Snapshot], read: Callable[[Snapshot], _T]) -> _T:
    """`read` on a fresh snapshot; on a fresher one if a vacuum took away a file that a rewrite had replaced.

    Raises `TableDamagedError` if the file that is gone belongs to the newest version.
    """
    gone: FileNotFoundError | None = None
    for _ in range(_READ_ATTEMPTS):
        snapshot = taken()
        try:
            return read(snapshot)
        except FileNotFoundError as error:
            gone = error
            require_replaced(snapshot, taken(), error)
    raise OfflineError("files of the table keep vanishing while it is read", hint="vacuum with a retention") from gone


def require_replaced(snapshot: Snapshot, newer: Snapshot, error: FileNotFoundError) -> None:
    """Raise `TableDamagedError` if a file of `snapshot` that is gone is one that a newer snapshot needs as well."""
    missing = _missing(snapshot)
    if missing is not None and missing.path in {file.path for file in newer.files}:
        raise files.damaged_file(snapshot.lake, snapshot.parts, missing.path, "is missing") from error


def _missing(snapshot: Snapshot) -> FileInfo | None:
    filesystem = snapshot.lake.filesystem(*snapshot.parts)
    infos = filesystem.get_file_info([file.path for file in snapshot.files])
    absent = (file for file, info in zip(snapshot.files, infos, strict=True) if info.type == fs.FileType.NotFound)
    return next(absent, None)
