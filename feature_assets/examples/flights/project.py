"""The example as one project: will a flight be late, asked an hour before its scheduled departure.

The service names what the model sees; `origin` and `destination` are two roles of one entity, the airport. The label
is known hours after the question, when the flight has landed, and `spine` carries that instant beside it, so that
nobody can train on a flight that is still in the air. Cancelled and diverted flights have no arrival to be late and
are not asked about.

An hour before, a passenger can still be told; and no window of event time, which is the scheduled departure, holds the
flight itself: with it, a join that ignores availability would be told the answer.

Invariant: a row of the spine holds nothing that was unknown when it was asked but the label and its instant.
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
    AIRPORT,
    AIRPORT_WEATHER,
    CARRIER,
    CARRIER_HOURLY,
    DEST_HOURLY,
    ROUTE,
)
from feature_assets.examples.flights.windows import (
    AIRCRAFT_WINDOWS,
    CARRIER_WINDOWS,
    ORIGIN_WINDOWS,
    ROUTE_WINDOWS,
)

ASKED_BEFORE: Final = timedelta(hours=1)
"""How long before its scheduled departure it is asked about a flight."""

# Of each view what is about one span of time each: the others of its windows say nearly the same.
FLIGHT_DELAY_V1: Final = FeatureService(
    name="flight_delay_v1",
    features=(
        AIRPORT_WEATHER["wind_speed", "wind_gust", "precip", "visib"].alias("weather", airport="origin"),
        ORIGIN_WINDOWS[
            "mean_dep_delay_10m",
            "mean_dep_delay_1h",
            "mean_dep_delay_1d",
            "share_late_1d",
            "share_cancelled_1d",
        ].alias("origin", airport="origin"),
        DEST_HOURLY["mean_dep_delay", "mean_arr_delay", "share_late"].alias("destination", airport="dest"),
        CARRIER_HOURLY["mean_dep_delay", "share_late"],
        CARRIER_WINDOWS[
            "mean_dep_delay_6h",
            "mean_dep_delay_1d",
            "mean_dep_delay_30d",
            "share_late_7d",
            "share_cancelled_1d",
        ],
        ROUTE_WINDOWS["mean_arr_delay_1d", "mean_arr_delay_30d", "share_late_30d"],
        AIRCRAFT_WINDOWS["last_dep_delay_7d", "last_arr_delay_7d", "seconds_since_last_30d", "mean_arr_delay_30d"],
        CLOCK,
        PLAN,
    ),
    description="What is known before the departure about a flight's airports, carrier, route and aircraft.",
)


def spine(start: datetime, end: datetime) -> pa.Table:
    """The questions asked from `start` to `end` (exclusive), about flights that landed in the end, with the answers.

    Columns: `flight_id`; `asked_at`, the instant of the question; the keys and request fields of the service
    (`carrier`, `origin`, `dest`, `tailnum`, `distance`, `scheduled_minutes`); `late` (bool), the label;
    `outcome_known_at`, when it matured. Ordered by (`asked_at`, `flight_id`).
    """
    at = pc.field("scheduled_departure_at")
    within = (at >= start + ASKED_BEFORE) & (at < end + ASKED_BEFORE)
    about = data.flights().filter(within & pc.is_valid(pc.field("arr_delay")))
    minutes = pc.minutes_between(about["scheduled_departure_at"], about["scheduled_arrival_at"])
    return (
        about.select(["flight_id", "carrier", "origin", "dest", "tailnum", "distance"])
        .add_column(1, "asked_at", pc.subtract(about["scheduled_departure_at"], ASKED_BEFORE))
        .append_column("scheduled_minutes", minutes)
        .append_column("late", pc.greater(about["arr_delay"], LATE_AFTER_MINUTES))
        .append_column("outcome_known_at", about["outcome_known_at"])
    )


FLIGHT_DELAY: Final = Model(
    name="flight_delay",
    service=FLIGHT_DELAY_V1,
    label=Label("late", matured_at="outcome_known_at", dtype=pa.bool_()),
    spine=spine,
    timestamp="asked_at",
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
    views=(
        AIRPORT_WEATHER,
        CARRIER_HOURLY,
        DEST_HOURLY,
        ORIGIN_WINDOWS,
        ROUTE_WINDOWS,
        CARRIER_WINDOWS,
        AIRCRAFT_WINDOWS,
    ),
    services=(FLIGHT_DELAY_V1,),
    models=(FLIGHT_DELAY,),
    entities=(AIRPORT, CARRIER, ROUTE, AIRCRAFT),
)
