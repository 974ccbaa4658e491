"""What keeps a store that hangs, fails or refuses from taking its readers along.

Invariant: a request is answered by its deadline, whatever the store does: tables that are late are TIMEOUT as a whole,
the others are answered. While the breaker is open no call is made. Never more than `threads` calls are under way.

- Calls run on threads of their own, as nothing else can end the wait for a call that hangs; a table a call, unless the
  store reads several in one. Those of a store that declares that it keeps deadlines itself (`KeepsDeadlines`) run where
  they are asked for: a change of threads costs as much as a small read.
- Failures, and timeouts of calls that had `patience`, open the breaker. A shorter timeout is its caller's impatience.
- What the store refuses for load does not open it: fewer calls are made at once, and those that find no turn by their
  deadline are THROTTLED.

No library is used for the breaker: those that are maintained, purgatory and pybreaker, open after a number of failures
in a row, which one success in between resets, so that a store which fails half of its calls is never cut off.

It retries nothing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from feature_assets.errors import OnlineError, StoreRefusedError, StoreThrottledError, StoreUnreachableError
from feature_assets.online.store import ReadFailure
from feature_assets.serving.breaker import Breaker, BreakerOptions, State
from feature_assets.serving.pace import Pace
from feature_assets.serving.reads import ItemReads, ReadOptions, TableKeys, TableRead
from feature_assets.serving.workers import Workers


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """`threads`: calls at once; `waiting`: calls that wait for one of them; both for stores that keep no deadlines.

    `slowest`: calls at once of a store that refuses for load, at least. `patience`: seconds that a call must have had
    for its timeout to be a failure of the store.
    """

    threads: int = 32
    waiting: int = 64
    slowest: int = 4
    patience: float = 0.1
    breaker: BreakerOptions = field(default_factory=BreakerOptions)


@dataclass(frozen=True, slots=True)
class GuardStats:
    """Counts of requests since the start. `late`: of tables. `refused`: without a call, as the breaker was open.

    As of now: `state`, `running` calls, `limit` of calls at once, `threads` that there are and `busy` ones, also hung.
    """

    calls: int
    failed: int
    late: int
    throttled: int
    refused: int
    crowded: int
    opened: int
    slowed: int
    state: State
    running: int
    limit: int
    threads: int
    busy: int

    @property
    def is_open(self) -> int:
        """1 while the breaker lets nothing, or only single calls, through."""
        return int(self.state is not State.CLOSED)


class GuardedReads:
    """`ItemReads` over others, of the store `name`. Safe to share between threads. `monotonic` tells seconds.

    `inline`: the reads keep the deadline themselves. `together`: they read several tables in one call.
    """

    def __init__(
        self,
        inner: ItemReads,
        options: GuardOptions | None = None,
        *,
        name: str = "the store",
        inline: bool = False,
        together: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._name = name
        self._options = options or GuardOptions()
        self._inline = inline
        self._together = together
        self._breaker = Breaker(self._options.breaker, monotonic)
        self._pace = Pace(self._options.slowest, self._options.threads, monotonic)
        self._workers = Workers(self._options.threads, self._options.waiting, "store-read")
        self._lock = Lock()
        self._calls = self._failed = self._late = self._throttled = self._refused = self._crowded = 0

    def stats(self) -> GuardStats:
        """What it did so far, and how it stands."""
        with self._lock:
            return GuardStats(
                calls=self._calls,
                failed=self._failed,
                late=self._late,
                throttled=self._throttled,
                refused=self._refused,
                crowded=self._crowded,
                opened=self._breaker.opened,
                slowed=self._pace.slowed,
                state=self._breaker.state(),
                running=self._pace.running,
                limit=self._pace.limit,
                threads=self._workers.threads,
                busy=self._workers.busy,
            )

    def close(self) -> None:
        """End the threads that are not in a call."""
        self._workers.close()

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        permit = self._breaker.permit()
        if permit is None:
            with self._lock:
                self._refused += 1
            return [TableRead([], error=self._is_open())] * len(requests)
        given = options.remaining()
        failed: bool | None = None
        try:
            if not self._pace.enter(given):
                with self._lock:
                    self._throttled += 1
                return [TableRead([], error=self._is_slowed())] * len(requests)
            answers, failed = self._called(requests, options, given)
        finally:
            self._breaker.record(permit, failed=failed)
        return answers

    def _called(
        self, requests: Sequence[TableKeys], options: ReadOptions, given: float | None
    ) -> tuple[list[TableRead], bool | None]:
        """The answers, and whether the store has failed; None: that cannot be told."""
        throttled = False
        try:
            answers = self._inner.read_all(requests, options) if self._inline else self._on_threads(requests, options)
            verdicts = {verdict for answer in answers for verdict in _verdicts(answer)}
            throttled = ReadFailure.THROTTLED in verdicts
        finally:
            self._pace.leave(throttled=throttled)
        late = ReadFailure.TIMEOUT in verdicts
        impatient = late and given is not None and given < self._options.patience
        failed = ReadFailure.ERROR in verdicts or (late and not impatient)
        with self._lock:
            self._calls += 1
            self._failed += failed
            self._throttled += throttled
        return answers, None if impatient and not failed else failed

    def _on_threads(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        parts: list[Sequence[TableKeys]] = [requests] if self._together else [[request] for request in requests]
        call = _Call(self._inner, parts, options)
        for place in range(len(parts)):
            if not self._workers.submit(call.job(place)):
                call.skip(place, self._is_crowded())
                with self._lock:
                    self._crowded += 1
        call.wait()
        answers = []
        for part, answer in zip(parts, call.answers(), strict=True):
            if answer is None:
                with self._lock:
                    self._late += len(part)
                answers += [TableRead([ReadFailure.TIMEOUT] * len(keys)) for _, keys in part]
            else:
                answers += answer
        return answers

    # ------------------------------------------------------------------------------------------------------- messages
    def _is_open(self) -> OnlineError:
        return StoreUnreachableError(
            f"{self._name} is not asked: too many of its last calls failed, and the circuit breaker is open",
            hint=f"it is asked again in about {self._breaker.wait():.1f} s; look at the store",
        )

    def _is_slowed(self) -> OnlineError:
        return StoreThrottledError(
            f"{self._name} refuses calls for load; {self._pace.limit} are made at once, and none was free in time",
            hint="ask again later, or raise the store's capacity",
        )

    def _is_crowded(self) -> OnlineError:
        return StoreUnreachableError(
            f"{self._name}: all {self._options.threads} threads are in calls that have not ended, and "
            f"{self._options.waiting} more calls wait",
            hint="the store hangs or is slow; look at it, or allow more threads",
        )


class _Call:
    """The parts of one request on the threads: each is there as a whole by the deadline, or not at all."""

    def __init__(self, reads: ItemReads, parts: Sequence[Sequence[TableKeys]], options: ReadOptions) -> None:
        self._reads = reads
        self._parts = parts
        self._options = options
        self._lock = Lock()
        self._answers: list[list[TableRead] | None] = [None] * len(parts)
        self._left = len(parts)
        self._error: BaseException | None = None
        self._over = False
        self._all_there = Lock()
        self._all_there.acquire()

    def job(self, part: int) -> Callable[[], None]:
        """What a thread does for one part."""
        return lambda: self._run(part)

    def skip(self, part: int, error: OnlineError) -> None:
        """A part that no thread will run."""
        self._put(part, [TableRead([], error=error)] * len(self._parts[part]), None)

    def wait(self) -> None:
        """Until all parts are there, or the time is up."""
        remaining = self._options.remaining()
        if not self._all_there.acquire(timeout=-1 if remaining is None else remaining):
            with self._lock:
                self._over = True

    def answers(self) -> list[list[TableRead] | None]:
        """What was there when the wait ended; None: late."""
        with self._lock:
            self._over = True
            if self._error is not None:
                raise self._error
            return list(self._answers)

    def _run(self, part: int) -> None:
        if self._over:
            # Nobody waits for it any more: the call is not made.
            return
        try:
            self._put(part, self._reads.read_all(self._parts[part], self._options), None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is waited for
            self._put(part, None, error)

    def _put(self, part: int, answers: list[TableRead] | None, error: BaseException | None) -> None:
        with self._lock:
            self._answers[part] = answers
            self._error = self._error or error
            self._left -= 1
            if self._left == 0:
                self._all_there.release()


def _verdicts(answer: TableRead) -> set[ReadFailure]:
    """Which failures of the store an answer speaks of. A refusal is none: the store has answered."""
    error = answer.error
    if error is not None:
        if isinstance(error, StoreThrottledError):
            return {ReadFailure.THROTTLED}
        return set() if isinstance(error, StoreRefusedError) else {ReadFailure.ERROR}
    # Told by the types first: of thousands of results hardly one is a failure.
    if ReadFailure not in set(map(type, answer.results)):
        return set()
    return {result for result in answer.results if isinstance(result, ReadFailure)}
