"""How much is answered at once: a few threads, a short queue before them, and the rest is refused at once.

Invariant: no queue grows without end, and nothing is begun whose caller has given up: what waits longer than its
deadline is refused, not answered late. Where more arrives than can be answered, the newest is answered first: whoever
has waited longest is the likeliest to have gone, and first come, first served would make everybody late.
(Nelson, "Fail at Scale", ACM Queue 13 (8), 2015: adaptive LIFO.)

It does not know what the work is.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

from feature_assets.errors import OverloadedError

Result = TypeVar("Result")


@dataclass(slots=True)
class AdmissionStats:
    """Since the start: `admitted`, `shed` (no room), `late` (waited past its deadline); now: `running`, `waiting`."""

    admitted: int = 0
    shed: int = 0
    late: int = 0
    running: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Task(Generic[Result]):
    work: Callable[[], Result]
    done: Future[Result]
    ends_at: float


class Admission:
    """`concurrency` threads; `waiting`: how many may wait for one. Safe to share between threads."""

    def __init__(self, concurrency: int, waiting: int, *, name: str = "serving") -> None:
        self.stats = AdmissionStats()
        self._concurrency = concurrency
        self._most = waiting
        self._queue: deque[_Task[Any]] = deque()
        self._changed = Condition()
        self._closed = False
        self._usual = 0.005
        self._threads = [Thread(target=self._run, name=f"{name}-{at}", daemon=True) for at in range(concurrency)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], Result], deadline: float) -> Future[Result]:
        """`work` in a thread, begun within `deadline` seconds. Raises `OverloadedError` if there is no room for it.

        The future fails with the same error if no thread was free in time. A cancelled one is not begun.
        """
        done: Future[Result] = Future()
        task = _Task(work, done, time.monotonic() + deadline)
        with self._changed:
            if self._closed:
                raise OverloadedError("the server is going down", hint="ask another one", retry_after=1.0)
            self._drop_late(time.monotonic())
            if len(self._queue) >= self._most + max(0, self._concurrency - self.stats.running):
                self.stats.shed += 1
                raise self._overloaded(f"{len(self._queue)} requests are waiting already")
            self._queue.append(task)
            self.stats.waiting = len(self._queue)
            self._changed.notify()
        return done

    def numbers(self) -> dict[str, int]:
        """For metrics."""
        stats = self.stats
        return {
            "admitted": stats.admitted,
            "shed": stats.shed,
            "late": stats.late,
            "running_now": stats.running,
            "waiting_now": stats.waiting,
        }

    def close(self, within: float = 0.0) -> None:
        """Begin nothing more. What is running has `within` seconds to end; what waits is refused."""
        with self._changed:
            self._closed = True
            waiting, self._queue = list(self._queue), deque()
            self.stats.waiting = 0
            self._changed.notify_all()
        for task in waiting:
            task.done.set_exception(OverloadedError("the server is going down", hint="ask another one"))
        end = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while (task := self._next()) is not None:
            began = time.monotonic()
            try:
                if task.done.set_running_or_notify_cancel():
                    _fulfil(task)
            finally:
                with self._changed:
                    self.stats.running -= 1
                    self._usual += (time.monotonic() - began - self._usual) / 16

    def _next(self) -> _Task[Any] | None:
        with self._changed:
            while True:
                self._drop_late(time.monotonic())
                if self._queue:
                    # In order while there is no crowd, so that nobody waits for long.
                    crowded = len(self._queue) > self._concurrency
                    task = self._queue.pop() if crowded else self._queue.popleft()
                    self.stats.waiting = len(self._queue)
                    self.stats.running += 1
                    self.stats.admitted += 1
                    return task
                if self._closed:
                    return None
                self._changed.wait()

    def _drop_late(self, now: float) -> None:
        """Refuse what nobody waits for any more."""
        if not any(task.ends_at <= now for task in self._queue):
            return
        kept: deque[_Task[Any]] = deque()
        for task in self._queue:
            if task.ends_at > now:
                kept.append(task)
            elif task.done.set_running_or_notify_cancel():
                self.stats.late += 1
                task.done.set_exception(self._overloaded("no thread was free before the deadline"))
        self._queue = kept
        self.stats.waiting = len(kept)

    def _overloaded(self, what: str) -> OverloadedError:
        wait = max(1.0, len(self._queue) * self._usual / self._concurrency)
        hint = f"ask again in {wait:.0f} s, or with fewer entities at a time"
        return OverloadedError(f"too much is asked at once: {what}", hint=hint, retry_after=wait)


def _fulfil(task: _Task[Result]) -> None:
    try:
        result = task.work()
    except BaseException as error:  # noqa: BLE001 # it is raised where the result is asked for
        task.done.set_exception(error)
    else:
        task.done.set_result(result)
