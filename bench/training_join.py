"""The point-in-time join: the loader's whole `training_set` against the bare kernel that obeys the same visibility.

The bare kernel (`harness/bare_join.py`, which says what it is spared) opens the same tables, reads the same columns,
codes the same keys, sorts once, searches and takes: numpy and pyarrow, and nothing else. Both make the same table.

    python bench/training_join.py [--rows 5000000] [--spine 500000] [--json]

Measured: 1 and 3 views where rows become available in their order; one view where every commit also corrects a day of
the one before; and the peak memory, in a process of its own, under two limits. Beside the wall time stands the
processors' time, all threads together, which other work on the machine disturbs less; of both what the quieter rounds
took.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from harness import Figure, Samples, compared, finish, parser
from harness.bare_join import KEYS, Bare, Stages

from feature_assets.clock import ManualClock, to_us
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import PATH as LEDGER
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.training import loader as training_loader
from feature_assets.training import point_in_time
from feature_assets.training.loader import TrainingSet, training_set
from feature_assets_tests.histories import SOURCE, START, view_of

DAYS = 364
BATCH = 28
"""Days in one commit."""
DAY_US = 86_400_000_000
TARGET = "bench"
FEATURES = {"mean_delay": pa.float64(), "flights": pa.int64(), "share_late": pa.float64(), "distance": pa.float64()}
MIB = 1024**2


def views() -> list[FeatureView]:
    """The three views; the fourth has corrections."""
    names = ["first", "second", "third", "corrected"]
    return [view_of(name, {"tail": pa.string()}, FEATURES, buckets=16) for name in names]


def services() -> tuple[Project, dict[str, FeatureService]]:
    """A service of one view, one of three, and one of the view with corrections."""
    first, second, third, corrected = views()
    found = {
        "one": FeatureService("one", [first]),
        "three": FeatureService("three", [first, second, third]),
        "late": FeatureService("late", [corrected]),
    }
    return Project("bench", [SOURCE], [first, second, third, corrected], list(found.values())), found


# ------------------------------------------------------------------------------------------------------------ the data


def fill(root: str, rows: int, entities: int) -> None:
    """Four tables of a year, with verdicts and a ledger: each commit was acknowledged an hour after its last day."""
    lake = Lake(root)
    random = np.random.default_rng(7)
    tails = pa.array([f"N{number:05d}" for number in range(entities)])
    buckets = np.array([int.from_bytes(name.as_py().encode(), "big") % 16 for name in tails], np.int32)
    for view in views():
        table, version = feature_table(lake, view), view_version(view)
        verdicts, ledger = Verdicts(lake), DeltaLedger(lake)
        corrected = view.name == "corrected"
        for first in range(0, DAYS, BATCH):
            days = list(range(first, first + BATCH))
            # A correction of an earlier commit's first day comes with the next one.
            days += [first - BATCH] if corrected and first else []
            made = {name_of(day): _day(day, rows // DAYS, tails, buckets, random) for day in days}
            commit = table.commit(made, source_seq=dict.fromkeys(made, first))
            assert commit.seq is not None
            verdicts.record([_verdict(view.name, version, partition, commit.seq) for partition in made])
            ledger.append(_pushed(view, version, commit.seq, to_us(START) + (first + BATCH) * DAY_US + DAY_US // 24))


def name_of(day: int) -> str:
    """The partition of a day."""
    return (START + timedelta(days=day)).date().isoformat()


def _day(day: int, rows: int, tails: pa.Array, buckets: npt.NDArray[np.int32], random: np.random.Generator) -> pa.Table:
    # Skewed: a few tails fly much more than the others.
    key = (len(tails) * random.random(rows) ** 2).astype(np.int64)
    event_at = to_us(START) + day * DAY_US + random.integers(0, DAY_US, rows)
    time_of = pa.array(event_at).cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "tail": tails.take(pa.array(key)),
            "event_at": time_of,
            "arrived_at": time_of,
            "sequence": pa.array(np.arange(rows)),
            "mean_delay": random.normal(size=rows),
            "flights": random.integers(0, 500, rows),
            "share_late": random.random(rows),
            "distance": random.normal(size=rows),
            "bucket": pa.array(buckets[key]),
        }
    )


def _verdict(view: str, version: str, partition: str, commit_seq: int) -> Verdict:
    return Verdict(
        view=view, version=version, partition=partition, commit_seq=commit_seq, passed=True, checked_at=START
    )


def _pushed(view: FeatureView, version: str, commit_seq: int, at: int) -> list[LedgerRow]:
    about: dict[str, Any] = {"view": view.name, "version": version, "target": TARGET}
    # It answered before its first commit: nothing is simulated.
    rows = [] if commit_seq > 1 else [LedgerRow(kind="serving", **about, sent_at=0, acked_at=0, commit_seq=0)]
    about |= {"sent_at": at, "acked_at": at, "commit_seq": commit_seq}
    return rows + [LedgerRow(kind="ack", **about, bucket=bucket) for bucket in range(16)]


def spine_of(rows: int, entities: int) -> pa.Table:
    """Keys and instants over the year, and a label."""
    random = np.random.default_rng(8)
    tails = pa.array([f"N{number:05d}" for number in range(entities)])
    key = (entities * random.random(rows) ** 2).astype(np.int64)
    at = to_us(START) + random.integers(20, DAYS + 40, rows) * DAY_US + random.integers(0, DAY_US, rows)
    label = pa.array(random.integers(0, 2, rows).astype(np.int8))
    return pa.table(
        {"tail": tails.take(pa.array(key)), "at": pa.array(at).cast(pa.timestamp("us", "UTC")), "late": label}
    )


# ------------------------------------------------------------------------------------------------------------- the runs

STAGES = [
    (point_in_time, "seen_rows", "read"),
    (point_in_time, "key_codes", "code"),
    (point_in_time, "latest_visible", "search"),
    (training_loader, "assembled", "assemble"),
    (training_loader, "table_digest", "digest"),
]
"""What the loader's stages are called by; the rest of its time is pins, the ledger, and taking the winners."""


