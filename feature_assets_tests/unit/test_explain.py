"""`explain`: every status, every reason, every cause, in memory; and what it refuses."""

from datetime import UTC, datetime, timedelta, timezone
from random import Random

import msgspec
import pyarrow as pa
import pytest

from feature_assets.clock import to_us
from feature_assets.compute.keys import encoded_key
from feature_assets.definition.version import view_version
from feature_assets.errors import InputError, StoreRefusedError, UnknownNameError
from feature_assets.offline.ledger import retired
from feature_assets.online.item import Item, Recent, StreamSection, pack_item, table_name, unpack_item
from feature_assets.online.protocol import Record
from feature_assets.online.ring_reducer import RingReducer, payloads
from feature_assets.online.store import Put, Stored
from feature_assets.serving.explain import Limits
from feature_assets.serving.explain_item import Overheard
from feature_assets.serving.explain_meanings import CAUSES, MEANINGS, WHYS
from feature_assets.serving.explanation import Cause, Explanation, Why
from feature_assets.serving.status import Status
from feature_assets.testing.faulty import FaultRates, FaultyStore
from feature_assets_tests.explained import (
    ASKED,
    NAMES,
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

KEY = encoded_key(["ada"], [pa.string()])
SOLD = [
    row("ada", 0.5, amount=1.5, shop="a"),
    row("ada", 20, amount=2.0, shop="b", sequence=1),
    row("bob", 3, amount=9.0, shop="a"),
]
KNOWN = [row("ada", 2, plan="free", score=0.5, visits=3), row("ada", 9, plan="gold", score=None, visits=None)]


@pytest.fixture
def shop() -> Shop:
    """A shop with one day of each view published, a while ago."""
    found = Shop.in_memory()
    found.publish(PROFILE, KNOWN)
    found.publish(SPEND, SOLD)
    found.later(hours=1)
    return found


def table_of(view_name: str) -> str:
    view = {"profile": PROFILE, "spend": SPEND}[view_name]
    return table_name(view.name, view_version(view))


def whys(explained: Explanation, view: str) -> dict[str, int]:
    found = explained.views[view].events
    assert found is not None
    return found.counts


def cause(explained: Explanation, name: str) -> Cause | None:
    return feature(explained, name).offline.cause


# ------------------------------------------------------------------------------------------------------------ statuses


def test_a_row_and_windows_as_they_are(shop: Shop) -> None:
    explained = shop.explain()
    require_true(shop, explained)
    plan, total = feature(explained, "profile__plan"), feature(explained, "spend__amount_sum_1d")
    assert (plan.value, plan.status, plan.event_at) == ("gold", Status.PRESENT, START + timedelta(hours=9))
    assert plan.age == 16 * 3600
    assert plan.origin == "the row of 2024-03-01 09:00 (day 2024-03-01, commit 1)"
    assert (total.value, total.status) == (2.0, Status.PRESENT)
    assert total.origin == "1 event in 1 tile at commit 1"
    assert explained.agrees
    assert [one.name for one in explained.features] == NAMES


def test_the_item_is_told_as_it_was_read(shop: Shop) -> None:
    (stored,) = shop.store.read(table_of("spend"), [KEY])
    assert isinstance(stored, Stored)
    item = shop.explain().views["spend"].item
    assert item is not None
    assert (item.table, item.key, item.found, item.seq) == (table_of("spend"), {"user_id": "ada"}, True, 1)
    assert (item.bytes, item.n, item.fences) == (len(stored.value), 1, {})
    (section,) = item.sections
    assert (section.kind, section.n, section.partition) == ("batch", 1, "2024-03-01")
    assert section.sent_at == START + DAY
    assert 0 < section.bytes < item.bytes


def test_a_null_and_a_default(shop: Shop) -> None:
    explained = shop.explain()
    score, visits = feature(explained, "profile__score"), feature(explained, "profile__visits")
    assert (score.value, score.status, score.defaulted) == (None, Status.NULL, False)
    assert (visits.value, visits.status, visits.default, visits.defaulted) == (0, Status.DEFAULTED, 0, True)


def test_nobody_is_not_found(shop: Shop) -> None:
    nobody = {"user_id": "nobody", "budget": 1.0}
    explained = shop.explain(nobody)
    require_true(shop, explained, nobody)
    assert feature(explained, "profile__plan").status is Status.NOT_FOUND
    assert feature(explained, "profile__plan").origin == "no row"
    assert feature(explained, "spend__count_1d").value == 0
    item = explained.views["profile"].item
    assert item is not None
    assert not item.found
    assert explained.views["profile"].events is not None
    assert explained.views["profile"].events.total == 0


def test_an_expired_row_is_told_as_such(shop: Shop) -> None:
    shop.later(hours=4 * 24)
    explained = shop.explain()
    require_true(shop, explained)
    assert feature(explained, "profile__plan").status is Status.EXPIRED
    winner = explained.views["profile"].winner
    assert winner is not None
    assert (winner.why, winner.counted, winner.values["plan"]) == (Why.EXPIRED, False, "gold")
    assert whys(explained, "profile") == {"EXPIRED": 2}


def test_a_view_that_is_behind_is_stale(shop: Shop) -> None:
    shop.later(hours=55)
    explained = shop.explain()
    require_true(shop, explained)
    assert feature(explained, "profile__plan").status is Status.STALE
    fresh = explained.views["profile"].freshness
    assert fresh is not None
    assert (fresh.complete_through, fresh.behind, fresh.objective) == (START + DAY, 56 * 3600, 2 * 24 * 3600)
    assert fresh.stale
    past = shop.explain(as_of=shop.clock.now() - timedelta(minutes=1))
    assert feature(past, "profile__plan").status is Status.STALE


def test_more_than_is_kept_is_an_overflow(shop: Shop) -> None:
    shop.commit(SPEND, [*SOLD, row("ada", 21, shop="c"), row("ada", 22, shop="d")])
    shop.push(SPEND)
    for as_of in (None, shop.clock.now() + timedelta(minutes=1)):
        if as_of is not None:
            shop.later(hours=1)
        explained = shop.explain(as_of=as_of)
        require_true(shop, explained)
        distinct = feature(explained, "spend__shop_count_distinct_3d")
        assert (distinct.value, distinct.status) == (None, Status.OVERFLOW)


def test_what_does_not_serve_yet_is_loading() -> None:
    shop = Shop.in_memory()
    shop.publish(PROFILE, KNOWN)
    shop.commit(SPEND, SOLD)
    explained = shop.explain()
    count = feature(explained, "spend__count_1d")
    assert (count.value, count.status, count.offline.agrees) == (None, Status.LOADING, None)
    assert count.offline.cause is Cause.LOADING
    assert "serves on" in explained.views["spend"].failure
    assert explained.views["spend"].item is None
    assert explained.views["spend"].answered is None
    assert (feature(explained, "left__left").status, cause(explained, "left__left")) == (Status.LOADING, Cause.INPUT)
    assert feature(explained, "profile__plan").offline.agrees


def test_a_damaged_item_is_an_error(shop: Shop) -> None:
    (stored,) = shop.store.read(table_of("spend"), [KEY])
    assert isinstance(stored, Stored)
    damaged = stored.value[:-1] + bytes([stored.value[-1] ^ 1])
    shop.store.write(table_of("spend"), [Put(KEY, stored.seq, damaged)])
    explained = shop.explain()
    count = feature(explained, "spend__count_1d")
    assert (count.value, count.status, count.offline.cause) == (None, Status.ERROR, Cause.STORE_FAILURE)
    # What it should be is known nevertheless.
    assert count.offline.value == 1
    assert "cannot be read" in explained.views["spend"].failure
    assert explained.views["spend"].tiles == ()
    item = explained.views["spend"].item
    assert item is not None
    assert item.bytes == len(damaged)


def test_bytes_that_are_no_item(shop: Shop) -> None:
    shop.store.write(table_of("profile"), [Put(KEY, 1, b"\x63nonsense")])
    explained = shop.explain()
    assert feature(explained, "profile__plan").status is Status.ERROR
    item = explained.views["profile"].item
    assert item is not None
    assert "format" in item.failure
    assert whys(explained, "profile") == {"COUNTED": 1, "OLDER": 1}


def test_a_store_that_does_not_answer(shop: Shop) -> None:
    rates = FaultRates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, unread=1.0)
    explained = shop.explain(store=FaultyStore(shop.store, Random(1), rates))
    plan = feature(explained, "profile__plan")
    assert plan.status in {Status.THROTTLED, Status.TIMEOUT, Status.ERROR}
    assert (plan.offline.cause, plan.offline.value, plan.offline.agrees) == (Cause.STORE_FAILURE, "gold", None)
    item = explained.views["profile"].item
    assert item is not None
    assert item.failure.startswith("the store reported")


