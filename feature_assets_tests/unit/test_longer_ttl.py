"""A time to live that is lengthened after a store has dropped items: the stated limit, who notices, and the way out."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import to_us
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import retired
from feature_assets.online.codec import ValueCodec
from feature_assets.online.contents import contents_of
from feature_assets.online.push import PushOptions, ReadBack, read_back
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.winning_rows import WinningRows
from feature_assets.serving.status import Status
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at

SHORT = timedelta(days=2)
MARGIN = PushOptions(WinningRows((), ValueCodec([]).pack_table)).expiry_margin
ASKED = [{"carrier": "UA"}]


def carriers(ttl: timedelta) -> FeatureView:
    """The ttl is no part of the version."""
    return view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()}, ttl=ttl)


@dataclasses.dataclass
class World:
    """One carrier's row, pushed with the short ttl."""

    store: SQLiteStore
    published: Published

    def status(self, ttl: timedelta) -> Status:
        reader = self.published.reader(carriers(ttl), store=self.store)
        return reader.get("it", ASKED).status["carriers__delay"][0]

    def read_back(self, ttl: timedelta) -> ReadBack:
        view = carriers(ttl)
        table, verdicts = self.published.tables[view.name, view_version(view)]
        return read_back(
            view,
            version=view_version(view),
            table=table,
            verdicts=verdicts,
            ledger=self.published.ledger,
            store=self.store,
            contents=contents_of(view),
            now=to_us(self.published.clock.now()),
        )

    def later(self, by: timedelta) -> None:
        """Time passes, and the store drops what it may."""
        self.published.clock.advance(by)
        self.store.purge(self.published.clock.now())


@pytest.fixture
def world(tmp_path: Path) -> World:
    store = SQLiteStore(tmp_path / "online.sqlite")
    found = World(store, Published(store))
    found.published.publish(carriers(SHORT), [{"carrier": "UA", "event_at": at(3), "delay": 1.5}])
    return found


def test_a_ttl_that_is_longer_by_the_margin_at_most_needs_nothing(world: World) -> None:
    longer = SHORT + MARGIN
    world.later(longer - timedelta(days=1))
    assert world.status(SHORT) is Status.EXPIRED
    assert world.status(longer) is Status.PRESENT
    world.later(timedelta(days=1))
    assert world.status(longer) in {Status.EXPIRED, Status.NOT_FOUND}, "older than the longer one, too"


def test_beyond_it_what_was_dropped_is_absent_is_noticed_and_is_loaded_again_by_a_rebuild(world: World) -> None:
    longer = SHORT + MARGIN + timedelta(days=10)
    world.later(SHORT + MARGIN + timedelta(days=1))
    assert world.read_back(SHORT).missing == 0, "expired, and rightly gone"
    # The stated limit: a training set with the longer ttl has the value, and the store does not.
    assert world.status(longer) is Status.NOT_FOUND
    assert world.read_back(longer).missing == 1

    view, published = carriers(longer), world.published
    published.ledger.append([retired(view.name, view_version(view), world.store.target, published.clock)])
    published.push(view)

    assert world.status(longer) is Status.PRESENT
    assert world.read_back(longer).ok
    world.later(timedelta(days=8))
    assert world.status(longer) is Status.PRESENT, "written with the longer ttl, it is kept as long"
