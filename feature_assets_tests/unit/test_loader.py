"""`training_set` as it is called: what comes back, and what is refused and how that is said."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from feature_assets.definition.model import Label
from feature_assets.errors import ImmatureLabelError, InputError, NaiveTimestampError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.training.modes import what_if
from feature_assets_tests.histories import DAY, START, instants, partition_table
from feature_assets_tests.trained import (
    FLIGHTS,
    HOUR,
    ROUTES,
    WEATHER,
    Trained,
    day,
    fill,
    route_rows,
    spine_of,
    weather_rows,
)

SPINE = spine_of(FLIGHTS)
LABEL = Label("late", "landed_at", pa.bool_())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fill(str(tmp_path_factory.mktemp("lake")))


def rows(table: pa.Table, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


# ------------------------------------------------------------------------------------------------------ what comes back


def test_the_spine_comes_back_untouched_and_the_features_after_it(trained: Trained) -> None:
    table = trained.training_set(SPINE).table
    assert table.select(SPINE.column_names).equals(SPINE)
    assert table.column_names[len(SPINE.column_names) :] == [
        "here__temp",
        "here__gusts",
        "here__recent",
        "trip__warmer",
        "trip__hour",
        "trip__heavy",
        "there__temp",
        "there__sky",
        "routes__delay",
        "here__event_at",
        "here__availability",
        "there__event_at",
        "there__availability",
        "routes__event_at",
        "routes__availability",
        "availability",
    ]


def test_what_was_served(trained: Trained) -> None:
    """Day 4 becomes visible an hour into day 5; its correction, two hours into day 8; then day 7 is the newest."""
    table = trained.training_set(SPINE).table
    assert rows(table, "here__temp", "here__event_at") == [
        (13.75, START + 3 * DAY + 18 * HOUR),
        (24.75, START + 4 * DAY + 18 * HOUR),
        (17.75, START + 7 * DAY + 18 * HOUR),
        (17.75, START + 7 * DAY + 18 * HOUR),
        (13.75, START + 3 * DAY + 18 * HOUR),
        (None, None),
        # Expired: older than three days. What it was is still said.
        (None, START + 9 * DAY + 18 * HOUR),
    ]
    assert rows(table, "here__availability", "routes__availability", "availability") == [
        ("recorded", "recorded", "recorded"),
        ("recorded", "recorded", "recorded"),
        ("recorded", "recorded", "recorded"),
        ("recorded", None, "recorded"),
        ("recorded", "recorded", "recorded"),
        (None, "simulated", "simulated"),
        ("recorded", "recorded", "recorded"),
    ]
    assert table.column("routes__delay").to_pylist() == [3.1, 4.2, 7.1, None, 3.1, 0.2, 9.1]


def test_a_default_stands_in_for_what_is_absent(trained: Trained) -> None:
    at = [START + 5 * DAY + 13 * HOUR, START, START + 20 * DAY]
    table = trained.training_set(spine_of([("JFK", "JFK", "AA", 1, one) for one in at]), mode="as_of_event").table
    # Null in the row, nothing there, expired.
    assert rows(table, "here__gusts", "here__recent", "here__temp") == [
        (0, [5.0, 12.0], 15.5),
        (0, [0.0, 0.0], 10.0),
        (0, [], None),
    ]


def test_request_time_features_see_what_was_looked_up(trained: Trained) -> None:
    table = trained.training_set(SPINE).table
    assert rows(table, "trip__warmer", "trip__hour", "trip__heavy")[:4] == [
        (10.0, 0, False),
        (-10.0, 2, False),
        (10.0, 1, True),
        (None, 3, False),
    ]


def test_the_modes(trained: Trained) -> None:
    spine = spine_of([("JFK", "JFK", "AA", 1, START + 5 * DAY + 7 * HOUR)])
    hourly = what_if(delay=timedelta(minutes=5), every=HOUR)
    found = {
        str(mode): rows(trained.training_set(spine, mode=mode).table, "here__event_at", "here__availability")[0]
        for mode in ("as_served", "as_of_event", hourly, what_if(delay=HOUR))
    }
    assert list(found.values()) == [
        (START + 4 * DAY + 18 * HOUR, "recorded"),
        (START + 5 * DAY + 6 * HOUR, "simulated"),
        # It arrives at 7:00 and the job takes five minutes.
        (START + 5 * DAY + 0 * HOUR, "simulated"),
        (START + 5 * DAY + 0 * HOUR, "simulated"),
    ]
    later = spine_of([("JFK", "JFK", "AA", 1, START + 5 * DAY + 7 * HOUR + timedelta(minutes=5))])
    assert rows(trained.training_set(later, mode=hourly).table, "here__event_at") == [(START + 5 * DAY + 6 * HOUR,)]


def test_a_time_to_live_can_be_overridden(trained: Trained) -> None:
    spine = spine_of([("JFK", "JFK", "AA", 1, START + 20 * DAY)])
    assert trained.training_set(spine, ttl={"weather": None}).table.column("here__temp").to_pylist() == [19.75]
    short = trained.training_set(SPINE, ttl={"weather": HOUR})
    assert short.table.column("here__temp").null_count == len(FLIGHTS)
    assert short.manifest.pin("weather").ttl == HOUR


@pytest.mark.parametrize("limit", [70_000_000, 400_000_000])
def test_the_memory_limit_does_not_change_the_result(trained: Trained, limit: int) -> None:
    assert trained.training_set(SPINE, memory_limit=limit).table.equals(trained.training_set(SPINE).table)


def test_a_view_too_large_for_the_limit_is_looked_at_in_parts(trained: Trained) -> None:
    steps: list[tuple[str, int, int]] = []
    # What is left for a view after what is needed anyway: a few days at a time.
    limit = 64 * 1024**2 + 15_000
    parts = trained.training_set(SPINE, memory_limit=limit, progress=lambda *step: steps.append(step))
    assert parts.table.equals(trained.training_set(SPINE).table)
    assert [step for step in steps if step[0] == "weather"][-1][1:] > (4, 4)
    assert all(done <= total for _, done, total in steps)


def test_no_rows_in_no_rows_out(trained: Trained) -> None:
    table = trained.training_set(SPINE.slice(0, 0)).table
    assert table.num_rows == 0
    assert table.schema == trained.training_set(SPINE).table.schema


def test_from_pandas_and_back(trained: Trained) -> None:
    frame = SPINE.to_pandas()
    frame.index = pd.Index(range(100, 100 + len(FLIGHTS)), name="whatever")
    frame["origin"] = frame["origin"].astype("category")
    made = trained.training_set(frame)
    # pandas keeps text as large text, and categories as a dictionary.
    ours = made.table.drop_columns(SPINE.column_names)
    assert ours.equals(trained.training_set(SPINE).table.drop_columns(SPINE.column_names))
    back = made.to_pandas()
    assert back["origin"].tolist() == frame["origin"].tolist()
    assert str(back["trip__heavy"].dtype) == "bool"
    assert made.to_arrow() is made.table


def test_integers_stay_integers_in_pandas(trained: Trained) -> None:
    spine = SPINE.append_column("big", pa.array([2**60 + 1, *[None] * (len(FLIGHTS) - 1)], pa.int64()))
    back = trained.training_set(spine).to_pandas()
    assert str(back["big"].dtype) == "Int64"
    assert back["big"][0] == 2**60 + 1


@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_timestamps_of_any_unit_and_zone(trained: Trained, unit: str, zone: str) -> None:
    column = SPINE.column("at").cast(pa.timestamp(unit, zone))
    spine = SPINE.set_column(SPINE.schema.get_field_index("at"), "at", column)
    table = trained.training_set(spine).table
    assert table.column("at").type == pa.timestamp(unit, zone)
    assert table.drop_columns(["at"]).equals(trained.training_set(SPINE).table.drop_columns(["at"]))


def test_only_a_row_without_a_label_is_dropped(trained: Trained) -> None:
    landed = SPINE.column("landed_at").to_pylist()
    landed[2], landed[3] = None, trained.clock.now() + timedelta(microseconds=1)
    landed[4] = trained.clock.now()
    spine = SPINE.set_column(SPINE.schema.get_field_index("landed_at"), "landed_at", instants(landed))
    made = trained.training_set(spine, label=LABEL, immature="drop")
    assert made.table.column("flight").to_pylist() == [0, 1, 4, 5, 6]
    assert trained.training_set(SPINE, label=LABEL).table.num_rows == len(FLIGHTS)
    with pytest.raises(ImmatureLabelError, match=r"2 of 7 rows have a label 'late'.* first is row 2, known at never"):
        trained.training_set(spine, label=LABEL)


# ------------------------------------------------------------------------------------------------------ what is refused


def without(name: str) -> pa.Table:
    return SPINE.drop_columns([name])


def with_column(name: str, values: pa.Array) -> pa.Table:
    return SPINE.set_column(SPINE.schema.get_field_index(name), name, values)


def some(column: str, **rows: object) -> pa.Table:
    values = SPINE.column(column).to_pylist()
    for row, value in rows.items():
        values[int(row.removeprefix("row"))] = value
    return with_column(column, pa.array(values, SPINE.schema.field(column).type))


def dictionary_of(*values: str | None) -> pa.ChunkedArray:
    """Two dictionary-encoded chunks whose indices are all valid: where a value is null, the dictionary says so."""
    half = len(values) // 2
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(range(len(part)), pa.int32()), pa.array(part, pa.string()))
        for part in (values[:half], values[half:])
    ]
    assert not any(chunk.null_count for chunk in chunks)
    return pa.chunked_array(chunks)


def test_a_dictionary_without_nulls_is_read_as_its_values(trained: Trained) -> None:
    plain = SPINE.column("dest").to_pylist()
    expected, found = (
        trained.training_set(spine).table.column("there__temp").to_pylist()
        for spine in (SPINE, with_column("dest", dictionary_of(*plain)))
    )
    assert found == expected


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], type[InputError], str]] = {
    "unknown service": (lambda: SPINE, {"service": "late_flight"}, UnknownNameError, "did you mean 'late_flights'"),
    "unknown timestamp": (lambda: SPINE, {"timestamp": "att"}, UnknownNameError, "did you mean 'at'"),
    "unknown mode": (lambda: SPINE, {"mode": "as_serve"}, InputError, "did you mean 'as_served'"),
    "mode without its schedule": (lambda: SPINE, {"mode": "what_if"}, InputError, "what_if\\(delay="),
    "unknown view in ttl": (lambda: SPINE, {"ttl": {"wether": None}}, UnknownNameError, "did you mean 'weather'"),
    "negative ttl": (lambda: SPINE, {"ttl": {"weather": -HOUR}}, InputError, "negative"),
    "naive timestamp": (
        lambda: with_column("at", SPINE.column("at").cast(pa.timestamp("us"))),
        {},
        NaiveTimestampError,
        "'at'.*tz_localize",
    ),
    "naive timestamp from pandas": (
        lambda: SPINE.to_pandas().assign(at=lambda frame: frame["at"].dt.tz_localize(None)),
        {},
        NaiveTimestampError,
        "'at'",
    ),
    "text for a timestamp": (
        lambda: with_column("at", SPINE.column("at").cast(pa.string())),
        {},
        InputError,
        "'at' is string, not a timestamp.*to_datetime",
    ),
    "nanoseconds": (
        lambda: with_column("at", pa.array([1, *[0] * (len(FLIGHTS) - 1)]).cast(pa.timestamp("ns", "UTC"))),
        {},
        InputError,
        "'at'.*no whole microsecond.*floor",
    ),
    "no instant": (lambda: some("at", row3=None), {}, InputError, "'at' is null in 1 rows, first in row 3"),
    "no key": (
        lambda: some("dest", row1=None, row4=None),
        {},
        InputError,
        "'dest' \\(of 'there'\\) is null in 2 rows.*row 1",
    ),
    "no key, said by a dictionary": (
        lambda: with_column("dest", dictionary_of(*[None if row in {1, 4} else "JFK" for row in range(len(FLIGHTS))])),
        {},
        InputError,
        "'dest' \\(of 'there'\\) is null in 2 rows, the first is row 1\n.*leave it out",
    ),
    "key column missing": (
        lambda: without("dest"),
        {},
        InputError,
        "'dest' \\(key 'airport' of 'there'\\).*the spine has: flight, origin",
    ),
    "request field missing": (lambda: without("bags"), {}, InputError, "'bags' \\(request field of 'trip'\\)"),
    "key of another kind": (
        lambda: with_column("number", SPINE.column("number").cast(pa.string())),
        {},
        InputError,
        "'number' is string.*'routes' is int32",
    ),
    "key out of range": (
        lambda: with_column("number", pa.array([2**40] * len(FLIGHTS))),
        {},
        InputError,
        "'number' is int64.*int32; the value 1099511627776 would change",
    ),
    "a column of ours": (
        lambda: SPINE.append_column("here__temp", SPINE.column("flight")),
        {},
        InputError,
        "'here__temp' would be overwritten.*rename or drop",
    ),
    "availability": (
        lambda: SPINE.append_column("availability", SPINE.column("flight")),
        {},
        InputError,
        "'availability' would be overwritten",
    ),
    "a column twice": (
        lambda: pa.table([*SPINE.columns, SPINE.column("at")], names=[*SPINE.column_names, "at"]),
        {},
        InputError,
        "'at' is there more than once",
    ),
    "no table": (lambda: [("JFK", 1)], {}, InputError, "a list could not be read as a table"),
    "no label": (lambda: without("late"), {"label": LABEL}, UnknownNameError, "unknown label column 'late'"),
    "naive maturity": (
        lambda: with_column("landed_at", SPINE.column("landed_at").cast(pa.timestamp("us"))),
        {"label": LABEL},
        NaiveTimestampError,
        "'landed_at'",
    ),
    "memory for nothing": (lambda: SPINE, {"memory_limit": 1_000}, InputError, "more than memory_limit=1,000"),
    "memory for one bucket": (
        lambda: SPINE,
        {"memory_limit": 64 * 1024**2 + 6_700},
        InputError,
        "one bucket of its largest day.*raise memory_limit",
    ),
    "negative schedule": (lambda: SPINE, {"mode": None}, InputError, "not negative"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_is_refused_and_says_the_way_out(trained: Trained, case: str) -> None:
    spine, options, error, message = REFUSED[case]
    with pytest.raises(error, match=f"(?s){message}"):
        trained.training_set(spine(), **(options if options != {"mode": None} else {"mode": what_if(delay=-HOUR)}))


def test_a_view_without_anything_to_train_on(tmp_path: Path, trained: Trained) -> None:
    there = replace(trained, lake=Lake(str(tmp_path)))
    with pytest.raises(InputError, match=r"view 'weather'.*not been materialized(?s:.*)feature-assets materialize"):
        there.training_set(SPINE)
    there.commit(WEATHER, {0: weather_rows(0)})
    with pytest.raises(InputError, match="view 'routes'"):
        there.training_set(SPINE)
    feature_table(there.lake, ROUTES).commit({day(0): partition_table(ROUTES, route_rows(0))})
    with pytest.raises(InputError, match=r"view 'routes'.*no verdict on its first commit yet"):
        there.training_set(SPINE)