def test_a_request_without_a_key(shop: Shop) -> None:
    shop.later(minutes=5)
    explained = shop.explain({"user_id": None, "budget": 1.0})
    plan = feature(explained, "profile__plan")
    assert (plan.status, plan.offline.cause, plan.origin) == (
        Status.NOT_FOUND,
        Cause.NO_KEY,
        "nothing: the request has no key",
    )
    past = shop.explain({"user_id": None, "budget": 1.0}, as_of=shop.clock.now() - timedelta(minutes=1))
    assert [(one.value, one.status) for one in past.features] == [(one.value, one.status) for one in explained.features]


def test_a_request_time_function_is_told_with_its_inputs(shop: Shop) -> None:
    explained = shop.explain()
    left = feature(explained, "left__left")
    assert (left.value, left.offline.agrees, left.origin) == (98.0, True, "computed at the request")
    told = explained.on_demand["left"]
    assert told.request == {"budget": 100.0}
    assert told.inputs == {"spend__amount_sum_1d": 2.0, "profile__score": None}
    assert told.as_of == explained.as_of
    assert ":" in told.code.transform_at


def test_a_request_time_function_that_fails(shop: Shop) -> None:
    asked = {"user_id": "ada", "budget": -1.0}
    explained = shop.explain(asked)
    left = feature(explained, "left__left")
    assert (left.status, left.offline.cause) == (Status.ERROR, Cause.FUNCTION)
    assert "a budget is not negative" in explained.on_demand["left"].failure
    past = shop.explain(asked, as_of=shop.clock.now() - timedelta(minutes=1))
    assert feature(past, "left__left").status is Status.ERROR
    assert "a budget is not negative" in past.on_demand["left"].failure


