"""Whoever makes the calls to DynamoDB, the answers are the same: over any tables, keys, repetitions and absences."""

import uuid
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.store import Outcome, Put, Stored
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

pytestmark = pytest.mark.server

TABLES = ("carrier_hourly.0123456789", "route_hourly.abcdef0123")
Stores = tuple[DynamoDBStore, DynamoDBStore]
NAMES = st.binary(max_size=6)
CONTENT = st.dictionaries(NAMES, st.binary(max_size=60), max_size=130)


@pytest.fixture(scope="module")
def stores(dynamodb_local: DynamoDBLocal) -> Iterator[Stores]:
    server = dynamodb_local.apart()
    patient = Timeouts(5.0, 60.0)
    direct, boto3 = (
        DynamoDBStore(
            "tests",
            **server.address,
            options=DynamoDBOptions(patient, patient, read_budget=60.0, transport=transport),
        )
        for transport in (DynamoDBTransport.DIRECT, DynamoDBTransport.BOTO3)
    )
    for table in TABLES:
        direct.prepare(table)
    yield direct, boto3
    direct.close()
    boto3.close()


@settings(max_examples=40)
@given(
    contents=st.tuples(CONTENT, CONTENT),
    others=st.lists(NAMES, max_size=40),
    repeated=st.lists(st.integers(0, 1_000), max_size=60),
    written_by=st.sampled_from([0, 1]),
    consistent=st.booleans(),
    stale=st.sets(st.integers(0, 130)),
    deadline=st.sampled_from([None, 50.0]),
)
def test_both_transports_say_the_same(
    stores: Stores,
    contents: tuple[Mapping[bytes, bytes], Mapping[bytes, bytes]],
    others: Sequence[bytes],
    repeated: Sequence[int],
    written_by: int,
    consistent: bool,
    stale: set[int],
    deadline: float | None,
) -> None:
    # Tables are dear, keys are not: each example has keys of its own in tables that are shared.
    own = uuid.uuid4().bytes
    requests: list[tuple[str, list[bytes]]] = []
    expected: list[list[Stored | None]] = []
    for table, content in zip(TABLES, contents, strict=True):
        puts = [Put(own + key, 0, value) for key, value in content.items()]
        assert stores[written_by].write(table, puts) == [Outcome.APPLIED] * len(puts)
        # Some of them again, by the other: from what they are, or from what they are not.
        again = [Put(put.key, 2 if at in stale else 1, b"again") for at, put in enumerate(puts) if at % 3 == 0]
        outcomes = [Outcome.CONFLICT if put.expected == 2 else Outcome.APPLIED for put in again]
        assert stores[1 - written_by].write(table, again) == outcomes
        known = {put.key: Stored(1, put.value) for put in puts}
        known |= {put.key: Stored(2, b"again") for put in again if put.expected == 1}
        keys = [own + key for key in (*content, *others)]
        keys += [keys[at % len(keys)] for at in repeated if keys]
        requests.append((table, keys))
        expected.append([known.get(key) for key in keys])
    for store in stores:
        assert store.read_tables(requests, consistent=consistent, deadline=deadline) == expected
    # The first half goes, by one of them.
    table, keys = requests[0]
    stores[written_by].delete(table, keys[: len(keys) // 2])
    gone = set(keys[: len(keys) // 2])
    left = [None if key in gone else one for key, one in zip(keys, expected[0], strict=True)]
    for store in stores:
        assert store.read(table, keys, consistent=True) == left
