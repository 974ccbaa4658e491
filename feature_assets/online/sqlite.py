"""The embedded online store: one SQLite file, for a laptop, a test or a single machine.

Invariant: a put is in the file, flushed to the device, when it is reported as applied; and reads see whole transactions
only.

A table per view version, in which an item is a row (key, seq, expires_at, value) of a rowid table with a unique index
on the key: large values then stay out of the index that every read walks. Several threads and processes may use one
file; writers take turns, readers wait for nobody. The file must be on a local disk.

What a fault means here: a lock that is not released within `busy_timeout` is THROTTLED; a failed flush is UNKNOWN; a
full disk is `StorageFullError` (of the transaction that met it, nothing is written); a damaged or foreign file is
`StoreRefusedError`. Nothing is retried: SQLite has waited already.
"""

import os
import re
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

from feature_assets.clock import to_us
from feature_assets.errors import InputError, StoreRefusedError
from feature_assets.online.sqlite_file import (
    STATEMENTS_KEPT,
    CommitUnknownError,
    as_ours,
    is_busy,
    is_missing_table,
    log_ahead,
    make,
    mapped,
    opened,
    transaction,
)
from feature_assets.online.store import Outcome, Put, ReadFailure, ReadResult, Stored

MAX_ITEM_BYTES: Final = 350 * 1024
"""The bound of the DynamoDB store, so that what fits here fits there."""
WRITES_PER_TRANSACTION: Final = 100
KEYS_PER_STATEMENT: Final = 1024
_SIZES: Final = ((16, 1), (256, 8), (KEYS_PER_STATEMENT, 32))
"""Up to so many keys a statement has as many parameters as they are, rounded up to a multiple of that: SQLite prepares
a statement for each number of parameters, and keeps it; each one more takes half a microsecond."""
_PREFIX: Final = "online."
"""Of the names of our tables in the file: SQLite keeps some names for itself, and others may keep tables there too."""
_LEGAL_TABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[a-z0-9]{1,32})?")


@dataclass(frozen=True, slots=True)
class _Statements:
    """The statements of one table. Its name is the only text in them that comes from outside, and it was checked."""

    create: str
    drop: str
    insert: str
    update: str
    delete: str
    purge: str

    @classmethod
    def of(cls, table: str) -> "_Statements":
        name = _quoted(table)
        columns = "key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, expires_at INTEGER, value BLOB NOT NULL"
        return cls(
            create=f"CREATE TABLE IF NOT EXISTS {name} ({columns})",
            drop=f"DROP TABLE IF EXISTS {name}",
            insert=f"INSERT INTO {name} (key, seq, expires_at, value) VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608
            update=f"UPDATE {name} SET seq = seq + 1, expires_at = ?, value = ? WHERE key = ? AND seq = ?",  # noqa: S608
            delete=f"DELETE FROM {name} WHERE key = ?",  # noqa: S608
            purge=f"DELETE FROM {name} WHERE expires_at <= ?",  # noqa: S608
        )


def target_of(path: Path, name: str | None = None) -> str:
    """What the ledger calls the store in the file `path`; it need not be there."""
    return f"sqlite:{path.stem if name is None else name}"


