"""Rewriting a table's files: many small ones into one, rows where they are looked for, nothing added, lost or changed.

Invariant: a rewrite removes exactly the files that it has read and adds exactly their rows, in one Delta commit that
fails if another rewrite was faster; what is appended meanwhile stays. Memory holds one part at a time, not the whole.
Which rows those are, and that reads are the same before and after, is `snapshot.py`'s concern.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa
import pyarrow.dataset as pds
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from feature_assets.crash import crash_point
from feature_assets.errors import CommitConflictError, OfflineError
from feature_assets.offline import files
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.commit import REWRITE, commit_files
from feature_assets.offline.files import FileInfo
from feature_assets.offline.snapshot import Snapshot, require_replaced
from feature_assets.offline.table import PartitionedTable
from feature_assets.offline.versions import next_seq

PART_ROWS = 2_000_000
"""Rows that are in memory at a time: some hundred megabytes of a usual width."""
ATTEMPTS = 10

Change = Callable[[pa.Table], pa.Table]
"""What is done to the rows of a part on the way: the same rows in the same order, other values in lifecycle columns."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What was rewritten of a table; nothing, if `files_before` is 0. `months` is empty for a table without months."""

    table: str
    months: tuple[str, ...]
    files_before: int
    files_after: int
    rows: int


def rewrite_partitioned(
    table: PartitionedTable,
    *,
    change: Change | None = None,
    changed_columns: tuple[str, ...] = (),
    dry_run: bool = False,
    run_id: str = "",
) -> Rewrite:
    """Rewrite each month that lies in several files, or of whose `changed_columns` `change` would make something else.

    A feature table's rows are then by (bucket, partition, commit_seq, row), so that a bucket is a few row groups per
    month; events are by (partition, commit_seq, row). `dry_run`: only say what would be rewritten.
    """
    done = [
        _attempted(
            table.name, partial(_month_rewritten, table, month, change, changed_columns, run_id, dry_run=dry_run)
        )
        for month in sorted({file.month for file in table.snapshot().files if file.month is not None})
    ]
    return _summed(table.name, [one for one in done if one is not None])


def rewrite_appended(table: AppendTable, *, dry_run: bool = False, run_id: str = "") -> Rewrite:
    """Rewrite a numbered table, or each month of it, into one file, by (commit_seq, row), if it lies in several.

    `dry_run`: only say what would be rewritten.
    """

    def once(month: str | None) -> Rewrite | None:
        handle, snapshot = table.opened()
        found = tuple(file for file in snapshot.files if file.month == month)
        if len(found) <= 1:
            return None
        if dry_run:
            return _planned(table.name, found, month)
        return _committed(
            handle, snapshot, found, _appended_parts(snapshot, found, table.in_files), month=month, run_id=run_id
        )

    months = {file.month for file in table.snapshot().files}
    done = [_attempted(table.name, partial(once, month)) for month in sorted(months, key=str)]
    return _summed(table.name, [one for one in done if one is not None])


def _month_rewritten(
    table: PartitionedTable,
    month: str,
    change: Change | None,
    changed_columns: tuple[str, ...],
    run_id: str,
    *,
    dry_run: bool,
) -> Rewrite | None:
    handle, snapshot = table.opened()
    found = tuple(file for file in snapshot.files if file.month == month)
    if not found or (len(found) == 1 and not _would_change(snapshot, found, change, changed_columns)):
        return None
    if dry_run:
        return _planned(table.name, found, month)
    by = ("bucket", "partition", "commit_seq", "row") if table.has_features else ("partition", "commit_seq", "row")
    parts = _parts(snapshot, found, by)
    rows = parts if change is None else map(change, parts)
    return _committed(handle, snapshot, found, rows, month=month, run_id=run_id)


def _summed(name: str, done: Sequence[Rewrite]) -> Rewrite:
    """What was rewritten of a table, month by month, as one."""
    return Rewrite(
        name,
        tuple(month for one in done for month in one.months),
        sum(one.files_before for one in done),
        sum(one.files_after for one in done),
        sum(one.rows for one in done),
    )


def _planned(name: str, found: Sequence[FileInfo], month: str | None) -> Rewrite:
    return Rewrite(name, () if month is None else (month,), len(found), 1, sum(file.rows for file in found))


def _would_change(
    snapshot: Snapshot, found: Sequence[FileInfo], change: Change | None, columns: tuple[str, ...]
) -> bool:
    if change is None:
        return False
    for part in _parts(snapshot, found, ("partition", "commit_seq", "row")):
        after = change(part)
        if any(not after.column(name).equals(part.column(name)) for name in columns):
            return True
    return False


