"""Serving, end to end: in process and over HTTP, against the bare limits and against Feast's server, in the same run.

    python bench/serving.py [--items 5000] [--rounds 200] [--stores sqlite,dynamodb] [--no-feast] [--json]

In process: a whole `OnlineClient.get` against the bare client, which reads the same items and does nothing with them
(on DynamoDB it is the store itself, without what is above it).
Over HTTP: a request on a connection that is kept, JSON both ways, the answer read whole, not parsed; against a server
of the same make that does nothing but send an answer of that size, and against `feast serve` over the same rows in a
store of the same kind. Throughput: answers a second over one connection and over eight, client and server on the same
cores. Every request reads the store: the cache is off.
"""

import argparse
import http.client
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import pyarrow as pa
from harness import ROOT, Figure, Samples, compared, finish, parser
from harness.feast import PATH as FEAST_PATH
from harness.feast import feast_body, feast_serving
from harness.load import asked_once, under_load
from harness.served import COUNTS, Kind, fill, kinds, project

from feature_assets.clock import SystemClock
from feature_assets.offline.delta_ledger import ledger_of
from feature_assets.offline.lake import Lake
from feature_assets.online.dynamodb import DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.dynamodb_options import DynamoDBOptions
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.reader import OnlineReader
from feature_assets_tests.servers.dynamodb_local import dynamodb_local
from feature_assets_tests.servers.process import running

SIZES = (1, 100, 500)
IN_PROCESS = {"sqlite": 2.0, "dynamodb": 1.3}
"""How many times the bare client's time a read in process may take."""
MOST = 25.0
"""Milliseconds that the largest read on SQLite may take, 99 times in a hundred."""
FASTER_THAN_FEAST = {"sqlite": 10.0}
"""How many times our answer fits into Feast's. None on DynamoDB Local, whose own part both wait for: `bare_ms` says how
long that is, and no answer can be shorter."""
HTTP_SIZE = 100
CONNECTIONS = (1, 8)
JSON_HEADERS = {"content-type": "application/json"}
Asked = Sequence[int]
"""Numbers of entities."""
Entities = TypeVar("Entities")


@dataclass(frozen=True, slots=True)
class World:
    """A filled store: `bare` reads the keys of some tables and does nothing with them; `environment`: for a server."""

    name: str
    store: OnlineStore
    lake: Lake
    bare: Callable[[Sequence[str], Sequence[bytes]], object]
    environment: Mapping[str, str]
    feast: Mapping[str, object]
    feast_environment: Mapping[str, str] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------------------------- the stores


