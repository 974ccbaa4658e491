"""What may be asked of the online reader, and how what may not is refused."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature
from feature_assets.errors import InputError, NaiveTimestampError, UnknownNameError
from feature_assets.serving.reader import OnlineReader
from feature_assets_tests.histories import DAY, START, view_of
from feature_assets_tests.published import Published, at

VIEW = view_of("flights", {"number": pa.int32(), "airport": pa.string()}, {"delay": pa.float64()})
INSTANT = pa.timestamp("us", "UTC")
PLAN = OnDemandView(
    "plan",
    request=[RequestField("planned_at", INSTANT), RequestField("tags", pa.list_(pa.string()))],
    function=lambda columns, _: {"planned_at": columns["planned_at"]},
    features=[Feature("planned_at", INSTANT)],
)
GOOD: Mapping[str, object] = {"number": 1, "dest": "JFK", "planned_at": at(5), "tags": ["a"]}


@pytest.fixture(scope="module")
def reader() -> OnlineReader:
    world = Published()
    world.publish(VIEW, [{"number": 1, "airport": "JFK", "event_at": at(3), "delay": 1.5}])
    return world.reader(VIEW.alias("to", airport="dest"), PLAN)


TYPED = pa.table(
    {
        "number": pa.array([1], pa.int32()),
        "dest": ["JFK"],
        "planned_at": pa.array([at(5)], INSTANT),
        "tags": pa.array([["a"]], pa.list_(pa.string())),
    }
)
FORMS: dict[str, object] = {
    "mappings": [GOOD],
    "a tuple of mappings": ({**GOOD, "number": np.int64(1)},),
    "an arrow table": TYPED,
    "a record batch": TYPED.to_batches()[0],
    "other types of the same values": TYPED.set_column(0, "number", pa.array([1], pa.int64()))
    .set_column(1, "dest", pa.array(["JFK"]).dictionary_encode())
    .set_column(2, "planned_at", pa.array([at(5)], pa.timestamp("ms", "Europe/Paris"))),
    "a pandas frame": pd.DataFrame([GOOD], index=[99]),
    "a pandas frame with columns that are nobody's business": (
        pd.DataFrame([GOOD]).assign(more=1j).set_axis([*GOOD, 5], axis="columns")
    ),
    "a narwhals frame": nw.from_native(TYPED).to_native(),
}


@pytest.mark.parametrize("entities", FORMS.values(), ids=FORMS.keys())
def test_forms_of_a_request(reader: OnlineReader, entities: Any) -> None:  # noqa: ANN401 - any form
    answer = reader.get("it", entities)
    assert answer.to_pylist() == [{"to__delay": 1.5, "plan__planned_at": at(5)}]


REFUSED: dict[str, tuple[object, str]] = {
    "one mapping": (GOOD, "request: one mapping was given\nHint: give a list"),
    "a row that is none": ([GOOD, "JFK"], "row 1 is str, not a mapping"),
    "text": ("JFK", "a str cannot be read as entities"),
    "columns that are missing": (
        TYPED.select(["number"]),
        (
            "service 'it' needs columns that are not there: 'dest' (key 'airport' of 'to'), "
            "'planned_at' (request field of 'plan'), 'tags' (request field of 'plan')\nHint: there are: number"
        ),
    ),
    "a row without a column": (
        [GOOD, {"number": 1, "planned_at": at(1), "tags": None}],
        "row 1: service 'it' needs columns that are not there: 'dest' (key 'airport' of 'to')",
    ),
    "a column twice": (TYPED.append_column("dest", pa.array(["LGA"])), "'dest' is there more than once"),
    "a key that would be changed": (
        [{**GOOD, "number": 2**40}],
        f"column 'number' (key 'number' of 'to') is int64, and the service takes int32; the value {2**40} would",
    ),
    "a key of another kind": ([{**GOOD, "number": "1"}], "is string, and the service takes int32"),
    "a float as a whole number": ([{**GOOD, "number": 1.0}], "is double, and the service takes int32"),
    "values of several kinds": ([GOOD, {**GOOD, "number": "x"}], "'number' cannot be read together (int, str)"),
    "a nested value of another kind": ([{**GOOD, "tags": [1]}], "'tags' cannot be read together (list)"),
}


@pytest.mark.parametrize(("entities", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_asked(reader: OnlineReader, entities: Any, message: str) -> None:  # noqa: ANN401 - anything
    with pytest.raises(InputError, match=re.escape(message)):
        reader.get("it", entities)


def test_a_time_without_a_zone_is_refused(reader: OnlineReader) -> None:
    naive = datetime(2024, 3, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(NaiveTimestampError, match="'planned_at'"):
        reader.get("it", [{**GOOD, "planned_at": naive}])
    with pytest.raises(InputError, match="as_of: 2024-03-01T00:00:00 has no time zone"):
        reader.get("it", [GOOD], as_of=naive)


def test_an_unknown_service_is_refused(reader: OnlineReader) -> None:
    with pytest.raises(UnknownNameError, match="'its'"):
        reader.get("its", [GOOD])


def test_the_past_is_the_loaders(reader: OnlineReader) -> None:
    written = START + DAY
    assert reader.get("it", [GOOD], as_of=written).as_of == written
    row = re.escape("is before 'to' of row 1 was last written, 2024-03-02T00:00:00+00:00")
    with pytest.raises(InputError, match=f"(?s){row}.*FeatureStore.training_set"):
        reader.get("it", [{**GOOD, "number": 2}, GOOD], as_of=written - timedelta(microseconds=1))


def test_a_clock_behind_the_writers_is_no_fault_of_the_caller() -> None:
    world = Published()
    world.publish(VIEW, [{"number": 1, "airport": "JFK", "event_at": at(3), "delay": 1.5}])
    reader = world.reader(VIEW)
    world.clock.at = datetime(2024, 3, 1, 12, tzinfo=UTC)
    answer = reader.get("it", [{"number": 1, "airport": "JFK"}])
    assert answer.to_pylist() == [{"flights__delay": 1.5}]
