"""The DynamoDB store under what AWS does and a local server does not: throttling, partial answers, lost ones.

All of it over both transports: what is said of a fault does not depend on who made the call.
"""

import logging
import random
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from feature_assets.errors import (
    FeatureAssetsError,
    InputError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)
from feature_assets.online.dynamodb import Address, DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Page, Timeouts
from feature_assets.online.store import Outcome, Put, ReadFailure, Stored
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.servers.dynamodb_faults import DELETE, READ, WRITE, Faults, everything
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal
from feature_assets_tests.servers.dynamodb_proxy import FaultyDynamoDB, faulty_dynamodb

TABLE = "carrier_hourly.0123456789"
APPLIED, CONFLICT, REFUSED = Outcome.APPLIED, Outcome.CONFLICT, Outcome.REFUSED
THROTTLED, UNKNOWN = Outcome.THROTTLED, Outcome.UNKNOWN
BUSY = (400, "ProvisionedThroughputExceededException")
FAILED = (500, "InternalServerError")
SECRET = "CanarySecretThatMustNotBeSeen"


class Pauses(list[float]):
    """Notes how long it was asked to sleep, and does not."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture(params=DynamoDBTransport)
def options(pauses: Pauses, request: pytest.FixtureRequest) -> DynamoDBOptions:
    # One call at a time, so that calls can be numbered; the full pause, to be seen; and time for a busy machine.
    patient = Timeouts(5.0, 60.0)
    return DynamoDBOptions(
        concurrency=1,
        sleep=pauses,
        jitter=lambda: 1.0,
        read_budget=60.0,
        read_timeouts=patient,
        write_timeouts=patient,
        transport=request.param,
    )


def store_at(
    server: DynamoDBLocal, options: DynamoDBOptions, kind: type[DynamoDBStore] = DynamoDBStore
) -> DynamoDBStore:
    return kind(
        "tests",
        **server.address,
        options=options,
    )


@pytest.fixture
def proxy(dynamodb_local: DynamoDBLocal) -> Iterator[FaultyDynamoDB]:
    with faulty_dynamodb(dynamodb_local.apart()) as made:
        yield made


@pytest.fixture
def server(proxy: FaultyDynamoDB) -> DynamoDBLocal:
    return proxy.server


@pytest.fixture
def store(server: DynamoDBLocal, options: DynamoDBOptions, pauses: Pauses) -> Iterator[DynamoDBStore]:
    made = store_at(server, options)
    made.prepare(TABLE)
    pauses.clear()
    yield made
    made.close()


KEYS = [b"\x91\xa4" + f"{number:04}".encode() for number in range(250)]


def filled(store: DynamoDBStore) -> list[Stored]:
    assert store.write(TABLE, [Put(key, 0, key * 2) for key in KEYS]) == [APPLIED] * len(KEYS)
    return [Stored(1, key * 2) for key in KEYS]


# -------------------------------------------------------------------------------------------------------------- reading
WAYS = pytest.mark.parametrize("deadline", [None, 50.0])
"""With a deadline and a kept connection, a single call is made in a way of its own."""


@pytest.mark.server
@pytest.mark.parametrize("seed", range(4))
def test_reads_get_through_throttling_and_partial_answers(
    proxy: FaultyDynamoDB, server: DynamoDBLocal, options: DynamoDBOptions, pauses: Pauses, seed: int
) -> None:
    store = store_at(server, replace(options, attempts=40))
    store.prepare(TABLE)
    expected = filled(store)
    pauses.clear()
    rng = random.Random(seed)

    def held_back(_: int, asked: list[Any]) -> Sequence[int]:
        chance = rng.random()
        if chance < 0.05:
            return range(len(asked))
        return [at for at in range(len(asked)) if rng.random() < 0.3] if chance < 0.35 else []

    def answers(_: int) -> tuple[int, str] | None:
        return BUSY if rng.random() < 0.2 else None

    faults = proxy.inject(Faults(READ, answers=answers, held_back=held_back))
    assert store.read(TABLE, [*KEYS, b"nobody"], consistent=True) == [*expected, None]
    # Never at once again, and never the whole of what was asked for.
    assert len(pauses) == len(faults.calls) - 3
    assert all(pause > 0 for pause in pauses)
    assert sum(map(len, faults.calls)) < 3 * 251
    store.close()


@pytest.mark.server
def test_what_is_never_processed_is_throttled_and_never_absent(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses
) -> None:
    expected = filled(store)
    lost = [key for at, key in enumerate(KEYS) if at % 7 == 0]

    def held_back(_: int, asked: list[Any]) -> Sequence[int]:
        return [at for at, (_, key) in enumerate(asked) if key["k"]["B"] in lost]

    faults = proxy.inject(Faults(READ, held_back=held_back))
    found = store.read(TABLE, [*KEYS, b"nobody"])
    assert found == [
        *(ReadFailure.THROTTLED if key in lost else one for key, one in zip(KEYS, expected, strict=True)),
        None,
    ]
    assert len(faults.calls) == 3 * 5
    assert pauses == [0.025, 0.05, 0.1, 0.2] * 3
    # Only what is missing is asked for again.
    assert sum(map(len, faults.calls)) == 251 + 4 * len(lost)


class Forgetful(DynamoDBStore):
    """The guard removed: what DynamoDB did not process is taken for absent."""

    def unprocessed(self, page: Page) -> Sequence[Address]:  # noqa: ARG002 - that is the fault
        return ()


@pytest.mark.server
def test_without_the_loop_over_unprocessed_keys_a_key_that_is_there_would_be_absent(
    proxy: FaultyDynamoDB, server: DynamoDBLocal, options: DynamoDBOptions
) -> None:
    store = store_at(server, options, Forgetful)
    store.prepare(TABLE)
    filled(store)
    proxy.inject(Faults(READ, held_back=lambda call, _: range(10) if call == 0 else ()))
    assert store.read(TABLE, KEYS)[:10] == [None] * 10
    store.close()


@pytest.mark.server
def test_pauses_are_drawn_between_nothing_and_twice_the_last(store: DynamoDBStore) -> None:
    options = replace(DynamoDBOptions(), jitter=lambda: 0.5)
    assert [options.pause(failures) for failures in range(1, 8)] == [0.0125, 0.025, 0.05, 0.1, 0.2, 0.2, 0.2]
    drawn = {DynamoDBOptions().pause(3) for _ in range(20)}
    assert len(drawn) > 1
    assert all(0 <= pause < 0.1 for pause in drawn)


@pytest.mark.server
@WAYS
def test_a_full_page_is_continued_at_once(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses, deadline: float | None
) -> None:
    large = [Put(key, 0, bytes(store.max_item_bytes)) for key in KEYS[:60]]
    assert store.write(TABLE, large) == [APPLIED] * 60
    store.read(TABLE, KEYS[:1])
    faults = proxy.inject(Faults(READ))
    assert store.read(TABLE, KEYS[:60], deadline=deadline) == [Stored(1, put.value) for put in large]
    assert len(faults.calls) == 2
    assert pauses == []


@pytest.mark.server
@pytest.mark.parametrize(("answer", "cause"), [(BUSY, ReadFailure.THROTTLED), (FAILED, ReadFailure.ERROR)])
@WAYS
def test_reads_are_repeated_after_refusals_and_failures(
    proxy: FaultyDynamoDB,
    store: DynamoDBStore,
    pauses: Pauses,
    answer: tuple[int, str],
    cause: ReadFailure,
    deadline: float | None,
) -> None:
    expected = filled(store)
    store.read(TABLE, KEYS[:1])
    before = store.stats.reads
    faults = proxy.inject(Faults(READ, answers=lambda call: answer if call < 4 else None))
    assert store.read(TABLE, KEYS[:9], deadline=deadline) == expected[:9]
    assert pauses == [0.025, 0.05, 0.1, 0.2]
    assert (len(faults.calls), store.stats.reads - before, store.stats.repeats) == (5, 5, 4)
    proxy.inject(Faults(READ, answers=lambda _: answer))
    assert store.read(TABLE, KEYS[:9], deadline=deadline) == [cause] * 9


@pytest.mark.server
@WAYS
def test_of_a_page_only_what_was_not_processed_is_asked_for_again(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses, deadline: float | None
) -> None:
    expected = filled(store)
    store.read(TABLE, KEYS[:1])
    faults = proxy.inject(Faults(READ, held_back=lambda call, _: (2, 5) if call == 0 else ()))
    assert store.read(TABLE, [*KEYS[:9], b"nobody"], deadline=deadline) == [*expected[:9], None]
    assert list(map(len, faults.calls)) == [10, 2]
    assert pauses == [0.025]


@pytest.mark.server
@WAYS
def test_a_read_that_no_credentials_allow_is_refused_with_the_reason(
    proxy: FaultyDynamoDB, store: DynamoDBStore, deadline: float | None
) -> None:
    store.read(TABLE, KEYS[:1])
    proxy.inject(Faults(READ, answers=lambda _: (400, "AccessDeniedException")))
    for keys in (KEYS, KEYS[:9]):
        with pytest.raises(StoreRefusedError, match="AccessDeniedException: injected"):
            store.read(TABLE, keys, deadline=deadline)


@pytest.mark.server
@pytest.mark.parametrize("consistent", [True, False])
def test_the_consistency_asked_for_reaches_the_server(
    proxy: FaultyDynamoDB, store: DynamoDBStore, consistent: bool
) -> None:
    faults = proxy.inject(Faults(READ))
    store.read(TABLE, KEYS, consistent=consistent)
    assert [part["ConsistentRead"] for one in faults.requests for part in one["RequestItems"].values()] == [
        consistent
    ] * 3


@pytest.mark.server
def test_a_key_that_no_item_can_have_does_not_fail_the_others(
    store: DynamoDBStore, caplog: pytest.LogCaptureFixture
) -> None:
    too_long = b"x" * 2_049
    with caplog.at_level(logging.ERROR):
        assert store.write(TABLE, [Put(b"", 0, b"1"), Put(b"k", 0, b"2"), Put(too_long, 0, b"3")]) == [
            REFUSED,
            APPLIED,
            REFUSED,
        ]
    assert "refused an item: 1 bytes under a key of 2049" in caplog.text
    assert store.read(TABLE, [b"", b"k", too_long]) == [None, Stored(1, b"2"), None]


# -------------------------------------------------------------------------------------------------------------- writing
@pytest.mark.server
def test_of_a_call_only_what_was_throttled_is_sent_again(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses
) -> None:
    rng = random.Random(7)

    def held_back(call: int, asked: list[Any]) -> Sequence[int]:
        return [at for at in range(len(asked)) if call % 3 < 2 and rng.random() < 0.5]

    faults = proxy.inject(Faults(WRITE, held_back=held_back))
    # Were an applied one sent again, it would be a conflict.
    assert filled(store) == store.read(TABLE, KEYS, consistent=True)
    assert len(faults.calls) > 10
    assert all(pause > 0 for pause in pauses)


@pytest.mark.server
@pytest.mark.parametrize("code", ["ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingError"])
def test_statements_that_stay_throttled_say_so_and_were_not_executed(
    proxy: FaultyDynamoDB, store: DynamoDBStore, code: str
) -> None:
    faults = proxy.inject(Faults(WRITE, held_back=everything, code=code))
    assert store.write(TABLE, [Put(key, 0, b"x") for key in KEYS[:30]]) == [THROTTLED] * 30
    assert len(faults.calls) == 10
    assert store.read(TABLE, KEYS[:30], consistent=True) == [None] * 30


@pytest.mark.server
def test_calls_that_stay_throttled_say_so(proxy: FaultyDynamoDB, store: DynamoDBStore) -> None:
    proxy.inject(Faults(WRITE, answers=lambda _: (400, "ThrottlingException")))
    assert store.write(TABLE, [Put(key, 0, b"x") for key in KEYS[:30]]) == [THROTTLED] * 30


@pytest.mark.server
def test_a_write_whose_response_is_lost_is_unknown_and_not_repeated(
    proxy: FaultyDynamoDB, store: DynamoDBStore
) -> None:
    faults = proxy.inject(Faults(WRITE, lost=lambda call: call == 1))
    puts = [Put(key, 0, key) for key in KEYS[:60]]
    assert store.write(TABLE, puts) == [APPLIED] * 25 + [UNKNOWN] * 25 + [APPLIED] * 10
    assert len(faults.calls) == 3
    # It was executed: what a careful writer does next is harmless, and shows it.
    assert store.write(TABLE, puts) == [CONFLICT] * 60
    assert store.read(TABLE, KEYS[:60], consistent=True) == [Stored(1, key) for key in KEYS[:60]]


@pytest.mark.server
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("ConditionalCheckFailed", CONFLICT),
        ("DuplicateItem", CONFLICT),
        ("TransactionConflict", THROTTLED),
        ("InternalServerError", UNKNOWN),
        ("SomethingNew", UNKNOWN),
        ("ValidationError", REFUSED),
        ("AccessDenied", REFUSED),
        ("ItemCollectionSizeLimitExceeded", REFUSED),
    ],
)
def test_each_verdict_has_its_outcome(
    proxy: FaultyDynamoDB, store: DynamoDBStore, code: str, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.inject(Faults(WRITE, held_back=lambda _, asked: [len(asked) - 1], code=code))
    with caplog.at_level(logging.ERROR):
        assert store.write(TABLE, [Put(KEYS[0], 0, b"x"), Put(KEYS[1], 0, b"y")]) == [APPLIED, outcome]
    assert (code in caplog.text) == (outcome in {UNKNOWN, REFUSED})


@pytest.mark.server
def test_a_call_that_failed_in_the_server_is_unknown_and_one_that_was_refused_is_not(
    proxy: FaultyDynamoDB, store: DynamoDBStore, caplog: pytest.LogCaptureFixture
) -> None:
    faults = proxy.inject(Faults(WRITE, answers=lambda call: [FAILED, (400, "ValidationException")][call]))
    with caplog.at_level(logging.ERROR):
        assert store.write(TABLE, [Put(key, 0, b"x") for key in KEYS[:40]]) == [UNKNOWN] * 25 + [REFUSED] * 15
    assert len(faults.calls) == 2
    assert "refused 15 items: ValidationException: injected" in caplog.text


@pytest.mark.server
def test_a_key_twice_in_one_call_is_the_callers_mistake(store: DynamoDBStore) -> None:
    with pytest.raises(InputError, match="a key is written twice"):
        store.write(TABLE, [Put(b"k", 0, b"x"), Put(b"l", 0, b"x"), Put(b"k", 1, b"y")])
    assert store.read(TABLE, [b"k", b"l"], consistent=True) == [None, None]


@pytest.mark.server
def test_what_is_not_deleted_is_tried_again_and_then_said(
    proxy: FaultyDynamoDB, store: DynamoDBStore, pauses: Pauses
) -> None:
    expected = filled(store)
    proxy.inject(Faults(DELETE, held_back=lambda call, asked: range(0, len(asked), 2) if call < 3 else ()))
    store.delete(TABLE, KEYS[:20])
    assert store.read(TABLE, KEYS, consistent=True) == [None] * 20 + list(expected[20:])
    assert pauses == [0.025, 0.05, 0.1]
    proxy.inject(Faults(DELETE, answers=lambda _: BUSY))
    with pytest.raises(StoreThrottledError, match=r"5 items of tests\.carrier_hourly\.0123456789 are not deleted"):
        store.delete(TABLE, KEYS[20:25])


# ---------------------------------------------------------------------------------------------------------- the network
@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def nowhere() -> str:
    """An address that takes no connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def at_address(address: str, options: DynamoDBOptions) -> DynamoDBStore:
    return store_at(DynamoDBLocal(address, "eu-central-1", "key", SECRET), options)


