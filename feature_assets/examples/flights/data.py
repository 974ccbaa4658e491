"""The data of the example as Arrow tables: what happened, and when the world could know it.

Flights. One row per scheduled flight, 336,776 of them, from files published with local clocks. What was checked on
the whole year:

- `scheduled_departure_at` is the local clock at the origin (all three keep New York time). It agrees with the file's
  own UTC hour in all 336,776 rows; no departure is scheduled in the hour that repeats or in the hour that is missing.
- `departed_at` is the schedule plus the published delay, never the clock alone: 1,236 departures fall past midnight,
  and 29 are more than twelve hours late. The clock reading that follows agrees with the published one in all 328,521
  rows.
- `scheduled_arrival_at` is the first instant after the scheduled departure at which the destination's clock shows the
  published reading. The longest is JFK to Honolulu, 11 h 40 min. None falls in a repeated or missing hour.
- `landed_at`, at the gate, is the scheduled arrival plus the published delay. Its clock reading agrees with the
  published one in all 327,346 rows but one: B6 35 to Palm Beach reached the gate at 03:03 in the night when the
  clocks went forward, and was written down as 02:03, which no clock showed. Time on the ground (gate to gate less
  time in the air) is between 5 and 235 minutes.
- `cancelled`: no departure (8,255 rows). `diverted`: departed, but the published file has no arrival delay (1,175
  rows).
- `tailnum` is unknown in 2,512 rows, all of them cancelled.

Weather. One row per origin and hour, 26,115 of them. The file's UTC hour agrees with its local columns in every row,
including the hour that repeats on 3 November, which is why the local columns are not a key (3 pairs of rows share
one) and UTC is.

This module parses and converts. It cleans nothing and knows no features.
"""

import zipfile
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from feature_assets.errors import InputError
from feature_assets.examples.flights.airports import zones_of
from feature_assets.examples.flights.files import published_file
from feature_assets.examples.flights.zones import NEW_YORK, Instants, first_after, minute_of_day, to_utc

UTC_US: Final = pa.timestamp("us", "UTC")
CANCELLATION_KNOWN_AFTER: Final = np.timedelta64(3, "h")
"""When a cancellation counts as known, after the scheduled departure. The file has no such time. Of the flights that
did leave, 98.8% had left by then, so a flight that has not is known to be out of order; airlines tell earlier, hence
this never runs ahead."""
DIVERSION_KNOWN_AFTER: Final = np.timedelta64(8, "h")
"""When a flight that never came counts as known to be diverted, after it was expected (departure plus scheduled
duration). Of the diverted flights that did reach their destination in the end, 99% had by then."""
WEATHER_LAG: Final = np.timedelta64(1, "h")
"""The declared lag of a weather report: the file names the hour, routine reports are made towards its end, and it
holds no time of publication. So a report counts as arrived one hour after the hour that names it."""

_NULLS: Final = pacsv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)


@cache
def flights() -> pa.Table:
    """All flights, ordered by (`scheduled_departure_at`, `flight_id`).

    Columns: `flight_id` (unique: day at the origin, carrier, flight number, origin), `carrier`, `flight` (int64),
    `tailnum` (nullable), `origin`, `dest`, `distance` (int64, miles); the instants (timestamp[us, UTC])
    `scheduled_departure_at`, `scheduled_arrival_at`, `departed_at` (null if cancelled), `landed_at` (null if
    cancelled or diverted), `outcome_known_at` (never null, see `_outcome_known`); `dep_delay`, `arr_delay`,
    `air_time` (float64, minutes, nullable); `cancelled`, `diverted`.
    """
    raw = _published_flights()
    scheduled = to_utc(_clock(_days(raw), raw["sched_dep_time"]), NEW_YORK)
    zones = zones_of(raw["dest"])
    due = first_after(scheduled, minute_of_day(_whole(raw["sched_arr_time"])), zones)
    departed = _later(scheduled, raw["dep_delay"])
    landed = _later(due, raw["arr_delay"])
    table = pa.table(
        {
            "flight_id": _flight_id(raw),
            **{name: raw[name] for name in ("carrier", "flight", "tailnum", "origin", "dest", "distance")},
            "scheduled_departure_at": _instants(scheduled),
            "scheduled_arrival_at": _instants(due),
            "departed_at": _instants(departed),
            "landed_at": _instants(landed),
            "outcome_known_at": _instants(_outcome_known(raw, scheduled, due - scheduled, departed, landed, zones)),
            **{name: raw[name].cast(pa.float64()) for name in ("dep_delay", "arr_delay", "air_time")},
            "cancelled": pa.array(np.isnat(departed)),
            "diverted": pa.array(~np.isnat(departed) & np.isnat(landed)),
        }
    )
    return unique(
        table.sort_by([("scheduled_departure_at", "ascending"), ("flight_id", "ascending")]), ["flight_id"]
    ).combine_chunks()


