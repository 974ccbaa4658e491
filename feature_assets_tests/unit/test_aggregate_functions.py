"""Every function that may be declared is computed, of every column that it takes, and answers in its type."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.slot import Asked, Records
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.window import Window

HOUR = timedelta(hours=1)
DTYPES = [pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), INSTANT, pa.string(), pa.bool_()]
GIVEN: dict[str, dict[str, Any]] = {
    "last_k": {"k": 2},
    "last_distinct_k": {"k": 2},
    "top_k": {"k": 2},
    "approx_percentile": {"percentile": 0.5},
    "histogram": {"edges": (0, 1.5)},
    "ratio": {"over": "over"},
    "decayed_sum": {"half_life": HOUR},
    "decayed_count": {"half_life": HOUR},
}
EMPTY: dict[str, object] = {
    "count": 0,
    "rate": 0.0,
    "histogram": [0, 0, 0],
    "count_distinct": 0,
    "approx_count_distinct": 0,
    "decayed_sum": 0.0,
    "decayed_count": 0.0,
    "last_k": [],
    "last_distinct_k": [],
    "top_k": [],
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_of_nothing_it_answers_in_its_type(function: str, dtype: pa.DataType) -> None:
    rule = FUNCTIONS[function]
    if not rule.takes(dtype):
        return
    columns = {"x": dtype, "over": pa.float64(), "by": pa.string()}
    for by in (None, "by") if rule.may_be_keyed else (None,):
        aggregate = Aggregate(function, "x", HOUR, by=by, **GIVEN.get(function, {}))
        (window,) = aggregate.windows
        found = computation(aggregate, window, columns)
        done = found.finish([slot.empty(3) for slot in found.slots], Asked(np.full(3, 9), np.zeros(3, np.int64)))
        assert done.values.type == aggregate.dtype(window, columns)
        assert done.values.to_pylist() == [EMPTY.get(function) if by is None else []] * 3
        assert not done.overflow.any()


def test_of_a_series_each_window_is_a_map() -> None:
    aggregate = Aggregate("count", None, Window.series(HOUR, 3), by="by")
    columns = {"by": pa.string()}
    found = computation(aggregate, aggregate.windows[0], columns)
    records = Records({"by": pa.array(["b", None, "a", "b"])}, np.arange(4), np.arange(4))
    cells = [slot.lift(records, np.zeros(4, np.int64), 1) for slot in found.slots]
    done = found.finish(cells, Asked(np.full(1, 9), np.zeros(1, np.int64)))
    assert done.values.type == pa.map_(pa.string(), pa.int64())
    assert done.values.to_pylist() == [[("a", 1), ("b", 2)]]


def test_decay_is_counted_in_hops_of_the_window() -> None:
    columns = {"x": pa.int64()}
    records = Records({"x": pa.array([1, 2, 4, 8])}, np.array([0, 59_999_999, 60_000_000, 500_000_000]), np.arange(4))
    answers = {}
    for hop in (timedelta(minutes=1), timedelta(minutes=2)):
        window = Window.sliding(HOUR, hop=hop)
        found = computation(Aggregate("decayed_sum", "x", window, half_life=timedelta(minutes=1)), window, columns)
        cells = [slot.lift(records, np.zeros(4, np.int64), 1) for slot in found.slots]
        (answers[hop],) = found.finish(cells, Asked(np.array([119_999_999]), np.zeros(1, np.int64))).values.to_pylist()
    # The last record is dated ahead: it weighs 1, and not more.
    assert answers == {timedelta(minutes=1): 3 / 2 + 4 + 8, timedelta(minutes=2): 15.0}
