"""The flights project: readers that know no future, views against plain loops, request-time features, the spine."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from statistics import mean

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.compute.engine import Period
from feature_assets.compute.transform import transformed
from feature_assets.definition.view import Expectation, FeatureView
from feature_assets.examples.flights.data import flights, weather
from feature_assets.examples.flights.project import project, spine
from feature_assets.examples.flights.request_time import of_this_flight, on_the_clock
from feature_assets.examples.flights.sources import FLIGHTS, WEATHER

Row = dict[str, object]
DAY = datetime(2013, 7, 10, tzinfo=UTC)
YEAR = Period(datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 2, tzinfo=UTC))
ONE_DAY = timedelta(days=1)
EVER = datetime(2015, 1, 1, tzinfo=UTC)


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2013, 7, 10, hour, minute, tzinfo=UTC)


def number(row: Row, column: str) -> float | None:
    value = row[column]
    assert value is None or isinstance(value, float)
    return value


def average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def expected_statistics(group: list[Row]) -> Row:
    landed = [value for row in group if (value := number(row, "arr_delay")) is not None]
    return {
        "arrived_at": max(row["outcome_known_at"] for row in group),  # type: ignore[type-var] # instants
        "flights": len(group),
        "mean_dep_delay": average(number(row, "dep_delay") for row in group),
        "mean_arr_delay": average(landed),
        "share_late": average(float(value > 30) for value in landed),
        "share_cancelled": sum(row["departed_at"] is None for row in group) / len(group),
    }


def assert_same(got: Row, expected: Mapping[str, object]) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), name


def hour_after(row: Row) -> datetime:
    scheduled = row["scheduled_departure_at"]
    assert isinstance(scheduled, datetime)
    return scheduled.replace(minute=0) + timedelta(hours=1)


def computed(view: FeatureView, first: datetime, day: datetime) -> list[Row]:
    """The partition of `day`, from a source that is read from `first` on, as rows without the order column."""
    source = view.sources[0]
    table = transformed(view, {source.name: source.reader(first, day + ONE_DAY, EVER)}, Period(day, day + ONE_DAY))
    rows: list[Row] = table.drop_columns(["sequence"]).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("carrier_hourly", {"carrier": "carrier"}),
        ("dest_hourly", {"airport": "dest"}),
    ],
)
def test_hourly_statistics_agree_with_a_plain_loop(name: str, keys: Mapping[str, str]) -> None:
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in FLIGHTS.reader(DAY, DAY + ONE_DAY, EVER).to_pylist():
        groups[(*(row[column] for column in keys.values()), hour_after(row))].append(row)
    rows = {(*(row[key] for key in keys), row["event_at"]): row for row in computed(project.view(name), DAY, DAY)}
    assert rows.keys() == groups.keys()
    for key, group in groups.items():
        expected = dict(zip([*keys, "event_at"], key, strict=True)) | expected_statistics(group)
        assert_same(rows[key], expected)


@pytest.mark.parametrize(
    ("name", "keys", "more"),
    [
        ("origin_windows", {"airport": "origin"}, ()),
        ("route_windows", {"origin": "origin", "dest": "dest"}, ()),
        ("carrier_windows", {"carrier": "carrier"}, ()),
        ("aircraft_windows", {"tailnum": "tailnum"}, ("dest",)),
    ],
)
def test_a_flight_is_one_record_of_whoever_is_known(name: str, keys: Mapping[str, str], more: tuple[str, ...]) -> None:
    flown = FLIGHTS.reader(DAY, DAY + ONE_DAY, EVER).to_pylist()
    expected = [
        {
            **{key: row[column] for key, column in keys.items()},
            **{column: row[column] for column in (*more, "dep_delay", "arr_delay", "air_time")},
            "event_at": row["scheduled_departure_at"],
            "arrived_at": row["outcome_known_at"],
            "late": None if row["arr_delay"] is None else int(row["arr_delay"] > 30),
            "cancelled": int(row["departed_at"] is None),
        }
        for row in flown
        if all(row[column] is not None for column in keys.values())
    ]
    assert (len(expected) < len(flown)) == (name == "aircraft_windows")
    rows = computed(project.view(name), DAY, DAY)
    assert sorted(map(in_order, rows)) == sorted(map(in_order, expected))


def in_order(row: Row) -> tuple[tuple[str, str], ...]:
    """A row as what can be sorted; equal numbers are equal, whatever their type."""
    return tuple(
        (name, f"{value:.3f}" if isinstance(value, float | int) else str(value)) for name, value in sorted(row.items())
    )


def test_windows_reach_from_ten_minutes_to_thirty_days_and_a_week_back() -> None:
    windows = {window for view in project.views for one in view.aggregates for window in one.windows}
    assert {window.label for window in windows} >= {"10m", "1h", "3h", "6h", "12h", "1d", "7d", "30d"}
    assert {window.label for window in windows if window.closed} == {"1d_tumbling", "1d_offset_6d"}


def test_an_impossible_wind_is_unknown_and_no_gust_is_none() -> None:
    day = datetime(2013, 2, 12, tzinfo=UTC)
    raw = {(row["airport"], row["observed_at"]): row for row in WEATHER.reader(day, day + ONE_DAY, EVER).to_pylist()}
    assert max(row["wind_speed"] for row in raw.values()) > 1_000
    rows = computed(project.view("airport_weather"), day, day)
    assert len(rows) == len(raw) == 72
    for row in rows:
        published = raw[row["airport"], row["event_at"]]
        assert row["wind_gust"] == (published["wind_gust"] or 0.0)
        assert row["wind_speed"] == (None if published["wind_speed"] > 1_000 else published["wind_speed"])
        assert row["arrived_at"] == published["arrived_at"]


def test_a_flight_is_read_from_the_instant_of_its_outcome() -> None:
    (flight,) = flights().filter(pc.field("flight_id") == "2013-07-10-B6-1-JFK").to_pylist()
    scheduled, known = flight["scheduled_departure_at"], flight["outcome_known_at"]
    start = scheduled.replace(hour=0, minute=0)

    def is_read(now: datetime) -> bool:
        return "2013-07-10-B6-1-JFK" in FLIGHTS.reader(start, start + ONE_DAY, now)["flight_id"].to_pylist()

    assert not is_read(known - timedelta(microseconds=1))
    assert is_read(known)


def test_a_day_is_incomplete_on_the_next_morning_and_complete_one_day_later() -> None:
    morning = DAY + timedelta(days=1, hours=6, minutes=30)
    early = FLIGHTS.reader(DAY, DAY + ONE_DAY, morning)
    late = FLIGHTS.reader(DAY, DAY + ONE_DAY, morning + ONE_DAY)
    assert 0 < late.num_rows - early.num_rows < 0.1 * late.num_rows
    assert late.equals(FLIGHTS.reader(DAY, DAY + ONE_DAY, EVER))
    assert pc.max(early["outcome_known_at"]).as_py() <= morning


def test_readers_cover_every_row_once_and_give_the_declared_columns() -> None:
    for source, table, edges in (
        (FLIGHTS, flights(), "scheduled_departure_at"),
        (WEATHER, weather(), "observed_at"),
    ):
        days = [YEAR.start + at * ONE_DAY for at in range((YEAR.end - YEAR.start).days)]
        parts = [source.reader(day, day + ONE_DAY, EVER) for day in days]
        assert sum(part.num_rows for part in parts) == table.num_rows
        assert {part.schema for part in parts} == {source.schema}
        assert all(
            pc.all(pc.equal(pc.floor_temporal(part[edges], unit="day"), day)).as_py() in {True, None}
            for part, day in zip(parts, days, strict=True)
        )
        assert (days[0].date(), days[-1].date() + ONE_DAY) == (source.start, source.end)


def test_a_day_without_weather_is_an_empty_partition() -> None:
    day = datetime(2013, 12, 31, tzinfo=UTC)
    assert WEATHER.reader(day, day + ONE_DAY, EVER).num_rows == 0
    assert computed(project.view("airport_weather"), day, day) == []


def failing_days(table: pa.Table, expectation: Expectation, *, at_end: bool) -> int:
    """In how many UTC days the expectation does not hold; `at_end`: an event at midnight is of the day that ends."""
    assert expectation.column is not None
    values = table.select(["event_at", expectation.column]).to_pandas()
    column = values[expectation.column]
    if expectation.type == "expect_column_values_to_not_be_null":
        holds, counts = column.notna(), column.notna() | True
    else:
        assert expectation.type == "expect_column_values_to_be_between"
        counts = column.notna()
        holds = column.between(expectation.arguments["min_value"], expectation.arguments["max_value"])
    days = (values["event_at"] - np.timedelta64(int(at_end), "us")).dt.floor("D")
    share = holds[counts].groupby(days[counts]).mean()
    return int((share < (expectation.mostly or 1.0)).sum())


@pytest.mark.parametrize("view", project.views, ids=lambda view: view.name)
def test_blocking_expectations_hold_on_every_day_and_warnings_are_rare(view: FeatureView) -> None:
    """Hours and records nest in a year as in days, so the year is computed as one period."""
    source = view.sources[0]
    assert not view.lookback
    table = transformed(view, {source.name: source.reader(YEAR.start, YEAR.end, EVER)}, YEAR)
    assert table.num_rows > 5_000
    assert {expectation.severity for expectation in view.expectations} == {"critical", "warning"}
    for expectation in view.expectations:
        found = failing_days(table, expectation, at_end=not view.aggregates)
        assert found == 0 if expectation.severity == "critical" else 0 < found < 25, expectation


def test_every_view_is_declared_as_published_in_the_early_morning() -> None:
    for view in project.views:
        assert view.delay == timedelta(hours=6, minutes=30)
        assert (view.schedule, view.revisit) == ("30 6 * * *", 1)
        assert view.owner
        assert view.description


def test_origin_and_destination_are_two_roles_of_the_airport() -> None:
    service = project.service("flight_delay_v1")
    roles = {ref.prefix: ref for ref in service.refs}
    assert roles["origin"].view.entity is roles["destination"].view.entity is project.entity("airport")
    assert roles["origin"].key_map == (("airport", "origin"),)
    assert roles["destination"].key_map == (("airport", "dest"),)
    required = [column.name for column in service.key_columns]
    assert required == ["origin", "dest", "carrier", "tailnum", "distance", "scheduled_minutes"]
    assert len(service.output_columns) == 30


def test_the_clock_is_new_yorks_over_both_switches() -> None:
    instants = [
        datetime(2013, 3, 10, 6, 45, tzinfo=UTC),  # Sunday 01:45, winter time
        datetime(2013, 3, 10, 7, 15, tzinfo=UTC),  # 03:15, summer time
        datetime(2013, 11, 3, 5, 30, tzinfo=UTC),  # 01:30, summer time
        datetime(2013, 11, 3, 6, 30, tzinfo=UTC),  # 01:30 again
        datetime(2013, 7, 9, 3, 59, tzinfo=UTC),  # Monday 23:59
    ]
    got = on_the_clock({}, pa.array(instants, pa.timestamp("us", "UTC")))
    assert np.asarray(got["hour"]).tolist() == pytest.approx([1.75, 3.25, 1.5, 1.5, 23 + 59 / 60])
    assert got["weekday"].to_pylist() == [6, 6, 6, 6, 0]


def test_request_time_features_of_one_row_are_those_of_many() -> None:
    columns: dict[str, pa.Array] = {
        "distance": pa.array([2475, 200, 1000], pa.int64()),
        "scheduled_minutes": pa.array([375, 80, 200], pa.int64()),
        "carrier_windows__mean_dep_delay_1d": pa.array([12.0, None, 3.0], pa.float64()),
        "origin__mean_dep_delay_1d": pa.array([2.0, 1.0, None], pa.float64()),
    }
    as_of = pa.array([at(12), at(13), at(14)], pa.timestamp("us", "UTC"))
    many = of_this_flight(columns, as_of)
    assert many["planned_mph"].to_pylist() == [396.0, 150.0, 300.0]
    assert many["carrier_less_airport"].to_pylist() == [10.0, None, None]
    for row in range(3):
        one = of_this_flight({name: column.slice(row, 1) for name, column in columns.items()}, as_of.slice(row, 1))
        assert {name: value[0] for name, value in one.items()} == {name: value[row] for name, value in many.items()}


def test_the_spine_asks_an_hour_before_the_departure_and_knows_the_answer_later() -> None:
    asked = spine(DAY, DAY + ONE_DAY)
    hour = timedelta(hours=1)
    day = flights().filter(
        (pc.field("scheduled_departure_at") >= DAY + hour) & (pc.field("scheduled_departure_at") < DAY + ONE_DAY + hour)
    )
    landed = {row["flight_id"]: row for row in day.to_pylist() if row["landed_at"] is not None}
    rows = asked.to_pylist()
    assert [row["flight_id"] for row in rows] == list(landed)
    for row in rows:
        flight = landed[row["flight_id"]]
        assert row["late"] == (flight["arr_delay"] > 30)
        assert row["outcome_known_at"] == flight["landed_at"] > row["asked_at"]
        assert row["asked_at"] + hour == flight["scheduled_departure_at"]
        planned = flight["scheduled_arrival_at"] - flight["scheduled_departure_at"]
        assert row["scheduled_minutes"] == planned.total_seconds() / 60
    assert asked["late"].type == pa.bool_()
    service = project.service("flight_delay_v1")
    for column in service.key_columns:
        assert asked[column.name].type == column.dtype
        assert asked[column.name].null_count == 0


def test_the_split_trains_on_more_than_it_judges_by() -> None:
    model = project.model("flight_delay")
    now = datetime(2013, 12, 24, tzinfo=UTC)
    train, valid, test = model.split.at(now)
    rows = [spine(start, end).num_rows for start, end in ((train, valid), (valid, test), (test, now))]
    assert rows[0] > 150_000
    assert min(rows[1:]) > 15_000
