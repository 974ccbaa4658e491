"""The one way to commit to a Delta table: numbered, checked, retried, durable.

delta-rs does not deduplicate by application transaction: it only refuses a second commit from the *same* starting
version. So a commit reads the transaction's number and commits the next one on that same handle; whoever loses the race
starts over from the new version. Invariant: an acknowledged commit is there exactly once, its number is dense, and on a
local disk it has been synced, with the commit before it. What is not acknowledged may or may not be there, whole.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feature_assets.clock import EPOCH, SystemClock
from feature_assets.crash import crash_point
from feature_assets.errors import CommitConflictError, FeatureAssetsError, StorageFullError
from feature_assets.offline import files, integrity
from feature_assets.offline.files import DataFile
from feature_assets.offline.lake import Lake
from feature_assets.offline.snapshot import SEQUENCE
from feature_assets.offline.versions import FIRST, next_seq

REWRITE = "feature_assets/rewrite"
"""The application whose transaction version counts rewrites, so that two compactions cannot both remove a file."""

ATTEMPTS = 80
"""Lost races before giving up. With four writers that never pause, one in 10^9 commits would use them up."""
LONGEST_PAUSE_S = 0.4
CHECKPOINT_EVERY = 20
"""Opening a table takes 0.7 ms for each commit since the last checkpoint, and a checkpoint takes some 20 ms."""
_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
"""Checkpoints are made here, so that they are synced and have a digest."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that is there: its number (None: there was nothing to commit) and the Delta version that has it."""

    seq: int | None
    version: int
    files: tuple[DataFile, ...] = ()


def transactions(application: str, number: int) -> list[Transaction]:
    """What makes two commits from the same version exclude each other. Without it, both would be accepted."""
    return [Transaction(application, number)]


def committed_next(
    lake: Lake,
    parts: Sequence[str],
    opened: Callable[[], DeltaTable],
    prepared: Callable[[DeltaTable, int], Sequence[DataFile]],
    *,
    noted: Callable[[DeltaTable], Sequence[Transaction]] = lambda _handle: (),
    run_id: str = "",
) -> Committed:
    """Commit what `prepared(handle, seq)` has written, as the table's next commit.

    `prepared` is called again, on a newer handle and with a later number, each time another writer was faster, or a
    rewrite and a vacuum took away what it reads (`FileNotFoundError`); if it returns nothing, nothing is committed
    but what is `noted(handle)`, if that is anything: without a file, under the number of the commit before.
    Raises `CommitConflictError` when the attempts are used up, and what `prepared` raises.
    """
    lost: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            _pause(attempt)
        written: tuple[DataFile, ...] = ()
        try:
            handle = opened()
            seq = next_seq(handle.transaction_version(SEQUENCE))
            written = tuple(prepared(handle, seq))
            notes = noted(handle)
            if not written and not notes:
                return Committed(None, handle.version())
            crash_point("table.after_files")
            number = seq if written else seq - FIRST
            version = commit_files(
                lake, parts, handle, written, application=SEQUENCE, number=number, notes=notes, run_id=run_id
            )
        except (CommitFailedError, FileNotFoundError) as error:
            lost = error
            files.discard(lake, parts, written)
            continue
        except StorageFullError:
            files.discard(lake, parts, written)
            raise
        return Committed(seq if written else None, version, written)
    raise CommitConflictError(
        f"table {'/'.join(parts)}: {ATTEMPTS} attempts to commit each lost against another writer",
        hint="nothing was committed; run the step again when fewer writers are busy",
    ) from lost


