"""What is computed: a period of a view, and the form of the result.

Invariant: whatever computes a view, its result has the columns and types of `view_schema`, in that order.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa

from feature_assets.clock import utc
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.naming import ARRIVED_AT, EVENT_AT, SEQUENCE
from feature_assets.definition.view import FeatureView


@dataclass(frozen=True, slots=True)
class Period:
    """A partition: `start <= event_at < end`; usually one UTC day."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if utc(self.start, "period start") >= utc(self.end, "period end"):
            msg = f"a period ends after it starts, got {self.start.isoformat()} to {self.end.isoformat()}"
            raise ValueError(msg)

    @classmethod
    def day(cls, day: date) -> "Period":
        """The UTC day."""
        start = datetime.combine(day, time(), tzinfo=UTC)
        return cls(start, start + timedelta(days=1))


def view_schema(view: FeatureView) -> pa.Schema:
    """The stored columns of a view: keys, `event_at`, `arrived_at`, `sequence`, then its own, which may be null."""
    return pa.schema(
        [
            *(pa.field(key.name, key.dtype, nullable=False) for key in view.entity.keys),
            pa.field(EVENT_AT, INSTANT, nullable=False),
            pa.field(ARRIVED_AT, INSTANT, nullable=False),
            pa.field(SEQUENCE, pa.int64(), nullable=False),
            *(pa.field(feature.name, feature.dtype) for feature in view.stored),
        ]
    )
