"""The breaker, and reads behind one: when it opens, what is answered meanwhile, how it closes."""

import threading
import time
from collections.abc import Sequence

import pyarrow as pa
import pytest

from feature_assets.errors import (
    OnlineError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.breaker import Breaker, BreakerOptions, GuardedReads
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.reads import ReadOptions, StoreReads, TableKeys, TableRead
from feature_assets.serving.status import Status
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at, project_of

OPTIONS = BreakerOptions(at_least=4, over=1.0, share=0.5, first=1.0, longest=4.0)


class Time:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def called(breaker: Breaker, *wells: bool | None) -> list[bool]:
    """Whether each call was let pass; it then ended so."""
    passed = []
    for well in wells:
        passed.append(breaker.lets_pass())
        if passed[-1]:
            breaker.ended(well=well)
    return passed


def test_it_opens_when_enough_of_enough_calls_fail() -> None:
    for wells, opened in (
        ((False, False, False), 0),
        ((False, False, False, False), 1),
        ((True, True, True, False, False), 0),
        ((True, True, True, False, False, False), 1),
        ((None, None, None, None, False, False, False), 0),
        ((True,) * 50, 0),
    ):
        breaker = Breaker(OPTIONS, Time())
        called(breaker, *wells)
        assert breaker.numbers()["opened"] == opened, wells


def test_what_is_long_ago_does_not_count() -> None:
    clock = Time()
    breaker = Breaker(OPTIONS, clock)
    called(breaker, False, False, False)
    clock.at += 1.0
    called(breaker, False, False, False)
    assert breaker.numbers()["opened"] == 0
    called(breaker, False)
    assert breaker.numbers()["opened"] == 1


def test_one_probe_at_a_time_decides() -> None:
    clock = Time()
    breaker = Breaker(OPTIONS, clock)
    called(breaker, *[False] * 4)
    assert called(breaker, True) == [False]
    clock.at += 1.0
    assert breaker.lets_pass()
    assert [breaker.lets_pass(), breaker.lets_pass()] == [False, False], "others wait for what becomes of the probe"
    breaker.ended(well=False)
    clock.at += 1.9
    assert not breaker.lets_pass(), "twice as long as before"
    clock.at += 0.1
    assert called(breaker, False) == [True]
    clock.at += 4.0
    assert called(breaker, False) == [True]
    clock.at += 4.0
    assert called(breaker, True, True, True) == [True] * 3, "never longer than the longest"
    assert breaker.numbers()["open_now"] == 0
    called(breaker, False)
    assert breaker.numbers()["open_now"] == 0, "it begins anew"


def test_calls_that_were_under_way_when_it_opened_decide_nothing() -> None:
    clock = Time()
    breaker = Breaker(OPTIONS, clock)
    for _ in range(6):
        assert breaker.lets_pass()
    for _ in range(4):
        breaker.ended(well=False)
    breaker.ended(well=True)
    breaker.ended(well=True)
    assert not breaker.lets_pass()


class Scripted:
    """Reads that answer as they are told."""

    def __init__(self) -> None:
        self.answer: TableRead | Exception = TableRead([None])
        self.calls = 0

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        del options
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer for _ in requests]


@pytest.mark.parametrize(
    ("answer", "opens"),
    [
        (TableRead([ReadFailure.TIMEOUT, ReadFailure.ERROR]), True),
        (TableRead([], error=StoreUnreachableError("x")), True),
        (TableRead([ReadFailure.TIMEOUT, Stored(1, b"")]), False),
        (TableRead([ReadFailure.ERROR, None]), False),
        (TableRead([ReadFailure.THROTTLED]), False),
        (TableRead([], error=StoreThrottledError("x")), False),
        (TableRead([], error=StoreRefusedError("x")), False),
        (TableRead([]), False),
        (RuntimeError("x"), True),
    ],
)
def test_what_counts_as_a_failure(answer: TableRead | Exception, opens: bool) -> None:
    inner, clock = Scripted(), Time()
    reads = GuardedReads(inner, Breaker(OPTIONS, clock))
    inner.answer = answer
    for _ in range(8):
        try:
            reads.read_all([("t", [b"k"])], ReadOptions())
        except RuntimeError:
            assert isinstance(answer, RuntimeError)
    assert inner.calls == (4 if opens else 8)
    assert reads.breaker.numbers()["opened"] == int(opens)
    if opens:
        (told,) = reads.read_all([("t", [b"k"])], ReadOptions())
        assert isinstance(told.error, StoreUnreachableError)


def test_a_store_that_hangs_is_given_up_at_the_deadline_and_left_alone() -> None:
    """In the midst of callers: each is answered, none by a null without a status, and threads are bounded."""
    hanging, release = threading.Event(), threading.Event()
    world = Published()
    view = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()})
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1}])
    inner, calls = world.store, []

    class Hanging(type(inner)):  # type: ignore[misc] # of the class that the world made
        def read(
            self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
        ) -> list[ReadResult]:
            calls.append(table)
            if hanging.is_set():
                release.wait(30)
            return inner.read(table, keys, consistent=consistent, deadline=deadline)

    store = Hanging()
    guarded = GuardedReads(
        StoreReads(store), Breaker(BreakerOptions(first=0.05, longest=0.1)), keeps_deadlines=False, threads=4
    )
    client = OnlineClient(project_of(view), world.reader(view, reads=guarded))
    asked = [{"airport": "JFK"}]
    assert client.get(asked, service="it", deadline=5).status == {"odd__a": [Status.PRESENT]}
    hanging.set()
    statuses = [client.get(asked, service="it", deadline=0.02).status["odd__a"][0] for _ in range(30)]
    assert set(statuses) <= {Status.TIMEOUT, Status.ERROR}
    assert statuses[:4] == [Status.TIMEOUT] * 4
    assert guarded.breaker.numbers()["opened"] >= 1
    assert len(calls) < 25, "it was left alone"
    assert sum(thread.name.startswith("guarded") for thread in threading.enumerate()) <= 4
    hanging.clear()
    release.set()
    end = time.monotonic() + 10
    while client.get(asked, service="it", deadline=5).status["odd__a"] != [Status.PRESENT]:
        assert time.monotonic() < end
        time.sleep(0.01)
    guarded.close()


def test_an_error_of_the_store_is_no_error_of_the_request() -> None:
    view, world = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1}])
    inner = Scripted()
    inner.answer = TableRead([], error=OnlineError("x"))
    answer = world.reader(view, reads=GuardedReads(inner)).get("it", [{"airport": "JFK"}])
    assert answer.status == {"odd__a": [Status.ERROR]}
