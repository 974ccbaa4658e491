"""A small view over tables in memory, for tests of what is pushed: entities e0, e1, ... with one integer feature.

It commits, judges and pushes with the product's code; time stands still unless a test moves it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.item import WATERMARK_KEY, Item, Watermark, table_name, unpack_item, unpack_watermark
from feature_assets.online.memory import MemoryStore
from feature_assets.online.push import PushOptions, PushPlan, PushResult, PushState, plan_push, push, push_state
from feature_assets.online.read_back import ReadBack, read_back
from feature_assets.online.settle import RetryPolicy
from feature_assets.online.store import OnlineStore, Stored
from feature_assets.online.winning_rows import WinningRows
from feature_assets.testing.lake import MemoryTable, MemoryVerdicts
from feature_assets.testing.subject import FEATURE_SCHEMA, KEY_NAMES, SimulatedView, packed_values

VERSION = "v1"
START = datetime(2026, 1, 10, tzinfo=UTC)
Value = tuple[str, datetime, int]
"""(entity, event_at, value)."""


def at(day: int, hour: int = 0) -> datetime:
    """An instant of January 2026."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day - 1, hours=hour)


def day(number: int) -> str:
    """The partition of a day of January 2026."""
    return at(number).date().isoformat()


def key(entity: str) -> bytes:
    return encoded_keys(pa.table({"entity": [entity]}), ("entity",))[0]


def rows_of(values: Iterable[Value], buckets: int, sequence: int = 0) -> pa.Table:
    rows = list(values)
    keys = [key(entity) for entity, _, _ in rows]
    instants = np.array([to_us(instant) for _, instant, _ in rows], "datetime64[us]")
    columns = [
        [entity for entity, _, _ in rows],
        instants,
        instants,
        [sequence] * len(rows),
        [value for _, _, value in rows],
        buckets_of(keys, buckets),
    ]
    return pa.table(columns, schema=FEATURE_SCHEMA)


CONTENTS = WinningRows(KEY_NAMES, packed_values)


def options(**changes: Any) -> PushOptions:  # noqa: ANN401 - each is of its field's type
    """No waiting, and few retries."""
    policy = RetryPolicy(jitter=lambda: 0.5, rounds=3)
    plain = PushOptions(CONTENTS, retries=policy, sleep=lambda _: None)
    return replace(plain, **changes)


@dataclass(slots=True)
class Balance:
    """The view, its history, the ledger and a store."""

    view: SimulatedView = field(default_factory=SimulatedView)
    store: OnlineStore = field(default_factory=MemoryStore)
    table: MemoryTable = field(default_factory=lambda: MemoryTable(FEATURE_SCHEMA))
    verdicts: MemoryVerdicts = field(default_factory=MemoryVerdicts)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))

    def commit(self, *, passed: bool | None = True, **days: list[tuple[str, int]]) -> int:
        """Commit days, given as `d3=[("e0", 7)]`: events at noon. `passed` is the verdict; None: none yet."""
        return self.commit_days({int(name[1:]): values for name, values in days.items()}, passed=passed)

    def commit_days(self, days: dict[int, list[tuple[str, int]]], *, passed: bool | None = True) -> int:
        """The same, by the number of the day."""
        return self.commit_rows(
            {day(number): [(entity, at(number, 12), value) for entity, value in days[number]] for number in days},
            passed=passed,
        )

    def commit_rows(self, partitions: dict[str, list[Value]], *, sequence: int = 0, passed: bool | None = True) -> int:
        tables = {name: rows_of(values, self.view.buckets, sequence) for name, values in partitions.items()}
        seq = self.table.commit(tables)
        assert seq is not None, "nothing changed"
        if passed is not None:
            for name in partitions:
                self.verdicts.record((name, seq), passed=passed)
        return seq

    def plan(self, covering: frozenset[str] = frozenset()) -> PushPlan | None:
        return plan_push(
            self.view,
            version=VERSION,
            table=self.table,
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.store.target,
            covering=covering,
        )

    def due(self) -> PushPlan:
        plan = self.plan()
        assert plan is not None, "no push is due"
        return plan

    def state(self, covering: frozenset[str] = frozenset()) -> PushState:
        return push_state(
            self.view,
            version=VERSION,
            table=self.table,
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.store.target,
            covering=covering,
        )

    def push(self, plan: PushPlan | None = None, *, chosen: PushOptions | None = None) -> PushResult:
        return push(
            plan or self.due(),
            self.view,
            table=self.table,
            ledger=self.ledger,
            store=self.store,
            clock=self.clock,
            options=chosen or options(),
        )

    def read_back(self, *, sample: int = 50, seed: int = 0) -> ReadBack:
        return read_back(
            self.view,
            version=VERSION,
            table=self.table,
            verdicts=self.verdicts,
            ledger=self.ledger,
            store=self.store,
            contents=CONTENTS,
            now=to_us(self.clock.now()),
            sample=sample,
            seed=seed,
        )

    def item(self, entity: str, life: int = 0) -> Item | None:
        found = self.store.read(self._table(life), [key(entity)], consistent=True)[0]
        return unpack_item(found.value, found.seq) if isinstance(found, Stored) else None

    def value(self, entity: str, life: int = 0) -> int | None:
        """What is served for an entity; None also if there is no item."""
        item = self.item(entity, life)
        if item is None or item.batch is None or item.batch.row is None:
            return None
        return msgspec.msgpack.decode(item.batch.row.values, type=int)

    def watermark(self, life: int = 0) -> Watermark | None:
        found = self.store.read(self._table(life), [WATERMARK_KEY], consistent=True)[0]
        return unpack_watermark(found.value) if isinstance(found, Stored) else None

    def ledger_rows(self, *kinds: str) -> list[LedgerRow]:
        rows = self.ledger.rows(view=self.view.name)
        return [row for row in rows if not kinds or row.kind in kinds]

    def _table(self, life: int) -> str:
        return table_name(self.view.name, VERSION, life)
