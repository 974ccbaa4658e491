"""`OnlineClient`: the features of services for programs that ask often, in their own process.

    with FeatureStore.open(project=project) as store, store.client() as client:
        answer = client.get([{"carrier": "UA"}], service="flight_delay", max_age=timedelta(minutes=5))

Invariant: an HTTP server, a program and a test go through this one object, and so through one read path. It says what
it knows by the deadline; what it does not know then is a status, never a null without one. What is too much is refused
before anything is read for it.
It knows no transport.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, Self

import msgspec

from feature_assets.clock import Clock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.errors import FeatureAssetsError, InputError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.online.store import OnlineStore
from feature_assets.serving.admission import Admission, AdmissionOptions, AdmissionStats
from feature_assets.serving.answer import Answer
from feature_assets.serving.freshness import Freshness, OnStale
from feature_assets.serving.guard import GuardOptions, GuardStats
from feature_assets.serving.item_cache import CacheOptions, CacheStats
from feature_assets.serving.layers import Layers, layers_over
from feature_assets.serving.monotonic import KEYS, MonotonicStats
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
    """`deadline`: seconds that a request has which brings none. What is None, or 0, is left out.

    `cache`: items remembered, by default for up to a second. `guard`: against a store that hangs or fails. `admission`:
    how many requests at once. `remembered_seqs`: of how many items it is known that they must not go back.
    """

    deadline: float = 0.25
    cache: CacheOptions | None = field(default_factory=CacheOptions)
    guard: GuardOptions | None = field(default_factory=GuardOptions)
    admission: AdmissionOptions | None = field(default_factory=AdmissionOptions)
    remembered_seqs: int = KEYS


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Plain counts of each layer; None for one that there is not."""

    admission: AdmissionStats | None
    cache: CacheStats | None
    monotonic: MonotonicStats | None
    guard: GuardStats | None


class Question(msgspec.Struct, frozen=True, eq=False):
    """A request, as `OnlineClient.get` takes it. `came`: when, of `time.perf_counter`."""

    entities: Entities
    service: str
    as_of: datetime | None = None
    consistent: bool = False
    deadline: float | None = None
    max_age: timedelta | None = None
    on_stale: OnStale = "serve"
    request_id: str | None = None
    came: float = msgspec.field(default_factory=time.perf_counter)

    @property
    def passed(self) -> float:
        """Seconds since it came."""
        return time.perf_counter() - self.came


class OnlineClient:
    """Answers requests. Safe to share between threads; keep it, as what it has compiled and connected is reused.

    `layers`: what the reader reads through, to be counted and closed. `over` makes a whole one.
    """

    def __init__(
        self,
        project: Project,
        reader: OnlineReader,
        options: ClientOptions | None = None,
        *,
        observers: Sequence[Observer] = (),
        layers: Layers | None = None,
    ) -> None:
        self._project = project
        self._reader = reader
        self._layers = layers
        self._observers = tuple(observers)
        self.options = options or ClientOptions()
        self.admission = None if self.options.admission is None else Admission(self.options.admission)

    @classmethod
    def over(
        cls,
        project: Project,
        online_store: OnlineStore,
        ledger: Ledger,
        clock: Clock,
        *,
        lake: Lake | None = None,
        options: ClientOptions | None = None,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """A client of a store, with all layers that the options ask for. The store is the caller's to close."""
        options = options or ClientOptions()
        layers = layers_over(
            online_store,
            project,
            guard=options.guard,
            remembered_seqs=options.remembered_seqs,
            cache=options.cache,
        )
        reader = OnlineReader(project, online_store, ledger, clock, lake=lake, reads=layers.reads)
        return cls(project, reader, options, observers=observers, layers=layers)

    @property
    def services(self) -> Mapping[str, FeatureService]:
        """What can be asked for, by name."""
        return {service.name: service for service in self._project.services}

    def warmed(self, deadline: float | None = None) -> dict[str, str]:
        """Compile every service and reach for what it reads; by service, why it cannot answer. Empty: all can.

        `deadline`: seconds for each service; default: that of the options.
        """
        reasons = {}
        for name in self.services:
            try:
                failures = self._reader.standing(name, deadline or self.options.deadline)
            except FeatureAssetsError as error:
                failures = {"": error.message}
            if failures:
                reasons[name] = "; ".join(f"{view}: {reason}" if view else reason for view, reason in failures.items())
        return reasons

    def stats(self) -> ClientStats:
        """What was done so far, and how it stands."""
        layers = self._layers
        cache, monotonic, guard = (
            (None, None, None) if layers is None else (layers.cache, layers.monotonic, layers.guard)
        )
        return ClientStats(
            admission=None if self.admission is None else self.admission.stats(),
            cache=None if cache is None else cache.stats(),
            monotonic=None if monotonic is None else monotonic.stats(),
            guard=None if guard is None else guard.stats(),
        )

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
        becomes of one that is (see `Freshness`); no item was read longer ago than `max_age` either. `consistent`: every
        write acknowledged before the call is seen; nothing remembered is used. `request_id`: by which the answer is
        found in the served log; default: a new one.

        Raises `OverloadedError` if too much is being answered for it to begin in time; otherwise what
        `OnlineReader.get` raises.
        """
        question = Question(entities, service, as_of, consistent, deadline, max_age, on_stale, request_id)
        with self.telling(question):
            seconds = self.seconds(question)
            with nullcontext() if self.admission is None else self.admission.admitted(seconds):
                return self.answer(question, seconds)

    def seconds(self, question: Question) -> float:
        """How long a request has. Raises `InputError` if that is no time."""
        deadline = self.options.deadline if question.deadline is None else question.deadline
        if not deadline > 0:
            raise InputError(f"deadline: {deadline} seconds are none", hint="give a positive number of seconds")
        return deadline

    def answers_at_once(self, service: str) -> bool:
        """Whether an answer now would wait for nobody (see `OnlineReader`). Raises `UnknownNameError`."""
        return self._reader.answers_at_once(service)

    def answer(self, question: Question, seconds: float) -> Answer:
        """Answer a request that was let in, and that has so long since it came; observers are told."""
        answer = self._reader.get(
            question.service,
            question.entities,
            as_of=question.as_of,
            consistent=question.consistent,
            deadline=max(0.0, seconds - question.passed),
            freshness=Freshness.of(question.max_age, question.on_stale),
            request_id=question.request_id or secrets.token_hex(16),
        )
        for observer in self._observers:
            observer.answered(answer, question.passed)
        return answer

    @contextmanager
    def telling(self, question: Question) -> Iterator[None]:
        """Tell the observers of what goes wrong with a request in here, and raise it."""
        try:
            yield
        except FeatureAssetsError as error:
            for observer in self._observers:
                observer.failed(question.service, error, question.passed)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what it holds. The store that it reads from stays open."""
        if self._layers is not None:
            self._layers.close()
