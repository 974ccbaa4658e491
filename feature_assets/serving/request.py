"""The request: entities and request fields, parsed once.

Invariant: rows are kept in order and number; every column that the service needs is there in its declared type,
converted without loss, or the request was refused with the column's name. A null key is allowed, and stays null.
It looks nothing up, and not at columns that the service does not need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import msgspec
import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.compute.keys import encoded_columns, encoded_values
from feature_assets.compute.lazy_column import LazyColumn
from feature_assets.definition.on_demand import RequestField
from feature_assets.definition.service import FeatureService
from feature_assets.errors import InputError, NaiveTimestampError


class Columns(dict[str, Sequence[object]]):
    """Entities as columns: lists of equal length, by name."""


Entities = pa.Table | pa.RecordBatch | pd.DataFrame | Sequence[Mapping[str, object]] | Columns
"""What may be asked with; also any frame that narwhals knows."""

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Needed:
    """What a service needs of a request: the columns, and for messages what each is for."""

    service: str
    fields: tuple[RequestField, ...]
    uses: Mapping[str, str]

    @classmethod
    def of(cls, service: FeatureService) -> "Needed":
        """What this service needs."""
        uses: dict[str, str] = {}
        for ref in service.refs:
            for key, column in ref.key_map:
                uses.setdefault(column, f"key {key!r} of {ref.prefix!r}")
        for view in service.on_demand:
            for one in view.request:
                uses.setdefault(one.name, f"request field of {view.name!r}")
        return cls(service.name, service.key_columns, uses)

    def refused(self, missing: Sequence[str], given: Sequence[object], row: int | None = None) -> InputError:
        """Every missing column at once."""
        listed = ", ".join(f"{column!r} ({self.uses[column]})" for column in missing)
        where = "request" if row is None else f"request: row {row}"
        return InputError(
            f"{where}: service {self.service!r} needs columns that are not there: {listed}",
            hint=f"there are: {', '.join(map(str, given)) or 'none'}",
        )


Given: TypeAlias = pa.ChunkedArray | LazyColumn
"""A column of a request, in its declared type."""


class Request:
    """The rows asked for. `given`: the columns that the service needs, in their declared types."""

    def __init__(self, rows: int, given: Mapping[str, Given]) -> None:
        self.rows = rows
        self._given = given
        self._known: dict[tuple[str, ...], Keys] = {}

    @cached_property
    def columns(self) -> dict[str, pa.ChunkedArray]:
        """The columns as Arrow has them."""
        return {
            name: pa.chunked_array([column.arrow]) if isinstance(column, LazyColumn) else column
            for name, column in self._given.items()
        }

    def keys(self, names: tuple[str, ...]) -> "Keys":
        """The keys that are read from these columns."""
        known = self._known.get(names)
        if known is None:
            known = self._known[names] = self._keys(names)
        return known

    def _keys(self, names: Sequence[str]) -> "Keys":
        asked = [self._given[name] for name in names]
        lazy = [column.pylist() for column in asked if isinstance(column, LazyColumn)]
        if len(lazy) == len(asked):
            return Keys.of(encoded_values(lazy) if self.rows else [])
        columns = [self.columns[name] for name in names]
        if not any(column.null_count for column in columns):
            return Keys.of(encoded_columns(columns) if self.rows else [])
        rows = np.flatnonzero(np.logical_and.reduce([np.asarray(column.is_valid()) for column in columns]))
        given = Keys.of(encoded_columns([column.take(pa.array(rows)) for column in columns]) if len(rows) else [])
        place = np.full(self.rows, -1)
        place[rows] = np.arange(len(rows)) if given.place is None else given.place
        return Keys(given.distinct, place)


class Keys(msgspec.Struct, frozen=True, eq=False):
    """`distinct`: encoded keys, each once. `place`: of each row the place of its key among them; -1: it has none.

    None: each row has a key of its own, in order.
    """

    distinct: list[bytes]
    place: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, keys: list[bytes]) -> "Keys":
        """One key per row."""
        distinct = dict.fromkeys(keys)
        if len(distinct) == len(keys):
            return cls(keys, None)
        known = {key: number for number, key in enumerate(distinct)}
        return cls(list(known), np.array([known[key] for key in keys], np.int64))


def parse_request(given: object, needed: Needed) -> Request:
    """The request as Arrow, checked against what the service needs.

    `given`: `Entities`. Raises `InputError` and what is under it.
    """
    if isinstance(given, Columns):
        rows, columns = _of_columns(given, needed)
        return Request(rows, {one.name: _typed(columns[one.name], one, needed) for one in needed.fields})
    if isinstance(given, Mapping):
        raise InputError("request: one mapping was given", hint="give a list of mappings, one for each row: [{...}]")
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        rows, columns = len(given), _of_mappings(given, needed)
    else:
        table = _arrow(given, [one.name for one in needed.fields])
        rows, columns = table.num_rows, _of_table(table, needed)
    return Request(rows, {one.name: _typed(columns[one.name], one, needed) for one in needed.fields})


def _of_mappings(given: Sequence[Any], needed: Needed) -> dict[str, Given]:
    other = next((place for place, row in enumerate(given) if not isinstance(row, Mapping)), None)
    if other is not None:
        what = f"request: row {other} is {type(given[other]).__name__}, not a mapping"
        raise InputError(what, hint="give one mapping per row, e.g. [{'carrier': 'UA'}]")
    values = {one.name: [row.get(one.name, _MISSING) for row in given] for one in needed.fields}
    incomplete = [column.index(_MISSING) for column in values.values() if _MISSING in column]
    if incomplete:
        row = min(incomplete)
        raise needed.refused([name for name, column in values.items() if column[row] is _MISSING], [*given[row]], row)
    return {one.name: _column(values[one.name], one) for one in needed.fields}


def _of_columns(given: Columns, needed: Needed) -> tuple[int, dict[str, Given]]:
    missing = [one.name for one in needed.fields if one.name not in given]
    if missing:
        raise needed.refused(missing, list(given))
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise InputError(f"request: the columns differ in length: {listed}", hint="give a value for each entity")
    return next(iter(lengths.values()), 0), {one.name: _column(list(given[one.name]), one) for one in needed.fields}


def _column(values: list[object], field: RequestField) -> Given:
    if _is_plain(values, field.dtype):
        return LazyColumn(field.dtype, values)
    # The type is found from the values, and compared afterwards: told the type, Arrow would convert with loss.
    try:
        array = pa.array(values, field.dtype if pa.types.is_nested(field.dtype) else None)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise InputError(
            f"request: the values of column {field.name!r} cannot be read together ({kinds}): {error}",
            hint=f"give every row's {field.name!r} as {field.dtype}, or None",
        ) from error
    return pa.chunked_array([array])


def _is_plain(values: list[Any], dtype: pa.DataType) -> bool:
    """Whether all are surely of the type just as they are; that of most keys can be told at once."""
    kinds = set(map(type, values))
    if dtype == pa.string() and kinds == {str}:
        # Half a pair of surrogates is no text.
        return "".join(values).isascii()
    return bool(dtype == pa.int64() and kinds == {int} and min(values) >= -(2**63) and max(values) < 2**63)


def _of_table(table: pa.Table, needed: Needed) -> dict[str, pa.ChunkedArray]:
    names = table.column_names
    missing = [one.name for one in needed.fields if one.name not in names]
    if missing:
        raise needed.refused(missing, names)
    repeated = [one.name for one in needed.fields if names.count(one.name) > 1]
    if repeated:
        raise InputError(f"request: column {repeated[0]!r} is there more than once", hint="rename or drop one of them")
    return {one.name: table.column(one.name) for one in needed.fields}


def _arrow(given: object, names: Sequence[str]) -> pa.Table:
    try:
        if isinstance(given, pa.Table):
            return given
        if isinstance(given, pa.RecordBatch):
            return pa.Table.from_batches([given])
        if isinstance(given, pd.DataFrame):
            # Other columns may hold what Arrow cannot take.
            wanted = [name in names for name in given.columns]
            return pa.Table.from_pandas(given.loc[:, wanted], preserve_index=False)
        frame: Any = given
        return nw.from_native(frame, eager_only=True).to_arrow()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"request: a {type(given).__name__} cannot be read as entities: {error}",
            hint="give a list of mappings, a pyarrow table or a pandas frame",
        ) from error


def _typed(column: Given, field: RequestField, needed: Needed) -> Given:
    if isinstance(column, LazyColumn):
        return column
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise NaiveTimestampError(field.name, "request")
    try:
        return lossless(column, field.dtype)
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        use = needed.uses[field.name]
        raise InputError(
            f"request: column {field.name!r} ({use}) is {column.type}, and the service takes {field.dtype}{of}",
            hint=f"convert it first, so that it says what is meant: {field.dtype}",
        ) from error
