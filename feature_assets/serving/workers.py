"""A bounded number of threads for calls that may hang.

Invariant: never more threads than `threads`, and never more jobs waiting for one than `waiting`: what is beyond that is
refused at once. A thread in a call that hangs stays counted, and does not keep the process from ending.
It knows no deadlines: who waits for a job decides how long.
"""

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

Job = Callable[[], None]
"""Must not raise."""


class Workers:
    """Threads are started when they are needed, and kept. Safe to share between threads."""

    def __init__(self, threads: int, waiting: int, name: str) -> None:
        self._most = threads
        self._room = threads + waiting
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._lock = Lock()
        self._closed = False
        # Jobs that wait or run.
        self._taken = 0

    @property
    def threads(self) -> int:
        """How many there are."""
        return len(self._threads)

    @property
    def busy(self) -> int:
        """How many are in a job."""
        return min(self._taken, len(self._threads))

    def submit(self, job: Job) -> bool:
        """Whether the job was taken, and runs as soon as a thread is free."""
        with self._lock:
            if self._closed or self._taken >= self._room:
                return False
            self._taken += 1
            if self._taken > len(self._threads) < self._most:
                thread = Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(job)
        return True

    def close(self, seconds: float = 0.0) -> None:
        """Take no more jobs, and wait at most so long for those there are to end. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                with self._lock:
                    self._taken -= 1
            # Or what it holds is held until the next job comes.
            del job
