"""Windows of entities, read online: a whole `OnlineReader.get` against the bare client reading the same bytes.

    python bench/window_read.py [--items 5000] [--rounds 100] [--json]

The views are the usual ones (`harness.usual`): each has five aggregates over an hour, a day and a week, so that three
views are 45 features. The bare client does one statement per view on the same SQLite file and fetches its rows. What
ours does beyond that is mostly to decode rings, to merge their tiles and to finish features: *decode*, which is timed
apart, from bytes that have been read. Each round asks for other entities, some quiet and some busy.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
from harness import Figure, Samples, compared, finish, parser
from harness.usual import ENTITY, PUSHED, items_of, keys_of, usual_view, zipf

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.compute.keys import encoded_keys
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.item import WATERMARK_KEY, Watermark, pack_watermark, table_name, unpack_bodies
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import Outcome, Put
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import Status
from feature_assets.serving.values import values_of
from feature_assets.serving.window_values import WindowValues
from feature_assets_tests.histories import SOURCE

SIZES = (1, 100, 500)
VIEWS = (1, 3)
MOST = 25.0
"""Milliseconds that the largest read may take."""
NOW = PUSHED + timedelta(minutes=20)
Asked = Sequence[int]
"""Numbers of entities."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The same read three times: by the product, by the bare client, and what the product does with the bytes."""

    ours: Callable[[Asked, int], object]
    bare: Callable[[Asked, int], object]
    decode: Callable[[Asked, int], object]


def filled(store: SQLiteStore, views: Sequence[FeatureView], items: Sequence[Sequence[bytes]]) -> MemoryLedger:
    """Write the items; returns a ledger by which they are served."""
    ledger = MemoryLedger()
    sent_at = to_us(PUSHED)
    watermark = Put(WATERMARK_KEY, 0, pack_watermark(Watermark(7, sent_at, sent_at)))
    for view, values in zip(views, items, strict=True):
        version = view_version(view)
        table = table_name(view.name, version)
        store.prepare(table)
        puts = [*(Put(key, 0, value) for key, value in zip(encoded(len(values)), values, strict=True)), watermark]
        assert set(store.write(table, puts)) == {Outcome.APPLIED}
        serving = LedgerRow(
            kind="serving", view=view.name, version=version, target=store.target, sent_at=0, acked_at=0, commit_seq=7
        )
        ledger.append([serving])
    return ledger


def encoded(items: int) -> list[bytes]:
    """The keys as they are stored."""
    return encoded_keys(pa.table({"card": keys_of(items)}), ENTITY.key_names)


def bare_reads(
    path: Path, tables: Sequence[str], keys: Sequence[bytes]
) -> tuple[sqlite3.Connection, Callable[[Asked, int], object]]:
    """The bare client, and its reads."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
    connection.execute(f"PRAGMA mmap_size = {1 << 30}")

    def read(asked: Asked, count: int) -> list[list[tuple[bytes, int, bytes]]]:
        wanted = [keys[at] for at in asked]
        select, marks = "SELECT key, seq, value FROM", ", ".join("?" * len(wanted))
        return [
            connection.execute(f'{select} "online.{table}" WHERE key IN ({marks})', wanted).fetchall()
            for table in tables[:count]
        ]

    return connection, read


@contextmanager
def contest(items: int) -> Iterator[Contest]:
    """Over a file on this machine's disk."""
    views = [usual_view(name) for name in ("first", "second", "third")]
    services = [FeatureService(f"of_{count}", views[:count]) for count in VIEWS]
    values = [items_of(view, zipf(items), seed) for seed, view in enumerate(views)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "online.sqlite"
        store = SQLiteStore(path)
        reader = OnlineReader(
            Project("bench", [SOURCE], views, services), store, filled(store, views, values), ManualClock(NOW)
        )
        names, keys = keys_of(items), encoded(items)
        tables = [table_name(view.name, view_version(view)) for view in views]
        connection, bare = bare_reads(path, tables, keys)

        def ours(asked: Asked, count: int) -> object:
            return reader.get(f"of_{count}", pa.table({"card": names.take(pa.array(asked))}))

        def decode(asked: Asked, count: int) -> object:
            at = to_us(NOW)
            bodies = [unpack_bodies([mine[one] for one in asked]) for mine in values[:count]]
            return values_of(list(zip(readings, bodies, strict=False)), at, Stages())

        readings = [WindowValues.of(layout_of(view), [one.name for one in view.features]) for view in views]
        answer = reader.get("of_3", pa.table({"card": names}))
        assert len(answer) == items
        assert {status for one in answer.status.values() for status in one} <= {Status.PRESENT, Status.NULL}
        yield Contest(ours, bare, decode)
        connection.close()
        store.close()


def figure(of: Contest, options: argparse.Namespace, size: int, count: int) -> list[Figure]:
    """The read against the bare one; the largest also against what it may take, and its parts."""
    random = np.random.default_rng(size * 10 + count)
    rounds: list[list[int]] = [random.choice(options.items, size, replace=False).tolist() for _ in range(20)]

    def each(read: Callable[[Asked, int], object]) -> Callable[[], object]:
        turns = cycle(rounds)
        return lambda: read(next(turns), count)

    contestants = {"ours": each(of.ours), "bare": each(of.bare), "decode": each(of.decode)}
    taken = compared(contestants, rounds=options.rounds, warmup=len(rounds))
    more = {f"{name}_{what}_ms": 1e3 * value for name, one in taken.items() for what, value in spread(one).items()}
    ours, bare, decode = (1e3 * taken[name].quiet for name in contestants)
    label = f"{size} x {count}"
    found = [
        Figure(f"sqlite, {label}", ours, bare, "ms", more=more),
        Figure(f"decode, {label}", decode, ours, "ms"),
    ]
    if (size, count) == (SIZES[-1], VIEWS[-1]):
        found[1] = Figure(f"decode, {label}", decode, MOST, "ms", at_most=0.5)
        found.insert(0, Figure(f"p99, {label}", 1e3 * taken["ours"].percentile(99), MOST, "ms", at_most=1.0))
    return found


def spread(samples: Samples) -> dict[str, float]:
    """What is usual, and what is rare."""
    return {"p50": samples.median, "p99": samples.percentile(99)}


def main() -> None:
    """Run it."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=5_000, help="entities in each view")
    made.add_argument("--rounds", type=int, default=100, help="reads that are timed, of each kind")
    options = made.parse_args()
    with contest(options.items) as of:
        found = [
            one
            for count in VIEWS
            for size in SIZES
            if size <= options.items
            for one in figure(of, options, size, count)
        ]
    headline = next((one.name for one in found if one.name.startswith("p99")), found[-2].name)
    finish(found, options, headline=headline)


if __name__ == "__main__":
    main()
