"""Each status of the online reader: when it is given, with which value, and that it stays with its key and view."""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.compute.keys import encoded_key
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.errors import (
    InputError,
    OnlineError,
    StaleFeaturesError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)
from feature_assets.online.item import WATERMARK_KEY, BatchSection, Item, Row, pack_item
from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import Put, ReadFailure, ReadResult
from feature_assets.serving.freshness import Freshness
from feature_assets.serving.stages import STAGES
from feature_assets.serving.status import Status
from feature_assets.testing.faulty import NO_FAULTS, FaultRates, FaultyStore
from feature_assets_tests.histories import DAY, START, view_of
from feature_assets_tests.published import Published, at

S = Status
CARRIER = {"carrier": pa.string()}
FLOAT = {"delay": pa.float64()}


def carriers(**options: object) -> FeatureView:
    return view_of("carriers", CARRIER, {"delay": pa.float64(), "fleet": pa.int64()}, **options)


def one(carrier: str, hours: float = 3, delay: float | None = 1.5, fleet: int | None = 7) -> dict[str, object]:
    return {"carrier": carrier, "event_at": at(hours), "delay": delay, "fleet": fleet}


UA = [{"carrier": "UA"}]


class Troubled(MemoryStore):
    """Keeps what was asked; its tables can be made to fail: with an error, or with a failure for each key."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: dict[str, OnlineError | ReadFailure] = {}
        self.asked: list[bytes] = []

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.asked += keys
        trouble = self.trouble.get(table.partition(".")[0])
        if isinstance(trouble, OnlineError):
            raise trouble
        if trouble is not None:
            return [trouble] * len(keys)
        return super().read(table, keys, consistent=consistent, deadline=deadline)


def test_a_value_a_null_and_no_row() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA", fleet=None)])

    answer = world.reader(view).get("it", [{"carrier": "UA"}, {"carrier": "ZZ"}])

    assert answer.to_pylist() == [
        {"carriers__delay": 1.5, "carriers__fleet": None},
        {"carriers__delay": None, "carriers__fleet": None},
    ]
    assert answer.status == {"carriers__delay": [S.PRESENT, S.NOT_FOUND], "carriers__fleet": [S.NULL, S.NOT_FOUND]}
    assert answer.failures == {}


def test_nan_is_a_value() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA", delay=float("nan"))])
    answer = world.reader(view).get("it", UA)
    assert answer.status["carriers__delay"] == [S.PRESENT]
    assert np.isnan(answer.table["carriers__delay"][0].as_py())


def test_an_entity_that_vanished_is_not_found_and_its_cut_says_since_when() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA"), one("AA")])
    world.publish(view, [one("AA")])
    answer = world.reader(view).get("it", UA)
    assert answer.status["carriers__delay"] == [S.NOT_FOUND]
    assert [cut and cut.n for cut in answer.meta["carriers"].cut] == [2]


def test_exactly_the_time_to_live_is_not_expired() -> None:
    view, world = carriers(ttl=timedelta(hours=22)), Published()
    world.publish(view, [one("UA", hours=2), one("AA", hours=3)])
    reader, both = world.reader(view), [{"carrier": "UA"}, {"carrier": "AA"}]

    assert reader.get("it", both).status["carriers__delay"] == [S.PRESENT, S.PRESENT]
    world.later(microseconds=1)
    answer = reader.get("it", both)

    assert answer.status["carriers__delay"] == [S.EXPIRED, S.PRESENT]
    assert answer.to_pylist()[0] == {"carriers__delay": None, "carriers__fleet": None}
    assert answer.meta["carriers"].event_at == [at(2), at(3)], "of an expired row too"
    assert answer.meta["carriers"].age[0] == timedelta(hours=22, microseconds=1)


def test_a_default_stands_in_for_whatever_is_surely_absent() -> None:
    features = [Feature("delay", pa.float64(), default=-1.0), Feature("tags", pa.list_(pa.string()), default=["none"])]
    view = view_of("carriers", CARRIER, features, ttl=timedelta(hours=22))
    world = Published()
    rows: list[dict[str, object]] = [
        {"carrier": "present", "event_at": at(3), "delay": 2.0, "tags": ["a", None]},
        {"carrier": "null", "event_at": at(3), "delay": None, "tags": None},
        {"carrier": "expired", "event_at": at(1), "delay": 3.0, "tags": []},
    ]
    world.publish(view, rows)

    names = ["present", "null", "expired", "nobody", None]
    answer = world.reader(view).get("it", [{"carrier": name} for name in names])

    assert answer.table["carriers__delay"].to_pylist() == [2.0, -1.0, -1.0, -1.0, -1.0]
    assert answer.table["carriers__tags"].to_pylist() == [["a", None], *[["none"]] * 4]
    expected = [S.PRESENT, *[S.DEFAULTED] * 4]
    assert answer.status == {"carriers__delay": expected, "carriers__tags": expected}


def test_a_view_behind_its_freshness_serves_stale_values() -> None:
    view, world = carriers(freshness=timedelta(hours=30)), Published()
    world.publish(view, [one("UA", fleet=None)])
    reader = world.reader(view)
    world.later(hours=30)
    assert reader.get("it", UA).status["carriers__delay"] == [S.PRESENT], "exactly its freshness is fresh"
    world.later(microseconds=1)

    answer = reader.get("it", [*UA, {"carrier": "ZZ"}])

    assert answer.status == {"carriers__delay": [S.STALE, S.NOT_FOUND], "carriers__fleet": [S.NULL, S.NOT_FOUND]}
    assert answer.table["carriers__delay"].to_pylist() == [1.5, None]
    assert answer.meta["carriers"].complete_through == START + DAY


def test_a_caller_may_be_stricter_than_the_view() -> None:
    view, world = carriers(freshness=timedelta(hours=30)), Published()
    world.publish(view, [one("UA", fleet=None)])
    reader = world.reader(view)
    world.later(hours=2)
    for hours, status in ((1, S.STALE), (2, S.PRESENT), (40, S.PRESENT)):
        answer = reader.get("it", UA, freshness=Freshness(timedelta(hours=hours)))
        assert answer.status["carriers__delay"] == [status], hours
        assert answer.to_pylist()[0]["carriers__delay"] == 1.5
    world.later(hours=30)
    answer = reader.get("it", UA, freshness=Freshness(timedelta(hours=40)))
    assert answer.status["carriers__delay"] == [S.STALE], "and never laxer"


def test_a_caller_is_strict_about_a_view_that_promises_nothing() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA")])
    reader = world.reader(view)
    world.later(days=9)
    assert reader.get("it", UA).status["carriers__delay"] == [S.PRESENT]
    answer = reader.get("it", UA, freshness=Freshness(timedelta(days=1)))
    assert answer.status["carriers__delay"] == [S.STALE]


def twice(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    return {"delay": pc.multiply(columns["carriers__delay"], 2.0)}


def test_stale_values_are_nulls_to_who_wants_that() -> None:
    default = [Feature("delay", pa.float64(), default=0.0), Feature("fleet", pa.int64())]
    view, world = view_of("carriers", CARRIER, default, freshness=timedelta(hours=1)), Published()
    doubled = OnDemandView(
        "doubled",
        inputs=["carriers__delay"],
        function=twice,
        features=[Feature("delay", pa.float64(), default=-1.0)],
    )
    world.publish(view, [one("UA")])
    reader = world.reader(view, doubled)
    strict = Freshness(on_stale="null")
    assert reader.get("it", UA, freshness=strict).to_pylist()[0]["doubled__delay"] == 3.0

    world.later(hours=2)
    answer = reader.get("it", [*UA, {"carrier": "ZZ"}], freshness=strict)

    assert answer.table["carriers__delay"].to_pylist() == [None, 0.0], "a default is not for what is merely stale"
    assert answer.status["carriers__delay"] == [S.STALE, S.DEFAULTED]
    assert answer.table["doubled__delay"].to_pylist() == [None, 0.0]
    assert answer.status["doubled__delay"] == [S.STALE, S.PRESENT]
    assert reader.get("it", UA).to_pylist()[0]["doubled__delay"] == 3.0, "served and marked, if nothing is said"


def test_stale_values_are_an_error_to_who_wants_that() -> None:
    view, world = carriers(freshness=timedelta(hours=1)), Published()
    world.publish(view, [one("UA")])
    reader = world.reader(view)
    assert len(reader.get("it", UA, freshness=Freshness(on_stale="error"))) == 1
    world.later(hours=2)
    with pytest.raises(StaleFeaturesError, match=r"view 'carriers' is complete through 2024-03-02T00:00:00") as caught:
        reader.get("it", UA, freshness=Freshness(on_stale="error"))
    assert caught.value.retryable
    missing = reader.get("it", [{"carrier": "ZZ"}], freshness=Freshness(on_stale="error"))
    assert missing.status["carriers__delay"] == [S.NOT_FOUND], "there is no value that could be stale"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"max_age": timedelta(seconds=-1)}, "max_age: .* is negative"), ({"on_stale": "skip"}, "'skip' is none of")],
)
def test_a_policy_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Freshness(**wrong)


def test_the_stages_add_up() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA")])
    reader = world.reader(view)
    before = time.perf_counter()
    seconds = reader.get("it", UA).stages.seconds
    assert {"plan", "read", "decode", "transform"} <= set(seconds) <= set(STAGES)
    assert 0 < sum(seconds.values()) <= time.perf_counter() - before


def test_the_watermark_is_not_read_where_it_cannot_change_the_answer() -> None:
    view, store = carriers(freshness=timedelta(hours=30)), Troubled()
    world = Published(store)
    world.publish(view, [one("UA")])
    reader = world.reader(view)

    def reads_the_watermark() -> bool:
        store.asked.clear()
        reader.get("it", UA)
        return WATERMARK_KEY in store.asked

    assert [reads_the_watermark() for _ in range(3)] == [True, False, False]
    world.later(seconds=4)
    assert not reads_the_watermark()
    world.later(seconds=1)
    assert [reads_the_watermark() for _ in range(2)] == [True, False]
    world.later(hours=40)
    assert [reads_the_watermark() for _ in range(2)] == [True, True], "stale: every push may change that"
    world.commit(view, [{**one("AA"), "event_at": at(30)}], partition=(START + DAY).date())
    world.push(view)
    assert reader.get("it", UA).status["carriers__delay"] == [S.PRESENT]


def test_a_quiet_entity_is_not_stale() -> None:
    view, world = carriers(freshness=timedelta(hours=30)), Published()
    world.publish(view, [one("UA")])
    world.later(days=1)
    world.commit(view, [{**one("AA"), "event_at": at(30)}], partition=(START + DAY).date())
    world.push(view)
    world.later(hours=10)
    answer = world.reader(view).get("it", UA)
    assert answer.status["carriers__delay"] == [S.PRESENT]
    assert answer.meta["carriers"].age == [timedelta(hours=55)]


def test_a_null_key_finds_nothing() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one("UA")])
    answer = world.reader(view).get("it", [{"carrier": None}, *UA])
    assert answer.status["carriers__delay"] == [S.NOT_FOUND, S.PRESENT]
    assert answer.meta["carriers"].cut[0] is None


def test_a_view_that_was_never_pushed_is_loading_and_is_not_defaulted() -> None:
    view = view_of("carriers", CARRIER, [Feature("delay", pa.float64(), default=0.0)])
    answer = Published().reader(view).get("it", UA)
    assert answer.status == {"carriers__delay": [S.LOADING]}
    assert answer.to_pylist() == [{"carriers__delay": None}]
    assert answer.meta["carriers"].version is None
    assert "'carriers'" in answer.failures["carriers"]


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (ReadFailure.THROTTLED, S.THROTTLED),
        (ReadFailure.TIMEOUT, S.TIMEOUT),
        (ReadFailure.ERROR, S.ERROR),
        (StoreThrottledError("too fast"), S.THROTTLED),
        (StoreUnreachableError("gone fishing"), S.ERROR),
        (StoreRefusedError("not for you"), S.ERROR),
    ],
    ids=str,
)
def test_what_failed_is_unknown_and_other_views_are_answered(
    trouble: OnlineError | ReadFailure, status: Status
) -> None:
    view = view_of("carriers", CARRIER, [Feature("delay", pa.float64(), default=0.0)])
    other = view_of("routes", CARRIER, FLOAT)
    store = Troubled()
    world = Published(store)
    world.publish(view, [one("UA")])
    world.publish(other, [one("UA", delay=9.0)])
    store.trouble["carriers"] = trouble

    answer = world.reader(view, other).get("it", [*UA, {"carrier": "ZZ"}])

    assert answer.status == {"carriers__delay": [status, status], "routes__delay": [S.PRESENT, S.NOT_FOUND]}
    assert answer.table["carriers__delay"].to_pylist() == [None, None], "no default for what is not known"
    assert answer.meta["carriers"].cut == [None, None]
    assert set(answer.failures) == {"carriers"}


def test_a_store_that_loses_answers_says_nothing_wrong() -> None:
    view, world = carriers(), Published()
    world.publish(view, [one(f"C{number}", delay=float(number)) for number in range(0, 200, 2)])
    asked = [{"carrier": f"C{number}"} for number in range(200)]
    truth = world.reader(view).get("it", asked)
    faulty = FaultyStore(world.store, Random(5), FaultRates(unread=0.4))

    answer = world.reader(view, store=faulty).get("it", asked)

    known = [not status.is_unknown for status in answer.status["carriers__delay"]]
    assert 60 < sum(known) < 180
    for value, expected, status, true_status, is_known in zip(
        answer.to_pylist(), truth.to_pylist(), answer.status["carriers__delay"], truth.status["carriers__delay"], known,
        strict=True,
    ):  # fmt: skip
        assert (value, status) == (expected, true_status) if is_known else set(value.values()) == {None}
    kinds = {status for status in answer.status["carriers__delay"] if status.is_unknown}
    assert kinds == {S.THROTTLED, S.TIMEOUT, S.ERROR}


def test_freshness_that_could_not_be_read_is_not_vouched_for() -> None:
    class NoWatermark(FaultyStore):
        def read(
            self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
        ) -> list[ReadResult]:
            results = super().read(table, keys, consistent=consistent, deadline=deadline)
            return [
                ReadFailure.TIMEOUT if key == WATERMARK_KEY else result
                for key, result in zip(keys, results, strict=True)
            ]

    view, careless = carriers(freshness=timedelta(hours=30)), view_of("routes", CARRIER, FLOAT)
    world = Published()
    world.publish(view, [one("UA")])
    world.publish(careless, [one("UA")])
    answer = world.reader(view, careless, store=NoWatermark(world.store, Random(1), NO_FAULTS)).get("it", UA)
    assert answer.status["carriers__delay"] == [S.STALE]
    assert answer.status["routes__delay"] == [S.PRESENT], "it promises no freshness"
    assert answer.meta["carriers"].complete_through is None


def damaged(view: FeatureView, world: Published, carrier: str, value: bytes) -> None:
    """Put other bytes in the place of an entity's item."""
    table = f"{view.name}.{view_version(view)}"
    world.store.write(table, [Put(encoded_key([carrier], [pa.string()]), 1, value)])


