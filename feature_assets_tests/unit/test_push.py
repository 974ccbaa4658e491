"""What a push writes, where it writes it, and that doing it again changes nothing."""

from dataclasses import replace
from datetime import timedelta

import pytest

from feature_assets.clock import to_us
from feature_assets.offline.ledger import LedgerRow, retired
from feature_assets.online.push import push_steps
from feature_assets.testing.subject import SimulatedView
from feature_assets_tests.unit.balance import CONTENTS, START, VERSION, Balance, at, day, options


def test_nothing_is_due_before_something_has_passed() -> None:
    world = Balance()
    assert world.plan() is None
    first = world.commit(d1=[("e0", 1)], passed=None)
    assert world.plan() is None
    world.verdicts.record((day(1), first), passed=False)
    assert world.plan() is None
    assert world.state().wanted == 0


def test_a_view_that_is_not_online_is_not_pushed() -> None:
    world = Balance(view=SimulatedView(online=False))
    world.commit(d1=[("e0", 1)])
    assert world.plan() is None
    assert world.state().wanted == 0


def test_the_first_push_is_a_bootstrap_and_ends_with_serving() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1), ("e1", 2)], d2=[("e0", 3)])
    plan = world.due()
    assert plan.bootstrap
    assert "bootstrap" in plan.reason
    assert [bucket.since for bucket in plan.buckets] == [0, 0]
    assert plan.complete_through == to_us(at(3))
    assert world.state() == replace(world.state(), wanted=1, have=0)
    result = world.push(plan)
    assert (result.entities, result.written, result.n, result.bootstrap) == (2, 2, 1, True)
    assert (world.value("e0"), world.value("e1")) == (3, 2)
    assert [row.kind for row in world.ledger_rows()] == ["intent", "intent", "ack", "ack", "serving"]
    assert world.state() == replace(world.state(), wanted=1, have=1)


def test_an_item_says_what_it_was_made_of() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.push()
    item = world.item("e0")
    assert item is not None
    assert item.batch is not None
    assert item.batch.row is not None
    assert (item.seq, item.cut.n, item.batch.sent_at) == (1, 1, to_us(START))
    assert (item.batch.row.event_at, item.batch.row.partition) == (to_us(at(1, 12)), day(1))


def test_carrying_out_a_plan_again_writes_nothing() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1), ("e1", 2)])
    plan = world.due()
    world.push(plan)
    ledger, item = world.ledger.head(), world.item("e0")
    again = world.push(plan)
    assert (again.written, again.entities) == (0, 0)
    assert world.ledger.head() == ledger
    assert world.item("e0") == item
    assert world.plan() is None


def test_only_what_changed_is_touched() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1), ("e1", 2)], d2=[("e2", 3)])
    world.push()
    world.commit(d3=[("e0", 4)])
    plan = world.due()
    assert not plan.bootstrap
    assert {bucket.since for bucket in plan.buckets} == {1}
    assert {bucket.touched for bucket in plan.buckets} == {(day(3),)}
    assert plan.reason == "commits 1 to 2 changed 1 partitions in 2 buckets"
    result = world.push(plan)
    assert (result.entities, result.written) == (1, 1)
    assert [world.value(entity) for entity in ("e0", "e1", "e2")] == [4, 2, 3]


def test_a_correction_takes_back_what_only_the_old_version_had() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)], d2=[("e0", 2), ("e1", 5)])
    world.push()
    world.commit(d2=[("e2", 7)])
    assert world.push().entities == 3
    assert [world.value(entity) for entity in ("e0", "e1", "e2")] == [1, None, 7]
    vanished = world.item("e1")
    assert vanished is not None
    assert vanished.cut.n == 2


def test_an_emptied_partition_leaves_the_one_before() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)], d2=[("e0", 2)])
    world.push()
    world.commit(d2=[])
    world.push()
    assert world.value("e0") == 1


