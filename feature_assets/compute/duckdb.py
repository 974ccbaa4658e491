"""One SQL statement over Arrow tables, in DuckDB.

Invariant: a statement sees the tables it is given and nothing else: no files, no network, no extensions, no variables
of the process, no other call's tables; the time zone is UTC. One thread, so that a sum of floats comes out the same
every time: a partition that is computed again must have the same bytes.
It does not judge the result: see `conform`.
"""

import atexit
import re
import tempfile
import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Final

import duckdb
import pyarrow as pa

from feature_assets.errors import TransformError, did_you_mean

DEFAULT_MEMORY_LIMIT: Final = 1 << 30
"""Bytes that a statement may use before it spills to disk."""

_UNKNOWN_COLUMN: Final = re.compile(r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"')
_UNKNOWN_TABLE: Final = re.compile(r'Table with name "?(\w+)"? does not exist')
_SHOWN: Final = 300


class _Databases:
    """One empty in-memory database per memory limit and process: opening one takes ten times as long as a statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, tuple[duckdb.DuckDBPyConnection, tempfile.TemporaryDirectory[str]]] = {}

    def cursor(self, memory_limit: int) -> duckdb.DuckDBPyConnection:
        """A connection of its own, with no table in it."""
        with self._lock:
            if memory_limit not in self._open:
                self._open[memory_limit] = _opened(memory_limit)
            return self._open[memory_limit][0].cursor()

    def close(self) -> None:
        """Close all of them, and remove what they spilled."""
        with self._lock:
            for connection, spilled in self._open.values():
                connection.close()
                spilled.cleanup()
            self._open.clear()


_DATABASES: Final = _Databases()
atexit.register(_DATABASES.close)


def sql_result(
    statement: str,
    tables: Mapping[str, pa.Table],
    parameters: Mapping[str, datetime],
    where: str,
    *,
    memory_limit: int | None = None,
) -> pa.Table:
    """The rows of one SELECT over `tables`. Parameters that the statement does not use are left out.

    Raises `TransformError`, beginning with `where`: not one SELECT, unknown tables or columns, whatever DuckDB refuses.
    """
    with closing(_DATABASES.cursor(memory_limit or DEFAULT_MEMORY_LIMIT)) as connection:
        try:
            used = _select(connection, statement, where)
            for name, table in tables.items():
                connection.register(name, table)
            bound = {name: value for name, value in parameters.items() if name in used}
            relation = connection.sql(statement, params=bound) if bound else connection.sql(statement)
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise _explained(error, tables, where) from error


def _opened(memory_limit: int) -> tuple[duckdb.DuckDBPyConnection, tempfile.TemporaryDirectory[str]]:
    spilled = tempfile.TemporaryDirectory(prefix="feature_assets_spill_")
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": f"{memory_limit}B",
            "temp_directory": spilled.name,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        },
    )
    # In this order: the temporary directory cannot be set once outside access is off, nor anything once it is locked.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection, spilled


def _select(connection: duckdb.DuckDBPyConnection, statement: str, where: str) -> set[str]:
    """The names of the parameters of the one SELECT. Refuses anything else."""
    found = connection.extract_statements(statement)
    if len(found) != 1 or found[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(one.type.name for one in found) or "nothing"
        raise TransformError(
            f"{where}: the statement is {kinds}, not one SELECT", hint="write one SELECT; use WITH for steps"
        )
    return set(found[0].named_parameters)


def _explained(error: duckdb.Error, tables: Mapping[str, pa.Table], where: str) -> TransformError:
    text = str(error)
    column, table = _UNKNOWN_COLUMN.search(text), _UNKNOWN_TABLE.search(text)
    if column is not None:
        name = column[1] or column[2]
        known = {field for one in tables.values() for field in one.column_names}
        return TransformError(f"{where}: unknown column {name!r}", hint=did_you_mean(name, known))
    if table is not None:
        hint = f"the tables have the names of the view's sources; {did_you_mean(table[1], tables)}"
        return TransformError(f"{where}: unknown table {table[1]!r}", hint=hint)
    if isinstance(error, duckdb.OutOfMemoryException):
        return TransformError(f"{where}: {_short(text)}", hint="raise the memory limit, or aggregate in smaller steps")
    return TransformError(f"{where}: DuckDB refused: {_short(text)}", hint="correct the statement")


def _short(text: str) -> str:
    first = text.partition("\tCandidate functions")[0].strip()
    return first if len(first) <= _SHOWN else f"{first[:_SHOWN]} ..."