def test_an_item_that_cannot_be_read_is_an_error_of_its_own() -> None:
    view, world = carriers(ttl=timedelta(hours=22)), Published()
    world.publish(view, [one("UA"), one("AA"), one("DL"), one("B6", delay=4.0), one("EV", hours=1)])
    damaged(view, world, "UA", b"\x63newer")
    damaged(view, world, "AA", b"")
    broken = Row(event_at=0, sequence=0, partition="2024-03-01", values=b"\x01broken")
    damaged(view, world, "DL", pack_item(Item(0, BatchSection(1, 0, broken))))

    answer = world.reader(view).get("it", [{"carrier": name} for name in ("UA", "AA", "DL", "B6", "EV")])

    assert answer.status["carriers__delay"] == [S.ERROR, S.ERROR, S.ERROR, S.PRESENT, S.EXPIRED]
    assert answer.table["carriers__delay"].to_pylist() == [None, None, None, 4.0, None]
    assert "push the view again" in answer.failures["carriers"]

    roles = world.reader(view.alias("first", carrier="a"), view.alias("second", carrier="b"))
    answer = roles.get("it", [{"a": "B6", "b": "DL"}])
    assert answer.status["first__delay"] + answer.status["second__delay"] == [S.PRESENT, S.ERROR]
    assert set(answer.failures) == {"second"}


def test_a_deadline_that_has_passed_is_a_timeout_and_asks_no_store() -> None:
    view, store = carriers(), Troubled()
    world = Published(store)
    world.publish(view, [one("UA")])
    store.trouble["carriers"] = StoreRefusedError("this would be seen")
    answer = world.reader(view).get("it", UA, deadline=0.0)
    assert answer.status["carriers__delay"] == [S.TIMEOUT]