def test_a_failed_version_is_never_served_and_the_last_good_one_stays() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.push()
    world.commit(d1=[("e0", 666)], passed=False)
    world.commit(d2=[("e1", 2)])
    world.push()
    assert (world.value("e0"), world.value("e1")) == (1, 2)


def test_a_state_is_not_pushed_before_all_its_verdicts_are_known() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    pending = world.commit(d2=[("e0", 2)], passed=None)
    world.commit(d3=[("e0", 3)])
    assert world.push().n == 1
    assert world.plan() is None
    assert world.value("e0") == 1
    world.verdicts.record((day(2), pending), passed=False)
    assert world.push().n == 3
    assert world.value("e0") == 3


def test_the_watermark_says_how_far_the_table_is() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.push()
    world.commit(d5=[])
    world.push()
    mark = world.watermark()
    assert mark is not None
    assert (mark.n, mark.complete_through) == (2, to_us(at(6)))


def test_the_watermark_does_not_reach_into_what_is_not_judged_yet() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.commit(d5=[("e0", 2)], passed=None)
    plan = world.due()
    assert (plan.commit_seq, plan.complete_through, plan.rows) == (1, to_us(at(2)), 1)


def test_a_plan_is_carried_out_as_of_its_own_state() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    plan = world.due()
    world.commit(d1=[("e0", 2)], d2=[("e0", 3)])
    world.push(plan)
    assert world.value("e0") == 1
    world.push()
    assert world.value("e0") == 3


@pytest.mark.parametrize("partitions_at_once", [1, 8])
def test_the_end_of_a_day_is_the_start_of_the_next_and_the_sequence_decides(partitions_at_once: int) -> None:
    world = Balance()
    world.commit_rows({day(1): [("e0", at(2), 1), ("e1", at(2), 1)]}, sequence=5)
    world.commit_rows({day(2): [("e0", at(2), 2)]}, sequence=4)
    world.commit_rows({day(3): [("e1", at(3), 3)]}, sequence=4)
    world.push(chosen=options(contents=replace(CONTENTS, partitions_at_once=partitions_at_once)))
    assert (world.value("e0"), world.value("e1")) == (1, 3)


def test_a_version_takes_over_only_when_it_covers_what_is_served() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    needed = frozenset({day(1), day(2)})
    assert world.plan(needed) is None
    assert world.state(needed).wanted == 0
    world.commit(d2=[("e0", 2)], passed=False)
    assert world.plan(needed) is None
    world.commit(d2=[("e0", 3)])
    plan = world.plan(needed)
    assert plan is not None
    world.push(plan)
    # Once it serves, nothing holds it back any more.
    world.commit(d3=[("e0", 4)])
    assert world.plan(frozenset({day(9)})) is not None


def test_rows_may_be_read_in_pieces() -> None:
    whole, pieces = Balance(), Balance()
    for world in (whole, pieces):
        for number in range(1, 9):
            world.commit_days({number: [(f"e{number % 5}", number), (f"e{number % 3}", -number)]})
    whole.push()
    pieces.push(chosen=options(batch=1, rows_at_once=1, contents=replace(CONTENTS, partitions_at_once=1)))
    assert [pieces.value(f"e{entity}") for entity in range(5)] == [whole.value(f"e{entity}") for entity in range(5)]
    assert [row.kind for row in pieces.ledger_rows()] == ["intent", "intent", "ack", "ack", "serving"]


def test_items_are_written_in_the_order_of_their_buckets() -> None:
    world = Balance()
    world.commit(d1=[(f"e{number}", number) for number in range(40)])
    reports: list[tuple[str, int, int]] = []
    plan = world.due()
    steps = push_steps(
        plan,
        world.view,
        table=world.table,
        ledger=world.ledger,
        store=world.store,
        clock=world.clock,
        options=options(batch=10, rows_at_once=1),
    )
    reports = [(step.name, step.done, step.total) for step in steps if step.total]
    assert {name for name, _, _ in reports} == {"push.after_batch"}
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)
    assert reports[-1] == ("push.after_batch", 40, 40)
    assert all(done <= total for _, done, total in reports)


