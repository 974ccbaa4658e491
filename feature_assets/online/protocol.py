"""The write protocol: every rule that keeps an online item equal to the kernel over its cut, one small method each.

Invariant: with all rules in force, no crash, sleeper, replay, lost response or race makes an answer differ from the
kernel over the answer's cut, loses a record or a correction, or leaves the ledger with a wrong interval. The rules are
methods so that a test can weaken one at a time and see the simulator object.

Two kinds of sections share an item and its seq. The batch section is *state-based*: put as computed from the durable
history at commit `n`, iff `n` is newer. The stream section is *operation-based*: records above the item's fence are
applied in offset order, and the fence moves with them.

It decides; it does not read, write, wait or know what a state means.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from feature_assets.errors import ItemTooLargeError
from feature_assets.offline.ledger import LedgerRow
from feature_assets.online.item import BatchSection, Item, Recent, Row, StreamSection
from feature_assets.online.store import Outcome, Stored

NO_CUT: Final[Mapping[str, int]] = MappingProxyType({})
"""Of a view that no stream feeds: nothing takes over from its batch section."""

MAX_FENCES = 16
"""Source partitions that may feed one item: each costs a fence in every item, and their writers contend for its seq."""


class Record(msgspec.Struct, frozen=True):
    """One record of a log, for one entity. `payload` is the reducer's business."""

    offset: int
    key: bytes
    event_at: int
    payload: bytes


class Reducer(Protocol):
    """Gives a stream section's state its meaning. Pure; a state is bytes in a form of the reducer's own."""

    def empty(self) -> bytes:
        """The state before the first record; empty bytes stand for it, too."""

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        """The state after `records`, in offset order, without what no window asked for at or after `now` can need."""


class Closing(Enum):
    """What remains to be done when the items of a micro-batch are written."""

    LEDGER = "ledger"
    OFFSETS = "offsets"


@dataclass(frozen=True, slots=True)
class Applied:
    """A micro-batch's effect on one item: the item to write, if a record was new, and the writes it recovers."""

    item: Item | None
    recovered: tuple[Recent, ...]


