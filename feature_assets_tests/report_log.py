"""A log of weather reports for tests: rows are added and corrected, and a source reads what is known by an instant.

Invariant: the reader is as honest as a real one: it returns the rows of the period that had arrived by then, no others.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from feature_assets.clock import ManualClock
from feature_assets.definition.source import BatchSource
from feature_assets_tests.weather import SCHEMA, source

FIRST = date(2024, 3, 1)


def day(number: int) -> date:
    """The day of the test's month: 1 is `FIRST`."""
    return FIRST + timedelta(days=number - 1)


def at(number: int, hours: float = 0.0) -> datetime:
    """An instant of that day."""
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=number - 1, hours=hours)


def clock(number: int, hours: float = 0.0) -> ManualClock:
    """A clock that stands at that instant."""
    return ManualClock(at(number, hours))


@dataclass
class ReportLog:
    """Reports: (airport, event_at, arrived_at, temp, n). `calls`: the periods that were read."""

    rows: list[tuple[str, datetime, datetime, float | None, int]] = field(default_factory=list)
    calls: list[tuple[datetime, datetime]] = field(default_factory=list)

    def add(
        self, airport: str, number: int, hours: float, temp: float | None, *, n: int = 0, late: float = 1.0
    ) -> None:
        """One report of that day's hour, which arrives `late` hours later."""
        event_at = at(number, hours)
        self.rows.append((airport, event_at, event_at + timedelta(hours=late), temp, n))

    def known(self, start: datetime, end: datetime, now: datetime) -> pa.Table:
        """The reader."""
        self.calls.append((start, end))
        rows = [row for row in self.rows if start <= row[1] < end and row[2] <= now]
        return pa.table([[row[column] for row in rows] for column in range(len(SCHEMA))], schema=SCHEMA)

    def source(self, **changes: Any) -> BatchSource:  # noqa: ANN401 - a definition's own arguments
        """A source over the log."""
        return source(**{"reader": self.known, "start": FIRST, "order_by": ("airport",), **changes})
