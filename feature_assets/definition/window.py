"""Windows: which span of event time an aggregate is over, as of an instant.

Invariant: every bound of a window is a multiple of its hop since 1970-01-01 00:00 UTC, or open; so whoever keeps tiles
of that hop (or of a hop that divides it) can answer it exactly, and nobody can answer it in two ways.

    sliding            floor(as_of - W, h) <= event_at                       and all that is visible from there on
    with an offset o   floor(as_of - o - W, h) <= event_at < floor(as_of - o, h)
    tumbling           floor(as_of - W, W) <= event_at < floor(as_of, W)     the last whole one
    lifetime           everything visible
    series of n        n windows of one size, one behind the other; the newest, which comes first, is sliding

It says which records count if they are visible; what is visible is decided elsewhere.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.clock import OPEN, duration_us
from feature_assets.definition.duration import require_duration
from feature_assets.definition.place import refusal

Ints = npt.NDArray[np.int64]

LADDER: Final = (
    timedelta(seconds=1),
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
)
"""The default hops: each divides the next."""
STEPS: Final = 12
"""A window's default hop is the largest of the ladder that goes at least so often into it."""
MAX_SERIES: Final = 366
BEGINNING: Final = -(2**63)
"""Microseconds that stand for "no lower bound"."""
_KIND: Final = "Window"
_UNITS: Final = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))


@dataclass(frozen=True, slots=True)
class Window:
    """A span of event time that ends at the instant asked for, or `offset` before it.

    Make one with `sliding`, `tumbling`, `lifetime` or `series`. `size` None: all time. `closed`: the window ends at a
    multiple of its hop, and not with what is visible. `count`: of a series, how many windows.
    """

    size: timedelta | None
    hop: timedelta
    offset: timedelta = timedelta(0)
    closed: bool = False
    count: int = 1

    @classmethod
    def sliding(cls, size: timedelta, *, hop: timedelta | None = None, offset: timedelta = timedelta(0)) -> "Window":
        """The last `size`, or with an `offset` the `size` before that."""
        require_duration(_KIND, "sliding", "size", size, positive=True)
        found = cls(size, hop if hop is not None else default_hop(size), offset, closed=bool(offset))
        found._require_multiples()
        return found

    @classmethod
    def tumbling(cls, size: timedelta) -> "Window":
        """The last whole `size`, counted from 1970-01-01 00:00 UTC: of a day, yesterday."""
        require_duration(_KIND, "tumbling", "size", size, positive=True)
        return cls(size, size, closed=True)

    @classmethod
    def lifetime(cls) -> "Window":
        """All time."""
        return cls(None, LADDER[-1])

    @classmethod
    def series(cls, size: timedelta, count: int, *, hop: timedelta | None = None) -> "Window":
        """`count` windows of one size, one behind the other: a feature of it is a list, the newest window first."""
        require_duration(_KIND, "series", "size", size, positive=True)
        found = cls(size, hop if hop is not None else default_hop(size), count=count)
        found._require_multiples()
        if isinstance(count, bool) or not 2 <= count <= MAX_SERIES:  # noqa: PLR2004
            what = f"count: {count!r} is no whole number from 2 to {MAX_SERIES}"
            raise refusal(_KIND, found.label, what, "one window is Window.sliding(...)")
        return found

    @property
    def label(self) -> str:
        """How a feature's name says it: `1h`, `7d_offset_1d`, `1d_tumbling`, `7x1d`, `lifetime`."""
        if self.size is None:
            return "lifetime"
        size = duration_label(self.size)
        if self.count > 1:
            return f"{self.count}x{size}"
        if self.offset:
            return f"{size}_offset_{duration_label(self.offset)}"
        return f"{size}_tumbling" if self.closed else size

    @property
    def is_suffix(self) -> bool:
        """Whether all that is visible beyond its trailing edge is in it."""
        return not self.closed and self.count == 1

    @property
    def reach(self) -> int | None:
        """How far back it looks at most, from the instant asked for, in microseconds; None: without end."""
        if self.size is None:
            return None
        return duration_us(self.offset) + self.count * duration_us(self.size) + duration_us(self.hop)

    def spans(self, as_of: Ints) -> tuple[Ints, Ints]:
        """`start <= event_at < end`, each of shape (len(as_of), count), microseconds; open ends as `BEGINNING`, `OPEN`.

        `as_of`: int64 microseconds since the epoch.
        """
        shape = len(as_of), self.count
        if self.size is None:
            return np.full(shape, BEGINNING), np.full(shape, OPEN)
        size, hop = duration_us(self.size), duration_us(self.hop)
        back = np.arange(self.count, dtype=np.int64) * size + duration_us(self.offset)
        end = (as_of[:, None] - back) // hop * hop
        start = (as_of[:, None] - back - size) // hop * hop
        if not self.closed:
            end[:, 0] = OPEN
        return start, end

    def _require_multiples(self) -> None:
        for field, value in (("size", self.size), ("hop", self.hop)):
            require_duration(_KIND, self.label, field, value, positive=True)
        require_duration(_KIND, self.label, "offset", self.offset)
        for field, value in (("size", self.size), ("offset", self.offset)):
            if value is not None and value % self.hop:
                what = f"{field}: {value} is no multiple of the hop, {self.hop}"
                hint = "give a hop that divides it: its bounds are where tiles begin and end"
                raise refusal(_KIND, self.label, what, hint)


def default_hop(size: timedelta) -> timedelta:
    """The largest step of the ladder that goes twelve times into `size` and divides it; the first if none does."""
    fitting = [hop for hop in LADDER if hop * STEPS <= size and not size % hop]
    return fitting[-1] if fitting else LADDER[0]


def duration_label(duration: timedelta) -> str:
    """A duration as its largest whole unit: `7d`, `90m`, `45s`, `1500ms`."""
    for unit, length in _UNITS:
        if duration and not duration % length:
            return f"{duration // length}{unit}"
    if not duration % timedelta(seconds=1):
        return f"{duration // timedelta(seconds=1)}s"
    if not duration % timedelta(milliseconds=1):
        return f"{duration // timedelta(milliseconds=1)}ms"
    return f"{duration_us(duration)}us"
