"""The statements: what a group of flights says, by hour or over a week, and which flight an aircraft flew last.

Invariant: `event_at` is the end of the hour or day that a row covers, and `arrived_at` is when the last of its flights
had an outcome. The engine works in UTC, so hours and days are UTC's.
It holds statements only; `views` gives them names, types and expectations.
"""

from typing import Final

from feature_assets.definition.view import Sql

LATE_AFTER_MINUTES: Final = 30
"""A flight is late when it reaches the gate more than this many minutes after its schedule."""

STATISTICS: Final = f"""
    max(outcome_known_at) AS arrived_at,
    count(*) AS flights,
    avg(dep_delay) AS mean_dep_delay,
    avg(arr_delay) AS mean_arr_delay,
    avg(CAST(arr_delay > {LATE_AFTER_MINUTES} AS DOUBLE)) AS share_late,
    avg(CAST(cancelled AS DOUBLE)) AS share_cancelled
"""


def by_hour(*keys: str) -> Sql:
    """The statistics of the flights scheduled to depart in each hour, per `keys` (columns, or `column AS key`)."""
    return Sql(f"""
        SELECT
            {", ".join(keys)},
            date_trunc('hour', scheduled_departure_at) + INTERVAL 1 HOUR AS event_at,
            {STATISTICS}
        FROM flights
        GROUP BY ALL
    """)  # noqa: S608 - made of this package's own text
