"""Requests in threads that go one step at a time, over a store whose every answer is dated and delivered by the test.

Invariant: after each step every request is parked: in a read of the store, waiting for another one's, or done; so that
what follows does not depend on how threads are scheduled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread, current_thread
from typing import Any

import pytest

from feature_assets.errors import StoreUnreachableError
from feature_assets.online.store import ReadFailure, ReadResult
from feature_assets.serving import item_cache
from feature_assets.serving.flights import Flight
from feature_assets.serving.reads import ItemReads, ReadOptions, TableKeys, TableRead

LONG = 60.0


@dataclass
class Call:
    """One read that has reached the store. `answer`: what the store said, once it has; `delivered`: to the caller."""

    requests: list[TableKeys]
    consistent: bool
    thread: Thread
    answer: list[TableRead] | None = None
    raises: Exception | None = None
    delivered: bool = False


@dataclass
class Asked:
    """One request: its thread, and its answer once it is done."""

    thread: Thread
    answer: list[TableRead] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or self.error is not None


@dataclass
class Stepped:
    """`read`: what the store holds under a key, as of now (or of a while ago, if `consistent` is false)."""

    read: Callable[[str, bytes, bool], ReadResult]
    moved: Condition = field(default_factory=Condition)
    calls: list[Call] = field(default_factory=list)
    states: dict[Thread, str] = field(default_factory=dict)
    reads_of: dict[bytes, int] = field(default_factory=dict)

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        """The store's side, called by the requests."""
        call = Call([(table, list(keys)) for table, keys in requests], options.consistent, current_thread())
        with self.moved:
            for _, keys in call.requests:
                for key in keys:
                    self.reads_of[key] = self.reads_of.get(key, 0) + 1
            self.calls.append(call)
            self._park("reading")
            assert self.moved.wait_for(lambda: call.delivered, LONG)
        if call.raises is not None:
            raise call.raises
        assert call.answer is not None
        return call.answer

    # ------------------------------------------------------------------------------------------------- the test's side
    def ask(self, reads: ItemReads, requests: Sequence[TableKeys], options: ReadOptions) -> Asked:
        """Begin a request, and let it go as far as it can."""

        def run() -> None:
            try:
                asked.answer = reads.read_all(requests, options)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                asked.error = error
            with self.moved:
                self._park("done")

        asked = Asked(Thread(target=run, daemon=True))
        with self.moved:
            self._move(asked.thread)
        asked.thread.start()
        self.settle()
        return asked

    def settle(self) -> None:
        """Until everybody is parked."""
        with self.moved:
            assert self.moved.wait_for(lambda: "moving" not in self.states.values(), LONG)

    def look(self, call: Call) -> None:
        """The store works out its answer now; the caller does not have it yet."""
        if call.answer is None:
            call.answer = [
                TableRead([self.read(table, key, call.consistent) for key in keys]) for table, keys in call.requests
            ]

    def fail(self, call: Call, failure: ReadFailure | None) -> None:
        """The store fails: all keys, or the tables as such (None)."""
        if failure is None:
            down = StoreUnreachableError("the store is down")
            call.answer = [TableRead([], error=down) for _ in call.requests]
        else:
            call.answer = [TableRead([failure] * len(keys)) for _, keys in call.requests]

    def deliver(self, call: Call) -> None:
        """The caller has the answer, and whoever waits for it."""
        self.look(call)
        with self.moved:
            self.calls.remove(call)
            call.delivered = True
            self._move(call.thread)
            self.moved.notify_all()
        self.settle()

    def finish(self) -> None:
        """Deliver everything."""
        while self.calls:
            self.deliver(self.calls[0])

    def flights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the cache's flights park those who wait for them."""
        stepped = self

        class SteppedFlight(Flight):
            __slots__ = ("parked",)

            def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - a flight's
                super().__init__(*arguments)
                self.parked: list[Thread] = []

            def wait(self, seconds: float | None) -> bool:
                with stepped.moved:
                    if not self._ended:
                        self.parked.append(current_thread())
                        stepped._park("waiting")
                ended = super().wait(seconds)
                with stepped.moved:
                    stepped._move(current_thread())
                return ended

            def end(self, results: Any) -> None:  # noqa: ANN401 - a flight's
                with stepped.moved:
                    for thread in self.parked:
                        stepped._move(thread)
                    super().end(results)

        monkeypatch.setattr(item_cache, "Flight", SteppedFlight)

    def _park(self, state: str) -> None:
        self.states[current_thread()] = state
        self.moved.notify_all()

    def _move(self, thread: Thread) -> None:
        self.states[thread] = "moving"