def test_nobody_there(nowhere: str, options: DynamoDBOptions) -> None:
    store = at_address(nowhere, options)
    assert store.read(TABLE, KEYS[:3]) == [ReadFailure.ERROR] * 3
    with pytest.raises(StoreUnreachableError, match="nothing was written"):
        store.write(TABLE, [Put(key, 0, b"x") for key in KEYS])
    for call in (store.tables, lambda: store.prepare(TABLE), lambda: store.delete(TABLE, KEYS)):
        with pytest.raises(StoreUnreachableError):
            call()
    store.close()


def test_no_answer_is_a_timeout_for_a_read_and_unknown_for_a_write(silent: str, options: DynamoDBOptions) -> None:
    quick = replace(options, read_timeouts=Timeouts(0.2, 0.05), write_timeouts=Timeouts(0.2, 0.05), attempts=2)
    store = at_address(silent, quick)
    assert store.read(TABLE, KEYS[:3]) == [ReadFailure.TIMEOUT] * 3
    assert store.write(TABLE, [Put(key, 0, b"x") for key in KEYS[:3]]) == [UNKNOWN] * 3
    store.close()


def test_a_deadline_does_not_wait_for_a_call_that_hangs(silent: str) -> None:
    """Its calls end at their own timeout, long after the answer; there are never more of them than allowed at once."""
    store = at_address(silent, DynamoDBOptions(read_timeouts=Timeouts(0.2, 2.0), concurrency=2))
    assert store.read(TABLE, KEYS[:3], deadline=0.05) == [ReadFailure.TIMEOUT] * 3
    assert store.read(TABLE, KEYS, deadline=0.05) == [ReadFailure.TIMEOUT] * 250
    store.close()


