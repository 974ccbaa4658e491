"""The form in which columns are stored, and which changes of a table's schema are an evolution.

Invariant: what is written has exactly these types, whatever variant of them (large, dictionary-encoded, another time
unit) the caller handed over, and a stored column never changes its name or type: only nullable columns are added.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.types as pt

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.errors import NaiveTimestampError, SchemaError

TIME = pa.timestamp("us", tz="UTC")
_AS_THEY_ARE = (
    pt.is_boolean,
    pt.is_signed_integer,
    pt.is_float32,
    pt.is_float64,
    pt.is_decimal128,
    pt.is_date32,
)
_AS_ONE = {
    (pt.is_string, pt.is_large_string, pt.is_string_view): pa.string(),
    (pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary): pa.binary(),
}


def stored_type(dtype: pa.DataType, column: str, where: str) -> pa.DataType:
    """The type that a column of type `dtype` has in a Delta table. Raises `SchemaError` if Delta has none for it."""
    if any(is_it(dtype) for is_it in _AS_THEY_ARE):
        return dtype
    for kinds, stored in _AS_ONE.items():
        if any(is_it(dtype) for is_it in kinds):
            return stored
    if pt.is_timestamp(dtype) and dtype.tz is not None:
        return TIME
    return _composed_type(dtype, column, where)


def _composed_type(dtype: pa.DataType, column: str, where: str) -> pa.DataType:
    if pt.is_dictionary(dtype):
        return stored_type(dtype.value_type, column, where)
    if pt.is_list(dtype) or pt.is_large_list(dtype) or pt.is_fixed_size_list(dtype):
        return pa.list_(stored_type(dtype.value_type, column, where))
    if pt.is_map(dtype):
        return pa.map_(stored_type(dtype.key_type, column, where), stored_type(dtype.item_type, column, where))
    if pt.is_struct(dtype):
        return pa.struct([(field.name, stored_type(field.type, column, where)) for field in dtype])
    raise SchemaError(f"{where}: column {column!r} has type {dtype}, which Delta cannot store", hint=_instead(dtype))


def _instead(dtype: pa.DataType) -> str:
    if pt.is_timestamp(dtype):
        return "a timestamp needs a time zone: pa.timestamp('us', tz='UTC')"
    if pt.is_unsigned_integer(dtype):
        return "use a signed integer type that is wide enough"
    if pt.is_float16(dtype):
        return "use pa.float32()"
    return "use one of: bool, int8-64, float32/64, decimal128, string, binary, date32, timestamp, list, map, struct"


def stored_schema(schema: pa.Schema, where: str) -> pa.Schema:
    """`schema` with stored types, every field nullable (the marker row of an empty partition is all null)."""
    return pa.schema([pa.field(field.name, stored_type(field.type, field.name, where)) for field in schema])


def with_nulls_as_in(declared: pa.Schema, stored: pa.Schema) -> pa.Schema:
    """The columns of `declared` as `stored` has them, but without nulls where they are declared so."""
    return pa.schema([stored.field(field.name).with_nullable(field.nullable) for field in declared])


def as_stored(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """`table` with the columns and types of `schema`, in its order.

    Raises `SchemaError` for other columns, for a cast that would lose something and for a null where the schema has
    none, `NaiveTimestampError` for times without a zone.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    extra = [name for name in table.column_names if name not in schema.names]
    if missing or extra:
        found = (_listed("missing", missing), _listed("not in the schema", extra))
        what = "; ".join(part for part in found if part is not None)
        raise SchemaError(f"{where}: {what}", hint=f"the columns are: {', '.join(schema.names)}")
    return pa.table([_fitting(table.column(field.name), field, where) for field in schema], schema=schema)


def _fitting(column: pa.ChunkedArray, field: pa.Field, where: str) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type) and column.type.tz is None and pa.types.is_timestamp(field.type):
        raise NaiveTimestampError(field.name, where)
    try:
        plain = lossless(column, field.type)
    except LossyCastError as error:
        of = "" if error.value is None else f": the value {error.value!r} would change"
        what = f"{where}: column {field.name!r} is {column.type} and cannot become {field.type}{of}"
        raise SchemaError(what, hint="convert it where it is made, or declare the type that it has") from error
    # Of the plain values: a dictionary may hold a null that its indices, which are what is counted, do not show.
    if plain.null_count and not field.nullable:
        what = f"{where}: column {field.name!r} is declared without nulls and is null in {plain.null_count} rows"
        raise SchemaError(what, hint="declare it nullable, or leave such rows out")
    return plain


def _listed(what: str, names: Sequence[str]) -> str | None:
    return f"{what}: {', '.join(repr(name) for name in names)}" if names else None


def added_columns(existing: pa.Schema, wanted: pa.Schema, required: Collection[str], where: str) -> list[pa.Field]:
    """The columns of `wanted` that `existing` lacks.

    Raises `SchemaError` for one that is gone, has another type, or is new and `required` (declared without nulls): the
    rows that are there have no value for it.
    """
    now = stored_schema(existing, where)
    added = [field for field in wanted if field.name not in now.names]
    for field in added:
        if field.name in required:
            what = f"{where}: the new column {field.name!r} is declared without nulls, and the rows there have none"
            raise SchemaError(what, hint="declare it nullable")
    gone = [name for name in now.names if name not in wanted.names]
    if gone:
        hint = "keep the column (it may be null), or give the changed source or view another name"
        renamed = next((field.name for field in added if field.type == now.field(gone[0]).type), None)
        if renamed is not None:
            hint = f"if it was renamed to {renamed!r}: a stored column cannot be; {hint}"
        raise SchemaError(f"{where}: column {gone[0]!r} ({now.field(gone[0]).type}) of the table is gone", hint=hint)
    check_types(now, wanted, where)
    return added


def check_types(existing: pa.Schema, wanted: pa.Schema, where: str) -> None:
    """Raise `SchemaError` if a column that both have differs in type."""
    now = stored_schema(existing, where)
    for field in wanted:
        if field.name in now.names and now.field(field.name).type != field.type:
            raise SchemaError(
                f"{where}: column {field.name!r} is {now.field(field.name).type} in the table and {field.type} here",
                hint="a stored column keeps its type: add a column under another name, or rename the source or view",
            )