@contextmanager
def on_sqlite(items: int) -> Iterator[World]:
    """A file on this machine's disk."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "lake"
        path = root / "online.sqlite"
        root.mkdir()
        lake, store = Lake(str(root)), SQLiteStore(path)
        fill(store, ledger_of(lake), items, SystemClock().now() - timedelta(minutes=5))
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        connection.execute(f"PRAGMA mmap_size = {1 << 30}")

        def bare(tables: Sequence[str], keys: Sequence[bytes]) -> int:
            select, marks = "SELECT key, seq, value FROM", ", ".join("?" * len(keys))
            return sum(
                len(connection.execute(f'{select} "online.{table}" WHERE key IN ({marks})', keys).fetchall())
                for table in tables
            )

        yield World("sqlite", store, lake, bare, {"FEATURE_ASSETS_ROOT": str(root)}, {"type": "sqlite", "path": "f.db"})
        connection.close()
        store.close()


@contextmanager
def on_dynamodb(items: int) -> Iterator[World]:
    """DynamoDB Local, in a process of its own on this machine. The bare client is the store: items, not looked into."""
    with dynamodb_local() as server, tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        patient = Timeouts(1.0, 30.0)
        store = DynamoDBStore(
            "bench",
            **server.address,
            options=DynamoDBOptions(patient, patient, read_budget=30.0),
        )
        fill(store, ledger_of(lake), items, SystemClock().now() - timedelta(minutes=5))

        def bare(tables: Sequence[str], keys: Sequence[bytes]) -> int:
            return sum(len(found) for found in store.read_tables([(table, keys) for table in tables]))

        environment = {
            **server.environment,
            "FEATURE_ASSETS_ROOT": folder,
            "FEATURE_ASSETS_ONLINE": "dynamodb",
            "FEATURE_ASSETS_DYNAMODB_PREFIX": "bench",
            "FEATURE_ASSETS_DYNAMODB_ENDPOINT": server.endpoint_url,
            "FEATURE_ASSETS_AWS_REGION": server.region,
        }
        feast = {"type": "dynamodb", "region": server.region, "endpoint_url": server.endpoint_url}
        yield World("dynamodb", store, lake, bare, environment, feast, server.environment)
        store.close()


# --------------------------------------------------------------------------------------------------------- in process


def in_process(world: World, kind: Kind, options: argparse.Namespace) -> list[Figure]:
    """Every number of entities with every number of views."""
    reader = OnlineReader(project, world.store, ledger_of(world.lake), SystemClock(), lake=world.lake)
    client = OnlineClient(project, reader)
    return [
        one
        for count in COUNTS
        for size in SIZES
        for one in _in_process(world, kind, client, size=size, count=count, options=options)
    ]


def _in_process(  # one figure, by all that it is of
    world: World, kind: Kind, client: OnlineClient, *, size: int, count: int, options: argparse.Namespace
) -> list[Figure]:
    service, tables = kind.service(count), kind.tables(count)

    def ours(entities: pa.Table) -> Answer:
        return client.get(entities, service=service, deadline=30.0)

    def bare(keys: Sequence[bytes]) -> object:
        return world.bare(tables, keys)

    # Whoever asks has what he asks for: neither makes it here.
    rounds = chosen(options.items, size, count)
    asked = [pa.table({kind.key: kind.names.take(pa.array(one))}) for one in rounds]
    keys = keys_of(kind, rounds)
    assert bare(keys[0]) == size * count
    taken = compared({"ours": each(ours, asked), "bare": each(bare, keys)}, rounds=options.rounds, warmup=len(rounds))
    began = time.process_time()
    answers = [ours(one) for one in asked]
    cpu_ms = 1e3 * (time.process_time() - began) / len(rounds)
    more = {"ours_cpu_ms": cpu_ms, "stages_ms": stages(answers), **spread(taken)}
    label = f"{world.name}, in process, {kind.name}, {size} x {count}"
    ours_ms, bare_ms = 1e3 * taken["ours"].quiet, 1e3 * taken["bare"].quiet
    found = [Figure(label, ours_ms, bare_ms, "ms", at_most=IN_PROCESS[world.name], more=more)]
    if (world.name, size, count) == ("sqlite", SIZES[-1], COUNTS[-1]):
        found.append(Figure(f"p99, {label}", 1e3 * taken["ours"].percentile(99), MOST, "ms", at_most=1.0))
    return found


def stages(answers: Sequence[Answer]) -> dict[str, float]:
    """Where the time of an answer goes: of each stage what is usual, in milliseconds."""
    taken = [answer.stages.seconds for answer in answers]
    return {stage: round(1e3 * median(one[stage] for one in taken), 4) for stage in taken[0]}


def chosen(items: int, size: int, seed: int) -> list[list[int]]:
    """The entities of twenty rounds."""
    random = np.random.default_rng(1_000 * seed + size)
    return [random.choice(items, size, replace=False).tolist() for _ in range(20)]


def keys_of(kind: Kind, rounds: Sequence[Asked]) -> list[list[bytes]]:
    """Of each round the keys, as stored."""
    return [[kind.keys[at] for at in asked] for asked in rounds]


def each(read: Callable[[Entities], object], rounds: Sequence[Entities]) -> Callable[[], object]:
    """A read of the next round's entities."""
    turns = cycle(rounds)
    return lambda: read(next(turns))


def spread(taken: Mapping[str, Samples]) -> dict[str, float]:
    """What is usual, and what is rare, in milliseconds."""
    return {f"{name}_p{q}_ms": 1e3 * one.percentile(q) for name, one in taken.items() for q in (50, 95, 99)}


# --------------------------------------------------------------------------------------------------------- over HTTP


@contextmanager
def our_server(world: World) -> Iterator[int]:
    """`feature-assets serve`, in a process of its own, reading the store for every request."""
    environment = {
        **world.environment,
        "FEATURE_ASSETS_PROJECT": "harness.served:project",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "bench"), str(ROOT)]),
    }

    def command(port: int) -> list[str]:
        serve = [str(Path(sys.executable).with_name("feature-assets")), "serve", "--port", str(port)]
        return [*serve, "--no-audit", "--no-cache", "--deadline-ms", "10000"]

    with running("feature-assets serve", command, is_ready, environment=environment) as port:
        yield port


@contextmanager
def bare_server() -> Iterator[int]:
    """A server of the same make that sends as many bytes as the path says."""

    def command(port: int) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--lifespan", "off"]
        return [str(Path(sys.executable).with_name("uvicorn")), *options, "harness.bare_http:app"]

    environment = {"PYTHONPATH": str(ROOT / "bench")}
    with running(
        "uvicorn", command, lambda port: _status(port, "/10") == http.client.OK, environment=environment
    ) as port:
        yield port


def is_ready(port: int) -> bool:
    """Whether a server of ours can answer."""
    return _status(port, "/ready") == http.client.OK


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def body_of(kind: Kind, asked: Asked) -> bytes:
    """What asks our server for some entities."""
    return json.dumps({"columns": {kind.key: kind.names.take(pa.array(asked)).to_pylist()}}).encode()


