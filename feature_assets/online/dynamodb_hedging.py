"""When a read that is slow is asked a second time.

Invariant: of all reads at most `share` are asked twice, none while the store throttles, and none before it is known
what is usual here. It sends nothing itself.

What is slow is learnt from the reads of late: longer than a quantile of them, and than a floor. When all reads become
slow, so does that quantile, and the budget holds in between; so a store in trouble is not given twice the work.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final

WINDOW: Final = 256
"""Reads that the quantile is of."""
LEARN_EVERY: Final = 32
"""Reads after which it is computed anew; before that many there is none."""
MOST_SAVED: Final = 10.0
"""Second reads that quiet times can save up for."""


@dataclass(frozen=True, slots=True)
class Hedging:
    """How second reads are rationed. Durations in seconds; `quiet`: how long there is none after a throttled answer."""

    share: float = 0.05
    quantile: float = 0.95
    floor: float = 0.005
    quiet: float = 1.0


class Hedger:
    """The memory of one transport's reads. Any number of threads."""

    def __init__(self, options: Hedging, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._lock = Lock()
        self._taken: deque[float] = deque(maxlen=WINDOW)
        self._new = 0
        self._slow: float | None = None
        self._saved = 0.0
        self._quiet_until = float("-inf")

    def patience(self) -> float | None:
        """For a read that begins: how long to wait for it before it is asked a second time. None: it is not to be."""
        with self._lock:
            self._saved = min(MOST_SAVED, self._saved + self._options.share)
            return self._slow if self._may() else None

    def spend(self) -> bool:
        """Whether a read may be asked a second time now; it is counted, if so."""
        with self._lock:
            if not self._may():
                return False
            self._saved -= 1.0
            return True

    def took(self, seconds: float) -> None:
        """A read was answered, or given up, after this time."""
        with self._lock:
            self._taken.append(seconds)
            self._new += 1
            if self._new == LEARN_EVERY:
                self._new = 0
                ranked = sorted(self._taken)
                self._slow = max(self._options.floor, ranked[int(self._options.quantile * (len(ranked) - 1))])

    def throttled(self) -> None:
        """The store refused something for load."""
        with self._lock:
            self._quiet_until = self._clock() + self._options.quiet

    def _may(self) -> bool:
        return self._slow is not None and self._saved >= 1.0 and self._clock() >= self._quiet_until
