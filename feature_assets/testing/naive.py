"""The windows of the simulated purchases, naively: every record is looked at for every window. No product code.

Invariant: it follows what docs/semantics.md says of windows and functions, word by word. Times are microseconds.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

HOUR: Final = 3_600_000_000
OVERFLOW: Final = "OVERFLOW"
DISTINCT, SHOPS, NEWEST = 6, 2, 3
"""How many amounts and shops are told apart, and how many of the newest are listed."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """One record, with its place in the order; what else it holds follows from one number."""

    event_at: int
    sequence: int
    value: int

    @property
    def amount(self) -> int | None:
        """Sometimes it is not known."""
        return amount_of(self.value)


@dataclass(frozen=True, slots=True)
class Shape:
    """A window. `size` None: all time. `closed`: it ends at a multiple of its hop."""

    size: int | None
    hop: int
    offset: int = 0
    closed: bool = False

    def holds(self, event_at: int, as_of: int) -> bool:
        """Whether a record of that time is in the window that ends at `as_of`."""
        if self.size is None:
            return True
        until = as_of - self.offset
        starts, ends = floor(until - self.size, self.hop), floor(until, self.hop)
        return starts <= event_at and (event_at < ends or not self.closed)


RECENT = Shape(24 * HOUR, 2 * HOUR)
BEFORE = Shape(24 * HOUR, 6 * HOUR, offset=12 * HOUR, closed=True)
YESTERDAY = Shape(24 * HOUR, 24 * HOUR, closed=True)
EVER = Shape(None, 24 * HOUR)
FINEST: Final = 2 * HOUR
"""Windows are the same at all instants between two multiples of this."""


def floor(instant: int, hop: int) -> int:
    """The greatest multiple of the hop that is not after the instant."""
    return instant - instant % hop


def amount_of(value: int) -> int | None:
    """An integer, or null."""
    return None if value % 5 == 0 else value


def price_of(value: int) -> float:
    """No sum of these is a short double."""
    return value / 10


def shop_of(value: int) -> str:
    """One of three."""
    return f"s{value % 3}"


def _amounts(records: Sequence[Purchase]) -> list[int]:
    """Those that are known, in the order of their records."""
    ordered = sorted(records, key=lambda record: (record.event_at, record.sequence, record.value))
    return [record.amount for record in ordered if record.amount is not None]


def count(records: Sequence[Purchase]) -> Hashable:
    """How many."""
    return len(records)


def amount_sum(records: Sequence[Purchase]) -> Hashable:
    """Null without an amount."""
    amounts = _amounts(records)
    return sum(amounts) if amounts else None


def price_sum(records: Sequence[Purchase]) -> Hashable:
    """The exact sum, rounded once."""
    return fsum(price_of(record.value) for record in records) if records else None


def amount_max(records: Sequence[Purchase]) -> Hashable:
    """Null without an amount."""
    return max(_amounts(records), default=None)


def amount_last(records: Sequence[Purchase]) -> Hashable:
    """The greatest in the order of records, of those that have one."""
    amounts = _amounts(records)
    return amounts[-1] if amounts else None


def amount_last_k(records: Sequence[Purchase]) -> Hashable:
    """The newest first."""
    return tuple(_amounts(records)[::-1][:NEWEST])


def amount_count_distinct(records: Sequence[Purchase]) -> Hashable:
    """Past its bound it overflows."""
    found = len(set(_amounts(records)))
    return found if found <= DISTINCT else OVERFLOW


def count_by_shop(records: Sequence[Purchase]) -> Hashable:
    """Pairs of shop and count; past its bound it overflows."""
    shops = [shop_of(record.value) for record in records]
    found = tuple((shop, shops.count(shop)) for shop in sorted(set(shops)))
    return found if len(found) <= SHOPS else OVERFLOW


FEATURES: Final[Sequence[tuple[Callable[[Sequence[Purchase]], Hashable], Sequence[Shape]]]] = (
    (count, (RECENT, BEFORE, YESTERDAY, EVER)),
    (amount_sum, (RECENT, BEFORE, EVER)),
    (price_sum, (RECENT, EVER)),
    (amount_max, (RECENT, YESTERDAY)),
    (amount_last, (RECENT, BEFORE)),
    (amount_last_k, (RECENT,)),
    (amount_count_distinct, (RECENT,)),
    (count_by_shop, (RECENT, YESTERDAY)),
)
"""In the order in which the view declares them."""


def features(records: Sequence[Purchase], as_of: int) -> tuple[Hashable, ...]:
    """All features of the records of one entity, as of an instant."""
    shapes = {shape for _, several in FEATURES for shape in several}
    held = {shape: [one for one in records if shape.holds(one.event_at, as_of)] for shape in shapes}
    return tuple(function(held[shape]) for function, several in FEATURES for shape in several)