def _committed(
    handle: DeltaTable,
    snapshot: Snapshot,
    found: Sequence[FileInfo],
    parts: Iterator[pa.Table],
    *,
    month: str | None,
    run_id: str,
) -> Rewrite:
    lake, path = snapshot.lake, snapshot.parts
    try:
        written = files.write_file(lake, path, _read_from(parts), month=month, event_at=snapshot.event_at)
    except _GoneError as error:
        gone = error.cause
        require_replaced(snapshot, replace(snapshot, files=files.listed(lake.open(*path))), gone)
        raise gone from error
    rows = sum(file.rows for file in found)
    if written.rows != rows:
        files.discard(lake, path, [written])
        raise OfflineError(f"table {'/'.join(path)}: a rewrite read {written.rows} of {rows} rows; nothing was changed")
    crash_point("compact.before_commit")
    try:
        number = next_seq(handle.transaction_version(REWRITE))
        commit_files(
            lake,
            path,
            handle,
            [written],
            application=REWRITE,
            number=number,
            run_id=run_id,
            replaces=found,
            month=month,
        )
    except CommitFailedError:
        files.discard(lake, path, [written])
        raise
    crash_point("compact.after_commit")
    return _planned("/".join(path), found, month)


class _GoneError(Exception):
    """A file that was to be read is gone: told apart from what fails in writing, which happens in the same loop."""

    def __init__(self, cause: FileNotFoundError) -> None:
        self.cause = cause
        super().__init__(str(cause))


def _read_from(parts: Iterator[pa.Table]) -> Iterator[pa.Table]:
    try:
        yield from parts
    except FileNotFoundError as error:
        raise _GoneError(error) from error


def _parts(snapshot: Snapshot, found: Sequence[FileInfo], by: tuple[str, ...]) -> Iterator[pa.Table]:
    """The rows of the files in the order of `by`, cut where its first column changes, about `PART_ROWS` at a time."""
    schema = pa.schema([field for field in snapshot.schema if field.name != "month"])
    rows = sum(file.rows for file in found)
    values = _values(snapshot, found, by[0], schema) if rows > PART_ROWS else []
    share = max(1, len(values) * PART_ROWS // rows) if values else 1
    cuts = [values[at : at + share] for at in range(0, len(values), share)]
    matchings = [pds.field(by[0]).isin(pa.array(cut, schema.field(by[0]).type)) for cut in cuts] or [None]
    for matching in matchings:
        part = files.scan(snapshot.lake, snapshot.parts, found, schema, columns=schema.names, matching=matching)
        yield part.sort_by([(name, "ascending") for name in by])


def _values(snapshot: Snapshot, found: Sequence[FileInfo], column: str, schema: pa.Schema) -> list[object]:
    present = files.scan(snapshot.lake, snapshot.parts, found, schema, columns=[column]).column(column)
    distinct: list[object] = sorted(present.unique().to_pylist())
    return distinct


def _appended_parts(snapshot: Snapshot, found: Sequence[FileInfo], schema: pa.Schema) -> Iterator[pa.Table]:
    """A few files at a time: each holds commits of its own."""
    ordered = sorted(found, key=lambda file: file.bounds.get("commit_seq", (0, 0)))
    pending: list[FileInfo] = []
    for file in ordered:
        if pending and sum(one.rows for one in pending) + file.rows > PART_ROWS:
            yield _appended_part(snapshot, pending, schema)
            pending = []
        pending.append(file)
    yield _appended_part(snapshot, pending, schema)


def _appended_part(snapshot: Snapshot, found: Sequence[FileInfo], schema: pa.Schema) -> pa.Table:
    part = files.scan(snapshot.lake, snapshot.parts, found, schema, columns=schema.names)
    return part.sort_by([("commit_seq", "ascending"), ("row", "ascending")])


def _attempted(name: str, rewrite: Callable[[], Rewrite | None]) -> Rewrite | None:
    lost: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(random.SystemRandom().uniform(0.0, 0.1 * attempt))
        try:
            return rewrite()
        except (CommitFailedError, FileNotFoundError) as error:
            # Another rewrite, or a vacuum after it, was faster: what is there now is looked at afresh.
            lost = error
    raise CommitConflictError(
        f"table {name}: {ATTEMPTS} attempts to rewrite it each lost against another writer",
        hint="nothing was changed; compact again when fewer writers are busy",
    ) from lost
