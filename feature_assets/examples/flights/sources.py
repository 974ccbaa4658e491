"""The two sources: what a day's partition holds, as it was known at the time of reading.

Invariant: a reader never returns a row that had not arrived by the `now` it is given, so a day read early is a day
with fewer flights, and reading it again later completes it. That is how the replay of a year stays honest.
Nothing is read from anywhere but `data`.
"""

from datetime import date, datetime
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import to_us
from feature_assets.definition.source import BatchSource
from feature_assets.examples.flights import data

FIRST_DAY: Final = date(2013, 1, 1)
AFTER_LAST_DAY: Final = date(2014, 1, 2)
"""The last flights of 31 December depart on 1 January, UTC."""
OWNER: Final = "flight-operations"
_UTC_US: Final = pa.timestamp("us", "UTC")


def read_flights(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """Flights scheduled to depart in [`start`, `end`) whose outcome was known by `now`."""
    return _arrived(data.flights(), _departures(), (start, end), "outcome_known_at", now)


def read_weather(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """Weather reports of the hours in [`start`, `end`) that had arrived by `now`."""
    return _arrived(data.weather(), _observations(), (start, end), "arrived_at", now)


FLIGHTS: Final = BatchSource(
    name="flights",
    schema=pa.schema(
        [
            ("flight_id", pa.string()),
            ("carrier", pa.string()),
            ("flight", pa.int64()),
            ("tailnum", pa.string()),
            ("origin", pa.string()),
            ("dest", pa.string()),
            ("distance", pa.int64()),
            ("scheduled_departure_at", _UTC_US),
            ("scheduled_arrival_at", _UTC_US),
            ("departed_at", _UTC_US),
            ("landed_at", _UTC_US),
            ("outcome_known_at", _UTC_US),
            ("dep_delay", pa.float64()),
            ("arr_delay", pa.float64()),
            ("air_time", pa.float64()),
            ("cancelled", pa.bool_()),
            ("diverted", pa.bool_()),
        ]
    ),
    reader=read_flights,
    event_at="scheduled_departure_at",
    arrived_at="outcome_known_at",
    start=FIRST_DAY,
    end=AFTER_LAST_DAY,
    order_by=("flight_id",),
    description="Flights out of New York by scheduled departure; a flight arrives in the log with its outcome.",
    owner=OWNER,
    tags={"domain": "flights"},
)

WEATHER: Final = BatchSource(
    name="weather",
    schema=pa.schema(
        [
            ("airport", pa.string()),
            ("observed_at", _UTC_US),
            ("arrived_at", _UTC_US),
            ("temp", pa.float64()),
            ("dewp", pa.float64()),
            ("humid", pa.float64()),
            ("wind_dir", pa.float64()),
            ("wind_speed", pa.float64()),
            ("wind_gust", pa.float64()),
            ("precip", pa.float64()),
            ("pressure", pa.float64()),
            ("visib", pa.float64()),
        ]
    ),
    reader=read_weather,
    event_at="observed_at",
    arrived_at="arrived_at",
    start=FIRST_DAY,
    end=AFTER_LAST_DAY,
    order_by=("airport",),
    description="Hourly weather reports of the three airports; a report arrives an hour after the hour it names.",
    owner=OWNER,
    tags={"domain": "weather"},
)


def _arrived(
    table: pa.Table, event_at: npt.NDArray[np.int64], period: tuple[datetime, datetime], arrived_at: str, now: datetime
) -> pa.Table:
    """The rows of one period, out of a table ordered by event time, that had arrived by `now`."""
    first, last = np.searchsorted(event_at, [to_us(period[0]), to_us(period[1])])
    rows = table.slice(first, last - first)
    return rows.filter(pc.less_equal(rows[arrived_at], pa.scalar(now, _UTC_US)))


@cache
def _departures() -> npt.NDArray[np.int64]:
    return np.asarray(data.flights()["scheduled_departure_at"].cast(pa.int64()))


@cache
def _observations() -> npt.NDArray[np.int64]:
    return np.asarray(data.weather()["observed_at"].cast(pa.int64()))
