"""Corners of aggregates of numbers, each with the answer written out."""

from datetime import timedelta
from fractions import Fraction
from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.slot import Asked, Finished, Records
from feature_assets.compute.aggregates.sums import FixedSum
from feature_assets.definition.aggregate import Aggregate

TOP = 2**63 - 1


def answered(aggregate: Aggregate, columns: dict[str, pa.Array]) -> Finished:
    """Over one cell of these records."""
    (window,) = aggregate.windows
    size = len(next(iter(columns.values())))
    found = computation(aggregate, window, {name: column.type for name, column in columns.items()})
    records = Records(columns, np.arange(size), np.arange(size))
    cells = [slot.lift(records, np.zeros(size, np.int64), 1) for slot in found.slots]
    return found.finish(cells, Asked(np.array([10]), np.zeros(1, np.int64)))


def of(function: str, x: pa.Array, **given: Any) -> Finished:  # noqa: ANN401 - parameters of any function
    columns: dict[str, pa.Array] = {"x": x}
    columns |= {name: given.pop(name) for name in ("y", "key") if name in given}
    return answered(Aggregate(function, "x", timedelta(hours=1), **given), columns)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([3.0], [1.0, -1.0], None),
        ([3.0], [None], None),
        ([None], [2.0], None),
        ([3.0, None], [1.0, 1.0], 1.5),
        ([0.0], [-2.0], 0.0),
        ([inf], [-2.0], -inf),
        ([3.0], [inf], 0.0),
        ([inf], [1.0, -1.0], None),
    ],
)
def test_ratio(x: list[float | None], y: list[float | None], expected: float | None) -> None:
    size = max(len(x), len(y))
    columns = [pa.array([*part, *[None] * (size - len(part))], pa.float64()) for part in (x, y)]
    done = of("ratio", columns[0], y=columns[1], over="y")
    assert repr(done.values.to_pylist()) == repr([expected])
    assert not done.overflow.any()


def test_of_two_infinities_a_ratio_is_nan() -> None:
    done = of("ratio", pa.array([inf]), y=pa.array([inf]), over="y")
    assert repr(done.values.to_pylist()) == "[nan]"


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    for dtype in (pa.float64(), pa.int64()):
        done = of("histogram", pa.array([-1, 0, 1, 5, 6], dtype), edges=(0, 5))
        assert done.values.to_pylist() == [[1, 2, 2]]
    done = of("histogram", pa.array([nan, inf, -inf, 0.5]), edges=(0.5, 1))
    assert done.values.to_pylist() == [[1, 1, 1]]


def test_edges_beyond_a_double_are_compared_exactly() -> None:
    edge = 2**53 + 1
    assert of("histogram", pa.array([edge - 1, edge]), edges=(edge,)).values.to_pylist() == [[1, 1]]
    floats = pa.array([float(edge - 1), float(edge + 1)])
    assert of("histogram", floats, edges=(edge,)).values.to_pylist() == [[1, 1]]
    assert of("histogram", pa.array([-TOP - 1, TOP]), edges=(-1e300, 2.0**63)).values.to_pylist() == [[0, 2, 0]]


def test_one_entry_beyond_its_range_is_overflow() -> None:
    x, key = pa.array([TOP, 1, 5]), pa.array(["a", "a", "b"])
    done = of("sum", x, key=key, by="key")
    assert (done.values.to_pylist(), done.overflow.tolist()) == ([None], [True])
    done = of("sum", x.slice(1), key=key.slice(1), by="key")
    assert (done.values.to_pylist(), done.overflow.tolist()) == ([[("a", 1), ("b", 5)]], [False])


def test_a_sum_beyond_its_range_is_overflow_and_its_mean_is_none() -> None:
    x = pa.array([TOP, TOP])
    assert (of("sum", x).values.to_pylist(), of("sum", x).overflow.tolist()) == ([None], [True])
    assert of("mean", x).values.to_pylist() == [float(TOP)]
    large = pa.array([1.7e308, 1.7e308])
    assert (of("sum", large).values.to_pylist(), of("sum", large).overflow.tolist()) == ([None], [True])
    assert of("mean", large).values.to_pylist() == [1.7e308]
    far = pa.array([1e200, -1e200])
    assert of("var", far).overflow.tolist() == [True]
    assert of("stddev", far).values.to_pylist() == [1e200]


def test_the_extremes_of_int64_are_values() -> None:
    assert of("min", pa.array([TOP])).values.to_pylist() == [TOP]
    assert of("max", pa.array([-TOP - 1])).values.to_pylist() == [-TOP - 1]
    assert of("min", pa.array([None], pa.int64())).values.to_pylist() == [None]
    assert of("min", pa.array([inf, nan])).values.to_pylist() == [inf]
    assert of("max", pa.array([nan])).values.to_pylist() == [None]
    assert repr(of("max", pa.array([-0.0])).values.to_pylist()) == "[0.0]"


def test_spread_does_not_cancel() -> None:
    x = pa.array([1e9 + 0.25, 1e9 + 0.75])
    assert of("var", x).values.to_pylist() == [0.0625]
    assert of("stddev", x).values.to_pylist() == [0.25]


@pytest.mark.parametrize("scale", [0, 1, 3, 9, 18])
def test_decimals_of_large_numbers_are_exact(scale: int) -> None:
    """Where the product is beyond 2**52 it has an error that counts."""
    values = [2.0**place + extra for place in range(40, 56) for extra in (0.1, 0.5, 0.75, -0.3)] + [
        1e15,
        9.007e15,
        1e18,
    ]
    slot = FixedSum("x", scale)
    for value in values:
        records = Records({"x": pa.array([value, -value, value])}, np.arange(3), np.arange(3))
        cells = slot.lift(records, np.zeros(3, np.int64), 1)
        digits = cells.values[0].tolist()
        exact = sum(digit * 2 ** (32 * (cells.base + place)) for place, digit in enumerate(digits))
        assert exact == round(Fraction(value) * 10**scale)
