"""Sources: where events come from.

Invariant: a source is read one UTC day of `event_at` at a time, and a reader never returns a row that was not known by
the `now` it is given. The definition does not read: see `feature_assets.offline.materialize`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from feature_assets.definition.dtypes import INSTANT, require_dtype
from feature_assets.definition.duration import require_duration
from feature_assets.definition.naming import (
    ARRIVED_AT,
    LIFECYCLE,
    require_callable,
    require_free,
    require_name,
    require_unique,
)
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.tags import frozen_tags
from feature_assets.errors import did_you_mean

Reader = Callable[[datetime, datetime, datetime], pa.Table]
"""`reader(start, end, now)`: the rows with `start <= event_at < end` that are known by `now`."""

_KIND: Final = "BatchSource"


@dataclass(frozen=True, slots=True, init=False)
class BatchSource:
    """Events that are read by the day.

    `event_at` and `arrived_at` name columns of `schema` (timestamps in microseconds, UTC); without an `arrived_at`,
    arrival is the time of ingest, kept in a column of that name. `start` is the first day, `end` the first day after
    the last (None: it goes on). `order_by`: columns that order the rows of a day, so that equal content is equal bytes.
    Events dated ahead of their arrival by more than `future_tolerance` are quarantined.
    """

    name: str
    schema: pa.Schema
    reader: Reader
    event_at: str
    arrived_at: str | None
    start: date
    end: date | None
    order_by: tuple[str, ...]
    future_tolerance: timedelta
    description: str
    owner: str
    tags: Mapping[str, str] = field(hash=False)
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(  # noqa: PLR0913 - a definition is one call
        self,
        name: str,
        schema: pa.Schema,
        reader: Reader,
        event_at: str = "event_at",
        arrived_at: str | None = "arrived_at",
        *,
        start: date,
        end: date | None = None,
        order_by: Sequence[str] = (),
        future_tolerance: timedelta = timedelta(minutes=5),
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        assign(self, name=name, schema=schema, reader=reader, event_at=event_at, arrived_at=arrived_at)
        assign(self, start=start, end=end, order_by=tuple(order_by), future_tolerance=future_tolerance)
        assign(self, description=description, owner=owner, tags=frozen_tags(_KIND, name, tags), place=current_place())
        require_name(_KIND, name)
        self._require_columns()
        self._require_days()
        require_duration(_KIND, name, "future_tolerance", future_tolerance)
        require_callable(_KIND, name, "reader", reader, "(start, end, now) -> pa.Table")

    @property
    def arrival_column(self) -> str:
        """The column that says when a row arrived: the declared one, or the one that ingest fills."""
        return ARRIVED_AT if self.arrived_at is None else self.arrived_at

    @property
    def event_schema(self) -> pa.Schema:
        """The columns of an event as stored: `schema`, and the arrival column if it is not in there."""
        if self.arrived_at is not None:
            return self.schema
        return self.schema.append(pa.field(ARRIVED_AT, INSTANT))

    def _require_columns(self) -> None:
        if not isinstance(self.schema, pa.Schema):
            raise refusal(_KIND, self.name, f"schema: {self.schema!r} is no schema", "give a pa.schema([...])")
        names: list[str] = list(self.schema.names)
        require_unique(_KIND, self.name, "schema", names)
        require_free(_KIND, self.name, "schema", names, LIFECYCLE if self.arrived_at else LIFECYCLE | {ARRIVED_AT})
        for column in self.schema:
            require_name(_KIND, column.name, f"{self.name}: column")
            require_dtype(_KIND, self.name, f"schema: column {column.name!r}", column.type)
        times = [("event_at", self.event_at), ("arrived_at", self.arrived_at)]
        for role, name in [*times, *(("order_by", one) for one in self.order_by)]:
            if name is not None and name not in names:
                raise refusal(_KIND, self.name, f"{role}: unknown column {name!r}", did_you_mean(str(name), names))
        for role, name in times:
            if name is not None and self.schema.field(name).type != INSTANT:
                what = f"{role}: column {name!r} has the dtype {self.schema.field(name).type}"
                raise refusal(_KIND, self.name, what, "a time is pa.timestamp('us', 'UTC')")

    def _require_days(self) -> None:
        days: dict[str, object] = {"start": self.start} if self.end is None else {"start": self.start, "end": self.end}
        for role, day in days.items():
            if not isinstance(day, date) or isinstance(day, datetime):
                raise refusal(_KIND, self.name, f"{role}: {day!r} is no day", "give a datetime.date")
        if self.end is not None and self.end <= self.start:
            what = f"end: {self.end} is not after the start, {self.start}"
            raise refusal(_KIND, self.name, what, "the end is exclusive: the first day without events")
