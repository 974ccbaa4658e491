"""What is worked out at the time of the request: from its own instant, its own fields, and other features.

Invariant: columns in, columns out, element by element, so a million training rows and one request give the same values.
Nulls in give nulls out. No clock is read: the request's instant is an argument.
"""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature
from feature_assets.examples.flights.zones import NEW_YORK

Columns = Mapping[str, pa.Array]


def on_the_clock(columns: Columns, as_of: pa.Array) -> Columns:  # noqa: ARG001 - one signature for all
    """The instant as New York's clocks and calendars show it: airlines plan in local time."""
    local = pc.local_timestamp(as_of.cast(pa.timestamp("us", NEW_YORK)))
    minutes = pc.add(pc.multiply(pc.hour(local), 60), pc.minute(local))
    return {"hour": pc.divide(minutes.cast(pa.float64()), 60.0), "weekday": pc.day_of_week(local)}


def of_this_flight(columns: Columns, as_of: pa.Array) -> Columns:  # noqa: ARG001 - one signature for all
    """The flight's own plan, and its carrier against everybody else at the airport."""
    minutes = columns["scheduled_minutes"].cast(pa.float64())
    return {
        "planned_mph": pc.divide(pc.multiply(columns["distance"].cast(pa.float64()), 60.0), minutes),
        "carrier_less_airport": pc.subtract(
            columns["carrier_windows__mean_dep_delay_1d"], columns["origin__mean_dep_delay_1d"]
        ),
    }


CLOCK: Final = OnDemandView(
    name="clock",
    request=(),
    inputs=(),
    function=on_the_clock,
    features=(
        Feature("hour", pa.float64(), description="0 to 24, New York"),
        Feature("weekday", pa.int64(), description="Monday is 0"),
    ),
)
PLAN: Final = OnDemandView(
    name="plan",
    request=(RequestField("distance", pa.int64()), RequestField("scheduled_minutes", pa.int64())),
    inputs=("carrier_windows__mean_dep_delay_1d", "origin__mean_dep_delay_1d"),
    function=of_this_flight,
    features=(
        Feature("planned_mph", pa.float64(), description="distance over scheduled time, gate to gate"),
        Feature("carrier_less_airport", pa.float64(), description="minutes, over the last day of each"),
    ),
)
