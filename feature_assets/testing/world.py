"""The simulated world: a source that corrects itself, a lake, logs, an online store that fails, and who works on them.

Invariant: everything that decides about online items, the ledger or offsets is the product's own code; only what
surrounds it is simulated.
It does nothing by itself: see `actors`. It checks nothing: see `checks`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pyarrow as pa

from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.offline.ledger import LedgerRow, MemoryLedger, is_serving, retired
from feature_assets.online.item import table_name
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import push_state
from feature_assets.online.protocol import NO_CUT, WriteProtocol
from feature_assets.online.settle import RetryPolicy
from feature_assets.online.store import OnlineStore
from feature_assets.testing.clock import SimulatedClock
from feature_assets.testing.faulty import SOME_FAULTS, FaultRates, FaultyStore
from feature_assets.testing.lake import MemoryTable, MemoryVerdicts
from feature_assets.testing.subject import DAY, FIRST, HOUR, KEY_NAMES, VIEW, Balances, Subject
from feature_assets.testing.truth import BatchTruth, FeatureRow, Truth

START = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, in microseconds."""


class Offsets:
    """Committed positions, as a broker keeps them for one group of readers. `starts`: where they begin, if not at 0."""

    def __init__(self, starts: Mapping[str, int] = NO_CUT) -> None:
        self._positions = dict(starts)
        self.furthest = dict(starts)

    def committed(self, source_partition: str) -> int:
        return self._positions.get(source_partition, 0)

    def commit(self, source_partition: str, position: int) -> None:
        self._positions[source_partition] = max(position, self.committed(source_partition))
        self.furthest[source_partition] = max(position, self.furthest.get(source_partition, 0))

    def rewound(self, source_partition: str, position: int) -> "Offsets":
        """Those of a group that reads a log again from an earlier position on."""
        group = Offsets({**self._positions, source_partition: position})
        group.furthest = dict(self.furthest)
        return group


class HandOver:
    """Where streams take over from the batch side of a version: one cut for every push and worker of it, for good."""

    def __init__(self) -> None:
        self._cuts: dict[str, Mapping[str, int]] = {}

    def pin(self, version: str, ends: Mapping[str, int]) -> None:
        """A version is made when the logs end at these offsets."""
        self._cuts.setdefault(version, dict(ends))

    def upto(self, version: str, ends: Mapping[str, int]) -> Mapping[str, int]:
        """What a push takes for the cut when the logs end at `ends`."""
        del ends
        return self._cuts.get(version, NO_CUT)

    def starts(self, version: str) -> Mapping[str, int]:
        """Where its workers begin, by source partition."""
        return {place: last + 1 for place, last in self._cuts.get(version, NO_CUT).items()}