def test_an_item_of_a_view_with_a_time_to_live_may_expire() -> None:
    world = Balance(view=SimulatedView(kept_for=timedelta(days=30)))
    world.commit(d1=[("e0", 1)])
    recorded: dict[bytes, int | None] = {}
    write = world.store.write

    def watched(table: str, puts: list) -> list:  # type: ignore[type-arg] # passed on as it comes
        recorded.update({put.key: put.expires_at for put in puts})
        return write(table, puts)

    world.store.write = watched  # type: ignore[method-assign,assignment] # to see what the store is told
    world.push()
    assert sorted(recorded.values(), key=str) == sorted([None, to_us(at(1, 12) + timedelta(days=37))], key=str)


def test_a_retired_version_is_filled_anew_in_a_table_of_its_own() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1), ("e1", 2)])
    world.push()
    world.store.drop(f"{world.view.name}.{VERSION}")
    world.ledger.append([retired(world.view.name, VERSION, world.store.target, world.clock)])
    assert world.state().have == 0
    plan = world.due()
    assert (plan.bootstrap, plan.life) == (True, 1)
    assert {bucket.since for bucket in plan.buckets} == {0}
    world.push(plan)
    assert (world.value("e0", life=1), world.value("e1", life=1)) == (1, 2)
    assert world.plan() is None


def test_a_retired_version_is_not_filled_before_its_streams_have_caught_up() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.push()

    def applied(last: int, in_life: int) -> LedgerRow:
        return LedgerRow(
            kind="range",
            view=world.view.name,
            version=VERSION,
            target=world.store.target,
            source_partition="log/0",
            first=0,
            last=last,
            sent_at=0,
            acked_at=0,
            life=in_life,
        )

    world.ledger.append([applied(7, 0)])
    world.ledger.append([retired(world.view.name, VERSION, world.store.target, world.clock)])
    assert world.plan() is None
    assert world.state().wanted == 0
    world.ledger.append([applied(6, 1), applied(9, 0)])
    assert world.plan() is None
    world.ledger.append([applied(7, 1)])
    assert world.due().life == 1


def test_what_a_push_of_an_earlier_life_acknowledges_does_not_count() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1), ("e1", 2)])
    world.push()
    world.commit(d2=[("e0", 3)])
    sleeper = push_steps(
        world.due(),
        world.view,
        table=world.table,
        ledger=world.ledger,
        store=world.store,
        clock=world.clock,
        options=options(),
    )
    while next(sleeper).name != "push.before_ack":
        pass
    world.ledger.append([retired(world.view.name, VERSION, world.store.target, world.clock)])
    assert [step.name for step in sleeper] == ["push.after_ack"]
    assert world.state().have == 0
    plan = world.due()
    assert len(plan.buckets) == world.view.buckets
    world.push(plan)
    assert [world.value(entity, life=1) for entity in ("e0", "e1")] == [3, 2]


def test_a_plan_of_an_earlier_life_is_void() -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    world.push()
    world.commit(d2=[("e0", 3)])
    outdated = world.due()
    world.ledger.append([retired(world.view.name, VERSION, world.store.target, world.clock)])
    head = world.ledger.head()
    assert world.push(outdated).written == 0
    assert world.ledger.head() == head


@pytest.mark.parametrize("step_back", [timedelta(hours=1), timedelta(days=400)])
def test_a_clock_that_is_set_back_makes_nothing_visible_before_it_was_sent(step_back: timedelta) -> None:
    world = Balance()
    world.commit(d1=[("e0", 1)])
    steps = push_steps(
        world.due(),
        world.view,
        table=world.table,
        ledger=world.ledger,
        store=world.store,
        clock=world.clock,
        options=options(),
    )
    for step in steps:
        if step.name == "push.after_intent":
            world.clock.at = START - step_back
    assert all(row.acked_at == to_us(START) for row in world.ledger_rows("ack", "serving"))
