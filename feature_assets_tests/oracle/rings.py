"""What windows over an entity's records say: every record is kept, and looked at for every question.

It imports nothing of the product. There are no tiles; what a ring may have thrown away is here still.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shape:
    """A window, in whole microseconds: `size` None is all time; `closed`: it ends at a multiple of the hop.

    `count`: so many windows, one behind the other.
    """

    size: int | None
    hop: int
    offset: int = 0
    closed: bool = False
    count: int = 1


@dataclass(slots=True)
class Kept:
    """For each entity the instants of its records, in the order in which they came; a record is its place."""

    entities: int
    records: list[tuple[int, int]] = field(default_factory=list)

    def add(self, entity: int, event_at: int) -> None:
        self.records.append((entity, event_at))

    def held(self, entity: int, as_of: int, shape: Shape) -> list[list[int]]:
        """The records in each of the shape's windows, the newest window first."""
        mine = [(place, at) for place, (owner, at) in enumerate(self.records) if owner == entity]
        if shape.size is None:
            return [[place for place, _ in mine]]
        found = []
        for number in range(shape.count):
            behind = shape.offset + number * shape.size
            start = floor(as_of - behind - shape.size, shape.hop)
            end = floor(as_of - behind, shape.hop)
            is_open = number == 0 and not shape.closed
            found.append([place for place, at in mine if start <= at and (is_open or at < end)])
        return found


def floor(instant: int, hop: int) -> int:
    """The greatest multiple of the hop that is not after the instant."""
    return instant - instant % hop


def counted(held: Sequence[Sequence[int]]) -> list[int]:
    """The plainest of all aggregates: how many records each window has."""
    return [len(one) for one in held]