class SQLiteStore:
    """An `OnlineStore` in the file `path`, which is made if it is absent; its folder too.

    `name` identifies it in the ledger as `sqlite:<name>`; the default is the file's name without suffix.
    `busy_timeout`: how many seconds a writer waits for another one. A store that was opened in one process cannot be
    used in a fork of it.
    """

    keeps_deadlines = True
    """Readers wait for nobody, and between statements the time is looked at."""
    reads_at_once = True

    def __init__(self, path: str | Path, *, name: str | None = None, busy_timeout: float = 5.0) -> None:
        self.path = Path(path)
        self.target = target_of(self.path, name)
        self.max_item_bytes = MAX_ITEM_BYTES
        self._busy_timeout = busy_timeout
        self._process = os.getpid()
        self._closed = False
        self._writing = Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        with mapped(self.path, "open it"):
            make(self.path)
            self._connection = opened(self.path, busy_timeout)
            log_ahead(self._connection, busy_timeout)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    def prepare(self, table: str) -> None:
        create = _statements(table).create
        with mapped(self.path, f"prepare {table}"), self._writer() as writer:
            writer.execute(create)

    def drop(self, table: str) -> None:
        drop = _statements(table).drop
        with mapped(self.path, f"drop {table}"), self._writer() as writer:
            writer.execute(drop)

    def tables(self) -> list[str]:
        with mapped(self.path, "list the tables"):
            reader = self._borrowed()
            try:
                names = [name for (name,) in reader.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            finally:
                self._give_back(reader)
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        """All reads are consistent. Raises `StoreRefusedError` for a table that was not prepared and a damaged file."""
        del consistent
        end = None if deadline is None else time.monotonic() + deadline
        found: list[ReadResult] = []
        # No context managers here: to enter and leave two of them is a tenth of a read of one item.
        reader = None
        try:
            reader = self._borrowed()
            for start in range(0, len(keys), KEYS_PER_STATEMENT):
                part = keys[start : start + KEYS_PER_STATEMENT]
                late = end is not None and time.monotonic() >= end
                found += [ReadFailure.TIMEOUT] * len(part) if late else _found(reader, table, part)
        except sqlite3.Error as error:
            raise as_ours(self.path, f"read {table}", error) from error
        finally:
            if reader is not None:
                self._give_back(reader)
        return found

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        """In transactions of 100 puts, each flushed before the next begins. Raises `StorageFullError` if it is."""
        statements = _statements(table)
        outcomes: list[Outcome] = []
        with mapped(self.path, f"write {table}"), self._writer() as writer:
            for start in range(0, len(puts), WRITES_PER_TRANSACTION):
                outcomes += self._written(writer, statements, puts[start : start + WRITES_PER_TRANSACTION])
        return outcomes

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        delete = _statements(table).delete
        with mapped(self.path, f"remove items of {table}"), self._writer() as writer, transaction(writer):
            writer.executemany(delete, [(key,) for key in keys])

    def purge(self, now: datetime) -> int:
        """Delete the items that may be dropped at `now`, and say how many. Reads do not depend on it."""
        purged = 0
        for table in self.tables():
            with mapped(self.path, f"purge {table}"), self._writer() as writer, transaction(writer):
                purged += writer.execute(_statements(table).purge, (to_us(now),)).rowcount
        return purged

    def close(self) -> None:
        self._closed = True
        if os.getpid() != self._process:
            return
        with self._writing:
            self._connection.close()
            while self._idle:
                self._idle.pop().close()

    def _written(self, writer: sqlite3.Connection, statements: _Statements, puts: Sequence[Put]) -> list[Outcome]:
        """One outcome per put. Raises SQLite's errors for what concerns the file and not its items."""
        try:
            with transaction(writer):
                return [self._put(writer, statements, put) for put in puts]
        except CommitUnknownError:
            return [Outcome.UNKNOWN] * len(puts)
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return [Outcome.THROTTLED] * len(puts)
            if is_missing_table(error):
                return [Outcome.REFUSED] * len(puts)
            raise

    def _put(self, writer: sqlite3.Connection, statements: _Statements, put: Put) -> Outcome:
        if len(put.value) > self.max_item_bytes:
            return Outcome.REFUSED
        if put.expected == 0:
            done = writer.execute(statements.insert, (put.key, put.expires_at, put.value))
        else:
            done = writer.execute(statements.update, (put.expires_at, put.value, put.key, put.expected))
        return Outcome.APPLIED if done.rowcount == 1 else Outcome.CONFLICT

    def _borrowed(self) -> sqlite3.Connection:
        """A connection to read, that nobody else uses meanwhile; there are as many as were ever needed at once."""
        self._require_usable()
        try:
            return self._idle.pop()
        except IndexError:
            reader = opened(self.path, self._busy_timeout)
            reader.execute("PRAGMA query_only = ON")
            return reader

    def _give_back(self, reader: sqlite3.Connection) -> None:
        self._idle.append(reader)
        if self._closed:
            self.close()

    @contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes; threads take turns."""
        self._require_usable()
        with self._writing:
            self._require_usable()
            yield self._connection

    def _require_usable(self) -> None:
        if self._closed:
            raise StoreRefusedError(f"{self.path}: the store is closed", hint="open another one")
        if os.getpid() != self._process:
            raise StoreRefusedError(
                f"{self.path}: the store was opened in process {self._process}, and this is a fork of it",
                hint="open the store after the fork: SQLite's locks are not inherited",
            )


def _found(reader: sqlite3.Connection, table: str, keys: Sequence[bytes]) -> list[ReadResult]:
    step = next(step for most, step in _SIZES if len(keys) <= most)
    size = -(-len(keys) // step) * step
    try:
        rows = reader.execute(_select(table, size), [*keys, *[None] * (size - len(keys))]).fetchall()
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return [ReadFailure.THROTTLED] * len(keys)
        raise
    names, seqs, values = zip(*rows, strict=True)
    if None not in seqs and names == tuple(keys):
        # As it usually is: all are there; and in this order, though none is promised.
        return list(map(Stored, seqs, values))
    items = {key: Stored(seq, value) for key, seq, value in rows if seq is not None}
    return [items.get(key) for key in keys]


@lru_cache(maxsize=STATEMENTS_KEPT)
def _statements(table: str) -> _Statements:
    return _Statements.of(table)


@lru_cache(maxsize=STATEMENTS_KEPT)
def _select(table: str, size: int) -> str:
    """Reads `size` keys at once, NULLs left out. As a join it takes less time than `key IN (...)`, which sorts them."""
    asked = ", ".join(["(?)"] * size)
    return (
        f"WITH asked (key) AS (VALUES {asked}) "  # noqa: S608 - the table's name was checked
        f"SELECT asked.key, item.seq, item.value FROM asked LEFT JOIN {_quoted(table)} AS item ON item.key = asked.key "
        "WHERE asked.key IS NOT NULL"
    )


def _quoted(table: str) -> str:
    if _LEGAL_TABLE.fullmatch(table) is None:
        raise InputError(
            f"{table!r} is no name of an online table", hint="it is <view>.<version>, e.g. carrier_hourly.0123456789"
        )
    return f'"{_PREFIX}{table}"'
