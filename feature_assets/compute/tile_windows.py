"""Windows at read: from the rings of many items to their features, as of an instant.

Invariant: a feature is the aggregate of exactly the records of all sections whose tiles lie in the window; as windows
begin and end where tiles do, these are the records that the window's rule names. Nothing is changed by being read.

The ends of all windows cut the tiles into segments; tiles are merged into segments once for each slot, and windows are
runs of segments, of which there are few: as many as an item has windows, not as it has tiles. Sums need no segments:
they are differences of prefix sums. What there is to do for
one item is little, and much of it are the steps themselves: so a slot's windows are made in one step, and all windows
of an aggregate finished in one. What is the same for each read is in a `Plan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_assets.compute.aggregates.layout import Layout, Use
from feature_assets.compute.aggregates.slot import Additive, Asked, Computation, Finished, Ints, Slot
from feature_assets.compute.tile_places import Spans, places
from feature_assets.compute.tile_rolling import Rings
from feature_assets.compute.windows import shaped, together
from feature_assets.compute.windows_ranges import expanded
from feature_assets.definition.window import Window

Windows = tuple[int, ...]
"""Some windows of a plan, by their places among all of its."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Uses that are finished at once: one aggregate's, over different windows; each with its place in the answer."""

    computation: Computation
    slots: tuple[int, ...]
    windows: Windows
    uses: tuple[tuple[int, Use], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How some features of a layout are finished. `of_slot`: for each slot of the layout the windows it is needed for.

    Make one with `of`, once.
    """

    layout: Layout
    windows: tuple[Window, ...]
    spans: Spans
    of_slot: tuple[Windows, ...]
    groups: tuple[_Group, ...]

    @classmethod
    def of(cls, layout: Layout, uses: Sequence[Use]) -> "Plan":
        """`uses`: some of the layout's, in the order in which they are answered."""
        windows = tuple(dict.fromkeys(use.window for use in uses))
        of_slot: list[dict[int, None]] = [{} for _ in layout.slots]
        grouped: dict[object, list[tuple[int, Use]]] = {}
        for place, use in enumerate(uses):
            for slot in use.slots:
                of_slot[slot][windows.index(use.window)] = None
            alike = id(use.aggregate) if use.computation.is_of_any_window else (place,)
            grouped.setdefault(alike, []).append((place, use))
        groups = tuple(
            _Group(
                mine[0][1].computation,
                mine[0][1].slots,
                tuple(windows.index(use.window) for _, use in mine),
                tuple(mine),
            )
            for mine in grouped.values()
        )
        return cls(layout, windows, Spans.of(windows), tuple(map(tuple, of_slot)), groups)

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots of the layout whose cells are needed."""
        return tuple(slot for slot, windows in enumerate(self.of_slot) if windows)

    def finished(self, sections: Sequence[Rings], as_of: int | Ints) -> list[Finished]:
        """The features, each with one value per item. See `windows`."""
        at = np.asarray(as_of, np.int64).reshape(-1)
        size = len(sections[0])
        start, end = self.spans.bounds(at)
        cells: dict[int, Any] = {}
        for rings in sections:
            runs = _Runs(rings, self.spans, start, end)
            for slot in self.slots:
                kind = self.layout.slots[slot]
                found = runs.cells(kind, rings.cells[slot], self.of_slot[slot])
                cells[slot] = together(kind, cells[slot], found) if slot in cells else found
        asked = {wanted: self._asked(wanted, start, at, size) for wanted in {group.windows for group in self.groups}}
        answers: list[Finished | None] = [None] * sum(len(group.uses) for group in self.groups)
        for group in self.groups:
            mine = [self._of_windows(slot, cells[slot], group.windows, size) for slot in group.slots]
            found = group.computation.finish(mine, asked[group.windows])
            first = 0
            for place, use in group.uses:
                count = size * use.window.count
                part = Finished(found.values.slice(first, count), found.overflow[first : first + count])
                answers[place] = shaped(use, part)
                first += count
        return [answer for answer in answers if answer is not None]

    def _of_windows(self, slot: int, cells: Any, wanted: Windows, size: int) -> Any:  # noqa: ANN401 - the slot's cells
        """Of a slot's cells, which are window after window, those of some windows."""
        known = self.of_slot[slot]
        if wanted == known:
            return cells
        counts = [size * self.windows[window].count for window in known]
        ends = dict(zip(known, np.cumsum(counts).tolist(), strict=True))
        rows = [np.arange(ends[window] - size * self.windows[window].count, ends[window]) for window in wanted]
        return self.layout.slots[slot].take(cells, np.concatenate(rows))

    def _asked(self, wanted: Windows, start: Ints, at: Ints, size: int) -> Asked:
        """What the cells of some windows are of."""
        counts = [self.windows[window].count for window in wanted]
        parts = [start[:, self.spans.of_window[window]] for window in wanted]
        if len(at) == 1:
            # The same for all items.
            same = [np.tile(part[0], size) if part.shape[1] > 1 else np.repeat(part[0], size) for part in parts]
            return Asked(np.full(size * sum(counts), at[0]), np.concatenate(same))
        as_of = [np.repeat(at, count) for count in counts]
        return Asked(np.concatenate(as_of), np.concatenate([part.ravel() for part in parts]))


def windows(sections: Sequence[Rings], as_of: int | Ints) -> list[Finished]:
    """The features of the layout, in the order of its uses: each with one value per item.

    `sections`: rings of the same items, each with other records of them. `as_of`: int64 microseconds, of all or one per
    item. An item without tiles has empty windows.
    """
    layout = sections[0].layout
    return Plan.of(layout, layout.uses).finished(sections, as_of)


class _Runs:
    """Which tiles each window of an item is: a run of them, as tiles are disjoint and in order."""

    def __init__(self, rings: Rings, spans: Spans, start: Ints, end: Ints) -> None:
        low, high = places(rings, spans, start, end)
        marks = np.zeros(len(rings.starts) + 1, np.bool_)
        marks[low] = True
        marks[high] = True
        # The place among `_ends` of each place among the tiles.
        number = np.cumsum(marks) - 1
        self._ends = np.flatnonzero(marks)
        self._low, self._high = number[low], number[high]
        self._of_window = spans.of_window
        self._known: dict[Windows, tuple[Ints, Ints]] = {}

    def cells(self, slot: Slot[Any], tiles: Any, wanted: Windows) -> Any:  # noqa: ANN401 - the slot's cells
        """The cells of some windows, window after window, and of each item by item, from those of the tiles."""
        low, high = self._of(wanted)
        if len(self._ends) <= 1:
            # No window has a tile.
            return slot.empty(len(low))
        if slot.kind == "additive":
            return self._sums(tiles, low, high)
        if slot.kind == "extreme":
            return self._extremes(slot, tiles, low, high)
        segment, tile = self._used_tiles(low, high)
        states = slot.merge(slot.take(tiles, tile), segment, len(self._ends) - 1)
        owner, place = expanded(low, high)
        return slot.merge(slot.take(states, place), owner, len(low))

    def _of(self, wanted: Windows) -> tuple[Ints, Ints]:
        known = self._known.get(wanted)
        if known is None:
            parts = [self._of_window[window] for window in wanted]
            low, high = (np.concatenate([ends[:, part].ravel() for part in parts]) for ends in (self._low, self._high))
            known = self._known[wanted] = low, high
        return known

    def _used_tiles(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """The segment of each tile that is in any of these runs, and the tile."""
        segments = len(self._ends)
        begun, ended = np.bincount(low, minlength=segments), np.bincount(high, minlength=segments)
        used = np.flatnonzero(np.cumsum(begun - ended))
        owner, tile = expanded(self._ends[used], self._ends[used + 1])
        return used[owner], tile

    def _sums(self, tiles: Additive, low: Ints, high: Ints) -> Additive:
        width, until = tiles.values.shape[1], int(self._ends[-1])
        if not (tiles.values[0].any() or tiles.values.any()):
            return Additive(tiles.base, np.zeros((len(low), width), np.int64))
        # Prefix sums, digit by digit; they may wrap around, and their differences are right nevertheless.
        sums = np.zeros((width, until + 1), np.int64)
        np.cumsum(tiles.values[:until].T, axis=1, out=sums[:, 1:])
        start, end = self._ends[low], self._ends[high]
        return Additive(tiles.base, (np.take(sums, end, axis=1) - np.take(sums, start, axis=1)).T)

    def _extremes(self, slot: Slot[Any], tiles: Any, low: Ints, high: Ints) -> Any:  # noqa: ANN401 - an array
        better = np.maximum if slot.is_greatest else np.minimum
        # One segment more, for runs that end at the very end.
        states = np.append(better.reduceat(tiles[: self._ends[-1]], self._ends[:-1]), slot.empty(1))
        found = slot.empty(len(low))
        some = np.flatnonzero(high > low)
        if len(some):
            # Of pairs of bounds every other stretch is a run.
            found[some] = better.reduceat(states, np.stack((low[some], high[some]), axis=1).ravel())[::2]
        return found