class WriteProtocol:
    """The rules. `write_timeout` bounds, in microseconds, how long after its `sent_at` a write can still be applied."""

    def __init__(self, *, write_timeout: int = 10_000_000) -> None:
        self.write_timeout = write_timeout

    # ------------------------------------------------------------------------------------------------ any write
    def expected(self, stored: Stored | None) -> int:
        """Every write is conditional on the seq of the very item that was read for it."""
        return 0 if stored is None else stored.seq

    def settled(self, outcome: Outcome) -> bool:
        """Only an acknowledged write is done. An unknown outcome is read back, a conflict is decided anew."""
        return outcome is Outcome.APPLIED

    # ----------------------------------------------------------------------------------------------- batch push
    def wanted(self, head: int, settled_head: int) -> int:
        """The state to push: the last at which every verdict is known. A later one could still change."""
        return min(head, settled_head)

    def since(self, acknowledged: Sequence[int]) -> int:
        """A push touches everything that changed since the last state of its bucket acknowledged as a whole."""
        return max(acknowledged, default=0)

    def touching(self, commits: Sequence[int], since: int, n: int) -> Sequence[int]:
        """Of one partition's passed versions (ascending), those whose entities a push of (since, n] touches.

        All that are new, also those already superseded: a killed push may have written them. And the version that the
        first of them replaced: an entity that only it had must lose its row.
        """
        first = next((place for place, commit in enumerate(commits) if commit > since), len(commits))
        end = next((place for place, commit in enumerate(commits) if commit > n), len(commits))
        return commits[max(first - 1, 0) : end] if first < end else ()

    def supersedes(self, n: int, stored: int | None) -> bool:
        """A batch section (or a watermark) is put only over an older one, or none."""
        return stored is None or n > stored

    def section(self, n: int, sent_at: int, row: Row | None) -> BatchSection | None:
        """What is put for a touched entity. One without a row at n gets an empty section, so that its cut says n.

        None would leave the item as it is.
        """
        return BatchSection(n, sent_at, row)

    def intents(self, rows: Sequence[LedgerRow]) -> Sequence[LedgerRow]:
        """A push records that it starts before its first write, so that a killed one leaves its interval."""
        return rows

    def may_serve(self, unacknowledged: int) -> bool:
        """A version answers only once every bucket of its first state is acknowledged."""
        return unacknowledged == 0

    def may_be_filled(self, *, caught_up: bool) -> bool:
        """A version that lost what it had answers only once its streams have made that visible again."""
        return caught_up

    # -------------------------------------------------------------------------------------------------- streams
    def fresh(self, records: Sequence[Record], fence: int) -> Sequence[Record]:
        """Records at or below the item's fence are in its state already."""
        return [record for record in records if record.offset > fence]

    def recovered(self, recent: Sequence[Recent], source_partition: str, first: int, last: int) -> tuple[Recent, ...]:
        """Writes that were applied but perhaps never recorded, among those of the records `first..last`."""
        return tuple(
            write
            for write in recent
            if write.source_partition == source_partition and write.first <= last and write.last >= first
        )

    def kept(self, recent: Sequence[Recent], source_partition: str, committed: int) -> tuple[Recent, ...]:
        """A write wholly below the committed position is in the ledger and never replayed: it can be forgotten."""
        return tuple(write for write in recent if write.source_partition != source_partition or write.last >= committed)

    def acknowledged_upto(self, last: int, unsettled: Sequence[int]) -> int:
        """The position below which everything is acknowledged: of the lowest record that is not, else after `last`."""
        return min(unsettled, default=last + 1)

    def closing(self) -> tuple[Closing, ...]:
        """The ledger row comes first, the offset commit after it: what is not recorded is replayed."""
        return (Closing.LEDGER, Closing.OFFSETS)

    # ----------------------------------------------------------------------------------------------- composed
    def with_batch(
        self, item: Item, n: int, sent_at: int, row: Row | None, upto: Mapping[str, int] = NO_CUT
    ) -> Item | None:
        """The item with its batch section at `n`; None if it is at `n` or later already.

        `upto`: the cut at which streams take over, if they do: the section holds the records up to it.
        """
        if not self.supersedes(n, None if item.batch is None else item.batch.n):
            return None
        section = self.section(n, sent_at, row)
        return None if section is None else Item(item.seq, section, self.handed_over(item.streams, upto))

    def handed_over(self, streams: StreamSection | None, upto: Mapping[str, int]) -> StreamSection | None:
        """Records that the batch section holds are behind the fence: the stream goes on with the next one."""
        if not upto:
            return streams
        known = streams or StreamSection({}, (), b"")
        fences = {place: max(offset, known.fences.get(place, -1)) for place, offset in upto.items()}
        return StreamSection({**known.fences, **fences}, known.recent, known.state)

    def applied(
        self,
        item: Item,
        records: Sequence[Record],
        *,
        source_partition: str,
        reducer: Reducer,
        committed: int,
        now: int,
    ) -> Applied:
        """Apply one entity's records (ascending offsets of one source partition) to its item.

        `committed`: the partition's committed position, or any earlier one. Raises `ItemTooLargeError` if the item
        would get more than `MAX_FENCES` fences.
        """
        section = item.streams or StreamSection({}, (), reducer.empty())
        fresh = self.fresh(records, section.fences.get(source_partition, -1))
        recovered: tuple[Recent, ...] = ()
        if len(fresh) < len(records):
            recovered = self.recovered(section.recent, source_partition, records[0].offset, records[-1].offset)
        if not fresh:
            return Applied(None, recovered)
        first, last = fresh[0].offset, fresh[-1].offset
        fences = {**section.fences, source_partition: max(last, section.fences.get(source_partition, -1))}
        if len(fences) > MAX_FENCES:
            raise ItemTooLargeError(
                f"an item fed by {len(fences)} source partitions; {source_partition!r} is one more than {MAX_FENCES}",
                hint="key the source by its entity, so that one source partition holds all of an entity's records",
            )
        recent = (
            *self.kept(section.recent, source_partition, committed),
            Recent(source_partition, first, last, now),
        )
        streams = StreamSection(fences, recent, reducer.apply(section.state, fresh, now))
        return Applied(Item(item.seq, item.batch, streams), recovered)
