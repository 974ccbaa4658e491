"""A push through crashes, races and a store that fails: nothing goes back, nothing is lost, nothing waits for ever."""

from collections.abc import Generator, Sequence
from random import Random

import pytest

from feature_assets.clock import to_us
from feature_assets.errors import (
    CodecError,
    ItemTooLargeError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)
from feature_assets.offline.availability import Provenance, timeline
from feature_assets.online.memory import MemoryStore
from feature_assets.online.push import PushOptions, PushPlan, PushResult, Step, push_steps
from feature_assets.online.settle import RetryPolicy
from feature_assets.online.store import OnlineStore, Outcome, Put
from feature_assets.testing.faulty import NO_FAULTS, SOME_FAULTS, FaultRates, FaultyStore
from feature_assets_tests.unit.balance import VERSION, Balance, key, options

TABLE = f"balance.{VERSION}"
ENTITIES = [f"e{number}" for number in range(7)]


def started(
    world: Balance, plan: PushPlan | None = None, chosen: PushOptions | None = None, store: OnlineStore | None = None
) -> Generator[Step, None, PushResult]:
    return push_steps(
        plan or world.due(),
        world.view,
        table=world.table,
        ledger=world.ledger,
        store=store or world.store,
        clock=world.clock,
        options=chosen or options(batch=2, rows_at_once=1),
    )


def advance(steps: Generator[Step, None, PushResult], name: str) -> None:
    """Go on until just after a step of that name."""
    while next(steps).name != name:
        pass


def filled() -> Balance:
    """Served at commit 1; commit 2 changes some entities and takes one away."""
    world = Balance()
    world.commit(d1=[(entity, 1) for entity in ENTITIES], d2=[("e6", 5), ("e5", 5)])
    world.push()
    world.commit(d2=[("e6", 6), ("e0", 6), ("e1", 6)])
    return world


def values(world: Balance) -> list[int | None]:
    return [world.value(entity) for entity in ENTITIES]


AFTER = [6, 6, 1, 1, 1, 1, 6]


def steps_of(world: Balance) -> list[str]:
    return [step.name for step in started(world)]


NAMES = sorted(set(steps_of(filled())))


def test_the_steps_have_the_names_that_drills_know() -> None:
    bootstrap = Balance()
    bootstrap.commit(d1=[("e0", 1)])
    assert set(NAMES) | set(steps_of(bootstrap)) == {
        "push.after_plan",
        "push.after_intent",
        "push.after_read",
        "push.after_write",
        "push.after_batch",
        "push.after_watermark",
        "push.before_ack",
        "push.after_ack",
        "push.after_serving",
    }


@pytest.mark.parametrize("bootstrap", [True, False])
def test_whenever_it_is_killed_the_next_push_finishes_it(bootstrap: bool) -> None:
    def begun() -> Balance:
        if not bootstrap:
            return filled()
        world = Balance()
        world.commit(d1=[(entity, 1) for entity in ENTITIES])
        world.commit(d2=[("e6", 6), ("e0", 6), ("e1", 6)])
        return world

    whole = len(steps_of(begun()))
    for kill_after in range(whole):
        world = begun()
        steps = started(world)
        for _ in range(kill_after):
            next(steps)
        steps.close()
        plan = world.plan()
        if plan is not None:
            world.push(plan)
        assert values(world) == AFTER, kill_after
        assert world.plan() is None
        mark = world.watermark()
        assert mark is not None
        assert mark.n == 2
        assert world.state().have == 2


def test_a_killed_push_leaves_the_start_of_its_interval() -> None:
    world = filled()
    advance(started(world), "push.after_write")
    begun = to_us(world.clock.at)
    world.clock.at = world.clock.at.replace(hour=5)
    world.push()
    line = timeline(
        world.ledger_rows(), world.table.partition_versions(), buckets=world.view.buckets, delay=world.view.delay
    )
    newest = int(line.versions.commit_seq.argmax())
    assert set(line.sent_at[newest].tolist()) == {begun}
    assert set(line.available_at[newest].tolist()) == {to_us(world.clock.at)}
    assert set(line.provenance[newest].tolist()) == {Provenance.RECOVERED}


@pytest.mark.parametrize("step", ["push.after_plan", "push.after_intent", "push.after_read", "push.before_ack"])
def test_a_sleeper_puts_nothing_back(step: str) -> None:
    world = filled()
    sleeper = started(world)
    advance(sleeper, step)
    world.commit(d2=[("e2", 7)])
    world.push()
    later = values(world)
    assert later == [1, 1, 7, 1, 1, 1, 1]
    assert [next_step.name for next_step in sleeper][-1:] in (["push.after_ack"], [])
    assert values(world) == later
    mark = world.watermark()
    assert mark is not None
    assert mark.n == 3


def test_a_sleeping_loader_does_not_overwrite_what_serves() -> None:
    world = Balance()
    world.commit(d1=[(entity, 1) for entity in ENTITIES])
    sleeper = started(world)
    advance(sleeper, "push.after_intent")
    world.push()
    world.commit(d2=[(entity, 2) for entity in ENTITIES])
    world.push()
    for _ in sleeper:
        pass
    assert values(world) == [2] * 7
    # The loader says that the version serves, as it does by then; since when it does is what was said first.
    first, second = world.ledger_rows("serving")
    assert first.commit_seq == second.commit_seq == 1


