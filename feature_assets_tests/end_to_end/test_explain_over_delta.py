"""Explanations with nothing simulated: Delta tables, verdicts and ledger, a SQLite file, damage and other versions."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from feature_assets.definition.version import view_version
from feature_assets.offline.maintenance import compact
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.serving.explanation import Cause, Why
from feature_assets.serving.status import Status
from feature_assets_tests.explained import (
    PROFILE,
    SPEND,
    Shop,
    events,
    feature,
    naive,
    profile_of,
    project_of,
    require_true,
    row,
    spend_of,
)
from feature_assets_tests.histories import DAY, START

SOLD = [
    row("ada", 0.5, amount=1.5, shop="a"),
    row("ada", 20, amount=2.0, shop="b", sequence=1),
    row("bob", 3, amount=9.0, shop="a"),
]
KNOWN = [row("ada", 2, plan="free", score=0.5, visits=3), row("ada", 9, plan="gold", score=None, visits=None)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with one day of each view published, an hour ago."""
    found = Shop.over_delta(tmp_path)
    found.publish(PROFILE, KNOWN)
    found.publish(SPEND, SOLD)
    found.later(hours=1)
    yield found
    found.store.close()


def test_days_that_are_corrected_come_late_and_wait(shop: Shop) -> None:
    first = shop.explain()
    require_true(shop, first)
    second = (START + DAY).date()
    # A correction, a late record, a day that waits for its push, one that failed.
    shop.later(hours=3)
    shop.commit(
        SPEND,
        [
            row("ada", 0.5, amount=1.5, shop="a"),
            row("ada", 20, amount=5.0, shop="b", sequence=1),
            row("ada", 21, late=6, amount=0.25, shop="c", sequence=2),
        ],
    )
    shop.push(SPEND)
    shop.commit(SPEND, [row("ada", 26, amount=8.0, shop="a", sequence=3)], day=second)
    shop.commit(PROFILE, [row("ada", 26, plan="bad")], day=second, passed=False)
    shop.later(hours=1)

    now = shop.explain()
    require_true(shop, now)
    assert [(one.values["amount"], one.why, one.versions) for one in events(now, "spend")] == [
        (8.0, Why.NOT_AVAILABLE, 1),
        (0.25, Why.COUNTED, 1),
        (5.0, Why.COUNTED, 1),
        (2.0, Why.SUPERSEDED, 1),
        (1.5, Why.COUNTED, 2),
    ]
    assert [one.why for one in events(now, "profile")] == [Why.HELD_BACK, Why.COUNTED, Why.OLDER]
    assert feature(now, "profile__visits").status is Status.DEFAULTED
    assert feature(now, "spend__shop_count_distinct_3d").status is Status.OVERFLOW

    then = shop.explain(as_of=first.as_of)
    require_true(shop, then)
    assert [(one.name, one.value, one.status) for one in then.features] == [
        (one.name, one.value, one.status) for one in first.features
    ]
    assert [(one.values["amount"], one.why) for one in events(then, "spend")] == [
        (0.25, Why.LATE),
        (5.0, Why.NOT_AVAILABLE),
        (2.0, Why.COUNTED),
        (1.5, Why.COUNTED),
    ]
    # Where files lie says nothing.
    assert shop.lake is not None
    assert compact(shop.lake, shop.project, ledger=shop.ledger, target=shop.store.target)
    assert shop.explain(as_of=first.as_of) == then
    assert shop.explain() == now


def test_inside_of_a_write_that_was_killed(shop: Shop) -> None:
    shop.commit(SPEND, [*SOLD, row("ada", 23, amount=4.0, shop="a", sequence=2)])
    steps = 1
    while feature(shop.explain(), "spend__amount_max_1d").value == 2.0:
        shop.push(SPEND, steps=steps)
        steps += 1
    shop.later(seconds=1)
    explained = shop.explain()
    most = feature(explained, "spend__amount_max_1d")
    assert (most.value, most.offline.value, most.offline.cause) == (4.0, 2.0, Cause.WRITE_INTERVAL)
    assert naive(explained, "spend__amount_max_1d") == 4.0
    shop.push(SPEND)
    shop.later(seconds=1)
    require_true(shop, shop.explain())


def test_a_new_version_with_other_buckets_is_being_filled(shop: Shop) -> None:
    before = shop.explain()
    newer = project_of(profile_of(buckets=5), spend_of(buckets=3))
    shop.project = newer
    for view, rows in ((newer.view("profile"), KNOWN), (newer.view("spend"), SOLD)):
        shop.commit(view, [*rows, row("ada", 23, amount=4.0, plan="new", sequence=9)])
    between = shop.explain()
    assert [one.value for one in between.features] == [one.value for one in before.features]
    assert between.views["spend"].answered == view_version(SPEND)
    assert feature(between, "spend__amount_max_1d").offline.cause is Cause.OTHER_VERSION
    assert naive(between, "spend__amount_sum_3d") == 3.5
    for view in newer.views:
        shop.push(view)
    shop.later(seconds=1)
    after = shop.explain()
    require_true(shop, after)
    assert after.views["spend"].is_current
    assert feature(after, "spend__amount_max_1d").value == 4.0


def test_the_file_that_is_gone(shop: Shop, tmp_path: Path) -> None:
    shop.store.close()
    for path in tmp_path.glob("online.sqlite*"):
        path.unlink()
    with_nothing = SQLiteStore(tmp_path / "online.sqlite")
    explained = shop.explain(store=with_nothing)
    plan = feature(explained, "profile__plan")
    assert plan.status is Status.ERROR
    assert (plan.offline.cause, plan.offline.value) == (Cause.STORE_FAILURE, "gold")
    assert explained.views["profile"].failure
    with_nothing.close()


def test_a_damaged_lake_leaves_the_answer(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "lake" / "features" / "spend" / view_version(SPEND)
    for path in folder.rglob("*.parquet"):
        path.write_bytes(b"nothing")
    explained = shop.explain()
    total = feature(explained, "spend__amount_sum_3d")
    assert (total.value, total.status) == (3.5, Status.PRESENT)
    assert (total.offline.agrees, total.offline.cause) == (None, Cause.NO_HISTORY)
    assert explained.views["spend"].history_failure
    assert explained.views["spend"].tiles
    assert feature(explained, "profile__plan").offline.agrees
    assert shop.explain(as_of=shop.clock.now() - timedelta(minutes=1)).views["spend"].history_failure
