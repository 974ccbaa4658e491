"""Transforms: from the events of a partition to the rows of a view.

Invariant: what `transformed` returns depends on the view, the inputs and the period alone, and is `view_schema(view)`
with the guarantees of `conform`. The same code runs a day's partition and no rows at all.
It reads and writes no table, and it knows no clock.
"""

import re
import traceback
from collections.abc import Mapping
from datetime import datetime

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
from narwhals.exceptions import ColumnNotFoundError

from feature_assets.compute.conform import with_declared_columns, with_valid_rows
from feature_assets.compute.duckdb import sql_result
from feature_assets.compute.engine import Period, view_schema
from feature_assets.definition.source import BatchSource
from feature_assets.definition.sql import PARTITION_END, PARTITION_START
from feature_assets.definition.view import FeatureView, Function, Sql
from feature_assets.errors import FeatureAssetsError, InputError, TransformError, did_you_mean

__all__ = ["Period", "transformed", "typed_output", "view_schema"]


def transformed(
    view: FeatureView, inputs: Mapping[str, pa.Table], period: Period, *, memory_limit: int | None = None
) -> pa.Table:
    """One partition of a view, as `view_schema(view)`, in the order of (keys, event_at, sequence).

    `inputs`: for each source its events of the period and, before it, of the view's lookback; further columns than the
    source's own are not shown to the transform. `memory_limit`: bytes, for SQL.

    Raises:
        TransformError: the transform raised, or returned columns, types or rows that the view does not allow.
        NaiveTimestampError: a time without a zone came out.
        InputError: a source or one of its columns is missing in `inputs`.
    """
    output = typed_output(view, inputs, period, memory_limit=memory_limit)
    return with_valid_rows(output, view, period, _where(view))


def typed_output(
    view: FeatureView, inputs: Mapping[str, pa.Table], period: Period, *, memory_limit: int | None = None
) -> pa.Table:
    """What the transform returns, its columns and types checked and its rows not; see `transformed`."""
    where = _where(view)
    tables = {source.name: _events(source, inputs, where) for source in view.sources}
    if isinstance(view.transform, Sql):
        bounds = {PARTITION_START: period.start, PARTITION_END: period.end}
        output = sql_result(view.transform.statement, tables, bounds, where, memory_limit=memory_limit)
    else:
        output = _called(view.transform, list(tables.values()), where)
    return with_declared_columns(output, view, _arrival(view, tables, period), where)


def _where(view: FeatureView) -> str:
    name = "SQL" if isinstance(view.transform, Sql) else getattr(view.transform, "__name__", "function")
    return f"{view.place}: FeatureView {view.name!r}: transform {name}"


def _events(source: BatchSource, inputs: Mapping[str, pa.Table], where: str) -> pa.Table:
    """The columns of a source, and no others."""
    if source.name not in inputs:
        raise InputError(
            f"{where}: no events were given for source {source.name!r}", hint="pass a table, empty if need be"
        )
    table, schema = inputs[source.name], source.event_schema
    for name in schema.names:
        if name not in table.column_names:
            raise InputError(
                f"{where}: the events of source {source.name!r} have no column {name!r}", hint="materialize it"
            )
    return table.select(schema.names).cast(schema)


def _called(function: Function, tables: list[pa.Table], where: str) -> pa.Table:
    frames = [nw.from_native(table, eager_only=True) for table in tables]
    try:
        output: object = function(*frames)
    except FeatureAssetsError:
        raise
    except ColumnNotFoundError as error:
        unknown = re.search(r"'([^']+)'", str(error))
        known = {name for table in tables for name in table.column_names}
        if unknown is None or unknown[1] in known:
            raise _raised(function, error, where) from error
        what = f"{where}: unknown column {unknown[1]!r}{_line(function, error)}"
        raise TransformError(what, hint=did_you_mean(unknown[1], known)) from error
    except Exception as error:
        raise _raised(function, error, where) from error
    eager = output.collect() if isinstance(output, nw.LazyFrame) else output
    if not isinstance(eager, nw.DataFrame):
        what = f"{where}: it returned {type(output).__name__}, not a narwhals frame"
        raise TransformError(what, hint="return the frame itself, e.g. frame.select(...), without .to_native()")
    return eager.to_arrow()


def _raised(function: Function, error: Exception, where: str) -> TransformError:
    first = str(error).partition("\n\n")[0]
    what = f"{where}: it raised {type(error).__name__}{_line(function, error)}: {first}"
    return TransformError(what, hint="a transform is called with every partition, also with an empty one")


def _line(function: Function, error: Exception) -> str:
    """The last line of the transform's own file that was reached."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == code.co_filename]
    return f" at {code.co_filename}:{lines[-1]}" if lines else ""


def _arrival(view: FeatureView, tables: Mapping[str, pa.Table], period: Period) -> datetime:
    """When the last input arrived; the period's end if there is none."""
    last = [pc.max(tables[source.name][source.arrival_column]).as_py() for source in view.sources]
    return max((at for at in last if at is not None), default=period.end)