# ------------------------------------------------------------------------------------------------------------- reasons


def test_rows_that_lost_say_why(shop: Shop) -> None:
    second = (START + DAY).date()
    shop.commit(PROFILE, [row("ada", 26, plan="bad")], day=second, passed=False)
    shop.commit(PROFILE, [row("ada", 24.5, plan="new")], day=second)
    explained = shop.explain()
    require_true(shop, explained)
    reasons = {str(one.values["plan"]): one.why for one in events(explained, "profile")}
    assert reasons == {
        "gold": Why.COUNTED,
        "free": Why.OLDER,
        "new": Why.NOT_AVAILABLE,
        "bad": Why.HELD_BACK,
    }
    shop.push(PROFILE)
    shop.later(hours=1)
    explained = shop.explain()
    require_true(shop, explained)
    winner = explained.views["profile"].winner
    assert winner is not None
    assert (winner.values["plan"], winner.commit_seq, winner.partition) == ("new", 3, "2024-03-02")
    assert winner.available_at == shop.clock.now() - timedelta(hours=1)


def test_what_waits_for_a_verdict_says_so(shop: Shop) -> None:
    shop.commit(PROFILE, [row("ada", 24.5, plan="new")], day=(START + DAY).date(), passed=None)
    assert whys(shop.explain(), "profile") == {"COUNTED": 1, "OLDER": 1, "UNJUDGED": 1}


def test_a_correction_supersedes(shop: Shop) -> None:
    shop.commit(SPEND, [row("ada", 0.5, amount=1.5, shop="a"), row("ada", 20, amount=7.0, shop="b", sequence=1)])
    shop.push(SPEND)
    shop.later(hours=1)
    explained = shop.explain()
    require_true(shop, explained)
    assert [(one.values["amount"], one.why, one.versions) for one in events(explained, "spend")] == [
        (7.0, Why.COUNTED, 1),
        (2.0, Why.SUPERSEDED, 1),
        (1.5, Why.COUNTED, 2),
    ]
    (gone,) = events(explained, "spend", Why.SUPERSEDED)
    assert gone.superseded_at == shop.clock.now() - timedelta(hours=1)
    assert (gone.visible, gone.in_item) == (False, False)


