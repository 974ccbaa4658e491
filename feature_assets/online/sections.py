"""What a push writes: the section of every touched entity, computed from the durable history alone.

Invariant: an entity is touched iff a version of a partition that is new since its bucket's last state, or the one that
such a version replaced, has a row of it; and a touched entity of which the state at n holds nothing is there without a
row. What a section holds is the view's `Contents`: its winning row, or the tiles of its records.
It writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.keys import encoded_keys
from feature_assets.online.item import Row
from feature_assets.online.plan import BucketPlan, PushedView, PushPlan, VersionedTable
from feature_assets.online.protocol import WriteProtocol


class State(Protocol):
    """Some buckets of the state at a commit: the newest passed version of each partition up to it."""

    @property
    def partitions(self) -> Sequence[str]:
        """Its partitions, ascending."""

    def read(self, partitions: Sequence[str]) -> pa.Table:
        """The rows of some of them: keys, `event_at`, `sequence`, `partition`, and what the view stores."""


class Contents(Protocol):
    """What the batch section of an entity holds, and when two say the same."""

    def rows(self, state: State, entities: pa.Table, now: int) -> list[Row | None]:
        """What each entity (a row of key columns) has in a state, as of `now` (microseconds); None if nothing."""

    def agrees(self, stored: Row | None, expected: Row | None, now: int) -> bool:
        """Whether what was stored at any time up to `now` is what `rows` gives as of `now`."""


Choice = Callable[[int], Sequence[int]]
"""From the number of entities to the places, in entity-hash order, of those whose rows are wanted."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Touched entities in entity-hash order: encoded keys, and what each one has in the state at n, if anything."""

    keys: list[bytes]
    rows: list[Row | None]


@dataclass(frozen=True, slots=True)
class Sections:
    """Computes the entities of a plan, some buckets at a time.

    `only`: of the touched entities, those that have a row in one of these partitions.
    """

    plan: PushPlan
    view: PushedView
    table: VersionedTable
    contents: Contents
    protocol: WriteProtocol
    only: frozenset[str] | None = None

    def of(self, buckets: Sequence[BucketPlan], now: int, chosen: Choice | None = None) -> Entities:
        """The entities of these buckets, or those chosen, as of `now`. Raises what the table raises; keeps nothing."""
        touched = self._touched(buckets)
        if touched is None:
            return Entities([], [])
        keys = encoded_keys(touched, self.view.entity.key_names)
        state = PlannedState(self.plan, self.view, self.table, [bucket.bucket for bucket in buckets])
        places = touched["bucket"].to_pylist()
        order = sorted(range(len(keys)), key=lambda entity: (places[entity], crc32(keys[entity]), keys[entity]))
        if chosen is not None:
            order = [order[place] for place in chosen(len(order))]
        rows = self.contents.rows(state, touched.take(pa.array(order, pa.int64())), now)
        return Entities([keys[entity] for entity in order], rows)

    def _touched(self, buckets: Sequence[BucketPlan]) -> pa.Table | None:
        """Key columns and bucket of every touched entity, once."""
        parts = []
        columns = (*self.view.entity.key_names, "bucket")
        for since, group in groupby(sorted(buckets, key=attrgetter("since")), key=attrgetter("since")):
            wanted = self.plan.touched_versions(since, self.protocol)
            if self.only is not None:
                wanted = frozenset(version for version in wanted if version[0] in self.only)
            if not wanted:
                continue
            rows = self.table.read_versions(
                partitions={partition for partition, _ in wanted},
                upto=self.plan.commit_seq,
                buckets={bucket.bucket for bucket in group},
                columns=(*columns, "partition", "commit_seq"),
            )
            rows = rows.filter(_of_versions(rows, wanted)).select(columns)
            parts.append(rows.group_by(list(columns), use_threads=False).aggregate([]))
        return pa.concat_tables(parts) if parts else None


@dataclass(frozen=True, slots=True)
class PlannedState:
    """Some buckets of the state of a plan."""

    plan: PushPlan
    view: PushedView
    table: VersionedTable
    buckets: Sequence[int]

    @property
    def partitions(self) -> Sequence[str]:
        """Its partitions, ascending."""
        return [partition for partition, _ in self.plan.history]

    def read(self, partitions: Sequence[str]) -> pa.Table:
        """The rows of some partitions."""
        return self.table.read(
            partitions=partitions,
            upto=self.plan.commit_seq,
            buckets=self.buckets,
            columns=state_columns(self.view),
            excluded=self.plan.excluded,
        )


def state_columns(view: PushedView) -> tuple[str, ...]:
    """What is read of a state."""
    return (*view.entity.key_names, "event_at", "sequence", "partition", *(column.name for column in view.stored))


def _of_versions(rows: pa.Table, wanted: frozenset[tuple[str, int]]) -> npt.NDArray[np.bool_]:
    """Which rows belong to one of the wanted (partition, commit_seq)."""
    names = sorted({partition for partition, _ in wanted})
    place = {name: number for number, name in enumerate(names)}
    radix = max(commit for _, commit in wanted) + 1
    keys = [place[partition] * radix + commit for partition, commit in wanted]
    commit_seq = np.asarray(rows["commit_seq"]).astype(np.int64)
    code = np.asarray(pc.index_in(rows["partition"], value_set=pa.array(names, pa.string())).fill_null(-1))
    return np.isin(code.astype(np.int64) * radix + commit_seq, keys) & (commit_seq < radix) & (code >= 0)
