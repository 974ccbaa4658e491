"""How many: the number of records, or of those that have a value.

Invariant: a count is exact; a null is no value, NaN and the infinities are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.packing import packed_integers, unpacked_integers
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Additive, Ints, Kind, Records, Slot, segments


@dataclass(frozen=True, eq=False, repr=False)
class Count(Slot[Additive]):
    """The number of records; with a `column`, of those whose value is not null."""

    kind: ClassVar[Kind] = "additive"
    max_bytes = COUNT_BYTES
    integers: ClassVar[int] = 1
    column: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "count()" if self.column is None else f"count({self.column})")
        object.__setattr__(self, "columns", () if self.column is None else (self.column,))

    def empty(self, cells: int) -> Additive:
        return Additive(0, np.zeros((cells, 1), np.int64))

    def lift(self, records: Records, cell: Ints, cells: int) -> Additive:
        if self.column is not None:
            cell = cell[np.asarray(records.columns[self.column].is_valid())]
        return Additive(0, np.bincount(cell, minlength=cells).astype(np.int64)[:, None])

    def merge(self, states: Additive, group: Ints, groups: int) -> Additive:
        found, first = segments(group)
        merged = self.empty(groups)
        if len(found):
            merged.values[found] = np.add.reduceat(states.values, first, axis=0)
        return merged

    def take(self, states: Additive, cells: Ints) -> Additive:
        return Additive(states.base, states.values[cells])

    def concat(self, parts: Sequence[Additive]) -> Additive:
        return Additive(0, np.concatenate([part.values for part in parts]) if parts else self.empty(0).values)

    def encode(self, states: Additive, counts: Ints) -> tuple[npt.NDArray[np.uint8], list[bytes]]:
        return packed_integers(states.values[:, 0], counts)

    def decode(self, codes: npt.NDArray[np.uint8], blobs: Sequence[bytes | memoryview], counts: Ints) -> Additive:
        return self.of_integers(unpacked_integers(codes, blobs, counts))

    def of_integers(self, values: Ints) -> Additive:
        return Additive(0, values[:, None])
