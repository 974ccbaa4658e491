"""What window kernels are given: until when each record can be seen, what is asked when, and what a span is.

Invariant: these are plain values; what they mean is the same for each kernel.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.kernels import Boundary
from feature_assets.definition.window import Window


@dataclass(frozen=True, slots=True)
class Visibility:
    """Whose a record is and when it could be seen: int64, microseconds; `OPEN` for never available, never superseded.

    `key`: codes from 0.
    """

    key: Ints
    available_at: Ints
    superseded_at: Ints


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: keys as codes, -1 for one that no record has; instants in microseconds.

    `boundary="open"` moves both ends of visibility by one: `available_at < as_of <= superseded_at`.
    """

    key: Ints
    as_of: Ints
    boundary: Boundary = "closed"


class Spanned(Protocol):
    """Whatever says what it spans as of an instant: a `Window`, or what several reach together. Hashable."""

    @property
    def count(self) -> int:
        """How many spans it has, one behind the other."""

    def spans(self, as_of: Ints) -> tuple[Ints, Ints]:
        """`start <= event_at < end`, each of shape (len(as_of), count); microseconds, `BEGINNING` and `OPEN`."""


@dataclass(frozen=True, slots=True)
class Reach:
    """All that any of some windows looks at, and what is visible beyond: from the earliest of their starts on."""

    windows: tuple[Window, ...]
    count: int = 1

    def spans(self, as_of: Ints) -> tuple[Ints, Ints]:
        """See `Spanned`."""
        starts = [window.spans(as_of)[0].min(axis=1) for window in self.windows]
        return np.minimum.reduce(starts)[:, None], np.full((len(as_of), 1), OPEN)
