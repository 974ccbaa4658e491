"""Features of entities, read online: a whole `OnlineReader.get` against the bare client reading the same bytes.

The bare client reads the same items of the same tables by the same keys, and does nothing with them: on SQLite one
statement per view, rows fetched; on DynamoDB BatchGetItem, 100 keys a call, calls in parallel, by the direct transport
with nothing around it. What ours does beyond that: it reads the request, encodes keys, says which version answers,
decodes items and values, judges each value, and makes columns.

    python bench/online_read.py [--items 20000] [--rounds 100] [--stores sqlite,dynamodb] [--json]

Each round asks for other entities, all of which are there. For DynamoDB two more are noted: boto3's own client with the
same calls, and the server's own time: the same requests, signed before, through a plain connection.
"""

import argparse
import http.client
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import numpy as np
import pyarrow as pa
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.session import get_session
from harness import Figure, Samples, compared, finish, parser

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.keys import encoded_keys
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.codec import ValueCodec
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Endpoint, Timeouts
from feature_assets.online.dynamodb_direct import DirectTransport, Line
from feature_assets.online.dynamodb_stats import CallStats
from feature_assets.online.item import (
    WATERMARK_KEY,
    BatchSection,
    Item,
    Row,
    Watermark,
    pack_item,
    pack_watermark,
    table_name,
)
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore, Outcome, Put
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.status import Status
from feature_assets_tests.histories import SOURCE, START, view_of
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal, dynamodb_local

SIZES = (1, 100, 500)
VIEWS = (1, 3)
ALLOWED = {"sqlite": 2.0, "dynamodb": 1.3}
"""How many times the bare client's time a read may take."""
FEATURES = {
    "flights": pa.int64(),
    "mean_dep_delay": pa.float64(),
    "mean_arr_delay": pa.float64(),
    "share_late": pa.float64(),
    "share_cancelled": pa.float64(),
    "cancelled": pa.bool_(),
    "bound_for": pa.string(),
}
NOW = START + timedelta(days=40)
Asked = Sequence[int]
"""Numbers of entities."""
Part = dict[str, Any]
"""What one BatchGetItem asks for: by table, its keys in DynamoDB's notation."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The same read, by the product, the bare client, and others to look at: each reads the entities of one round."""

    ours: Callable[[Asked, int], object]
    bare: Callable[[Asked, int], object]
    others: Mapping[str, Callable[[Asked, int], object]] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------------------- the data


def views() -> list[FeatureView]:
    """Three views of one entity, with a time to live and a freshness objective, as in earnest."""
    options = {"ttl": timedelta(days=7), "freshness": timedelta(days=2)}
    return [view_of(name, {"tailnum": pa.string()}, FEATURES, **options) for name in ("first", "second", "third")]


def project_of(found: Sequence[FeatureView]) -> Project:
    """A service for each number of views."""
    services = [FeatureService(f"of_{count}", found[:count]) for count in VIEWS]
    return Project("bench", [SOURCE], found, services)


def names_of(items: int) -> pa.Array:
    """The keys of all entities."""
    return pa.array([f"N{number:06d}" for number in range(items)])


def puts_of(view: FeatureView, items: int, seed: int) -> list[Put]:
    """An item per entity, and the watermark."""
    random = np.random.default_rng(seed)
    columns = {name: pa.array(random.normal(size=items)) for name, dtype in FEATURES.items() if dtype == pa.float64()}
    columns["flights"] = pa.array(random.integers(0, 500, items))
    columns["cancelled"] = pa.array(random.random(items) < 0.05)
    columns["bound_for"] = pa.array(random.choice(["JFK", "LAX", "ORD", "ATL"], items))
    values = ValueCodec(view.features).pack_table(pa.table(columns))
    keys = encoded_keys(pa.table({"tailnum": names_of(items)}), ["tailnum"])
    sent_at, day = to_us(NOW - timedelta(hours=3)), NOW.date().isoformat()
    found = [
        Put(key, 0, pack_item(Item(0, BatchSection(7, sent_at, Row(sent_at - at, 0, day, value)))))
        for at, (key, value) in enumerate(zip(keys, values, strict=True))
    ]
    return [*found, Put(WATERMARK_KEY, 0, pack_watermark(Watermark(7, sent_at, sent_at)))]


