"""The direct transport: signatures, kept connections, answers that are not whole, second reads, deadlines."""

import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.session import Session

from feature_assets.errors import StoreUnreachableError
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import BotoTransport, Timeouts
from feature_assets.online.dynamodb_direct import DirectTransport
from feature_assets.online.dynamodb_hedging import LEARN_EVERY, Hedger, Hedging
from feature_assets.online.dynamodb_route import route_of, tls_context
from feature_assets.online.store import Outcome, Put, ReadFailure, Stored
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.servers.dynamodb_faults import DELETE, READ, WRITE, Faults, Mishap
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal
from feature_assets_tests.servers.dynamodb_proxy import FaultyDynamoDB, faulty_dynamodb

TABLE = "carrier_hourly.0123456789"
FULL = f"tests.{TABLE}"
KEYS = [b"\x91\xa4" + f"{number:04}".encode() for number in range(1_000)]
APPLIED, UNKNOWN = Outcome.APPLIED, Outcome.UNKNOWN
AT = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)
PATIENT = Timeouts(5.0, 60.0)


@pytest.fixture
def proxy(dynamodb_local: DynamoDBLocal) -> Iterator[FaultyDynamoDB]:
    with faulty_dynamodb(dynamodb_local.apart()) as made:
        yield made


def store_at(server: DynamoDBLocal, **changes: object) -> DynamoDBStore:
    usual = DynamoDBOptions(read_timeouts=PATIENT, write_timeouts=PATIENT, read_budget=60.0, concurrency=4)
    return DynamoDBStore(
        "tests",
        **server.address,
        options=replace(usual, **changes),  # type: ignore[arg-type] # checked where it is used
    )


def filled(proxy: FaultyDynamoDB, size: int = 10) -> list[Stored]:
    """Not through the store that is looked at."""
    store = store_at(proxy.upstream, transport=DynamoDBTransport.BOTO3)
    store.prepare(TABLE)
    assert store.write(TABLE, [Put(key, 0, key * 2) for key in KEYS[:size]]) == [APPLIED] * size
    store.close()
    return [Stored(1, key * 2) for key in KEYS[:size]]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        threading.Event().wait(0.005)


# ----------------------------------------------------------------------------------------------------------- the route
@pytest.mark.parametrize(
    ("url", "account", "expected"),
    [
        (None, None, ("dynamodb.eu-central-1.amazonaws.com", 443, True, "dynamodb.eu-central-1.amazonaws.com")),
        (
            None,
            "123456789012",
            ("123456789012.ddb.eu-central-1.amazonaws.com", 443, True, "123456789012.ddb.eu-central-1.amazonaws.com"),
        ),
        ("http://127.0.0.1:8000", None, ("127.0.0.1", 8000, False, "127.0.0.1:8000")),
        ("https://example.test:443/", None, ("example.test", 443, True, "example.test")),
        ("http://[::1]:8000", None, ("::1", 8000, False, "[::1]:8000")),
    ],
)
def test_the_endpoint_is_botocores(url: str | None, account: str | None, expected: tuple[str, int, bool, str]) -> None:
    client = Session().create_client(
        "dynamodb",
        "eu-central-1",
        endpoint_url=url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        aws_account_id=account,
    )
    route = route_of(client)
    assert (route.host, route.port, route.tls, route.scope.host) == expected
    assert (route.scope.region, route.scope.service) == ("eu-central-1", "dynamodb")


def transports_of(store: DynamoDBStore) -> set[type]:
    return {type(store._reading), type(store._writing)}  # noqa: SLF001 - which is used shows in no answer


