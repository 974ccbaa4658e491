"""On-demand views, called: the one place where loader and online reader alike compute features of a request.

Invariant: the result has one array per declared feature, of the declared type and the length of the request; so what a
model was trained on and what it is asked with come out of the same lines.
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from feature_assets.compute.casts import LossyCastError, lossless
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.errors import FeatureAssetsError, InputError, NaiveTimestampError, TransformError, did_you_mean

Column: TypeAlias = pa.Array | pa.ChunkedArray


def on_demand_columns(view: OnDemandView, columns: Mapping[str, Column], as_of: Column) -> dict[str, pa.Array]:
    """The features of an on-demand view, by name, in order.

    `columns` holds at least the view's request fields and inputs, `as_of` the instant of each row (timestamp, UTC,
    microseconds). The function is not called for no rows.

    Raises:
        InputError: a column is missing, or its length or type is wrong.
        NaiveTimestampError: `as_of` has no time zone.
        TransformError: the function raised, or returned other names, lengths or types than declared.
    """
    where = f"{view.place}: OnDemandView {view.name!r}"
    if as_of.type != INSTANT:
        if pa.types.is_timestamp(as_of.type) and as_of.type.tz is None:
            raise NaiveTimestampError("as_of", where)
        raise InputError(f"{where}: as_of is {as_of.type}", hint="the time of a request is timestamp('us', 'UTC')")
    given = _given(view, columns, len(as_of), where)
    if not len(as_of):
        return {feature.name: pa.array([], feature.dtype) for feature in view.features}
    results = _called(view, given, _flat(as_of), where)
    return {feature.name: _typed(results, feature.name, feature.dtype, len(as_of), where) for feature in view.features}


def _given(view: OnDemandView, columns: Mapping[str, Column], rows: int, where: str) -> dict[str, pa.Array]:
    """What the function is called with."""
    dtypes = {field.name: field.dtype for field in view.request}
    given = {}
    for name in (*dtypes, *view.inputs):
        if name not in columns:
            raise InputError(f"{where}: column {name!r} is missing", hint=did_you_mean(name, columns))
        column = columns[name]
        if len(column) != rows:
            what = f"{where}: column {name!r} has {len(column)} rows, as_of has {rows}"
            raise InputError(what, hint="all columns of a request are equally long")
        if name in dtypes:
            column = _requested(column, name, dtypes[name], where)
        given[name] = _flat(column)
    return given


def _requested(column: Column, name: str, dtype: pa.DataType, where: str) -> Column:
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise NaiveTimestampError(name, where)
    try:
        return lossless(_chunked(column), dtype)
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        what = f"{where}: column {name!r} of the request is {column.type}, declared as {dtype}{of}"
        raise InputError(what, hint=f"give the column as {dtype}") from error


def _called(view: OnDemandView, given: Mapping[str, pa.Array], as_of: pa.Array, where: str) -> Mapping[str, object]:
    try:
        results: object = view.function(given, as_of)
    except FeatureAssetsError:
        raise
    except Exception as error:
        what = f"{where}: the function raised {type(error).__name__}: {error}"
        raise TransformError(what, hint="an input is null where a feature has no value") from error
    if not isinstance(results, Mapping):
        what = f"{where}: the function returned {type(results).__name__}, not a mapping"
        raise TransformError(what, hint="return {feature: array}")
    for name in results:
        if name not in view.feature_names:
            what = f"{where}: the function returned {name!r}, which is not declared"
            raise TransformError(what, hint=did_you_mean(str(name), view.feature_names))
    return results


def _typed(results: Mapping[str, object], name: str, dtype: pa.DataType, rows: int, where: str) -> pa.Array:
    if name not in results:
        raise TransformError(
            f"{where}: the function did not return feature {name!r}", hint="return every declared feature"
        )
    column = _array(results[name], name, where)
    if len(column) != rows:
        what = f"{where}: feature {name!r} has {len(column)} values for {rows} rows"
        raise TransformError(what, hint="return one value per row; null where there is none")
    if pa.types.is_timestamp(column.type) and column.type.tz is None and pa.types.is_timestamp(dtype):
        raise NaiveTimestampError(name, where)
    try:
        return _flat(lossless(_chunked(column), dtype))
    except LossyCastError as error:
        of = "" if error.value is None else f"; the value {error.value!r} would change"
        what = f"{where}: feature {name!r} is {column.type}, declared as {dtype}{of}"
        raise TransformError(what, hint=f"declare it as {column.type}, or cast it in the function") from error


def _array(value: object, name: str, where: str) -> Column:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1 and not value.dtype.hasobject:
        return pa.array(value)
    what = f"{where}: feature {name!r} is {type(value).__name__}, not an array"
    raise TransformError(what, hint="return a pyarrow array, e.g. pa.array(values, pa.float64())")


def _chunked(column: Column) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _flat(column: Column) -> pa.Array:
    """One array."""
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
