"""Dagster's SQLite event log with one engine for all its connections.

Dagster's own class makes a new SQLAlchemy engine for every event, and so compiles every statement anew: most of what a
materialization event costs. A year of daily partitions is thousands of events, so this one keeps the engine.

Invariant: same file, same tables, same transactions as `ConsolidatedSqliteEventLogStorage`; either class can open
what the other wrote. It adds no behaviour and no settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """`ConsolidatedSqliteEventLogStorage` over a pooled engine; configured in dagster.yaml with `base_dir`."""

    @cached_property
    def _engine(self) -> Engine:
        engine = create_engine(
            self._conn_string,
            poolclass=QueuePool,
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        event.listen(engine, "connect", _use_normal_sync)
        return engine

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the pool's connections too."""
        super().dispose()  # type: ignore[no-untyped-call] # dagster leaves it untyped
        self._engine.dispose()


def _use_normal_sync(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # In WAL mode NORMAL cannot corrupt the file; a power cut may lose the newest events, never a feature: what is
    # published is decided from Delta and the ledger, not from this log.
    connection.cursor().execute("PRAGMA synchronous=NORMAL")
