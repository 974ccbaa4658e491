"""On-demand views, called: the same for a million rows and for one, and checked on both sides."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.compute.on_demand import on_demand_columns
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature
from feature_assets.errors import InputError, NaiveTimestampError, TransformError
from feature_assets_tests.weather import INSTANT

Columns = Mapping[str, pa.Array]
AT = pa.array([datetime(2024, 3, 10, hour, tzinfo=UTC) for hour in (0, 6, 12)], INSTANT)
GIVEN = {
    "distance": pa.array([100, None, 300], pa.int64()),
    "weather__temp": pa.array([1.5, 2.5, None]),
    "not_asked_for": pa.array(["a", "b", "c"]),
}


def planned(columns: Columns, as_of: pa.Array) -> Columns:
    return {
        "warm": pc.multiply(columns["weather__temp"], columns["distance"].cast(pa.float64())),
        "hour": pc.hour(as_of),
    }


def plan(function: object = planned, **changes: object) -> OnDemandView:
    fields: dict[str, Any] = {
        "request": [RequestField("distance", pa.int64())],
        "inputs": ["weather__temp"],
        "features": [Feature("warm", pa.float64()), Feature("hour", pa.int64())],
    }
    return OnDemandView("plan", **{**fields, "function": function, **changes})


def test_features_come_by_name_in_the_order_of_the_definition() -> None:
    answer = on_demand_columns(plan(), GIVEN, AT)
    assert list(answer) == ["warm", "hour"]
    assert answer["warm"].to_pylist() == [150.0, None, None]
    assert answer["hour"].to_pylist() == [0, 6, 12]
    assert all(isinstance(column, pa.Array) for column in answer.values())


def test_one_row_and_chunks_give_what_the_whole_gives() -> None:
    whole = on_demand_columns(plan(), GIVEN, AT)
    chunked = {name: pa.chunked_array([column.slice(0, 1), column.slice(1)]) for name, column in GIVEN.items()}
    assert on_demand_columns(plan(), chunked, pa.chunked_array([AT.slice(0, 2), AT.slice(2)])) == whole
    for row in range(3):
        one = {name: column.slice(row, 1) for name, column in GIVEN.items()}
        answer = on_demand_columns(plan(), one, AT.slice(row, 1))
        assert {name: column.to_pylist() for name, column in answer.items()} == {
            name: column.slice(row, 1).to_pylist() for name, column in whole.items()
        }


def test_the_function_sees_what_it_asked_for_and_nothing_else() -> None:
    seen: dict[str, pa.Array] = {}

    def spying(columns: Columns, as_of: pa.Array) -> Columns:
        seen.update(columns)
        return planned(columns, as_of)

    on_demand_columns(plan(spying), {**GIVEN, "distance": GIVEN["distance"].cast(pa.int32())}, AT)
    assert list(seen) == ["distance", "weather__temp"]
    assert seen["distance"].type == pa.int64()


def test_no_rows_need_no_call() -> None:
    def never(_columns: Columns, _as_of: pa.Array) -> Columns:
        raise AssertionError("called for nothing")

    empty = {name: column.slice(0, 0) for name, column in GIVEN.items()}
    answer = on_demand_columns(plan(never), empty, AT.slice(0, 0))
    assert {name: (len(column), column.type) for name, column in answer.items()} == {
        "warm": (0, pa.float64()),
        "hour": (0, pa.int64()),
    }


def test_arrays_of_numpy_are_arrays() -> None:
    def with_numpy(columns: Columns, _as_of: pa.Array) -> Mapping[str, object]:
        return {"warm": np.zeros(len(columns["distance"])), "hour": np.arange(3, dtype=np.int16)}

    answer = on_demand_columns(plan(with_numpy), GIVEN, AT)
    assert (answer["hour"].to_pylist(), answer["hour"].type) == ([0, 1, 2], pa.int64())


def giving(**results: object) -> OnDemandView:
    return plan(lambda columns, as_of: {**planned(columns, as_of), **results})


FROM_THE_FUNCTION: dict[str, tuple[OnDemandView, list[str]]] = {
    "too short": (giving(hour=pa.array([1])), ["feature 'hour' has 1 values for 3 rows", "one value per row"]),
    "too long": (giving(hour=pa.array([1] * 4)), ["feature 'hour' has 4 values for 3 rows"]),
    "not declared": (
        giving(hours=pa.array([1] * 3)),
        ["returned 'hours', which is not declared", "did you mean 'hour'?"],
    ),
    "missing": (
        plan(lambda columns, as_of: {"warm": planned(columns, as_of)["warm"]}),
        ["did not return feature 'hour'", "every declared feature"],
    ),
    "another type": (
        giving(hour=pa.array([1.0, 2.0, 3.5])),
        ["feature 'hour' is double, declared as int64", "declare it as double, or cast it"],
    ),
    "another value": (
        giving(warm=pa.array([1, 2**53 + 1, 0])),
        ["feature 'warm' is int64, declared as double; the value 9007199254740993 would change"],
    ),
    "a list": (giving(hour=[1, 2, 3]), ["feature 'hour' is list, not an array", "pa.array(values, pa.float64())"]),
    "objects": (giving(hour=np.array([1, 2, None])), ["feature 'hour' is ndarray, not an array"]),
    "a matrix": (giving(hour=np.zeros((3, 1))), ["feature 'hour' is ndarray, not an array"]),
    "no mapping": (plan(lambda _columns, as_of: as_of), ["the function returned TimestampArray, not a mapping"]),
    "raises": (
        plan(lambda columns, _as_of: columns["distances"]),
        ["the function raised KeyError: 'distances'", "null where a feature has no value"],
    ),
}


@pytest.mark.parametrize(("view", "parts"), FROM_THE_FUNCTION.values(), ids=FROM_THE_FUNCTION)
def test_a_wrong_answer_is_refused(view: OnDemandView, parts: list[str]) -> None:
    with pytest.raises(TransformError) as caught:
        on_demand_columns(view, GIVEN, AT)
    message = str(caught.value)
    assert message.startswith(f"{view.place}: OnDemandView 'plan': ")
    for part in parts:
        assert part in message


TO_THE_FUNCTION: dict[str, tuple[dict[str, pa.Array], pa.Array, str]] = {
    "missing": ({"distanc": GIVEN["distance"]}, AT, "column 'distance' is missing\nHint: did you mean 'distanc'?"),
    "too short": (GIVEN, AT.slice(0, 2), "column 'distance' has 3 rows, as_of has 2"),
    "another type": (
        {**GIVEN, "distance": pa.array([1.5, 2, 3])}, AT, "'distance' of the request is double, declared as int64",
    ),
    "another value": (
        {**GIVEN, "distance": pa.array([1, 2**63, 3], pa.uint64())}, AT, "; the value 9223372036854775808 would change",
    ),
    "times in seconds": (GIVEN, AT.cast(pa.timestamp("s", "UTC")), "as_of is timestamp[s, tz=UTC]"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "as_of", "message"), TO_THE_FUNCTION.values(), ids=TO_THE_FUNCTION)
def test_a_wrong_request_is_refused(columns: dict[str, pa.Array], as_of: pa.Array, message: str) -> None:
    with pytest.raises(InputError) as caught:
        on_demand_columns(plan(), columns, as_of)
    assert message in str(caught.value)


def test_a_time_without_a_zone_is_refused_by_its_column() -> None:
    naive = AT.cast(pa.timestamp("us"))
    with pytest.raises(NaiveTimestampError, match="column 'as_of'"):
        on_demand_columns(plan(), GIVEN, naive)
    timed = plan(request=[RequestField("distance", INSTANT)])
    with pytest.raises(NaiveTimestampError, match="column 'distance'"):
        on_demand_columns(timed, {**GIVEN, "distance": naive}, AT)
    answering = plan(lambda _columns, _as_of: {"hour": naive}, features=[Feature("hour", INSTANT)])
    with pytest.raises(NaiveTimestampError, match="column 'hour'"):
        on_demand_columns(answering, GIVEN, AT)


def test_an_error_of_this_package_comes_through_as_it_is() -> None:
    wanted = InputError("from deep inside")

    def refusing(_columns: Columns, _as_of: pa.Array) -> Columns:
        raise wanted

    with pytest.raises(InputError) as caught:
        on_demand_columns(plan(refusing), GIVEN, AT)
    assert caught.value is wanted
