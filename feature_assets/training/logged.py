"""`as_logged`: what was answered, taken from the served log by request id and by the row's place in its request.

Invariant: rows out equal rows in, in the same order; a value is the one that was answered, to the bit, with its status,
or the row says that it is none: what the log lacks, or has twice and differently, is refused, left null, or filled by
the join that the caller brings. The result depends on nothing but the rows and the log up to a number.
It computes no feature, and looks at no version of a view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.compute.coding import key_codes
from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.service import FeatureService
from feature_assets.errors import InputError, UnknownNameError
from feature_assets.offline.content import same_content
from feature_assets.offline.lake import Lake
from feature_assets.offline.served_columns import AS_OF, REQUEST_ID, REQUEST_ROW, meta_column, status_column
from feature_assets.offline.served_table import ServedTable
from feature_assets.training.answer import AVAILABILITY, EVENT_AT, added_columns
from feature_assets.training.modes import AsLogged
from feature_assets.training.spine import WHERE, arrow_table, require_free

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOGGED = "logged"
"""In the columns of availability: the value was taken from the served log."""
_SHOWN = 3
_NOWHERE = -1

Fill = Callable[[pa.Table], pa.Table]
"""From rows of the spine to these rows with the features joined, and where those come from."""


@dataclass(frozen=True, slots=True)
class Requests:
    """The rows asked for: which row of which request each of them is. `timestamp`: the column of instants, or to be."""

    table: pa.Table
    timestamp: str
    ids: pa.ChunkedArray
    rows: pa.ChunkedArray

    def kept(self, mask: Bools) -> "Requests":
        """Some of them."""
        chosen = pa.array(mask)
        return Requests(self.table.filter(chosen), self.timestamp, self.ids.filter(chosen), self.rows.filter(chosen))


@dataclass(frozen=True, slots=True)
class Taken:
    """The training set's table; how many rows were taken from the log; and how many could not be."""

    table: pa.Table
    logged: int
    missing: int


def parse_requests(given: object, mode: AsLogged, *, timestamp: str, service: FeatureService) -> Requests:
    """The rows as Arrow, with what names their requests. Raises `InputError` and what is under it."""
    table = arrow_table(given)
    require_free(table, logged_columns(service, table.column_names, timestamp))
    if mode.request_id not in table.column_names:
        raise UnknownNameError("column of request ids", mode.request_id, table.column_names, WHERE)
    ids = _column(table, mode.request_id, pa.string())
    if mode.request_row in table.column_names:
        rows = _column(table, mode.request_row, pa.int32())
    else:
        rows = pa.chunked_array([pa.array(np.zeros(table.num_rows, np.int32))])
    return Requests(table, timestamp, ids, rows)


def logged_upto(service: FeatureService, lake: Lake) -> int:
    """The last append to the service's log. Raises `InputError` if nothing was ever logged."""
    log = ServedTable(lake, service)
    if not log.exists:
        raise InputError(
            f"service {service.name!r}: none of its answers was ever logged, there is no table {log.name} under "
            f"{lake.root}",
            hint="log answers as they are given: FeatureStore.served_log (docs/how-to/served_log.md); "
            "or join the features: mode='as_served'",
        )
    return log.head()


def logged_columns(service: FeatureService, spine: Sequence[str], timestamp: str) -> tuple[str, ...]:
    """The columns that are added to a spine with the columns `spine`: as in other modes, and a status for each output.

    If the spine has no column `timestamp`, that is added as well: the instant that the answer was of.
    """
    instant = () if timestamp in spine else (timestamp,)
    statuses = (status_column(one.name) for one in service.output_columns)
    return (*instant, *added_columns(service), *statuses)