@cache
def weather() -> pa.Table:
    """All weather reports, ordered by (`observed_at`, `airport`); one per airport and hour.

    Columns: `airport`, `observed_at`, `arrived_at` (timestamp[us, UTC]; the second is the first plus `WEATHER_LAG`);
    float64, nullable: `temp`, `dewp` (degrees Fahrenheit), `humid` (percent), `wind_dir` (degrees), `wind_speed`,
    `wind_gust` (mph), `precip` (inches), `pressure` (millibars), `visib` (miles).

    Defects of the published file, left as they are: between 54 and 57 hours missing per airport, the whole of 31
    December among them; `pressure` unknown in 2,729 rows; `wind_gust` unknown in 20,778, which includes calm hours;
    and one wind of 1,048 mph at EWR. Raises `InputError` if an airport has two reports for one hour (the published
    file has none).
    """
    measured = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    raw = pacsv.read_csv(published_file("weather.csv"), convert_options=_NULLS)
    observed: Instants = np.asarray(raw["time_hour"].cast(UTC_US).cast(pa.int64())).astype("datetime64[us]")
    table = pa.table(
        {
            "airport": raw["origin"],
            "observed_at": _instants(observed),
            "arrived_at": _instants(observed + WEATHER_LAG),
            **{name: raw[name].cast(pa.float64()) for name in measured},
        }
    )
    return unique(
        table.sort_by([("observed_at", "ascending"), ("airport", "ascending")]), ["airport", "observed_at"]
    ).combine_chunks()


def _published_flights() -> pa.Table:
    with zipfile.ZipFile(published_file("flights.csv.zip")) as packed, packed.open("flights.csv") as text:
        return pacsv.read_csv(pa.BufferReader(text.read()), convert_options=_NULLS)


def _days(raw: pa.Table) -> Instants:
    months = (_whole(raw["year"]) - 1970) * 12 + _whole(raw["month"]) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    days: Instants = first + (_whole(raw["day"]) - 1).astype("timedelta64[D]")
    return days


def _clock(days: Instants, reading: pa.ChunkedArray) -> Instants:
    clock: Instants = (days + minute_of_day(_whole(reading)).astype("timedelta64[m]")).astype("datetime64[us]")
    return clock


def _later(instants: Instants, minutes: pa.ChunkedArray) -> Instants:
    """`instants` plus whole minutes; not-a-time where the minutes are null."""
    known: npt.NDArray[np.bool_] = np.asarray(minutes.is_valid())
    return np.where(known, instants + _whole(minutes).astype("timedelta64[m]"), np.datetime64("NaT", "us"))


def _outcome_known(
    raw: pa.Table,
    scheduled: Instants,
    duration: npt.NDArray[np.timedelta64],
    departed: Instants,
    landed: Instants,
    zones: npt.NDArray[np.object_],
) -> Instants:
    """When the log took the outcome of each flight.

    Landed: at the gate. Cancelled: `CANCELLATION_KNOWN_AFTER` the scheduled departure. Diverted: at its destination's
    gate if it got there in the end (717 rows have that clock reading), else `DIVERSION_KNOWN_AFTER` it was expected.
    """
    in_the_end = departed + duration + DIVERSION_KNOWN_AFTER
    came = np.asarray(raw["arr_time"].is_valid()) & np.isnat(landed)
    in_the_end[came] = first_after(departed[came], minute_of_day(_whole(raw["arr_time"]))[came], zones[came])
    known = np.where(np.isnat(landed), in_the_end, landed)
    return np.where(np.isnat(departed), scheduled + CANCELLATION_KNOWN_AFTER, known)


def _flight_id(raw: pa.Table) -> pa.ChunkedArray:
    day = pa.array(np.datetime_as_string(_days(raw)).astype(object), pa.string())
    return pc.binary_join_element_wise(day, raw["carrier"], raw["flight"].cast(pa.string()), raw["origin"], "-")


def _whole(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.fill_null(0)).astype(np.int64)


def _instants(values: Instants) -> pa.Array:
    return pa.array(values, pa.timestamp("us")).cast(UTC_US)


def unique(table: pa.Table, key: list[str]) -> pa.Table:
    """`table` itself. Raises `InputError` if two of its rows have the same `key`."""
    distinct = table.group_by(key).aggregate([]).num_rows
    if distinct != table.num_rows:
        msg = f"the published data has {table.num_rows - distinct} rows that repeat another's {' and '.join(key)}"
        raise InputError(
            msg, hint="the file is not the one this example was made for: reinstall 'feature_assets[demo]'"
        )
    return table
