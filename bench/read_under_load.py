"""Reads while a push writes at its rated load and a backfill computes, against the same reads on a quiet machine.

Reads are a whole `OnlineClient.get` on a SQLite file; beside them, each in a process of its own: a push of new days of
another view into the same file, paced to half of the rate that it sustains alone, and a backfill of the flights example
that never ends. Quiet and loaded stretches take turns.

    python bench/read_under_load.py [--items 5000] [--turns 4] [--reads 500] [--priority background] [--json]

Measured: the 99th percentile under load; the limit: that of the quiet stretches. `--priority`: as runs have it by
FEATURE_ASSETS_RUN_PRIORITY. How much the push got done meanwhile is in `pushed_per_second`: the reads take one of two
processors whole, and the backfill wants the other one too.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from harness import Figure, Samples, finish, parser, timed
from harness.served import fill, kinds, project, tails_of

from feature_assets.clock import SystemClock
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.definition.version import view_version
from feature_assets.offline.delta_ledger import ledger_of
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, verdicts_of
from feature_assets.online.contents import contents_of
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, push
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.priority import give_way
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.reader import OnlineReader
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.histories import view_of

PUSHED = view_of("pushed", {"tailnum": pa.string()}, {"mean": pa.float64(), "count": pa.int64()})
READS = (("rows", 100, 1), ("rows", 500, 3), ("windows", 100, 3))
ALLOWED = 1.5
PUSHED_SO_FAR = "pushed"
BATCH = 2_000
"""Entities in one push."""


# ----------------------------------------------------------------------------------------- what runs beside the reads


def push_days(root: Path, rate: float | None, seconds: float) -> None:
    """Push day after day, at `rate` entities a second (None: as fast as it goes); prints the rate reached."""
    lake, store, clock = Lake(str(root / "lake")), SQLiteStore(root / "online.sqlite"), SystemClock()
    table, ledger, verdicts = feature_table(lake, PUSHED), ledger_of(lake), verdicts_of(lake)
    version, began, done = view_version(PUSHED), time.monotonic(), 0
    first = date(2024, 1, 1)
    while time.monotonic() - began < seconds:
        day = (first + timedelta(days=done // BATCH)).isoformat()
        committed = table.commit({day: _day(day)}, source_seq={day: 1})
        if committed.seq is not None:
            found = Verdict(
                view=PUSHED.name,
                version=version,
                partition=day,
                commit_seq=committed.seq,
                passed=True,
                checked_at=clock.now(),
            )
            verdicts.record([found])
        plan = plan_push(PUSHED, version=version, table=table, verdicts=verdicts, ledger=ledger, target=store.target)
        if plan is not None:
            options = PushOptions(contents_of(PUSHED))
            push(plan, PUSHED, table=table, ledger=ledger, store=store, clock=clock, options=options)
        done += BATCH
        (root / PUSHED_SO_FAR).write_text(str(done), encoding="ascii")
        if rate is not None:
            time.sleep(max(0.0, done / rate - (time.monotonic() - began)))
    print(json.dumps({"rate": done / (time.monotonic() - began)}), flush=True)


def _day(day: str) -> pa.Table:
    random = np.random.default_rng(abs(hash(day)) % 2**32)
    chosen = pa.table({"tailnum": tails_of(20_000).take(pa.array(random.choice(20_000, BATCH, replace=False)))})
    at = pa.array([datetime.fromisoformat(f"{day}T12:00:00+00:00")] * BATCH, pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "tailnum": chosen["tailnum"],
            "event_at": at,
            "arrived_at": at,
            "sequence": pa.array([0] * BATCH, pa.int64()),
            "mean": pa.array(random.normal(size=BATCH)),
            "count": pa.array(random.integers(0, 99, BATCH)),
            "bucket": pa.array(buckets_of(encoded_keys(chosen, ["tailnum"]), PUSHED.buckets)),
        }
    )


def backfill(root: Path) -> None:
    """Compute January of the flights example again and again, until it is killed."""
    days = [date(2013, 1, 1) + timedelta(days=number) for number in range(30)]
    turn = 0
    while True:
        with FeatureStore.open(load_settings(root=str(root / f"backfill{turn}"))) as store:
            store.materialize(days)
        turn += 1


# ------------------------------------------------------------------------------------------------------------ the reads


@contextmanager
def child(root: Path, priority: str, *what: str) -> Iterator[subprocess.Popen[str]]:
    """This script in another role, until the block is left."""
    command = [sys.executable, __file__, "--root", str(root), "--priority", priority, "--role", *what]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def paused(process: subprocess.Popen[str]) -> Iterator[None]:
    """The process stands still until the block is left."""
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def sustained(root: Path, priority: str) -> float:
    """Entities a second that a push reaches alone."""
    with child(root, priority, "push", "--seconds", "8") as process:
        output, _ = process.communicate()
    return float(json.loads(output.strip().splitlines()[-1])["rate"])


def reads_of(root: Path, items: int) -> dict[str, Callable[[], object]]:
    """Each read of `READS`, of other entities each time."""
    lake, store, clock = Lake(str(root / "lake")), SQLiteStore(root / "online.sqlite"), SystemClock()
    fill(store, ledger_of(lake), items, clock.now() - timedelta(minutes=5))
    client = OnlineClient(project, OnlineReader(project, store, ledger_of(lake), clock, lake=lake))
    random = np.random.default_rng(3)
    by_name = {kind.name: kind for kind in kinds(items)}

    def read(name: str, size: int, count: int) -> Callable[[], object]:
        kind = by_name[name]

        def once() -> object:
            asked = kind.names.take(pa.array(random.choice(items, size, replace=False)))
            return client.get(pa.table({kind.key: asked}), service=kind.service(count), deadline=30.0)

        return once

    return {f"{name}, {size} x {count}": read(name, size, count) for name, size, count in READS}


def figures(options: argparse.Namespace) -> Sequence[Figure]:
    """Quiet and loaded stretches, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        reads = reads_of(root, options.items)
        most = sustained(root, options.priority)
        taken: dict[tuple[str, bool], list[float]] = {(name, loaded): [] for name in reads for loaded in (False, True)}
        rate, pushed, took = str(most / 2), 0, 0.0
        pushing = child(root, options.priority, "push", "--seconds", "100000", "--rate", rate)
        with pushing as first, child(root, options.priority, "backfill") as second:
            time.sleep(8.0)
            for _ in range(options.turns):
                with paused(first), paused(second):
                    _measured(reads, taken, options.reads, loaded=False)
                before, began = _pushed(root), time.monotonic()
                _measured(reads, taken, options.reads, loaded=True)
                pushed, took = pushed + _pushed(root) - before, took + time.monotonic() - began
    found = []
    for name in reads:
        quiet, loaded = (Samples(np.array(taken[name, one])) for one in (False, True))
        more = {
            "quiet_p50_ms": 1e3 * quiet.median,
            "loaded_p50_ms": 1e3 * loaded.median,
            "rated_per_second": most,
            "pushed_per_second": pushed / took,
        }
        found.append(
            Figure(
                f"p99, {name}",
                1e3 * loaded.percentile(99),
                1e3 * quiet.percentile(99),
                "ms",
                at_most=ALLOWED,
                more=more,
            )
        )
    return found


def _pushed(root: Path) -> int:
    return int((root / PUSHED_SO_FAR).read_text(encoding="ascii"))


def _measured(
    reads: dict[str, Callable[[], object]], taken: dict[tuple[str, bool], list[float]], times: int, *, loaded: bool
) -> None:
    for read in reads.values():
        read()
    for _ in range(times):
        for name, read in reads.items():
            taken[name, loaded].append(timed(read))


def main() -> None:
    """Run it."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=5_000, help="entities in each view")
    made.add_argument("--turns", type=int, default=4, help="quiet and loaded stretches")
    made.add_argument("--reads", type=int, default=500, help="reads of each kind in a stretch")
    made.add_argument(
        "--priority", choices=["background", "normal"], default="background", help="of the push and the backfill"
    )
    made.add_argument("--role", choices=["push", "backfill"], help=argparse.SUPPRESS)
    made.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    made.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.role and options.priority == "background":
        give_way()
    if options.role == "push":
        push_days(options.root, options.rate, options.seconds)
    elif options.role == "backfill":
        backfill(options.root)
    else:
        finish(figures(options), options)


if __name__ == "__main__":
    main()