def taken_from_log(
    service: FeatureService, requests: Requests, log: ServedTable, mode: AsLogged, *, upto: int, fill: Fill
) -> Taken:
    """The rows with what was answered, by the log up to append `upto`. Raises `InputError` for what is missing."""
    found = log.read(_read(service, log), request_ids=_distinct(requests.ids), upto=upto)
    place, doubtful = _places(found, requests)
    _require_same_keys(service, requests, log, found, place)
    lacking = _lacking(service, found)
    incomplete = place != _NOWHERE
    incomplete[incomplete] = lacking[place[incomplete]]
    missing = (place == _NOWHERE) | incomplete
    if mode.missing == "refuse" and missing.any():
        raise _refused(service, requests, missing, doubtful, incomplete)
    added = logged_columns(service, requests.table.column_names, requests.timestamp)
    pool = _answered(service, found, requests.timestamp).select(added)
    if mode.missing == "as_served" and missing.any():
        rest = np.flatnonzero(missing)
        pool = pa.concat_tables([pool, _filled(fill(requests.table.take(pa.array(rest))), pool.schema)])
        place[rest] = found.num_rows + np.arange(len(rest))
    columns = pool.take(pa.array(place, mask=place == _NOWHERE)).columns
    # The spine's own fields as they are: a column that must not be null says so afterwards too.
    table = pa.table([*requests.table.columns, *columns], schema=pa.schema([*requests.table.schema, *pool.schema]))
    return Taken(table, int((~missing).sum()), int(missing.sum()))


def _read(service: FeatureService, log: ServedTable) -> tuple[str, ...]:
    """The columns of the log that are looked at."""
    outputs = log.columns.outputs
    keys = [log.columns.asked[column] for ref in service.refs for column in ref.key_columns]
    meta = [meta_column(ref.prefix, EVENT_AT) for ref in service.refs]
    names = (REQUEST_ID, REQUEST_ROW, AS_OF, *keys, *outputs, *map(status_column, outputs), *meta)
    return tuple(dict.fromkeys(names))


def _distinct(ids: pa.ChunkedArray) -> pa.Array:
    distinct = ids.unique()
    return distinct.combine_chunks() if isinstance(distinct, pa.ChunkedArray) else distinct


def _places(found: pa.Table, requests: Requests) -> tuple[Ints, Bools]:
    """For each row asked for its row in the log, `_NOWHERE` if there is none; and where there are several, differing.

    Of several that say the same, the one that was logged first.
    """
    coded = key_codes([found.column(REQUEST_ID), found.column(REQUEST_ROW)], [requests.ids, requests.rows])
    order = np.argsort(coded.rows, kind="stable")
    codes = coded.rows[order]
    first = np.searchsorted(codes, coded.questions, side="left")
    last = np.searchsorted(codes, coded.questions, side="right")
    doubtful = _differ(found, codes, order)
    place = np.full(len(first), _NOWHERE, np.int64)
    there = last > first
    place[there] = order[first[there]]
    in_doubt = there.copy()
    in_doubt[there] = np.isin(coded.questions[there], doubtful)
    place[in_doubt] = _NOWHERE
    return place, in_doubt


def _differ(found: pa.Table, codes: Ints, order: Ints) -> Ints:
    """The codes under which several rows stand that do not all say the same. `codes` are sorted, by `order`."""
    again = np.flatnonzero(codes[1:] == codes[:-1]) + 1
    earlier, later = found.take(pa.array(order[again - 1])), found.take(pa.array(order[again]))
    if same_content(earlier, later):
        return np.empty(0, np.int64)
    differ = [not same_content(earlier.slice(at, 1), later.slice(at, 1)) for at in range(len(again))]
    return np.unique(codes[again[differ]])


