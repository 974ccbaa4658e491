"""Killed at each named step of a push: readers see the old state or the new one, and the next push finishes it.

Two pushes are killed: the first one of a version, which nobody is answered from yet, and that of a correction, under
readers. Each in one group of buckets and bucket by bucket, where some are acknowledged before the end.
"""

import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ReplayClock, from_us
from feature_assets.offline.ledger import LedgerRow, is_serving
from feature_assets.store import FeatureStore
from feature_assets_tests.drills.push_process import (
    AFTER,
    BEFORE,
    CUSTOMERS,
    FIRST,
    SECOND,
    SERVICE,
    SPEND,
    TOUCHED,
    Spent,
    answers,
    killed_push,
    opened,
    put,
    state_of,
    world,
)
from feature_assets_tests.end_to_end.shop import TIME

pytestmark = pytest.mark.drill

IN_THE_LEDGER = ["table.after_files", "table.after_log"]
"""Inside the first append to the ledger, which is that of the intents."""
BOTH = [
    "push.after_plan",
    *IN_THE_LEDGER,
    "push.after_intent",
    "push.after_write",
    "push.after_batch",
    "push.after_watermark",
    "push.before_ack",
    "push.after_ack",
]
OF_A_BOOTSTRAP = [*BOTH, "push.after_serving"]
OF_A_CORRECTION = [*BOTH, "push.after_read"]
BEFORE_THE_INTENT = {"push.after_plan", "table.after_files"}
"""Killed here, nothing was written and nothing was announced."""
WHOLE, BY_BUCKET = 1_000_000, 1
State = Mapping[str, Spent | None]
OLD, NEW = state_of(BEFORE), state_of(AFTER)
LATER = datetime(2026, 1, 4, tzinfo=UTC)

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["feature_assets_tests.drills.push_process"])


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two days, committed and passed, not published. Not to be touched, like the next one."""
    folder = tmp_path_factory.mktemp("committed")
    with pytest.MonkeyPatch.context() as environment:
        world(folder / "world", environment)
        root = folder / "lake"
        ReplayClock(root / "replay_clock.json").set(LATER)
        put(BEFORE)
        with opened(root) as store:
            store.materialize([FIRST, SECOND])
        yield root


@pytest.fixture(scope="module")
def corrected(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, published; then the second day was corrected, which is not published."""
    root = tmp_path_factory.mktemp("corrected") / "lake"
    shutil.copytree(committed, root)
    with opened(root) as store:
        store.publish()
        put(AFTER)
        store.materialize([SECOND])
        put(BEFORE)
    return root


@pytest.fixture
def bootstrap(committed: Path, tmp_path: Path) -> Path:
    """A lake before its first push."""
    return Path(shutil.copytree(committed, tmp_path / "lake"))


@pytest.fixture
def correction(corrected: Path, tmp_path: Path) -> Path:
    """A lake before the push of a correction."""
    return Path(shutil.copytree(corrected, tmp_path / "lake"))


def killed(root: Path, point: str, rows_at_once: int, *states: State) -> None:
    """Push in a process of its own that dies at `point`, and read all the while: only `states` may be seen."""
    process = _PROCESSES.Process(target=killed_push, args=(str(root), point, rows_at_once))
    process.start()
    with opened(root) as store:
        while process.is_alive():
            assert_one_of(store, states)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert_one_of(store, states)


def assert_one_of(store: FeatureStore, states: Sequence[State]) -> None:
    """Before the version serves nothing is known; then each customer has the values of one of the states, whole."""
    for name, values, status, _ in answers(store):
        if status == "LOADING":
            assert values is None
        else:
            assert values in {state[name] for state in states}, name
            assert status == ("PRESENT" if values is not None else "NOT_FOUND")


def finished(root: Path, expected: State, writes: dict[str, int]) -> list[LedgerRow]:
    """Push again, as the sensor would, and audit everything; returns the ledger."""
    with opened(root) as store:
        store.publish()
        assert store.plan_push(SPEND) is None
        found = list(answers(store))
        assert {name: values for name, values, _, _ in found} == expected
        assert {name: seq for name, _, _, seq in found} == writes, "nothing was written twice"
        assert store.read_back(SPEND).ok
        position = store.ledger.head()
        assert store.publish() == {}
        assert store.ledger.head() == position
        return store.ledger.rows(view=SPEND.name, target=store.target)


def acknowledged(rows: list[LedgerRow], n: int) -> set[int | None]:
    return {row.bucket for row in rows if row.kind == "ack" and row.commit_seq == n}


