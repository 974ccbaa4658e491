"""A read that several requests may be waiting for.

Invariant: whoever waits is told when the read ends, however it ends, and waits no longer than it has time.
It reads nothing.
"""

from collections.abc import Mapping
from threading import Event, Lock

from feature_assets.online.store import ReadFailure, ReadResult


class Flight:
    """One read of some keys of a table, by the request that started it. `started`, `generation`: as of a `Reading`."""

    __slots__ = ("_ended", "_lock", "_results", "_waiting", "generation", "started")

    def __init__(self, started: float, generation: int) -> None:
        self.started = started
        self.generation = generation
        self._lock = Lock()
        self._waiting: Event | None = None
        self._results: Mapping[bytes, ReadResult] = {}
        self._ended = False

    def end(self, results: Mapping[bytes, ReadResult]) -> None:
        """What was read; of a key that is left out, nothing is known."""
        with self._lock:
            self._results, self._ended = results, True
            waiting = self._waiting
        if waiting is not None:
            waiting.set()

    def wait(self, seconds: float | None) -> bool:
        """Whether it has ended, after waiting for that at most so long."""
        with self._lock:
            if self._ended:
                return True
            if self._waiting is None:
                # Made by the first who waits: most flights end alone.
                self._waiting = Event()
            waiting = self._waiting
        return waiting.wait(seconds)

    def result(self, key: bytes) -> ReadResult:
        """What it has read of a key."""
        return self._results.get(key, ReadFailure.ERROR)
