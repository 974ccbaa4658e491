"""Which versions are retired, and when; and that setting the code back afterwards waits for all days."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import ManualClock, to_us
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.memory import MemoryStore
from feature_assets.online.retirement import GRACE, retire_superseded, retirement_plan, superseded
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.report_log import ReportLog, at, day
from feature_assets_tests.weather import view

DAY = 86_400_000_000
TARGET = MemoryStore().target
OWN, OTHER, THIRD = "aaaa", "bbbb", "cccc"


def row(kind: str, version: str, at_day: float, *, life: int = 0) -> LedgerRow:
    acked_at = None if kind == "intent" else int(at_day * DAY)
    common = {"view": "weather", "version": version, "target": TARGET, "commit_seq": 1, "bucket": 0, "life": life}
    return LedgerRow(**common, kind=kind, sent_at=int(at_day * DAY), acked_at=acked_at)  # type: ignore[arg-type] # the fields above


def due(rows: Sequence[LedgerRow], at_day: float) -> list[str]:
    return superseded(rows, OWN, int(at_day * DAY), timedelta(days=7))


# ---- which and when
def test_a_version_is_retired_when_another_has_served_for_the_whole_grace_period() -> None:
    rows = [row("serving", OTHER, 1), row("ack", OTHER, 3), row("serving", OWN, 4)]
    assert due(rows, 10.99) == []
    assert due(rows, 11) == [OTHER]


def test_not_while_something_is_pushed_to_it() -> None:
    """The code was set back, or another deployment runs it."""
    rows = [row("serving", OWN, 1), row("serving", OTHER, 4), row("ack", OTHER, 8)]
    assert due(rows, 14.99) == []
    assert due(rows, 15) == [OTHER]
    assert due([*rows, row("intent", OTHER, 14)], 20) == [], "a push that has begun"


def test_not_before_the_codes_own_version_serves() -> None:
    assert due([row("serving", OTHER, 1), row("ack", OWN, 2)], 100) == []
    ended = [row("serving", OTHER, 1), row("serving", OWN, 2), row("retired", OWN, 3)]
    assert due(ended, 100) == []


def test_a_version_that_does_not_serve_is_not_retired_again() -> None:
    assert due([row("serving", OWN, 1), row("ack", OTHER, 2)], 100) == [], "it is being filled"
    assert due([row("serving", OTHER, 1), row("serving", OWN, 2), row("retired", OTHER, 3)], 100) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["intent", "ack", "serving", "retired"]),
            st.sampled_from([OWN, OTHER, THIRD]),
            st.integers(0, 20),
        ),
        max_size=12,
    ),
    st.integers(0, 30),
)
def test_by_the_naive_rule(told: list[tuple[str, str, int]], now: int) -> None:
    """Looked at row by row: who serves, and when anything was last said about whom."""
    ordered = sorted(told, key=lambda one: one[2])
    rows, lives = [], {OWN: 0, OTHER: 0, THIRD: 0}
    serves: dict[str, int] = {}
    last: dict[str, int] = {}
    for kind, version, at_day in ordered:
        rows.append(row(kind, version, at_day, life=lives[version]))
        last[version] = at_day
        if kind == "serving":
            serves[version] = at_day
        if kind == "retired":
            lives[version] += 1
            serves.pop(version, None)
    expected = {
        version
        for version in (OTHER, THIRD)
        if version in serves and OWN in serves and now >= last[version] + 7 and now >= serves[OWN] + 7
    }
    assert set(due(rows, now)) == expected


# ---- what is dropped
def test_the_ledger_says_so_first_and_the_next_call_finishes_what_was_interrupted() -> None:
    class Dying(MemoryStore):
        def drop(self, table: str) -> None:
            raise ConnectionError(table)

    ledger, clock = MemoryLedger(), ManualClock(datetime(1970, 1, 20, tzinfo=UTC))
    ledger.append([row("serving", OTHER, 1), row("serving", OWN, 2)])
    store = Dying()
    for version in (OWN, OTHER):
        store.prepare(f"weather.{version}")
    with pytest.raises(ConnectionError):
        retire_superseded("weather", OWN, ledger=ledger, store=store, clock=clock)
    assert ledger.rows(view="weather", target=TARGET)[-1].kind == "retired"
    whole = MemoryStore()
    for version in (OWN, OTHER):
        whole.prepare(f"weather.{version}")
    done = retire_superseded("weather", OWN, ledger=ledger, store=whole, clock=clock)
    assert done.tables == (f"weather.{OTHER}",)
    assert whole.tables() == [f"weather.{OWN}"]


def test_a_negative_grace_period_is_refused() -> None:
    with pytest.raises(InputError, match="not negative"):
        retirement_plan(
            "weather", OWN, ledger=MemoryLedger(), store=MemoryStore(), clock=ManualClock(at(1)), grace=-GRACE
        )


# ---- setting the code back
class World:
    """A lake and a store, and two versions of one view over the same reports."""

    def __init__(self, root: Path) -> None:
        self.log = ReportLog()
        for number in range(1, 6):
            self.log.add("JFK", number, 6.0, float(number))
        self.settings = load_settings(root=str(root / "lake"), online_path=str(root / "online.sqlite"))
        self.old, self.new = (view(sources=self.log.source(), buckets=buckets) for buckets in (2, 3))
        self.clock = ManualClock(at(4))

    def opened(self, of: FeatureView) -> FeatureStore:
        """The feature store as the code with this version of the view opens it."""
        project = Project("test", sources=of.sources, views=[of], services=[FeatureService("it", [of])])
        return dataclasses.replace(FeatureStore.open(self.settings, project=project), clock=self.clock)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The old version has two days and served; the new one has three, took over, and the grace period has passed."""
    found = World(tmp_path)
    with found.opened(found.old) as before:
        before.materialize([day(1), day(2)])
        before.publish()
    with found.opened(found.new) as after:
        after.materialize([day(1), day(2), day(3)])
        after.publish()
    found.clock.advance(GRACE + timedelta(days=1))
    return found


