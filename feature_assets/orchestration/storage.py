"""Dagster's SQLite storages: one engine for all connections, one transaction for the events of an asset's partitions.

Dagster's own classes make a new SQLAlchemy engine each time, and so compile every statement anew; for an event they ask
for the database's schema twice and commit two times. That is most of what a materialization event costs, and a year of
daily partitions is thousands of them: so these keep the engine, remember what the schema has, and write the events of
an asset's partitions together.

Invariant: same files, same tables, same rows as `ConsolidatedSqliteEventLogStorage` and `SqliteRunStorage`; either
class can open what the other wrote. It adds no behaviour and no settings.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

if TYPE_CHECKING:
    from dagster._core.storage.sqlite_storage import SqliteStorageConfig

BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
BATCH_SIZE = 1000
"""Events that Dagster hands over together: those of all partitions of an asset, which it has all at hand."""


class PooledSqliteEventLogStorage(ConsolidatedSqliteEventLogStorage):
    """`ConsolidatedSqliteEventLogStorage` over a pooled engine; configured in dagster.yaml with `base_dir`."""

    @cached_property
    def _engine(self) -> Engine:
        engine = _pooled(self._conn_string)
        event.listen(engine, "connect", _use_normal_sync)
        return engine

    @cached_property
    def _present(self) -> set[str]:
        """Tables and columns that were there when they were asked for. A migration adds some and takes none away."""
        return set()

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the table is there; asked of the database until it is."""
        if table_name not in self._present:
            with self._engine.connect() as connection:
                if not self._engine.dialect.has_table(connection, table_name):
                    return False
            self._present.add(table_name)
        return True

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        name = f"asset_keys.{column_name}"
        if name not in self._present:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._present.add(name)
        return True

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of assets in one transaction, the others one by one: the same rows as `store_event` for each."""
        together = [entry for entry in events if _is_of_asset(entry)]
        newest: dict[tuple[str, str], tuple[EventLogEntry, int]] = {}
        with self._connect() as connection:
            ids = []
            for entry in together:
                row = self._event_to_row(entry)
                inserted = connection.execute(SqlEventLogStorageTable.insert(), row)
                number = inserted.inserted_primary_key[0]  # type: ignore[index] # there is one after an INSERT
                ids.append(number)
                # An asset's own row says what its newest event of each kind says.
                newest[row["asset_key"], row["dagster_event_type"]] = (entry, number)
            self._store_asset_event_tags(connection, together, ids)
            for entry, number in sorted(newest.values(), key=lambda pair: pair[1]):
                self._store_asset_event(connection, entry, number)
        for entry in events:
            if not _is_of_asset(entry):
                self.store_event(entry)

    def dispose(self) -> None:
        """Close the pool's connections too."""
        super().dispose()  # type: ignore[no-untyped-call] # dagster leaves it untyped
        self._engine.dispose()


class PooledSqliteRunStorage(SqliteRunStorage):
    """`SqliteRunStorage` over a pooled engine; configured in dagster.yaml with `base_dir`."""

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: "SqliteStorageConfig",  # type: ignore[override] # dagster's own narrows it in the same way
    ) -> "PooledSqliteRunStorage":
        """What Dagster calls with the configuration."""
        return cls.from_local(inst_data=inst_data, **config_value)

    @cached_property
    def _engine(self) -> Engine:
        return _pooled(self._conn_string)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a transaction, from the pool."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close the pool's connections too."""
        super().dispose()
        self._engine.dispose()


def _pooled(address: str) -> Engine:
    return create_engine(
        address,
        poolclass=QueuePool,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )


def _is_of_asset(entry: EventLogEntry) -> bool:
    told = entry.dagster_event
    return told is not None and told.event_type in ASSET_EVENTS and told.asset_key is not None


def _use_normal_sync(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # In WAL mode NORMAL cannot corrupt the file; a power cut may lose the newest events, never a feature: what is
    # published is decided from Delta and the ledger, not from this log.
    connection.cursor().execute("PRAGMA synchronous=NORMAL")
