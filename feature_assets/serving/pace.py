"""How many calls at once a store is asked for that refuses some for load: fewer, never none.

Invariant: between `slowest` and `fastest` calls at once; a store that refuses nothing is never waited for.

The rule is the one of TCP: refused calls lower the limit by a share, at most once in a while; each call that is taken
raises it a little. Who does not get his turn in time is told so. It calls nothing.
"""

from collections.abc import Callable
from threading import Condition
from typing import Final

_SLOWER: Final = 0.7
_AT_MOST_EVERY: Final = 0.1
"""Seconds: calls that were under way together are refused together, and are one reason to slow down."""


class Pace:
    """Safe to share between threads. `slowed`: how often the limit was lowered."""

    def __init__(self, slowest: int, fastest: int, monotonic: Callable[[], float]) -> None:
        self._slowest = slowest
        self._fastest = float(fastest)
        self._limit = self._fastest
        self._monotonic = monotonic
        self._running = 0
        self._slowed_at = -_AT_MOST_EVERY
        self._turn = Condition()
        self.slowed = 0

    @property
    def limit(self) -> int:
        """Calls at once, as of now."""
        return int(self._limit)

    @property
    def running(self) -> int:
        """Calls under way."""
        return self._running

    def enter(self, seconds: float | None) -> bool:
        """Whether it is this caller's turn, after waiting for that at most so long. Then `leave` must follow."""
        with self._turn:
            # At full speed nobody waits: there is another bound on how much goes on at once.
            if self._limit < self._fastest and not self._turn.wait_for(self._has_room, seconds):
                return False
            self._running += 1
            return True

    def leave(self, *, throttled: bool) -> None:
        """A call has ended; `throttled`: the store refused some of it for load."""
        with self._turn:
            self._running -= 1
            if throttled:
                self._slow_down()
            elif self._limit < self._fastest:
                self._limit = min(self._fastest, self._limit + 1.0 / self._limit)
            else:
                return
            self._turn.notify_all()

    def _has_room(self) -> bool:
        return self._running < int(self._limit)

    def _slow_down(self) -> None:
        now = self._monotonic()
        if now - self._slowed_at >= _AT_MOST_EVERY:
            self._slowed_at = now
            self._limit = max(float(self._slowest), self._limit * _SLOWER)
            self.slowed += 1
