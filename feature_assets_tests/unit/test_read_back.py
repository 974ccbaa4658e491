"""A read-back sees what is wrong or missing in the store, and takes nothing for granted."""

from random import Random

import pytest

from feature_assets.errors import StoreUnreachableError
from feature_assets.online.item import BatchSection, Item, pack_item, table_name
from feature_assets.online.store import Put
from feature_assets.testing.faulty import NO_FAULTS, FaultRates, FaultyStore
from feature_assets_tests.unit.balance import VERSION, Balance, key

TABLE = table_name("balance", VERSION)


def pushed() -> Balance:
    world = Balance()
    world.commit(d1=[(f"e{number}", number) for number in range(30)], d2=[("gone", 1)])
    world.push()
    world.commit(d2=[("e1", 100)])
    world.push()
    return world


def overwrite(world: Balance, entity: str, section: BatchSection | None) -> None:
    found = world.item(entity)
    assert found is not None
    world.store.write(TABLE, [Put(key(entity), found.seq, pack_item(Item(found.seq, section)))])


def test_what_was_pushed_is_there() -> None:
    found = pushed().read_back()
    assert (found.n, found.sampled, found.mismatches, found.missing, found.ok) == (2, 31, 0, 0, True)


def test_a_sample_is_the_same_for_a_seed() -> None:
    world = pushed()
    for number in range(30):
        overwrite(world, f"e{number}", BatchSection(2, 0, None))
    found = [world.read_back(sample=5, seed=seed) for seed in (1, 1, 2, 3)]
    assert found[0] == found[1]
    assert len({each.examples for each in found}) > 1
    assert {each.sampled for each in found} == {5}


def test_nothing_sampled_is_no_success() -> None:
    world = Balance()
    assert not world.read_back().ok
    world.commit(d1=[])
    world.push()
    found = world.read_back()
    assert (found.sampled, found.ok) == (0, False)


def test_another_row_is_a_mismatch() -> None:
    world = pushed()
    other = world.item("e2")
    assert other is not None
    overwrite(world, "e1", other.batch)
    found = world.read_back()
    assert (found.mismatches, found.missing, found.examples, found.ok) == (1, 0, (key("e1").hex(),), False)


def test_an_item_without_a_batch_section_is_a_mismatch() -> None:
    world = pushed()
    overwrite(world, "e1", None)
    assert world.read_back().mismatches == 1


def test_a_row_that_should_have_vanished_is_a_mismatch() -> None:
    world = pushed()
    other = world.item("e2")
    assert other is not None
    overwrite(world, "gone", other.batch)
    assert world.read_back().mismatches == 1


def test_an_item_that_is_not_there_is_missing() -> None:
    world = pushed()
    world.store.delete(TABLE, [key("e3"), key("gone")])
    found = world.read_back()
    # Of an entity without a row no item is missed.
    assert (found.missing, found.mismatches, found.examples) == (1, 0, (key("e3").hex(),))


def test_what_a_newer_push_has_written_is_not_judged() -> None:
    world = pushed()
    other = world.item("e2")
    assert other is not None
    assert other.batch is not None
    overwrite(world, "e1", BatchSection(3, 0, other.batch.row))
    assert world.read_back().ok


def test_reads_that_fail_are_repeated_and_then_an_error() -> None:
    world = pushed()
    inner = world.store
    world.store = FaultyStore(inner, Random(1), FaultRates(0, 0, 0, 0, 0, 0, unread=0.3))
    assert world.read_back().ok
    world.store = FaultyStore(inner, Random(1), FaultRates(0, 0, 0, 0, 0, 0, unread=1.0))
    with pytest.raises(StoreUnreachableError, match="31 of 31 items could not be read"):
        world.read_back()
    world.store = FaultyStore(inner, Random(1), NO_FAULTS)
    assert world.read_back().ok
