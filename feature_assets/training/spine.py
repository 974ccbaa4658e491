"""The spine: the rows that a training set is asked for, each with its keys and its instant. Parsed here, once.

Invariant: whatever the caller hands over, the table kept here has the same columns, rows and order; the instants and
the keys that are taken from it are complete and were converted without loss, or it was refused with the column's name.
It looks up nothing and computes no feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import FeatureRef
from feature_assets.errors import ImmatureLabelError, InputError, NaiveTimestampError, UnknownNameError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Immature = Literal["refuse", "drop"]
WHERE = "spine"


@dataclass(frozen=True, slots=True)
class Spine:
    """The rows asked for. `as_of` is the timestamp column in microseconds since the epoch."""

    table: pa.Table
    timestamp: str
    as_of: Ints

    def keys(self, ref: FeatureRef) -> list[pa.ChunkedArray]:
        """The key columns of a reference, in the order of its entity's keys and of their types, without nulls."""
        entity = ref.view.entity
        return [
            _key_column(self.table.column(column), key.dtype, column, ref)
            for key, column in zip(entity.keys, ref.key_columns, strict=True)
        ]


def parse_spine(given: object, *, timestamp: str, service: FeatureService, added: Sequence[str]) -> Spine:
    """The spine as Arrow, checked against what the service needs.

    `given`: an Arrow table, a pandas frame (its index is not a column) or any frame that narwhals knows. `added`: the
    names of the columns that the training set will add. Raises `InputError` and what is under it.
    """
    table = arrow_table(given)
    if timestamp not in table.column_names:
        raise UnknownNameError("timestamp column", timestamp, table.column_names, WHERE)
    _require_columns(table, service)
    require_free(table, added)
    return Spine(table, timestamp, instants(table.column(timestamp), timestamp))


def require_free(table: pa.Table, added: Sequence[str]) -> None:
    """Refuse a spine with a column that has the name of one that the training set will add. Raises `InputError`."""
    taken = [name for name in added if name in table.column_names]
    if taken:
        raise InputError(
            f"{WHERE}: column {taken[0]!r} would be overwritten by the training set's own column of that name",
            hint="rename or drop the spine's column" + (f" (also: {', '.join(taken[1:])})" if taken[1:] else ""),
        )


def parse_entities(given: object, ref: FeatureRef) -> pa.Table:
    """Keys of a reference's entity, each once, from a table or frame that has its key columns. Raises `InputError`."""
    table = arrow_table(given)
    for column in ref.key_columns:
        if column not in table.column_names:
            raise UnknownNameError("key column", column, table.column_names, "entities")
    keys = Spine(table, "", np.empty(0, np.int64)).keys(ref)
    named = pa.table(dict(zip(ref.key_columns, keys, strict=True)))
    return named.group_by(list(ref.key_columns)).aggregate([])


def mature(spine: Spine, label: str, matured_at: str, now_us: int, immature: Immature) -> Spine:
    """The spine without the rows whose label was not known at `now_us` (microseconds); as `mature_rows` has it."""
    known = mature_rows(spine.table, label, matured_at, now_us, immature)
    if known.all():
        return spine
    return Spine(spine.table.filter(pa.array(known)), spine.timestamp, spine.as_of[known])


def mature_rows(table: pa.Table, label: str, matured_at: str, now_us: int, immature: Immature) -> Bools:
    """Which rows' label was known at `now_us` (microseconds).

    `label` and `matured_at` are columns: the outcome, and when it was known; null stands for "not yet".
    With `immature="refuse"` rows without raise `ImmatureLabelError`.
    """
    for column in (label, matured_at):
        if column not in table.column_names:
            raise UnknownNameError("label column", column, table.column_names, WHERE)
    instant = table.column(matured_at)
    _require_instants(instant, matured_at)
    known: Bools = np.array(instant.is_valid())
    known[known] = _micros(instant.drop_null(), matured_at) <= now_us
    if immature == "refuse" and not known.all():
        row = int(np.flatnonzero(~known)[0])
        at = instant[row].as_py()
        raise ImmatureLabelError(
            f"{WHERE}: {int((~known).sum())} of {len(known)} rows have a label {label!r} that is not known yet; "
            f"the first is row {row}, known at {'never' if at is None else at.isoformat()}",
            hint=f"wait until {matured_at!r} is past, leave these rows out, or pass immature='drop'",
        )
    return known


