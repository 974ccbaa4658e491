"""The feature store of a project: what it composes where no stage below it decides."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.entity import Entity
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureView, Sql
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.opening import OnlineAccess
from feature_assets.quality.checked import check_commit
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore

TIME = pa.timestamp("us", "UTC")
SALES = pa.schema([("shop", pa.string()), ("amount", pa.float64()), ("event_at", TIME), ("arrived_at", TIME)])
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = [date(2026, 1, 1), date(2026, 1, 2)]


def read_sales(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """A sale a day."""
    days = [start + timedelta(days=day) for day in range((end - start).days)]
    rows = [{"shop": "a", "amount": float(day.day), "event_at": day, "arrived_at": day} for day in days]
    return pa.Table.from_pylist(rows, schema=SALES)


SOURCE = BatchSource("sales", SALES, read_sales, start=DAYS[0])


class Shop:
    """A view in two generations: the second has another version, and the same values."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(str(root))
        self.clock = ManualClock(START + timedelta(days=5))
        self.access = OnlineAccess(load_settings(root=str(root)))

    def view(self, generation: int) -> FeatureView:
        entity, features = Entity("shop", {"shop": pa.string()}), [Feature("amount", pa.float64())]
        return FeatureView("sold", entity, SOURCE, Sql("SELECT * FROM sales"), features, buckets=2 + generation)

    def store(self, generation: int) -> FeatureStore:
        view = self.view(generation)
        project = Project("shop", sources=[SOURCE], views=[view], services=[FeatureService("it", [view])])
        ledger, verdicts = DeltaLedger(self.lake), Verdicts(self.lake)
        return FeatureStore(project, self.lake, ledger, verdicts, self.clock, 2**30, self.access)

    def materialize(self, generation: int, days: list[date], *, failing: date | None = None) -> None:
        view, store = self.view(generation), self.store(generation)
        materialize_source(SOURCE, days, lake=self.lake, clock=self.clock)
        done = materialize_view(view, days, lake=self.lake, clock=self.clock)
        if failing is not None:
            verdict = Verdict(
                view=view.name,
                version=store.version(view),
                partition=failing.isoformat(),
                commit_seq=done.commit.seq or 0,
                passed=False,
                checked_at=self.clock.now(),
            )
            store.verdicts.record([verdict])
        check_commit(view, done, lake=self.lake, verdicts=store.verdicts, clock=self.clock)

    def serving(self, generation: int) -> str | None:
        """Which version answers, as the code of a generation sees it."""
        return self.store(generation).get([{"shop": "a"}], service="it").meta["sold"].version


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_new_version_takes_over_when_it_has_the_days_that_are_served(shop: Shop) -> None:
    shop.materialize(0, DAYS)
    shop.store(0).publish()
    old, new = (shop.store(generation).version(shop.view(generation)) for generation in (0, 1))
    shop.materialize(1, DAYS[:1])
    assert shop.store(1).publish() == {}
    assert "1 are missing, first 2026-01-02" in shop.store(1).held_up(shop.view(1))
    assert shop.serving(1) == old
    shop.materialize(1, DAYS[1:])
    assert list(shop.store(1).publish()) == ["sold"]
    assert shop.serving(1) == new


def test_what_waits_for_a_verdict_is_said_to_wait(shop: Shop) -> None:
    shop.materialize(0, DAYS[:1])
    shop.store(0).publish()
    assert shop.store(0).held_up(shop.view(0)) == "nothing is due"
    # As a run leaves it that dies between the commit and the verdict.
    materialize_source(SOURCE, DAYS[1:], lake=shop.lake, clock=shop.clock)
    materialize_view(shop.view(0), DAYS[1:], lake=shop.lake, clock=shop.clock)
    assert shop.store(0).plan_push(shop.view(0)) is None
    assert "materialize 2026-01-02 again" in shop.store(0).held_up(shop.view(0))
    assert shop.store(0).plan_view(shop.view(0)).reason == shop.store(0).held_up(shop.view(0))


def test_a_day_that_never_passed_holds_no_new_version_up(shop: Shop) -> None:
    shop.materialize(0, DAYS, failing=DAYS[1])
    shop.store(0).publish()
    shop.materialize(1, DAYS, failing=DAYS[1])
    assert list(shop.store(1).publish()) == ["sold"]
    assert shop.serving(1) == shop.store(1).version(shop.view(1))
