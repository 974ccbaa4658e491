"""Data files: Parquet under a table's root, written with page checksums and statistics, read with both used.

Invariant: a file is complete and (on a local disk) on the device before its name is handed out, and a page that is not
as it was written is an error when read, never other values. A file that no commit names is garbage, for vacuum.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from feature_assets.errors import TableDamagedError
from feature_assets.offline import durable, integrity
from feature_assets.offline.faults import damaged
from feature_assets.offline.footer import Content, checksum, is_as_written
from feature_assets.offline.lake import Lake

ROW_GROUP = 131_072
"""Rows: small enough that a bucket of a sorted month is a few groups, large enough that a column chunk compresses."""

FEW_ROWS = 200_000
"""Up to this many rows, handing files to threads takes longer than reading them."""

STATISTICS = ("partition", "commit_seq", "source_seq", "bucket", "row")
"""The columns whose bounds stand in the log, beside the one of event time; by them files are left unread."""

UNREADABLE = "cannot be read as it was written"
_REPETITIVE = ("partition", "month", "commit_seq", "source_seq", "bucket", "arrived_at", "available_at")

Bounds = tuple[int, int] | tuple[str, str]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file that was written. `path` is relative to the table; `stats` is what the log keeps."""

    path: str
    size: int
    month: str | None
    rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that a version of the table has. `bounds`: least and greatest of a column, where the log knows them."""

    path: str
    size: int
    rows: int
    month: str | None
    bounds: dict[str, Bounds]

    def constant(self, column: str) -> int | str | None:
        """The one value that the column has in this file, or None if it has several or none is known."""
        low, high = self.bounds.get(column, (None, None))
        return low if low == high else None

    def may_hold(self, column: str, low: int | str | None, high: int | str | None) -> bool:
        """Whether a value between `low` and `high` (inclusive, None: open) can be in the file."""
        if column not in self.bounds:
            return True
        least, greatest = self.bounds[column]
        return (low is None or greatest >= low) and (high is None or least <= high)  # type: ignore[operator] # same kinds


class _Statistics:
    """Bounds and counts of a file's columns, gathered as its rows are written."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.rows = 0
        self.low: dict[str, object] = {}
        self.high: dict[str, object] = {}
        self.nulls: dict[str, int] = {}

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        for name in self.columns:
            if name not in table.column_names:
                continue
            column = table.column(name)
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            bounds = pc.min_max(column).as_py()
            if bounds["min"] is not None:
                self.low[name] = min(self.low.get(name, bounds["min"]), bounds["min"])
                self.high[name] = max(self.high.get(name, bounds["max"]), bounds["max"])

    def encoded(self) -> str:
        def text(values: dict[str, object]) -> dict[str, object]:
            return {name: _iso(value) for name, value in values.items()}

        stats = {
            "numRecords": self.rows,
            "minValues": text(self.low),
            "maxValues": text(self.high),
            "nullCount": self.nulls,
        }
        return msgspec.json.encode(stats).decode()


def _iso(value: object) -> object:
    isoformat = getattr(value, "isoformat", None)
    return isoformat(timespec="microseconds").replace("+00:00", "Z") if isoformat is not None else value


def write_file(
    lake: Lake, parts: Sequence[str], tables: Iterable[pa.Table], *, month: str | None, event_at: str = ""
) -> DataFile:
    """Write the rows of `tables` (same schema, at least one) as one file, in order, one table in memory at a time."""
    folder = f"month={month}/" if month is not None else ""
    path = f"{folder}{uuid.uuid4().hex}.parquet"
    statistics = _Statistics(_bounded(event_at))
    with lake.faults(*parts):
        if lake.is_remote:
            with lake.filesystem(*parts).open_output_stream(path) as sink:
                _write(sink, tables, statistics, Content() if month is not None else None)
                size = sink.tell()
            return DataFile(path, size, month, statistics.rows, statistics.encoded())
        written = lake.path(*parts) / path
        durable.made_folder(written.parent, Path(lake.root).parent)
        try:
            _write(written, tables, statistics, Content() if month is not None else None)
            durable.sync_file(written)
            target = written.rename(written.with_suffix(f".{checksum(written)}.parquet"))
            durable.sync_file(target.parent)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        named = f"{folder}{target.name}"
        return DataFile(named, target.stat().st_size, month, statistics.rows, statistics.encoded())


def _write(sink: object, tables: Iterable[pa.Table], statistics: _Statistics, content: Content | None) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            if writer is None:
                writer = pq.ParquetWriter(
                    sink,
                    table.schema,
                    compression="zstd",
                    use_dictionary=_dictionaries(table.schema),
                    write_page_checksum=True,
                )
            statistics.add(table)
            if content is not None and "partition" in table.column_names:
                content.add(table)
            writer.write_table(table, row_group_size=ROW_GROUP)
        if writer is not None and content is not None:
            writer.add_key_value_metadata(content.encoded())
    finally:
        if writer is not None:
            writer.close()