def instants(column: pa.ChunkedArray, name: str) -> Ints:
    """A timestamp column in microseconds since the epoch.

    Raises `NaiveTimestampError` without a time zone, `InputError` for nulls, for another type, and for an instant that
    is not a whole microsecond.
    """
    _require_instants(column, name)
    if column.null_count:
        raise InputError(
            f"{WHERE}: column {name!r} is null in {column.null_count} rows, first in row {_first(column.is_null())}",
            hint="every row asks for an instant: fill them in or leave these rows out",
        )
    return _micros(column, name)


def _require_instants(column: pa.ChunkedArray, name: str) -> None:
    if not pa.types.is_timestamp(column.type):
        raise InputError(
            f"{WHERE}: column {name!r} is {column.type}, not a timestamp",
            hint="convert it first, e.g. pandas.to_datetime(column, utc=True)",
        )
    if column.type.tz is None:
        raise NaiveTimestampError(name, WHERE)


def _micros(column: pa.ChunkedArray, name: str) -> Ints:
    try:
        whole = lossless(column, INSTANT)
    except LossyCastError as error:
        raise InputError(
            f"{WHERE}: column {name!r} ({column.type}) holds {error.value!r}, which is no whole microsecond in range",
            hint='all times are kept in microseconds; round it first, e.g. series.dt.floor("us")',
        ) from error
    values: Ints = np.asarray(whole.cast(pa.int64()))
    return values


def as_instants(micros: Ints) -> pa.Array:
    """Microseconds since the epoch as timestamps."""
    return pa.array(micros).cast(INSTANT)


# ----------------------------------------------------------------------------------------------------------- conversion


def arrow_table(given: object) -> pa.Table:
    """Rows as Arrow. Raises `InputError` for what cannot be read as a table, or has a column twice."""
    try:
        if isinstance(given, pa.Table):
            table = given
        elif isinstance(given, pa.RecordBatch):
            table = pa.Table.from_batches([given])
        elif nw.dependencies.is_pandas_dataframe(given):
            table = pa.Table.from_pandas(given, preserve_index=False)
        else:
            frame: Any = given
            table = nw.from_native(frame, eager_only=True).to_arrow()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"{WHERE}: a {type(given).__name__} could not be read as a table: {error}",
            hint="hand over a pyarrow table or a pandas frame with columns of one type each",
        ) from error
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise InputError(f"{WHERE}: column {repeated[0]!r} is there more than once", hint="rename or drop one of them")
    # What a library notes about its own types does not belong to the data.
    return table.replace_schema_metadata(None)


def _require_columns(table: pa.Table, service: FeatureService) -> None:
    """Every missing column at once, each with what it is for."""
    missing: dict[str, str] = {}
    for ref in service.refs:
        for key, column in ref.key_map:
            if column not in table.column_names:
                missing.setdefault(column, f"key {key!r} of {ref.prefix!r}")
    for view in service.on_demand:
        for field in view.request:
            if field.name not in table.column_names:
                missing.setdefault(field.name, f"request field of {view.name!r}")
    if missing:
        listed = ", ".join(f"{column!r} ({use})" for column, use in missing.items())
        raise InputError(
            f"{WHERE}: service {service.name!r} needs columns that are not there: {listed}",
            hint=f"the spine has: {', '.join(table.column_names)}",
        )


def _key_column(column: pa.ChunkedArray, dtype: pa.DataType, name: str, ref: FeatureRef) -> pa.ChunkedArray:
    try:
        keys = lossless(column, dtype)
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        raise InputError(
            f"{WHERE}: key column {name!r} is {column.type}, and the key of {ref.prefix!r} is {dtype}{of}",
            hint=f"convert it first, so that it says what is meant: {dtype}",
        ) from error
    # Of the plain values: a dictionary may hold a null that its indices, which are what is counted, do not show.
    if keys.null_count:
        raise InputError(
            f"{WHERE}: key column {name!r} (of {ref.prefix!r}) is null in {keys.null_count} rows, "
            f"the first is row {_first(keys.is_null())}",
            hint="a row without a key has no features: leave it out, or give it a key that stands for 'unknown'",
        )
    return keys


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, value=True).as_py())
