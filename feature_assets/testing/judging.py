"""How answers are judged: what a reader was given, what it must be by its cut, and what the ledger says was visible.

Invariant: a judge is told everything that a reader saw, and looks at it when the run is over: a cut names a state that
nothing can change any more, so that it does not matter when.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.offline.availability import Timeline, timeline
from feature_assets.offline.ledger import LedgerRow, valid
from feature_assets.offline.stream_availability import StreamTimeline, stream_timeline
from feature_assets.online.item import Cut, Item
from feature_assets.testing.subject import FIRST, VIEW
from feature_assets.testing.truth import LogRecord
from feature_assets.testing.world import World

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Value = tuple[Hashable, ...]
"""An answer."""
Spans = Mapping[int, Sequence[tuple[int, int]]]
"""By entity, the write intervals of what it has: from `sent_at` to the acknowledgement."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered: of which version in which life, about whom, at which instant, and by what item.

    `as_of`: the reader's clock, which may be behind. `serves`: whether the version did at that instant.
    """

    version: str
    life: int
    entity: int
    at: int
    as_of: int
    item: Item
    serves: bool


@dataclass(frozen=True, slots=True)
class Clocked:
    """What the wall clock says of answers. `inside`: how many fall into a write interval, where it decides nothing."""

    inside: int
    wrong: Sequence[tuple[Asked, str]]


class Judge(Protocol):
    """Judges the answers of one kind of subject."""

    def told(self, asked: Sequence[Asked]) -> list[Value]:
        """What the product's reader makes of the items."""

    def kernel(self, asked: Sequence[Asked], cuts: Sequence[Cut]) -> list[Value]:
        """What must have been answered over exactly what is inside each cut, by looking at everything."""

    def by_clock(self, version: str, asked: Sequence[Asked], told: Sequence[Value]) -> Clocked:
        """Answers at their instants, of one version that served, against what the ledger says was visible then."""

    def misshapen(self, asked: Sequence[Asked]) -> list[tuple[Asked, str]]:
        """Items whose bytes are not those of what is inside their cut, though their values may be."""


@dataclass(frozen=True)
class Visible:
    """What the ledger says of one version, once everything has settled."""

    world: World
    version: str

    @cached_property
    def rows(self) -> list[LedgerRow]:
        """All that it says."""
        return self.world.ledger.rows(view=VIEW, version=self.version, target=self.world.store.target)

    @cached_property
    def batch(self) -> Timeline:
        """The visibility of every version of a partition."""
        side, view = self.world.sides[self.version], self.world.design.subject.view
        return timeline(
            self.rows,
            side.table.partition_versions(upto=side.truth.settled()),
            buckets=view.buckets,
            delay=view.delay,
            excluded=frozenset(pair for pair, passed in side.verdicts.passed.items() if not passed),
            previous=None if self.version == FIRST else Visible(self.world, FIRST).batch,
        )

    @cached_property
    def streams(self) -> StreamTimeline:
        """The visibility of every record of a log."""
        return stream_timeline(self.rows)

    def of_records(self, records: Sequence[tuple[str, LogRecord]]) -> tuple[Ints, Ints]:
        """When each was sent, and when it was available."""
        if not records:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        found = self.streams.resolve(
            source_partition=pa.array([place for place, _ in records], pa.string()),
            offset=np.array([record.offset for _, record in records], np.int64),
            entity=[self.world.keys[record.entity] for _, record in records],
        )
        return found.sent_at, found.available_at

    def batch_spans(self) -> Spans:
        """The pushes of something that an entity had before or after it."""
        visible, truth = self.batch, self.world.sides[self.version].truth
        spans: dict[int, list[tuple[int, int]]] = {}
        names = visible.versions.partitions.to_pylist()
        had: set[int] = set()
        partition = None
        for number, (code, seq, passed) in enumerate(
            zip(visible.versions.code, visible.versions.commit_seq, visible.versions.passed, strict=True)
        ):
            if code != partition:
                had, partition = set(), code
            if not passed:
                continue
            has = {row.entity for row in truth.rows(names[code], int(seq))}
            for each in has | had:
                bucket = self.world.buckets[each]
                span = int(visible.sent_at[number, bucket]), int(visible.available_at[number, bucket])
                spans.setdefault(each, []).append(span)
            had = has
        return spans

    def unrecorded(self, asked: Sequence[Asked]) -> Bools:
        """Which answers hold a record whose write no ledger row will ever close, as the table was lost before."""
        recorded: dict[tuple[int, str, bytes | None], list[tuple[int, int]]] = {}
        for row in valid(self.rows):
            if row.kind == "range" and row.source_partition is not None and row.first is not None:
                spans = recorded.setdefault((row.life, row.source_partition, row.entity), [])
                spans.append((row.first, row.last or row.first))
        cut, lives = self.world.truth.cuts.get(self.version, {}), self.world.lives.get(self.version, 0)

        def is_known(each: Asked, place: str, fence: int) -> bool:
            of_all, own = ((each.life, place, one) for one in (None, self.world.keys[each.entity]))
            spans = (*recorded.get(of_all, ()), *recorded.get(own, ()))
            return fence <= cut.get(place, -1) or any(first <= fence <= last for first, last in spans)

        found = [
            each.life < lives and not all(is_known(each, *fence) for fence in each.item.cut.fences.items())
            for each in asked
        ]
        return np.array(found, np.bool_)


def inside(spans: Spans, entity: Ints, at: Ints) -> Bools:
    """Which (entity, instant) fall into a span of that entity, ends included; a span that starts at OPEN is none."""
    found = np.zeros(len(at), np.bool_)
    for each, mine in spans.items():
        if mine:
            rows = np.flatnonzero(entity == each)
            start, end = np.array(mine, np.int64).reshape(-1, 2).T
            found[rows] = ((start <= at[rows, None]) & (at[rows, None] <= end)).any(axis=1)
    return found


def micros(column: pa.ChunkedArray) -> Ints:
    """A column of instants, in microseconds."""
    return np.asarray(column.cast(pa.int64()))
