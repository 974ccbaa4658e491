"""The simulated world: a source that corrects itself, a lake, logs, an online store that fails, and who works on them.

Invariant: everything that decides about online items, the ledger or offsets is the product's own code; only what
surrounds it is simulated.
It does nothing by itself: see `actors`. It checks nothing: see `checks`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.offline.ledger import LedgerRow, MemoryLedger, is_serving, retired
from feature_assets.online.item import table_name
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import push_state
from feature_assets.online.protocol import WriteProtocol
from feature_assets.online.settle import RetryPolicy
from feature_assets.online.store import OnlineStore
from feature_assets.testing.clock import SimulatedClock
from feature_assets.testing.faulty import SOME_FAULTS, FaultRates, FaultyStore
from feature_assets.testing.lake import MemoryTable, MemoryVerdicts
from feature_assets.testing.tiles import TileSums
from feature_assets.testing.truth import BatchTruth, FeatureRow, Truth

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC, in microseconds."""
VIEW = "balance"
FIRST, SECOND = "v1", "v2"
"""The two view versions. The first is fed by the streams as well; the second is made half way and takes over."""
KEY_NAMES = ("entity",)
FEATURE_SCHEMA = pa.schema(
    [
        ("entity", pa.string()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("arrived_at", pa.timestamp("us", tz="UTC")),
        ("sequence", pa.int64()),
        ("value", pa.int64()),
        ("bucket", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class SimulatedEntity:
    """The entity of the simulated view."""

    key_names: tuple[str, ...] = KEY_NAMES


@dataclass(frozen=True, slots=True)
class SimulatedFeature:
    """Its one feature."""

    name: str = "value"


@dataclass(frozen=True, slots=True)
class SimulatedView:
    """A rows view, as far as a push looks at one."""

    name: str = VIEW
    online: bool = True
    buckets: int = 2
    kept_for: timedelta | None = None
    delay: timedelta = timedelta(hours=1)
    entity: SimulatedEntity = SimulatedEntity()
    stored: tuple[SimulatedFeature, ...] = (SimulatedFeature(),)


class Offsets:
    """Committed positions, as a broker keeps them."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    def committed(self, source_partition: str) -> int:
        return self._positions.get(source_partition, 0)

    def commit(self, source_partition: str, position: int) -> None:
        self._positions[source_partition] = max(position, self.committed(source_partition))


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
    view: SimulatedView = SimulatedView()
    reducer: TileSums = field(default_factory=lambda: TileSums(window=60 * HOUR, hop=5 * HOUR))


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
    offsets: Offsets = field(init=False)
    protocol: WriteProtocol = field(init=False)
    truth: Truth = field(init=False)
    keys: list[bytes] = field(init=False)
    buckets: list[int] = field(init=False)
    sides: dict[str, VersionedSide] = field(init=False)
    source: dict[str, list[tuple[int, tuple[FeatureRow, ...]]]] = field(default_factory=dict)
    source_seq: int = 0
    lives: dict[str, int] = field(default_factory=dict)

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
        self.ledger, self.offsets, self.protocol = design.ledger(), Offsets(), design.protocol()
        self.truth = Truth({f"log/{number}": [] for number in range(design.source_partitions)})
        names = pa.table({"entity": [entity_name(number) for number in range(design.entities)]})
        self.keys = encoded_keys(names, KEY_NAMES)
        self.buckets = buckets_of(self.keys, design.view.buckets).tolist()
        self.sides = {}
        self.add_version(FIRST)

    def add_version(self, version: str) -> None:
        """A view version gets a table of its own, in the lake and in the store."""
        truth = self.truth.batch.setdefault(version, BatchTruth())
        self.sides[version] = VersionedSide(self.design.table(FEATURE_SCHEMA), MemoryVerdicts(), truth)
        self.store.prepare(self.table_of(version))

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
            self.design.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=self.ledger,
            target=self.store.target,
        )
        return state.wanted == state.have == side.table.head()

    def retries(self) -> RetryPolicy:
        """Few rounds, so that running out of them happens."""
        return RetryPolicy(jitter=self.rng.random, rounds=2)

    def _between_items(self) -> None:
        if self.between is not None:
            self.between()


def packed_values(table: pa.Table) -> list[bytes]:
    """The packed values of the simulated view: its one feature, as MessagePack."""
    return [msgspec.msgpack.encode(value) for value in table["value"].to_pylist()]


def unpacked_value(values: bytes) -> int:
    """The feature in a row's packed values."""
    return msgspec.msgpack.decode(values, type=int)


def entity_name(entity: int) -> str:
    """The key of an entity."""
    return f"e{entity}"


def day_name(us: int) -> str:
    """The partition that an instant is in."""
    return str(np.datetime64(us // DAY, "D"))


def day_start(day: str) -> int:
    """The start of a partition."""
    return int(np.datetime64(day, "us").astype(np.int64))
