"""The SQLite file beneath the embedded store: how it is made, opened and written to, and what its errors mean.

Invariant: the file and its companions (-wal, -shm) can be read and written by their owner alone; a transaction is
flushed to the device when it has ended without an error.
It knows no items.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from feature_assets.errors import (
    FeatureAssetsError,
    StorageFullError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)

STATEMENTS_KEPT: Final = 512
PAGE_BYTES: Final = 16 * 1024
MAPPED_BYTES: Final = 1 << 30

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOT_COMMITTED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
"""Errors of a commit that leave the end of the transaction out of the log, so that none of it counts."""


class CommitUnknownError(Exception):
    """The commit itself failed: its transaction may or may not be in the file."""


def make(path: Path) -> None:
    """Make the file with narrow rights; SQLite gives its companions the same. One that is there is narrowed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # Never opened if it is there: POSIX drops all locks of a process on a file when it closes any descriptor of
            # it, also those of SQLite's connections, and another process would then clear the log away beneath them.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreRefusedError(
            f"{path}: cannot open the online store: {error.strerror}",
            hint="is the folder there, and is the file yours to read and write?",
        ) from error


def opened(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection in which every statement outside of a transaction is one of its own."""
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_KEPT
    )
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def log_ahead(writer: sqlite3.Connection, timeout: float) -> None:
    """Switch to the write-ahead log. Where two processes make the file at once, SQLite lets one of them fail."""
    end = time.monotonic() + timeout
    while True:
        try:
            writer.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def transaction(writer: sqlite3.Connection) -> Iterator[None]:
    """A transaction that is flushed when the block ends, and undone if it raises.

    Raises `CommitUnknownError` if it cannot be said whether it was committed; with any other error it was not.
    """
    writer.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        _undo(writer)
        raise
    try:
        writer.execute("COMMIT")
    except sqlite3.Error as error:
        _undo(writer)
        if error.sqlite_errorcode in _NOT_COMMITTED:
            raise
        raise CommitUnknownError(str(error)) from error


@contextmanager
def mapped(path: Path, what: str) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise as_ours(path, what, error) from error
    except CommitUnknownError as error:
        raise StoreUnreachableError(
            f"{path}: {what}: the transaction may or may not be in the file: {error}",
            hint="look at the device that the file is on",
        ) from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another writer kept its lock for longer than this one waits."""
    return _code(error) in _BUSY


def is_missing_table(error: sqlite3.Error) -> bool:
    """Whether a table is not there."""
    return _code(error) == sqlite3.SQLITE_ERROR and str(error).startswith("no such table")


def as_ours(path: Path, what: str, error: sqlite3.Error) -> FeatureAssetsError:
    """The error of ours for one of SQLite's."""
    message = f"{path}: cannot {what}: {error}"
    if is_busy(error):
        return StoreThrottledError(message, hint="another process writes to the file; try again")
    if _code(error) == sqlite3.SQLITE_FULL:
        return StorageFullError(message, hint="free some space; a push that is run again continues where it stopped")
    if _code(error) in _DAMAGED:
        hint = "the file is damaged, or no SQLite file; move it away and push with --rebuild: the lake has all of it"
    elif _code(error) == sqlite3.SQLITE_CANTOPEN:
        hint = "is the folder there, and is the file yours to read and write?"
    elif is_missing_table(error):
        hint = "prepare the table before it is used"
    else:
        hint = "look at the file and the device that it is on: its rights, its space, its quota"
    return StoreRefusedError(message, hint=hint)


def _undo(writer: sqlite3.Connection) -> None:
    # After some errors SQLite has rolled back by itself.
    if writer.in_transaction:
        writer.execute("ROLLBACK")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for an error of Python's module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