def _require_same_keys(
    service: FeatureService, requests: Requests, log: ServedTable, found: pa.Table, place: Ints
) -> None:
    """Refuse a spine whose keys are not those that were asked with: then it is another row, or another request."""
    rows = np.flatnonzero(place != _NOWHERE)
    for ref in service.refs:
        for column in ref.key_columns:
            if column not in requests.table.column_names:
                continue
            logged = found.column(log.columns.asked[column]).take(pa.array(place[rows]))
            given = _typed(requests.table.column(column).take(pa.array(rows)), column, logged.type)
            unlike = pc.or_kleene(pc.not_equal(given, logged), pc.xor(given.is_null(), logged.is_null()))
            differing = np.flatnonzero(np.asarray(unlike.fill_null(False)))  # noqa: FBT003 - the value itself
            if len(differing):
                at = int(differing[0])
                raise InputError(
                    f"{WHERE}: {len(differing)} rows have another {column!r} than was asked with; the first is row "
                    f"{rows[at]}, {given[at].as_py()!r}, and the served log has {logged[at].as_py()!r}",
                    hint="the column of request rows says which row of its request each row is, counted from 0",
                )


def _lacking(service: FeatureService, found: pa.Table) -> Bools:
    """Which rows of the log lack an output: they are of a time when the service did not have it."""
    lacking = np.zeros(found.num_rows, np.bool_)
    for one in service.output_columns:
        lacking |= np.asarray(found.column(status_column(one.name)).is_null())
    return lacking


def _answered(service: FeatureService, found: pa.Table, timestamp: str) -> pa.Table:
    """What was answered, under the names that a training set has for it."""
    logged = pa.repeat(LOGGED, found.num_rows)
    columns = {timestamp: found.column(AS_OF)}
    columns.update({one.name: found.column(one.name) for one in service.output_columns})
    for ref in service.refs:
        columns[f"{ref.prefix}{SEPARATOR}{EVENT_AT}"] = found.column(meta_column(ref.prefix, EVENT_AT))
        columns[f"{ref.prefix}{SEPARATOR}{AVAILABILITY}"] = logged
    columns[AVAILABILITY] = logged
    statuses = [status_column(one.name) for one in service.output_columns]
    columns.update({name: found.column(name) for name in statuses})
    return pa.table(columns)


def _filled(joined: pa.Table, schema: pa.Schema) -> pa.Table:
    """What was joined, in the same form: a join says no statuses."""
    columns = [
        joined.column(field.name) if field.name in joined.column_names else pa.nulls(joined.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _refused(
    service: FeatureService, requests: Requests, missing: Bools, doubtful: Bools, incomplete: Bools
) -> InputError:
    absent = missing & ~doubtful & ~incomplete
    reasons = [
        f"{int(mask.sum())} {what}"
        for mask, what in (
            (absent, "are not in it"),
            (doubtful, "were answered more than once, with other values"),
            (incomplete, "were answered when the service had not all of its columns, or had them in another type"),
        )
        if mask.any()
    ]
    first = np.flatnonzero(missing)[:_SHOWN].tolist()
    shown = ", ".join(f"row {row} ({requests.ids[row].as_py()!r}, {requests.rows[row].as_py()})" for row in first)
    return InputError(
        f"served log of service {service.name!r}: of {len(missing)} rows of the spine, {'; '.join(reasons)}. "
        f"The first, each with its request id and its row there: {shown}",
        hint="the log may hold a sample of the entities only; leave such rows out, or take what there is: "
        "as_logged(missing='null'), or as_logged(missing='as_served') to join them",
    )


def _column(table: pa.Table, name: str, dtype: pa.DataType) -> pa.ChunkedArray:
    column = _typed(table.column(name), name, dtype)
    if column.null_count:
        row = int(pc.index(column.is_null(), value=True).as_py())
        raise InputError(
            f"{WHERE}: column {name!r} is null in {column.null_count} rows, the first is row {row}",
            hint="every row is a row of a request: fill it in, or leave these rows out",
        )
    return column


def _typed(column: pa.ChunkedArray, name: str, dtype: pa.DataType) -> pa.ChunkedArray:
    try:
        return lossless(column, dtype)
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        raise InputError(
            f"{WHERE}: column {name!r} is {column.type}, and the served log has {dtype}{of}",
            hint=f"convert it first, so that it says what is meant: {dtype}",
        ) from error
