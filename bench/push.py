"""A push of rows into an online store: from the committed Delta table to acknowledged buckets, against the bare writes.

The bare client makes the same conditional writes of the same bytes into an empty table, and nothing else: on SQLite a
statement per item, a hundred in a flushed transaction; on DynamoDB PartiQL statements through boto3, 25 a call, calls
in parallel. What ours does beyond that: it plans, reads Delta, finds each entity's winning row, packs it, records
intents and acknowledgements in a Delta ledger, and writes the watermark.

    python bench/push.py [--rows 50000] [--dynamodb-rows 4000] [--rounds 3] [--stores sqlite,dynamodb] [--json]

Each round fills a store of its own. Measured: rows per second.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
from botocore.config import Config
from harness import Figure, compared, finish, parser

from feature_assets.clock import ManualClock
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.online.contents import contents_of
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.memory import MemoryStore
from feature_assets.online.push import PushOptions, PushResult, plan_push, push
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore, Outcome, Put
from feature_assets_tests.histories import START, view_of
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal, dynamodb_local

FEATURES = {
    "flights": pa.int64(),
    "mean_dep_delay": pa.float64(),
    "mean_arr_delay": pa.float64(),
    "share_late": pa.float64(),
    "share_cancelled": pa.float64(),
    "bound_for": pa.string(),
}
DAYS = 3
"""Partitions in the state; every entity has a row in each, and the last one wins."""
NOW = START + timedelta(days=DAYS + 1)
TABLE = "bare.0123456789"


class Recorded(MemoryStore):
    """A store that remembers what it was told to write."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[Put] = []

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        self.puts += puts
        return super().write(table, puts)


@dataclass(frozen=True, slots=True)
class History:
    """A committed and passed view, and how to push it: to an empty store, with a ledger that knows nothing yet."""

    view: FeatureView
    lake: Lake
    ledgers: Path

    def pushed(self, store: OnlineStore, name: str) -> PushResult:
        """Push all of it."""
        ledger: Ledger = DeltaLedger(Lake(str(self.ledgers / name)))
        table, version = feature_table(self.lake, self.view), view_version(self.view)
        plan = plan_push(
            self.view,
            version=version,
            table=table,
            verdicts=Verdicts(self.lake),
            ledger=ledger,
            target=store.target,
        )
        assert plan is not None
        options = PushOptions(contents_of(self.view))
        result = push(plan, self.view, table=table, ledger=ledger, store=store, clock=ManualClock(NOW), options=options)
        assert result.conflicts == 0
        return result

    def puts(self) -> list[Put]:
        """What a push writes."""
        store = Recorded()
        self.pushed(store, "recorded")
        return store.puts


@contextmanager
def history(entities: int) -> Iterator[History]:
    """A view of so many entities, in three partitions."""
    view = view_of("aircraft", {"tailnum": pa.string()}, FEATURES, ttl=timedelta(days=30))
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        days = {name_of(day): _day(day, entities) for day in range(DAYS)}
        committed = feature_table(lake, view).commit(days, source_seq=dict.fromkeys(days, 1))
        assert committed.seq is not None
        seq, version = committed.seq, view_version(view)
        Verdicts(lake).record([_passed(view.name, version, partition, seq) for partition in days])
        yield History(view, lake, Path(folder) / "ledgers")


def _passed(view: str, version: str, partition: str, commit_seq: int) -> Verdict:
    return Verdict(view=view, version=version, partition=partition, commit_seq=commit_seq, passed=True, checked_at=NOW)


def name_of(day: int) -> str:
    """The partition of a day."""
    return (START + timedelta(days=day)).date().isoformat()


def _day(day: int, entities: int) -> pa.Table:
    random = np.random.default_rng(day)
    keys = pa.table({"tailnum": [f"N{number:06d}" for number in range(entities)]})
    instants = pa.array([START + timedelta(days=day, hours=12)] * entities, pa.timestamp("us", "UTC"))
    columns = {name: pa.array(random.normal(size=entities)) for name in FEATURES}
    columns["flights"] = pa.array(random.integers(0, 500, entities))
    columns["bound_for"] = pa.array(random.choice(["JFK", "LAX", "ORD", "ATL"], entities))
    buckets = pa.array(buckets_of(encoded_keys(keys, ["tailnum"]), 16))
    fixed = {"event_at": instants, "arrived_at": instants, "sequence": pa.array([0] * entities, pa.int64())}
    return pa.table({"tailnum": keys["tailnum"], **fixed, **columns, "bucket": buckets})


