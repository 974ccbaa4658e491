"""The ring of tiles: what an item of a view of aggregates holds.

Invariant: the ring of an entity is a function of its records in the state at n and of the instant that it is rolled up
for; rolled up further, it is the ring that is made then. So any two pushes of a state agree, whenever they run.
It computes no windows: the reader does, at the time of the request.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.aggregates.layout import Layout
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.tiles import earliest, packed, ring_of_records, rolled, unpacked
from feature_assets.online.item import Row
from feature_assets.online.matching import instants, matched
from feature_assets.online.sections import State

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TileRings:
    """`keys`: the key columns. In a `Row` of a ring, `event_at` and `partition` are those of its newest record."""

    keys: tuple[str, ...]
    layout: Layout

    def rows(self, state: State, entities: pa.Table, now: int) -> list[Row | None]:
        """The ring of each entity, rolled up for `now`; None without a record that a window could need from then on."""
        names = state.partitions
        rows, entity = matched(state.read(names[self._first(names, now) :]), entities, self.keys)
        order = np.argsort(entity, kind="stable")
        rows, entity = rows.take(pa.array(order)), entity[order]
        rings = ring_of_records(self.layout, self._records(rows), entity, len(entities), now)
        newest = np.full(len(entities), np.iinfo(np.int64).min)
        np.maximum.at(newest, entity, instants(rows))
        partition = np.full(len(entities), -1)
        codes = np.asarray(pc.index_in(rows["partition"], value_set=pa.array(names, pa.string()))).astype(np.int64)
        np.maximum.at(partition, entity, codes)
        tiles = rings.tiles
        each = zip(newest.tolist(), partition.tolist(), packed(rings), tiles.tolist(), strict=True)
        return [Row(at, 0, names[last], values) if some else None for at, last, values, some in each]

    def agrees(self, stored: Row | None, expected: Row | None, now: int) -> bool:
        """Whether the stored ring, rolled up for `now`, is the expected one."""
        if stored is None:
            return expected is None
        ring = rolled(unpacked(self.layout, [stored.values]), now)
        if expected is None:
            return not ring.counts.any()
        return bool(packed(ring) == [expected.values])

    def _first(self, names: Sequence[str], now: int) -> int:
        """The place of the first partition that may hold a record which counts from `now` on."""
        horizon = earliest(self.layout, now)
        if horizon is None:
            return 0
        # A record may be at the very end of its partition, which is a day later than the partition's name says.
        day = str(np.datetime64(horizon, "us").astype("datetime64[D]") - np.timedelta64(1, "D"))
        return next((place for place, name in enumerate(names) if name >= day), len(names))

    def _records(self, rows: pa.Table) -> Records:
        columns = {name: rows[name].combine_chunks() for name in self.layout.columns}
        return Records(columns, instants(rows), np.asarray(rows["sequence"]).astype(np.int64, copy=False))