def test_at_the_very_instant_of_an_acknowledgement_the_new_version_counts(shop: Shop) -> None:
    shop.commit(SPEND, [row("ada", 0.5, amount=1.5, shop="a"), row("ada", 20, amount=7.0, shop="b", sequence=1)])
    shop.push(SPEND)
    acknowledged_at = shop.clock.now()
    shop.later(hours=1)
    for moment, counted, why in (
        (acknowledged_at, [7.0, 1.5], {7.0: Why.COUNTED, 2.0: Why.SUPERSEDED}),
        (acknowledged_at - timedelta(microseconds=1), [2.0, 1.5], {7.0: Why.NOT_AVAILABLE, 2.0: Why.COUNTED}),
    ):
        explained = shop.explain(as_of=moment)
        require_true(shop, explained)
        assert [one.values["amount"] for one in events(explained, "spend") if one.counted] == counted
        assert {one.values["amount"]: one.why for one in events(explained, "spend") if one.sequence == 1} == why


def test_what_is_shown_of_a_row_is_what_the_features_are_made_of(shop: Shop) -> None:
    explained = shop.explain(features=["spend__shop_last_1d", "profile__plan"])
    assert [set(one.values) for one in events(explained, "spend")] == [{"shop"}] * 2
    assert [set(one.values) for one in events(explained, "profile")] == [{"plan"}] * 2
    counts = shop.explain(features=["spend__count_1d"])
    assert [one.values for one in events(counts, "spend")] == [{}, {}]


def test_two_equal_records_are_two(shop: Shop) -> None:
    again = row("ada", 20, amount=2.0, shop="b", sequence=1)
    shop.commit(SPEND, [*SOLD, again])
    shop.push(SPEND)
    shop.later(hours=1)
    explained = shop.explain()
    require_true(shop, explained)
    assert feature(explained, "spend__count_1d").value == 2
    assert [(one.values["amount"], one.versions) for one in events(explained, "spend")] == [
        (2.0, 2),
        (2.0, 1),
        (1.5, 2),
    ]


def test_exactly_the_time_to_live_is_not_expired(shop: Shop) -> None:
    shop.clock.advance(START + timedelta(hours=9) + 3 * DAY - shop.clock.now())
    explained = shop.explain()
    require_true(shop, explained)
    assert [(one.values["plan"], one.why) for one in events(explained, "profile")] == [
        ("gold", Why.COUNTED),
        ("free", Why.EXPIRED),
    ]
    shop.later(microseconds=1)
    assert feature(shop.explain(), "profile__plan").status is Status.EXPIRED


def test_the_end_of_a_window_is_not_in_it_and_its_start_is(shop: Shop) -> None:
    shop.commit(SPEND, [*SOLD, row("ada", 0, amount=0.5), row("ada", 24, amount=8.0)])
    shop.push(SPEND)
    shop.later(hours=1)
    explained = shop.explain()
    require_true(shop, explained)
    yesterday = feature(explained, "spend__count_1d_tumbling")
    assert yesterday.window is not None
    assert (yesterday.value, yesterday.window.events, yesterday.window.tiles) == (3, 3, 2)
    (span,) = yesterday.window.spans
    assert (span.start, span.end) == (START, START + DAY)
    assert [one.values["amount"] for one in events(explained, "spend") if "1d_tumbling" in one.windows] == [
        2.0,
        1.5,
        0.5,
    ]


def test_without_a_lifetime_the_longest_window_says_how_far_back_is_looked(shop: Shop) -> None:
    shop.project = project_of(PROFILE, spend_of(ever=False))
    spend = shop.project.view("spend")
    for day in range(7):
        sold = [row("ada", 24 * day + 0.5 + hour, amount=1.0 + hour, sequence=hour) for hour in range(0, 24, 3)]
        shop.commit(spend, sold, day=(START + day * DAY).date())
    shop.later(hours=5 * 24 + 7)
    shop.push(spend)
    shop.later(minutes=1)
    explained = shop.explain()
    assert explained.agrees
    for name in ("spend__count_3d", "spend__amount_sum_3d", "spend__shop_last_3d"):
        one = feature(explained, name)
        assert one.value == one.offline.value == naive(explained, name)
    assert feature(explained, "spend__count_3d").value == 30
    found = explained.views["spend"].events
    assert found is not None
    assert (found.since, found.complete) == ("2024-03-02", True)
    assert found.counts["OUTSIDE"] == 8


