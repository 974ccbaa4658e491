"""How often each caller may ask: a token bucket for each.

Invariant: over any time `t` a caller gets at most `burst + per_second * t` requests, whatever others do; and no more
than `callers` are remembered, those who have not asked for longest being forgotten first, with a full bucket.
It knows callers by a name that was authenticated elsewhere; it waits for nobody.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from feature_assets.errors import OverloadedError


@dataclass(frozen=True, slots=True)
class RateOptions:
    """`per_second`: requests, on average; `burst`: at once, after a pause. `callers`: that are remembered."""

    per_second: float = 1000.0
    burst: float = 2000.0
    callers: int = 10_000


@dataclass(frozen=True, slots=True)
class RateStats:
    """Counts of requests since the start; `callers` that are remembered now."""

    allowed: int
    refused: int
    callers: int


class RateLimits:
    """Safe to share between threads. `monotonic` tells seconds."""

    def __init__(self, options: RateOptions | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._options = options or RateOptions()
        self._monotonic = monotonic
        # By caller: the tokens that were there, and when; longest not asked first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()
        self._allowed = self._refused = 0

    def stats(self) -> RateStats:
        """What it did so far."""
        with self._lock:
            return RateStats(self._allowed, self._refused, len(self._buckets))

    def require(self, caller: str, cost: float = 1.0) -> None:
        """Take `cost` requests, at most a burst, from a caller's bucket. Raises `OverloadedError` if there are less."""
        options = self._options
        with self._lock:
            now = self._monotonic()
            tokens, at = self._buckets.pop(caller, (options.burst, now))
            tokens = min(options.burst, tokens + (now - at) * options.per_second)
            missing = min(cost, options.burst) - tokens
            self._buckets[caller] = (tokens if missing > 0 else -missing, now)
            if len(self._buckets) > options.callers:
                self._buckets.popitem(last=False)
            if missing <= 0:
                self._allowed += 1
                return
            self._refused += 1
        after = missing / options.per_second
        raise OverloadedError(
            f"caller {caller!r} asks more than {options.per_second:g} times a second",
            hint=f"ask again in {after:.2f} s",
            retry_after=after,
        )