def commit_files(  # noqa: PLR0913 - what a commit consists of
    lake: Lake,
    parts: Sequence[str],
    handle: DeltaTable,
    written: Sequence[DataFile],
    *,
    application: str,
    number: int,
    notes: Sequence[Transaction] = (),
    run_id: str = "",
    replaces: Sequence[files.FileInfo] | None = None,
    month: str | None = None,
) -> int:
    """One Delta commit on `handle`; returns its version, durable. Raises `CommitFailedError` if another was faster.

    `notes`: what the log remembers beside the number. `replaces`: the files (of `month`, if the table has months) that
    this commit removes: all that the handle's version has there. A file that another writer added since stays.
    """
    before = handle.version()
    guards = [*transactions(application, number), *notes]
    operation = "rewrite" if application != SEQUENCE else "commit" if written else "note"
    said = {"operation": operation, "number": str(number), "run_id": run_id}
    adds: list[AddAction | RemoveAction] = [_add(file, data_change=replaces is None) for file in written]
    partitioned = month is not None or any(file.month is not None for file in written)
    version: int | None = None
    try:
        with lake.faults(*parts):
            handle.create_write_transaction(
                adds,
                "append" if replaces is None else "overwrite",
                handle.schema(),
                ["month"] if partitioned else None,
                partition_filters=[("month", "=", month)] if month is not None and replaces is not None else None,
                commit_properties=_properties(written, replaces or (), guards, said),
                post_commithook_properties=_HOOKS,
            )
    except (CommitFailedError, FeatureAssetsError):
        # The answer may have been lost, not the commit: a conditional put that is retried meets itself.
        version = _landed(lake, parts, written, before)
        if version is None:
            raise
    crash_point("table.after_log")
    # From the version it started from: the writer of the commit before this one may not have synced it yet.
    lake.sync_log(*parts, after=before - 1)
    if version is None:
        version = _version_of(lake, parts, written, before)
    if version // CHECKPOINT_EVERY > before // CHECKPOINT_EVERY:
        _checkpoint(lake, parts)
    return version


def _properties(
    written: Sequence[DataFile],
    replaces: Sequence[files.FileInfo],
    guards: list[Transaction],
    said: Mapping[str, str],
) -> CommitProperties:
    return CommitProperties(
        custom_metadata={
            integrity.CHECKSUM: _checksum(written, replaces, guards),
            **{f"feature_assets_{name}": value for name, value in said.items()},
            "feature_assets_rows": str(sum(file.rows for file in written)),
        },
        app_transactions=guards,
    )


def _add(file: DataFile, *, data_change: bool) -> AddAction:
    now = (SystemClock().now() - EPOCH) // timedelta(milliseconds=1)
    values = {} if file.month is None else {"month": file.month}
    return AddAction(file.path, file.size, values, now, data_change, file.stats)


def _checksum(written: Sequence[DataFile], replaces: Sequence[files.FileInfo], guards: Sequence[Transaction]) -> str:
    return integrity.checksum(
        [(file.path, file.size, file.stats) for file in written],
        [file.path for file in replaces],
        [f"{guard.app_id} {guard.version}" for guard in guards],
    )


def _landed(lake: Lake, parts: Sequence[str], written: Sequence[DataFile], before: int) -> int | None:
    """The version, if the newest one has the files after all. None if it can be read and has not, or cannot be read."""
    try:
        handle = lake.open(*parts)
        paths = {file.path for file in files.listed(handle)}
    except (FeatureAssetsError, DeltaError, OSError):
        return None
    if not written or not all(file.path in paths for file in written) or handle.version() == before:
        return None
    return handle.version()


def _version_of(lake: Lake, parts: Sequence[str], written: Sequence[DataFile], before: int) -> int:
    """The version of the commit that just succeeded on a handle at `before`; on an object store, one that has it."""
    if written and not lake.is_remote:
        version = integrity.added_at(lake.path(*parts), written[0].path, before)
        if version is not None:
            return version
    return lake.open(*parts).version()


def _checkpoint(lake: Lake, parts: Sequence[str]) -> None:
    """Make a checkpoint. It only speeds up opening, so a full disk or a lost race here is no error of the commit."""
    try:
        handle = lake.open(*parts)
        with lake.faults(*parts):
            handle.create_checkpoint()
            if not lake.is_remote:
                integrity.keep_digest(lake.path(*parts), handle.version())
    except (FeatureAssetsError, CommitFailedError):
        return


def _pause(attempt: int) -> None:
    """Step aside for a moment, longer with each lost race, so that others get through."""
    time.sleep(random.SystemRandom().uniform(0.0, min(LONGEST_PAUSE_S, 0.01 * 2 ** min(attempt, 6))))
