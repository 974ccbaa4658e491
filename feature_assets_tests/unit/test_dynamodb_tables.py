"""The tables of the DynamoDB store: how they are made, waited for, told apart and found."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from feature_assets.errors import StoreRefusedError, StoreUnreachableError
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.store import Outcome, Put
from feature_assets_tests.servers.dynamodb_faults import refusal
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

pytestmark = pytest.mark.server

TABLE = "carrier_hourly.0123456789"
FULL = f"tests.{TABLE}"


@pytest.fixture
def server(dynamodb_local: DynamoDBLocal) -> DynamoDBLocal:
    return dynamodb_local.apart()


@pytest.fixture
def pauses() -> list[float]:
    return []


def store_at(
    server: DynamoDBLocal, pauses: list[float], *, prefix: str = "tests", key: str | None = None
) -> DynamoDBStore:
    return DynamoDBStore(
        prefix,
        **server.address,
        kms_key=key,
        options=DynamoDBOptions(sleep=pauses.append, write_timeouts=Timeouts(5.0, 60.0)),
    )


@pytest.fixture
def store(server: DynamoDBLocal, pauses: list[float]) -> Iterator[DynamoDBStore]:
    made = store_at(server, pauses)
    yield made
    made.close()


def asked(store: DynamoDBStore, operation: str) -> list[dict[str, Any]]:
    """The parameters of the calls to an operation, from now on."""
    found: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        found.append(params)

    store.writer.meta.events.register(f"provide-client-params.dynamodb.{operation}", note)
    return found


def test_a_table_is_billed_on_demand_and_drops_what_has_expired(server: DynamoDBLocal, store: DynamoDBStore) -> None:
    store.prepare(TABLE)
    made = server.client().describe_table(TableName=FULL)["Table"]
    assert made["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert made["KeySchema"] == [{"AttributeName": "k", "KeyType": "HASH"}]
    expiry = server.client().describe_time_to_live(TableName=FULL)["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "x"}


def test_an_item_has_the_documented_attributes(server: DynamoDBLocal, store: DynamoDBStore) -> None:
    store.prepare(TABLE)
    # In the year 2096, as the server does drop what is due. The seconds are rounded up: not before its time.
    late = 4_000_000_000_000_001
    store.write(TABLE, [Put(b"k", 0, b"v", late), Put(b"l", 0, b"w")])
    store.write(TABLE, [Put(b"k", 1, b"v"), Put(b"l", 1, b"w", late - 1), Put(b"m", 0, b"v", late)])
    found = {item["k"]["B"]: item for item in server.client().scan(TableName=FULL)["Items"]}
    assert found == {
        b"k": {"k": {"B": b"k"}, "s": {"N": "2"}, "v": {"B": b"v"}},
        b"l": {"k": {"B": b"l"}, "s": {"N": "2"}, "v": {"B": b"w"}, "x": {"N": "4000000000"}},
        b"m": {"k": {"B": b"m"}, "s": {"N": "1"}, "v": {"B": b"v"}, "x": {"N": "4000000001"}},
    }


def test_a_table_that_is_as_it_should_be_is_left_alone(store: DynamoDBStore) -> None:
    store.prepare(TABLE)
    creations, expiries = asked(store, "CreateTable"), asked(store, "UpdateTimeToLive")
    store.prepare(TABLE)
    assert (creations, expiries) == ([], [])


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalServerError"), (400, "LimitExceededException"), (400, "ThrottlingException")]
)
def test_a_change_that_fails_for_now_is_asked_for_again(store: DynamoDBStore, status: int, code: str) -> None:
    answers = iter([refusal(status, code, "injected")] * 2)

    def refused(**_: object) -> AWSResponse | None:
        return next(answers, None)

    for operation in ("CreateTable", "DeleteTable"):
        store.writer.meta.events.register(f"before-send.dynamodb.{operation}", refused)
    store.prepare(TABLE)
    assert store.tables() == [TABLE]
    answers = iter([refusal(status, code, "injected")] * 2)
    store.drop(TABLE)
    assert store.tables() == []


@pytest.mark.parametrize("failures", [4, 5])
def test_what_a_table_is_is_asked_again_a_few_times(store: DynamoDBStore, failures: int) -> None:
    answers = iter([refusal(500, "InternalServerError", "injected")] * failures)

    def refused(**_: object) -> AWSResponse | None:
        return next(answers, None)

    store.writer.meta.events.register("before-send.dynamodb.DescribeTable", refused)
    if failures == 5:
        with pytest.raises(StoreUnreachableError, match="cannot describe"):
            store.prepare(TABLE)
    else:
        store.prepare(TABLE)
        assert store.tables() == [TABLE]


@pytest.mark.parametrize("key", [None, "alias/features"])
def test_tables_are_encrypted_with_the_given_key(server: DynamoDBLocal, pauses: list[float], key: str | None) -> None:
    store = store_at(server, pauses, key=key)
    creations = asked(store, "CreateTable")
    store.prepare(TABLE)
    wanted = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
    assert [call.get("SSESpecification") for call in creations] == [None if key is None else wanted]
    store.close()


def test_a_table_of_somebody_elses_is_not_used(server: DynamoDBLocal, store: DynamoDBStore) -> None:
    server.client().create_table(
        TableName=FULL,
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(StoreRefusedError, match="it is somebody else's"):
        store.prepare(TABLE)


def test_a_table_is_waited_for(store: DynamoDBStore, pauses: list[float]) -> None:
    seen = iter(["CREATING"] * 3)

    def slow(parsed: dict[str, Any], **_: object) -> None:
        if "Table" in parsed:
            parsed["Table"]["TableStatus"] = next(seen, parsed["Table"]["TableStatus"])

    store.writer.meta.events.register("after-call.dynamodb.DescribeTable", slow)
    store.prepare(TABLE)
    assert pauses == [0.05, 0.1, 0.2, 0.4]
    assert store.write(TABLE, [Put(b"k", 0, b"v")]) == [Outcome.APPLIED]


def test_a_table_is_not_waited_for_for_ever(store: DynamoDBStore, pauses: list[float]) -> None:
    def stuck(parsed: dict[str, Any], **_: object) -> None:
        if "Table" in parsed:
            parsed["Table"]["TableStatus"] = "DELETING"

    store.prepare(TABLE)
    store.writer.meta.events.register("after-call.dynamodb.DescribeTable", stuck)
    for call in (store.prepare, store.drop):
        pauses.clear()
        with pytest.raises(StoreUnreachableError, match="is still DELETING after 300 s"):
            call(TABLE)
        assert 300 <= sum(pauses) < 303


def test_tables_are_prepared_and_dropped_by_many_at_once(server: DynamoDBLocal) -> None:
    stores = [store_at(server, []) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda store: store.prepare(TABLE), stores))
        assert stores[0].tables() == [TABLE]
        list(threads.map(lambda store: store.drop(TABLE), stores))
    assert stores[0].tables() == []
    for store in stores:
        store.close()


def test_only_tables_of_the_prefix_are_listed(server: DynamoDBLocal, pauses: list[float]) -> None:
    names = [f"view_{number:02}.0123456789" for number in range(7)]
    stores = {prefix: store_at(server, pauses, prefix=prefix) for prefix in ("tes", "tests", "tests2", "a_first")}
    for store in stores.values():
        for name in names:
            store.prepare(name)

    def paged(params: dict[str, Any], **_: object) -> dict[str, Any]:
        return {**params, "Limit": 3}

    for store in stores.values():
        store.writer.meta.events.register("provide-client-params.dynamodb.ListTables", paged)
        assert store.tables() == names
        store.close()
    assert store_at(server, pauses, prefix="none_of_these").tables() == []
