"""DynamoDB refuses a third of all calls, answers a third in part, and loses answers: nothing is lost or made up.

Real pauses, several threads, both transports. The needed calls are one for each batch and one more for each call that
was refused or answered in part; whatever else is sent only adds to the load that DynamoDB complains of.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

import pytest

from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.store import Outcome, Put, ReadFailure, Stored
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.servers.dynamodb_faults import READ, WRITE, Faults, Mishap
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal
from feature_assets_tests.servers.dynamodb_proxy import FaultyDynamoDB, faulty_dynamodb

pytestmark = [pytest.mark.drill, pytest.mark.slow, pytest.mark.server, pytest.mark.alone]

TABLE = "carrier_hourly.0123456789"
BUSY = (400, "ProvisionedThroughputExceededException")
AMPLIFICATION = 1.5
"""Calls made, over calls that were needed."""


class Pauses(list[float]):
    """Pauses, and notes for how long."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        Event().wait(seconds)


class Trouble:
    """Of all calls 30% are refused, 30% answered in part, 5% not at all; drawn from a seed, call by call."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.drawn: Counter[str] = Counter()

    def held_back(self, _call: int, asked: list[Any]) -> Sequence[int]:
        self._kind = self._random.choices(["refused", "in part", "not at all", "well"], [30, 30, 5, 35])[0]
        kept: Sequence[int] = ()
        if self._kind == "not at all":
            kept = range(len(asked))
        elif self._kind == "in part":
            kept = [at for at in range(len(asked)) if self._random.random() < 0.3]
        self.drawn["refused" if self._kind == "refused" else "in part" if kept else "well"] += 1
        return kept

    def answers(self, _call: int) -> tuple[int, str] | None:
        return BUSY if self._kind == "refused" else None

    def inject(self, proxy: FaultyDynamoDB, operation: str) -> Faults:
        return proxy.inject(Faults(operation, answers=self.answers, held_back=self.held_back))


@pytest.fixture
def proxy(dynamodb_local: DynamoDBLocal) -> Iterator[FaultyDynamoDB]:
    with faulty_dynamodb(dynamodb_local.apart()) as made:
        yield made


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture(params=DynamoDBTransport)
def store(proxy: FaultyDynamoDB, pauses: Pauses, request: pytest.FixtureRequest) -> Iterator[DynamoDBStore]:
    patient = Timeouts(5.0, 60.0)
    server = proxy.server
    made = DynamoDBStore(
        "drill",
        **server.address,
        options=DynamoDBOptions(patient, patient, read_budget=60.0, sleep=pauses, transport=request.param),
    )
    made.prepare(TABLE)
    pauses.clear()
    yield made
    made.close()


def keys_of(count: int) -> list[bytes]:
    return [b"%06d" % number for number in range(count)]


def test_throttling_loses_nothing_and_is_not_answered_with_more_load(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses, long_drills: bool
) -> None:
    keys = keys_of(20_000 if long_drills else 1_000)
    trouble = Trouble(5)
    writes = trouble.inject(proxy, WRITE)
    batches = 0
    pending = [Put(key, 0, key * 3) for key in keys]
    while pending:
        batches += -(-len(pending) // 25)
        outcomes = store.write(TABLE, pending)
        # Were one that was applied sent again, it would be a conflict.
        assert set(outcomes) <= {Outcome.APPLIED, Outcome.THROTTLED}
        pending = [put for put, outcome in zip(pending, outcomes, strict=True) if outcome is Outcome.THROTTLED]
    _require_calm(writes, trouble, batches, pauses)
    proxy.inject(Faults(WRITE))

    pauses.clear()
    trouble = Trouble(6)
    reads = trouble.inject(proxy, READ)
    asked = [key for pair in zip(keys, (b"no" + key for key in keys), strict=True) for key in pair]
    answered = store.read(TABLE, asked)
    for key, found in zip(asked, answered, strict=True):
        if not isinstance(found, ReadFailure):
            assert found == (None if key.startswith(b"no") else Stored(1, key * 3))
    failed = [found for found in answered if isinstance(found, ReadFailure)]
    assert set(failed) <= {ReadFailure.THROTTLED}
    assert len(failed) < 0.2 * len(asked)
    _require_calm(reads, trouble, -(-len(asked) // 100), pauses)
    assert store.stats.hedges <= 0.05 * store.stats.reads
    proxy.inject(Faults(READ))
    assert store.read(TABLE, keys, consistent=True) == [Stored(1, key * 3) for key in keys]


def _require_calm(faults: Faults, trouble: Trouble, batches: int, pauses: Pauses) -> None:
    """No more calls than were needed, and a pause of its own before each that repeats one."""
    troubled = trouble.drawn["refused"] + trouble.drawn["in part"]
    assert troubled > 0.4 * len(faults.calls)
    assert len(faults.calls) <= AMPLIFICATION * (batches + troubled)
    repeated = len(faults.calls) - batches
    assert len(pauses) >= 0.95 * repeated
    assert len(set(pauses)) > 0.9 * len(pauses)
    assert all(0 <= pause <= 0.4 for pause in pauses)
    assert sum(pauses) / len(pauses) > 0.01


def test_answers_that_are_lost_are_harmless(proxy: FaultyDynamoDB, store: DynamoDBStore, long_drills: bool) -> None:
    """Writers count items up, each its own; every third answer to a write is lost, before or after it was applied."""
    rounds, writers, items = (60, 6, 40) if long_drills else (6, 3, 12)
    lock, drawn = Lock(), random.Random(7)

    def mishap(_call: int) -> Mishap | None:
        with lock:
            return drawn.choice([Mishap.LOST, Mishap.NEVER_ARRIVES, Mishap.CORRUPT, None, None, None])

    proxy.inject(Faults(WRITE, mishaps=mishap))

    def count_up(writer: int) -> Counter[Outcome]:
        keys = [b"%d/%d" % (writer, item) for item in range(items)]
        return sum((_counted(store, keys, seq) for seq in range(rounds)), Counter[Outcome]())

    with ThreadPoolExecutor(writers) as threads:
        outcomes = sum(threads.map(count_up, range(writers)), Counter[Outcome]())
    assert outcomes[Outcome.UNKNOWN] > 0
    proxy.inject(Faults(WRITE))
    keys = [b"%d/%d" % (writer, item) for writer in range(writers) for item in range(items)]
    assert store.read(TABLE, keys, consistent=True) == [Stored(rounds, key + b"=%d" % rounds) for key in keys]


def _counted(store: DynamoDBStore, keys: Sequence[bytes], seq: int) -> Counter[Outcome]:
    """Bring each item from `seq` to the next, whatever is not heard of it; returns all outcomes."""
    seen: Counter[Outcome] = Counter()
    value: Callable[[bytes], bytes] = lambda key: key + b"=%d" % (seq + 1)  # noqa: E731 - said once, used twice
    pending = list(keys)
    while pending:
        outcomes = store.write(TABLE, [Put(key, seq, value(key)) for key in pending])
        seen.update(outcomes)
        assert set(outcomes) <= {Outcome.APPLIED, Outcome.UNKNOWN, Outcome.CONFLICT}
        open_ones = [key for key, outcome in zip(pending, outcomes, strict=True) if outcome is not Outcome.APPLIED]
        found = store.read(TABLE, open_ones, consistent=True)
        pending = []
        for key, one in zip(open_ones, found, strict=True):
            assert one is None or isinstance(one, Stored)
            if one != Stored(seq + 1, value(key)):
                # Not applied: it is as it was.
                assert (one.seq if one is not None else 0) == seq
                pending.append(key)
    return seen
