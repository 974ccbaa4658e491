"""What a push writes: the winning row of every touched entity, computed from the durable history alone.

Invariant: the row of an entity is the greatest in the order (event_at, sequence, partition) among its rows in the state
at n (the newest passed version of each partition up to n); an entity that has none is there with no row.

The newest partitions are read first, and older ones only for the entities that are still without a winner: a partition
holds the events of its day, so a winner after the day's start is beaten by nothing older. It writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.coding import key_codes
from feature_assets.compute.kernels import winners
from feature_assets.compute.keys import encoded_keys
from feature_assets.online.item import Row
from feature_assets.online.plan import BucketPlan, PushedView, PushPlan, VersionedTable
from feature_assets.online.protocol import WriteProtocol

Ints = npt.NDArray[np.int64]
Pack = Callable[[pa.Table], list[bytes]]
"""From a table of the view's features to the packed values of each row."""


@dataclass(frozen=True, slots=True)
class Entities:
    """Touched entities in entity-hash order: encoded keys, and each one's row in the state at n, if it has one."""

    keys: list[bytes]
    rows: list[Row | None]


@dataclass(frozen=True, slots=True)
class Sections:
    """Computes the entities of a plan, some buckets at a time.

    `partitions_at_once`: how many partitions the first look goes back; each further one goes back twice as far.
    `only`: of the touched entities, those that have a row in one of these partitions.
    """

    plan: PushPlan
    view: PushedView
    table: VersionedTable
    pack: Pack
    protocol: WriteProtocol
    partitions_at_once: int = 8
    only: frozenset[str] | None = None

    def of(self, buckets: Sequence[BucketPlan]) -> Entities:
        """The entities of these buckets. Raises what the table raises; reads, and keeps nothing."""
        touched = self._touched(buckets)
        if touched is None:
            return Entities([], [])
        keys = encoded_keys(touched, self.view.entity.key_names)
        rows = self._winners(touched, [bucket.bucket for bucket in buckets])
        places = touched["bucket"].to_pylist()
        order = sorted(range(len(keys)), key=lambda entity: (places[entity], crc32(keys[entity]), keys[entity]))
        return Entities([keys[entity] for entity in order], [rows[entity] for entity in order])

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

    def _winners(self, touched: pa.Table, buckets: Sequence[int]) -> list[Row | None]:
        """The row of each touched entity in the state at n."""
        names = [partition for partition, _ in self.plan.history]
        found: list[Row | None] = [None] * len(touched)
        pending = np.arange(len(touched))
        best: pa.Table | None = None
        end, span = len(names), self.partitions_at_once
        while end > 0 and len(pending):
            start = max(0, end - span)
            rows = self._state(names[start:end], buckets)
            rows = rows if best is None else pa.concat_tables([rows, best])
            rows, entity = self._best(rows, touched.take(pending), names)
            # Rows of older partitions are at or before the start of the oldest one read.
            final = np.ones(len(rows), np.bool_) if start == 0 else _instants(rows) > _start_of(names[start])
            for place, row in zip(pending[entity[final]].tolist(), self._rows(rows.filter(final)), strict=True):
                found[place] = row
            best = rows.filter(~final)
            pending = np.delete(pending, entity[final])
            end, span = start, span * 2
        return found

    def _state(self, partitions: Sequence[str], buckets: Sequence[int]) -> pa.Table:
        features = [column.name for column in self.view.stored]
        return self.table.read(
            partitions=partitions,
            upto=self.plan.commit_seq,
            buckets=buckets,
            columns=(*self.view.entity.key_names, "event_at", "sequence", "partition", *features),
            excluded=self.plan.excluded,
        )

    def _best(self, rows: pa.Table, entities: pa.Table, names: Sequence[str]) -> tuple[pa.Table, Ints]:
        """The greatest row of each entity that has one, and which entity that is."""
        key = self.view.entity.key_names
        codes = key_codes([entities[name] for name in key], [rows[name] for name in key])
        entity_of = np.full(codes.size, -1, np.int64)
        entity_of[codes.rows] = np.arange(len(entities))
        entity = np.where(codes.questions >= 0, entity_of[codes.questions], -1)
        hit = np.flatnonzero(entity >= 0)
        rows, entity = rows.take(hit), entity[hit]
        partition = np.asarray(pc.index_in(rows["partition"], value_set=pa.array(names, pa.string()))).astype(np.int64)
        best = winners(entity, _instants(rows), np.asarray(rows["sequence"]), partition)
        return rows.take(best), entity[best]

    def _rows(self, rows: pa.Table) -> list[Row]:
        values = self.pack(rows.select([column.name for column in self.view.stored]))
        columns = (_instants(rows).tolist(), rows["sequence"].to_pylist(), rows["partition"].to_pylist(), values)
        return [Row(*row) for row in zip(*columns, strict=True)]


def _of_versions(rows: pa.Table, wanted: frozenset[tuple[str, int]]) -> npt.NDArray[np.bool_]:
    """Which rows belong to one of the wanted (partition, commit_seq)."""
    names = sorted({partition for partition, _ in wanted})
    place = {name: number for number, name in enumerate(names)}
    radix = max(commit for _, commit in wanted) + 1
    keys = [place[partition] * radix + commit for partition, commit in wanted]
    commit_seq = np.asarray(rows["commit_seq"]).astype(np.int64)
    code = np.asarray(pc.index_in(rows["partition"], value_set=pa.array(names, pa.string())).fill_null(-1))
    return np.isin(code.astype(np.int64) * radix + commit_seq, keys) & (commit_seq < radix) & (code >= 0)


def _instants(rows: pa.Table) -> Ints:
    return np.asarray(rows["event_at"].cast(pa.int64())).astype(np.int64, copy=False)


def _start_of(partition: str) -> int:
    """The start of a partition, which is a UTC day, in microseconds."""
    return int(np.datetime64(partition, "us").astype(np.int64))
