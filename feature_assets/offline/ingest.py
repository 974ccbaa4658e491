"""From what a reader returned to what may enter `events/`: checked, completed, and what cannot enter set apart.

Invariant: every row that was read is either admitted or refused with a reason, or an error says why none is; no row is
dropped, no value is changed by a cast that loses anything, and every admitted row has both its times.
Pure: it reads and writes no table.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import duration_us, to_us
from feature_assets.definition.source import BatchSource
from feature_assets.errors import InputError
from feature_assets.offline.content import same_content
from feature_assets.offline.stored import TIME, as_stored

AHEAD_OF_ARRIVAL = "dated ahead of its arrival by more than the tolerance"
AHEAD_OF_INGEST = "arrives after the time of ingest by more than the tolerance"
DUPLICATE = "repeats an admitted row"
_REASONS = ("", AHEAD_OF_ARRIVAL, AHEAD_OF_INGEST, DUPLICATE)

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The rows as `source.event_schema`: those that may enter, and those that may not, each with its reason."""

    rows: pa.Table
    refused: pa.Table
    reasons: pa.Array


def admitted(source: BatchSource, read: object, start: datetime, end: datetime, now: datetime) -> Admitted:
    """Check what the reader returned for [start, end) at `now`.

    A source without a column of arrival gets `now` as the arrival of every row. Raises `InputError`, `SchemaError` or
    `NaiveTimestampError`, naming the source and the column, for what is wrong with the whole.
    """
    where = f"source {source.name!r}"
    if not isinstance(read, pa.Table):
        raise InputError(f"{where}: its reader returned {type(read).__name__}", hint="return a pyarrow.Table")
    rows = as_stored(read, source.schema, where)
    _require_times(source, rows, start, end)
    if source.arrived_at is None:
        arrival = pa.repeat(pa.scalar(now, TIME), rows.num_rows)
        rows = rows.append_column(pa.field(source.arrival_column, TIME), arrival)
    event_at, arrived_at = micros(rows, source.event_at), micros(rows, source.arrival_column)
    tolerance = duration_us(source.future_tolerance)
    reason = np.zeros(rows.num_rows, np.int8)
    reason[arrived_at > to_us(now) + tolerance] = _REASONS.index(AHEAD_OF_INGEST)
    reason[event_at > arrived_at + tolerance] = _REASONS.index(AHEAD_OF_ARRIVAL)
    if source.order_by:
        _mark_repeated(source, rows, arrived_at, reason)
    refused = reason > 0
    reasons = pa.array([_REASONS[code] for code in reason[refused].tolist()], pa.string())
    return Admitted(rows.filter(pa.array(~refused)), rows.filter(pa.array(refused)), reasons)


def with_known_arrivals(source: BatchSource, rows: pa.Table, earlier: pa.Table) -> pa.Table:
    """`rows` with the arrival of each row that `earlier` (the version before, same columns) has already: its arrival.

    For sources without a column of arrival: a row arrived when it was first read, not when it was last read again.
    """
    if earlier.num_rows == 0 or rows.num_rows == 0:
        return rows
    names = list(source.schema.names)
    both = pa.concat_tables([earlier.select(names), rows.select(names)])
    code = _row_codes(both)
    old, new = code[: earlier.num_rows], code[earlier.num_rows :]
    arrival = micros(rows, source.arrival_column).copy()
    known_at = micros(earlier, source.arrival_column)
    # Of rows that are the same, the first of now is the first of then: each keeps the arrival of its own.
    by_age = np.lexsort((known_at, old))
    old, known_at = old[by_age], known_at[by_age]
    place = np.searchsorted(old, new) + _occurrence(new)
    inside = place < len(old)
    same = np.zeros(len(new), bool)
    same[inside] = old[place[inside]] == new[inside]
    arrival[same] = known_at[place[same]]
    at = rows.schema.get_field_index(source.arrival_column)
    return rows.set_column(at, rows.schema.field(at), pa.array(arrival).cast(TIME))


def micros(rows: pa.Table, column: str) -> Ints:
    """A column of times without nulls as microseconds since the epoch."""
    values: Ints = rows.column(column).cast(pa.int64()).to_numpy()
    return values


def _require_times(source: BatchSource, rows: pa.Table, start: datetime, end: datetime) -> None:
    where = f"source {source.name!r}"
    for name in (source.event_at, source.arrived_at):
        if name is not None and rows.column(name).null_count:
            raise InputError(
                f"{where}: column {name!r} is null in {rows.column(name).null_count} of {rows.num_rows} rows",
                hint="leave such rows out in the reader until the time is known",
            )
    event_at = micros(rows, source.event_at)
    outside = np.flatnonzero((event_at < to_us(start)) | (event_at >= to_us(end)))
    if len(outside):
        found = rows.column(source.event_at)[int(outside[0])].as_py()
        raise InputError(
            f"{where}: {len(outside)} rows are outside the period that was asked for, {start.isoformat()} to "
            f"{end.isoformat()}; the first has {source.event_at} {found.isoformat()}",
            hint="the reader returns rows with start <= event_at < end",
        )


def _mark_repeated(source: BatchSource, rows: pa.Table, arrived_at: Ints, reason: Codes) -> None:
    """Mark the later ones of rows that differ in nothing but their arrival: delivered twice.

    Raises `InputError` if rows are the same in `event_at` and `order_by` and differ in more: then which of them is
    right is not for this side to say.
    """
    key = list(dict.fromkeys([source.event_at, *source.order_by]))
    if rows.select(key).group_by(key).aggregate([]).num_rows == rows.num_rows:
        return
    compared = [name for name in rows.column_names if name != source.arrival_column]
    first: dict[tuple[object, ...], int] = {}
    columns = [rows.column(name).to_pylist() for name in key]
    for at in np.argsort(arrived_at, kind="stable").tolist():
        if reason[at]:
            continue
        values = tuple(column[at] for column in columns)
        kept = first.setdefault(values, at)
        if kept == at:
            continue
        if not same_content(rows.slice(kept, 1).select(compared), rows.slice(at, 1).select(compared)):
            shown = ", ".join(f"{name}={value}" for name, value in zip(key, values, strict=True))
            raise InputError(
                f"source {source.name!r}: rows with the same {shown} differ in other columns",
                hint="make the rows distinct in the reader, or add to order_by the column that tells them apart",
            )
        reason[at] = _REASONS.index(DUPLICATE)


def _row_codes(rows: pa.Table) -> Ints:
    """One integer per row, the same for rows that are the same in every column."""
    code = np.zeros(rows.num_rows, np.int64)
    for column in rows.columns:
        nested = pa.types.is_nested(column.type)
        plain = pa.array([repr(value) for value in column.to_pylist()]) if nested else column.combine_chunks()
        encoded = pc.dictionary_encode(plain, null_encoding="encode")
        wider = code * (len(encoded.dictionary) + 1) + encoded.indices.to_numpy()
        # Dense again after every column, so that the product of two cardinalities never overflows.
        code = np.unique(wider, return_inverse=True)[1]
    return code


def _occurrence(code: Ints) -> Ints:
    """For each entry, how many equal ones stand before it."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    count = np.empty(len(code), np.int64)
    count[order] = np.arange(len(code)) - starts
    return count
