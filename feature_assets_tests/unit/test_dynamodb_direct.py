"""The direct transport: the same answers as through boto3, and the same words for each way in which a call can fail."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import BotoTransport, Endpoint, FaultError, Kind, Timeouts, made_clients
from feature_assets.online.dynamodb_direct import DirectAccess, DirectTransport
from feature_assets.online.store import Outcome, Put, ReadFailure, Stored
from feature_assets_tests.servers.dynamodb_between import Between, Fault, between
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

pytestmark = pytest.mark.server

TABLE = "carrier_hourly.0123456789"
SECRET = "CanarySecretThatMustNotBeSeen"
PATIENT = Timeouts(5.0, 60.0)


class Pauses(list[float]):
    """Notes how long it was asked to sleep, and does not."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def store_at(server: DynamoDBLocal, pauses: Pauses, **options: Any) -> DynamoDBStore:  # noqa: ANN401 - as the options have them
    given: dict[str, Any] = {"read_timeouts": PATIENT, "write_timeouts": PATIENT, "read_budget": 60.0, "sleep": pauses}
    return DynamoDBStore(
        "tests",
        region=server.region,
        endpoint_url=server.endpoint_url,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        options=DynamoDBOptions(**given | options),
    )


@pytest.fixture
def middle(dynamodb_local: DynamoDBLocal) -> Iterator[Between]:
    with between(dynamodb_local.apart()) as state:
        yield state


@pytest.fixture
def store(middle: Between, pauses: Pauses) -> Iterator[DynamoDBStore]:
    made = store_at(middle.server, pauses, concurrency=1)
    made.prepare(TABLE)
    middle.calls.clear()
    pauses.clear()
    yield made
    made.close()


def first(middle: Between, *faults: Fault, operation: str = "BatchGetItem") -> None:
    """The first calls of an operation go wrong so."""
    left = list(faults)
    middle.choose = lambda asked: left.pop(0) if left and asked == operation else None


KEYS = [b"key%03d" % number for number in range(250)]


def filled(store: DynamoDBStore, keys: int = 3) -> None:
    assert store.write(TABLE, [Put(key, 0, b"v" + key) for key in KEYS[:keys]]) == [Outcome.APPLIED] * keys


@pytest.mark.parametrize(
    ("fault", "calls"),
    [("throttle", 2), ("fail", 2), ("leave over", 2), ("leave all over", 2), ("lose", 2), ("cut", 2), ("damage", 2)],
)
def test_a_read_that_went_wrong_is_made_again(
    middle: Between, store: DynamoDBStore, pauses: Pauses, fault: Fault, calls: int
) -> None:
    filled(store)
    middle.calls.clear()
    first(middle, fault)
    assert store.read(TABLE, [*KEYS[:3], b"absent"]) == [Stored(1, b"v" + key) for key in KEYS[:3]] + [None]
    assert len(middle.calls) == calls
    # A connection that was closed is no sign of load: what a read met on it is asked for at once.
    assert len(pauses) == (0 if fault == "lose" else 1)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("throttle", ReadFailure.THROTTLED),
        ("leave all over", ReadFailure.THROTTLED),
        ("fail", ReadFailure.ERROR),
        ("cut", ReadFailure.ERROR),
        ("damage", ReadFailure.ERROR),
        ("nonsense", ReadFailure.ERROR),
        ("hang up", ReadFailure.ERROR),
    ],
)
def test_what_goes_on_going_wrong_is_a_failure_and_never_absent(
    middle: Between, store: DynamoDBStore, fault: Fault, failure: ReadFailure
) -> None:
    filled(store)
    middle.choose = lambda operation: fault if operation == "BatchGetItem" else None
    assert store.read(TABLE, [*KEYS[:3], b"absent"]) == [failure] * 4


@pytest.mark.parametrize("fault", ["lose", "cut", "damage", "nonsense", "hang up", "fail"])
def test_a_write_without_an_answer_is_unknown_and_not_sent_again(
    middle: Between, store: DynamoDBStore, fault: Fault
) -> None:
    first(middle, fault, operation="BatchExecuteStatement")
    outcome = store.write(TABLE, [Put(KEYS[0], 0, b"x")])
    assert outcome == [Outcome.UNKNOWN]
    assert [call for call in middle.calls if call[0] == "BatchExecuteStatement"] == [("BatchExecuteStatement", fault)]
    applied = fault in {"lose", "cut", "damage", "nonsense"}
    assert store.read(TABLE, KEYS[:1]) == [Stored(1, b"x") if applied else None]
    # Again, as whoever reads it back decides: the condition sees that it was applied.
    assert store.write(TABLE, [Put(KEYS[0], 0, b"x")]) == [Outcome.CONFLICT if applied else Outcome.APPLIED]


def test_a_call_may_take_no_longer_than_is_left(middle: Between, pauses: Pauses) -> None:
    store = store_at(middle.server, pauses, concurrency=2)
    store.prepare(TABLE)
    middle.choose = lambda operation: "wait" if operation == "BatchGetItem" else None
    assert store.read(TABLE, KEYS[:3], deadline=0.2) == [ReadFailure.TIMEOUT] * 3
    store.close()


