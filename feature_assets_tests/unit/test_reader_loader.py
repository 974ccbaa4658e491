"""What is served is what is trained on: the online reader against the loader, over one lake, ledger and store.

Both are asked for the same rows as of now, outside of any push: every value must be equal, of every type, with
defaults, expiry, corrections, failed verdicts and on-demand features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.online.contents import contents_of
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, push
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.status import Status
from feature_assets.training.loader import training_set
from feature_assets_tests.histories import DAY, START, instants, partition_table, verdict, view_of
from feature_assets_tests.published import at, project_of

AIRPORTS = ["JFK", "LGA", "EWR", "BOS", "", "Zürich"]
WEATHER = view_of(
    "weather",
    {"airport": pa.string()},
    [
        Feature("temp", pa.float64(), default=0.0),
        Feature("gust", pa.float64()),
        Feature("codes", pa.list_(pa.string()), default=["-"]),
        Feature("seen_at", pa.timestamp("us", "UTC")),
    ],
    ttl=timedelta(hours=40),
    order_by="sequence",
    buckets=3,
)
ROUTES = view_of(
    "routes",
    {"origin": pa.string(), "dest": pa.string(), "slot": pa.int16()},
    [Feature("flights", pa.int64()), Feature("share", pa.float32(), default=0.5)],
    buckets=2,
)
HEAT = OnDemandView(
    "heat",
    request=[RequestField("limit", pa.float64())],
    inputs=["origin__temp", "destination__gust"],
    function=lambda columns, as_of: {
        "above": pc.subtract(columns["origin__temp"], columns["limit"]),
        "gusty": pc.multiply(columns["destination__gust"], pc.hour(as_of)),
    },
    features=[Feature("above", pa.float64()), Feature("gusty", pa.float64(), default=-1.0)],
)
PROJECT = project_of(
    WEATHER.alias("origin", airport="origin"),
    HEAT,
    ROUTES,
    WEATHER["gust", "seen_at"].alias("destination", airport="dest"),
)
SPINE = {"origin": pa.string(), "dest": pa.string(), "slot": pa.int16(), "limit": pa.float64()}


@dataclass
class Lakeside:
    """A lake with its ledger and verdicts, and a store."""

    lake: Lake
    rng: Random
    clock: ManualClock = field(default_factory=lambda: ManualClock(START + DAY))
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.ledger, self.verdicts = DeltaLedger(self.lake), Verdicts(self.lake)

    def commit(
        self, view: FeatureView, day: date, rows: Sequence[Mapping[str, object]], *, passed: bool = True
    ) -> None:
        partition = day.isoformat()
        commit = feature_table(self.lake, view).commit(
            {partition: partition_table(view, rows)}, source_seq={partition: 1}
        )
        assert commit.seq is not None
        version = view_version(view)
        self.verdicts.record([verdict(view.name, version, partition, commit.seq, passed=passed)])

    def push(self, view: FeatureView) -> None:
        table, version = feature_table(self.lake, view), view_version(view)
        plan = plan_push(
            view, version=version, table=table, verdicts=self.verdicts, ledger=self.ledger, target=self.store.target
        )
        assert plan is not None
        options = PushOptions(contents_of(view))
        push(plan, view, table=table, ledger=self.ledger, store=self.store, clock=self.clock, options=options)

    def weather(self, day: int) -> list[dict[str, object]]:
        rng = self.rng
        return [
            {
                "airport": airport,
                "event_at": at(day * 24 + hour),
                "sequence": sequence,
                "temp": rng.choice([None, float("nan"), rng.gauss(0, 9)]),
                "gust": rng.choice([None, float("inf"), rng.random()]),
                "codes": rng.choice([None, [], ["a", None], ["b"]]),
                "seen_at": rng.choice([None, at(rng.randrange(99))]),
            }
            for airport in AIRPORTS[:-1]
            for hour in (5, 21)
            for sequence in (1, 2)
            if rng.random() < 0.5
        ]

    def routes(self, day: int) -> list[dict[str, object]]:
        rng = self.rng
        return [
            {
                "origin": origin,
                "dest": dest,
                "slot": slot,
                "event_at": at(day * 24 + 24),
                "flights": rng.choice([None, rng.randrange(-(2**62), 2**62)]),
                "share": rng.choice([None, 0.25, 0.1]),
            }
            for origin in AIRPORTS
            for dest in AIRPORTS
            for slot in (1, -2)
            if rng.random() < 0.3
        ]

    def questions(self, count: int) -> pa.Table:
        rng = self.rng
        columns = {
            "origin": [rng.choice(AIRPORTS) for _ in range(count)],
            "dest": [rng.choice([*AIRPORTS, "never"]) for _ in range(count)],
            "slot": [rng.choice([1, -2, 3]) for _ in range(count)],
            "limit": [rng.choice([None, rng.random()]) for _ in range(count)],
        }
        return pa.table({name: pa.array(values, SPINE[name]) for name, values in columns.items()})

    def trained(self, asked: pa.Table) -> pa.Table:
        spine = asked.append_column("as_of", instants([self.clock.now()] * len(asked)))
        return training_set(
            PROJECT,
            spine,
            service="it",
            timestamp="as_of",
            lake=self.lake,
            ledger=self.ledger,
            verdicts=self.verdicts,
            target=self.store.target,
            clock=self.clock,
        ).table


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_served_is_what_is_trained_on(tmp_path: Path, seed: int) -> None:
    world = Lakeside(Lake(str(tmp_path)), Random(seed))
    reader = OnlineReader(PROJECT, world.store, world.ledger, world.clock, lake=world.lake)
    seen: set[Status] = set()
    for day in range(3):
        date_of = (START + day * DAY).date()
        world.commit(WEATHER, date_of, world.weather(day))
        world.commit(ROUTES, date_of, world.routes(day))
        if day == 2:
            # A correction, and one that failed.
            world.commit(WEATHER, (START + DAY).date(), world.weather(1))
            world.commit(WEATHER, date_of, world.weather(day), passed=False)
        world.push(WEATHER)
        world.push(ROUTES)
        for hours in (1, 22):
            world.clock.advance(timedelta(hours=hours))
            asked = world.questions(60)
            answer, trained = reader.get("it", asked), world.trained(asked)
            for name in answer.table.column_names:
                # As text: NaN equals itself, -0.0 is not 0.0.
                assert repr(answer.table[name].to_pylist()) == repr(trained[name].to_pylist()), (name, day, hours)
                assert answer.table[name].type == trained[name].type
                seen.update(answer.status[name])
            for prefix, meta in answer.meta.items():
                assert meta.event_at == trained[f"{prefix}__event_at"].to_pylist()
        world.clock.advance(timedelta(hours=1))
    assert seen == {Status.PRESENT, Status.NULL, Status.NOT_FOUND, Status.EXPIRED, Status.DEFAULTED}
