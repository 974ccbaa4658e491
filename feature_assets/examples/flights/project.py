"""The example as one project: will a flight be late, asked at its scheduled departure.

The service names what the model sees; `origin` and `destination` are two roles of one entity, the airport. The label
is known hours after the question, when the flight has landed, and `spine` carries that instant beside it, so that
nobody can train on a flight that is still in the air. Cancelled and diverted flights have no arrival to be late and
are not asked about.

Invariant: a row of the spine holds nothing that was unknown at its scheduled departure but the label and its instant.
It declares; nothing is computed on import.
"""

from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.model import Gate, Label, Model, Split
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.examples.flights import data
from feature_assets.examples.flights.request_time import CLOCK, PLAN
from feature_assets.examples.flights.sources import FLIGHTS, OWNER, WEATHER
from feature_assets.examples.flights.statements import LATE_AFTER_MINUTES
from feature_assets.examples.flights.views import (
    AIRCRAFT,
    AIRCRAFT_FLIGHTS,
    AIRPORT,
    AIRPORT_WEATHER,
    CARRIER,
    CARRIER_HOURLY,
    CARRIER_WEEK_VIEW,
    DEST_HOURLY,
    ORIGIN_HOURLY,
    ROUTE,
    ROUTE_HOURLY,
    VIEWS,
)

FLIGHT_DELAY_V1: Final = FeatureService(
    name="flight_delay_v1",
    features=(
        AIRPORT_WEATHER["wind_speed", "wind_gust", "precip", "visib"].alias("weather", airport="origin"),
        ORIGIN_HOURLY.alias("origin", airport="origin"),
        DEST_HOURLY.alias("destination", airport="dest"),
        CARRIER_HOURLY,
        CARRIER_WEEK_VIEW,
        ROUTE_HOURLY,
        AIRCRAFT_FLIGHTS["dep_delay", "arr_delay", "air_time"],
        CLOCK,
        PLAN,
    ),
    description="Everything known at the scheduled departure about a flight's airports, carrier, route and aircraft.",
)


def spine(start: datetime, end: datetime) -> pa.Table:
    """The questions, flights scheduled to depart in [`start`, `end`) that landed, with the answers.

    Columns: `flight_id`; `scheduled_departure_at`, the instant of the question; the keys and request fields of the
    service (`carrier`, `origin`, `dest`, `tailnum`, `distance`, `scheduled_minutes`); `late` (bool), the label;
    `outcome_known_at`, when it matured. Ordered by (`scheduled_departure_at`, `flight_id`).
    """
    at = pc.field("scheduled_departure_at")
    asked = data.flights().filter((at >= start) & (at < end) & pc.is_valid(pc.field("arr_delay")))
    minutes = pc.minutes_between(asked["scheduled_departure_at"], asked["scheduled_arrival_at"])
    names = ["flight_id", "scheduled_departure_at", "carrier", "origin", "dest", "tailnum", "distance"]
    return (
        asked.select(names)
        .append_column("scheduled_minutes", minutes)
        .append_column("late", pc.greater(asked["arr_delay"], LATE_AFTER_MINUTES))
        .append_column("outcome_known_at", asked["outcome_known_at"])
    )


FLIGHT_DELAY: Final = Model(
    name="flight_delay",
    service=FLIGHT_DELAY_V1,
    label=Label("late", matured_at="outcome_known_at", dtype=pa.bool_()),
    spine=spine,
    timestamp="scheduled_departure_at",
    split=Split(history=timedelta(days=330), valid=timedelta(days=21), test=timedelta(days=30)),
    gate=Gate(),
    parameters={
        "objective": "binary",
        "metric": "auc",
        "learning_rate": 0.1,
        "num_leaves": 15,
        "max_bin": 63,
        "min_data_in_leaf": 500,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.5,
        "bagging_freq": 1,
    },
    rounds=60,
    owner=OWNER,
)

project: Final = Project(
    name="flights",
    sources=(FLIGHTS, WEATHER),
    views=VIEWS,
    services=(FLIGHT_DELAY_V1,),
    models=(FLIGHT_DELAY,),
    entities=(AIRPORT, CARRIER, ROUTE, AIRCRAFT),
)
