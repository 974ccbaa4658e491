"""`AsyncOnlineClient`: the in-process client for programs that run an event loop.

    async with AsyncOnlineClient(client) as features:
        answer = await features.get([{"carrier": "UA"}], service="flight_delay")

Invariant: the event loop never waits for anybody, and a request that is given up holds its place until its work has
ended, so that there are never more threads at work than requests may be answered at once.
It answers nothing by itself: the client that it is over does, in a thread; or, if the loop serves nothing else and the
answer waits for nobody, in the loop: threads that only compute take turns at the interpreter, and lose half of their
time in doing so.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Self, TypeVar

from feature_assets.errors import OverloadedError, StoreUnreachableError
from feature_assets.serving.admission import Admission, AdmissionOptions, Lease
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import ClientStats, OnlineClient, Question
from feature_assets.serving.freshness import OnStale
from feature_assets.serving.request import Entities
from feature_assets.serving.workers import Workers

Result = TypeVar("Result")

GRACE: Final = 0.25
"""Seconds past its deadline after which a request is given up. At its deadline all that is read is there, or has a
status; what may take longer is the work on it, and looking up which versions serve."""
_CLOSING: Final = 5.0
_TURNS: Final = 4
"""Of the loop, between two answers in a crowd. To hear more of them would leave less time for answers."""


class AsyncOnlineClient:
    """Answers requests. One for an event loop, or for several; the client that it is over may be used beside it.

    It takes over the admission of that client; one that has none is given one. `in_loop`: what waits for nobody is
    answered in the loop itself, which does nothing else meanwhile, for some milliseconds if it is much.
    """

    def __init__(self, client: OnlineClient, *, grace: float = GRACE, in_loop: bool = False) -> None:
        self._client = client
        self._grace = grace
        self._in_loop = in_loop
        self._admission = client.admission or Admission()
        options = client.options.admission or AdmissionOptions()
        self._workers = Workers(options.concurrency, options.waiting, "features")

    def stats(self) -> ClientStats:
        """What was done so far, and how it stands."""
        return self._client.stats()

    async def get(
        self,
        entities: Entities,
        *,
        service: str,
        as_of: datetime | None = None,
        consistent: bool = False,
        deadline: float | None = None,
        max_age: timedelta | None = None,
        on_stale: OnStale = "serve",
        request_id: str | None = None,
    ) -> Answer:
        """As `OnlineClient.get`. Raises `StoreUnreachableError`, too, for what has no answer a while past its deadline.

        Cancelled, it returns at once; what it had begun ends in its thread, and nobody is told of the answer but
        observers.
        """
        question = Question(entities, service, as_of, consistent, deadline, max_age, on_stale, request_id)
        return await self.answered(question, lambda answer: answer)

    async def answered(self, question: Question, then: Callable[[Answer], Result]) -> Result:
        """What `then` makes of the answer, in the same thread. Raises what `get` raises."""
        with self._client.telling(question):
            seconds = self._client.seconds(question)

            def work() -> Result:
                return then(self._client.answer(question, seconds))

            async with self._admission.admitted_async(seconds) as lease:
                if self._in_loop:
                    await self._heard()
                    if self._client.answers_at_once(question.service):
                        return work()
                return await self._in_thread(work, seconds, question.passed, lease, question.service)

    async def _heard(self) -> None:
        """Let the loop hear who came meanwhile: a queue that nobody sees cannot be kept short.

        A loop may take one new connection a turn, no more (uvloop does so). Two turns for each answer are enough to see
        that there are more than can be answered; then it hears some more.
        """
        for turn in range(_TURNS):
            await asyncio.sleep(0)
            if turn and not self._admission.crowd:
                return

    async def within(self, work: Callable[[], Result], seconds: float, passed: float, what: str) -> Result:
        """`work` in a thread, let in as a request of `seconds` is, of which so many have passed; `what`, for messages.

        Raises `OverloadedError` if it is not let in, `StoreUnreachableError` if it takes longer.
        """
        began = time.monotonic() - passed
        async with self._admission.admitted_async(seconds) as lease:
            return await self._in_thread(work, seconds, time.monotonic() - began, lease, what)

    async def _in_thread(
        self, work: Callable[[], Result], seconds: float, passed: float, lease: Lease, what: str
    ) -> Result:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Result] = loop.create_future()

        def job() -> None:
            try:
                if not result.done():
                    _hand_over(loop, result, work())
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
                _hand_over(loop, result, error)
            finally:
                lease.end()

        if not self._workers.submit(job):
            raise OverloadedError("the client is closed, or its threads are all in calls that do not end")
        lease.keep()
        try:
            async with asyncio.timeout(max(0.0, seconds + self._grace - passed)):
                return await result
        except TimeoutError as error:
            raise StoreUnreachableError(
                f"{what}: no answer within {1e3 * seconds:g} ms",
                hint="the store or the machine is slow, or the lake does not say which versions serve",
            ) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more requests, and wait for those under way, a few seconds at most. The client stays open."""
        await asyncio.get_running_loop().run_in_executor(None, self._workers.close, _CLOSING)


def _hand_over(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Result], result: Result | BaseException) -> None:
    def settle() -> None:
        if future.done():
            return
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

    # A loop that is closed waits for nothing any more.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(settle)