@contextmanager
def observed(stages: Stages) -> Iterator[None]:
    """Time the loader's stages."""
    originals = [(module, name, getattr(module, name)) for module, name, _ in STAGES]

    def timed(function: Callable[..., object], stage: str) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            with stages.timed(stage):
                return function(*arguments, **options)

        return call

    for module, name, stage in STAGES:
        setattr(module, name, timed(getattr(module, name), stage))
    try:
        yield
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


@dataclass
class Counted:
    """Something to be timed, which counts the seconds that the processors work on it."""

    work: Callable[[], object]
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> object:
        began = time.process_time()
        found = self.work()
        self.seconds.append(time.process_time() - began)
        return found

    def quiet(self, rounds: int) -> float:
        """What the quieter of the last rounds took."""
        return Samples(np.array(self.seconds[-rounds:])).quiet


def loader(root: str, service: FeatureService, project: Project, spine: pa.Table, limit: int) -> TrainingSet:
    """The loader as anybody calls it."""
    lake = Lake(root)
    return training_set(
        project,
        spine,
        service=service,
        timestamp="at",
        lake=lake,
        ledger=DeltaLedger(lake),
        verdicts=Verdicts(lake),
        target=TARGET,
        clock=ManualClock(START + timedelta(days=800)),
        memory_limit=limit,
    )


def same(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether both found the same."""
    return set(ours.column_names) == set(theirs.column_names) and all(
        ours.column(name).equals(theirs.column(name)) for name in theirs.column_names
    )


def peak(root: str, service: str, spine_rows: int, entities: int, limit: int) -> int:
    """The bytes that a training set takes at its peak, measured in a process of its own."""
    arguments = ["--peak", root, service, str(limit), "--spine", str(spine_rows), "--entities", str(entities)]
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def measure_peak(given: argparse.Namespace) -> None:
    """In the process of its own: what the peak rises by."""
    root, name, limit = given.peak
    project, found = services()
    spine = spine_of(given.spine, given.entities)
    # Linux: begin the high-water mark anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmHWM")
    loader(root, found[name], project, spine, int(limit))
    print(json.dumps({"bytes": _status("VmHWM") - before}))


def _status(name: str) -> int:
    """A figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Fill, compare, print."""
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=5_000_000, help="feature rows of each view")
    options.add_argument("--spine", type=int, default=500_000)
    options.add_argument("--entities", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--root", help="a folder to keep the tables in, for another run")
    options.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.peak:
        measure_peak(given)
        return
    if given.entities >= KEYS:
        options.error(f"--entities: fewer than {KEYS}, which the bare join counts on")
    with tempfile.TemporaryDirectory() as scratch:
        root = given.root or scratch
        if not (Path(root) / "features").exists():
            fill(root, given.rows, given.entities)
        finish(figures(given, root), given)


def figures(given: argparse.Namespace, root: str) -> list[Figure]:
    """All of them."""
    project, found = services()
    spine = spine_of(given.spine, given.entities)
    scale = {"rows": given.rows, "spine": given.spine, "entities": given.entities}
    results = []
    for name, service in found.items():
        results += times(given, root, service, project, spine, scale | {"views": len(service.views)})
        if not given.json:
            print(f"{name}: {results[-1].more}", flush=True)
    for name, limit in (("one", 2048), ("one", 512), ("late", 512)):
        used = peak(root, name, given.spine, given.entities, limit * MIB)
        label = f"peak memory, {name}, limit {limit} MiB"
        results.append(Figure(label, used / MIB, limit, "MiB", at_most=1.0, more=scale))
    return results


def times(
    given: argparse.Namespace,
    root: str,
    service: FeatureService,
    project: Project,
    spine: pa.Table,
    scale: dict[str, object],
) -> list[Figure]:
    """The wall time and the processors' time of one service, and where they go."""
    name, bare = service.name, bare_of(root, service)
    ours = Counted(partial(loader, root, service, project, spine, 4096 * MIB))
    theirs = Counted(partial(bare.joined, spine, Stages()))
    taken = compared({"ours": ours, "bare": theirs}, rounds=given.rounds, warmup=1)
    stages, bare_stages = Stages(), Stages()
    with observed(stages):
        made = loader(root, service, project, spine, 4096 * MIB)
    assert same(made.table, bare.joined(spine, bare_stages))
    cpu, bare_cpu = ours.quiet(given.rounds), theirs.quiet(given.rounds)
    more = {
        **scale,
        "cpu": round(cpu, 3),
        "bare_cpu": round(bare_cpu, 3),
        "cpu_ratio": round(cpu / bare_cpu, 3),
        "stages": stages.rounded(),
        "bare_stages": bare_stages.rounded(),
    }
    wall = taken["ours"].quiet, taken["bare"].quiet
    return [
        Figure(f"training_join, {name}", *wall, "s", at_most=1.5, more=more),
        Figure(f"training_join, {name}, processors' time", cpu, bare_cpu, "s", at_most=1.5, more=more),
    ]


def bare_of(root: str, service: FeatureService) -> Bare:
    """The bare join of a service's views."""
    lake = Lake(root)
    tables = {view.name: str(lake.path(*feature_table(lake, view).path)) for view in service.views}
    ledger = str(lake.path(*LEDGER))
    return Bare(tables, ledger, TARGET, tuple(FEATURES), corrected=service.name == "late")


if __name__ == "__main__":
    main()
