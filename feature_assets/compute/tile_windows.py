"""Windows at read: from the rings of many items to their features, as of an instant.

Invariant: a feature is the aggregate of exactly the records of all sections whose tiles lie in the window; as windows
begin and end where tiles do, these are the records that the window's rule names. Nothing is changed by being read.

The ends of all windows cut the tiles into segments; tiles are merged into segments once for each slot, and windows are
runs of segments, of which there are few: as many as an item has windows, not as it has tiles.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.layout import ALL_TIME
from feature_assets.compute.aggregates.slot import Additive, Finished, Ints, Slot
from feature_assets.compute.tile_rolling import Rings
from feature_assets.compute.windows import Cells, Spanned, finished, together, wanted_by
from feature_assets.compute.windows_ranges import expanded
from feature_assets.definition.window import BEGINNING


def windows(sections: Sequence[Rings], as_of: int | Ints) -> list[Finished]:
    """The features of the layout, in the order of its uses: each with one value per item.

    `sections`: rings of the same items, each with other records of them. `as_of`: int64 microseconds, of all or one per
    item. An item without tiles has empty windows.
    """
    layout = sections[0].layout
    at = np.broadcast_to(np.asarray(as_of, np.int64), (len(sections[0]),))
    wanted = wanted_by(layout.uses, layout.slots)
    every = tuple(dict.fromkeys(use.window for use in layout.uses))
    cells: Cells = {}
    for rings in sections:
        runs = _Runs(rings, at, every)
        for number, slot in enumerate(layout.slots):
            found = runs.cells(slot, rings.cells[number], wanted[slot])
            for window, states in zip(wanted[slot], found, strict=True):
                known = cells.get((slot, window))
                cells[slot, window] = states if known is None else together(slot, known, states)
    return [finished(use, layout.slots, cells, at) for use in layout.uses]


class _Runs:
    """Which tiles each window of an item is: a run of them, as tiles are disjoint and in order."""

    def __init__(self, rings: Rings, as_of: Ints, every: Sequence[Spanned]) -> None:
        bounds = {window: window.spans(as_of) for window in every}
        places = _Places(rings, bounds.values())
        runs = {window: (places.of(start), places.of(end)) for window, (start, end) in bounds.items()}
        marks = np.zeros(len(rings.starts) + 1, np.bool_)
        for low, high in runs.values():
            marks[low] = True
            marks[high] = True
        # The place among `_ends` of each place among the tiles.
        number = np.cumsum(marks) - 1
        self._ends = np.flatnonzero(marks)
        self._runs = {window: (number[low], number[high]) for window, (low, high) in runs.items()}

    @cached_property
    def _used_tiles(self) -> tuple[Ints, Ints]:
        """The segment of each tile that is in any window, and the tile."""
        segments = len(self._ends)
        begun = sum(np.bincount(low, minlength=segments) for low, _ in self._runs.values())
        ended = sum(np.bincount(high, minlength=segments) for _, high in self._runs.values())
        used = np.flatnonzero(np.cumsum(begun - ended))
        owner, tile = expanded(self._ends[used], self._ends[used + 1])
        return used[owner], tile

    def cells(self, slot: Slot[Any], tiles: Any, wanted: Iterable[Spanned]) -> list[Any]:  # noqa: ANN401 - the slot's cells
        """The cells of each window of the slot, item by item, from those of the tiles."""
        runs = [self._runs[window] for window in wanted]
        if len(self._ends) <= 1:
            # No window has a tile, or there is no item.
            return [slot.empty(len(low)) for low, _ in runs]
        if slot.kind == "additive":
            return self._sums(tiles, runs)
        if slot.kind == "extreme":
            return self._extremes(slot, tiles, runs)
        segment, tile = self._used_tiles
        states = slot.merge(slot.take(tiles, tile), segment, len(self._ends) - 1)
        found = []
        for low, high in runs:
            owner, place = expanded(low, high)
            found.append(slot.merge(slot.take(states, place), owner, len(low)))
        return found

    def _sums(self, tiles: Additive, runs: Sequence[tuple[Ints, Ints]]) -> list[Any]:
        until = int(self._ends[-1])
        # Prefix sums of segments; they may wrap around, and their differences are right nevertheless.
        sums = np.zeros((len(self._ends), tiles.values.shape[1]), np.int64)
        np.cumsum(np.add.reduceat(tiles.values[:until], self._ends[:-1], axis=0), axis=0, out=sums[1:])
        return [Additive(tiles.base, sums[high] - sums[low]) for low, high in runs]

    def _extremes(self, slot: Slot[Any], tiles: Any, runs: Sequence[tuple[Ints, Ints]]) -> list[Any]:  # noqa: ANN401 - an array
        better = np.maximum if slot.is_greatest else np.minimum
        # One segment more, for runs that end at the very end.
        states = np.append(better.reduceat(tiles[: self._ends[-1]], self._ends[:-1]), slot.empty(1))
        found = []
        for low, high in runs:
            states_of = slot.empty(len(low))
            some = np.flatnonzero(high > low)
            if len(some):
                # Of pairs of bounds every other stretch is a run.
                states_of[some] = better.reduceat(states, np.stack((low[some], high[some]), axis=1).ravel())[::2]
            found.append(states_of)
        return found


class _Places:
    """Finds the first tile of an item that starts at an instant or later."""

    def __init__(self, rings: Rings, bounds: Iterable[tuple[Ints, Ints]]) -> None:
        # All instants that are asked for are multiples of the finest hop; of tiles beyond them, only the side counts.
        self._hop = rings.layout.levels[0].hop
        known = np.concatenate([bound.ravel() for pair in bounds for bound in pair])
        known = known[(known != BEGINNING) & (known != OPEN)] // self._hop if self._hop != ALL_TIME else known[:0]
        self._least = int(known.min()) - 1 if len(known) else 0
        self._greatest = int(known.max()) if len(known) else 0
        self._span = self._greatest - self._least + 1
        # Item and start in one integer, ascending.
        self._tiles = rings.item * self._span + self._steps(rings.starts)
        self._items = np.arange(len(rings))[:, None] * self._span

    def of(self, bound: Ints) -> Ints:
        """`bound`: of shape (items, some). The places are flat, item by item."""
        step = np.where(bound == OPEN, self._span, self._steps(bound))
        return np.searchsorted(self._tiles, (self._items + step).ravel())

    def _steps(self, instants: Ints) -> Ints:
        return np.clip(instants // self._hop, self._least, self._greatest) - self._least
