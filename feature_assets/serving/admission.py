"""How many requests are answered at once, how many wait for that, and for how long.

Invariant: never more than `concurrency` are answered at once, and never more than `waiting` wait, each only until a
share of its time has passed: what could not begin by then is refused, before anything was read for it. There is no
other queue.

Who is next. As long as the queue is empty now and then, the oldest: that is fair, and nobody waits long. Once it has
not been empty for `crowded` seconds, there is more to do than can be done: then the newest is next. An overloaded queue
in which the oldest is next serves everybody just before he gives up, so that all answers are late, and those that need
a little longer are worth nothing. With the newest next, who is answered is answered at once, and the others are as many
as before (adaptive LIFO, in B. Maurer: "Fail at Scale", ACM Queue 13(8), 2015). Of a full queue the oldest goes.

It knows nothing of what a request is. A refusal says after how long to ask again.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from random import Random
from threading import Lock

from feature_assets.errors import OverloadedError


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """`concurrency`: requests answered at once; `waiting`: that may wait for it. `crowded`: seconds.

    `start_share`: the share of its time within which a request must begin: the rest of it is for answering.
    """

    concurrency: int = 16
    waiting: int = 64
    start_share: float = 0.5
    crowded: float = 0.1


@dataclass(frozen=True, slots=True)
class AdmissionStats:
    """Counts of requests since the start: `waited` of those admitted; `shed` of all. The last two are as of now."""

    admitted: int
    waited: int
    shed: int
    running: int
    waiting: int


class _Waiter:
    """One who waits. `admitted`: None as long as that is not decided; then `wake` is called, once."""

    __slots__ = ("admitted", "begin_by", "wake")

    def __init__(self, begin_by: float, wake: Callable[[], None]) -> None:
        self.begin_by = begin_by
        self.wake = wake
        self.admitted: bool | None = None


class Admission:
    """Lets requests in, from threads and from event loops alike. `monotonic` tells seconds, `chance` is from 0 to 1."""

    def __init__(
        self,
        options: AdmissionOptions | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._options = options or AdmissionOptions()
        self._monotonic = monotonic
        self._chance = chance or Random().random  # noqa: S311 - it spreads repetitions, and protects nothing
        self._lock = Lock()
        self._queue: deque[_Waiter] = deque()
        self._waiting_since = 0.0
        self._running = 0
        self._usual = 0.01
        self._admitted = self._waited = self._shed = 0

    def stats(self) -> AdmissionStats:
        """What it did so far, and how it stands."""
        with self._lock:
            return AdmissionStats(self._admitted, self._waited, self._shed, self._running, len(self._queue))

    @property
    def crowd(self) -> int:
        """How many wait."""
        return len(self._queue)

    @contextmanager
    def admitted(self, seconds: float) -> Iterator[None]:
        """Answer a request, which has so long, in here. Raises `OverloadedError` if it is not let in."""
        woken = Lock()
        woken.acquire()
        waiter = self._arrive(seconds, woken.release)
        if waiter is not None:
            woken.acquire(timeout=max(0.0, waiter.begin_by - self._monotonic()))
            self._require(waiter)
        began = self._monotonic()
        try:
            yield
        finally:
            self._leave(self._monotonic() - began)

    @asynccontextmanager
    async def admitted_async(self, seconds: float) -> AsyncIterator["Lease"]:
        """The same, without blocking the event loop. Who is cancelled while he waits leaves the queue.

        What is answered may outlast the block: see `Lease`.
        """
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        waiter = self._arrive(seconds, lambda: _call(loop, woken.set))
        if waiter is not None:
            await self._awaited(waiter, woken)
        lease = Lease(self._leave, self._monotonic)
        try:
            yield lease
        finally:
            if not lease.kept:
                lease.end()

    def _arrive(self, seconds: float, wake: Callable[[], None]) -> _Waiter | None:
        """Take a free place (None), else stand in the queue. If that is full, the oldest has to go."""
        pushed_out = None
        with self._lock:
            if self._running < self._options.concurrency:
                # Nobody waits then: a place that becomes free goes to who does.
                self._running += 1
                self._admitted += 1
                return None
            now = self._monotonic()
            waiter = _Waiter(now + self._options.start_share * seconds, wake)
            if not self._queue:
                self._waiting_since = now
            self._queue.append(waiter)
            if len(self._queue) > self._options.waiting:
                pushed_out = self._queue.popleft()
                pushed_out.admitted = False
                self._shed += 1
        if pushed_out is not None:
            pushed_out.wake()
        return waiter

    async def _awaited(self, waiter: _Waiter, woken: asyncio.Event) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, waiter.begin_by - self._monotonic())):
                    await woken.wait()
        except asyncio.CancelledError:
            if self._settled(waiter):
                self._leave(None)
            raise
        self._require(waiter)

    def _settled(self, waiter: _Waiter) -> bool:
        """Whether who waited was admitted. If that is not decided, he leaves the queue."""
        with self._lock:
            if waiter.admitted is None:
                self._queue.remove(waiter)
                waiter.admitted = False
                self._shed += 1
            return waiter.admitted

    def _require(self, waiter: _Waiter) -> None:
        if not self._settled(waiter):
            with self._lock:
                ahead, usual = len(self._queue) + 1, self._usual
            # Not all at the same time: that would be the next wave.
            after = max(1.0, ahead * usual / self._options.concurrency) * (0.5 + self._chance())
            raise OverloadedError(
                f"too many requests: {self._options.concurrency} are being answered, {ahead - 1} others wait, and this "
                f"one could not begin in time",
                hint=f"ask again in {after:.1f} s, or give it more time",
                retry_after=after,
            )

    def _leave(self, seconds: float | None) -> None:
        """A place is free, which was taken for so long: it goes to the next one who can still begin."""
        decided = []
        with self._lock:
            if seconds is not None:
                self._usual += 0.1 * (seconds - self._usual)
            now = self._monotonic()
            newest_first = now - self._waiting_since >= self._options.crowded
            while self._queue:
                waiter = self._queue.pop() if newest_first else self._queue.popleft()
                decided.append(waiter)
                waiter.admitted = waiter.begin_by > now
                if waiter.admitted:
                    self._admitted += 1
                    self._waited += 1
                    break
                self._shed += 1
            else:
                self._running -= 1
        for waiter in decided:
            waiter.wake()


class Lease:
    """A place that was taken. `keep` it if what it was taken for goes on after its block, and `end` it then, once."""

    def __init__(self, leave: Callable[[float], None], monotonic: Callable[[], float]) -> None:
        self._leave = leave
        self._monotonic = monotonic
        self._began = monotonic()
        self.kept = False

    def keep(self) -> None:
        """Somebody else ends it."""
        self.kept = True

    def end(self) -> None:
        """The place is free."""
        self._leave(self._monotonic() - self._began)


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """Call it in the loop, if that still runs; nobody waits in one that does not."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)
