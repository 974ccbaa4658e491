"""A column as it came, numpy's or Python's values, and an Arrow array as soon as somebody needs one.

Invariant: no value is null, all are of `dtype`, and `arrow` and `pylist` say the same. Only types are taken of which
that is so without looking at the values: numbers of numpy's, bools, texts.
It converts nothing else.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PLAIN_DTYPES: Final = {
    pa.bool_(): np.dtype("?"),
    **{pa.from_numpy_dtype(code): np.dtype(f"<{code}") for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")},
    pa.float32(): np.dtype("<f4"),
    pa.float64(): np.dtype("<f8"),
}
"""By type of Arrow, the little-endian type of numpy whose values are the same, bit by bit."""


class LazyColumn:
    """`values`: of the type of numpy that `PLAIN_DTYPES` has for `dtype`, contiguous or not; or Python's, in a list."""

    __slots__ = ("_array", "_values", "dtype")

    def __init__(self, dtype: pa.DataType, values: npt.NDArray[Any] | Sequence[Any]) -> None:
        self.dtype = dtype
        self._values = values
        self._array: pa.Array | None = None

    def __len__(self) -> int:
        return len(self._values)

    @property
    def arrow(self) -> pa.Array:
        """As an array of Arrow. It is made once."""
        if self._array is None:
            values = self._values
            self._array = pa.array(
                np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values, self.dtype
            )
        return self._array

    def pylist(self) -> list[Any]:
        """As Python's own values."""
        found: list[Any] = self._values.tolist() if isinstance(self._values, np.ndarray) else list(self._values)
        return found


Column: TypeAlias = pa.Array | LazyColumn
"""A column of either kind."""


def arrow_of(column: Column) -> pa.Array:
    """The column as an array of Arrow."""
    return column.arrow if isinstance(column, LazyColumn) else column
