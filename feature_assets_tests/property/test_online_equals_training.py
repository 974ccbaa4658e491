"""What is served is what is trained on: `OnlineReader.get` against `training_set`, at once and in retrospect.

A shop whose days are committed, corrected, emptied, failed and judged late, whose pushes are killed and whose versions
are retired, while it is asked. Each answer is compared with the training set for that instant, bit for bit: at once,
and again at the end, when all that was corrected and pushed since must make no difference to what was served then.

Answers are compared outside of pushes: between the intent and the acknowledgement of one a reader may see either state.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.engine import Period, view_schema
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.compute.transform import transformed
from feature_assets.definition.entity import Entity
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureRef, FeatureView, Sql
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import MemoryLedger, is_serving, retired
from feature_assets.offline.maintenance import compact
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.offline.versions import Version
from feature_assets.online.codec import ValueCodec
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, push_steps
from feature_assets.online.store import Outcome, Put, ReadResult
from feature_assets.quality.checked import check_commit
from feature_assets.serving.reader import Answer, OnlineReader
from feature_assets.serving.status import Status
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore, OnlineAccess
from feature_assets.testing.lake import MemoryTable
from feature_assets.training.answer import added_columns
from feature_assets.training.digest import table_digest
from feature_assets.training.history import History
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.modes import AsServed
from feature_assets.training.spine import parse_spine
from feature_assets_tests.histories import MemoryVerdicts

TIME = pa.timestamp("us", "UTC")
START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
GRID = 6 * HOUR
PLACE = pa.struct([("x", pa.float64()), ("label", pa.string())])

VALUES: dict[str, tuple[pa.DataType, list[object]]] = {
    "amount": (pa.float64(), [nan, -0.0, 0.0, 1.5, inf]),
    "price": (pa.float32(), [nan, 0.1, 3.0, -inf]),
    "pieces": (pa.int64(), [0, 2**63 - 1, -(2**63), 2**53 + 1]),
    "note": (pa.string(), ["", "x", "Zürich 🍎"]),
    "code": (pa.binary(), [b"", b"\x00", b"\xff\x00"]),
    "is_open": (pa.bool_(), [True, False]),
    "shelved_on": (pa.date32(), [date(1969, 12, 31), date(2024, 2, 29)]),
    "seen_at": (TIME, [START, START + TICK]),
    "cost": (pa.decimal128(12, 3), [Decimal("0.001"), Decimal("-999999999.999")]),
    "tags": (pa.list_(pa.string()), [[], ["a", None], ["", "b"]]),
    "vector": (pa.list_(pa.float32(), 2), [[0.1, nan], [-0.0, None]]),
    "place": (PLACE, [{"x": nan, "label": None}, {"x": 1.0, "label": ""}, {"x": None, "label": "y"}]),
    "sizes": (pa.map_(pa.string(), pa.int32()), [[], [("s", 1), ("m", None)]]),
}
"""Every feature of a sale: its type, and what it may be besides null."""
DEFAULTS: dict[str, object] = {
    "amount": 0.5,
    "note": "none",
    "cost": Decimal("1.000"),
    "tags": ["-"],
    "vector": [1.0, 2.0],
    "place": {"x": 0.0, "label": "nowhere"},
    "seen_at": START,
}
SHOPS = ["a", "b", "", "Zürich"]
SALES = pa.schema(
    [
        ("shop", pa.string()),
        ("shelf", pa.int32()),
        ("event_at", TIME),
        ("arrived_at", TIME),
        ("sequence", pa.int64()),
        ("number", pa.int64()),
        *((name, dtype) for name, (dtype, _) in VALUES.items()),
    ]
)

Row = dict[str, Any]
Key = tuple[object, ...]


def no_sales(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """The reader where the sales are at hand anyway."""
    return SALES.empty_table()


def as_sold(sales: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """A row of the view for each sale."""
    return sales.drop("number")


def by_slot(sales: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    """The sales of which everything is known that a slot has as its key."""
    key = ("pieces", "shelved_on", "is_open", "code")
    whole = sales.filter(~nw.any_horizontal(*(nw.col(name).is_null() for name in key), ignore_nulls=False))
    return whole.select(*key, "event_at", "number", sold=nw.col("note"))


def margin(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """From the request, a feature with a default and one without, and the time of the request."""
    age = pc.subtract(as_of.cast(pa.int64()), columns["here__seen_at"].cast(pa.int64()))
    over = pc.subtract(columns["here__amount"], columns["limit"])
    return {"over": over, "age": age, "late": pc.greater(as_of, columns["until"])}


def bill(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """From another request-time view."""
    return {"due": pc.multiply(columns["margin__over"], columns["daily__sales"].cast(pa.float64()))}


SOURCE = BatchSource("sales", SALES, no_sales, start=date(2024, 1, 1), order_by=("shop", "shelf", "sequence"))


def views_of(source: BatchSource, generation: int) -> tuple[FeatureView, FeatureView, FeatureView]:
    """Rows by a function, days by SQL, and rows of an entity with a key of every other type.

    Each `generation` has versions of its own of the first, with the same values.
    """
    stock = FeatureView(
        "stock",
        Entity("shelf", {"shop": pa.string(), "shelf": pa.int32()}),
        source,
        as_sold,
        [Feature(name, dtype, default=DEFAULTS.get(name)) for name, (dtype, _) in VALUES.items()],
        order_by="sequence",
        ttl=5 * GRID,
        delay=2 * HOUR,
        # Part of the version, and not of the values.
        buckets=3 + generation,
    )
    daily = FeatureView(
        "daily",
        Entity("shop", {"shop": pa.string()}),
        source,
        Sql(
            "SELECT shop, CAST($partition_end AS TIMESTAMPTZ) AS event_at, count(*) % 2 AS rank, count(*) AS sales, "
            "max(cost) AS dearest, list(note ORDER BY note) AS notes FROM sales WHERE shelf < 0 GROUP BY shop "
            # At the very instant at which the day before closes, and of other shops.
            "UNION ALL SELECT DISTINCT shop, CAST($partition_start AS TIMESTAMPTZ), 0, -1, NULL, NULL FROM sales "
            "WHERE shelf > 0"
        ),
        [
            Feature("sales", pa.int64(), default=0),
            Feature("dearest", pa.decimal128(12, 3)),
            Feature("notes", pa.list_(pa.string())),
        ],
        order_by="rank",
        buckets=2,
    )
    slot = Entity("slot", {"pieces": pa.int64(), "shelved_on": pa.date32(), "is_open": pa.bool_(), "code": pa.binary()})
    slots = FeatureView(
        "slots", slot, source, by_slot, [Feature("sold", pa.string())], order_by="number", ttl=3 * DAY, buckets=1
    )
    return stock, daily, slots


def project_of(source: BatchSource, generation: int = 0) -> Project:
    """One service, `shop`, over all of it."""
    stock, daily, slots = views_of(source, generation)
    over = [Feature("over", pa.float64(), default=-1.0), Feature("age", pa.int64()), Feature("late", pa.bool_())]
    request = [RequestField("limit", pa.float64()), RequestField("until", TIME)]
    inputs = ["here__seen_at", "here__amount"]
    on_demand = OnDemandView("margin", request, inputs, function=margin, features=over)
    due = [Feature("due", pa.float64())]
    features: list[FeatureRef | FeatureView | OnDemandView] = [
        OnDemandView("bill", inputs=["margin__over", "daily__sales"], function=bill, features=due),
        stock.alias("here"),
        on_demand,
        daily,
        stock["tags", "amount", "sizes"].alias("rival", shop="rival_shop", shelf="rival_shelf"),
        slots,
    ]
    service = FeatureService("shop", features)
    return Project("shop", sources=[source], views=[stock, daily, slots], services=[service])


PROJECT = project_of(SOURCE)
SERVICE = PROJECT.service("shop")
NAMES = [column.name for column in SERVICE.output_columns]
VIEW_OF = {ref.prefix: ref.view.name for ref in SERVICE.refs}


# -------------------------------------------------------------------------------------------------------- what happens


@dataclass
class Sales:
    """What was sold, as far as it is known: by day, then by key."""

    random: Random
    by_day: dict[date, dict[Key, Row]] = field(default_factory=dict)
    sold: int = 0

    def change(self, day: date) -> None:
        """Some sales of a day are gone, some are corrected, some are new; now and then there is none left."""
        known = self.by_day.setdefault(day, {})
        for key in list(known):
            if self.random.random() < 0.3:
                del known[key]
        if self.random.random() < 0.15:
            known.clear()
            return
        for _ in range(self.random.choice([1, 4, 9])):
            row = self._row(day)
            known[tuple(row[name] for name in ("shop", "shelf", "event_at", "sequence"))] = row

    def table(self, day: date) -> pa.Table:
        """The sales of a day, in an order that says nothing."""
        rows = list(self.by_day.get(day, {}).values())
        self.random.shuffle(rows)
        return pa.table({one.name: pa.array([row[one.name] for row in rows], one.type) for one in SALES}, schema=SALES)

    def read(self, start: datetime, end: datetime, now: datetime) -> pa.Table:
        """The reader of a source of them: what has arrived by `now`."""
        days = [self.table((start + day * DAY).date()) for day in range((end - start) // DAY)]
        known = pa.concat_tables([SALES.empty_table(), *days])
        return known.filter(pc.less_equal(known["arrived_at"], pa.scalar(now, TIME)))

    def _row(self, day: date) -> Row:
        self.sold += 1
        event_at = midnight(day) + self.random.choice([0, 0, 1, 3]) * GRID + self.random.choice([0, 0, 1]) * TICK
        return {
            "shop": self.random.choice(SHOPS),
            "shelf": self.random.choice([1, -2]),
            "event_at": event_at,
            "arrived_at": event_at + self.random.choice([0, 0, 5]) * GRID,
            "sequence": self.random.randint(0, 2),
            "number": self.sold,
            **{name: self.random.choice([None, *values]) for name, (_, values) in VALUES.items()},
        }


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def questions(random: Random, count: int) -> pa.Table:
    """Rows to ask for, some of them twice. Types may be narrower than the service's, or encoded."""
    columns: dict[str, pa.Array] = {
        "shop": pa.array([random.choice([*SHOPS, "never"]) for _ in range(count)]),
        "shelf": pa.array([random.choice([1, -2, 3]) for _ in range(count)], pa.int8()),
        "rival_shop": pa.array([random.choice(SHOPS) for _ in range(count)], pa.large_string()),
        "rival_shelf": pa.array([random.choice([1, -2]) for _ in range(count)], pa.int64()),
        "limit": pa.array([random.choice([None, nan, 0.1, -0.0]) for _ in range(count)], pa.float64()),
        "until": pa.array([random.choice([None, START, START + 2 * DAY]) for _ in range(count)]).cast(
            pa.timestamp("ms", "Europe/Berlin")
        ),
    }
    for name in ("pieces", "shelved_on", "is_open", "code"):
        dtype, values = VALUES[name]
        columns[name] = pa.array([random.choice(values) for _ in range(count)], dtype)
    if random.random() < 0.5:
        columns["shop"] = columns["shop"].dictionary_encode()
    asked = pa.table(columns)
    return pa.concat_tables([asked, asked.slice(0, random.choice([0, 1]))])


