"""A store that fails is left alone for a while, and what it is asked meanwhile is answered at once.

Invariant: while the breaker is open no caller waits for the store, and the store gets one probe at a time; nothing is
ever answered but a status that says so. Load that the store refuses is not a failure: whoever throttles is alive.

Closed: calls pass, and their outcomes are counted over a sliding second. Open, when enough of them failed: none passes,
for a time that doubles with each probe that fails. Half open, after that time: one call is the probe, and decides.
(Nygard, "Release It!", 2018, chapter 5.)
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTimeError
from dataclasses import dataclass
from threading import Lock

from feature_assets.errors import StoreThrottledError, StoreUnreachableError
from feature_assets.online.store import ReadFailure, Stored
from feature_assets.serving.reads import ItemReads, ReadOptions, TableKeys, TableRead

Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True)
class BreakerOptions:
    """It opens when of `at_least` calls or more within `over` seconds a `share` failed.

    For `first` seconds at first, for twice as long after each probe that fails, and at most for `longest`.
    """

    at_least: int = 5
    over: float = 1.0
    share: float = 0.5
    first: float = 0.25
    longest: float = 2.0


class Breaker:
    """Whether a store is to be asked. Safe to share between threads."""

    def __init__(self, options: BreakerOptions | None = None, monotonic: Monotonic = time.monotonic) -> None:
        self._options = options or BreakerOptions()
        self._now = monotonic
        self._lock = Lock()
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._open_until: float | None = None
        self._pause = 0.0
        self._probing = False
        self._opened = 0
        self._refused = 0

    def lets_pass(self) -> bool:
        """Whether this call may be made. Whoever is let pass says by `ended` what became of it."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._probing or self._now() < self._open_until:
                self._refused += 1
                return False
            self._probing = True
            return True

    def ended(self, *, well: bool | None) -> None:
        """What became of a call that was let pass; None: it says nothing about the store."""
        with self._lock:
            now = self._now()
            if self._open_until is not None:
                if self._probing:
                    self._probing = False
                    if well is not False:
                        self._open_until = None
                        self._outcomes.clear()
                    else:
                        self._open(now, min(self._options.longest, 2 * self._pause))
                return
            if well is None:
                return
            self._outcomes.append((now, well))
            while self._outcomes[0][0] <= now - self._options.over:
                self._outcomes.popleft()
            failed = sum(not one for _, one in self._outcomes)
            enough = len(self._outcomes) >= self._options.at_least
            if not well and enough and failed >= self._options.share * len(self._outcomes):
                self._open(now, self._options.first)

    def numbers(self) -> dict[str, int]:
        """For metrics."""
        return {"opened": self._opened, "refused": self._refused, "open_now": int(self._open_until is not None)}

    def _open(self, now: float, pause: float) -> None:
        self._pause = pause
        self._open_until = now + pause
        self._opened += 1


class GuardedReads:
    """Reads behind a breaker. `keeps_deadlines`: whether the store itself answers by the deadline.

    For one that does not, calls are made in `threads`, and what is not there by the deadline is `TIMEOUT`; a call that
    hangs keeps its thread until it ends, and there are never more.
    """

    def __init__(
        self, inner: ItemReads, breaker: Breaker | None = None, *, keeps_deadlines: bool = True, threads: int = 16
    ) -> None:
        self.breaker = breaker or Breaker()
        self._inner = inner
        self._threads = None if keeps_deadlines else ThreadPoolExecutor(threads, "guarded")

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        if not self.breaker.lets_pass():
            error = StoreUnreachableError(
                "the store has been failing and is not asked now", hint="it is tried again within seconds; ask again"
            )
            return [TableRead([], error=error) for _ in requests]
        well: bool | None = False
        try:
            answers = self._read(requests, options)
            well = _went_well(answers)
        finally:
            self.breaker.ended(well=well)
        return answers

    def close(self) -> None:
        """Let go of the threads; one that hangs ends when its call does."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _read(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        remaining = options.remaining()
        if self._threads is None or remaining is None:
            return self._inner.read_all(requests, options)
        future = self._threads.submit(self._inner.read_all, requests, options)
        try:
            return future.result(remaining)
        except NotInTimeError:
            future.cancel()
            return [TableRead([ReadFailure.TIMEOUT] * len(keys)) for _, keys in requests]


def _went_well(answers: Sequence[TableRead]) -> bool | None:
    """Whether the store has answered something; None if it was asked nothing, or only refused for load."""
    failed = False
    for answer in answers:
        if answer.error is not None:
            if isinstance(answer.error, StoreUnreachableError):
                failed = True
            elif not isinstance(answer.error, StoreThrottledError):
                # A table that is not there, a right that is missing: it has answered.
                return True
        for result in answer.results:
            if result is None or isinstance(result, Stored):
                return True
            failed |= result is not ReadFailure.THROTTLED
    return False if failed else None
