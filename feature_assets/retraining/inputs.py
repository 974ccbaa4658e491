"""Inputs: how a table's columns become the numbers that a model learns from, and later the same numbers again.

Invariant: training and prediction read a column by the same rule, fixed in the manifest; a category that was not there
in training is missing, never another one's number.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.model import Model
from feature_assets.errors import RetrainingError, did_you_mean


class ModelInput(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the service. With `categories`, a value stands for its place among them; else it is a number."""

    name: str
    dtype: str
    categories: tuple[str, ...] | None = None


def inputs_of(model: Model, train: pa.Table) -> tuple[ModelInput, ...]:
    """The inputs of `model`, in the service's order; categories are the values in the rows it is trained on, sorted.

    Text is categorical, also if the model does not name it. Raises `RetrainingError` for a column that is not there, or
    that is neither a number nor a category.
    """
    found = []
    for output in model.service.output_columns:
        column = _column(train, output.name, f"model {model.name}")
        kind = column.type
        text = _is_text(kind)
        if text or output.name in model.categorical:
            if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
                raise RetrainingError(
                    f"model {model.name}: {output.name!r} is {kind}, which cannot be categorical",
                    hint="text, whole numbers and booleans can",
                )
            values = pc.unique(_as_text(column)).drop_null().to_pylist()
            found.append(ModelInput(name=output.name, dtype=str(kind), categories=tuple(sorted(values))))
        elif _is_number(kind):
            found.append(ModelInput(name=output.name, dtype=str(kind)))
        else:
            raise RetrainingError(
                f"model {model.name}: {output.name!r} is {kind}, which a model cannot learn from",
                hint="turn it into a number in an on-demand view, or leave it out of the service",
            )
    return tuple(found)


def matrix(table: pa.Table, inputs: Sequence[ModelInput], where: str) -> npt.NDArray[np.float64]:
    """The inputs as numbers: float64[rows, inputs], NaN where missing. Raises `RetrainingError` that names `where`."""
    values = np.empty((table.num_rows, len(inputs)), dtype=np.float64, order="F")
    for i, one in enumerate(inputs):
        column = _column(table, one.name, where)
        if one.categories is not None:
            codes = pc.index_in(_as_text(column), value_set=pa.array(one.categories, pa.string()))
            numbers = codes.cast(pa.float64())
        elif _is_number(column.type):
            # Whole numbers beyond 2**53 lose their last digits; as an input that is no loss, hence no safe cast.
            numbers = _numbers(column)
        else:
            raise RetrainingError(f"{where}: {one.name!r} is {column.type}, and was trained as {one.dtype}")
        values[:, i] = pc.fill_null(numbers, float("nan")).to_numpy()
    return values


def _column(table: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise RetrainingError(f"{where}: there is no column {name!r}", hint=did_you_mean(name, table.column_names))
    column = table[name]
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    return any(test(kind) for test in tests)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False)
