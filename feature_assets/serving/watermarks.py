"""How far each table is complete: its watermark, read along with the items and remembered for a short while.

Invariant: a view is called fresh only by a watermark that was read, and a watermark never goes back; so a remembered
one may call a view less fresh than it is, and then it is read again.
The watermark is one item that every request would read: in a store that limits what one key takes, that is the first
limit to be met. Hence it is left out where it could not change the answer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.item import unpack_watermark
from feature_assets.online.store import ReadFailure, Stored
from feature_assets.serving.freshness import Freshness


@dataclass(frozen=True, slots=True)
class _Read:
    at: datetime
    complete_through: int


class Watermarks:
    """The watermarks of tables, as last read. Safe to share between threads."""

    def __init__(self, remembered: timedelta) -> None:
        self._remembered = remembered
        self._read: dict[str, _Read] = {}

    def known(self, table: str, view: FeatureView, now: datetime, as_of: int, freshness: Freshness) -> int | None:
        """Up to when the table is complete (microseconds), if that is known and enough; None: read it along."""
        read = self._read.get(table)
        if read is None or not timedelta(0) <= now - read.at < self._remembered:
            return None
        return None if freshness.is_stale(view, read.complete_through, as_of) else read.complete_through

    def keep(self, table: str, result: Stored | ReadFailure, now: datetime) -> int | None:
        """Remember what was read; returns up to when the table is complete, None if that could not be read."""
        if isinstance(result, ReadFailure):
            return None
        try:
            complete_through = unpack_watermark(result.value).complete_through
        except CodecError:
            return None
        self._read[table] = _Read(now, complete_through)
        return complete_through

    def forget(self, table: str) -> None:
        """Read it again: the table may have been lost, and be made anew."""
        self._read.pop(table, None)
