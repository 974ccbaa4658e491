"""The naive availability of a log's records: for each record, look at every row of the ledger.

It follows the rule word by word and imports nothing of the product.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Records `first..last` of a place were applied, to everybody or to one entity."""

    place: str
    first: int
    last: int
    entity: bytes | None
    sent_at: int
    acked_at: int
    recovered: bool
    life: int = 0


def interval(ranges: Sequence[Range], place: str, offset: int, entity: bytes) -> tuple[int, int, bool] | None:
    """(sent_at, acked_at, recovered) of a record: of its entity's own rows, else of the rows about everybody."""
    covering = [each for each in ranges if each.place == place and each.first <= offset <= each.last]
    own = [each for each in covering if each.entity == entity]
    candidates = own or [each for each in covering if each.entity is None]
    if not candidates:
        return None
    earliest = min(candidates, key=lambda each: each.acked_at)
    return earliest.sent_at, earliest.acked_at, earliest.recovered


def interval_in_lives(
    said: Sequence[Range | None], place: str, offset: int, entity: bytes
) -> tuple[int, int, bool] | None:
    """The same where None ends a life: what is said of another life than the present one counts for nothing.

    What an earlier life says goes before what a later one does.
    """
    ends = [number for number, one in enumerate(said) if one is None]
    for life, (start, end) in enumerate(zip([-1, *ends], [*ends, len(said)], strict=True)):
        found = interval([one for one in said[start + 1 : end] if one and one.life == life], place, offset, entity)
        if found is not None:
            return found
    return None
