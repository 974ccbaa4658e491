"""What every online store promises, asked of each: in memory, SQLite, DynamoDB Local by both ways to it."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from feature_assets.errors import StoreRefusedError
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.memory import MemoryStore
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore, Outcome, Put, ReadFailure, Stored, TableReads
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

TABLE = "carrier_hourly.0123456789"
OTHER = "route_hourly.abcdef0123"

APPLIED, CONFLICT, REFUSED = Outcome.APPLIED, Outcome.CONFLICT, Outcome.REFUSED


def _memory(request: pytest.FixtureRequest) -> OnlineStore:
    return MemoryStore()


def _sqlite(request: pytest.FixtureRequest) -> OnlineStore:
    folder: Path = request.getfixturevalue("tmp_path")
    return SQLiteStore(folder / "online.sqlite")


def _dynamodb(request: pytest.FixtureRequest, transport: DynamoDBTransport) -> OnlineStore:
    server: DynamoDBLocal = request.getfixturevalue("dynamodb_local").apart()
    return DynamoDBStore(
        "tests",
        **server.address,
        # Time for a busy machine: nothing here is about how long a call takes.
        options=DynamoDBOptions(Timeouts(5.0, 60.0), Timeouts(5.0, 60.0), read_budget=60.0, transport=transport),
    )


def _direct(request: pytest.FixtureRequest) -> OnlineStore:
    return _dynamodb(request, DynamoDBTransport.DIRECT)


def _boto3(request: pytest.FixtureRequest) -> OnlineStore:
    return _dynamodb(request, DynamoDBTransport.BOTO3)


@pytest.fixture(
    params=[
        pytest.param(_memory, id="memory"),
        pytest.param(_sqlite, id="sqlite"),
        pytest.param(_direct, id="dynamodb-direct", marks=pytest.mark.server),
        pytest.param(_boto3, id="dynamodb-boto3", marks=pytest.mark.server),
    ]
)
def store(request: pytest.FixtureRequest) -> Iterator[OnlineStore]:
    make: Callable[[pytest.FixtureRequest], OnlineStore] = request.param
    made = make(request)
    made.prepare(TABLE)
    yield made
    made.close()


def key_of(number: int) -> bytes:
    return b"\x91\xa6" + f"{number:06}".encode()


def filled(store: OnlineStore, size: int) -> list[bytes]:
    keys = [key_of(number) for number in range(size)]
    outcomes = store.write(TABLE, [Put(key, 0, b"value of " + key) for key in keys])
    assert outcomes == [APPLIED] * size
    return keys


# -------------------------------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize("size", [0, 1, 100, 101, 250])
def test_every_key_is_answered_in_order(store: OnlineStore, size: int) -> None:
    keys = filled(store, size)
    random.Random(size).shuffle(keys)
    assert store.read(TABLE, keys, consistent=True) == [Stored(1, b"value of " + key) for key in keys]


def test_more_keys_than_any_one_request_takes(store: OnlineStore) -> None:
    keys = filled(store, 20)
    asked = [key_of(number) for number in range(2_500)]
    found = store.read(TABLE, asked, consistent=True)
    assert found[:20] == [Stored(1, b"value of " + key) for key in keys]
    assert found[20:] == [None] * 2_480


@pytest.mark.parametrize("gap", [0, 50, 99, 100, 149])
def test_a_missing_key_is_none_wherever_it_stands(store: OnlineStore, gap: int) -> None:
    keys = filled(store, 149)
    asked = [*keys[:gap], b"nobody", *keys[gap:]]
    found = store.read(TABLE, asked, consistent=True)
    assert [at for at, one in enumerate(found) if one is None] == [gap]
    assert [one.value for one in found if isinstance(one, Stored)] == [b"value of " + key for key in keys]


def test_a_key_asked_for_twice_is_answered_twice(store: OnlineStore) -> None:
    first, second = filled(store, 2)
    found = store.read(TABLE, [second, first, second, b"nobody", second, b"nobody"], consistent=True)
    assert [None if one is None else one.value for one in found if not isinstance(one, ReadFailure)] == [
        b"value of " + second,
        b"value of " + first,
        b"value of " + second,
        None,
        b"value of " + second,
        None,
    ]


def test_keys_are_bytes_of_any_kind(store: OnlineStore) -> None:
    keys = [bytes([byte]) for byte in range(256)] + [bytes(range(256)), b"\x00", b"a\x00b", b"'\"; --", b"?" * 2_000]
    keys = list(dict.fromkeys(keys))
    assert store.write(TABLE, [Put(key, 0, key[::-1]) for key in keys]) == [APPLIED] * len(keys)
    assert store.read(TABLE, keys, consistent=True) == [Stored(1, key[::-1]) for key in keys]


def test_values_are_bytes_of_any_kind(store: OnlineStore) -> None:
    values = [b"", b"\x00", bytes(range(256)), b"NULL", bytes(70_000)]
    store.write(TABLE, [Put(key_of(at), 0, value) for at, value in enumerate(values)])
    found = store.read(TABLE, [key_of(at) for at in range(len(values))], consistent=True)
    assert found == [Stored(1, value) for value in values]


def test_items_up_to_the_bound_are_taken_and_larger_ones_refused(store: OnlineStore) -> None:
    # At least 300 KB, so that an answer with a hundred of them is larger than DynamoDB puts into one.
    assert store.max_item_bytes >= 300_000
    large = [Put(key_of(at), 0, bytes([at]) * store.max_item_bytes) for at in range(60)]
    assert store.write(TABLE, large) == [APPLIED] * 60
    assert store.read(TABLE, [put.key for put in large], consistent=True) == [Stored(1, put.value) for put in large]
    too_large = Put(key_of(99), 0, bytes(store.max_item_bytes + 1))
    assert store.write(TABLE, [too_large, Put(key_of(98), 0, b"x")]) == [REFUSED, APPLIED]
    assert store.read(TABLE, [key_of(99)], consistent=True) == [None]


def test_a_deadline_that_is_over_is_a_timeout_and_never_an_absence(store: OnlineStore) -> None:
    keys = filled(store, 150)
    found = store.read(TABLE, [*keys, b"nobody"], deadline=0.0)
    # A store that takes no time may answer all the same, and then rightly.
    if any(isinstance(one, ReadFailure) for one in found):
        assert set(found) == {ReadFailure.TIMEOUT}
    else:
        assert found[-1] is None
        assert None not in found[:-1]


def test_a_deadline_that_suffices_changes_nothing(store: OnlineStore) -> None:
    keys = filled(store, 150)
    assert store.read(TABLE, keys, consistent=True, deadline=60.0) == store.read(TABLE, keys, consistent=True)


def test_tables_are_read_together_as_one_by_one(store: OnlineStore) -> None:
    if not isinstance(store, TableReads):
        pytest.skip("each call to this store is local: there is nothing to be saved")
    keys = filled(store, 120)
    store.prepare(OTHER)
    store.write(OTHER, [Put(key_of(3), 0, b"elsewhere")])
    requests = [(TABLE, keys[:70]), (OTHER, [key_of(3), key_of(4)]), (TABLE, [b"nobody", *keys[70:]]), (OTHER, [])]
    together = store.read_tables(requests, consistent=True)
    assert together == [store.read(table, asked, consistent=True) for table, asked in requests]
    assert together[1] == [Stored(1, b"elsewhere"), None]


# -------------------------------------------------------------------------------------------------------------- writing
def test_an_item_is_created_once(store: OnlineStore) -> None:
    assert store.write(TABLE, [Put(b"k", 0, b"first")]) == [APPLIED]
    assert store.write(TABLE, [Put(b"k", 0, b"second")]) == [CONFLICT]
    assert store.read(TABLE, [b"k"], consistent=True) == [Stored(1, b"first")]


def test_an_item_is_changed_only_from_what_it_was(store: OnlineStore) -> None:
    store.write(TABLE, [Put(b"k", 0, b"1")])
    assert store.write(TABLE, [Put(b"k", 2, b"ahead")]) == [CONFLICT]
    assert store.write(TABLE, [Put(b"k", 1, b"2")]) == [APPLIED]
    assert store.write(TABLE, [Put(b"k", 1, b"again")]) == [CONFLICT]
    assert store.read(TABLE, [b"k"], consistent=True) == [Stored(2, b"2")]


def test_an_item_that_is_not_there_is_not_changed(store: OnlineStore) -> None:
    assert store.write(TABLE, [Put(b"k", 1, b"x")]) == [CONFLICT]
    assert store.read(TABLE, [b"k"], consistent=True) == [None]


def test_outcomes_are_in_the_order_of_the_puts(store: OnlineStore) -> None:
    keys = filled(store, 130)
    puts = [Put(key, 1 if at % 3 else 5, b"new") for at, key in enumerate(keys)]
    puts[1::10] = [Put(b"new" + put.key, 0, b"new") for put in puts[1::10]]
    expected = [APPLIED if put.expected in {0, 1} else CONFLICT for put in puts]
    assert store.write(TABLE, puts) == expected
    assert CONFLICT in expected


def test_nothing_to_write(store: OnlineStore) -> None:
    assert store.write(TABLE, []) == []


@pytest.mark.parametrize("expires_at", [None, 4_000_000_000_000_000, 4_000_000_000_000_001])
def test_expiry_is_kept_apart_from_the_value(store: OnlineStore, expires_at: int | None) -> None:
    # In the year 2096: what is due already, a store may drop at any moment.
    assert store.write(TABLE, [Put(b"k", 0, b"1", expires_at)]) == [APPLIED]
    assert store.write(TABLE, [Put(b"k", 1, b"2", None if expires_at else 5_000_000_000_000_000)]) == [APPLIED]
    assert store.write(TABLE, [Put(b"k", 2, b"3", expires_at)]) == [APPLIED]
    assert store.read(TABLE, [b"k"], consistent=True) == [Stored(3, b"3")]


@pytest.mark.parametrize("seed", range(3))
def test_a_shuffled_replay_of_all_puts_never_goes_back(store: OnlineStore, seed: int) -> None:
    rng = random.Random(seed)
    history = [Put(key_of(item), seq, b"%d" % (seq + 1)) for item in range(5) for seq in range(6)]
    for put in history:
        assert store.write(TABLE, [put]) == [APPLIED]
    replayed = history * 2
    rng.shuffle(replayed)
    for put in replayed:
        assert store.write(TABLE, [put]) == [CONFLICT]
    assert store.read(TABLE, [key_of(item) for item in range(5)], consistent=True) == [Stored(6, b"6")] * 5


def test_a_response_that_was_lost_is_found_out_by_writing_again(store: OnlineStore) -> None:
    """The writer did not hear that it was applied: writing again is refused, and what is stored is its own."""
    put = Put(b"k", 0, b"mine")
    store.write(TABLE, [put])
    assert store.write(TABLE, [put]) == [CONFLICT]
    assert store.read(TABLE, [b"k"], consistent=True) == [Stored(1, b"mine")]


def test_of_racing_writers_one_wins_each_round(store: OnlineStore) -> None:
    writers, rounds = 4, 15
    together = Barrier(writers)

    def race(writer: int) -> list[Outcome]:
        outcomes = []
        for seq in range(rounds):
            together.wait(timeout=60)
            outcomes += store.write(TABLE, [Put(b"hot", seq, b"%d" % writer)])
        return outcomes

    with ThreadPoolExecutor(writers) as threads:
        outcomes = list(threads.map(race, range(writers)))
    for at_once in zip(*outcomes, strict=True):
        assert sorted(one.value for one in at_once) == ["applied", "conflict", "conflict", "conflict"]
    (found,) = store.read(TABLE, [b"hot"], consistent=True)
    assert isinstance(found, Stored)
    assert found.seq == rounds


def test_many_threads_read_and_write_at_once(store: OnlineStore) -> None:
    """Each thread owns some items and counts them up; whoever reads sees what was written, and never goes back."""
    rounds = 12

    def count_up(owner: int) -> None:
        keys = [b"%d/%d" % (owner, item) for item in range(3)]
        for seq in range(rounds):
            assert store.write(TABLE, [Put(key, seq, key + b"=%d" % (seq + 1)) for key in keys]) == [APPLIED] * 3
            for key, found in zip(keys, store.read(TABLE, keys, consistent=True), strict=True):
                assert found == Stored(seq + 1, key + b"=%d" % (seq + 1))

    def watch(owner: int) -> None:
        seen = 0
        for _ in range(rounds):
            (found,) = store.read(TABLE, [b"%d/0" % owner], consistent=True)
            now = found.seq if isinstance(found, Stored) else 0
            assert now >= seen
            seen = now

    with ThreadPoolExecutor(6) as threads:
        work = [threads.submit(count_up, owner) for owner in range(3)]
        work += [threads.submit(watch, owner) for owner in range(3)]
        for one in work:
            one.result(timeout=120)


# --------------------------------------------------------------------------------------------------------------- tables
def test_tables_are_made_and_dropped_any_number_of_times(store: OnlineStore) -> None:
    assert store.tables() == [TABLE]
    store.prepare(OTHER)
    store.prepare(OTHER)
    filled(store, 1)
    store.prepare(TABLE)
    assert store.tables() == sorted([TABLE, OTHER])
    assert store.read(TABLE, [key_of(0)], consistent=True) != [None]
    store.drop(TABLE)
    store.drop(TABLE)
    store.drop("never_there.0000000000")
    assert store.tables() == [OTHER]
    store.prepare(TABLE)
    assert store.read(TABLE, [key_of(0)], consistent=True) == [None]


def test_tables_do_not_share_keys(store: OnlineStore) -> None:
    store.prepare(OTHER)
    assert store.write(TABLE, [Put(b"k", 0, b"here")]) == [APPLIED]
    assert store.read(OTHER, [b"k"], consistent=True) == [None]
    assert store.write(OTHER, [Put(b"k", 0, b"there")]) == [APPLIED]
    assert store.read(TABLE, [b"k"], consistent=True) == [Stored(1, b"here")]


def test_a_table_that_was_never_prepared_is_no_empty_table(store: OnlineStore) -> None:
    with pytest.raises(StoreRefusedError):
        store.read(OTHER, [b"k"])
    with pytest.raises(StoreRefusedError):
        store.delete(OTHER, [b"k"])
    assert store.write(OTHER, [Put(b"k", 0, b"x"), Put(b"l", 3, b"x")]) == [REFUSED, REFUSED]
    assert store.tables() == [TABLE]


def test_items_can_be_removed(store: OnlineStore) -> None:
    keys = filled(store, 60)
    store.delete(TABLE, [*keys[5:], b"nobody"])
    store.delete(TABLE, [])
    assert store.read(TABLE, keys, consistent=True) == [Stored(1, b"value of " + key) for key in keys[:5]] + [None] * 55
    assert store.write(TABLE, [Put(keys[9], 0, b"anew")]) == [APPLIED]


def test_a_store_is_named_and_closed_twice(store: OnlineStore) -> None:
    kind, _, name = store.target.partition(":")
    assert kind in {"memory", "sqlite", "dynamodb"}
    assert name
    store.close()
    store.close()
