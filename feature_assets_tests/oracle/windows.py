"""Which records a window holds, naively: every record is looked at for every question. Imports nothing of the product.

Times are whole microseconds; `None` stands for never.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """A record, and when it could be seen: from `available_at` until `superseded_at`."""

    key: Hashable
    event_at: int
    available_at: int | None
    superseded_at: int | None


@dataclass(frozen=True, slots=True)
class WindowShape:
    """A window: `size` None is all time; `closed`: it ends at a multiple of `hop`. `count`: so many behind it."""

    size: int | None
    hop: int
    offset: int = 0
    closed: bool = False
    count: int = 1


def is_visible(record: Record, as_of: int, *, strict: bool) -> bool:
    """Whether the record could be seen. `strict`: what became available at that very instant could not yet."""
    at = as_of - 1 if strict else as_of
    if record.available_at is None or record.available_at > at:
        return False
    return record.superseded_at is None or record.superseded_at > at


def held(
    records: Sequence[Record], key: Hashable, as_of: int, shape: WindowShape, *, strict: bool = False
) -> list[list[int]]:
    """For each of the shape's windows, the newest first, the places of the records in it."""
    seen = [
        (place, record.event_at)
        for place, record in enumerate(records)
        if record.key == key and is_visible(record, as_of, strict=strict)
    ]
    if shape.size is None:
        return [[place for place, _ in seen]]
    windows = []
    for number in range(shape.count):
        behind = shape.offset + number * shape.size
        start = floor(as_of - behind - shape.size, shape.hop)
        end = floor(as_of - behind, shape.hop) if shape.closed or number else None
        windows.append([place for place, at in seen if at >= start and (end is None or at < end)])
    return windows


def floor(instant: int, hop: int) -> int:
    """The greatest multiple of `hop` that is not after the instant."""
    return instant - instant % hop
