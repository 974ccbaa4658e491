"""Local clocks to instants: against the standard library's zones row by row, and at the hours that break clocks."""

import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.examples.flights.airports import zones_of
from feature_assets.examples.flights.data import flights
from feature_assets.examples.flights.files import published_file
from feature_assets.examples.flights.zones import first_after, minute_of_day, to_utc, to_wall

NEW_YORK = ZoneInfo("America/New_York")
SWITCH_EVES = {("3", "9"), ("11", "2")}
INSTANTS = ["scheduled_departure_at", "scheduled_arrival_at", "departed_at", "landed_at"]
ZONES = ("America/New_York", "America/Phoenix", "Pacific/Honolulu", "America/Puerto_Rico", "America/Anchorage")


def clock_minutes(hhmm: str) -> int:
    return (int(hhmm) // 100 * 60 + int(hhmm) % 100) % 1440


def flight_id(row: dict[str, str]) -> str:
    day = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
    return f"{day}-{row['carrier']}-{row['flight']}-{row['origin']}"


def arrival_due(departure: datetime, hhmm: str, zone: ZoneInfo) -> datetime:
    """Minute by minute until the destination's clock shows it."""
    at = departure + timedelta(minutes=1)
    while True:
        there = at.astimezone(zone)
        if there.hour * 60 + there.minute == clock_minutes(hhmm):
            return at
        at += timedelta(minutes=1)


def test_published_readings_agree_with_a_walk_along_the_clock() -> None:
    """300 flights drawn at random and those of the switch nights, from the file's own text, no columns involved."""
    with zipfile.ZipFile(published_file("flights.csv.zip")) as packed:
        rows = list(csv.DictReader(io.StringIO(packed.read("flights.csv").decode())))
    switches = [row for row in rows if (row["month"], row["day"]) in SWITCH_EVES and int(row["sched_dep_time"]) > 1900]
    chosen = {flight_id(row): row for row in Random(13).sample(rows, 300) + switches}
    table = flights().filter(pc.field("flight_id").isin(list(chosen)))
    made = dict(zip(table["flight_id"].to_pylist(), table.select(INSTANTS).to_pylist(), strict=True))
    zones: dict[str, ZoneInfo] = {}
    for name, row in chosen.items():
        zone = zones.setdefault(row["dest"], ZoneInfo(zones_of(pa.chunked_array([[row["dest"]]]))[0]))
        day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=NEW_YORK)
        scheduled = (day + timedelta(minutes=clock_minutes(row["sched_dep_time"]))).astimezone(UTC)
        due = arrival_due(scheduled, row["sched_arr_time"], zone)
        got = made[name]
        assert got["scheduled_departure_at"] == scheduled
        assert got["scheduled_arrival_at"] == due
        for column, reading, zone_there in (("departed_at", "dep_time", NEW_YORK), ("landed_at", "arr_time", zone)):
            if got[column] is not None and (name, column) != ("2013-03-09-B6-35-JFK", "landed_at"):
                shown = got[column].astimezone(zone_there)
                assert shown.hour * 60 + shown.minute == clock_minutes(row[reading])


def test_no_schedule_falls_in_a_repeated_hour() -> None:
    table = flights()
    zones = zones_of(table["dest"])
    for zone in set(zones):
        due = np.asarray(table["scheduled_arrival_at"].cast(pa.int64()))[zones == zone].astype("datetime64[us]")
        pc.assume_timezone(pa.array(to_wall(due, zone)), timezone=zone, ambiguous="raise", nonexistent="raise")
    out = np.asarray(table["scheduled_departure_at"].cast(pa.int64())).astype("datetime64[us]")
    wall = to_wall(out, "America/New_York")
    back = pc.assume_timezone(pa.array(wall), timezone="America/New_York", ambiguous="raise", nonexistent="raise")
    assert np.array_equal(np.asarray(back.cast(pa.int64())), out.astype(np.int64))


@given(
    st.lists(st.datetimes(datetime(2013, 1, 1), datetime(2014, 1, 2)), min_size=1, max_size=20),  # noqa: DTZ001
    st.sampled_from(ZONES),
)
def test_wall_clocks_agree_with_the_standard_library(drawn: list[datetime], zone: str) -> None:
    instants = np.array(drawn, dtype="datetime64[us]")
    expected = [at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in drawn]
    wall = to_wall(instants, zone)
    assert wall.tolist() == expected
    back = [at.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC).replace(tzinfo=None) for at in expected]
    assert to_utc(wall, zone).tolist() == back


def test_a_reading_that_happened_twice_is_the_earlier_instant() -> None:
    twice = np.array(["2013-11-03T01:30"], dtype="datetime64[us]")
    assert to_utc(twice, "America/New_York") == np.datetime64("2013-11-03T05:30")


def test_a_reading_that_never_happened_is_the_instant_of_the_jump() -> None:
    never = np.array(["2013-03-10T02:30"], dtype="datetime64[us]")
    assert to_utc(never, "America/New_York") == np.datetime64("2013-03-10T07:00")


@pytest.mark.parametrize(
    ("after", "minute", "zone", "expected"),
    [
        ("2013-06-01T12:00", 12 * 60, "America/New_York", "2013-06-01T16:00"),
        ("2013-06-01T16:00", 12 * 60, "America/New_York", "2013-06-02T16:00"),  # strictly after
        ("2013-06-01T03:30", 23 * 60 + 45, "America/New_York", "2013-06-01T03:45"),  # still the evening before there
        ("2013-11-03T05:45", 90, "America/New_York", "2013-11-04T06:30"),  # a repeated reading is the earlier, now past
        ("2013-12-31T23:00", 0, "Pacific/Honolulu", "2014-01-01T10:00"),
    ],
)
def test_first_instant_after(after: str, minute: int, zone: str, expected: str) -> None:
    found = first_after(np.array([after], dtype="datetime64[us]"), np.array([minute]), np.array([zone], dtype=object))
    assert found == np.datetime64(expected)


def test_minute_of_day_reads_clock_numbers() -> None:
    readings = np.array([0, 5, 59, 100, 1545, 2359, 2400])
    assert minute_of_day(readings).tolist() == [0, 5, 59, 60, 945, 1439, 0]
