"""Which version of a view answers: the old one until the new one is filled, and never one that does not fit."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.compute.keys import encoded_key
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.errors import OfflineError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow, MemoryLedger, retired
from feature_assets.offline.table import feature_table
from feature_assets.online.item import BatchSection, Item, Row, pack_item
from feature_assets.online.store import Put
from feature_assets.serving.status import Status
from feature_assets_tests.histories import START, partition_table, view_of
from feature_assets_tests.published import Published, at

S = Status
FLOAT = {"delay": pa.float64()}
ASKED = [{"carrier": "UA"}]


def carriers(features: dict[str, pa.DataType] | None = None, *, buckets: int = 16, key: str = "carrier") -> FeatureView:
    """Another number of buckets makes another version."""
    return view_of("carriers", {key: pa.string()}, features or FLOAT, buckets=buckets)


def rows(delay: float, **more: object) -> list[dict[str, object]]:
    return [{"carrier": "UA", "event_at": at(3), "delay": delay, **more}]


def retire(world: Published, view: FeatureView) -> None:
    world.ledger.append([retired(view.name, view_version(view), world.store.target, world.clock)])


def test_the_old_version_answers_until_the_new_one_is_filled() -> None:
    old, new, world = carriers(), carriers(buckets=4), Published()
    world.publish(old, rows(1.0))
    reader = world.reader(new)
    answer = reader.get("it", ASKED)
    assert (answer.to_pylist(), answer.meta["carriers"].version) == ([{"carriers__delay": 1.0}], view_version(old))

    world.publish(new, rows(2.0))
    world.later(seconds=4)
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}], "remembered for a short while"
    world.later(seconds=1)
    answer = reader.get("it", ASKED)
    assert (answer.to_pylist(), answer.meta["carriers"].version) == ([{"carriers__delay": 2.0}], view_version(new))


def test_what_is_remembered_is_not_asked_for_again() -> None:
    class Counting(MemoryLedger):
        asked = 0

        def rows(
            self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
        ) -> list[LedgerRow]:
            self.asked += 1
            return super().rows(view=view, version=version, target=target, upto=upto)

    ledger = Counting()
    view, world = carriers(), Published(ledger=ledger)
    reader = world.reader(view, remembered=timedelta(seconds=2))
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.LOADING]
    ledger.asked = 0
    for _ in range(3):
        reader.get("it", ASKED)
    assert ledger.asked == 0
    world.later(seconds=2)
    reader.get("it", ASKED)
    assert ledger.asked == 1


def test_while_one_request_asks_the_ledger_the_others_do_not_wait_for_it() -> None:
    class Slow(MemoryLedger):
        meanwhile: Callable[[], object] | None = None
        asked = 0

        def rows(
            self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
        ) -> list[LedgerRow]:
            self.asked += 1
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            return super().rows(view=view, version=version, target=target, upto=upto)

    ledger = Slow()
    view, world = carriers(), Published(ledger=ledger)
    world.publish(view, rows(1.0))
    reader = world.reader(view)
    reader.get("it", ASKED)
    world.later(seconds=6)
    others: list[list[dict[str, object]]] = []
    ledger.meanwhile, ledger.asked = lambda: others.append(reader.get("it", ASKED).to_pylist()), 0
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}]
    assert (others, ledger.asked) == ([[{"carriers__delay": 1.0}]], 1)
    world.later(seconds=6)
    reader.get("it", ASKED)
    assert ledger.asked == 2


def test_of_several_old_versions_the_last_to_start_serving_answers() -> None:
    first, second, code, world = carriers(buckets=1), carriers(buckets=2), carriers(buckets=3), Published()
    world.publish(first, rows(1.0))
    world.publish(second, rows(2.0))
    reader = world.reader(code, remembered=timedelta(0))
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 2.0}]
    retire(world, second)
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}]
    world.publish(second, rows(2.5))
    answer = reader.get("it", ASKED)
    assert answer.meta["carriers"].version == view_version(second)
    assert answer.to_pylist() == [{"carriers__delay": 2.5}], "from the table of its second life"
    retire(world, second)
    retire(world, first)
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.LOADING]


def test_the_codes_own_version_answers_if_it_serves() -> None:
    code, later, world = carriers(buckets=1), carriers(buckets=2), Published()
    world.publish(code, rows(1.0))
    world.publish(later, rows(2.0))
    assert world.reader(code).get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}], "the code was set back"


def test_a_damaged_item_of_an_old_version_is_not_taken_for_other_features() -> None:
    old, world = carriers(buckets=1), Published()
    world.publish(old, [*rows(1.0), {**rows(2.0)[0], "carrier": "AA"}])
    broken = Row(event_at=0, sequence=0, partition="2024-03-01", values=b"\x01broken")
    key = encoded_key(["AA"], [pa.string()])
    world.store.write(f"carriers.{view_version(old)}", [Put(key, 1, pack_item(Item(0, BatchSection(1, 0, broken))))])
    answer = world.reader(carriers(buckets=2)).get("it", [*ASKED, {"carrier": "AA"}])
    assert answer.status["carriers__delay"] == [S.PRESENT, S.ERROR]
    assert answer.meta["carriers"].version == view_version(old)


def test_a_version_with_other_features_does_not_answer() -> None:
    fitting, other = carriers(buckets=1), carriers({"delay": pa.float64(), "fleet": pa.int64()})
    code, world = carriers(buckets=3), Published()
    world.publish(other, rows(1.0, fleet=3))
    answer = world.reader(code).get("it", ASKED)
    assert answer.status == {"carriers__delay": [S.LOADING]}
    assert "fits the code" in answer.failures["carriers"]

    world.publish(fitting, rows(2.0))
    retire(world, other)
    world.push(other)
    reader = world.reader(code)
    answer = reader.get("it", ASKED)
    assert (answer.to_pylist(), answer.meta["carriers"].version) == ([{"carriers__delay": 2.0}], view_version(fitting))
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 2.0}]


def test_a_version_that_was_retired_since_is_noticed_at_once() -> None:
    old, new, world = carriers(buckets=1), carriers(buckets=2), Published()
    world.publish(old, rows(1.0))
    reader = world.reader(new)
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.PRESENT]
    world.publish(new, rows(2.0))
    retire(world, old)
    world.store.drop(f"carriers.{view_version(old)}")
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 2.0}]


def test_a_table_that_is_gone_is_not_an_empty_one() -> None:
    view, world = carriers(), Published()
    world.publish(view, rows(1.0))
    table = f"carriers.{view_version(view)}"
    reader = world.reader(view)
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.PRESENT]
    world.store.drop(table)
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.ERROR]
    world.store.prepare(table)
    answer = reader.get("it", ASKED)
    assert answer.status["carriers__delay"] == [S.LOADING], "whoever made it anew has not filled it"
    assert "no complete state" in answer.failures["carriers"]


def test_a_ledger_that_cannot_be_read() -> None:
    class Broken(MemoryLedger):
        broken = False

        def rows(
            self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
        ) -> list[LedgerRow]:
            if self.broken:
                raise OfflineError("the lake is closed on Sundays")
            return super().rows(view=view, version=version, target=target, upto=upto)

    ledger = Broken()
    view, world = carriers(), Published(ledger=ledger)
    world.publish(view, rows(1.0))
    reader = world.reader(view)
    reader.get("it", ASKED)
    ledger.broken = True
    world.later(hours=1)
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}], "what was known last"
    answer = world.reader(view).get("it", ASKED)
    assert answer.status["carriers__delay"] == [S.ERROR]
    assert "on Sundays" in answer.failures["carriers"]


def kept(lake: Lake, view: FeatureView, values: Sequence[dict[str, object]]) -> None:
    feature_table(lake, view).commit({START.date().isoformat(): partition_table(view, values)}, source_seq={})


def test_with_a_lake_other_keys_are_noticed_too(tmp_path: Path) -> None:
    lake, world = Lake(str(tmp_path)), Published()
    same, by_code, code = carriers(buckets=1), carriers(key="code"), carriers(buckets=3)
    renamed = [{"code": "UA", "event_at": at(3), "delay": 5.0}]
    kept(lake, same, rows(1.0))
    kept(lake, by_code, renamed)
    world.publish(same, rows(1.0))
    world.publish(by_code, renamed)

    answer = world.reader(code, lake=lake).get("it", ASKED)

    assert (answer.to_pylist(), answer.meta["carriers"].version) == ([{"carriers__delay": 1.0}], view_version(same))
    retire(world, same)
    assert world.reader(code, lake=lake).get("it", ASKED).status["carriers__delay"] == [S.LOADING]


def damaged(lake: Lake, view: FeatureView) -> None:
    """The table's first commit is torn."""
    log = lake.path("features", view.name, view_version(view)) / "_delta_log" / f"{0:020d}.json"
    log.write_bytes(log.read_bytes()[:40])