def fill(store: OnlineStore, found: Sequence[FeatureView], items: int) -> MemoryLedger:
    """Write the items of all views; returns a ledger by which they are served."""
    ledger = MemoryLedger()
    for seed, view in enumerate(found):
        version = view_version(view)
        table = table_name(view.name, version)
        store.prepare(table)
        puts = puts_of(view, items, seed)
        for start in range(0, len(puts), 1_000):
            assert set(store.write(table, puts[start : start + 1_000])) == {Outcome.APPLIED}
        serving = LedgerRow(
            kind="serving", view=view.name, version=version, target=store.target, sent_at=0, acked_at=0, commit_seq=7
        )
        ledger.append([serving])
    return ledger


def tables_of(found: Sequence[FeatureView]) -> list[str]:
    """The names of the tables."""
    return [table_name(view.name, view_version(view)) for view in found]


def reads_of(store: OnlineStore, items: int) -> Callable[[Asked, int], object]:
    """The product's read: entities and a number of views."""
    found = views()
    reader = OnlineReader(project_of(found), store, fill(store, found, items), ManualClock(NOW))
    names = names_of(items)

    def read(asked: Asked, count: int) -> object:
        return reader.get(f"of_{count}", pa.table({"tailnum": names.take(pa.array(asked))}))

    for count in VIEWS:
        answer = reader.get(f"of_{count}", pa.table({"tailnum": names}))
        assert len(answer) == items
        assert {status for one in answer.status.values() for status in one} == {Status.PRESENT}
    return read


# ----------------------------------------------------------------------------------------------------------- the stores


