"""Which records a window covers, said in days and hours and one at a time. Imports nothing of the product."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floored(at: datetime, hop: timedelta) -> datetime:
    """The last multiple of the hop at or before `at`."""
    return EPOCH + ((at - EPOCH) // hop) * hop


def covers(
    event_at: datetime,
    as_of: datetime,
    *,
    size: timedelta | None,
    hop: timedelta,
    offset: timedelta = timedelta(0),
    closed: bool = False,
) -> bool:
    """Whether a visible record of `event_at` is in the window."""
    if size is None:
        return True
    if event_at < floored(as_of - offset - size, hop):
        return False
    return not closed or event_at < floored(as_of - offset, hop)