def retire(store: FeatureStore, of: FeatureView) -> tuple[str, ...]:
    done = retire_superseded(of.name, view_version(of), ledger=store.ledger, store=store.online, clock=store.clock)
    return done.versions


def asked(store: FeatureStore) -> tuple[object, object, str | None]:
    answer = store.get([{"airport": "JFK"}], service="it")
    status = answer.status["weather__temp"][0].name
    return answer.to_pylist()[0]["weather__temp"], status, answer.meta["weather"].version


def test_set_back_within_the_grace_period_the_old_version_answers_at_once(world: World) -> None:
    with world.opened(world.old) as store:
        assert asked(store) == (2.0, "PRESENT", view_version(world.old))


def test_retired_it_answers_again_only_when_it_has_every_day_of_the_one_that_serves(world: World) -> None:
    with world.opened(world.new) as store:
        assert retire(store, world.new) == (view_version(world.old),)
        assert asked(store) == (3.0, "PRESENT", view_version(world.new))
        assert store.online.tables() == [f"weather.{view_version(world.new)}"]
        assert retire(store, world.new) == ()
    with world.opened(world.old) as store:
        assert asked(store) == (3.0, "PRESENT", view_version(world.new)), "the version that serves, and fits"
        assert store.publish() == {}
        assert "1 are missing, first 2024-03-03" in store.held_up(world.old)
        store.materialize([day(3)])
        assert store.publish()["weather"].bootstrap
        assert asked(store) == (3.0, "PRESENT", view_version(world.old))
        assert retire(store, world.old) == (), "the code may be set forward again"
        world.clock.advance(GRACE)
        assert retire(store, world.old) == (view_version(world.new),)


def test_what_was_served_before_it_was_retired_stays_in_training(world: World) -> None:
    with world.opened(world.new) as store:
        before = to_us(world.clock.now())
        retire(store, world.new)
        rows = store.ledger.rows(view="weather", version=view_version(world.old))
        assert [one.kind for one in rows if one.acked_at == before] == ["retired"]
        assert store.view_table(world.new, view_version(world.old)).read().num_rows == 2
