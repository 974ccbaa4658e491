"""Reads that overtake one another, and a push between them: each story once, as it goes wrong without its rule.

The state machine in `property/test_item_cache.py` finds these and others by itself, in time.
"""

import pytest

from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.item_cache import CachedReads, CacheOptions
from feature_assets.serving.reads import ReadOptions
from feature_assets_tests.stepped import Asked, Call, Stepped

T = "view.0"


class World:
    """One table with the key `a` and its watermark, both in version 1, and a cache over it that remembers for 10 s."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.version = {b"a": 1, WATERMARK_KEY: 1}
        self.now = 100.0
        self.store = Stepped(self.held)
        self.store.flights(patch)
        options = CacheOptions(max_age=10.0, jitter=0.0)
        self.reads = CachedReads(self.store, options, monotonic=lambda: self.now)

    def held(self, table: str, key: bytes, consistent: bool) -> ReadResult:
        del table, consistent
        return Stored(self.version[key], b"")

    def push(self) -> None:
        for key in self.version:
            self.version[key] += 1

    def ask(self, *keys: bytes, consistent: bool = False) -> Asked:
        return self.store.ask(self.reads, [(T, keys or (b"a",))], ReadOptions(consistent=consistent))

    def call(self) -> Call:
        """The read that began last."""
        return self.store.calls[-1]

    def told(self, *keys: bytes) -> list[int]:
        """Ask, and have the store answer at once."""
        asked = self.ask(*keys)
        while not asked.done:
            self.store.deliver(self.call())
        return versions(asked)


def versions(asked: Asked) -> list[int]:
    assert asked.answer is not None
    results = asked.answer[0].results
    assert not any(result is None or isinstance(result, ReadFailure) for result in results)
    return [result.seq for result in results if isinstance(result, Stored)]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_an_item_is_as_old_as_the_start_of_its_read(world: World) -> None:
    world.ask()
    world.store.look(world.call())
    world.now += 9.0
    world.store.finish()
    world.push()
    world.now += 2.0
    assert world.told() == [2]


def test_a_new_watermark_ends_what_was_read_before_it(world: World) -> None:
    assert world.told(b"a", WATERMARK_KEY) == [1, 1]
    world.push()
    assert world.told(b"a") == [1]
    assert world.told(WATERMARK_KEY) == [2]
    assert world.told(b"a") == [2]
    # One that is not new ends nothing.
    before = world.store.reads_of[b"a"]
    assert world.told(b"a", WATERMARK_KEY) == [2, 2]
    assert world.store.reads_of[b"a"] == before


def test_a_read_from_before_a_watermark_is_not_waited_for_after_it(world: World) -> None:
    assert world.told(WATERMARK_KEY) == [1]
    before = world.ask()
    early = world.call()
    world.store.look(early)
    world.push()
    assert world.told(WATERMARK_KEY) == [2]
    assert world.told() == [2]
    world.store.deliver(early)
    assert versions(before) == [1]
    assert world.told() == [2]


@pytest.mark.parametrize("told_by_another", [False, True])
def test_what_was_taken_from_memory_before_the_own_watermark_is_read_again(world: World, told_by_another: bool) -> None:
    assert world.told(b"a", WATERMARK_KEY) == [1, 1]
    world.push()
    asked = world.ask(b"a", WATERMARK_KEY)
    own = world.call()
    if told_by_another:
        # Then it is no news to this request, and what it took is as old.
        assert world.told(WATERMARK_KEY) == [2]
    world.store.deliver(own)
    assert not asked.done
    world.store.finish()
    assert versions(asked) == [2, 2]


def test_what_waits_for_a_read_from_before_the_own_watermark_reads_again(world: World) -> None:
    assert world.told(WATERMARK_KEY) == [1]
    first = world.ask()
    early = world.call()
    world.store.look(early)
    world.push()
    asked = world.ask(b"a", WATERMARK_KEY)
    world.store.deliver(world.call())
    world.store.deliver(world.call())
    assert versions(asked) == [2, 2]
    world.store.deliver(early)
    assert versions(first) == [1]


def test_a_read_that_was_overtaken_by_a_consistent_one_is_not_remembered(world: World) -> None:
    slow = world.ask()
    early = world.call()
    world.store.look(early)
    world.push()
    fast = world.ask(consistent=True)
    world.store.deliver(world.call())
    assert versions(fast) == [2]
    world.store.deliver(early)
    assert versions(slow) == [1]
    assert world.told() == [2]


def test_what_is_remembered_goes_when_an_older_read_ends_after_it(world: World) -> None:
    hanging = world.ask()
    early = world.call()
    world.now += 11.0
    # Too long ago to wait for it.
    fast = world.ask()
    late = world.call()
    world.store.look(late)
    world.push()
    world.store.deliver(late)
    assert versions(fast) == [1]
    world.store.deliver(early)
    assert versions(hanging) == [2]
    assert world.told() == [2]
