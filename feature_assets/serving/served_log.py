"""The log of answers: what was served, handed over after each answer and written behind it.

    with ServedLog(store.lake, project, store.clock, target=store.target) as log:
        answer = reader.get("checkout", entities)
        log.record(answer, request_id)

Invariant: `record` never waits and never raises: what has no room, or cannot be written, is counted. Every row that was
recorded is counted exactly once: `recorded == logged + sampled_out + dropped + failed + waiting`. An entity is in the
sample always or never.
What a killed process had not written yet is lost, and no more; what was written is whole. While the lake cannot be
written to, what waits is tried again until there is no room for more. A log is of the process that made it: make it
after a fork.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Condition, Thread
from typing import Self

from feature_assets.clock import Clock
from feature_assets.definition.project import Project
from feature_assets.errors import FeatureAssetsError, InputError
from feature_assets.offline.lake import Lake
from feature_assets.serving.answer import Answer
from feature_assets.serving.served_batches import ServedBatches

_GATHERED_S = 0.1
"""How long answers are let gather before they are looked at: many at once cost less than each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLogOptions:
    """How a log is kept.

    `rate`: the share of entities that is logged, from 0 to 1. `queue_rows`: rows that may wait to be written; beyond
    them answers are dropped. Rows are written when `flush_rows` of a service wait, or the first of them has waited
    `flush_seconds`. `close_seconds`: how long `close` waits.
    """

    rate: float = 1.0
    queue_rows: int = 20_000
    flush_rows: int = 5_000
    flush_seconds: float = 10.0
    close_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise InputError(f"served log: rate={self.rate}", hint="it is a share of entities, from 0 to 1")
        for name in ("queue_rows", "flush_rows", "flush_seconds", "close_seconds"):
            if getattr(self, name) <= 0:
                raise InputError(f"served log: {name}={getattr(self, name)}", hint="it is greater than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLogStats:
    """What became of the rows that were recorded, since the log was made.

    `logged`: durable in the lake. `sampled_out`: of entities that are not in the sample. `dropped`: there was no room,
    or the log was closed. `failed`: they could not be written, and are not tried again. `waiting`: still to be written.
    `appends`: commits that were made; `failed_attempts`: those that failed, also if a later one did not.
    `last_logged_at`: the newest `logged_at` that is durable. `last_error`: of the last attempt that failed; empty if
    none has.
    """

    recorded: int = 0
    logged: int = 0
    sampled_out: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    appends: int = 0
    failed_attempts: int = 0
    last_logged_at: datetime | None = None
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class _Recorded:
    answer: Answer
    request_id: str
    logged_at: datetime


class ServedLog:
    """Logs answers of a project's services to `served/<service>`. Safe to share between threads; close it at the end.

    `target`: the online store that answers, as the ledger calls it.
    """

    def __init__(
        self, lake: Lake, project: Project, clock: Clock, options: ServedLogOptions | None = None, *, target: str
    ) -> None:
        self._lake = lake
        self._project = project
        self._clock = clock
        self._options = options or ServedLogOptions()
        self._target = target
        self._services: dict[str, ServedBatches] = {}
        # What is below is shared, and looked at and changed only with the condition held.
        self._changed = Condition()
        self._thread: Thread | None = None
        self._queue: list[_Recorded] = []
        self._queued_rows = 0
        self._queued_since = 0.0
        self._flushes_asked = self._flushes_done = 0
        self._flushed_whole = True
        self._closing = self._ended = False
        self._counts: Counter[str] = Counter()
        self._last_logged_at: datetime | None = None
        self._last_error = ""

    # ------------------------------------------------------------------------------------------- on the caller's thread
    def record(self, answer: Answer, request_id: str) -> None:
        """Hand an answer over. It is logged later, or counted as what it is not logged for."""
        rows = len(answer)
        try:
            logged_at = self._clock.now()
        except FeatureAssetsError as error:
            with self._changed:
                self._count(recorded=rows, failed=rows)
                self._last_error = str(error)
            return
        with self._changed:
            waiting = self._counts["waiting"]
            if not self._options.rate:
                self._count(recorded=rows, sampled_out=rows)
            elif self._closing or (waiting and waiting + rows > self._options.queue_rows) or not self._has_thread():
                self._count(recorded=rows, dropped=rows)
            else:
                self._count(recorded=rows, waiting=rows)
                self._enqueue(_Recorded(answer, request_id, logged_at), rows)

    def _enqueue(self, recorded: _Recorded, rows: int) -> None:
        if not self._queue:
            self._queued_since = time.monotonic()
        self._queue.append(recorded)
        self._queued_rows += rows
        if len(self._queue) == 1 or self._is_much:
            self._changed.notify_all()

    def _has_thread(self) -> bool:
        """Whether there is one, by now; a process may have no room for another."""
        if self._thread is None:
            thread = Thread(target=self._run, name="served-log", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._last_error = f"no thread for the served log: {error}"
                return False
            self._thread = thread
        return True

    def answered(self, answer: Answer, seconds: float) -> None:
        """As an `Observer` of a client: what it answers is logged."""
        del seconds
        self.record(answer, answer.request_id)

    def failed(self, service: str, error: FeatureAssetsError, seconds: float) -> None:
        """As an `Observer`: what was not answered is not logged."""

    def numbers(self) -> dict[str, int]:
        """For metrics."""
        stats = self.stats
        counted = ("recorded", "logged", "sampled_out", "dropped", "failed", "appends", "failed_attempts")
        return {**{name: int(getattr(stats, name)) for name in counted}, "waiting_now": stats.waiting}

    def flush(self, timeout: float | None = None) -> bool:
        """Write what was recorded before; returns whether all of it was written within `timeout` seconds.

        What could not be written still waits, and is tried again.
        """
        with self._changed:
            if self._thread is None or self._ended:
                return self._flushed_whole
            self._flushes_asked += 1
            asked = self._flushes_asked
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._flushes_done >= asked, timeout)
            return done and self._flushed_whole

    def close(self) -> None:
        """Write what waits, once, and end. What cannot be written counts as failed; what is recorded later, as dropped.

        After `close_seconds` it returns in any case: what is being written then still counts as waiting.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(self._options.close_seconds)

    @property
    def stats(self) -> ServedLogStats:
        """What has become of what was recorded, as of now."""
        with self._changed:
            return ServedLogStats(**self._counts, last_logged_at=self._last_logged_at, last_error=self._last_error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self, **rows: int) -> None:
        for what, number in rows.items():
            self._counts[what] += number

    @property
    def _is_much(self) -> bool:
        return self._queued_rows >= self._options.flush_rows

    @property
    def _is_urgent(self) -> bool:
        return self._closing or self._flushes_asked > self._flushes_done or self._is_much

    # --------------------------------------------------------------------------------------- on the thread of the log
    def _run(self) -> None:
        ended = False
        while not ended:
            with self._changed:
                while not self._is_urgent and (pause := self._pause()) != 0:
                    self._changed.wait(pause)
                taken, self._queue, self._queued_rows = self._queue, [], 0
                asked, ended = self._flushes_asked, self._closing
                everything = ended or asked > self._flushes_done
            self._gather(taken)
            for service in self._services.values():
                self._write(service, everything=everything)
            with self._changed:
                if everything:
                    self._flushes_done = max(self._flushes_done, asked)
                    self._flushed_whole = not any(one.waiting for one in self._services.values())
                if ended:
                    left = sum(one.waiting for one in self._services.values())
                    self._count(failed=left, waiting=-left)
                    self._flushes_done, self._ended = self._flushes_asked, True
                self._changed.notify_all()

    def _pause(self) -> float | None:
        """Seconds until there is something to do; None: until something is recorded."""
        now = time.monotonic()
        due = [one.due_at for one in self._services.values() if one.waiting]
        if self._queue:
            due.append(self._queued_since + _GATHERED_S)
        return max(0.0, min(due) - now) if due else None

    def _gather(self, taken: Sequence[_Recorded]) -> None:
        by_service: dict[str, list[_Recorded]] = {}
        for one in taken:
            by_service.setdefault(one.answer.service, []).append(one)
        for name, recorded in by_service.items():
            self._gather_of(name, recorded)

    def _gather_of(self, name: str, recorded: Sequence[_Recorded]) -> None:
        rows = sum(len(one.answer) for one in recorded)
        try:
            kept = self._of(name).gather(recorded)
        except Exception as error:  # noqa: BLE001 - if this thread died, nothing would be logged and nothing said
            if len(recorded) > 1:
                # One by one, so that what cannot be logged leaves the others as they are.
                for one in recorded:
                    self._gather_of(name, [one])
                return
            with self._changed:
                self._count(failed=rows, waiting=-rows)
                self._last_error = f"{type(error).__name__}: {error}"
        else:
            with self._changed:
                self._count(sampled_out=rows - kept, waiting=kept - rows)

    def _of(self, name: str) -> ServedBatches:
        service = self._services.get(name)
        if service is None:
            options = self._options
            service = self._services[name] = ServedBatches(
                self._lake,
                self._project.service(name),
                target=self._target,
                rate=options.rate,
                flush_rows=options.flush_rows,
                flush_seconds=options.flush_seconds,
            )
        return service

    def _write(self, service: ServedBatches, *, everything: bool) -> None:
        for written in service.write(everything=everything):
            with self._changed:
                self._count(
                    logged=written.logged,
                    failed=written.failed,
                    waiting=-written.logged - written.failed,
                    appends=int(written.logged > 0),
                    failed_attempts=int(bool(written.error)),
                )
                self._last_error = written.error or self._last_error
                self._last_logged_at = max(filter(None, (self._last_logged_at, written.logged_at)), default=None)
