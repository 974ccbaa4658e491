"""What an online store answers for one feature of one key, worked out the long way: from all rows there are.

It imports nothing of the product.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple


class Row(NamedTuple):
    """A row of the state that was pushed."""

    key: tuple[object, ...]
    event_at: datetime
    sequence: int
    value: float | None


def answered(
    rows: Sequence[Row],
    key: tuple[object, ...],
    as_of: datetime,
    *,
    ttl: timedelta | None,
    stale: bool,
    default: float | None,
) -> tuple[float | None, str]:
    """The value, and the name of its status."""
    mine = [row for row in rows if row.key == key]
    newest = max(mine, key=lambda row: (row.event_at, row.sequence), default=None)
    status, value = "NOT_FOUND", None
    if newest is not None:
        value = newest.value
        status = "NULL" if value is None else "STALE" if stale else "PRESENT"
        if ttl is not None and as_of - newest.event_at > ttl:
            status, value = "EXPIRED", None
    if value is None and default is not None:
        status, value = "DEFAULTED", default
    return value, status
