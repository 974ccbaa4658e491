"""Views of aggregates: how an airport, a route, a carrier and an aircraft have done over windows that end now.

Their records are flights, one row each: `event_at` is the scheduled departure, `arrived_at` when the outcome was in the
log. A window looks back from the instant of the question, over what is visible then. This log is published once a day,
so what is served of today are empty windows: the shorter ones fill when a view is published more often. A join on event
time fills them at once, also with flights that are still in the air, and that is what it misleads a model with.

How long the windows are follows from what they are about. Trouble at an airport (weather, a closed runway) builds up
within minutes and is over within hours; a carrier's lasts a day or two, until aircraft and crews are back in place; a
route flies a few times a day and needs weeks to say something; an aircraft carries its delay to its next flights.

Invariant: a record is computed from its flight alone.
It declares; nothing is computed on import.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import narwhals as nw
import pyarrow as pa

from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.window import Window
from feature_assets.examples.flights.sources import FLIGHTS
from feature_assets.examples.flights.statements import LATE_AFTER_MINUTES
from feature_assets.examples.flights.views import (
    AIRCRAFT,
    AIRPORT,
    CARRIER,
    ROUTE,
    between,
    daily,
    known,
    worth_a_look,
)

HOUR, THREE_HOURS, SIX_HOURS, TWELVE_HOURS = (timedelta(hours=hours) for hours in (1, 3, 6, 12))
DAY, WEEK, MONTH = (timedelta(days=days) for days in (1, 7, 30))
TEN_MINUTES: Final = Window.sliding(timedelta(minutes=10), hop=timedelta(minutes=1))
"""Schedules are in whole minutes: with the default hop of ten seconds it would hold the same flights."""
YESTERDAY: Final = Window.tumbling(DAY)
"""The whole of the last day, UTC."""
THIS_DAY_LAST_WEEK: Final = Window.sliding(DAY, hop=SIX_HOURS, offset=timedelta(days=6))
"""The day that followed a week ago, to a quarter of a day: so it needs no finer tiles than the week does."""


def as_records(flights: "nw.DataFrame[Any]", columns: Sequence[str] = (), **keys: str) -> "nw.DataFrame[Any]":
    """A record for each flight. `keys`: from which column of the flight each key is; `columns`: further ones to keep.

    A flight without a key (an aircraft is unknown if the flight was cancelled early) is nobody's record.
    """
    late = nw.col("arr_delay") > LATE_AFTER_MINUTES
    return flights.drop_nulls(list(keys.values())).select(
        *columns,
        **{key: nw.col(column) for key, column in keys.items()},
        event_at=nw.col("scheduled_departure_at"),
        arrived_at=nw.col("outcome_known_at"),
        dep_delay=nw.col("dep_delay").cast(nw.Int64),
        arr_delay=nw.col("arr_delay").cast(nw.Int64),
        air_time=nw.col("air_time").cast(nw.Int64),
        late=late.cast(nw.Int64),
        cancelled=nw.col("cancelled").cast(nw.Int64),
    )


COLUMNS: Final = (
    ("dep_delay", pa.int64()),  # minutes; null if cancelled
    ("arr_delay", pa.int64()),  # minutes; null if cancelled or diverted
    ("air_time", pa.int64()),  # minutes; null if cancelled or diverted
    ("late", pa.int64()),  # 1 or 0; null if cancelled or diverted
    ("cancelled", pa.int64()),  # 1 or 0
)

over_flights = partial(
    daily,
    sources=FLIGHTS,
    columns=COLUMNS,
    expectations=(
        known("cancelled"),
        between("cancelled", 0, 1),
        between("late", 0, 1),
        between("dep_delay", -120, 1_440),
        between("air_time", 10, 800),
        worth_a_look("cancelled", 0, 0, mostly=0.9),
        worth_a_look("arr_delay", -120, 180, mostly=0.95),
    ),
    tags={"domain": "flights"},
)


def flights(*windows: Window | timedelta) -> Aggregate:
    """How many were scheduled."""
    return Aggregate("count", windows=windows, name="flights", description="scheduled flights")


def mean_delay(which: str, *windows: Window | timedelta) -> Aggregate:
    """The mean of a delay: `dep` of those that departed, `arr` of those that landed."""
    those = {"dep": "departed", "arr": "landed"}[which]
    name = f"mean_{which}_delay"
    return Aggregate("mean", f"{which}_delay", windows, name=name, description=f"minutes, of those that {those}")


def share_late(*windows: Window | timedelta) -> Aggregate:
    """How many of those that landed were late."""
    text = f"more than {LATE_AFTER_MINUTES} minutes, of those that landed"
    return Aggregate("mean", "late", windows, name="share_late", description=text)


def share_cancelled(*windows: Window | timedelta) -> Aggregate:
    """How many of the scheduled ones were cancelled."""
    return Aggregate("mean", "cancelled", windows, name="share_cancelled", description="of the scheduled ones")


ORIGIN_WINDOWS: Final = over_flights(
    name="origin_windows",
    entity=AIRPORT,
    transform=partial(as_records, airport="origin"),
    aggregates=(
        flights(TEN_MINUTES, HOUR),
        mean_delay("dep", TEN_MINUTES, HOUR, THREE_HOURS, DAY, THIS_DAY_LAST_WEEK),
        share_late(DAY, WEEK),
        share_cancelled(DAY),
        Aggregate("max", "dep_delay", DAY, name="max_dep_delay", description="minutes"),
    ),
    description="How the departures of one of New York's airports have gone, from ten minutes back to a week.",
)

ROUTE_WINDOWS: Final = over_flights(
    name="route_windows",
    entity=ROUTE,
    transform=partial(as_records, origin="origin", dest="dest"),
    aggregates=(
        flights(MONTH),
        mean_delay("arr", THREE_HOURS, DAY, WEEK, MONTH, THIS_DAY_LAST_WEEK),
        share_late(MONTH),
        share_cancelled(WEEK),
        Aggregate(
            "approx_percentile",
            "arr_delay",
            MONTH,
            percentile=0.9,
            accuracy=0.05,  # two minutes of forty are nobody's concern, and the state is a fifth of the default's
            name="p90_arr_delay",
            description="minutes that nine of ten do not exceed",
        ),
    ),
    description="How the flights from one airport to another have gone, from three hours back to a month.",
)

CARRIER_WINDOWS: Final = over_flights(
    name="carrier_windows",
    entity=CARRIER,
    transform=partial(as_records, carrier="carrier"),
    aggregates=(
        flights(DAY),
        mean_delay("dep", HOUR, SIX_HOURS, DAY, WEEK, MONTH),
        share_late(YESTERDAY, WEEK),
        share_cancelled(DAY),
        Aggregate("stddev", "arr_delay", WEEK, name="sd_arr_delay", description="minutes: how far it can be relied on"),
        Aggregate(
            "ratio",
            "arr_delay",
            WEEK,
            over="air_time",
            name="delay_per_minute_flown",
            description="minutes behind schedule per minute in the air: short and long hauls compare",
        ),
    ),
    description="How a carrier's flights have gone, from an hour back to a month.",
)

AIRCRAFT_WINDOWS: Final = over_flights(
    name="aircraft_windows",
    entity=AIRCRAFT,
    transform=partial(as_records, columns=("dest",), tailnum="tailnum"),
    columns=(*COLUMNS, ("dest", pa.string())),
    aggregates=(
        flights(WEEK),
        Aggregate("last", "dep_delay", WEEK, name="last_dep_delay", description="minutes"),
        Aggregate("last", "arr_delay", (TWELVE_HOURS, WEEK), name="last_arr_delay", description="minutes"),
        Aggregate(
            "time_since_last",
            windows=MONTH,
            name="seconds_since_last",
            default=MONTH.total_seconds(),
            description="since its last scheduled departure from New York; a month if there was none",
        ),
        Aggregate("max", "dep_delay", WEEK, name="max_dep_delay", description="minutes"),
        Aggregate(
            "decayed_sum",
            "dep_delay",
            WEEK,
            half_life=DAY,
            name="recent_dep_delay",
            description="minutes of delay at departure, all together, halved every day",
        ),
        mean_delay("arr", MONTH),
        Aggregate("sum", "air_time", WEEK, name="air_time", default=0, description="minutes out of New York"),
        Aggregate("count_distinct", "dest", MONTH, name="destinations", description="how many it flew to"),
    ),
    description="How an aircraft's flights out of New York have gone, from twelve hours back to a month.",
)
