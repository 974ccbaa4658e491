"""Items of a view of aggregates in memory, written by the protocol and read by the reader."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import pyarrow as pa

from feature_assets.clock import EPOCH, ManualClock, from_us
from feature_assets.compute.keys import encoded_key
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.item import (
    WATERMARK_KEY,
    Item,
    Row,
    Watermark,
    pack_item,
    pack_watermark,
    table_name,
    unpack_item,
)
from feature_assets.online.memory import MemoryStore
from feature_assets.online.protocol import Record, WriteProtocol
from feature_assets.online.ring_reducer import RingReducer
from feature_assets.online.store import Outcome, Put
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.status import Status
from feature_assets_tests.ring_records import SOURCE

PLACE = "log/0"
"""The source partition."""
COMMITTED = 2**62
"""Everything is recorded: an item remembers its last write alone."""
Answers = dict[str, list[tuple[object, bool]]]
"""Of each feature for each key the value, and whether it overflowed."""


@dataclass(slots=True)
class Written:
    """An item as the protocol writes it; it is bytes in between."""

    reducer: RingReducer
    rules: WriteProtocol
    value: bytes | None = None
    seq: int = 0

    @property
    def item(self) -> Item:
        """As a writer reads it."""
        return Item() if self.value is None else unpack_item(self.value, self.seq)

    def put(self, row: Row | None, n: int, sent_at: int, upto: Mapping[str, int]) -> None:
        """The batch section at a commit; `upto`: the cut."""
        self._keep(self.rules.with_batch(self.item, n, sent_at, row, upto))

    def apply(self, records: Sequence[Record], now: int) -> None:
        """A micro-batch's records of this entity."""
        found = self.rules.applied(
            self.item, records, source_partition=PLACE, reducer=self.reducer, committed=COMMITTED, now=now
        )
        self._keep(found.item)

    def _keep(self, item: Item | None) -> None:
        if item is not None:
            self.value, self.seq = pack_item(item), self.seq + 1


def micro_batches(random: Random, count: int, done: int = 0, earliest: int = 0) -> list[tuple[int, int]]:
    """A log of `count` records in parts, from place `done` on: first and end of each.

    Whoever replays begins where somebody stood before, which is no earlier than `earliest`; at last once more.
    """
    found = []
    while done < count:
        start, end = random.choice([done, random.randint(earliest, done)]), random.randint(done, count)
        if end > start:
            found.append((start, end))
        done = end
    if count > earliest:
        found.append((random.randrange(earliest, count), count))
    return found


@dataclass(frozen=True, slots=True)
class Online:
    """A store in which a view serves, and a reader of it. It can be used for one question after the other."""

    store: MemoryStore
    clock: ManualClock
    reader: OnlineReader
    table: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, view: FeatureView) -> "Online":
        """With nothing in it yet."""
        service = FeatureService("it", [view])
        project = Project("test", sources=[SOURCE], views=[view], services=[service])
        store, ledger, clock = MemoryStore(), MemoryLedger(), ManualClock(EPOCH)
        version = view_version(view)
        serving = LedgerRow(
            kind="serving", view=view.name, version=version, target=store.target, sent_at=0, acked_at=0, commit_seq=1
        )
        ledger.append([serving])
        reader = OnlineReader(project, store, ledger, clock)
        return cls(store, clock, reader, table_name(view.name, version), tuple(one.name for one in view.features))

    def answers(self, items: Mapping[str, bytes | None], as_of: int) -> Answers:
        """What the reader says of these items now. None is not stored."""
        self.store.drop(self.table)
        self.store.prepare(self.table)
        keys = {name: encoded_key([name], [pa.string()]) for name in items}
        puts = [Put(keys[name], 0, value) for name, value in items.items() if value is not None]
        puts.append(Put(WATERMARK_KEY, 0, pack_watermark(Watermark(1, as_of, as_of))))
        assert set(self.store.write(self.table, puts)) == {Outcome.APPLIED}
        self.clock.at = from_us(as_of)
        answer = self.reader.get("it", pa.table({"shop": pa.array(list(items), pa.string())}))
        found = {}
        for name in self.names:
            column = f"ring__{name}"
            status = answer.status[column]
            assert set(status) <= {Status.PRESENT, Status.NULL, Status.OVERFLOW}, answer.failures
            values = answer.table[column].to_pylist()
            found[name] = [(value, one is Status.OVERFLOW) for value, one in zip(values, status, strict=True)]
        return found
