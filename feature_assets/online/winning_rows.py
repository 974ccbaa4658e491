"""The winning row: what an item of a view of rows holds.

Invariant: the row of an entity is the greatest in the order (event_at, sequence, partition) among its rows in the state
at n (the newest passed version of each partition up to n).

The newest partitions are read first, and older ones only for the entities that are still without a winner: a partition
holds the events of its day, so a winner after the day's start is beaten by nothing older. It writes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.kernels import winners
from feature_assets.online.item import Row
from feature_assets.online.matching import instants, matched
from feature_assets.online.sections import State

Ints = npt.NDArray[np.int64]
Pack = Callable[[pa.Table], list[bytes]]
"""From a table of the view's features to the packed values of each row."""

_NOT_VALUES = ("event_at", "sequence", "partition")


@dataclass(frozen=True, slots=True)
class WinningRows:
    """`keys`: the key columns. `partitions_at_once`: how many the first look goes back; each further one twice that."""

    keys: tuple[str, ...]
    pack: Pack
    partitions_at_once: int = 8

    def rows(self, state: State, entities: pa.Table, now: int) -> list[Row | None]:
        """The row of each entity in the state; it does not depend on `now`."""
        del now
        names = state.partitions
        found: list[Row | None] = [None] * len(entities)
        pending = np.arange(len(entities))
        best: pa.Table | None = None
        end, span = len(names), self.partitions_at_once
        while end > 0 and len(pending):
            start = max(0, end - span)
            rows = state.read(names[start:end])
            rows = rows if best is None else pa.concat_tables([rows, best])
            rows, entity = self._best(rows, entities.take(pending), names)
            # Rows of older partitions are at or before the start of the oldest one read.
            final = np.ones(len(rows), np.bool_) if start == 0 else instants(rows) > _start_of(names[start])
            for place, row in zip(pending[entity[final]].tolist(), self._rows(rows.filter(final)), strict=True):
                found[place] = row
            best = rows.filter(~final)
            pending = np.delete(pending, entity[final])
            end, span = start, span * 2
        return found

    def agrees(self, stored: Row | None, expected: Row | None, now: int) -> bool:
        """A row is the same at any time."""
        del now
        return stored == expected

    def _best(self, rows: pa.Table, entities: pa.Table, names: Sequence[str]) -> tuple[pa.Table, Ints]:
        """The greatest row of each entity that has one, and which entity that is."""
        rows, entity = matched(rows, entities, self.keys)
        partition = np.asarray(pc.index_in(rows["partition"], value_set=pa.array(names, pa.string()))).astype(np.int64)
        best = winners(entity, instants(rows), np.asarray(rows["sequence"]), partition)
        return rows.take(best), entity[best]

    def _rows(self, rows: pa.Table) -> list[Row]:
        features = [name for name in rows.column_names if name not in self.keys and name not in _NOT_VALUES]
        values = self.pack(rows.select(features))
        columns = (instants(rows).tolist(), rows["sequence"].to_pylist(), rows["partition"].to_pylist(), values)
        return [Row(*row) for row in zip(*columns, strict=True)]


def _start_of(partition: str) -> int:
    """The start of a partition, which is a UTC day, in microseconds."""
    return int(np.datetime64(partition, "us").astype(np.int64))
