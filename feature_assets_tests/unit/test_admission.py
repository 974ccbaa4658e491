"""Admission: a few at once, a few waiting, the rest refused at once; nobody is begun who has given up."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from feature_assets.errors import OverloadedError
from feature_assets.serving.admission import Admission


class Gate:
    """Work that goes on until it is let go; keeps in which order it was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._open = threading.Event()

    def work(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.begun.append(name)
            assert self._open.wait(30)
            return name

        return run

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def admission() -> Iterator[Admission]:
    made = Admission(2, 3)
    yield made
    made.close(5)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def submitted(admission: Admission, gate: Gate, names: str, deadline: float = 30.0) -> list[Future[str]]:
    return [admission.submit(gate.work(name), deadline) for name in names]


def test_results_and_errors_come_back(admission: Admission) -> None:
    assert admission.submit(lambda: 3, 10).result(10) == 3

    def failing() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        admission.submit(failing, 10).result(10)


def test_what_finds_no_room_is_refused_at_once(admission: Admission) -> None:
    gate = Gate()
    running = submitted(admission, gate, "ab")
    until(lambda: len(gate.begun) == 2)
    waiting = submitted(admission, gate, "cde")
    with pytest.raises(OverloadedError) as caught:
        admission.submit(gate.work("f"), 30)
    assert caught.value.retry_after >= 1
    assert caught.value.retryable
    assert admission.numbers() == {"admitted": 2, "shed": 1, "late": 0, "running_now": 2, "waiting_now": 3}
    gate.open()
    assert sorted(future.result(10) for future in running + waiting) == list("abcde")
    until(lambda: admission.numbers()["running_now"] == 0)
    assert admission.numbers()["waiting_now"] == 0


def test_a_burst_finds_room_before_any_thread_has_woken() -> None:
    gate, admission = Gate(), Admission(4, 0)
    futures = submitted(admission, gate, "abcd")
    with pytest.raises(OverloadedError):
        admission.submit(gate.work("e"), 30)
    gate.open()
    assert [future.result(10) for future in futures] == list("abcd")
    admission.close(5)


def test_the_oldest_first_while_there_is_no_crowd_and_then_the_newest() -> None:
    for waiting, order in (("bc", "abc"), ("bcdef", "afedbc")):
        gate, admission = Gate(), Admission(2, 10)
        other = Gate()
        submitted(admission, other, "x")
        until(lambda other=other: len(other.begun) == 1)  # type: ignore[misc] # bound now
        first = submitted(admission, gate, "a")
        until(lambda gate=gate: len(gate.begun) == 1)  # type: ignore[misc] # bound now
        rest = submitted(admission, gate, waiting)
        gate.open()
        for future in first + rest:
            future.result(10)
        assert "".join(gate.begun) == order
        other.open()
        admission.close(5)


def test_who_has_given_up_is_not_begun(admission: Admission) -> None:
    gate = Gate()
    submitted(admission, gate, "ab")
    until(lambda: len(gate.begun) == 2)
    late = admission.submit(gate.work("c"), 0.001)
    cancelled = admission.submit(gate.work("d"), 30)
    assert cancelled.cancel()
    time.sleep(0.002)
    gate.open()
    with pytest.raises(OverloadedError, match="before the deadline"):
        late.result(10)
    assert admission.submit(lambda: 1, 10).result(10) == 1
    assert sorted(gate.begun) == ["a", "b"]
    assert admission.numbers()["late"] == 1


def test_what_waits_when_it_closes_is_refused_and_what_runs_ends() -> None:
    gate, admission = Gate(), Admission(1, 3)
    running = admission.submit(gate.work("a"), 30)
    until(lambda: len(gate.begun) == 1)
    waiting = admission.submit(gate.work("b"), 30)
    threading.Timer(0.01, gate.open).start()
    admission.close(10)
    assert running.result(0) == "a"
    with pytest.raises(OverloadedError, match="going down"):
        waiting.result(0)
    with pytest.raises(OverloadedError, match="going down"):
        admission.submit(lambda: 1, 1)
