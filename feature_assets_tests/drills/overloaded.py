"""What the drills of the client share: a store that takes its time, hangs or refuses, and programs that ask it.

Invariant: a read takes the same time whatever the machine does, as it waits and does not compute; so that the store's
capacity is known.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock, Thread
from typing import Any

import pyarrow as pa

from feature_assets.errors import OverloadedError, StoreThrottledError
from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import ReadFailure, ReadResult
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import ClientOptions, OnlineClient
from feature_assets.serving.status import Status
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at, project_of

LONG = 60.0
CARRIERS = [f"c{n:03}" for n in range(200)]


class Troubled(MemoryStore):
    """A read takes `seconds`, and hangs while `go` is not set. `refusing`: the share of keys, and of calls, refused."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.go = Event()
        self.go.set()
        self.refusing = 0.0
        self.calls = 0
        self.reads_of: Counter[bytes] = Counter()
        self._counting = Lock()
        self._rng = Random(5)

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        with self._counting:
            self.calls += 1
            self.reads_of.update(keys)
            refused = [self._rng.random() < self.refusing for _ in keys]
            whole = self._rng.random() < self.refusing / 6
        if self.seconds:
            time.sleep(self.seconds)
        assert self.go.wait(LONG)
        if whole:
            raise StoreThrottledError("the store refuses the call for load")
        results = super().read(table, keys, consistent=consistent, deadline=deadline)
        return [ReadFailure.THROTTLED if no else one for no, one in zip(refused, results, strict=True)]


def client_over(store: MemoryStore, **options: Any) -> OnlineClient:  # noqa: ANN401 - as the options have it
    """A client of one service, `it`; each carrier's delay is its number."""
    view = view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()})
    world = Published(store)
    world.publish(view, [{"carrier": name, "event_at": at(3), "delay": float(name[1:])} for name in CARRIERS])
    return OnlineClient.over(project_of(view), store, world.ledger, world.clock, options=ClientOptions(**options))


@dataclass
class Tally:
    """What became of requests. `late`: answered long after the deadline; `wrong`: what must never be.

    `taken`: of each that was answered, for whom it was and how many seconds it took.
    """

    good: int = 0
    unknown: int = 0
    shed: int = 0
    late: int = 0
    wrong: list[str] = field(default_factory=list)
    taken: list[tuple[Sequence[str], float]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def judge(self, carriers: Sequence[str], answer: Answer, seconds: float, allowed: float) -> None:
        statuses = answer.status["carriers__delay"]
        values = [row["carriers__delay"] for row in answer.to_pylist()]
        with self.lock:
            self.late += seconds > allowed
            self.taken.append((carriers, seconds))
            for name, value, status in zip(carriers, values, statuses, strict=True):
                expected = None if status.is_unknown else float(name[1:])
                if not (status.is_unknown or status is Status.PRESENT) or value != expected:
                    self.wrong.append(f"{name}: {value} ({status})")
            if all(status is Status.PRESENT for status in statuses):
                self.good += 1
            else:
                self.unknown += 1

    def p99(self, other_than: str = "") -> float:
        """Seconds within which 99 of a hundred requests were answered, of those that were not for one carrier."""
        seconds = sorted(taken for carriers, taken in self.taken if other_than not in carriers)
        return seconds[int(0.99 * (len(seconds) - 1))]


@dataclass
class Load:
    """Programs that ask, one request after the other, until they are told to stop.

    `pause`: seconds between two requests, also after one that was refused; `chosen`: whom a request is about.
    """

    client: OnlineClient
    programs: int
    pause: float
    deadline: float
    tolerance: float
    chosen: Callable[[Random], list[str]] = lambda rng: [rng.choice(CARRIERS)]
    tally: Tally = field(default_factory=Tally)
    stopped: Event = field(default_factory=Event)
    most_threads: int = 0
    most_waiting: int = 0
    most_running: int = 0

    def run(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> Tally:
        """Ask for so long, and for as long as `meanwhile` takes."""
        threads = [Thread(target=self._ask, args=(n,), daemon=True) for n in range(self.programs)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        try:
            if meanwhile is not None:
                meanwhile()
            while time.monotonic() < end:
                self._look()
                time.sleep(0.01)
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads), "a request has not been answered"
        return self.tally

    def _look(self) -> None:
        self.most_threads = max(self.most_threads, threading.active_count())
        admission = self.client.stats().admission
        if admission is not None:
            self.most_waiting = max(self.most_waiting, admission.waiting)
            self.most_running = max(self.most_running, admission.running)

    def _ask(self, program: int) -> None:
        rng = Random(program)
        while not self.stopped.wait(self.pause):
            carriers = self.chosen(rng)
            began = time.monotonic()
            try:
                answer = self.client.get([{"carrier": name} for name in carriers], service="it", deadline=self.deadline)
            except OverloadedError:
                with self.tally.lock:
                    self.tally.shed += 1
                continue
            self.tally.judge(carriers, answer, time.monotonic() - began, self.deadline + self.tolerance)
