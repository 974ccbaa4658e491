"""`OnlineClient`: the features of services for programs that ask often, in their own process.

    with FeatureStore.open(project=project) as store:
        client = store.client()
        answer = client.get([{"carrier": "UA"}], service="flight_delay", max_age=timedelta(minutes=5))

Invariant: an HTTP server, a program and a test go through this one object, and so through one read path. By the
deadline it says what it knows; what it does not know then is a status, never a null without one.
It knows no transport.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, Self

from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.errors import FeatureAssetsError, InputError
from feature_assets.serving.answer import Answer
from feature_assets.serving.breaker import Breaker
from feature_assets.serving.freshness import Freshness, OnStale
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.request import Entities


class Observer(Protocol):
    """Is told of every request. Called in the thread of the request: it does little, and raises nothing."""

    def answered(self, answer: Answer, seconds: float) -> None:
        """A request was answered, if only with statuses."""

    def failed(self, service: str, error: FeatureAssetsError, seconds: float) -> None:
        """A request was refused, or could not be answered."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """`deadline`: seconds that a request has which brings none."""

    deadline: float = 0.25


class OnlineClient:
    """Answers requests. Safe to share between threads; keep it, as what it has compiled and connected is reused."""

    def __init__(
        self,
        project: Project,
        reader: OnlineReader,
        options: ClientOptions | None = None,
        *,
        observers: Sequence[Observer] = (),
        breaker: Breaker | None = None,
    ) -> None:
        """`breaker`: of what the reader reads from, if there is one, for its numbers."""
        self.breaker = breaker
        self._project = project
        self._reader = reader
        self._options = options or ClientOptions()
        self._observers = tuple(observers)

    @property
    def services(self) -> Mapping[str, FeatureService]:
        """What can be asked for, by name."""
        return {service.name: service for service in self._project.services}

    def get(
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
        """The features of `entities`: one row per row, in order.

        `deadline`: seconds; default: that of the options. `max_age`, `on_stale`: how stale a view may be, and what
        becomes of one that is (see `Freshness`). `request_id`: by which the answer is found in the served log; default:
        a new one. Otherwise as `OnlineReader.get`, also what it raises.
        """
        started = time.perf_counter()
        try:
            answer = self._reader.get(
                service,
                entities,
                as_of=as_of,
                consistent=consistent,
                deadline=_seconds(self._options.deadline if deadline is None else deadline),
                freshness=Freshness(max_age, on_stale),
            )
        except FeatureAssetsError as error:
            for observer in self._observers:
                observer.failed(service, error, time.perf_counter() - started)
            raise
        answer = replace(answer, request_id=request_id or secrets.token_hex(16))
        for observer in self._observers:
            observer.answered(answer, time.perf_counter() - started)
        return answer

    def warmed(self, deadline: float | None = None) -> dict[str, str]:
        """Compile every service and reach for what it reads; by service, why it cannot answer. Empty: all can.

        `deadline`: seconds for each service; default: that of the options.
        """
        reasons = {}
        for name in self.services:
            try:
                failures = self._reader.standing(name, deadline or self._options.deadline)
            except FeatureAssetsError as error:
                failures = {"": error.message}
            if failures:
                reasons[name] = "; ".join(f"{view}: {reason}" if view else reason for view, reason in failures.items())
        return reasons

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what it holds."""


def _seconds(deadline: float) -> float:
    if not deadline > 0:
        raise InputError(f"deadline: {deadline} seconds are none", hint="give a positive number of seconds")
    return deadline