class WatchedLedger(MemoryLedger):
    """A ledger that keeps what is asked at every turn: which versions serve, and whether pushes have added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.serving: set[str] = set()
        self.pushes = 0

    def append(self, rows: Sequence[LedgerRow]) -> int:
        position = super().append(rows)
        self.pushes += any(row.kind != "range" for row in rows)
        for row in rows:
            if row.kind in {"serving", "retired"}:
                answers = is_serving(self.rows(view=row.view, version=row.version))
                self.serving = self.serving | {row.version} if answers else self.serving - {row.version}
        return position


@dataclass(frozen=True, slots=True)
class Design:
    """What a world is built from. A test replaces a part by one without its guard, to see the simulator object."""

    protocol: Callable[[], WriteProtocol] = lambda: WriteProtocol(write_timeout=3 * HOUR)
    store: Callable[[], OnlineStore] = MemoryStore
    faulty: type[FaultyStore] = FaultyStore
    table: type[MemoryTable] = MemoryTable
    ledger: type[WatchedLedger] = WatchedLedger
    rates: FaultRates = SOME_FAULTS
    entities: int = 6
    source_partitions: int = 2
    subject: Subject = field(default_factory=Balances)
    handover: type[HandOver] = HandOver


@dataclass(slots=True)
class VersionedSide:
    """The batch side of one view version."""

    table: MemoryTable
    verdicts: MemoryVerdicts
    truth: BatchTruth


@dataclass(slots=True)
class World:
    """One run's state. `between` is called between the items of a write."""

    seed: int
    design: Design = field(default_factory=Design)
    between: Callable[[], None] | None = None
    rng: Random = field(init=False)
    clock: SimulatedClock = field(init=False)
    store: FaultyStore = field(init=False)
    ledger: WatchedLedger = field(init=False)
    handover: HandOver = field(init=False)
    protocol: WriteProtocol = field(init=False)
    truth: Truth = field(init=False)
    keys: list[bytes] = field(init=False)
    buckets: list[int] = field(init=False)
    sides: dict[str, VersionedSide] = field(init=False)
    source: dict[str, list[tuple[int, tuple[FeatureRow, ...]]]] = field(default_factory=dict)
    source_seq: int = 0
    restated: dict[str, int] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    calm: bool = False
    _offsets: dict[str, Offsets] = field(default_factory=dict)

    def __post_init__(self) -> None:
        design = self.design
        self.rng = Random(self.seed)
        self.clock = SimulatedClock(START + 5 * DAY)
        self.store = design.faulty(
            design.store(),
            self.rng,
            design.rates,
            clock=self.clock,
            latency=HOUR // 60,
            late_by=HOUR,
            between=self._between_items,
        )
        self.ledger, self.handover, self.protocol = design.ledger(), design.handover(), design.protocol()
        self.truth = Truth({f"log/{number}": [] for number in range(design.source_partitions)})
        names = pa.table({"entity": [entity_name(number) for number in range(design.entities)]})
        self.keys = encoded_keys(names, KEY_NAMES)
        self.buckets = buckets_of(self.keys, design.subject.view.buckets).tolist()
        self.sides = {}
        self.add_version(FIRST)

    def add_version(self, version: str) -> None:
        """A view version gets a table of its own, in the lake and in the store.

        If streams feed it and the logs hold something already, it begins with what they hold.
        """
        subject, truth = self.design.subject, self.truth.batch.setdefault(version, BatchTruth())
        if subject.is_streamed(version):
            self.handover.pin(version, self.ends())
            self.truth.hand_over(version)
        self.sides[version] = VersionedSide(self.design.table(subject.schema), MemoryVerdicts(), truth)
        self.store.prepare(self.table_of(version))

    def ends(self) -> dict[str, int]:
        """The last offset of each log that holds something."""
        return {place: len(log) - 1 for place, log in self.truth.logs.items() if log}

    def offsets_of(self, version: str) -> Offsets:
        """The committed positions of the workers of a version, in its present life."""
        return self._offsets.setdefault(self.table_of(version), Offsets(self.handover.starts(version)))

    def rewind(self, version: str, source_partition: str, position: int) -> None:
        """Have a log read again from an earlier position on; whoever reads it by now is told, and commits in vain."""
        self._offsets[self.table_of(version)] = self.offsets_of(version).rewound(source_partition, position)

    def covering(self, version: str) -> frozenset[str]:
        """The days without which a version must not take over: those of the archive of the logs."""
        return frozenset(day_name(record.event_at) for record in self.truth.archived(version))

    def days_of(self, version: str) -> list[str]:
        """Every day that a version may have."""
        return sorted(self.source.keys() | self.covering(version))

    def rows_of(self, version: str, day: str) -> tuple[int, tuple[FeatureRow, ...]]:
        """What a version holds of a day: the source's rows and the archived records, as they are now."""
        seq, rows = self.source.get(day, [(0, ())])[-1]
        archived = [record for record in self.truth.archived(version) if day_name(record.event_at) == day]
        return seq, (*rows, *(record.as_row(self.restated.get(day, 0)) for record in archived))

    def lose(self, version: str) -> None:
        """The store loses a version's table; whoever notices retires the version, so that it is filled anew."""
        self.store.inner.drop(self.table_of(version))
        self.ledger.append([retired(VIEW, version, self.store.target, self.clock)])
        self.lives[version] = self.lives.get(version, 0) + 1
        self.store.prepare(self.table_of(version))

    def table_of(self, version: str) -> str:
        """The name of a version's table in the store, in its present life."""
        return table_name(VIEW, version, self.lives.get(version, 0))

    def log_of(self, entity: int) -> str:
        """The one log that holds all records of an entity."""
        return f"log/{entity % self.design.source_partitions}"

    def is_pushed(self, version: str) -> bool:
        """Whether every version of a partition has its verdict, and every bucket is at the last commit."""
        side = self.sides[version]
        state = push_state(
            self.design.subject.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=self.ledger,
            target=self.store.target,
            covering=self.covering(version),
        )
        return state.wanted == state.have == side.table.head()

    def retries(self) -> RetryPolicy:
        """Few rounds, so that running out of them happens."""
        return RetryPolicy(jitter=self.rng.random, rounds=2)

    def _between_items(self) -> None:
        if self.between is not None:
            self.between()


def entity_name(entity: int) -> str:
    """The key of an entity."""
    return f"e{entity}"


def day_name(us: int) -> str:
    """The partition that an instant is in."""
    return str(np.datetime64(us // DAY, "D"))


def day_start(day: str) -> int:
    """The start of a partition."""
    return int(np.datetime64(day, "us").astype(np.int64))
