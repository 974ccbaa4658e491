"""A column that is an array of Arrow only when it is asked: the same values in every form, bit by bit."""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.lazy_column import PLAIN_DTYPES, LazyColumn, arrow_of


@pytest.mark.parametrize("dtype", PLAIN_DTYPES, ids=str)
@given(data=st.data())
def test_any_bits_are_the_same_in_every_form(dtype: pa.DataType, data: st.DataObject) -> None:
    plain = PLAIN_DTYPES[dtype]
    size = data.draw(st.integers(0, 9))
    cells = st.integers(0, 1) if plain.kind == "b" else st.integers(0, 2 ** (8 * plain.itemsize) - 1)
    whole = [data.draw(cells).to_bytes(plain.itemsize, "little") for _ in range(size)]
    # As they lie in an item: between other bytes, where no number begins at a whole address.
    rows = np.frombuffer(b"".join(b"\xff" + one for one in whole), [("other", "u1"), ("value", plain)])
    column = LazyColumn(dtype, rows["value"])
    array = arrow_of(column)
    assert (array.type, array.null_count, len(array), len(column)) == (dtype, 0, size, size)
    said, meant = column.pylist(), [_value(one, plain) for one in whole]
    assert _bits(said, plain) == _bits(meant, plain) == _bits(array.to_pylist(), plain)
    assert {type(one) for one in said} <= {bool, int, float}
    assert column.arrow is array


def _value(cell: bytes, dtype: np.dtype[Any]) -> bool | float:
    if dtype.kind == "f":
        value: float = struct.unpack("<f" if dtype.itemsize == 4 else "<d", cell)[0]
        return value
    number = int.from_bytes(cell, "little", signed=dtype.kind == "i")
    return bool(number) if dtype.kind == "b" else number


def _bits(values: list[Any], dtype: np.dtype[Any]) -> bytes:
    return np.array(values, dtype).tobytes()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5))
def test_texts_are_the_same_in_both_forms(values: list[str]) -> None:
    column = LazyColumn(pa.string(), values)
    assert column.pylist() == column.arrow.to_pylist() == values
    assert arrow_of(column.arrow) is column.arrow
