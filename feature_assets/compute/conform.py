"""What a transform must return, checked: columns, types, times, keys.

Invariant: a table that passes has exactly the columns and types of `view_schema`, no null where none may be, every
event inside the partition, one row per (keys, event_at, sequence) unless the rows are records of aggregates, and is in
the order of those: equal content is equal bytes. It repairs nothing: what does not pass is refused with the view, the
column, the value and the way out.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.compute.engine import Period, view_schema
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.naming import ARRIVED_AT, EVENT_AT, SEQUENCE
from feature_assets.definition.view import FeatureView
from feature_assets.errors import NaiveTimestampError, TransformError, did_you_mean

_NARWHALS: Final = {"int64": "Int64", "int32": "Int32", "double": "Float64", "float": "Float32", "string": "String"}
_SQL: Final = {"int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "float": "FLOAT", "string": "VARCHAR"}


def with_declared_columns(table: pa.Table, view: FeatureView, arrived_at: datetime, where: str) -> pa.Table:
    """The output of a transform as `view_schema(view)`, rows unchecked.

    `arrived_at` stands where the transform has no such column. Raises `TransformError` for columns that are missing,
    twice there or not declared and for types that do not fit; `NaiveTimestampError` for times without a zone.
    """
    _require_names(table, view, where)
    columns = []
    for field in view_schema(view):
        name = view.order_by if field.name == SEQUENCE else field.name
        if name is None:
            columns.append(pa.chunked_array([pa.repeat(pa.scalar(0, pa.int64()), table.num_rows)]))
        elif name == ARRIVED_AT and name not in table.column_names:
            columns.append(pa.chunked_array([pa.repeat(pa.scalar(arrived_at, INSTANT), table.num_rows)]))
        else:
            columns.append(_typed(table[name], name, field.type, where))
    return pa.Table.from_arrays(columns, names=view_schema(view).names)


def with_valid_rows(table: pa.Table, view: FeatureView, period: Period, where: str) -> pa.Table:
    """The rows of `with_declared_columns`, checked and ordered. Raises `TransformError`."""
    order = [*view.entity.key_names, EVENT_AT, SEQUENCE]
    for name in (*order, ARRIVED_AT):
        _require_values(table, view, name, where)
    _require_period(table, period, where)
    if view.aggregates:
        # Records may be equal in all of the order, and then what else is in them decides where they stand.
        order += [field.name for field in view_schema(view) if field.name not in order and _sorts(field.type)]
    ordered = table.sort_by([(name, "ascending") for name in order])
    if not view.aggregates:
        _require_distinct(ordered, view, order, where)
    return ordered.combine_chunks().cast(view_schema(view))


def _sorts(dtype: pa.DataType) -> bool:
    """Whether Arrow can put values of a type in order."""
    return not pa.types.is_nested(dtype)


def _require_names(table: pa.Table, view: FeatureView, where: str) -> None:
    names: list[str] = table.column_names
    order = [view.order_by] if view.order_by is not None and view.order_by not in view.stored_names else []
    needed = [*view.entity.key_names, EVENT_AT, *order, *view.stored_names]
    extra = [name for name in names if name not in needed and name != ARRIVED_AT]
    for name in needed:
        if name not in names:
            raise TransformError(
                f"{where}: the output has no column {name!r}, {_role(view, name)}", hint=_missing(name, extra, names)
            )
    for name in extra:
        what = f"{where}: the output has a column {name!r} that view {view.name!r} does not declare"
        raise TransformError(what, hint=f"declare Feature({name!r}, ...), or drop the column in the transform")
    for name, times in Counter(names).items():
        if times > 1:
            raise TransformError(f"{where}: the output has {times} columns {name!r}", hint="give each its own name")


def _role(view: FeatureView, name: str) -> str:
    if name in view.entity.key_names:
        return f"a key of entity {view.entity.name!r}"
    if name == EVENT_AT:
        return "the time that each row is about"
    return "the declared order_by" if name == view.order_by else "a declared feature"


def _missing(name: str, extra: Sequence[str], names: Sequence[str]) -> str:
    near = did_you_mean(name, extra)
    if near.startswith("did you mean"):
        return f"{near} The output has it, and view and transform must agree"
    return f"add it to the output, which has: {', '.join(sorted(names)) or 'nothing'}"


def _typed(column: pa.ChunkedArray, name: str, target: pa.DataType, where: str) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type) and column.type.tz is None and pa.types.is_timestamp(target):
        raise NaiveTimestampError(name, where)
    try:
        return lossless(column, target)
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        what = f"{where}: column {name!r} is {column.type}, declared as {target}{of}"
        raise TransformError(what, hint=_cast_hint(name, column.type, target)) from error


def _cast_hint(name: str, source: pa.DataType, target: pa.DataType) -> str:
    ways = [f"declare it as {source}"]
    if str(target) in _SQL:
        cast = f"nw.col({name!r}).cast(nw.{_NARWHALS[str(target)]}), in SQL CAST({name} AS {_SQL[str(target)]})"
        ways.append(f"convert it in the transform: {cast}")
    return ", or ".join(ways)


def _require_values(table: pa.Table, view: FeatureView, name: str, where: str) -> None:
    missing = table[name].null_count
    if missing:
        row = pc.index(table[name].is_null(), value=True).as_py()
        shown = view.order_by if name == SEQUENCE else name
        what = (
            f"{where}: column {shown!r} is null in {missing} of {table.num_rows} rows, first {_row(table, view, row)}"
        )
        raise TransformError(what, hint="a row without a key or a time is nobody's: drop such rows in the transform")


def _require_period(table: pa.Table, period: Period, where: str) -> None:
    if not table.num_rows:
        return
    bounds = pc.min_max(table[EVENT_AT])
    for at in (bounds["min"].as_py(), bounds["max"].as_py()):
        if not period.start <= at <= period.end:
            what = (
                f"{where}: event_at {at.isoformat()} is outside of the partition, "
                f"{period.start.isoformat()} to {period.end.isoformat()}"
            )
            hint = (
                "rows seen through lookback belong to other partitions: filter on $partition_start and $partition_end"
            )
            raise TransformError(what, hint=hint)


def _require_distinct(ordered: pa.Table, view: FeatureView, order: Sequence[str], where: str) -> None:
    if ordered.num_rows < 2:  # noqa: PLR2004 - a pair
        return
    rows = ordered.num_rows - 1
    equal = [pc.equal(ordered[name].slice(0, rows), ordered[name].slice(1, rows)) for name in order]
    same = reduce(pc.and_, equal)
    if pc.any(same).as_py():
        row = pc.index(same, value=True).as_py()
        count = pc.sum(same).as_py()
        what = f"{where}: {count} rows repeat the key and time of another row, first {_row(ordered, view, row)}"
        order_hint = "" if view.order_by else ", or order them: declare order_by, an integer column of the output"
        raise TransformError(what, hint=f"keep one row per key and instant{order_hint}")


def _row(table: pa.Table, view: FeatureView, row: int) -> str:
    names = [*view.entity.key_names, EVENT_AT, SEQUENCE]
    values = table.select(names).slice(row, 1).to_pylist()[0]
    return ", ".join(f"{name}={_shown(value)}" for name, value in values.items())


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
