"""How often each caller may ask: a token bucket for each key, which holds a second's worth.

Invariant: a caller over its rate costs others nothing: it is refused before its body is read.
"""

import time
from collections.abc import Callable

from feature_assets.serving.http.problems import ProblemError


class Rates:
    """`rate`: requests a second of each key; None: any. In the event loop's thread alone."""

    def __init__(self, rate: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = monotonic
        self._buckets: dict[str, tuple[float, float]] = {}

    def require(self, key: str) -> None:
        """Take a token. Raises `ProblemError` (429), saying when there is one again."""
        if self._rate is None:
            return
        now, most = self._now(), max(1.0, self._rate)
        tokens, at = self._buckets.get(key, (most, now))
        tokens = min(most, tokens + (now - at) * self._rate)
        if tokens < 1:
            self._buckets[key] = tokens, now
            wait = (1 - tokens) / self._rate
            what = f"more than {self._rate:g} requests a second"
            raise ProblemError(429, "rate", what, "spread them, or ask for several entities at once", wait)
        self._buckets[key] = tokens - 1, now