def test_two_pushes_of_the_same_state_agree() -> None:
    world = filled()
    one, other = started(world), started(world)
    turns = [one, other]
    rng = Random(3)
    while turns:
        chosen = rng.choice(turns)
        try:
            next(chosen)
        except StopIteration:
            turns.remove(chosen)
    assert values(world) == AFTER


def all_of(**rates: float) -> FaultRates:
    return FaultRates(**{name: rates.get(name, 0.0) for name in FaultRates.__dataclass_fields__})


@pytest.mark.parametrize(
    "rates",
    [
        all_of(unanswered=1.0),
        all_of(raced=0.4),
        all_of(throttled=0.4),
        all_of(lost=0.4),
        all_of(unreachable=0.4),
        all_of(unread=0.4),
        SOME_FAULTS,
    ],
    ids=lambda rates: ", ".join(f"{name} {getattr(rates, name)}" for name in rates.__slots__ if getattr(rates, name)),
)
def test_faults_of_single_items_are_worked_off(rates: FaultRates) -> None:
    world = filled()
    faulty = FaultyStore(world.store, Random(5), rates)
    policy = RetryPolicy(jitter=lambda: 0.5, rounds=50)
    for _ in started(world, chosen=options(batch=3, retries=policy), store=faulty):
        pass
    assert values(world) == AFTER
    assert world.state().have == 2


def test_a_write_that_was_applied_without_an_answer_is_not_written_twice() -> None:
    world = filled()
    before = {entity: item.seq for entity in ENTITIES if (item := world.item(entity)) is not None}
    for _ in started(world, store=FaultyStore(world.store, Random(0), all_of(unanswered=1.0))):
        pass
    touched = {"e0", "e1", "e5", "e6"}
    for entity in ENTITIES:
        item = world.item(entity)
        assert item is not None
        assert item.seq == before[entity] + (entity in touched)


@pytest.mark.parametrize(
    ("rates", "error"),
    [
        (all_of(throttled=1.0), StoreThrottledError),
        (all_of(lost=1.0), StoreUnreachableError),
        (all_of(unreachable=1.0), StoreUnreachableError),
        (all_of(unread=1.0), StoreUnreachableError),
    ],
)
def test_a_store_that_stays_away_ends_the_push_without_an_acknowledgement(
    rates: FaultRates, error: type[Exception]
) -> None:
    world = filled()
    acks = len(world.ledger_rows("ack"))
    steps = started(world, store=FaultyStore(world.store, Random(1), rates))
    pauses = []
    with pytest.raises(error, match="are not written after 3 rounds"):
        pauses += [step.pause for step in steps if step.name == "push.backoff"]
    assert len(world.ledger_rows("ack")) == acks
    assert world.state().have == 1
    world.push()
    assert values(world) == AFTER


def test_retries_wait_longer_each_time_and_by_chance() -> None:
    world = filled()
    waits: list[float] = []
    draws = iter([1.0, 0.5, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    policy = RetryPolicy(jitter=lambda: next(draws), rounds=9, first=1.0, longest=20.0)
    faulty = FaultyStore(world.store, Random(1), all_of(throttled=1.0))
    world.store = faulty
    with pytest.raises(StoreThrottledError):
        world.push(chosen=options(retries=policy, sleep=waits.append))
    # A pause of nothing is not slept.
    assert waits == [1.0, 1.0, 4.0, 16.0, 20.0, 20.0, 20.0]


def test_throttling_costs_few_calls_more() -> None:
    calls = []
    for rates in (NO_FAULTS, all_of(throttled=0.3)):
        world = Balance()
        world.commit(d1=[(f"e{number}", number) for number in range(2000)])
        faulty = FaultyStore(world.store, Random(2), rates)
        for _ in started(world, chosen=options(batch=100), store=faulty):
            pass
        calls.append(faulty.calls)
    # What was refused goes along with what comes next: reads for the refused, 3 in 10 more writes, and the last few.
    assert calls[1] <= calls[0] * 3


class Refusing(MemoryStore):
    """It takes nothing."""

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        del table
        return [Outcome.REFUSED] * len(puts)


def test_a_refusal_is_not_retried() -> None:
    world = Balance(store=Refusing())
    world.commit(d1=[("e0", 1)])
    with pytest.raises(StoreRefusedError, match="refused the item"):
        world.push()
    assert world.ledger_rows("ack") == []


def test_an_item_that_is_too_large_is_named_and_not_sent() -> None:
    world = Balance(store=MemoryStore(max_item_bytes=10))
    world.commit(d1=[("e0", 1)])
    with pytest.raises(ItemTooLargeError, match=key("e0").hex()):
        world.push()
    assert world.ledger_rows("ack") == []


def test_an_item_of_a_newer_release_stops_the_push() -> None:
    world = filled()
    found = world.item("e0")
    assert found is not None
    assert world.store.write(TABLE, [Put(key("e0"), found.seq, b"\x02whatever")]) == [Outcome.APPLIED]
    with pytest.raises(CodecError, match="format 2, and this release reads up to format 1"):
        world.push()
    assert world.state().have == 1
