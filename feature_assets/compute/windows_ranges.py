"""Cells of contiguous ranges of records: what a window is, wherever records become visible in their order.

Invariant: the cell of a range equals `Slot.lift` of the records in it; how ranges overlap changes nothing but the time.

The ends of all ranges cut the records into segments, each lifted once. Sums are differences of prefix sums, exact as
they are of integers. A least or greatest value is that of two runs of 2**k segments that cover the range. Objects are
merged from the O(log n) nodes of a binary tree over the segments.
It knows neither time nor keys: ranges come in as places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Additive, Ints, Records, Slot

PAIRS_AT_ONCE = 1 << 21
"""How many candidates are looked at in one go: what bounds memory."""
RANGES_AT_ONCE = 1 << 11
"""For how many ranges objects are merged in one go; each is made of a few dozen of them at most."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Records `first` to `stop` cut into `count` segments, and each range as segments [low, high)."""

    cell: Ints
    count: int
    low: Ints
    high: Ints


def segmented(low: Ints, high: Ints, records: int) -> Segments:
    """The segments that the ranges [low, high) of `records` are made of. A range with low >= high is empty."""
    empty = low >= high
    ends = np.zeros(records + 1, np.int64)
    ends[low[~empty]] = 1
    ends[high[~empty]] = 1
    cell = np.cumsum(ends, out=ends)
    return Segments(cell[:-1], int(cell[-1]) + 1, np.where(empty, 0, cell[low]), np.where(empty, 0, cell[high]))


def ranged(slot: Slot[Any], records: Records, segments: Segments, ranges: Ints) -> Any:  # noqa: ANN401 - the slot's cells
    """The cells of some of the ranges, by their places."""
    low, high = segments.low[ranges], segments.high[ranges]
    if not len(records):
        return slot.empty(len(low))
    lifted = slot.lift(records, segments.cell, segments.count)
    if slot.kind == "additive":
        return _differences(lifted, low, high)
    if slot.kind == "extreme":
        return _extremes(slot, lifted, low, high)
    nodes = _Nodes(slot, [lifted], segments.count)
    parts = [
        nodes.merged(low[first : first + RANGES_AT_ONCE], high[first : first + RANGES_AT_ONCE])
        for first in range(0, len(low), RANGES_AT_ONCE)
    ]
    return slot.concat(parts) if parts else slot.empty(0)


def _differences(lifted: Additive, low: Ints, high: Ints) -> Additive:
    count, width = lifted.values.shape
    found = np.empty((len(low), width), np.int64)
    prefix = np.zeros(count + 1, np.int64)
    for digit in range(width):
        np.cumsum(lifted.values[:, digit], out=prefix[1:])
        found[:, digit] = prefix[high] - prefix[low]
    return Additive(lifted.base, found)


def _extremes(slot: Slot[Any], values: npt.NDArray[Any], low: Ints, high: Ints) -> npt.NDArray[Any]:
    """The extreme of values[low:high]: of all runs of 2**k values at once, k by k, so that one row of them is held."""
    better = np.maximum if slot.is_greatest else np.minimum
    found: npt.NDArray[Any] = slot.empty(len(low))
    # 0.5 <= mantissa < 1: the exponent of n is its bit length.
    bits = np.where(high > low, np.frexp((high - low).astype(np.float64))[1], 0).astype(np.uint8)
    by_bits = np.argsort(bits, kind="stable")
    bounds = np.searchsorted(bits[by_bits], np.arange(int(bits.max(initial=0)) + 2))
    runs = values
    for level in range(len(bounds) - 2):
        step = 1 << level
        if level:
            runs = better(runs[: -step // 2], runs[step // 2 :])
        mine = by_bits[bounds[level + 1] : bounds[level + 2]]
        found[mine] = better(runs[low[mine]], runs[high[mine] - step])
    return found


@dataclass(slots=True)
class _Nodes:
    """A binary tree over states, by levels: each state of a level is the merge of two of the level below."""

    slot: Slot[Any]
    levels: list[Any]
    count: int

    def merged(self, low: Ints, high: Ints) -> Any:  # noqa: ANN401 - the slot's cells
        """The merge of states[low:high], from the nodes that make it up."""
        pieces: list[Any] = []
        owners: list[Ints] = []
        owner, total, level = np.arange(len(low)), len(low), 0
        while True:
            inside = low < high
            owner, low, high = owner[inside], low[inside], high[inside]
            if not len(owner):
                return gathered(self.slot, pieces, owners, total)
            left, right = (low & 1) == 1, (high & 1) == 1
            states = self._level(level)
            for nodes, mine in ((low[left], owner[left]), (high[right] - 1, owner[right])):
                pieces.append(self.slot.take(states, nodes))
                owners.append(mine)
            low, high = (low + 1) >> 1, high >> 1
            level += 1

    def _level(self, level: int) -> Any:  # noqa: ANN401 - the slot's cells
        if level == len(self.levels):
            half = (self.count + 1) >> 1
            self.levels.append(self.slot.merge(self.levels[-1], np.arange(self.count) >> 1, half))
            self.count = half
        return self.levels[level]


def gathered(slot: Slot[Any], pieces: Sequence[Any], owners: Sequence[Ints], total: int) -> Any:  # noqa: ANN401 - the slot's cells
    """The merge of all pieces that belong to each of `total` owners."""
    if not pieces:
        return slot.empty(total)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return slot.merge(slot.take(slot.concat(pieces), order), owner[order], total)


def expanded(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Each place of each range [low, high): the number of the range, ascending, and the place."""
    lengths = np.maximum(high - low, 0)
    owner = np.repeat(np.arange(len(low)), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - first[owner] + low[owner]


def chunks(lengths: Ints) -> list[slice]:
    """Consecutive ranges of at most `PAIRS_AT_ONCE` places together; one that is longer stands alone."""
    ends = np.cumsum(lengths)
    found, first = [], 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        stop = max(int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")), first + 1)
        found.append(slice(first, stop))
        first = stop
    return found
