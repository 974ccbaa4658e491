"""What slots of numbers lift: a column's values that are not null, as numpy has them, and where each belongs.

Invariant: an integer, a date (days) or an instant (microseconds) is int64, a float is float64; each exactly.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.slot import Ints, Records

Numbers = npt.NDArray[np.int64] | npt.NDArray[np.float64]


def is_float(dtype: pa.DataType) -> bool:
    """Whether the column's values are float64 here."""
    return bool(pa.types.is_floating(dtype))


def valid(records: Records, column: str, cell: Ints) -> tuple[Ints, Ints]:
    """The rows of which a column is not null, and the cells of these."""
    values = records.columns[column]
    if not values.null_count:
        return np.arange(len(cell)), cell
    rows = np.flatnonzero(np.asarray(values.is_valid()))
    return rows, cell[rows]


def integers_of(records: Records, column: str, cell: Ints) -> tuple[Ints, Ints]:
    """The values of a column of integers, dates or instants, and their cells."""
    values = records.columns[column]
    if pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    rows, cells = valid(records, column, cell)
    found = np.asarray(values.cast(pa.int64()).fill_null(0)).astype(np.int64, copy=False)
    return found if len(rows) == len(found) else found[rows], cells


def floats_of(records: Records, column: str, cell: Ints) -> tuple[npt.NDArray[np.float64], Ints]:
    """The values of a column of floats, and their cells. NaN and the infinities are values."""
    values = records.columns[column]
    rows, cells = valid(records, column, cell)
    found = np.asarray(values.fill_null(0.0)).astype(np.float64, copy=False)
    return found if len(rows) == len(found) else found[rows], cells
