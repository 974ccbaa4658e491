"""Judges answers of the view of aggregates: all of its features at once, by a naive kernel and by the window kernel.

Invariant: by its cut, an answer is what `naive` says of the batch rows at n and the log records from the version's cut
to the fences; by the clock, what `compute.windows` says of all records with the availability that the ledger gives
them. And an item's bytes are those of a ring that was made of its records at once.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.slot import Finished, Records
from feature_assets.compute.tiles import packed, ring_of_records, unpacked
from feature_assets.compute.windows import Questions, Visibility, windowed
from feature_assets.errors import CodecError
from feature_assets.online.item import Body, Cut, Item
from feature_assets.serving.status import Status
from feature_assets.testing.judging import Asked, Clocked, Ints, Value, Visible, inside, micros
from feature_assets.testing.naive import FINEST, OVERFLOW, Purchase, features, floor
from feature_assets.testing.purchases import COLUMNS, Purchases, columns_of
from feature_assets.testing.world import World

_Section = Callable[[Item], bytes]


@dataclass(frozen=True, slots=True)
class PurchasesJudged:
    """A `Judge` of a world whose subject is `Purchases`."""

    world: World
    subject: Purchases
    _known: dict[tuple[Hashable, ...], Value] = field(default_factory=dict)

    def told(self, asked: Sequence[Asked]) -> list[Value]:
        """What the reader finishes, for all requests together."""
        as_of = np.array([each.as_of for each in asked], np.int64)
        values = self.subject.reading.values([Body(each.item.batch, each.item.streams) for each in asked], as_of)
        columns = [
            _values(Finished(column, values.overflow.get(name, np.zeros(len(column), np.bool_))))
            for name, column in values.columns.items()
        ]
        rows: list[Value] = list(zip(*columns, strict=True))
        return [
            rows[row] if code == Status.PRESENT.code else (values.reason,)
            for row, code in zip(values.row.tolist(), values.codes.tolist(), strict=True)
        ]

    def kernel(self, asked: Sequence[Asked], cuts: Sequence[Cut]) -> list[Value]:
        """By looking at everything."""
        return [self._kernel(each, cut) for each, cut in zip(asked, cuts, strict=True)]

    def by_clock(self, version: str, asked: Sequence[Asked], told: Sequence[Value]) -> Clocked:
        """An answer is judged as a whole, where nothing of its entity is being written."""
        entity = np.array([each.entity for each in asked], np.int64)
        at = np.array([each.at for each in asked], np.int64)
        visible = Visible(self.world, version)
        records, seen, sent_at = self._everything(visible)
        streamed: dict[int, list[tuple[int, int]]] = {}
        last = slice(len(records) - len(sent_at), None)
        spans = zip(seen.key[last].tolist(), sent_at.tolist(), seen.available_at[last].tolist(), strict=True)
        for key, *span in spans:
            streamed.setdefault(key, []).append((span[0], span[1]))
        layout = self.subject.reading.layout
        found = windowed(layout.uses, layout.slots, records, seen, Questions(entity, at))
        expected: list[Value] = list(zip(*map(_values, found), strict=True))
        undecided = inside(visible.batch_spans(), entity, at) | inside(streamed, entity, at) | visible.unrecorded(asked)
        wrong = [
            (each, f"{value} not {wanted}")
            for each, value, wanted, skipped in zip(asked, told, expected, undecided.tolist(), strict=True)
            if value != wanted and not skipped
        ]
        return Clocked(int(undecided.sum()), wrong)

    def misshapen(self, asked: Sequence[Asked]) -> list[tuple[Asked, str]]:
        """Rings that are not what is made of their records at once, and those that were rolled back."""
        found: list[tuple[Asked, str]] = []
        sections: tuple[tuple[str, _Section], ...] = (("batch", _batch), ("stream", _stream))
        for name, section in sections:
            there = [each for each in asked if section(each.item)]
            blobs = [section(each.item) for each in there]
            try:
                rolled_at = unpacked(self.subject.reading.layout, blobs).rolled_at
            except CodecError as error:
                return [(asked[0], str(error))]
            if name == "stream":
                # A push that slept may put a newer state, whose ring it made earlier: that holds only more.
                found += [(each, "the stream ring went back in time") for each in _back(there, rolled_at)]
            whole = self._rings(there, rolled_at, is_batch=name == "batch")
            found += [
                (each, f"the {name} ring is not that of its records")
                for each, one, other in zip(there, blobs, whole, strict=True)
                if one != other
            ]
        return found

    def _rings(self, asked: Sequence[Asked], rolled_at: Ints, *, is_batch: bool) -> list[bytes]:
        """The rings of what is inside the cuts of items, each made at once."""
        parts = [self._batch(each, each.item.cut) if is_batch else self._stream(each, each.item.cut) for each in asked]
        item = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        every = [record for part in parts for record in part]
        layout = self.subject.reading.layout
        return packed(ring_of_records(layout, _records(every), item, len(parts), rolled_at))

    def _kernel(self, asked: Asked, cut: Cut) -> Value:
        key = asked.version, asked.entity, cut.n, tuple(cut.fences.items()), floor(asked.as_of, FINEST)
        if key not in self._known:
            records = [*self._batch(asked, cut), *self._stream(asked, cut)]
            self._known[key] = features(records, asked.as_of)
        return self._known[key]

    def _batch(self, asked: Asked, cut: Cut) -> list[Purchase]:
        rows = self.world.truth.batch[asked.version].records(cut.n, asked.entity)
        return [Purchase(row.event_at, row.sequence, row.value) for row in rows]

    def _stream(self, asked: Asked, cut: Cut) -> list[Purchase]:
        return [
            Purchase(record.event_at, record.offset, record.amount)
            for place, record in self.world.truth.streamed(asked.version, asked.entity)
            if record.offset <= cut.fences.get(place, -1)
        ]

    def _everything(self, visible: Visible) -> tuple[Records, Visibility, Ints]:
        """Every row of the batch side, then every record of the logs that is not on it; when the latter were sent."""
        side = self.world.sides[visible.version]
        rows = side.table.read_versions(upto=side.truth.settled())
        resolved = visible.batch.resolve_batch(
            commit_seq=np.asarray(rows["commit_seq"]),
            bucket=np.asarray(rows["bucket"]),
            partition=rows["partition"],
            arrived_at=micros(rows["arrived_at"]),
        )
        streamed = [
            pair
            for entity in range(self.world.design.entities)
            for pair in self.world.truth.streamed(visible.version, entity)
        ]
        sent_at, available_at = visible.of_records(streamed)
        late = _records([Purchase(each.event_at, each.offset, each.amount) for _, each in streamed])
        columns = {name: pa.concat_arrays([rows[name].combine_chunks(), late.columns[name]]) for name, _ in COLUMNS}
        records = Records(
            columns,
            np.concatenate((micros(rows["event_at"]), late.event_at)),
            np.concatenate((np.asarray(rows["sequence"]), late.sequence)),
        )
        batch_key = np.array([int(name[1:]) for name in rows["entity"].to_pylist()], np.int64)
        key = np.concatenate((batch_key, np.array([each.entity for _, each in streamed], np.int64)))
        seen = Visibility(
            key,
            np.concatenate((resolved.available_at, available_at)),
            np.concatenate((resolved.superseded_at, np.full(len(streamed), OPEN))),
        )
        return records, seen, sent_at


def _records(purchases: Sequence[Purchase]) -> Records:
    columns = columns_of([one.value for one in purchases])
    event_at = np.array([one.event_at for one in purchases], np.int64)
    return Records(columns, event_at, np.array([one.sequence for one in purchases], np.int64))


def _values(found: Finished) -> list[Hashable]:
    """A feature's values as they compare: an overflow by its name, lists as tuples, maps in the order of their keys."""
    plain: list[Hashable] = found.values.to_pylist()
    if pa.types.is_map(found.values.type):
        plain = [None if one is None else tuple(sorted(one)) for one in found.values.to_pylist()]
    elif pa.types.is_list(found.values.type):
        plain = [None if one is None else tuple(one) for one in found.values.to_pylist()]
    for place in np.flatnonzero(found.overflow).tolist():
        plain[place] = OVERFLOW
    return plain


def _back(asked: Sequence[Asked], rolled_at: Ints) -> list[Asked]:
    """The items whose rings were for a later instant when they were last looked at."""
    last: dict[tuple[str, int, int], int] = {}
    found = []
    for each, instant in zip(asked, rolled_at.tolist(), strict=True):
        place = each.version, each.life, each.entity
        if instant < last.get(place, instant):
            found.append(each)
        last[place] = instant
    return found


def _batch(item: Item) -> bytes:
    return b"" if item.batch is None or item.batch.row is None else item.batch.row.values


def _stream(item: Item) -> bytes:
    return b"" if item.streams is None else item.streams.state