def over_http(world: World, found: Sequence[Kind], options: argparse.Namespace) -> list[Figure]:
    """Latency of one connection at a time, against the bare server and against Feast; then throughput."""
    figures: list[Figure] = []
    with our_server(world) as ours, bare_server() as bare:
        for kind in found:
            figures += [
                _over_http(world, kind, ours, bare, size=size, count=count, options=options)
                for count in COUNTS
                for size in SIZES
            ]
        for kind in found:
            figures += _throughput(world, kind, ours, options)
        if options.feast:
            rows = found[0]
            with feast_serving(options.items, world.feast, world.feast_environment) as feast:
                figures += [_against_feast(world, rows, ours, feast, count=count, options=options) for count in COUNTS]
    return figures


def _over_http(  # one figure, by all that it is of
    world: World, kind: Kind, ours: int, bare: int, *, size: int, count: int, options: argparse.Namespace
) -> Figure:
    bodies = [body_of(kind, asked) for asked in chosen(options.items, size, count)]
    path = f"/v1/services/{kind.service(count)}"
    mine, other = (http.client.HTTPConnection("127.0.0.1", port) for port in (ours, bare))
    answer = len(asked_once(mine, path, bodies[0], JSON_HEADERS))
    turns = cycle(bodies)
    contestants = {
        "ours": lambda: asked_once(mine, path, next(turns), JSON_HEADERS),
        "bare": lambda: asked_once(other, f"/{answer}", bodies[0], JSON_HEADERS),
    }
    taken = compared(contestants, rounds=options.rounds, warmup=len(bodies))
    more = {"answer_bytes": answer, **spread(taken)}
    label = f"{world.name}, HTTP, {kind.name}, {size} x {count}"
    return Figure(label, 1e3 * taken["ours"].median, 1e3 * taken["bare"].median, "ms", more=more)


def _throughput(world: World, kind: Kind, port: int, options: argparse.Namespace) -> list[Figure]:
    bodies = [body_of(kind, asked) for asked in chosen(options.items, HTTP_SIZE, 1)]
    loads = [
        under_load(
            port,
            f"/v1/services/{kind.service(1)}",
            bodies,
            JSON_HEADERS,
            connections=connections,
            seconds=options.seconds,
        )
        for connections in CONNECTIONS
    ]
    one, many = loads
    more = {f"p{q}_ms": 1e3 * getattr(many, f"p{q}") for q in (50, 95, 99)}
    label = (
        f"{world.name}, HTTP, {kind.name}, {HTTP_SIZE} x 1, answers/s over {CONNECTIONS[-1]} connections (bare: over 1)"
    )
    return [Figure(label, many.per_second, one.per_second, "1/s", more=more)]


def _against_feast(
    world: World, kind: Kind, ours: int, feast: int, *, count: int, options: argparse.Namespace
) -> Figure:
    rounds = chosen(options.items, HTTP_SIZE, count)
    path = f"/v1/services/{kind.service(count)}"
    mine, other = (http.client.HTTPConnection("127.0.0.1", port) for port in (ours, feast))
    our_bodies = cycle([body_of(kind, asked) for asked in rounds])
    feast_bodies = cycle([feast_body(kind.names.take(pa.array(asked)), count) for asked in rounds])
    contestants = {
        "ours": lambda: asked_once(mine, path, next(our_bodies), JSON_HEADERS),
        "feast": lambda: asked_once(other, FEAST_PATH, next(feast_bodies), JSON_HEADERS),
    }
    # Servers are asked again and again: each is asked some times before the other one has this machine's caches.
    taken = compared(contestants, rounds=options.rounds, warmup=len(rounds), in_a_row=len(rounds))
    label = f"{world.name}, HTTP, {HTTP_SIZE} x {count}, Feast's time over ours"
    tables = kind.tables(count)
    bare = compared({"bare": each(lambda keys: world.bare(tables, keys), keys_of(kind, rounds))}, rounds=options.rounds)
    return Figure(
        label,
        1e3 * taken["feast"].quiet,
        1e3 * taken["ours"].quiet,
        "ms",
        at_least=FASTER_THAN_FEAST.get(world.name),
        more={"bare_ms": 1e3 * bare["bare"].quiet, **spread(taken)},
    )


def main() -> None:
    """Run it."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=5_000, help="entities in each view")
    made.add_argument("--rounds", type=int, default=200, help="requests that are timed, of each kind")
    made.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    made.add_argument("--stores", default="sqlite,dynamodb", help="which stores, separated by commas")
    made.add_argument("--feast", action=argparse.BooleanOptionalAction, default=True, help="measure Feast's server too")
    options = made.parse_args()
    opened = {"sqlite": on_sqlite, "dynamodb": on_dynamodb}
    figures: list[Figure] = []
    for name in options.stores.split(","):
        with opened[name](options.items) as world:
            found = kinds(options.items)
            for kind in found:
                figures += in_process(world, kind, options)
            figures += over_http(world, found, options)
    finish(figures, options, headline=next((one.name for one in figures if one.name.startswith("p99")), None))


if __name__ == "__main__":
    main()
