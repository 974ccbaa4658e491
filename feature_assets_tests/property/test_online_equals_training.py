"""What is served is what is trained on: `OnlineReader.get` against `training_set`, at once and in retrospect.

A shop whose days are committed, corrected, emptied, failed and judged late, whose pushes are killed and whose versions
are retired, while it is asked. Each answer is compared with the training set for that instant, bit for bit: at once,
and again at the end, when all that was corrected and pushed since must make no difference to what was served then.

Answers are compared outside of pushes: between the intent and the acknowledgement of one a reader may see either state.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.engine import Period, view_schema
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.compute.transform import transformed
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import MemoryLedger, is_serving, retired
from feature_assets.offline.maintenance import compact
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.offline.versions import Version
from feature_assets.online.contents import contents_of
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, push_steps
from feature_assets.online.store import Outcome, Put, ReadResult
from feature_assets.online.winning_rows import WinningRows
from feature_assets.opening import OnlineAccess
from feature_assets.quality.checked import check_commit
from feature_assets.serving.reader import Answer, OnlineReader
from feature_assets.serving.status import Status
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets.testing.lake import MemoryTable
from feature_assets.training.answer import added_columns
from feature_assets.training.history import History
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.modes import AsServed
from feature_assets.training.spine import parse_spine
from feature_assets_tests.histories import MemoryVerdicts
from feature_assets_tests.sales import (
    DAY,
    GRID,
    HOUR,
    NAMES,
    PROJECT,
    SALES,
    SERVICE,
    START,
    TICK,
    TIME,
    VIEW_OF,
    Sales,
    as_handed_over,
    differences,
    project_of,
    questions,
)

# -------------------------------------------------------------------------------------------------------------- memory


class Table(MemoryTable):
    """Versioned partitions in memory, also as the loader reads them. No order of rows is promised, and none is kept."""

    def __init__(self, view: FeatureView, random: Random) -> None:
        super().__init__(view_schema(view).append(pa.field("bucket", pa.int32())))
        self.random = random

    def counted_in(self) -> str:
        return "source"

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
        contents = contents_of(view)
        if isinstance(contents, WinningRows):
            contents = replace(contents, partitions_at_once=self.random.choice([1, 8]))
        options = PushOptions(
            contents,
            batch=self.random.choice([2, 100]),
            rows_at_once=self.random.choice([1, 1_000_000]),
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
            # Of each view: a row's own is the weakest of many, and seldom the strongest.
            origins = [name for name in trained.column_names if name.endswith("__availability")]
            self.seen.update(f"{provenance}" for name in origins for provenance in trained[name].to_pylist())

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


@settings(max_examples=16)
@given(random=st.randoms(use_true_random=True), steps=st.sampled_from([60, 30, 15, 8, 4]))
def test_what_is_served_is_what_is_trained_on_at_once_and_in_retrospect(random: Random, steps: int) -> None:
    lived(random, steps)


def test_the_histories_hold_all_that_can_happen() -> None:
    seen: Counter[object] = Counter()
    for seed in range(3):
        seen += lived(Random(seed), 60).seen
    possible = {Status.PRESENT, Status.NULL, Status.NOT_FOUND, Status.EXPIRED, Status.DEFAULTED}
    possible |= {Status.LOADING, Status.OVERFLOW}
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