def _dictionaries(schema: pa.Schema) -> list[str]:
    """Text and what repeats; numbers that rarely repeat are smaller and faster without."""
    return [
        field.name
        for field in schema
        if field.name in _REPETITIVE or pa.types.is_string(field.type) or pa.types.is_binary(field.type)
    ]


def _bounded(event_at: str) -> tuple[str, ...]:
    return (*STATISTICS, event_at) if event_at else STATISTICS


def discard(lake: Lake, parts: Sequence[str], files: Iterable[DataFile]) -> None:
    """Delete files of a commit that lost its race. One that cannot be deleted is garbage, for vacuum."""
    filesystem = lake.filesystem(*parts)
    for file in files:
        try:
            filesystem.delete_file(file.path)
        except OSError:
            continue


def listed(handle: DeltaTable, event_at: str = "") -> tuple[FileInfo, ...]:
    """The files of the handle's version, by path; `event_at`: the column of event time, whose bounds are kept too."""
    actions = pa.table(handle.get_add_actions(flatten=True))
    names = set(actions.column_names)
    bounds: dict[str, list[Bounds | None]] = {}
    for column in _bounded(event_at):
        if f"min.{column}" in names:
            bounds[column] = _pairs(actions.column(f"min.{column}"), actions.column(f"max.{column}"))
    months = actions.column("partition.month").to_pylist() if "partition.month" in names else [None] * actions.num_rows
    paths, sizes = actions.column("path").to_pylist(), actions.column("size_bytes").to_pylist()
    rows = actions.column("num_records").to_pylist()
    found = []
    for i, path in enumerate(paths):
        known = {name: pair for name, pairs in bounds.items() if (pair := pairs[i]) is not None}
        found.append(FileInfo(path, sizes[i], rows[i] or 0, months[i], known))
    return tuple(sorted(found, key=lambda file: file.path))


def _pairs(low: pa.ChunkedArray, high: pa.ChunkedArray) -> list[Bounds | None]:
    """Least and greatest for each file, None where the log has not both; times in microseconds."""
    if pa.types.is_timestamp(low.type):
        low, high = low.cast(pa.int64()), high.cast(pa.int64())
    pairs = zip(low.to_pylist(), high.to_pylist(), strict=True)
    return [None if least is None or greatest is None else (least, greatest) for least, greatest in pairs]


def scan(
    lake: Lake,
    parts: Sequence[str],
    files: Sequence[FileInfo],
    schema: pa.Schema,
    *,
    columns: Sequence[str],
    matching: pds.Expression | None = None,
) -> pa.Table:
    """The rows of `files`, in their order; `schema` is the table's, a column that a file lacks is null in it.

    Raises `FileNotFoundError` if a file is gone (a vacuum was faster than this reader), `TableDamagedError` if one is
    not as it was written.
    """
    if not files:
        return schema.empty_table().select(list(columns))
    _require_footers(lake, parts, files)
    options = pds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
    # Asked of the decoder: to encode what it has decoded would take a quarter of the whole.
    encoded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    form = pds.ParquetFileFormat(
        read_options=pds.ParquetReadOptions(dictionary_columns=encoded), default_fragment_scan_options=options
    )
    filesystem = lake.filesystem(*parts)
    fragments = [form.make_fragment(file.path, filesystem=filesystem) for file in files]
    dataset = pds.FileSystemDataset(fragments, schema, form, filesystem)
    try:
        threads = sum(file.rows for file in files) > FEW_ROWS
        return dataset.to_table(columns=list(columns), filter=matching, use_threads=threads)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        bad = next((file for file in files if not is_whole(lake, parts, file)), None)
        if bad is None:
            with lake.faults(*parts, reading=True):
                raise
        raise damaged_file(lake, parts, bad.path, UNREADABLE) from error


def _require_footers(lake: Lake, parts: Sequence[str], files: Sequence[FileInfo]) -> None:
    """On a local disk; an object store checks what it keeps."""
    if lake.is_remote:
        return
    folder = lake.path(*parts)
    bad = next((file for file in files if not is_as_written(folder / file.path)), None)
    if bad is not None:
        raise damaged_file(lake, parts, bad.path, UNREADABLE)


def is_whole(lake: Lake, parts: Sequence[str], file: FileInfo) -> bool:
    """Whether a file is there and as it was written: it is read whole."""
    try:
        if not lake.is_remote and not is_as_written(lake.path(*parts) / file.path):
            return False
        with lake.filesystem(*parts).open_input_file(file.path) as source:
            pq.ParquetFile(source, page_checksum_verification=True).read()
    except (pa.ArrowException, OSError):
        return False
    return True


def damaged_file(lake: Lake, parts: Sequence[str], path: str, what: str) -> TableDamagedError:
    """The error for a data file that the newest version needs; the version before it was added is the last good one."""
    added = None if lake.is_remote else integrity.added_at(lake.path(*parts), path)
    return damaged(
        "/".join(parts),
        f"data file {path} {what}",
        last_good=None if added is None else added - 1,
        way_out=(
            f"restore that file from a backup; without one, feature-assets maintenance abandon {'/'.join(parts)} "
            "gives it up: then materialize the days that it names again "
            "(docs/operations.md, 'A table is damaged')"
        ),
    )