def as_handed_over(random: Random, asked: pa.Table) -> Any:  # noqa: ANN401 - as the reader takes it
    """The same rows as a program has them, or as a request from outside does."""
    return asked if random.random() < 0.7 else asked.to_pylist()


def differences(answer: Answer, trained: pa.Table, columns: Collection[str]) -> list[str]:
    """The columns in which some value, null or type differs."""
    return [
        name for name in columns if table_digest(answer.table.select([name])) != table_digest(trained.select([name]))
    ]


# -------------------------------------------------------------------------------------------------------------- memory


class Table(MemoryTable):
    """Versioned partitions in memory, also as the loader reads them. No order of rows is promised, and none is kept."""

    def __init__(self, view: FeatureView, random: Random) -> None:
        super().__init__(view_schema(view).append(pa.field("bucket", pa.int32())))
        self.random = random

    def read(self, **asked: Any) -> pa.Table:  # noqa: ANN401 - as the table takes them
        rows = super().read(**asked)
        return rows.take(pa.array(self._shuffled(len(rows)), pa.int64()))

    def _shuffled(self, rows: int) -> list[int]:
        return self.random.sample(range(rows), rows)

    def read_numbered(
        self,
        versions: Collection[Version],
        *,
        columns: tuple[str, ...],
        buckets: Collection[int] | None = None,
        event_range: tuple[datetime | None, datetime | None] | None = None,
        ordered: bool = False,
    ) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        # Here all is looked at in one part.
        assert (buckets, event_range, ordered) == (None, None, False)
        kept = {(one.partition, one.commit_seq): one.rows for one in self.kept}
        parts = [kept[version] for version in sorted(versions)]
        rows = pa.concat_tables([self.schema.empty_table(), *(part.select(self.schema.names) for part in parts)])
        place = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
        order = np.array(self._shuffled(len(rows)), np.int64)
        return rows.select(list(columns)).take(pa.array(order)), place[order]