def test_under_every_fault_at_once_nothing_unknown_is_absent(
    dynamodb_local: DynamoDBLocal, long_drills: bool, pauses: Pauses
) -> None:
    """A third of the calls throttled, a third partly left over, some wholly: all writes are made, and all is found."""
    rng = random.Random(5)
    with between(dynamodb_local.apart()) as middle:
        store = store_at(middle.server, pauses, attempts=12, concurrency=4)
        store.prepare(TABLE)
        middle.calls.clear()
        faults: list[Fault | None] = ["throttle", "leave over", "leave all over", None]

        def choose(operation: str) -> Fault | None:
            spoiled = operation in {"BatchGetItem", "BatchExecuteStatement"}
            return rng.choices(faults, [30, 30, 5, 35])[0] if spoiled else None

        middle.choose = choose
        todo = list(KEYS * (4 if long_drills else 1))
        expected: Counter[bytes] = Counter()
        for start in range(0, len(todo), 50):
            part = todo[start : start + 50]
            puts = [Put(key, expected[key], b"v") for key in part]
            outcomes = store.write(TABLE, puts)
            assert set(outcomes) == {Outcome.APPLIED}
            expected.update(part)
        writes = sum(operation == "BatchExecuteStatement" for operation, _ in middle.calls)
        # A call that was throttled is made again, and no other: 1 / (1 - 0.3) calls each, with room for chance.
        assert writes <= 1.75 * len(todo) / 25
        for _ in range(20 if long_drills else 3):
            found = store.read(TABLE, [*KEYS, b"absent"])
            assert found == [Stored(expected[key], b"v") for key in KEYS] + [None]
        assert pauses
        assert len(set(pauses)) > len(pauses) / 2, "jittered"
        store.close()


# ------------------------------------------------------------------------------------------- the same as through boto3


@pytest.fixture(scope="module")
def both(dynamodb_local: DynamoDBLocal) -> Iterator[tuple[DynamoDBStore, DynamoDBStore]]:
    server = dynamodb_local.apart()
    made = [store_at(server, Pauses(), transport=one) for one in ("direct", "boto3")]
    for table in ("one.0123456789", "two.0123456789"):
        made[0].prepare(table)
        puts = [Put(key, 0, bytes([number]) * (number * 37)) for number, key in enumerate(KEYS) if number % 3]
        assert set(made[1].write(table, puts)) == {Outcome.APPLIED}
    yield made[0], made[1]
    for one in made:
        one.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["one.0123456789", "two.0123456789"]), st.lists(st.sampled_from(KEYS), max_size=150)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_both_read_the_same(
    both: tuple[DynamoDBStore, DynamoDBStore], requests: list[tuple[str, list[bytes]]], consistent: bool
) -> None:
    direct, boto = both
    assert direct.read_tables(requests, consistent=consistent) == boto.read_tables(requests, consistent=consistent)


def test_both_write_the_same(both: tuple[DynamoDBStore, DynamoDBStore]) -> None:
    for number, store in enumerate(both):
        key = b"written%d" % number
        assert store.write("one.0123456789", [Put(key, 0, b"\x00\xff", 4_102_444_800_000_000)]) == [Outcome.APPLIED]
        assert store.write("one.0123456789", [Put(key, 0, b"x")]) == [Outcome.CONFLICT]
        assert store.write("one.0123456789", [Put(key, 1, b"y")]) == [Outcome.APPLIED]
        assert both[1 - number].read("one.0123456789", [key]) == [Stored(2, b"y")]
        store.delete("one.0123456789", [key])
        assert both[1 - number].read("one.0123456789", [key]) == [None]


def test_both_say_the_same_of_a_refusal(dynamodb_local: DynamoDBLocal) -> None:
    server = dynamodb_local.apart()
    endpoint = Endpoint(server.region, server.endpoint_url, server.access_key, SECRET)
    (client,) = made_clients(endpoint, PATIENT, connections=1)
    told = []
    for transport in (DirectTransport(DirectAccess.of(endpoint, client), PATIENT, 1), BotoTransport(client)):
        with pytest.raises(FaultError) as caught:
            transport.batch_get({"tests.absent": [b"x"]}, consistent=False)
        told.append((caught.value.kind, caught.value.reason))
        transport.close()
    assert told[0] == told[1]
    assert told[0][0] is Kind.REFUSED
    assert SECRET not in told[0][1]


def test_credentials_are_found_as_boto3_finds_them(
    dynamodb_local: DynamoDBLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = dynamodb_local.apart()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    store = DynamoDBStore("tests", options=DynamoDBOptions(read_timeouts=PATIENT, write_timeouts=PATIENT))
    store.prepare(TABLE)
    assert store.write(TABLE, [Put(b"x", 0, b"y")]) == [Outcome.APPLIED]
    assert store.read(TABLE, [b"x"]) == [Stored(1, b"y")]
    assert server.secret_key not in repr(vars(store))
    store.close()


def test_through_a_proxy_boto3_makes_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    endpoint = Endpoint("eu-central-1", None, "key", SECRET)
    (client,) = made_clients(endpoint, PATIENT, connections=1)
    assert not DirectAccess.of(endpoint, client).is_possible
    monkeypatch.setenv("NO_PROXY", "amazonaws.com")
    assert DirectAccess.of(endpoint, client).is_possible
    assert SECRET not in repr(DirectAccess.of(endpoint, client))