def test_a_late_event_says_so_and_counts_later(shop: Shop) -> None:
    before = shop.clock.now()
    shop.later(hours=5)
    shop.commit(SPEND, [*SOLD, row("ada", 21, late=6, amount=4.0, shop="a", sequence=2)])
    shop.push(SPEND)
    shop.later(hours=1)
    then, now = shop.explain(as_of=before), shop.explain()
    require_true(shop, then)
    require_true(shop, now)
    assert [one.values["amount"] for one in events(then, "spend", Why.LATE)] == [4.0]
    assert [one.values["amount"] for one in events(now, "spend", Why.COUNTED)] == [4.0, 2.0, 1.5]


def test_events_outside_of_the_windows_asked_for(shop: Shop) -> None:
    explained = shop.explain(features=["spend__amount_max_1d"])
    assert [(one.values["amount"], one.why) for one in events(explained, "spend")] == [
        (2.0, Why.COUNTED),
        (1.5, Why.OUTSIDE),
    ]
    window = feature(explained, "spend__amount_max_1d").window
    assert window is not None
    assert (window.label, window.events, window.tiles) == ("1d", 1, 1)
    (span,) = window.spans
    assert (span.start, span.end) == (START + timedelta(hours=1), None)


def test_tiles_add_up(shop: Shop) -> None:
    explained = shop.explain()
    tiles = explained.views["spend"].tiles
    assert explained.views["spend"].tiles_total == len(tiles)
    counts = [tile.counts["count()"] for tile in tiles if "lifetime" in tile.windows]
    assert sum(counts) == feature(explained, "spend__count_lifetime").value == 2
    sums = [tile.states["amount_sum"] for tile in tiles if "3d" in tile.windows]
    assert sum(float(str(one)) for one in sums if one is not None) == feature(explained, "spend__amount_sum_3d").value


# ------------------------------------------------------------------------------------------- online against offline


def test_inside_of_a_write(shop: Shop) -> None:
    shop.commit(SPEND, [*SOLD, row("ada", 23, amount=4.0, shop="a", sequence=2)])
    shop.later(hours=1)
    # Killed after everything was written, and before it was acknowledged.
    steps = 1
    while feature(shop.explain(), "spend__amount_max_1d").value == 2.0:
        shop.push(SPEND, steps=steps)
        steps += 1
    shop.later(seconds=1)
    explained = shop.explain()
    most = feature(explained, "spend__amount_max_1d")
    assert (most.value, most.offline.value, most.offline.agrees) == (4.0, 2.0, False)
    assert most.offline.cause is Cause.WRITE_INTERVAL
    assert not explained.agrees
    assert cause(explained, "left__left") is Cause.INPUT
    (ahead,) = events(explained, "spend", Why.UNACKNOWLEDGED)
    assert (ahead.visible, ahead.in_item, ahead.counted, ahead.values["amount"]) == (False, True, True, 4.0)
    # What was served follows from what counts, whatever the ledger says.
    assert naive(explained, "spend__amount_max_1d") == 4.0
    shop.push(SPEND)
    shop.later(seconds=1)
    require_true(shop, shop.explain())


def test_an_item_that_is_gone(shop: Shop) -> None:
    shop.store.delete(table_of("spend"), [KEY])
    explained = shop.explain()
    assert cause(explained, "spend__amount_sum_3d") is Cause.ITEM_GONE
    assert [one.why for one in events(explained, "spend")] == [Why.NOT_IN_ITEM, Why.NOT_IN_ITEM]
    assert feature(explained, "spend__amount_sum_3d").value == 0.0


def test_an_item_that_is_behind(shop: Shop) -> None:
    (old,) = shop.store.read(table_of("spend"), [KEY])
    shop.commit(SPEND, [*SOLD, row("ada", 23, amount=4.0, shop="a", sequence=2)])
    shop.push(SPEND)
    assert isinstance(old, Stored)
    shop.store.write(table_of("spend"), [Put(KEY, old.seq + 1, old.value)])
    shop.later(hours=1)
    explained = shop.explain()
    assert cause(explained, "spend__count_3d") is Cause.ITEM_BEHIND
    assert [one.values["amount"] for one in events(explained, "spend", Why.NOT_IN_ITEM)] == [4.0]


