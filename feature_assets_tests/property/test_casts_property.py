"""Casts of numbers and times against Python's own arithmetic, which has no widths."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.casts import LossyCastError, lossless

INTEGERS = {pa.int8(): 7, pa.int16(): 15, pa.int32(): 31, pa.int64(): 63}
EXACT = {pa.float32(): 24, pa.float64(): 53}


def cast_or_none(values: list[int | None], source: pa.DataType, target: pa.DataType) -> list[object] | None:
    try:
        return list(lossless(pa.chunked_array([pa.array(values, source)]), target).to_pylist())
    except LossyCastError as error:
        return None if error.value in values else [error]


@st.composite
def integers(draw: st.DrawFn) -> tuple[pa.DataType, list[int | None]]:
    dtype = draw(st.sampled_from(list(INTEGERS)))
    bound = 2 ** INTEGERS[dtype]
    near = st.sampled_from([2**bits + by for bits in (7, 15, 24, 31, 53) for by in (-1, 0, 1)])
    number = (st.integers(-bound, bound - 1) | near | near.map(lambda n: -n)).filter(lambda n: -bound <= n < bound)
    return dtype, draw(st.lists(st.none() | number, max_size=8))


@given(integers(), st.sampled_from(list(INTEGERS)))
def test_integers_fit_iff_they_are_in_range(drawn: tuple[pa.DataType, list[int | None]], target: pa.DataType) -> None:
    source, values = drawn
    bound = 2 ** INTEGERS[target]
    fits = all(value is None or -bound <= value < bound for value in values)
    assert cast_or_none(values, source, target) == (values if fits else None)


@given(integers(), st.sampled_from(list(EXACT)))
def test_integers_become_floats_only_when_exact(
    drawn: tuple[pa.DataType, list[int | None]], target: pa.DataType
) -> None:
    source, values = drawn
    fits = all(value is None or abs(value) <= 2 ** EXACT[target] for value in values)
    assert cast_or_none(values, source, target) == (values if fits else None)


@given(
    st.lists(
        st.none() | st.integers(-(2**62), 2**62) | st.integers(-(2**52), 2**52).map(lambda n: n * 1000), max_size=8
    )
)
def test_nanoseconds_become_microseconds_only_when_whole(values: list[int | None]) -> None:
    given_ns = pa.chunked_array([pa.array(values, pa.timestamp("ns", "UTC"))])
    whole = all(value is None or value % 1000 == 0 for value in values)
    try:
        cast = lossless(given_ns, pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    except LossyCastError:
        assert not whole
    else:
        assert whole
        assert cast == [None if value is None else value // 1000 for value in values]
