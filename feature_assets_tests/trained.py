"""A small lake for tests of training sets: weather at airports and routes, pushed, corrected, with defaults and a TTL.

Invariant: made the same every time; days count from `START`, and the online store is `TARGET`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import ManualClock, to_us
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.training.loader import TrainingSet, training_set
from feature_assets_tests.histories import DAY, SOURCE, START, instants, partition_table, verdict, view_of

TARGET = "sqlite:test"
HOUR = timedelta(hours=1)

WEATHER = view_of(
    "weather",
    {"airport": pa.string()},
    [
        Feature("temp", pa.float64()),
        Feature("gusts", pa.int64(), default=0),
        Feature("sky", pa.string()),
        Feature("recent", pa.list_(pa.float64()), default=[]),
    ],
    ttl=timedelta(days=3),
    delay=2 * HOUR,
    buckets=4,
)
ROUTES = view_of("routes", {"carrier": pa.string(), "number": pa.int32()}, {"delay": pa.float64()}, buckets=2)


def difference(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """How much warmer it is there, and the hour of the day."""
    warmer = pc.subtract(columns["there__temp"], columns["here__temp"])
    return {"warmer": warmer, "hour": pc.hour(as_of).cast(pa.int32()), "heavy": pc.greater(columns["bags"], 1)}


TRIP = OnDemandView(
    "trip",
    [RequestField("bags", pa.int32())],
    ["here__temp", "there__temp"],
    function=difference,
    features=[Feature("warmer", pa.float64()), Feature("hour", pa.int32()), Feature("heavy", pa.bool_())],
)
SERVICE = FeatureService(
    "late_flights",
    [
        WEATHER.alias("here", airport="origin")["temp", "gusts", "recent"],
        TRIP,
        WEATHER.alias("there", airport="dest")["temp", "sky"],
        ROUTES,
    ],
)
WEATHER_ONLY = FeatureService("weather_only", [WEATHER])
PROJECT = Project("test", [SOURCE], [WEATHER, ROUTES], [SERVICE, WEATHER_ONLY])


def day(number: int) -> str:
    """The name of a day's partition."""
    return (START + number * DAY).date().isoformat()


def weather_rows(number: int, shift: float = 0.0) -> list[dict[str, object]]:
    """A day of weather: every six hours at two airports."""
    return [
        {
            "airport": airport,
            "event_at": START + number * DAY + hour * HOUR,
            "arrived_at": START + number * DAY + (hour + 1) * HOUR,
            "temp": base + number + hour / 24 + shift,
            "gusts": None if hour == 12 else hour,
            "sky": f"{airport} {hour}",
            "recent": [float(number), float(hour)],
        }
        for airport, base in (("JFK", 10.0), ("LGA", 20.0))
        for hour in (0, 6, 12, 18)
    ]


def route_rows(number: int) -> list[dict[str, object]]:
    """A day of routes, dated at its end."""
    return [
        {"carrier": carrier, "number": route, "event_at": START + (number + 1) * DAY, "delay": number + route / 10}
        for carrier in ("AA", "UA")
        for route in (1, 2)
    ]


@dataclass(frozen=True)
class Trained:
    """A lake with what a training set is made from."""

    lake: Lake
    clock: ManualClock

    @property
    def ledger(self) -> DeltaLedger:
        return DeltaLedger(self.lake)

    @property
    def verdicts(self) -> Verdicts:
        return Verdicts(self.lake)

    @property
    def stores(self) -> dict[str, Any]:
        """What `training_set`, `rebuild` and `leakage_report` read from."""
        return {"lake": self.lake, "ledger": self.ledger, "verdicts": self.verdicts}

    def commit(
        self, view: FeatureView, days: Mapping[int, Sequence[Mapping[str, object]]], *, passed: bool = True
    ) -> int:
        """Days as new versions, with their verdicts."""
        tables = {day(number): partition_table(view, rows) for number, rows in days.items()}
        commit = feature_table(self.lake, view).commit(tables, source_seq=dict.fromkeys(tables, 1))
        assert commit.seq is not None
        seq, version = commit.seq, view_version(view)
        self.verdicts.record([verdict(view.name, version, name, seq, passed=passed) for name in tables])
        return seq

    def push(self, view: FeatureView, commit_seq: int, at: datetime, *, first: bool = False) -> None:
        """An acknowledged push of a state; `first`: after it, the version answers."""
        about: dict[str, Any] = {"view": view.name, "version": view_version(view), "target": TARGET}
        about |= {"sent_at": to_us(at) - 10, "acked_at": to_us(at), "commit_seq": commit_seq}
        rows = [LedgerRow(kind="ack", **about, bucket=bucket) for bucket in range(view.buckets)]
        self.ledger.append([*rows, LedgerRow(kind="serving", **about)] if first else rows)

    def training_set(self, spine: object, service: str = "late_flights", **options: Any) -> TrainingSet:  # noqa: ANN401
        """`training_set` with everything that is the same each time."""
        given: dict[str, Any] = {"timestamp": "at", "target": TARGET, "clock": self.clock, **self.stores}
        return training_set(PROJECT, spine, service=service, **(given | options))


def fill(root: str) -> Trained:
    """Ten days; the first three were there before the store answered, day 4 was corrected on day 8."""
    made = Trained(Lake(root), ManualClock(START + 30 * DAY))
    for view, rows_of in ((WEATHER, weather_rows), (ROUTES, route_rows)):
        seq = made.commit(view, {number: rows_of(number) for number in range(3)})
        made.push(view, seq, START + 3 * DAY + HOUR, first=True)
        for number in range(3, 10):
            seq = made.commit(view, {number: rows_of(number)})
            made.push(view, seq, START + (number + 1) * DAY + HOUR)
            if view is WEATHER and number == 7:
                seq = made.commit(view, {4: weather_rows(4, shift=100.0)})
                made.push(view, seq, START + 8 * DAY + 2 * HOUR)
    return made


def spine_of(rows: Sequence[tuple[str, str, str, int, datetime]]) -> pa.Table:
    """Rows of (origin, dest, carrier, number, at), with a label known two hours later."""
    at = [row[4] for row in rows]
    return pa.table(
        {
            "flight": pa.array(range(len(rows)), pa.int64()),
            "origin": pa.array([row[0] for row in rows], pa.string()),
            "dest": pa.array([row[1] for row in rows], pa.string()),
            "carrier": pa.array([row[2] for row in rows], pa.string()),
            "number": pa.array([row[3] for row in rows], pa.int32()),
            "bags": pa.array([index % 3 for index in range(len(rows))], pa.int32()),
            "at": instants(at),
            "late": pa.array([index % 2 == 0 for index in range(len(rows))]),
            "landed_at": instants([one + 2 * HOUR for one in at]),
        }
    )


FLIGHTS = [
    ("JFK", "LGA", "AA", 1, START + 5 * DAY + 30 * timedelta(minutes=1)),
    ("LGA", "JFK", "UA", 2, START + 5 * DAY + 2 * HOUR),
    ("JFK", "LGA", "AA", 1, START + 8 * DAY + 90 * timedelta(minutes=1)),
    ("JFK", "XXX", "ZZ", 1, START + 8 * DAY + 3 * HOUR),
    ("JFK", "LGA", "AA", 1, START + 5 * DAY + 30 * timedelta(minutes=1)),
    ("LGA", "LGA", "AA", 2, START + 1 * DAY),
    ("LGA", "JFK", "UA", 1, START + 20 * DAY),
]
