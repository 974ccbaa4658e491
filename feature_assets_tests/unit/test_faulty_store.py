"""The faulty store fails as told, and never lies about what it did."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.errors import StoreUnreachableError
from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import Outcome, Put, ReadFailure, ReadResult, Stored
from feature_assets.testing.clock import SimulatedClock
from feature_assets.testing.faulty import NO_FAULTS, FaultRates, FaultyStore


def store(rates: FaultRates, seed: int = 0, **more: object) -> FaultyStore:
    inner = MemoryStore()
    inner.prepare("t")
    return FaultyStore(inner, Random(seed), rates, **more)  # type: ignore[arg-type] # by name, as the test gives them


def only(name: str) -> FaultRates:
    return FaultRates(**{each: float(each == name) for each in FaultRates.__dataclass_fields__})


def stored(faulty: FaultyStore, key: bytes) -> Stored | None:
    found = faulty.inner.read("t", [key], consistent=True)[0]
    assert not isinstance(found, ReadFailure)
    return found


@pytest.mark.parametrize(
    ("fault", "outcome", "applied"),
    [
        ("throttled", Outcome.THROTTLED, False),
        ("lost", Outcome.UNKNOWN, False),
        ("unanswered", Outcome.UNKNOWN, True),
        ("late", Outcome.UNKNOWN, False),
    ],
)
def test_each_fault_does_what_it_says(fault: str, outcome: Outcome, applied: bool) -> None:
    faulty = store(only(fault))
    assert faulty.write("t", [Put(b"k", 0, b"v")]) == [outcome]
    assert (stored(faulty, b"k") is not None) == applied


def test_without_faults_it_is_the_store_within() -> None:
    faulty = store(NO_FAULTS)
    assert faulty.write("t", [Put(b"k", 0, b"v"), Put(b"l", 3, b"w")]) == [Outcome.APPLIED, Outcome.CONFLICT]
    assert faulty.read("t", [b"k", b"l"]) == [Stored(1, b"v"), None]
    assert (faulty.target, faulty.tables(), faulty.calls) == (faulty.inner.target, ["t"], 2)
    faulty.delete("t", [b"k"])
    faulty.drop("t")
    faulty.prepare("u")
    assert faulty.tables() == ["u"]
    faulty.close()


def test_unreachable_means_that_nothing_was_sent() -> None:
    faulty = store(only("unreachable"))
    with pytest.raises(StoreUnreachableError):
        faulty.write("t", [Put(b"k", 0, b"v")])
    assert stored(faulty, b"k") is None


def test_a_key_that_is_left_out_is_no_absent_key() -> None:
    faulty = store(only("unread"))
    assert all(isinstance(found, ReadFailure) for found in faulty.read("t", [b"k"] * 5))


def test_a_late_write_arrives_unless_it_is_outdated() -> None:
    clock = SimulatedClock(1000)
    faulty = store(only("late"), clock=clock, late_by=10)
    faulty.write("t", [Put(b"k", 0, b"v"), Put(b"l", 0, b"v")])
    faulty.inner.write("t", [Put(b"l", 0, b"w")])
    clock.tick(10)
    faulty.deliver()
    assert (stored(faulty, b"k"), stored(faulty, b"l")) == (Stored(1, b"v"), Stored(1, b"w"))


def test_a_raced_write_meets_an_item_that_has_moved_on() -> None:
    faulty = store(only("raced"))
    assert faulty.write("t", [Put(b"k", 0, b"v")]) == [Outcome.APPLIED]
    assert faulty.write("t", [Put(b"k", 1, b"w")]) == [Outcome.CONFLICT]
    assert stored(faulty, b"k") == Stored(2, b"v")


def test_others_act_between_the_items_of_a_batch() -> None:
    seen: list[ReadResult] = []
    inner = MemoryStore()
    inner.prepare("t")
    faulty = FaultyStore(inner, Random(0), NO_FAULTS, between=lambda: seen.extend(inner.read("t", [b"k"])))
    faulty.write("t", [Put(b"k", 0, b"v"), Put(b"l", 0, b"v")])
    assert seen == [None, Stored(1, b"v")]


def test_items_take_simulated_time() -> None:
    clock = SimulatedClock(0)
    faulty = store(NO_FAULTS, clock=clock, latency=50)
    faulty.write("t", [Put(bytes([number]), 0, b"v") for number in range(100)])
    assert 0 < clock.us < 5000


def test_the_same_seed_fails_the_same_way() -> None:
    puts = [Put(bytes([number]), 0, b"v") for number in range(100)]
    rates = FaultRates(unreachable=0.0)
    assert store(rates, 7).write("t", puts) == store(rates, 7).write("t", puts)
    assert store(rates, 7).write("t", puts) != store(rates, 8).write("t", puts)


@given(seed=st.integers(0, 2**32), puts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_an_answer_is_never_a_lie(seed: int, puts: list[tuple[int, int]]) -> None:
    faulty = store(FaultRates(0.0, 0.2, 0.2, 0.2, 0.1, 0.0, 0.0), seed)
    for number, (entity, expected) in enumerate(puts):
        key, value = bytes([entity]), bytes([number])
        before = stored(faulty, key)
        (outcome,) = faulty.write("t", [Put(key, expected, value)])
        after = stored(faulty, key)
        seq = 0 if before is None else before.seq
        if outcome is Outcome.APPLIED:
            assert (seq, after) == (expected, Stored(expected + 1, value))
        elif outcome is Outcome.CONFLICT:
            assert seq != expected
            assert after == before
        elif outcome is Outcome.THROTTLED:
            assert after == before
        else:
            assert after in (before, Stored(expected + 1, value))


def test_a_simulated_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        SimulatedClock(5).tick(-1)