def test_a_connection_that_breaks_is_unknown_for_a_write(options: DynamoDBOptions) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1)

        listener = Thread(target=hang_up)
        listener.start()
        store = at_address(f"http://127.0.0.1:{listening.getsockname()[1]}", options)
        assert store.write(TABLE, [Put(KEYS[0], 0, b"x")]) == [UNKNOWN]
        listener.join(timeout=10)
        store.close()


# --------------------------------------------------------------------------------------------------------- credentials
def test_without_credentials_nothing_is_sent(silent: str, options: DynamoDBOptions) -> None:
    store = DynamoDBStore("tests", region="eu-central-1", endpoint_url=silent, options=options)
    with pytest.raises(StoreRefusedError, match="Unable to locate credentials"):
        store.read(TABLE, KEYS)
    assert store.write(TABLE, [Put(b"k", 0, b"x")]) == [REFUSED]
    store.close()


@pytest.mark.server
def test_credentials_are_nowhere_to_be_seen(
    proxy: FaultyDynamoDB, server: DynamoDBLocal, options: DynamoDBOptions, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = ("CanaryKeyId", SECRET, "CanaryToken")
    store = DynamoDBStore(
        "tests",
        region=server.region,
        endpoint_url=server.endpoint_url,
        access_key_id=secrets[0],
        secret_access_key=secrets[1],
        session_token=secrets[2],
        options=options,
    )
    seen = [repr(store), repr(vars(store)), store.target]

    # As a service words it: with the request as it was signed, and so with the session's token.
    message = f"The canonical string should have been 'x-amz-security-token:{secrets[2]}'"
    for operation in (READ, WRITE, "DescribeTable", "ListTables"):
        proxy.inject(Faults(operation, answers=lambda _: (400, "InvalidSignatureException"), message=message))
    with caplog.at_level(logging.INFO):
        for call in (lambda: store.read(TABLE, KEYS), lambda: store.prepare(TABLE), store.tables):
            with pytest.raises(FeatureAssetsError) as raised:
                call()
            seen += _with_causes(raised.value)
        store.write(TABLE, [Put(b"k", 0, b"x")])
    assert "InvalidSignatureException" in caplog.text
    for text in (*seen, caplog.text):
        assert not any(secret in text for secret in secrets)
    store.close()


def _with_causes(error: BaseException | None) -> list[str]:
    """Everything that a traceback would show."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return texts
