"""The guard before a store: the breaker, the pace, the threads, and the deadline that is kept."""

import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

import pytest

from feature_assets.errors import OnlineError, StoreRefusedError, StoreThrottledError, StoreUnreachableError
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.breaker import Breaker, BreakerOptions, State
from feature_assets.serving.guard import GuardedReads, GuardOptions
from feature_assets.serving.pace import Pace
from feature_assets.serving.reads import ReadOptions, TableKeys, TableRead
from feature_assets.serving.workers import Workers

LONG = 30.0
ITEM = Stored(1, b"")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Told:
    """Answers by table, as it is told; a table that is held answers when it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.go: dict[str, Event] = {}
        self.answers: dict[str, ReadResult | OnlineError] = {}
        self.raises: Exception | None = None

    def hold(self, table: str) -> Event:
        return self.go.setdefault(table, Event())

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        del options
        self.calls.append([table for table, _ in requests])
        if self.raises is not None:
            raise self.raises
        answers = []
        for table, keys in requests:
            if table in self.go:
                assert self.go[table].wait(LONG)
            answer = self.answers.get(table, ITEM)
            if isinstance(answer, OnlineError):
                answers.append(TableRead([], error=answer))
            else:
                answers.append(TableRead([answer] * len(keys)))
        return answers


def ask(reads: GuardedReads, *tables: str, deadline: float = LONG) -> list[ReadResult | OnlineError]:
    """The first result of each table, or its error."""
    answers = reads.read_all([(table, [b"a", b"b"]) for table in tables], ReadOptions.within(deadline))
    for answer in answers:
        assert answer.error is not None or len(set(map(repr, answer.results))) == 1, "half a table"
    return [answer.results[0] if answer.error is None else answer.error for answer in answers]


# ------------------------------------------------------------------------------------------------------- the breaker
def breaker(**options: float) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(BreakerOptions(**options), clock), clock  # type: ignore[arg-type] # of whole numbers too


def record(one: Breaker, *outcomes: bool | None) -> None:
    for failed in outcomes:
        permit = one.permit()
        assert permit is not None
        one.record(permit, failed=failed)


def test_it_opens_on_a_share_and_not_on_a_few() -> None:
    one, _ = breaker(minimum=10, share=0.5)
    record(one, *[True] * 9)
    assert one.state() is State.CLOSED
    record(one, True)
    assert (one.state(), one.permit(), one.opened) == (State.OPEN, None, 1)
    other, _ = breaker(minimum=10, share=0.5)
    record(other, *[False] * 11, *[True] * 10)
    assert other.state() is State.CLOSED
    record(other, True)
    assert other.state() is State.OPEN


def test_what_was_long_ago_and_what_says_nothing_do_not_count() -> None:
    one, clock = breaker(minimum=10, window=1.0)
    record(one, *[True] * 9)
    clock.now += 1.2
    record(one, *[None] * 20, *[True] * 9)
    assert one.state() is State.CLOSED


def test_it_lets_single_probes_through_and_waits_longer_each_time() -> None:
    one, clock = breaker(minimum=1, pause=0.5, longest=2.0, probes=2)
    record(one, True)
    for pause in (0.5, 1.0, 2.0, 2.0):
        assert one.wait() == pytest.approx(pause)
        clock.now += pause - 0.01
        assert one.permit() is None
        clock.now += 0.02
        permit = one.permit()
        assert permit is not None
        assert one.permit() is None
        one.record(permit, failed=True)
    clock.now += 2.0
    record(one, None, False)
    assert one.state() is State.HALF_OPEN
    record(one, False)
    assert one.state() is State.CLOSED
    record(one, True)
    assert one.wait() == pytest.approx(0.5)


def test_a_late_failure_of_the_past_does_not_open_it_again() -> None:
    one, clock = breaker(minimum=1, probes=1)
    late = one.permit()
    assert late is not None
    record(one, True)
    clock.now += 1
    one.record(late, failed=True)
    record(one, False)
    one.record(late, failed=True)
    assert one.state() is State.CLOSED


# --------------------------------------------------------------------------------------------------------------- pace
def test_refused_calls_slow_down_and_never_cut_off() -> None:
    clock = Clock()
    pace = Pace(2, 16, clock)
    for _ in range(30):
        assert pace.enter(0.0)
        pace.leave(throttled=True)
        clock.now += 0.2
    assert pace.limit == 2
    assert [pace.enter(0.0) for _ in range(3)] == [True, True, False]
    for _ in range(2):
        pace.leave(throttled=False)
    for _ in range(200):
        assert pace.enter(0.0)
        pace.leave(throttled=False)
    assert pace.limit == 16
    assert all(pace.enter(0.0) for _ in range(20))


def test_calls_refused_together_are_one_reason() -> None:
    pace = Pace(1, 16, Clock())
    for _ in range(16):
        assert pace.enter(0.0)
    for _ in range(16):
        pace.leave(throttled=True)
    assert (pace.slowed, pace.limit, pace.running) == (1, 11, 0)


# ------------------------------------------------------------------------------------------------------------ workers
def test_there_are_never_more_threads_nor_more_waiting() -> None:
    workers, go, ran = Workers(2, 3, "test"), Event(), []
    taken = [workers.submit(lambda: ran.append(go.wait(LONG))) for _ in range(10)]
    assert taken == [True] * 5 + [False] * 5
    assert (workers.threads, workers.busy) == (2, 2)
    go.set()
    workers.close(LONG)
    assert ran == [True] * 5
    assert not workers.submit(go.set)
    workers.close()


# -------------------------------------------------------------------------------------------------------------- guard
def test_late_tables_are_timeouts_and_the_others_are_answered() -> None:
    store = Told()
    reads = GuardedReads(store)
    store.hold("slow")
    assert ask(reads, "one", "slow", "two", deadline=2.0) == [ITEM, ReadFailure.TIMEOUT, ITEM]
    stats = reads.stats()
    assert (stats.calls, stats.failed, stats.late, stats.busy) == (1, 1, 1, 1)
    store.hold("slow").set()
    reads.close()


def test_several_tables_are_one_call_where_the_store_can() -> None:
    store = Told()
    assert ask(GuardedReads(store, together=True), "one", "two") == [ITEM, ITEM]
    assert ask(GuardedReads(store, inline=True), "one", "two") == [ITEM, ITEM]
    assert store.calls == [["one", "two"]] * 2
    store.hold("one")
    assert ask(GuardedReads(store, together=True), "one", "two", deadline=0.05) == [ReadFailure.TIMEOUT] * 2
    store.hold("one").set()


@pytest.mark.parametrize("inline", [False, True])
def test_an_open_breaker_answers_at_once_and_says_why(inline: bool) -> None:
    clock, store = Clock(), Told()
    reads = GuardedReads(store, name="memory:x", inline=inline, monotonic=clock)
    store.answers["t"] = StoreUnreachableError("down")
    for _ in range(10):
        ask(reads, "t")
    answer = ask(reads, "t", "u")
    assert len(store.calls) == 10
    assert [type(one) for one in answer] == [StoreUnreachableError] * 2
    assert "memory:x is not asked" in str(answer[0])
    assert "circuit breaker is open" in str(answer[0])
    assert (reads.stats().state, reads.stats().opened, reads.stats().refused) == (State.OPEN, 1, 1)
    # Healed: within five seconds, also by the breaker's longest pause.
    del store.answers["t"]
    clock.now += 2.0
    assert [ask(reads, "t") for _ in range(3)] == [[ITEM]] * 3
    assert reads.stats().state is State.CLOSED


def test_impatience_is_no_failure_of_the_store() -> None:
    store = Told()
    store.answers["t"] = ReadFailure.TIMEOUT
    reads = GuardedReads(store, GuardOptions(patience=10.0), inline=True)
    for _ in range(50):
        assert ask(reads, "t", deadline=1.0) == [ReadFailure.TIMEOUT]
    assert reads.stats().state is State.CLOSED
    for _ in range(10):
        ask(reads, "t", deadline=LONG)
    assert reads.stats().state is State.OPEN


@pytest.mark.parametrize(
    "answer", [ReadFailure.THROTTLED, StoreThrottledError("slower"), StoreRefusedError("no table")]
)
def test_a_store_that_answers_with_a_refusal_is_not_cut_off(answer: ReadResult | OnlineError) -> None:
    clock, store = Clock(), Told()
    reads = GuardedReads(store, inline=True, monotonic=clock)
    store.answers["t"] = answer
    for _ in range(50):
        assert ask(reads, "t") == [answer]
        clock.now += 0.05
    assert len(store.calls) == 50
    stats = reads.stats()
    assert stats.state is State.CLOSED
    assert (stats.slowed > 0, stats.limit < 32) == (
        (False, False) if isinstance(answer, StoreRefusedError) else (True, True)
    )


def test_who_finds_no_turn_at_a_slowed_store_is_told() -> None:
    clock, store = Clock(), Told()
    reads = GuardedReads(store, GuardOptions(threads=2, slowest=1), monotonic=clock)
    store.answers["t"] = ReadFailure.THROTTLED
    ask(reads, "t")
    held = store.hold("u")
    running = Thread(target=ask, args=(reads, "u"))
    running.start()
    until(lambda: reads.stats().running == 1)
    (answer,) = ask(reads, "t", deadline=0.01)
    assert isinstance(answer, StoreThrottledError)
    assert "refuses calls for load" in str(answer)
    held.set()
    running.join(LONG)


def test_threads_that_hang_are_counted_and_what_is_beyond_them_is_refused() -> None:
    store = Told()
    reads = GuardedReads(store, GuardOptions(threads=2, waiting=1, patience=LONG))
    store.hold("t")
    # Long enough for a thread to have begun.
    for deadline in (1.0, 1.0, 0.01):
        assert ask(reads, "t", deadline=deadline) == [ReadFailure.TIMEOUT]
    (answer,) = ask(reads, "t")
    assert isinstance(answer, StoreUnreachableError)
    assert "all 2 threads" in str(answer)
    assert (reads.stats().threads, reads.stats().busy, reads.stats().crowded) == (2, 2, 1)
    assert len(store.calls) == 2
    # What waited for a thread that nobody waits for any more is not called.
    store.hold("t").set()
    until(lambda: reads.stats().busy == 0)
    assert len(store.calls) == 2


def test_what_raises_is_raised_where_it_was_asked_for() -> None:
    store = Told()
    store.raises = RuntimeError("a bug")
    for inline in (False, True):
        with pytest.raises(RuntimeError, match="a bug"):
            ask(GuardedReads(store, inline=inline), "t")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)