@contextmanager
def on_sqlite(items: int) -> Iterator[Contest]:
    """Over a file on this machine's disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "online.sqlite"
        store = SQLiteStore(path)
        ours = reads_of(store, items)
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        connection.execute(f"PRAGMA mmap_size = {1 << 30}")
        tables = tables_of(views())
        keys = encoded_keys(pa.table({"tailnum": names_of(items)}), ["tailnum"])

        def bare(asked: Asked, count: int) -> list[list[tuple[bytes, int, bytes]]]:
            wanted = [keys[at] for at in asked]
            marks = ", ".join("?" * len(wanted))
            select = "SELECT key, seq, value FROM"
            return [
                connection.execute(f'{select} "online.{table}" WHERE key IN ({marks})', wanted).fetchall()
                for table in tables[:count]
            ]

        assert [len(rows) for rows in bare(range(min(items, 50)), 3)] == [min(items, 50)] * 3
        yield Contest(ours, bare)
        connection.close()
        store.close()


@contextmanager
def on_dynamodb(items: int) -> Iterator[Contest]:
    """Over DynamoDB Local, in a process of its own on this machine."""
    with dynamodb_local() as server:
        store = DynamoDBStore(
            "bench",
            **server.address,
            # As it is, but for the patience: a machine that does other things too is no fault of the store.
            options=DynamoDBOptions(Timeouts(1.0, 30.0), Timeouts(1.0, 30.0), read_budget=30.0),
        )
        ours = reads_of(store, items)
        tables = [f"bench.{table}" for table in tables_of(views())]
        keys = encoded_keys(pa.table({"tailnum": names_of(items)}), ["tailnum"])
        client = boto3.session.Session().client(
            "dynamodb",
            region_name=server.region,
            endpoint_url=server.endpoint_url,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            config=Config(max_pool_connections=16),
        )
        endpoint = Endpoint(server.region, server.endpoint_url, server.access_key, server.secret_key)
        line = Line(Timeouts(1.0, 30.0), 16, None, CallStats())
        transport = DirectTransport(client, get_session(), endpoint, line)
        with ThreadPoolExecutor(16) as threads:

            def by_boto3(part: Part) -> int:
                return sum(len(found) for found in client.batch_get_item(RequestItems=part)["Responses"].values())

            def direct(part: Mapping[str, Sequence[bytes]]) -> int:
                return len(transport.batch_get(part, consistent=False).items)

            def boto3_only(asked: Asked, count: int) -> int:
                parts = chunked([(table, keys[at]) for table in tables[:count] for at in asked])
                return by_boto3(parts[0]) if len(parts) == 1 else sum(threads.map(by_boto3, parts))

            def bare(asked: Asked, count: int) -> int:
                parts = [by_table(part) for part in hundreds([(t, keys[at]) for t in tables[:count] for at in asked])]
                return direct(parts[0]) if len(parts) == 1 else sum(threads.map(direct, parts))

            for read in (boto3_only, bare):
                assert read(range(min(items, 250)), 3) == 3 * min(items, 250)
            yield Contest(ours, bare, {"boto3": boto3_only, "server": server_only(server, tables, keys)})
        transport.close()
        store.close()


def hundreds(addresses: Sequence[tuple[str, bytes]]) -> list[Sequence[tuple[str, bytes]]]:
    """A hundred at a time."""
    return [addresses[start : start + 100] for start in range(0, len(addresses), 100)]


def by_table(addresses: Sequence[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    """The keys of each table."""
    found: dict[str, list[bytes]] = {}
    for table, key in addresses:
        found.setdefault(table, []).append(key)
    return found


def chunked(addresses: Sequence[tuple[str, bytes]]) -> list[Part]:
    """A hundred keys a call, by table, as boto3 wants them."""
    return [
        {table: {"Keys": [{"k": {"B": key}} for key in keys]} for table, keys in by_table(part).items()}
        for part in hundreds(addresses)
    ]


def server_only(server: DynamoDBLocal, tables: Sequence[str], keys: Sequence[bytes]) -> Callable[[Asked, int], object]:
    """The requests of a read, one after the other on one connection: signed before, answers not parsed.

    The server looks at no dates, so that a signature serves for all rounds.
    """
    signed: dict[tuple[tuple[int, ...], int], list[AWSPreparedRequest]] = {}
    sent: list[AWSPreparedRequest] = []
    client = server.client()
    client.meta.events.register("before-send.dynamodb.BatchGetItem", lambda request, **_: sent.append(request))
    address = urlsplit(server.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)

    def prepared(asked: Asked, count: int) -> list[AWSPreparedRequest]:
        known = (tuple(asked), count)
        if known not in signed:
            sent.clear()
            for part in chunked([(table, keys[at]) for table in tables[:count] for at in asked]):
                client.batch_get_item(RequestItems=part)
            signed[known] = list(sent)
        return signed[known]

    def read(asked: Asked, count: int) -> int:
        size = 0
        for request in prepared(asked, count):
            headers = {name: _text(value) for name, value in request.headers.items()}
            connection.request("POST", "/", body=cast("bytes", request.body), headers=headers)
            size += len(connection.getresponse().read())
        return size

    return read


def _text(value: str | bytes) -> str:
    # Signed headers are bytes, whatever the annotation says.
    return value if isinstance(value, str) else value.decode()


# ---------------------------------------------------------------------------------------------------------- the contest


def figures(kind: str, contest: Contest, options: argparse.Namespace) -> list[Figure]:
    """Every number of entities with every number of views."""
    return [_figure(kind, contest, options, size, count) for count in VIEWS for size in SIZES if size <= options.items]


def _figure(kind: str, contest: Contest, options: argparse.Namespace, size: int, count: int) -> Figure:
    random = np.random.default_rng(size * 10 + count)
    rounds: list[list[int]] = [random.choice(options.items, size, replace=False).tolist() for _ in range(20)]

    def each(read: Callable[[Asked, int], object]) -> Callable[[], object]:
        turns = cycle(rounds)
        return lambda: read(next(turns), count)

    contestants = {"ours": each(contest.ours), "bare": each(contest.bare)}
    contestants |= {name: each(read) for name, read in contest.others.items()}
    # Every round once, so that statements are prepared and requests signed.
    taken = compared(contestants, rounds=options.rounds, warmup=len(rounds))
    # The ratio is of the undisturbed rounds: what else the machine does falls on both, but not in equal parts.
    more = {f"{name}_{what}_ms": 1e3 * value for name, one in taken.items() for what, value in _spread(one).items()}
    ours, bare = 1e3 * taken["ours"].quiet, 1e3 * taken["bare"].quiet
    return Figure(f"{kind}, {size} x {count}", ours, bare, "ms", at_most=ALLOWED[kind], more=more)


def _spread(samples: Samples) -> dict[str, float]:
    return {"quiet": samples.quiet, "p50": samples.median, "p99": samples.percentile(99)}


def main() -> None:
    """Run it."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=20_000, help="entities in each view")
    made.add_argument("--rounds", type=int, default=100, help="reads that are timed, of each kind")
    made.add_argument("--stores", default="sqlite,dynamodb", help="which stores, separated by commas")
    options = made.parse_args()
    opened = {"sqlite": on_sqlite, "dynamodb": on_dynamodb}
    found: list[Figure] = []
    for kind in options.stores.split(","):
        with opened[kind](options.items) as contest:
            found += figures(kind, contest, options)
    largest = [one.name for one in found if one.name.endswith("x 3")][-1]
    finish(found, options, headline=next((one.name for one in found if one.name == "sqlite, 500 x 3"), largest))


if __name__ == "__main__":
    main()
