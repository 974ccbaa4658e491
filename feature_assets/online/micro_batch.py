"""Apply a micro-batch: consecutive records of one source partition, operation-based, to the items of their entities.

Invariant: whoever replays it, at whatever point it was cut off, its effect on every item is that of each record once,
in offset order; and a record is only committed upstream when the ledger says when it became visible. In this order:

    the items of all entities, each written conditionally on its seq, with the records above its fence
    exception rows for writes found to have been applied before, and the row of the acknowledged range, in one append
    the offset commit, up to the lowest record that is not acknowledged

It does not read a log or know a broker: the caller brings the records, and where their offsets are committed.
"""

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from feature_assets.clock import Clock, to_us
from feature_assets.offline.ledger import Ledger, LedgerRow
from feature_assets.online.item import Item, Recent, pack_item, table_name, unpack_item
from feature_assets.online.plan import RULES
from feature_assets.online.protocol import Closing, Record, Reducer, WriteProtocol
from feature_assets.online.settle import Change, RetryPolicy, Settling, Step, Tally
from feature_assets.online.store import OnlineStore, Stored

_NEW = Item()


class Offsets(Protocol):
    """Committed positions of source partitions: each is the offset of the first record that is not committed."""

    def committed(self, source_partition: str) -> int:
        """The committed position; 0 if nothing was committed."""

    def commit(self, source_partition: str, position: int) -> None:
        """Commit up to `position`. A position below the committed one changes nothing."""


@dataclass(frozen=True, slots=True)
class StreamPorts:
    """What a stream view version is applied through. `life`: how often the version has been retired on the store.

    A worker is of one life: what an earlier one applied is gone with its table.
    """

    view: str
    version: str
    store: OnlineStore
    ledger: Ledger
    offsets: Offsets
    clock: Clock
    reducer: Reducer
    life: int = 0
    batch: int = 100
    run_id: str = ""
    protocol: WriteProtocol = RULES
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(jitter=secrets.SystemRandom().random))

    @property
    def table(self) -> str:
        """The name of the version's table in the store, in this life."""
        return table_name(self.view, self.version, self.life)


def micro_batch_steps(
    ports: StreamPorts, source_partition: str, records: Sequence[Record]
) -> Generator[Step, None, int]:
    """Apply consecutive records; returns the position from which to go on: of the lowest that could not be written.

    Steps: stream.after_read, stream.after_write, stream.after_batch, stream.backoff, stream.before_ledger,
    stream.after_ledger, stream.after_commit. Raises `ValueError` if there are no records, `StoreRefusedError` and
    `ItemTooLargeError`.
    """
    if not records:
        raise ValueError("a micro-batch has at least one record")
    return _MicroBatch(ports, source_partition, records, ports.offsets.committed(source_partition)).steps()


@dataclass(slots=True)
class _MicroBatch:
    """One carrying out of a micro-batch. `committed` is as of its start: an earlier one only forgets less."""

    ports: StreamPorts
    source_partition: str
    records: Sequence[Record]
    committed: int
    recovered: dict[tuple[bytes, Recent], None] = field(default_factory=dict)

    def steps(self) -> Generator[Step, None, int]:
        ports = self.ports
        sent_at = self._now()
        groups: dict[bytes, list[Record]] = {}
        for record in self.records:
            groups.setdefault(record.key, []).append(record)
        unsettled = yield from self._item_steps(groups)
        position = ports.protocol.acknowledged_upto(self.records[-1].offset, unsettled)
        rows = self._rows(position, sent_at)
        for closing in ports.protocol.closing():
            if closing is Closing.LEDGER:
                yield Step("stream.before_ledger")
                ports.ledger.append(rows)
                yield Step("stream.after_ledger")
            else:
                ports.offsets.commit(self.source_partition, position)
                yield Step("stream.after_commit")
        return position

    def _item_steps(self, groups: dict[bytes, list[Record]]) -> Generator[Step, None, list[int]]:
        """Bring the items up to the batch; returns the first offset of each that could not be written."""
        ports = self.ports

        def decide(key: bytes, stored: Stored | None) -> Change | None:
            item = _NEW if stored is None else unpack_item(stored.value, stored.seq)
            applied = ports.protocol.applied(
                item,
                groups[key],
                source_partition=self.source_partition,
                reducer=ports.reducer,
                committed=self.committed,
                now=self._now(),
            )
            self.recovered.update(((key, write), None) for write in applied.recovered)
            return None if applied.item is None else Change(pack_item(applied.item))

        settling = Settling(ports.store, ports.table, "stream", ports.protocol, ports.retries, Tally())
        faults = yield from settling.settle(list(groups), decide, batch=ports.batch)
        return [groups[fault.key][0].offset for fault in faults]

    def _rows(self, position: int, sent_at: int) -> list[LedgerRow]:
        now = self._now()
        rows = [self._exception(key, write, now) for key, write in self.recovered]
        first = self.records[0].offset
        if position > first:
            rows.append(self._row(first, position - 1, sent_at, now))
        return rows

    def _exception(self, key: bytes, write: Recent, now: int) -> LedgerRow:
        """A write that was applied and perhaps never recorded: visible at the latest when it can have been applied."""
        acked_at = min(now, write.sent_at + self.ports.protocol.write_timeout)
        row = self._row(write.first, write.last, write.sent_at, acked_at)
        return msgspec.structs.replace(row, entity=key, provenance="recovered")

    def _row(self, first: int, last: int, sent_at: int, acked_at: int) -> LedgerRow:
        return LedgerRow(
            kind="range",
            view=self.ports.view,
            version=self.ports.version,
            target=self.ports.store.target,
            source_partition=self.source_partition,
            first=first,
            last=last,
            sent_at=sent_at,
            acked_at=acked_at,
            life=self.ports.life,
            run_id=self.ports.run_id,
        )

    def _now(self) -> int:
        return to_us(self.ports.clock.now())