def test_an_item_of_another_value_is_unexplained(shop: Shop) -> None:
    found = {user: encoded_key([user], [pa.string()]) for user in ("ada", "bob")}
    ada, bob = shop.store.read(table_of("spend"), list(found.values()))
    assert isinstance(ada, Stored)
    assert isinstance(bob, Stored)
    shop.store.write(table_of("spend"), [Put(found["ada"], ada.seq, bob.value)])
    assert cause(shop.explain(), "spend__amount_sum_3d") is Cause.UNEXPLAINED


def test_an_older_version_that_still_serves(shop: Shop) -> None:
    newer = project_of(profile_of(buckets=5), spend_of(buckets=3))
    changed = newer.view("spend")
    shop.project = newer
    shop.commit(changed, [*SOLD, row("ada", 23, amount=4.0, shop="a", sequence=2)])
    shop.commit(newer.view("profile"), KNOWN)
    explained = shop.explain()
    view, total = explained.views["spend"], feature(explained, "spend__amount_sum_1d")
    assert (view.answered, view.is_current, view.code.version) == (view_version(SPEND), False, view_version(changed))
    assert (total.value, total.offline.value) == (2.0, 6.0)
    assert (total.offline.agrees, total.offline.cause) == (False, Cause.OTHER_VERSION)
    # What is listed is of the version that answered.
    assert naive(explained, "spend__amount_sum_1d") == 2.0
    assert feature(explained, "profile__plan").offline.agrees


def test_a_version_that_was_never_committed(shop: Shop) -> None:
    shop.project = project_of(PROFILE, spend_of(buckets=3))
    explained = shop.explain()
    total = feature(explained, "spend__amount_sum_1d")
    assert (total.value, total.offline.agrees, total.offline.cause) == (2.0, None, Cause.NO_HISTORY)
    assert "not been materialized" in total.offline.reason


def test_a_life_after_a_loss(shop: Shop) -> None:
    shop.ledger.append([retired("spend", view_version(SPEND), shop.store.target, shop.clock)])
    assert feature(shop.explain(), "spend__count_1d").status is Status.LOADING
    shop.push(SPEND)
    shop.later(hours=1)
    explained = shop.explain()
    require_true(shop, explained)
    item = explained.views["spend"].item
    assert item is not None
    assert item.table == table_name("spend", view_version(SPEND), 1)


def test_both_sections_of_an_item_are_told(shop: Shop) -> None:
    (stored,) = shop.store.read(table_of("spend"), [KEY])
    assert isinstance(stored, Stored)
    item, now = unpack_item(stored.value, stored.seq), to_us(shop.clock.now())
    reducer = RingReducer.of(SPEND)
    columns = {"amount": pa.array([40.0]), "shop": pa.array(["c"])}
    (payload,) = payloads(reducer.layout, columns, 1)
    state = reducer.apply(b"", [Record(7, KEY, now, payload)], now)
    streams = StreamSection({"orders:0": 7}, (Recent("orders:0", 7, 7, now),), state)
    shop.store.write(table_of("spend"), [Put(KEY, stored.seq, pack_item(Item(0, item.batch, streams)))])
    shop.later(minutes=1)
    explained = shop.explain()
    found = explained.views["spend"].item
    assert found is not None
    assert (found.fences, [one.kind for one in found.sections]) == ({"orders:0": 7}, ["batch", "stream"])
    assert (found.sections[1].unrecorded, found.sections[1].sent_at) == (1, shop.clock.now() - timedelta(minutes=1))
    tiles = explained.views["spend"].tiles
    assert next((one.section, one.states["amount_sum"]) for one in tiles if one.windows) == ("stream", 40.0)
    total = feature(explained, "spend__amount_sum_3d")
    assert (total.value, total.offline.value, total.offline.cause) == (43.5, 3.5, Cause.STREAMED)


# --------------------------------------------------------------------------------------------------- the past, limits