class ExpiringStore(MemoryStore):
    """Drops each item as soon as it may, as a store with a time to live does."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.expires: dict[tuple[str, bytes], int | None] = {}

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        outcomes = super().write(table, puts)
        applied = (put for put, outcome in zip(puts, outcomes, strict=True) if outcome is Outcome.APPLIED)
        self.expires.update({(table, put.key): put.expires_at for put in applied})
        return outcomes

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        now = to_us(self.clock.now())
        gone = [key for key in keys if (end := self.expires.get((table, key))) is not None and end <= now]
        if gone:
            self.delete(table, gone)
        return super().read(table, keys, consistent=consistent, deadline=deadline)


@dataclass
class Served:
    """An answer, and what it was an answer to."""

    asked: pa.Table
    answer: Answer


class World:
    """The shop, in memory. `seen` counts what happened, so that a test can tell that it did."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.clock = ManualClock(START + 2 * DAY)
        self.store = ExpiringStore(self.clock)
        self.ledger = MemoryLedger()
        self.verdicts = MemoryVerdicts()
        self.sales = Sales(random)
        self.tables = {view.name: Table(view, random) for view in PROJECT.views}
        self.reader = OnlineReader(PROJECT, self.store, self.ledger, self.clock, remembered=timedelta(0))
        self.unsettled: set[str] = set()
        self.unjudged: list[tuple[FeatureView, Version]] = []
        self.served: list[Served] = []
        self.seen: Counter[object] = Counter()

    def step(self) -> None:
        """Something happens."""
        happening = self.random.choice(
            [self.commit, self.commit, self.push, self.push, self.ask, self.ask, self.ask, self.rarely]
        )
        happening()

    def commit(self) -> None:
        """One or two days change, and views follow."""
        days = {(START + self.random.randint(0, 3) * DAY).date() for _ in range(self.random.randint(1, 2))}
        for day in days:
            self.sales.change(day)
        for view in PROJECT.views:
            if self.random.random() < 0.8:
                self._commit(view, days)

    def _commit(self, view: FeatureView, days: Collection[date]) -> None:
        partitions = {}
        for day in days:
            rows = transformed(view, {"sales": self.sales.table(day)}, Period.day(day))
            bucket = buckets_of(encoded_keys(rows, view.entity.key_names), view.buckets)
            partitions[day.isoformat()] = rows.append_column(
                pa.field("bucket", pa.int32()), pa.array(bucket, pa.int32())
            )
        before = self.tables[view.name].head()
        seq = self.tables[view.name].commit(partitions)
        if seq is None:
            return
        for kept in self.tables[view.name].kept:
            if kept.commit_seq > before:
                self._judge(view, (kept.partition, seq))

    def _judge(self, view: FeatureView, version: Version) -> None:
        chance = self.random.random()
        if chance < 0.1:
            self.unjudged.append((view, version))
        else:
            self.verdicts.judge(view.name, view_version(view), {version: chance > 0.25})
            self.seen["passed" if chance > 0.25 else "failed"] += 1

    def push(self) -> None:
        """Push what is due of some views."""
        for view in self.random.sample(PROJECT.views, self.random.choice([1, 3])):
            self._push(view, chance=self.random.choice([0.0, 0.0, 0.15]))

    def _push(self, view: FeatureView, *, chance: float) -> None:
        """Push what is due of a view, or, with some `chance` at each step, be killed while at it."""
        plan = plan_push(
            view,
            version=view_version(view),
            table=self.tables[view.name],
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.store.target,
        )
        if plan is None:
            self.unsettled.discard(view.name)
            return
        options = PushOptions(
            pack=ValueCodec(view.features).pack_table,
            batch=self.random.choice([2, 100]),
            rows_at_once=self.random.choice([1, 1_000_000]),
            partitions_at_once=self.random.choice([1, 8]),
            expiry_margin=HOUR,
            sleep=lambda _: None,
        )
        # An answer at the very instant at which a push begins is in its interval.
        self.clock.advance(TICK)
        for _ in push_steps(
            plan,
            view,
            table=self.tables[view.name],
            ledger=self.ledger,
            store=self.store,
            clock=self.clock,
            options=options,
        ):
            if self.random.random() < 0.2:
                self.clock.advance(self.random.choice([TICK, HOUR]))
            if self.random.random() < chance:
                self.unsettled.add(view.name)
                self.seen["killed"] += 1
                return
        self.unsettled.discard(view.name)

    def rarely(self) -> None:
        """Verdicts come late; a version is retired, with or without its table."""
        for view, version in self.unjudged:
            self.verdicts.judge(view.name, view_version(view), {version: self.random.random() > 0.3})
        self.unjudged.clear()
        view = self.random.choice(PROJECT.views)
        if self.random.random() < 0.2 and self.serves(view):
            self.clock.advance(TICK)
            self.ledger.append([retired(view.name, view_version(view), self.store.target, self.clock)])
            self.seen["retired"] += 1
            if self.random.random() < 0.5:
                for table in self.store.tables():
                    if table.startswith(f"{view.name}."):
                        self.store.drop(table)

    def serves(self, view: FeatureView) -> bool:
        rows = self.ledger.rows(view=view.name, version=view_version(view), target=self.store.target)
        return is_serving(rows)

    def ask(self) -> None:
        """Ask, now or as of an instant to come; compare with the training set of that instant."""
        if self.random.random() < 0.5:
            past = (self.clock.now() - START) % GRID
            self.clock.advance(GRID - past + self.random.choice([0, 0, 1, GRID // TICK - 1]) * TICK)
        for view in PROJECT.views:
            if view.name in self.unsettled:
                self._push(view, chance=0.0)
        asked = questions(self.random, self.random.choice([1, 8]))
        ahead = self.random.choice([None, None, None, timedelta(0), GRID, 5 * GRID])
        as_of = None if ahead is None else self.clock.now() + ahead
        answer = self.reader.get("shop", as_handed_over(self.random, asked), as_of=as_of)
        self._require_equal(answer, asked)
        if as_of is None:
            self.served.append(Served(asked, answer))

    def _require_equal(self, answer: Answer, asked: pa.Table) -> None:
        loading = {view.name for view in PROJECT.views if not self.serves(view)}
        assert all((meta.version is None) == (VIEW_OF[prefix] in loading) for prefix, meta in answer.meta.items())
        statuses = {name: set(found) for name, found in answer.status.items()}
        known = [name for name in NAMES if not any(status.is_unknown for status in statuses[name])]
        self.seen.update(status for found in statuses.values() for status in found)
        trained = self.trained(asked, [answer.as_of] * len(asked))
        if trained is not None:
            assert differences(answer, trained, known) == [], answer.as_of
            self.seen.update(f"{provenance}" for provenance in trained["availability"].to_pylist())

    def look_back(self) -> None:
        """What was served, again as one training set over all of it."""
        if not self.served:
            return
        asked = pa.concat_tables([_plain(one.asked) for one in self.served])
        as_of = [one.answer.as_of for one in self.served for _ in range(len(one.asked))]
        trained = self.trained(asked, as_of)
        start = 0
        for one in self.served:
            if trained is not None:
                part = trained.slice(start, len(one.asked))
                known = [name for name in NAMES if not any(status.is_unknown for status in one.answer.status[name])]
                assert differences(one.answer, part, known) == [], (one.answer.as_of, self.clock.now())
                self.seen["looked back"] += 1
            start += len(one.asked)

    def trained(self, asked: pa.Table, as_of: list[datetime]) -> pa.Table | None:
        """The training set; None as long as some view has nothing that is settled."""
        if any(not self._is_settled(view) for view in PROJECT.views):
            return None
        history = History(lambda view, _: self.tables[view.name], self.verdicts, self.ledger, self.store.target)
        spine = asked.append_column("as_of", pa.array(as_of, TIME))
        given = parse_spine(spine, timestamp="as_of", service=SERVICE, added=added_columns(SERVICE))
        pins, position = pins_now(SERVICE, history, {})
        return built(Question(SERVICE, "as_of", AsServed()), given, pins, history, position)

    def _is_settled(self, view: FeatureView) -> bool:
        first = [(kept.partition, kept.commit_seq) for kept in self.tables[view.name].kept if kept.commit_seq == 1]
        judged = self.verdicts.known.get((view.name, view_version(view)), {})
        return bool(first) and all(version in judged for version in first)


def _plain(asked: pa.Table) -> pa.Table:
    return asked.set_column(0, "shop", asked["shop"].cast(pa.string()))


def lived(random: Random, steps: int) -> World:
    """A world in which so much has happened, and which was looked back on."""
    world = World(random)
    for _ in range(steps):
        world.step()
    world.look_back()
    return world


@settings(max_examples=20)
@given(random=st.randoms(use_true_random=True), steps=st.sampled_from([60, 30, 15, 8, 4]))
def test_what_is_served_is_what_is_trained_on_at_once_and_in_retrospect(random: Random, steps: int) -> None:
    lived(random, steps)


def test_the_histories_hold_all_that_can_happen() -> None:
    seen: Counter[object] = Counter()
    for seed in range(4):
        seen += lived(Random(seed), 60).seen
    possible = {Status.PRESENT, Status.NULL, Status.NOT_FOUND, Status.EXPIRED, Status.DEFAULTED, Status.LOADING}
    happened = {"passed", "failed", "killed", "retired", "looked back", "recorded", "simulated", "recovered"}
    assert possible | happened <= seen.keys()


# ------------------------------------------------------------------------------------------------------------ in Delta


class Shop:
    """The same shop, from its source through Delta to SQLite."""

    def __init__(self, root: Path, random: Random) -> None:
        self.random = random
        self.lake = Lake(str(root))
        self.access = OnlineAccess(load_settings(root=str(root)))
        self.sales = Sales(random)
        self.source = BatchSource("sales", SALES, self.sales.read, start=START.date(), order_by=("number",))
        self.clock = ManualClock(START + 2 * DAY)
        self.generation = 0
        self.served: list[Served] = []
        self.days = [(START + day * DAY).date() for day in range(4)]

    @property
    def store(self) -> FeatureStore:
        """As another process opens it."""
        project = project_of(self.source, self.generation)
        ledger, verdicts = DeltaLedger(self.lake), Verdicts(self.lake)
        return FeatureStore(project, self.lake, ledger, verdicts, self.clock, 2**30, self.access)

    def change(self) -> None:
        """Sales of some days change and arrive, those days are computed again, some fail; the rest is published."""
        days = self.random.sample(self.days, 2)
        for day in days:
            self.sales.change(day)
        self.clock.advance(GRID)
        self.materialize(days, failing=0.2)
        self.store.publish()
        self.clock.advance(self.random.choice([TICK, 3 * GRID]))
        self.ask()

    def materialize(self, days: Sequence[date], *, failing: float) -> None:
        store = self.store
        materialize_source(self.source, days, lake=self.lake, clock=self.clock)
        for view in store.project.views:
            done = materialize_view(view, days, lake=self.lake, clock=self.clock)
            failed = [
                Verdict(
                    view=view.name,
                    version=view_version(view),
                    partition=partition,
                    commit_seq=done.commit.seq or 0,
                    passed=False,
                    checked_at=self.clock.now(),
                )
                for partition in done.commit.written
                if self.random.random() < failing
            ]
            store.verdicts.record(failed)
            check_commit(view, done, lake=self.lake, verdicts=store.verdicts, clock=self.clock)

    def ask(self) -> None:
        asked = questions(self.random, 20)
        self.served.append(Served(asked, self.store.get(as_handed_over(self.random, asked), service="shop")))
        self.require_equal(self.served[-1:])

    def require_equal(self, served: list[Served]) -> None:
        """What was served is what the loader gives for those instants now."""
        spine = pa.concat_tables([_plain(one.asked) for one in served])
        as_of = [one.answer.as_of for one in served for _ in range(len(one.asked))]
        spine = spine.append_column("as_of", pa.array(as_of, TIME))
        trained = self.store.training_set(spine, service="shop", timestamp="as_of").table
        start = 0
        for one in served:
            assert not any(status.is_unknown for found in one.answer.status.values() for status in found)
            assert differences(one.answer, trained.slice(start, len(one.asked)), NAMES) == []
            start += len(one.asked)


def test_the_same_through_delta_and_when_a_new_version_takes_over(tmp_path: Path) -> None:
    shop = Shop(tmp_path, Random(3))
    for _ in range(3):
        shop.change()
    compact(shop.lake, shop.store.project, ledger=shop.store.ledger, target=shop.store.target)
    shop.require_equal(shop.served)
    asked = questions(shop.random, 20)
    old = shop.store.get(asked, service="shop")
    shop.generation = 1
    while_loading = shop.store.get(asked, service="shop")
    assert while_loading.meta["here"].version == old.meta["here"].version
    assert differences(while_loading, old.table, NAMES) == []
    shop.materialize(shop.days, failing=0.0)
    shop.store.publish()
    shop.clock.advance(TICK)
    # What the old version served stays that of the old version.
    shop.served.clear()
    shop.ask()
    assert shop.served[0].answer.meta["here"].version != old.meta["here"].version
    shop.change()
    shop.require_equal(shop.served)
