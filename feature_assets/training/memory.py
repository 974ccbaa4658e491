"""How much of a view is looked at in one go, so that a training set stays within its memory limit.

Invariant: the parts hold every row exactly once, and a later part's rows either have other keys than an earlier one's
or later event times. So a winner of a later part beats one of an earlier part, and the result does not depend on them.
It estimates and does not measure: widths of text are assumed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from feature_assets.errors import InputError

DEFAULT_LIMIT = 2 * 1024**3
"""Bytes that a training set may use beyond what the process has already."""

ROW_OVERHEAD = 240
"""Bytes per feature row while it is looked at: what Parquet's decoder holds, and integers of keys, times and order."""
READ_OVERHEAD = 64 * 1024**2
"""Bytes that reading takes however few the rows: files opened ahead, pages in flight, allocators' reserves."""
QUESTION_OVERHEAD = 200
"""Bytes per spine row and reference while it is looked up."""
_TEXT = 24
_NESTED = 96


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows of a view: of these buckets (None: all), with `start <= event_at < end` (None: open)."""

    buckets: tuple[int, ...] | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def event_range(self) -> tuple[datetime | None, datetime | None] | None:
        """Both bounds inclusive, as the tables take them."""
        if self.start is None and self.end is None:
            return None
        return self.start, None if self.end is None else self.end - timedelta(microseconds=1)


def row_bytes(types: Iterable[pa.DataType]) -> int:
    """About how many bytes a row of these columns takes."""
    return sum(_width(dtype) for dtype in types)


def _width(dtype: pa.DataType) -> int:
    if pa.types.is_nested(dtype):
        return _NESTED
    try:
        return max(1, int(dtype.bit_width) // 8)
    except ValueError:
        return _TEXT


def parts(rows: Mapping[str, int], bytes_per_row: int, *, buckets: int, budget: int, view: str) -> tuple[Part, ...]:
    """The parts of a view that has so many `rows` in each partition, each within `budget` bytes.

    Slices of event time, at midnights: each reads the files of its days and no others. If one day is too much, also
    groups of buckets. Raises `InputError` if one bucket's share of a day is too much.
    """
    each = bytes_per_row + ROW_OVERHEAD
    if sum(rows.values()) * each <= budget:
        return (Part(),)
    heaviest = max(rows.values()) * each
    together = min(buckets * budget // heaviest, buckets)
    if together < 1:
        raise InputError(
            f"view {view!r}: one bucket of its largest day takes about {heaviest // buckets:,} bytes, and the memory "
            f"limit leaves {max(budget, 0):,}",
            hint="raise memory_limit, ask for fewer features or rows, or give the view more buckets",
        )
    groups = [tuple(range(first, min(first + together, buckets))) for first in range(0, buckets, together)]
    slices = _slices(rows, capacity=max(budget * buckets // (each * together), 1))
    some = [None] if len(groups) == 1 else groups
    return tuple(Part(group, start, end) for start, end in slices for group in some)


def _slices(rows: Mapping[str, int], capacity: int) -> list[tuple[datetime | None, datetime | None]]:
    """Consecutive days of at most `capacity` rows together; the first and the last slice are open."""
    cuts: list[datetime] = []
    held = 0
    for partition in sorted(rows):
        if held and held + rows[partition] > capacity:
            day = date.fromisoformat(partition)
            cuts.append(datetime(day.year, day.month, day.day, tzinfo=UTC))
            held = 0
        held += rows[partition]
    return list(zip([None, *cuts], [*cuts, None], strict=True))
