"""Entities and feature views: what is known about an airport, a carrier, a route and an aircraft.

Two times stand in every row. `event_at` says what the row is about: the hour of a weather report, or the end of the
hour or day that a statistic covers. `arrived_at` says when its last input was in the log: the statistics of the hour to
13:00 are complete only when the last flight scheduled in it has landed, hours later. A join that looks at `event_at`
alone sees outcomes of flights that are still in the air; the difference is what this example shows.

Invariant: every view is computed from its own source alone, one UTC day at a time, and is complete one day later at the
latest (`revisit`).
It declares; nothing is computed on import.
"""

from datetime import timedelta
from functools import partial
from typing import Any, Final

import narwhals as nw
import pyarrow as pa

from feature_assets.definition.entity import Entity
from feature_assets.definition.view import Expectation, Feature, FeatureView
from feature_assets.examples.flights.sources import FLIGHTS, OWNER, WEATHER
from feature_assets.examples.flights.statements import LATE_AFTER_MINUTES, by_hour

AIRPORT: Final = Entity("airport", keys={"airport": pa.string()}, description="IATA code")
CARRIER: Final = Entity("carrier", keys={"carrier": pa.string()}, description="two-letter airline code")
ROUTE: Final = Entity(
    "route", keys={"origin": pa.string(), "dest": pa.string()}, description="origin and destination, both IATA codes"
)
AIRCRAFT: Final = Entity("aircraft", keys={"tailnum": pa.string()}, description="tail number")

WIND_LIMIT_MPH: Final = 200.0
"""Above any wind ever measured at these airports; the published file has one report of 1,048 mph."""

_BETWEEN: Final = "expect_column_values_to_be_between"

daily = partial(
    FeatureView,
    delay=timedelta(hours=6, minutes=30),  # early morning in New York, when it is quiet
    schedule="30 6 * * *",
    revisit=1,  # outcomes unknown at the first run of a day (about 4 flights in 1,000) are all known a day later
    freshness=timedelta(hours=36),
    owner=OWNER,
)


def between(column: str, low: float, high: float) -> Expectation:
    """A blocking expectation: the known values of `column` lie in [`low`, `high`]."""
    return Expectation(_BETWEEN, column, arguments={"min_value": low, "max_value": high})


def worth_a_look(column: str, low: float, high: float, mostly: float = 1.0) -> Expectation:
    """A warning: a day with fewer values than the share `mostly` in [`low`, `high`] is a bad day, and it is true."""
    arguments = {"min_value": low, "max_value": high}
    return Expectation(_BETWEEN, column, severity="warning", mostly=mostly, arguments=arguments)


def known(column: str) -> Expectation:
    """A blocking expectation: `column` has no nulls."""
    return Expectation("expect_column_values_to_not_be_null", column)


def reported(weather: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """Weather by airport and hour. An impossible wind is unknown; no gust reported means no gust."""
    wind = nw.col("wind_speed")
    return weather.select(
        "airport",
        "arrived_at",
        "temp",
        "humid",
        "precip",
        "pressure",
        "visib",
        event_at=nw.col("observed_at"),
        wind_speed=nw.when(wind <= WIND_LIMIT_MPH).then(wind),
        wind_gust=nw.col("wind_gust").fill_null(0.0),
    )


AIRPORT_WEATHER: Final = daily(
    name="airport_weather",
    entity=AIRPORT,
    sources=WEATHER,
    transform=reported,
    features=(
        Feature("temp", pa.float64(), description="degrees Fahrenheit"),
        Feature("humid", pa.float64(), description="percent"),
        Feature("wind_speed", pa.float64(), description="mph"),
        Feature("wind_gust", pa.float64(), default=0.0, description="mph; 0 without gusts"),
        Feature("precip", pa.float64(), description="inches in the hour"),
        Feature("pressure", pa.float64(), description="millibars"),
        Feature("visib", pa.float64(), description="miles, at most 10"),
    ),
    ttl=timedelta(days=3),
    expectations=(
        known("precip"),
        known("visib"),
        between("temp", -30, 120),
        between("humid", 0, 100),
        between("wind_speed", 0, WIND_LIMIT_MPH),
        between("visib", 0, 10),
        worth_a_look("wind_gust", 0, 55),
    ),
    description="The weather at the three airports, one report an hour.",
    tags={"domain": "weather"},
)

STATISTIC_FEATURES: Final = (
    Feature("flights", pa.int64(), default=0, description="scheduled flights"),
    Feature("mean_dep_delay", pa.float64(), description="minutes, of those that departed"),
    Feature("mean_arr_delay", pa.float64(), description="minutes, of those that landed"),
    Feature("share_late", pa.float64(), description=f"more than {LATE_AFTER_MINUTES} minutes, of those that landed"),
    Feature("share_cancelled", pa.float64(), description="of the scheduled ones"),
)

of_flights = partial(
    daily,
    sources=FLIGHTS,
    features=STATISTIC_FEATURES,
    ttl=timedelta(days=7),
    expectations=(
        known("flights"),
        between("flights", 1, 500),
        between("share_late", 0, 1),
        between("share_cancelled", 0, 1),
        between("mean_dep_delay", -120, 1_440),
        worth_a_look("mean_dep_delay", -60, 120, mostly=0.9),
    ),
    tags={"domain": "flights"},
)

CARRIER_HOURLY: Final = of_flights(
    name="carrier_hourly",
    entity=CARRIER,
    transform=by_hour("carrier"),
    description="How a carrier's flights of one hour went.",
)
DEST_HOURLY: Final = of_flights(
    name="dest_hourly",
    entity=AIRPORT,
    transform=by_hour("dest AS airport"),
    description="How the flights of one hour went that were bound for an airport.",
)
