"""Training sets on disk: `training_sets/<name>/<id>`, a Delta table, with `manifest.json` inside it.

Invariant: the manifest is written last, so a training set that has one is whole; and what is read back has the columns,
types and rows that were written, in their order.
It does not check digests: `rebuild` does.
"""

import pyarrow as pa
from deltalake import write_deltalake

from feature_assets.errors import InputError, ManifestError
from feature_assets.offline.lake import Lake
from feature_assets.training.manifest import Manifest, parse_manifest

FOLDER = "training_sets"
MANIFEST = "manifest.json"
ROW = "_row"
"""A column of the stored table: rows of a Delta table have no order of their own."""

_UNSIGNED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
}


def write_training_set(lake: Lake, table: pa.Table, manifest: Manifest) -> str:
    """Write a training set, unless it is there already; returns the table's address.

    Raises `InputError` if it has no name, or a column of the spine is of a type that cannot be kept without loss.
    """
    if manifest.name is None:
        raise InputError("the training set has no name to be kept under", hint="training_set(..., name='late_flights')")
    place = (FOLDER, manifest.name, manifest.id)
    if lake.read_bytes(*place, MANIFEST) is not None:
        return lake.uri(*place)
    if ROW in table.column_names:
        raise InputError(f"column {ROW!r} is the stored table's own", hint="rename the spine's column")
    columns = [_storable(table.column(name), name) for name in table.column_names]
    stored = pa.table([pa.array(range(table.num_rows), pa.int64()), *columns], names=[ROW, *table.column_names])
    with lake.faults(*place):
        # Overwritten: without a manifest, what is there is what a killed attempt left.
        write_deltalake(lake.uri(*place), stored, mode="overwrite", storage_options=dict(lake.storage_options))
    lake.write_bytes(manifest.encoded(), *place, MANIFEST)
    return lake.uri(*place)


def stored_manifest(lake: Lake, name: str, training_set_id: str) -> Manifest:
    """The manifest of a stored training set. Raises `ManifestError` if there is none, or it was changed."""
    data = lake.read_bytes(FOLDER, name, training_set_id, MANIFEST)
    if data is None:
        kept = lake.names(FOLDER, name)
        raise ManifestError(
            f"there is no training set {name}/{training_set_id} under {lake.root}",
            hint=f"kept are: {', '.join(kept)}" if kept else f"none is kept under the name {name!r}",
        )
    return parse_manifest(data)


def stored_spine(lake: Lake, manifest: Manifest) -> pa.Table:
    """The spine of a stored training set, as it was handed over. Raises `ManifestError` if it is not there."""
    if manifest.name is None or lake.read_bytes(FOLDER, manifest.name, manifest.id, MANIFEST) is None:
        raise ManifestError(
            f"the spine of training set {manifest.id} was not kept",
            hint="hand it over: rebuild(..., spine=...); to_delta() keeps it",
        )
    schema = pa.ipc.read_schema(pa.py_buffer(manifest.spine.arrow_schema))
    handle = lake.open(FOLDER, manifest.name, manifest.id)
    with lake.faults(FOLDER, manifest.name, manifest.id):
        stored = handle.to_pyarrow_table(columns=[ROW, *schema.names]).sort_by(ROW)
    return pa.table([_restored(stored.column(field.name), field.type) for field in schema], schema=schema)


def stored_table(lake: Lake, manifest: Manifest) -> pa.Table:
    """A stored training set whole, rows in their order, in the types that Delta keeps. `rebuild` checks its digest."""
    if manifest.name is None:
        raise ManifestError(f"training set {manifest.id} was not kept", hint="to_delta() keeps it")
    handle = lake.open(FOLDER, manifest.name, manifest.id)
    with lake.faults(FOLDER, manifest.name, manifest.id):
        stored = handle.to_pyarrow_table().sort_by(ROW)
    return stored.select(list(manifest.result.columns))


def _storable(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """The column in a type that Delta has, if nothing is lost on the way."""
    kept = _kept_type(column.type)
    try:
        return column if kept == column.type else column.cast(kept)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"column {name!r} ({column.type}) cannot be kept in a Delta table without loss: {error}",
            hint=f"convert it to {kept} first, or drop it from the spine",
        ) from error


def _kept_type(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(dtype):
        return _kept_type(dtype.value_type)
    if dtype in _UNSIGNED:
        return _UNSIGNED[dtype]
    if pa.types.is_timestamp(dtype):
        return pa.timestamp("us", None if dtype.tz is None else "UTC")
    if pa.types.is_time(dtype) or pa.types.is_duration(dtype):
        return pa.int64()
    if pa.types.is_float16(dtype):
        return pa.float32()
    return _SAME.get(dtype, dtype)


_SAME = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}
"""Types whose values Delta keeps under another name."""


def _restored(column: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_dictionary(dtype):
        return column.cast(dtype.value_type).dictionary_encode().cast(dtype)
    return pa.chunked_array([pa.nulls(len(column))]) if pa.types.is_null(dtype) else column.cast(dtype)
