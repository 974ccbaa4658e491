"""The cache of items: what the state machine over it does not see: counts, room, jitter, memory, waiting."""

from collections.abc import Sequence

import numpy as np
import pytest

from feature_assets.errors import StoreRefusedError, StoreThrottledError, StoreUnreachableError
from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.cached_items import ENTRY_BYTES, CachedItems, Reading
from feature_assets.serving.frequencies import Frequencies
from feature_assets.serving.item_cache import CachedReads, CacheOptions
from feature_assets.serving.reads import ReadOptions, TableKeys, TableRead
from feature_assets_tests.stepped import LONG, Stepped

T = "view.0"
NOW = ReadOptions()


class Scripted:
    """Answers every key with the same item, or as it is told; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[bytes]] = []
        self.error: StoreRefusedError | StoreUnreachableError | StoreThrottledError | None = None
        self.value = b"1"

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        del options
        self.asked += [list(keys) for _, keys in requests]
        if self.error is not None:
            return [TableRead([], error=self.error) for _ in requests]
        return [TableRead([Stored(1, self.value)] * len(keys)) for _, keys in requests]


def itself(table: str, key: bytes, consistent: bool) -> ReadResult:
    return Stored(1, key)


def nothing(table: str, key: bytes, consistent: bool) -> ReadResult:
    return None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cached(options: CacheOptions | None = None, chance: float = 0.0) -> tuple[CachedReads, Scripted, Clock]:
    store, clock = Scripted(), Clock()
    return CachedReads(store, options, monotonic=clock, chance=lambda: chance), store, clock


def keys(count: int, start: int = 0) -> list[bytes]:
    return [b"%05d" % n for n in range(start, start + count)]


def test_a_remembered_item_is_not_read_again_and_says_its_age() -> None:
    reads, store, clock = cached()
    assert reads.read_all([(T, [b"a"])], NOW)[0].ages is None
    clock.now += 0.5
    again = reads.read_all([(T, [b"a", b"b"])], NOW)[0]
    assert store.asked == [[b"a"], [b"b"]]
    assert again.ages is not None
    assert again.ages.tolist() == [500_000, 0]
    assert again.ages.dtype == np.int64
    stats = reads.stats()
    assert (stats.hits, stats.misses, stats.entries, stats.tables) == (1, 2, 2, 1)


@pytest.mark.parametrize("options", [ReadOptions(consistent=True), ReadOptions(max_age=0.0)])
def test_who_wants_nothing_remembered_reads_anew_and_others_have_it_too(options: ReadOptions) -> None:
    reads, store, _ = cached()
    for value in (b"1", b"2"):
        store.value = value
        assert list(reads.read_all([(T, [b"a"])], options)[0].results) == [Stored(1, value)]
        assert list(reads.read_all([(T, [b"a"])], NOW)[0].results) == [Stored(1, value)]
    assert len(store.asked) == 2


def test_what_another_request_had_begun_to_read_has_the_age_of_that() -> None:
    store, clock = Stepped(itself), Clock()
    with pytest.MonkeyPatch.context() as patch:
        store.flights(patch)
        reads = CachedReads(store, monotonic=clock)
        store.ask(reads, [(T, [b"a"])], NOW)
        clock.now += 0.5
        second = store.ask(reads, [(T, [b"a", b"b"])], NOW)
        clock.now += 0.5
        store.finish()
    assert second.answer is not None
    assert second.answer[0].ages is not None
    assert second.answer[0].ages.tolist() == [500_000, 0]


def test_the_age_of_a_view_bounds_its_items_only() -> None:
    reads, store, clock = cached(CacheOptions(max_age=10.0, max_ages={"view": 2.0, "lax": 60.0}))
    assert [reads.read_all([(table, [b"a"])], NOW)[0].error for table in (T, "lax.1r2")] == [None, None]
    clock.now += 3
    reads.read_all([(T, [b"a"]), ("lax.1r2", [b"a"])], NOW)
    clock.now += 8
    reads.read_all([("lax.1r2", [b"a"])], NOW)
    assert len(store.asked) == 2 + 1 + 1


def test_what_is_read_together_expires_at_different_times() -> None:
    store, clock = Scripted(), Clock()
    reads = CachedReads(store, CacheOptions(max_age=10.0, jitter=0.5), monotonic=clock)
    reads.read_all([(T, keys(200))], NOW)
    read_again = []
    for _ in range(10):
        clock.now += 1.0
        before = len(store.asked)
        reads.read_all([(T, keys(200))], NOW)
        read_again.append(sum(map(len, store.asked[before:])))
    # Never before half of the age has passed, and then a few at a time.
    assert read_again[:4] == [0] * 4
    assert sum(read_again[:10]) >= 200
    assert max(read_again) < 120


def test_absence_is_remembered_and_failures_are_not() -> None:
    store = Stepped(nothing)
    reads = CachedReads(store)
    for _ in range(2):
        asked = store.ask(reads, [(T, [b"a"])], NOW)
        store.finish()
        assert asked.answer is not None
        assert list(asked.answer[0].results) == [None]
    assert store.reads_of == {b"a": 1}
    for failure in (*ReadFailure, None):
        asked = store.ask(reads, [(T, [b"b"])], NOW)
        store.fail(store.calls[0], failure)
        store.finish()
        assert asked.answer is not None
        assert asked.answer[0].error is not None or list(asked.answer[0].results) == [failure]
    assert store.reads_of[b"b"] == 4


def test_many_who_ask_at_once_are_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Stepped(itself)
    store.flights(monkeypatch)
    reads = CachedReads(store)
    asked = [store.ask(reads, [(T, [b"a", b"%d" % n])], NOW) for n in range(8)]
    store.finish()
    assert all(one.answer is not None and one.answer[0].results[0] == Stored(1, b"a") for one in asked)
    assert store.reads_of[b"a"] == 1
    assert reads.stats().coalesced == 7


@pytest.mark.parametrize(("failure", "reads_made"), [("error", 2), ("timeout", 2), ("throttled", 1)])
def test_a_flight_that_fails_fails_itself(failure: str, reads_made: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Stepped(itself)
    store.flights(monkeypatch)
    reads = CachedReads(store)
    asked = [store.ask(reads, [(T, [b"a"])], NOW) for _ in range(5)]
    store.fail(store.calls[0], ReadFailure(failure))
    store.finish()
    found = [list(one.answer[0].results) for one in asked if one.answer is not None]
    # Those who waited ask again once, together; of a store that refuses for load they do not.
    others = [Stored(1, b"a")] if reads_made == 2 else [ReadFailure(failure)]
    assert found == [[ReadFailure(failure)], *[others] * 4]
    assert store.reads_of[b"a"] == reads_made


def test_who_waits_for_another_read_waits_no_longer_than_he_may() -> None:
    store = Stepped(itself)
    reads = CachedReads(store)
    slow = store.ask(reads, [(T, [b"a"])], NOW)
    impatient = reads.read_all([(T, [b"a"])], ReadOptions.within(0.01))
    assert list(impatient[0].results) == [ReadFailure.TIMEOUT]
    store.finish()
    assert slow.answer is not None
    assert list(slow.answer[0].results) == [Stored(1, b"a")]


def test_a_read_that_raises_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Stepped(itself)
    store.flights(monkeypatch)
    reads = CachedReads(store)
    raising, waiting = (store.ask(reads, [(T, [b"a"])], ReadOptions.within(LONG)) for _ in range(2))
    store.calls[0].raises = RuntimeError("a bug")
    store.finish()
    assert isinstance(raising.error, RuntimeError)
    assert waiting.answer is not None
    assert list(waiting.answer[0].results) == [Stored(1, b"a")]


def test_the_same_table_twice_in_one_request_waits_for_nobody() -> None:
    reads, store, _ = cached()
    answers = reads.read_all([(T, [b"a"]), (T, [b"a", b"b"])], ReadOptions.within(LONG))
    assert [list(one.results) for one in answers] == [[Stored(1, b"1")], [Stored(1, b"1")] * 2]
    assert store.asked == [[b"a"], [b"b"]]


def test_what_is_remembered_answers_while_the_store_fails() -> None:
    reads, store, _ = cached()
    reads.read_all([(T, [b"a"])], NOW)
    store.error = StoreUnreachableError("down")
    partly = reads.read_all([(T, [b"a", b"b"])], NOW)[0]
    assert (partly.error, list(partly.results)) == (None, [Stored(1, b"1"), ReadFailure.ERROR])
    store.error = StoreThrottledError("slower")
    assert list(reads.read_all([(T, [b"a", b"b"])], NOW)[0].results)[1] is ReadFailure.THROTTLED
    assert reads.read_all([(T, [b"c"])], NOW)[0].error is store.error
    # A table that is gone is gone with what is remembered of it.
    store.error = StoreRefusedError("no such table")
    assert reads.read_all([(T, [b"a", b"b"])], NOW)[0].error is store.error
    assert reads.stats().entries == reads.stats().bytes == 0
    assert reads.read_all([(T, [b"a"])], NOW)[0].error is store.error


def test_a_watermark_is_never_remembered() -> None:
    reads, store, _ = cached()
    for _ in range(3):
        reads.read_all([(T, [b"a", WATERMARK_KEY])], NOW)
    assert store.asked == [[b"a", WATERMARK_KEY], [WATERMARK_KEY], [WATERMARK_KEY]]
    store.value = b"2"
    answer = reads.read_all([(T, [b"a", WATERMARK_KEY])], NOW)[0]
    assert list(answer.results) == [Stored(1, b"2")] * 2
    assert store.asked[3:] == [[WATERMARK_KEY], [b"a"]]


def test_a_table_that_nobody_asks_for_frees_its_memory() -> None:
    reads, _, clock = cached(CacheOptions(idle=60.0))
    reads.read_all([("old.1", keys(500))], NOW)
    clock.now += 61
    reads.read_all([(T, [b"a"])], NOW)
    stats = reads.stats()
    assert (stats.tables, stats.entries) == (1, 1)
    assert stats.bytes < 2 * ENTRY_BYTES


def test_a_key_asked_for_once_does_not_push_out_a_hot_one() -> None:
    reads, store, clock = cached(CacheOptions(max_entries=100, max_age=1e6))
    read_again = 0
    for start in range(1000, 6000, 100):
        before = len(store.asked)
        for _ in range(3):
            reads.read_all([(T, keys(90))], NOW)
        read_again += sum(map(len, store.asked[before:]))
        reads.read_all([(T, keys(100, start))], NOW)
        clock.now += 0.1
    # Once each; and a sketch counts some too high, so that a few may have to come back.
    assert 90 <= read_again < 110
    stats = reads.stats()
    assert stats.entries == 100
    assert stats.rejected + stats.evicted > 4900


def test_what_becomes_hot_gets_its_place() -> None:
    reads, store, _ = cached(CacheOptions(max_entries=100, max_age=1e6))
    for _ in range(3):
        reads.read_all([(T, keys(100))], NOW)
    for _ in range(12):
        reads.read_all([(T, keys(50, 1000))], NOW)
    before = len(store.asked)
    reads.read_all([(T, keys(50, 1000))], NOW)
    assert store.asked[before:] == []
    assert reads.stats().evicted >= 50


@pytest.mark.parametrize("bound", [CacheOptions(max_entries=7), CacheOptions(max_bytes=7 * (ENTRY_BYTES + 6))])
def test_there_is_never_more_than_the_bounds(bound: CacheOptions) -> None:
    reads, store, clock = cached(bound)
    for start in range(0, 300, 3):
        store.value = b"x" * (start % 5)
        reads.read_all([(T, keys(5, start)), ("other.1", keys(5, start))], NOW)
        clock.now += 0.3
        stats = reads.stats()
        assert stats.entries <= bound.max_entries
        assert stats.bytes <= bound.max_bytes
    assert reads.stats().evicted > 0


def test_an_item_that_grows_past_all_room_is_forgotten() -> None:
    items = CachedItems(10, 3 * ENTRY_BYTES)
    read = Reading(0.0, 1, lambda: 10.0)
    items.keep(T, [b"a", b"b"], [Stored(1, b""), Stored(1, b"")], read)
    items.keep(T, [b"a"], [Stored(2, b"x" * 4 * ENTRY_BYTES)], read)
    assert items.of(T).get(b"a") is None
    assert items.bytes <= 3 * ENTRY_BYTES
    items.keep(T, [b"c"], [Stored(2, b"x" * 4 * ENTRY_BYTES)], read)
    assert items.of(T).get(b"c") is None


def test_frequencies_never_say_less_and_age() -> None:
    counts = Frequencies(1000)
    for n in range(200):
        counts.add(n, n % 7)
    assert all(counts.of(n) >= n % 7 for n in range(200))
    assert sum(counts.of(n) for n in range(1000, 2000)) < 1000
    counts.add("hot", 100)
    before = counts.halved
    for n in range(11_000):
        counts.add(("once", n))
    assert counts.halved > before
    assert 25 <= counts.of("hot") <= 80
