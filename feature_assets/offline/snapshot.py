"""One version of a table as seen by one reader: its files, the partition versions in them, the rows that count.

Invariant: what is read for a given `upto` depends on nothing but the committed rows: not on how they lie in files, so a
compaction or a vacuum changes neither the rows nor their order, (partition, commit_seq, row).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from deltalake import DeltaTable
from pyarrow import fs

from feature_assets.clock import to_us
from feature_assets.errors import OfflineError
from feature_assets.offline import files
from feature_assets.offline.files import FileInfo
from feature_assets.offline.footer import FileVersion, versions_in
from feature_assets.offline.lake import Lake
from feature_assets.offline.versions import Version

VERSIONS_SCHEMA = pa.schema(
    [("partition", pa.string()), ("commit_seq", pa.int64()), ("source_seq", pa.int64()), ("rows", pa.int64())]
)
"""What `partition_versions` returns: every version, with how many rows it has; a marker counts as none."""

Ints = npt.NDArray[np.int64]
EventRange = tuple[datetime | None, datetime | None]
MARKER_ROW = -1
"""The `row` of the one row that stands for an empty version."""
_ROW_BITS = 32
_READ_ATTEMPTS = 3
_LISTED_PARTITIONS = 64
"""Up to so many partitions are looked for by name; more, by their range."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one version of a table.

    `schema`: what the reader expects, lifecycle columns included. `event_at`: the column of event time, if there is
    one.
    """

    lake: Lake
    parts: tuple[str, ...]
    schema: pa.Schema
    event_at: str
    version: int
    files: tuple[FileInfo, ...]

    def versions(self, upto: int | None = None) -> pa.Table:
        """Every version committed `<= upto`, as `VERSIONS_SCHEMA`, by (commit_seq, partition).

        From the log for files that hold one version, as commits of one day make them, and from the footers of the
        others; where neither says it, three columns are read.
        """
        told: list[FileVersion] = []
        unread: list[FileInfo] = []
        filesystem = self.lake.filesystem(*self.parts)
        for file in self.files:
            if not file.may_hold("commit_seq", None, upto):
                continue
            versions = _logged_version(file) or versions_in(filesystem, file.path)
            if versions is None:
                unread.append(file)
            else:
                told += [version for version in versions if upto is None or version.commit_seq <= upto]
        columns = [[getattr(version, name) for version in told] for name in VERSIONS_SCHEMA.names]
        listed = pa.table(columns, schema=VERSIONS_SCHEMA)
        found = pa.concat_tables([listed, self._scanned_versions(unread, upto)])
        return (
            found.group_by(["partition", "commit_seq"])
            .aggregate([("source_seq", "max"), ("rows", "sum")])
            .rename_columns({"source_seq_max": "source_seq", "rows_sum": "rows"})
            .select(VERSIONS_SCHEMA.names)
            .cast(VERSIONS_SCHEMA)
            .sort_by([("commit_seq", "ascending"), ("partition", "ascending")])
        )

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
        wanted: Collection[Version],
        *,
        columns: Sequence[str],
        buckets: Collection[int] | None = None,
        event_range: EventRange | None = None,
    ) -> pa.Table:
        """The rows of the wanted versions, by (partition, commit_seq, row), without markers."""
        return self.numbered_rows(wanted, columns=columns, buckets=buckets, event_range=event_range)[0]

    def numbered_rows(
        self,
        wanted: Collection[Version],
        *,
        columns: Sequence[str],
        buckets: Collection[int] | None = None,
        event_range: EventRange | None = None,
    ) -> tuple[pa.Table, Ints]:
        """The same rows in the same order, and for each the place of its version in `sorted(wanted)`."""
        rows, place = self._chosen_rows(wanted, columns, buckets, event_range)
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
    ) -> tuple[pa.Table, Ints]:
        low, high = _bounds(event_range)
        chosen = _Chosen(wanted)
        kept = [file for file in self.files if chosen.may_be_in(file) and file.may_hold(self.event_at, low, high)]
        if buckets is not None:
            kept = [file for file in kept if any(file.may_hold("bucket", bucket, bucket) for bucket in buckets)]
        kept.sort(key=lambda file: (file.bounds.get("partition", ("", ""))[0], file.path))
        order = [name for name in ("partition", "commit_seq", "row") if name not in columns]
        rows = files.scan(
            self.lake,
            self.parts,
            kept,
            self._dictionary_schema(),
            columns=[*columns, *order],
            matching=_expression(chosen, buckets, self.event_at, event_range),
        )
        return _selected(rows, chosen)

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


class _Chosen:
    """A set of versions, as a reader of files and rows needs it."""

    def __init__(self, versions: Collection[Version]) -> None:
        self.versions = sorted(versions)
        self.partitions = sorted({partition for partition, _ in self.versions})
        self.seqs = np.array(sorted({seq for _, seq in self.versions}), dtype=np.int64)
        self._rank = {partition: rank for rank, partition in enumerate(self.partitions)}
        ranks = np.array([self._rank[partition] for partition, _ in self.versions], dtype=np.int64)
        seqs = np.searchsorted(self.seqs, np.array([seq for _, seq in self.versions], dtype=np.int64))
        self._known = np.sort(ranks * max(len(self.seqs), 1) + seqs)
        self._set = set(self.versions)

    def may_be_in(self, file: FileInfo) -> bool:
        """Whether the file can have rows of a chosen version."""
        if not self.versions:
            return False
        partition, seq = file.constant("partition"), file.constant("commit_seq")
        if isinstance(partition, str) and isinstance(seq, int):
            return (partition, seq) in self._set
        return file.may_hold("partition", self.partitions[0], self.partitions[-1]) and file.may_hold(
            "commit_seq", int(self.seqs[0]), int(self.seqs[-1])
        )

    def places(self, partition: pa.ChunkedArray, commit_seq: pa.ChunkedArray) -> Ints:
        """For each row the place of its version in (partition, commit_seq) order, or -1 if it is not chosen."""
        whole = partition.unify_dictionaries().combine_chunks()
        ranks = np.array([self._rank.get(text, -1) for text in whole.dictionary.to_pylist()], dtype=np.int64)
        rank = ranks[whole.indices.to_numpy(zero_copy_only=False)] if len(ranks) else np.empty(0, np.int64)
        seq = commit_seq.to_numpy()
        at = np.searchsorted(self.seqs, seq)
        np.minimum(at, len(self.seqs) - 1, out=at)
        code = rank * len(self.seqs) + at
        place = np.searchsorted(self._known, code)
        np.minimum(place, len(self._known) - 1, out=place)
        hit = (rank >= 0) & (self.seqs[at] == seq) & (self._known[place] == code)
        return np.where(hit, place, -1)


def _selected(rows: pa.Table, chosen: _Chosen) -> tuple[pa.Table, Ints]:
    """The rows of chosen versions that are no markers, and for each the place of its version."""
    if rows.num_rows == 0 or not chosen.versions:
        return rows.slice(0, 0), np.empty(0, np.int64)
    place = chosen.places(rows.column("partition"), rows.column("commit_seq"))
    keep = (place >= 0) & (rows.column("row").to_numpy() != MARKER_ROW)
    return (rows, place) if keep.all() else (rows.filter(pa.array(keep)), place[keep])


def _bounds(event_range: EventRange | None) -> tuple[int | None, int | None]:
    low, high = event_range or (None, None)
    return (None if low is None else to_us(low)), (None if high is None else to_us(high))


def _expression(
    chosen: _Chosen, buckets: Collection[int] | None, event_at: str, event_range: EventRange | None
) -> pds.Expression | None:
    """What row groups are skipped by. Exact for buckets and the range; versions are exact only afterwards."""
    terms = []
    if len(chosen.seqs):
        terms.append(pds.field("commit_seq") <= int(chosen.seqs[-1]))
        terms.append(_partition_expression(chosen.partitions))
    if buckets is not None:
        wanted = sorted(buckets)
        field = pds.field("bucket")
        terms.append(field == wanted[0] if len(wanted) == 1 else field.isin(pa.array(wanted, pa.int32())))
    low, high = event_range or (None, None)
    time = pa.timestamp("us", tz="UTC")
    if low is not None:
        terms.append(pds.field(event_at) >= pa.scalar(low, time))
    if high is not None:
        terms.append(pds.field(event_at) <= pa.scalar(high, time))
    whole: pds.Expression | None = None
    for term in terms:
        whole = term if whole is None else whole & term
    return whole


def _partition_expression(partitions: Sequence[str]) -> pds.Expression:
    field = pds.field("partition")
    if len(partitions) <= _LISTED_PARTITIONS:
        return field.isin(pa.array(partitions, pa.string()))
    return (field >= partitions[0]) & (field <= partitions[-1])


def snapshot_of(
    lake: Lake, parts: tuple[str, ...], schema: pa.Schema, handle: DeltaTable, *, event_at: str = ""
) -> Snapshot:
    """What the handle's version holds."""
    with lake.faults(*parts):
        return Snapshot(lake, parts, schema, event_at, handle.version(), files.listed(handle, event_at))


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
            missing = _missing(snapshot)
            current = {file.path for file in taken().files}
            if missing is not None and missing.path in current:
                raise files.damaged_file(snapshot.lake, snapshot.parts, missing.path, "is missing") from error
    raise OfflineError("files of the table keep vanishing while it is read", hint="vacuum with a retention") from gone


def _missing(snapshot: Snapshot) -> FileInfo | None:
    filesystem = snapshot.lake.filesystem(*snapshot.parts)
    infos = filesystem.get_file_info([file.path for file in snapshot.files])
    absent = (file for file, info in zip(snapshot.files, infos, strict=True) if info.type == fs.FileType.NotFound)
    return next(absent, None)