def test_the_past_is_explained_from_the_history_and_says_so(shop: Shop) -> None:
    before = shop.explain()
    shop.later(hours=1)
    shop.commit(SPEND, [row("ada", 1, amount=100.0, shop="z")])
    shop.push(SPEND)
    shop.later(hours=1)

    def refused() -> None:
        raise AssertionError("the store was asked")

    shop.store.read = refused  # type: ignore[method-assign,assignment] # it must not be called
    past = shop.explain(as_of=before.as_of)
    assert past.source == "history"
    assert "keeps no past" in past.note
    assert [(one.value, one.status) for one in past.features] == [(one.value, one.status) for one in before.features]
    assert {one.offline.cause for one in past.features} == {Cause.IN_THE_PAST}
    assert past.views["spend"].item is None
    assert past.views["spend"].answered == view_version(SPEND)
    assert {tile.section for tile in past.views["spend"].tiles} == {"history"}
    assert [one.in_item for one in events(past, "spend")] == [None] * 3


def test_before_anything_was_served(shop: Shop) -> None:
    past = shop.explain(as_of=START + timedelta(hours=20))
    assert past.views["profile"].answered is None
    assert feature(past, "profile__plan").status is Status.NOT_FOUND


def test_limits_bound_what_is_listed_and_say_so(shop: Shop) -> None:
    shop.commit(SPEND, [row("ada", 24 + minute / 60, amount=1.0) for minute in range(50)], day=(START + DAY).date())
    shop.later(hours=1)
    shop.push(SPEND)
    few = shop.explain(limits=Limits(events=4, tiles=2))
    found = few.views["spend"].events
    assert found is not None
    assert (len(found.listed), found.total, found.complete) == (4, 52, True)
    assert (len(few.views["spend"].tiles), few.views["spend"].tiles_total) == (2, 3)
    assert feature(few, "spend__count_lifetime").offline.agrees

    one_day = shop.explain(limits=Limits(partitions=1))
    found = one_day.views["spend"].events
    assert found is not None
    assert (found.since, found.total, found.complete) == ("2024-03-02", 50, False)
    count = feature(one_day, "spend__count_lifetime")
    assert (count.value, count.offline.agrees, count.offline.cause) == (52, None, Cause.LIMIT)
    assert count.window is not None
    assert count.window.events is None


def test_some_features_alone(shop: Shop) -> None:
    explained = shop.explain(features=["left__left"])
    assert [one.name for one in explained.features] == ["left__left"]
    # What it is computed from is explained along.
    assert set(explained.views) == {"spend", "profile"}
    alone = shop.explain(features=["profile__plan"])
    assert (set(alone.views), set(alone.on_demand)) == ({"profile"}, set())


# --------------------------------------------------------------------------------------------------- what is refused


def test_what_does_not_exist_is_refused_with_what_does(shop: Shop) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'spend__count_1d'"):
        shop.explain(features=["spend_count_1d"])
    with pytest.raises(InputError, match="'user_id' \\(key 'user_id' of 'profile'\\)"):
        shop.explain({"budget": 1.0})
    with pytest.raises(InputError, match=r"as_of: 2024-03-01T00:00:00 has no time zone"):
        shop.explain(as_of=START.replace(tzinfo=None))
    with pytest.raises(InputError, match="2 rows were given"):
        shop.explain(pa.table({"user_id": ["ada", "bob"], "budget": [1.0, 2.0]}))
    with pytest.raises(InputError, match="a list was given"):
        shop.explain([ASKED])  # type: ignore[arg-type] # what a caller may do


def test_an_explanation_is_json(shop: Shop) -> None:
    explained = shop.explain()
    again = msgspec.json.decode(msgspec.json.encode(explained), type=Explanation)
    assert again.features == explained.features
    assert again.views["spend"].tiles == explained.views["spend"].tiles


def test_it_writes_nothing(shop: Shop) -> None:
    overheard = Overheard(shop.store)
    for call in (
        lambda: overheard.prepare("x"),
        lambda: overheard.drop("x"),
        lambda: overheard.write("x", []),
        lambda: overheard.delete("x", []),
    ):
        with pytest.raises(StoreRefusedError, match="writes nothing"):
            call()
    assert overheard.tables() == shop.store.tables()


def test_every_word_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Status)
    assert set(WHYS) == set(Why)
    assert set(CAUSES) == set(Cause)


def test_times_of_another_zone_are_the_same_instant(shop: Shop) -> None:
    at = datetime(2024, 3, 2, 0, 30, tzinfo=UTC)
    there = at.astimezone(timezone(timedelta(hours=5)))
    assert shop.explain(as_of=there).as_of == at
