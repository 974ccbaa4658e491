"""Metrics of serving, for Prometheus.

Invariant: labels are names from definitions and small fixed sets, so that their number is known beforehand. What is
counted elsewhere (admission, cache, breaker, stores) is read from there when it is asked for. What was answered before
the metrics are asked for is in them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics import MetricWrapperBase

from feature_assets.definition.naming import SEPARATOR
from feature_assets.errors import FeatureAssetsError, UnknownNameError
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.status import Codes, Status

BUCKETS: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: from what a lookup of one entity takes to what nobody waits for."""
_AT_ONCE: Final = 96
"""So much that was noted is counted at once; about three entries a request."""
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
MetricOf = TypeVar("MetricOf", bound=MetricWrapperBase)
Counts = npt.NDArray[np.int64]
Numbers = Callable[[], Mapping[str, int]]
"""What somebody has counted, by name; a name that ends in `_now` is of this moment, any other since the start."""


class ServingMetrics:
    """An `Observer` of a client, and what the HTTP server counts. `others`: by name, whose numbers are exposed too."""

    MEDIA_TYPE: ClassVar[str] = CONTENT_TYPE_LATEST

    def __init__(self, others: Mapping[str, Numbers] | None = None) -> None:
        registry = self._registry = CollectorRegistry()
        self._noted: deque[_Answered | Callable[[], None]] = deque()
        self._known: dict[tuple[int, tuple[str, ...]], Any] = {}
        self._stages = Histogram(
            "feature_assets_stage_seconds",
            "Time of a stage of a request.",
            ("service", "stage"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._requests = Histogram(
            "feature_assets_request_seconds",
            "Time of a request in the client.",
            ("service",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "feature_assets_failures", "Requests that got no answer.", ("service", "error"), registry=registry
        )
        self._entities = Histogram(
            "feature_assets_entities", "Entities of a request.", ("service",), buckets=_SIZES, registry=registry
        )
        self._statuses = Counter(
            "feature_assets_values", "Values answered, by status.", ("service", "view", "status"), registry=registry
        )
        self._staleness = Gauge(
            "feature_assets_staleness_seconds",
            "How far the complete state of a view lies behind the last answer.",
            ("service", "view"),
            registry=registry,
        )
        self._http = Histogram(
            "feature_assets_http_request_seconds",
            "Time of a request over HTTP.",
            ("verb", "status"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._others = dict(others or {})
        registry.register(_Others(self._others))

    def expose(self, name: str, numbers: Numbers) -> None:
        """Expose what somebody else counts, too."""
        self._others[name] = numbers

    def answered(self, answer: Answer, seconds: float) -> None:
        """See `Observer`."""
        complete = {prefix: meta.complete_through for prefix, meta in answer.meta.items()}
        taken = list(answer.stages.seconds.items())
        self._later(_Answered(answer.service, seconds, len(answer), taken, answer.codes, answer.as_of, complete))

    def failed(self, service: str, error: FeatureAssetsError, seconds: float) -> None:
        """See `Observer`."""
        del seconds
        # A name that nobody defined is no label.
        known = "" if isinstance(error, UnknownNameError) else service
        self._failures.labels(known, type(error).__name__).inc()

    def encoded(self, answer: Answer) -> None:
        """An answer was encoded, after it was observed."""
        stage, seconds = self._of(self._stages, answer.service, "encode"), answer.stages.seconds["encode"]
        self._later(lambda: stage.observe(seconds))

    def answered_http(self, verb: str, status: int, seconds: float) -> None:
        """The HTTP server has answered."""
        answers = self._of(self._http, verb, str(status))
        self._later(lambda: answers.observe(seconds))

    def _later(self, noted: "_Answered | Callable[[], None]") -> None:
        """Count it with others: many at once take less time, and none of it while an answer is waited for."""
        self._noted.append(noted)
        if len(self._noted) >= _AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Count all that was noted."""
        for _ in range(len(self._noted)):
            try:
                noted = self._noted.popleft()
            except IndexError:
                # Somebody else counts, too.
                return
            if isinstance(noted, _Answered):
                self._count_answer(noted)
            else:
                noted()

    def _count_answer(self, answered: "_Answered") -> None:
        service = answered.service
        self._of(self._requests, service).observe(answered.seconds)
        self._of(self._entities, service).observe(answered.rows)
        for stage, taken in answered.taken:
            self._of(self._stages, service, stage).observe(taken)
        for prefix, counts in _counted(answered.codes).items():
            for code in np.flatnonzero(counts).tolist():
                self._of(self._statuses, service, prefix, _NAMES[code]).inc(int(counts[code]))
        for prefix, complete in answered.complete.items():
            if complete is not None:
                behind = max(0.0, (answered.as_of - complete).total_seconds())
                self._of(self._staleness, service, prefix).set(behind)

    def _of(self, metric: MetricOf, *labels: str) -> MetricOf:
        """The metric with these labels, which is looked up once."""
        place = (id(metric), labels)
        known: MetricOf | None = self._known.get(place)
        if known is None:
            known = self._known[place] = metric.labels(*labels)
        return known

    def exposed(self) -> bytes:
        """All of it, in Prometheus's text format."""
        self._count()
        return generate_latest(self._registry)


_NAMES: Final = [status.value for status in Status]


class _Answered(msgspec.Struct, frozen=True, eq=False):
    """What is counted of an answer; nothing else of it is kept."""

    service: str
    seconds: float
    rows: int
    taken: Sequence[tuple[str, float]]
    codes: Mapping[str, Codes]
    as_of: datetime
    complete: Mapping[str, datetime | None]


def _counted(all_codes: Mapping[str, Codes]) -> dict[str, Counts]:
    """How many values of each view (or on-demand view) have each status."""
    found: dict[str, Counts] = {}
    # Columns of a view without nulls share their codes, which are counted once.
    known: dict[int, Counts] = {}
    for column, codes in all_codes.items():
        counts = known.get(id(codes))
        if counts is None:
            counts = known[id(codes)] = np.bincount(codes, minlength=len(_NAMES))
        prefix = column.partition(SEPARATOR)[0]
        found[prefix] = found[prefix] + counts if prefix in found else counts
    return found


def numbers_of(client: OnlineClient) -> dict[str, Numbers]:
    """What the layers of a client count, by layer."""

    def of(layer: str) -> Numbers:
        def numbers() -> Mapping[str, int]:
            stats = getattr(client.stats(), layer)
            names = [*(one.name for one in fields(stats)), "is_open"]
            counted = {name: getattr(stats, name, None) for name in names}
            return {
                f"{name}_now" if name in _OF_NOW else name: value
                for name, value in counted.items()
                if isinstance(value, int)
            }

        return numbers

    found = client.stats()
    return {one.name: of(one.name) for one in fields(found) if getattr(found, one.name) is not None}


_OF_NOW: Final = frozenset(
    {"running", "waiting", "limit", "threads", "busy", "entries", "bytes", "tables", "remembered", "is_open"}
)
"""Counts that are of this moment, and not since the start."""


class _Others:
    """What others have counted, as it is when it is asked for."""

    def __init__(self, numbers: Mapping[str, Numbers]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client asks for it."""
        for prefix, numbers in self._numbers.items():
            for name, value in numbers().items():
                whole = f"feature_assets_{prefix}_{name}"
                if name.endswith("_now"):
                    yield GaugeMetricFamily(whole, f"{prefix}: {name}", value=value)
                else:
                    yield CounterMetricFamily(whole, f"{prefix}: {name}, since the start", value=value)