def training(root: Path, customers: list[str], at: datetime) -> pa.Table:
    """What a model may learn about the customers as of an instant."""
    spine = pa.table({"user_id": customers, "as_of": pa.array([at] * len(customers), TIME)})
    with opened(root) as store:
        return store.training_set(spine, service=SERVICE.name, timestamp="as_of").table


FIRST_WRITES = {name: int(OLD[name] is not None) for name in CUSTOMERS}
SECOND_WRITES = {name: count + (name in TOUCHED) for name, count in FIRST_WRITES.items()}
"""How often each customer's item is written, by both pushes together; 0: there is none."""


@pytest.mark.parametrize("rows_at_once", [WHOLE, BY_BUCKET], ids=["whole", "by bucket"])
@pytest.mark.parametrize("point", OF_A_BOOTSTRAP)
def test_a_killed_bootstrap_answers_nobody_until_it_is_finished(point: str, rows_at_once: int, bootstrap: Path) -> None:
    killed(bootstrap, point, rows_at_once, OLD)
    with opened(bootstrap) as store:
        serving = is_serving(store.ledger.rows(view=SPEND.name, target=store.target))
        statuses = {status for _, _, status, _ in answers(store)}
    assert serving == (point == "push.after_serving")
    assert (statuses == {"LOADING"}) == (not serving)
    rows = finished(bootstrap, OLD, FIRST_WRITES)
    assert acknowledged(rows, 1) == set(range(SPEND.buckets))
    assert [row.kind for row in rows].count("serving") == 1
    availability = training(bootstrap, CUSTOMERS[:250], from_us(rows[-1].acked_at or 0) + timedelta(hours=1))
    assert set(availability["daily_spend__availability"].to_pylist()) == {"simulated"}


@pytest.mark.parametrize("rows_at_once", [WHOLE, BY_BUCKET], ids=["whole", "by bucket"])
@pytest.mark.parametrize("point", OF_A_CORRECTION)
def test_a_killed_correction_leaves_its_interval_and_is_finished(
    point: str, rows_at_once: int, correction: Path
) -> None:
    with opened(correction) as store:
        began = store.clock.now()
    killed(correction, point, rows_at_once, OLD, NEW)
    with opened(correction) as store:
        left = acknowledged(store.ledger.rows(view=SPEND.name, target=store.target), 2)
    rows = finished(correction, NEW, SECOND_WRITES)
    assert acknowledged(rows, 2) == set(range(SPEND.buckets))

    customers = [name for name in CUSTOMERS if name in TOUCHED and NEW[name] is not None]
    before = training(correction, customers, began)
    assert before["daily_spend__spend"].to_pylist() == [
        None if (was := OLD[name]) is None else was[0] for name in customers
    ]
    ended = from_us(max(row.acked_at or 0 for row in rows))
    after = training(correction, customers, ended)
    assert after["daily_spend__spend"].to_pylist() == [values[0] for name in customers if (values := NEW[name])]
    # What was announced, maybe written, and not acknowledged may have been seen before it was: it says so.
    kinds = {
        name: kind
        for name, kind, at in zip(
            customers,
            after["daily_spend__availability"].to_pylist(),
            after["daily_spend__event_at"].to_pylist(),
            strict=True,
        )
        if at == datetime(2026, 1, 3, tzinfo=UTC)
    }
    found = set(kinds.values())
    if point in BEFORE_THE_INTENT or len(left) == SPEND.buckets:
        assert found == {"recorded"}
    elif left:
        assert found == {"recorded", "recovered"}
    else:
        assert found == {"recovered"}


def test_killed_at_every_point_in_turn_and_then_corrected_again(correction: Path) -> None:
    for point in OF_A_CORRECTION[:-2]:
        killed(correction, point, BY_BUCKET, OLD, NEW)
    last = {FIRST: AFTER[FIRST], SECOND: AFTER[FIRST]}
    put(last)
    with opened(correction) as store:
        store.materialize([SECOND])
    put(BEFORE)
    killed(correction, "push.before_ack", BY_BUCKET, OLD, NEW, state_of(last))
    with opened(correction) as store:
        store.publish()
        assert {name: values for name, values, _, _ in answers(store)} == state_of(last)
        assert store.read_back(SPEND).ok


def test_the_expected_states_differ_in_every_way() -> None:
    """What the drill compares would not notice a lost, a kept or an invented customer if there were none."""
    pairs = [(OLD[name], NEW[name]) for name in CUSTOMERS]
    assert {(old is None, new is None, old == new) for old, new in pairs} == {
        (False, False, True),
        (False, False, False),
        (True, False, False),
    }
    vanished = [name for name in CUSTOMERS[80:120] if OLD[name] != NEW[name]]
    assert len(vanished) == 40
    assert len(TOUCHED) == 170
