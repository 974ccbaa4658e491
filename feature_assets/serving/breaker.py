"""A circuit breaker: whether a store that fails is asked at all.

Invariant: while it is open nothing is let through; while it is half open, one at a time; and only what was let through
in the state that it is in now changes it, so that a late failure of the past does not.

It opens when a share of the calls of the last second have failed, closes after a few probes in a row have not, and
waits longer after each probe that has. It calls nothing and knows no store.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import Final

_SLOTS: Final = 10
"""Parts of the window: what is older leaves it a part at a time."""


class State(Enum):
    """What is let through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


@dataclass(frozen=True, slots=True)
class BreakerOptions:
    """Durations in seconds.

    It opens when, of at least `minimum` calls in the last `window`, a `share` have failed. It stays open for `pause`,
    twice as long after each probe that fails, up to `longest`; and closes after `probes` in a row that did not.
    """

    share: float = 0.5
    minimum: int = 10
    window: float = 1.0
    pause: float = 0.5
    longest: float = 2.0
    probes: int = 2


class Breaker:
    """Safe to share between threads. `monotonic` tells seconds. `opened`: how often it opened."""

    def __init__(self, options: BreakerOptions, monotonic: Callable[[], float]) -> None:
        self._options = options
        self._monotonic = monotonic
        self._lock = Lock()
        self._state = State.CLOSED
        # Counts up with each change of state; a permit is worth what it was when it was given.
        self._epoch = 0
        self._calls: deque[list[int]] = deque()
        self._until = 0.0
        self._pause = options.pause
        self._passed = 0
        self._probing = False
        self.opened = 0

    def state(self) -> State:
        """What it lets through as of now."""
        with self._lock:
            self._look()
            return self._state

    def permit(self) -> int | None:
        """A permit for one call, to be given back with `record`; None: do not call."""
        with self._lock:
            self._look()
            if self._state is State.OPEN or (self._state is State.HALF_OPEN and self._probing):
                return None
            self._probing = self._state is State.HALF_OPEN
            return self._epoch

    def record(self, permit: int, *, failed: bool | None) -> None:
        """What became of a call. None: it says nothing about the store."""
        with self._lock:
            if permit != self._epoch:
                return
            self._probing = False
            if failed is None:
                return
            if self._state is State.HALF_OPEN:
                self._probed(failed=failed)
            else:
                self._count(failed=failed)

    def wait(self) -> float:
        """Seconds until it lets a probe through."""
        with self._lock:
            return max(0.0, self._until - self._monotonic()) if self._state is State.OPEN else 0.0

    def _look(self) -> None:
        if self._state is State.OPEN and self._monotonic() >= self._until:
            self._become(State.HALF_OPEN)

    def _become(self, state: State) -> None:
        self._state = state
        self._epoch += 1
        self._passed = 0
        self._probing = False
        self._calls.clear()
        if state is State.OPEN:
            self._until = self._monotonic() + self._pause
            self.opened += 1

    def _probed(self, *, failed: bool) -> None:
        if failed:
            self._pause = min(self._options.longest, 2 * self._pause)
            self._become(State.OPEN)
            return
        self._passed += 1
        if self._passed >= self._options.probes:
            self._pause = self._options.pause
            self._become(State.CLOSED)

    def _count(self, *, failed: bool) -> None:
        slot = int(self._monotonic() / self._options.window * _SLOTS)
        if not self._calls or self._calls[-1][0] != slot:
            self._calls.append([slot, 0, 0])
        self._calls[-1][2 if failed else 1] += 1
        while self._calls[0][0] <= slot - _SLOTS:
            self._calls.popleft()
        if not failed:
            return
        bad = sum(calls[2] for calls in self._calls)
        all_of_them = bad + sum(calls[1] for calls in self._calls)
        if all_of_them >= self._options.minimum and bad >= self._options.share * all_of_them:
            self._become(State.OPEN)