@pytest.mark.parametrize("case", ["plain", "proxy", "no proxy for it", "path", "boto3"])
def test_a_detour_is_left_to_boto3(
    case: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if "proxy" in case:
        monkeypatch.setenv("http_proxy", "http://user:canary@proxy.test:3128")
    if case == "no proxy for it":
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = "http://127.0.0.1:8000" + ("/under" if case == "path" else "")
    transport = DynamoDBTransport.BOTO3 if case == "boto3" else DynamoDBTransport.DIRECT
    with caplog.at_level(logging.INFO):
        store = store_at(DynamoDBLocal(url, "eu-central-1", "key", "secret"), transport=transport)
    direct = case in {"plain", "no proxy for it"}
    assert transports_of(store) == {DirectTransport if direct else BotoTransport}
    assert ("called through boto3" in caplog.text) == (case in {"proxy", "path"})
    assert "canary" not in caplog.text
    store.close()


def test_tls_trusts_whom_botocore_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = tls_context(Session())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    usual = len(context.get_ca_certs())
    assert usual > 50
    one = tmp_path / "one.pem"
    one.write_text(ssl.DER_cert_to_PEM_cert(context.get_ca_certs(binary_form=True)[0]))
    for name in ("REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        with monkeypatch.context() as changed:
            changed.setenv(name, str(one))
            assert len(tls_context(Session()).get_ca_certs()) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of localhost, signed by itself, with its key."""
    path = tmp_path / "localhost.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True
    )
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.mark.server
@pytest.mark.parametrize("case", ["trusted", "unknown", "another name"])
def test_tls_is_verified_and_kept(
    dynamodb_local: DynamoDBLocal, certificate: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case != "unknown":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with faulty_dynamodb(dynamodb_local.apart(), context) as proxy:
        expected = filled(proxy)
        server = proxy.server
        if case == "another name":
            server = replace(server, endpoint_url=server.endpoint_url.replace("localhost", "127.0.0.1"))
        store = store_at(server, hedging=GENEROUS, attempts=2, sleep=lambda _: None)
        if case == "trusted":
            for _ in range(LEARN_EVERY + 5):
                assert store.read(TABLE, KEYS[:10]) == expected
            assert proxy.made <= 2 + store.stats.hedges
            assert store.write(TABLE, [Put(b"k", 0, b"x")]) == [APPLIED]
        else:
            assert store.read(TABLE, KEYS[:10]) == [ReadFailure.ERROR] * 10
            with pytest.raises(StoreUnreachableError, match="nothing was written"):
                store.write(TABLE, [Put(b"k", 0, b"x")])
        store.close()


# ------------------------------------------------------------------------------------------------- answers of all kinds
BROKEN = [
    Mishap.TRUNCATED,
    Mishap.CORRUPT,
    Mishap.NO_JSON,
    Mishap.ANOTHER_SHAPE,
    Mishap.HTML,
    Mishap.NEVER_ARRIVES,
    Mishap.RESET,
    Mishap.LOST,
]


@pytest.mark.server
@pytest.mark.parametrize("mishap", BROKEN, ids=lambda one: one.name)
@pytest.mark.parametrize("deadline", [None, 50.0])
def test_an_answer_that_is_not_whole_is_no_answer(
    proxy: FaultyDynamoDB, mishap: Mishap, deadline: float | None
) -> None:
    expected = filled(proxy)
    store = store_at(proxy.server, attempts=2, sleep=lambda _: None)
    keys = [*KEYS[:10], b"nobody"]
    assert store.read(TABLE, keys) == [*expected, None]
    proxy.inject(Faults(READ, mishaps=lambda call: mishap if call < 2 else None))
    assert store.read(TABLE, keys, deadline=deadline) in ([ReadFailure.ERROR] * 11, [*expected, None])
    proxy.inject(Faults(READ, mishaps=lambda _: mishap))
    assert store.read(TABLE, keys, deadline=deadline) == [ReadFailure.ERROR] * 11
    writes = proxy.inject(Faults(WRITE, mishaps=lambda _: mishap))
    puts = [Put(key, 1, b"new") for key in KEYS[:10]]
    assert store.write(TABLE, puts) == [UNKNOWN] * 10
    assert len(writes.calls) == 1
    # What a writer then does, which reads and writes again, is harmless.
    proxy.inject(Faults(READ))
    proxy.inject(Faults(WRITE))
    carried_out = mishap not in {Mishap.NEVER_ARRIVES, Mishap.RESET}
    again = store.write(TABLE, puts)
    assert again == [Outcome.CONFLICT if carried_out else APPLIED] * 10
    assert store.read(TABLE, KEYS[:10], consistent=True) == [Stored(2, b"new")] * 10
    store.close()


@pytest.mark.server
@pytest.mark.parametrize("mishap", [Mishap.HANGS, Mishap.DRIPS], ids=lambda one: one.name)
@pytest.mark.parametrize("kept", [True, False])
def test_a_deadline_ends_a_call_that_hangs_or_drips(proxy: FaultyDynamoDB, mishap: Mishap, *, kept: bool) -> None:
    filled(proxy)
    store = store_at(proxy.server, read_timeouts=Timeouts(5.0, 30.0), write_timeouts=Timeouts(5.0, 0.3))
    if kept:
        store.read(TABLE, KEYS[:10])
    proxy.inject(Faults(READ, mishaps=lambda _: mishap))
    assert store.read(TABLE, KEYS[:10], deadline=0.2) == [ReadFailure.TIMEOUT] * 10
    # The call itself has ended with the deadline, long before its own timeout.
    began = time.monotonic()
    until(lambda: store.stats.timeout == 1)
    assert time.monotonic() - began < 20
    proxy.inject(Faults(WRITE, mishaps=lambda _: mishap))
    assert store.write(TABLE, [Put(KEYS[0], 1, b"new")]) == [UNKNOWN]
    store.close()


# ---------------------------------------------------------------------------------------------------- kept connections
@pytest.mark.server
def test_connections_are_kept_and_never_more_than_allowed(
    proxy: FaultyDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled(proxy, 1_000)
    # Counted here: the server learns of the end of one only after it has answered it.
    made: list[socket.socket] = []
    most = [0]
    connect, port = socket.create_connection, urlsplit(proxy.server.endpoint_url).port

    def counted(address: tuple[str, int], timeout: float, *more: object) -> socket.socket:
        found = connect(address, timeout)
        if address[1] == port:
            made.append(found)
            most.append(sum(one.fileno() >= 0 for one in list(made)))
        return found

    monkeypatch.setattr(socket, "create_connection", counted)
    store = store_at(proxy.server, concurrency=3, hedging=Hedging(share=1.0, floor=0.0))
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: store.read(TABLE, KEYS), range(24)):
            assert found == expected
    assert 1 <= max(most) <= 3
    # Those of second reads that came too late are closed.
    assert proxy.made <= 3 + store.stats.hedges + store.stats.reconnects
    store.close()


@pytest.mark.server
@pytest.mark.parametrize("hedging", [None, Hedging()])
def test_a_connection_that_was_closed_meanwhile_costs_nothing(proxy: FaultyDynamoDB, hedging: Hedging | None) -> None:
    expected = filled(proxy)
    store = store_at(proxy.server, hedging=hedging)
    for operation in (READ, WRITE, DELETE):
        proxy.inject(Faults(operation, mishaps=lambda _: Mishap.FALLS_ASLEEP))
    for seq in range(1, 6):
        # A write that is sent in the very moment in which the server closes is UNKNOWN; this is about after that.
        until(lambda: proxy.open == 0)
        assert store.read(TABLE, KEYS[:10]) == [Stored(seq, key * 2) for key in KEYS[:10]]
        assert store.write(TABLE, [Put(key, seq, key * 2) for key in KEYS[:10]]) == [APPLIED] * 10
    assert [one.value for one in expected] == [key * 2 for key in KEYS[:10]]
    until(lambda: proxy.open == 0)
    store.delete(TABLE, KEYS[:5])
    assert (store.stats.repeats, store.stats.lost) == (0, 0)
    store.close()


@pytest.mark.server
@pytest.mark.parametrize("deadline", [None, 50.0])
def test_a_read_on_a_kept_connection_that_breaks_is_sent_again_at_once_and_a_write_is_not(
    proxy: FaultyDynamoDB, deadline: float | None
) -> None:
    expected = filled(proxy)
    store = store_at(proxy.server, concurrency=1)
    assert store.read(TABLE, KEYS[:10]) == expected
    proxy.inject(Faults(READ, mishaps=lambda call: Mishap.NEVER_ARRIVES if call == 0 else None))
    assert store.read(TABLE, KEYS[:10], deadline=deadline) == expected
    assert (store.stats.reconnects, store.stats.repeats, store.stats.lost) == (1, 0, 0)
    assert store.write(TABLE, [Put(b"k", 0, b"x")]) == [APPLIED]
    proxy.inject(Faults(WRITE, mishaps=lambda call: Mishap.NEVER_ARRIVES if call == 0 else None))
    assert store.write(TABLE, [Put(b"k", 1, b"y")]) == [UNKNOWN]
    assert (store.stats.reconnects, store.stats.lost) == (1, 1)
    store.close()


# ------------------------------------------------------------------------------------------- where a call is waited for
@pytest.mark.server
def test_a_call_that_only_its_answer_is_to_be_waited_for_needs_no_thread(
    proxy: FaultyDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled(proxy, 150)
    store = store_at(proxy.server)

    calls, submit = [0], ThreadPoolExecutor.submit

    def counted(pool: ThreadPoolExecutor, *work: Any) -> Future[Any]:  # noqa: ANN401 - whatever it is
        calls[0] += 1
        return submit(pool, *work)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)

    def takes_a_thread(keys: Sequence[bytes]) -> bool:
        before = calls[0]
        assert store.read(TABLE, keys, deadline=50.0) == expected[: len(keys)]
        return calls[0] > before

    # It connects, and that may take any time: a name has to be looked up.
    assert takes_a_thread(KEYS[:10])
    assert not takes_a_thread(KEYS[:10])
    assert not takes_a_thread(KEYS[:100])
    proxy.inject(Faults(READ, mishaps=lambda _: Mishap.FALLS_ASLEEP))
    assert not takes_a_thread(KEYS[:10])
    until(lambda: proxy.open == 0)
    assert takes_a_thread(KEYS[:10])
    proxy.inject(Faults(READ))
    assert takes_a_thread(KEYS[:101])
    store.close()


# -------------------------------------------------------------------------------------------------------- second reads
def warmed_up(proxy: FaultyDynamoDB, **changes: object) -> DynamoDBStore:
    """A store with two open connections that knows what is usual, and has saved up some second reads."""
    store = store_at(proxy.server, **changes)
    for _ in range(LEARN_EVERY + 10):
        store.read(TABLE, KEYS[:10])
    proxy.inject(Faults(READ, delays=lambda _: 0.02))
    with ThreadPoolExecutor(2) as threads:
        while open_and_free(store) < 2:
            list(threads.map(lambda _: store.read(TABLE, KEYS[:10]), range(2)))
    return store


def open_and_free(store: DynamoDBStore) -> int:
    """Connections for reads that a second read could have."""
    assert isinstance(store._reading, DirectTransport)  # noqa: SLF001 - the server learns of the end of one late
    assert store._reading._ready is not None  # noqa: SLF001
    return sum(one.is_open for one in store._reading._ready[1]._free)  # noqa: SLF001


GENEROUS = Hedging(share=1.0, floor=0.05)


@pytest.mark.server
@pytest.mark.parametrize("slow", [0.0, 5.0])
def test_a_slow_read_is_asked_a_second_time_and_the_first_answer_counts(proxy: FaultyDynamoDB, slow: float) -> None:
    expected = filled(proxy)
    store = warmed_up(proxy, hedging=GENEROUS)
    before = store.stats.hedges
    reads = proxy.inject(Faults(READ, delays=lambda call: slow if call == 0 else 0.0))
    began = time.monotonic()
    assert store.read(TABLE, KEYS[:10]) == expected
    if slow:
        assert time.monotonic() - began < slow
        assert store.stats.hedges == before + 1
        assert store.stats.hedges_won >= 1
        assert len(reads.calls) == 2
        assert reads.calls[0] == reads.calls[1]
    assert store.read(TABLE, KEYS[:10]) == expected
    assert store.stats.repeats == 0
    store.close()


@pytest.mark.server
def test_a_second_read_that_breaks_leaves_the_first(proxy: FaultyDynamoDB) -> None:
    expected = filled(proxy)
    store = warmed_up(proxy, hedging=GENEROUS)
    reads = proxy.inject(
        Faults(
            READ,
            delays=lambda call: 2.0 if call == 0 else 0.0,
            mishaps=lambda call: Mishap.NEVER_ARRIVES if call == 1 else None,
        )
    )
    assert store.read(TABLE, KEYS[:10]) == expected
    assert len(reads.calls) == 2
    assert store.stats.lost == 0
    store.close()


@pytest.mark.server
@pytest.mark.parametrize("case", ["off", "throttled", "a write"])
def test_there_is_no_second_call(proxy: FaultyDynamoDB, case: str) -> None:
    expected = filled(proxy)
    hedging = None if case == "off" else replace(GENEROUS, quiet=60.0)
    store = warmed_up(proxy, hedging=hedging, sleep=lambda _: None)
    before = store.stats.hedges
    if case == "throttled":
        proxy.inject(Faults(READ, answers=lambda call: (400, "ThrottlingException") if call == 0 else None))
        assert store.read(TABLE, KEYS[:10]) == expected
    reads = proxy.inject(Faults(READ, delays=lambda _: 0.2))
    writes = proxy.inject(Faults(WRITE, delays=lambda _: 0.2))
    if case == "a write":
        assert store.write(TABLE, [Put(b"k", 0, b"x")]) == [APPLIED]
    else:
        assert store.read(TABLE, KEYS[:10]) == expected
    assert len(reads.calls) + len(writes.calls) == 1
    assert store.stats.hedges == before
    store.close()


@pytest.mark.server
def test_a_missing_second_connection_is_made_beside_the_read(proxy: FaultyDynamoDB) -> None:
    expected = filled(proxy)
    store = store_at(proxy.server, hedging=GENEROUS)
    for _ in range(LEARN_EVERY + 5):
        assert store.read(TABLE, KEYS[:10]) == expected
    proxy.inject(Faults(READ, delays=lambda _: 1.0))
    # The first of these finds none, if no read before was slow, and has one made; the next then does.
    assert store.read(TABLE, KEYS[:10]) == expected
    until(lambda: open_and_free(store) >= 2)
    before = store.stats.hedges
    assert store.read(TABLE, KEYS[:10]) == expected
    assert store.stats.hedges == before + 1
    store.close()


def test_second_reads_are_rationed() -> None:
    now = [0.0]
    hedger = Hedger(Hedging(share=0.05, quantile=0.95, floor=0.005, quiet=1.0), lambda: now[0])
    spent = 0
    for read in range(2_000):
        patience = hedger.patience()
        assert (patience is not None) <= (read >= LEARN_EVERY)
        spent += patience is not None and hedger.spend()
        hedger.took(0.002)
    assert 90 <= spent <= 100
    # Quiet times save up for ten, not for more.
    for _ in range(1_000):
        hedger.patience()
    assert sum(hedger.spend() for _ in range(50)) == 10


def test_what_is_slow_is_learnt() -> None:
    now = [0.0]
    hedger = Hedger(Hedging(share=1.0, floor=0.005), lambda: now[0])
    assert hedger.patience() is None
    for at in range(256):
        hedger.took(0.001 * (at % 100))
    assert hedger.patience() == pytest.approx(0.095, abs=0.006)
    hedger.throttled()
    assert hedger.patience() is None
    assert not hedger.spend()
    now[0] = 1.0
    assert hedger.spend()
    for _ in range(256):
        hedger.took(0.0001)
    assert hedger.patience() == 0.005