# ----------------------------------------------------------------------------------------------------------- the stores


def on_sqlite(options: argparse.Namespace) -> Figure:
    """Into a fresh file each round."""
    with history(options.rows) as made, tempfile.TemporaryDirectory() as folder:
        puts, names = made.puts(), count()

        def ours() -> None:
            name = f"ours{next(names)}"
            store = SQLiteStore(Path(folder) / f"{name}.sqlite")
            assert made.pushed(store, name).entities == options.rows
            store.close()

        def bare() -> None:
            path = Path(folder) / f"bare{next(names)}.sqlite"
            connection = sqlite3.connect(path, isolation_level=None)
            for pragma in ("page_size = 16384", "journal_mode = WAL", "synchronous = FULL"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute(
                "CREATE TABLE item (key BLOB NOT NULL UNIQUE, seq INTEGER, expires_at INTEGER, value BLOB)"
            )
            insert = "INSERT INTO item VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING"
            for start in range(0, len(puts), 100):
                connection.execute("BEGIN IMMEDIATE")
                for put in puts[start : start + 100]:
                    assert connection.execute(insert, (put.key, put.expires_at, put.value)).rowcount == 1
                connection.execute("COMMIT")
            connection.close()

        return _figure("sqlite", ours, bare, len(puts), options.rounds)


def on_dynamodb(options: argparse.Namespace) -> Figure:
    """Into a fresh database each round."""
    with dynamodb_local() as server, history(options.dynamodb_rows) as made, ThreadPoolExecutor(16) as threads:
        puts, names = made.puts(), count()

        def ours() -> None:
            store = _store(server.apart())
            assert made.pushed(store, f"ours{next(names)}").entities == options.dynamodb_rows
            store.close()

        def bare() -> None:
            _bare_dynamodb(server.apart(), puts, threads)

        return _figure("dynamodb", ours, bare, len(puts), options.rounds)


def _bare_dynamodb(server: DynamoDBLocal, puts: Sequence[Put], threads: ThreadPoolExecutor) -> None:
    store = _store(server)
    store.prepare(TABLE)
    store.close()
    client = boto3.session.Session().client(
        "dynamodb",
        region_name=server.region,
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(max_pool_connections=16),
    )

    def write(chunk: Sequence[Put]) -> int:
        answers = client.batch_execute_statement(Statements=_inserts(chunk))["Responses"]
        return sum("Error" not in one for one in answers)

    # As a push does: a hundred items, then the next hundred.
    for start in range(0, len(puts), 100):
        part = puts[start : start + 100]
        assert sum(threads.map(write, [part[at : at + 25] for at in range(0, len(part), 25)])) == len(part)
    client.close()


def _store(server: DynamoDBLocal) -> DynamoDBStore:
    patient = Timeouts(1.0, 30.0)
    return DynamoDBStore(
        "bench",
        **server.address,
        options=DynamoDBOptions(patient, patient),
    )


def _inserts(puts: Sequence[Put]) -> list[Any]:
    return [
        {
            "Statement": f"""INSERT INTO "bench.{TABLE}" VALUE {{'k': ?, 's': ?, 'v': ?, 'x': ?}}""",
            "Parameters": [
                {"B": put.key},
                {"N": "1"},
                {"B": put.value},
                {"N": str((put.expires_at or 0) // 1_000_000)},
            ],
        }
        for put in puts
    ]


def _figure(kind: str, ours: Callable[[], None], bare: Callable[[], None], rows: int, rounds: int) -> Figure:
    taken = compared({"ours": ours, "bare": bare}, rounds=rounds, warmup=1)
    more: dict[str, object] = {"rows": rows, "seconds": taken["ours"].best, "bare_seconds": taken["bare"].best}
    return Figure(f"{kind}, push", rows / taken["ours"].best, rows / taken["bare"].best, "rows/s", more=more)


def main() -> None:
    """Run it."""
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=50_000, help="entities pushed to SQLite")
    made.add_argument("--dynamodb-rows", type=int, default=4_000, help="entities pushed to DynamoDB Local")
    made.add_argument("--rounds", type=int, default=3, help="pushes that are timed, of each kind")
    made.add_argument("--stores", default="sqlite,dynamodb", help="which stores, separated by commas")
    options = made.parse_args()
    benches = {"sqlite": on_sqlite, "dynamodb": on_dynamodb}
    finish([benches[kind](options) for kind in options.stores.split(",")], options)


if __name__ == "__main__":
    main()