@pytest.mark.parametrize("how", ["damaged", "absent"])
def test_a_lake_that_cannot_say_whether_a_version_fits_is_no_fit(tmp_path: Path, how: str) -> None:
    lake, world = Lake(str(tmp_path)), Published()
    older, old, code = carriers(buckets=1), carriers(key="code", buckets=2), carriers(buckets=3)
    kept(lake, older, rows(1.0))
    world.publish(older, rows(1.0))
    world.publish(old, [{"code": "UA", "event_at": at(3), "delay": 5.0}])
    if how == "damaged":
        kept(lake, old, [{"code": "UA", "event_at": at(3), "delay": 5.0}])
        damaged(lake, old)

    answer = world.reader(code, lake=lake).get("it", ASKED)

    # Not null as if there were no row, which the other keys would make of it, nor from a version that was overtaken.
    assert answer.status == {"carriers__delay": [S.ERROR]}
    assert answer.meta["carriers"].version is None
    assert f"version {view_version(old)} serves, and whether it has the keys" in answer.failures["carriers"]
    assert ("has no table" if how == "absent" else "damaged") in answer.failures["carriers"]


def test_what_was_known_to_fit_goes_on_when_the_lake_cannot_be_read(tmp_path: Path) -> None:
    lake, world = Lake(str(tmp_path)), Published()
    old, newer, code = carriers(buckets=1), carriers(buckets=2), carriers(buckets=3)
    kept(lake, old, rows(1.0))
    world.publish(old, rows(1.0))
    reader = world.reader(code, lake=lake, remembered=timedelta(0))
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}]
    damaged(lake, old)
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}], "that it fits was seen"
    kept(lake, newer, rows(2.0))
    damaged(lake, newer)
    world.publish(newer, rows(2.0))
    assert reader.get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}], "it still serves"
    retire(world, old)
    assert reader.get("it", ASKED).status["carriers__delay"] == [S.ERROR]


def test_the_codes_own_version_needs_no_lake(tmp_path: Path) -> None:
    lake, world, code = Lake(str(tmp_path)), Published(), carriers()
    kept(lake, code, rows(1.0))
    damaged(lake, code)
    world.publish(code, rows(1.0))
    assert world.reader(code, lake=lake).get("it", ASKED).to_pylist() == [{"carriers__delay": 1.0}]
