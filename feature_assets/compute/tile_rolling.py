"""Rings of tiles: an entity's records by spans of event time, fine for the recent past and coarser further back.

Invariant: a ring is a function of the set of records and of the instant `rolled_at` that it is rolled up for; records
added in any number of steps, in any order, and rolled up as late as one likes, give the same ring, byte for byte. No
window that is asked for at or after `rolled_at`, or by a clock that is up to `SKEW` behind, needs more than it has.

Each record is in exactly one tile, and the tiles of a ring are disjoint in time. At level i a record stays as long as
its block, the tile of the next level that it is in, ends after `rolled_at - reach - spare` of the level: then a window
of this or a finer hop may begin inside the block. Afterwards the block is one tile of the next level; behind the last
level the record is dropped, or part of the one tile that is for all time.

It does not read, write or know stores, and it finishes nothing: see `tile_codec` and `tile_windows`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import ALL_TIME, Layout
from feature_assets.compute.aggregates.slot import Ints, Records

SKEW: Final = 10_000_000
"""How far a reader's clock may be behind that of the writer, in microseconds. A tile is to spare in any case."""
NEVER: Final = -(2**62)
"""`rolled_at` of a ring that was never rolled up: one without records, made by nobody."""
BEFORE_ALL: Final = -(2**62)
"""Where the tile for all time starts: before everything else, so that it stands first."""


@dataclass(frozen=True, slots=True)
class Rings:
    """The rings of some items.

    `counts`: int64 [items, levels], how many tiles each has of each level, in the order of the layout's. `starts`: of
    all tiles, item after item, ascending within an item (so the coarsest levels come first); int64 microseconds.
    `cells`: per slot of the layout as many cells as there are tiles. `rolled_at`: int64 per item.
    """

    layout: Layout
    counts: Ints
    starts: Ints
    cells: tuple[Any, ...]
    rolled_at: Ints

    def __len__(self) -> int:
        """How many items."""
        return len(self.counts)

    @property
    def tiles(self) -> Ints:
        """How many tiles each item has."""
        total: Ints = self.counts.sum(axis=1)
        return total

    @property
    def item(self) -> Ints:
        """The item of each tile."""
        return np.repeat(np.arange(len(self.counts)), self.tiles)

    @property
    def level(self) -> Ints:
        """The level of each tile."""
        return levels_of(self.counts)


def levels_of(counts: Ints) -> Ints:
    """The level of each tile, from how many there are: the coarsest come first."""
    items, levels = counts.shape
    return np.repeat(np.tile(np.arange(levels)[::-1], items), counts[:, ::-1].ravel())


def empty_rings(layout: Layout, items: int) -> Rings:
    """Rings without tiles."""
    cells = tuple(slot.empty(0) for slot in layout.slots)
    counts = np.zeros((items, len(layout.levels)), np.int64)
    return Rings(layout, counts, np.empty(0, np.int64), cells, np.full(items, NEVER))


def ring_of_records(layout: Layout, records: Records, item: Ints, items: int, now: int | Ints) -> Rings:
    """The rings of `items` items, rolled up for `now` (of all, or of each). `item`: whose a record is; in any order."""
    rolled_at = np.broadcast_to(np.asarray(now, np.int64), (items,)).copy()
    level = _level(layout, records.event_at, rolled_at[item])
    placed = _placed(layout, item, records.event_at, level)
    chosen = records if placed.is_everything else records.take(placed.rows)
    cells = [slot.lift(chosen, placed.tile, len(placed.item)) for slot in layout.slots]
    return _settled(layout, placed, cells, rolled_at)


def appended(rings: Rings, records: Records, item: Ints, now: int | Ints) -> Rings:
    """The rings with more records, rolled up for `now`; one that has been for a later instant, for that."""
    return merged(rings, ring_of_records(rings.layout, records, item, len(rings), now), now)


def merged(one: Rings, other: Rings, now: int | Ints) -> Rings:
    """The rings of the records of both, rolled up for `now`, or for a later instant that either has been for."""
    rolled_at = np.maximum(np.maximum(one.rolled_at, other.rolled_at), now)
    cells = [slot.concat([a, b]) for slot, a, b in zip(one.layout.slots, one.cells, other.cells, strict=True)]
    item = np.concatenate((one.item, other.item))
    return _rolled(one.layout, item, np.concatenate((one.starts, other.starts)), cells, rolled_at)


def rolled(rings: Rings, now: int | Ints) -> Rings:
    """The same rings, rolled up for `now`, or for a later instant that one has been for already."""
    rolled_at = np.maximum(rings.rolled_at, now)
    return _rolled(rings.layout, rings.item, rings.starts, rings.cells, rolled_at)


def earliest(layout: Layout, now: int) -> int | None:
    """From when on records count in a ring that is rolled up for `now`, in microseconds; None: all do."""
    hop, reach = layout.levels[-1].hop, layout.levels[-1].reach
    return None if reach is None else (now - reach - spare(hop)) // hop * hop


def tile_capacity(layout: Layout) -> int:
    """How many tiles an item can have at most, if nothing is dated ahead."""
    total, covered = 0, 0
    for number, level in enumerate(layout.levels):
        if level.reach is None:
            return total + 1
        # A tile of this level starts later than this long ago, and not later than all of a finer level.
        within = level.reach + spare(level.hop) + _unit(layout, number)
        total += -((covered - within) // level.hop)
        covered = within
    return total


def spare(hop: int) -> int:
    """How much longer than any window needs it what is in a tile of this hop is kept, in microseconds."""
    return max(hop, SKEW)


# ------------------------------------------------------------------------------------------------------------- rolling


@dataclass(frozen=True, slots=True)
class _Placed:
    """Rows (records, or tiles) brought into tiles. `rows`: those that are kept, tile after tile; `tile` of each.

    `item`, `start` and `level` of each tile.
    """

    rows: Ints
    tile: Ints
    is_everything: bool
    item: Ints
    start: Ints
    level: Ints


def _placed(layout: Layout, item: Ints, at: Ints, level: Ints) -> _Placed:
    """`at`: an instant of each row, `level`: where it goes, -1 if nowhere."""
    kept = np.flatnonzero(level >= 0)
    is_everything = len(kept) == len(level)
    item, level = item[kept], level[kept]
    start = _start(layout, at[kept], level)
    if not _ascends(item, start):
        order = np.lexsort((start, item))
        kept, item, start, level = kept[order], item[order], start[order], level[order]
        is_everything = False
    first = np.append(True, (item[1:] != item[:-1]) | (start[1:] != start[:-1]))[: len(item)]
    return _Placed(kept, np.cumsum(first) - 1, is_everything, item[first], start[first], level[first])


def _rolled(layout: Layout, item: Ints, start: Ints, cells: Sequence[Any], rolled_at: Ints) -> Rings:
    """Rings from tiles in any order, of which several may be of the same span."""
    placed = _placed(layout, item, start, _level(layout, start, rolled_at[item]))
    found = []
    for slot, states in zip(layout.slots, cells, strict=True):
        mine = states if placed.is_everything else slot.take(states, placed.rows)
        alone = len(placed.item) == len(placed.rows)
        found.append(mine if alone else slot.merge(mine, placed.tile, len(placed.item)))
    return _settled(layout, placed, found, rolled_at)


def _settled(layout: Layout, placed: _Placed, cells: Sequence[Any], rolled_at: Ints) -> Rings:
    """Rings from their tiles, in order, without what no window needs of a slot."""
    levels = len(layout.levels)
    counts = np.bincount(placed.item * levels + placed.level, minlength=len(rolled_at) * levels).astype(np.int64)
    counts = counts.reshape(-1, levels)
    tiles, now = counts.sum(axis=1), rolled_at[placed.item]
    kept = []
    for slot, states, number, reach, suffix in zip(
        layout.slots, cells, _coarsest(layout), layout.reaches, layout.suffixes, strict=True
    ):
        found = states
        past = np.zeros(0, np.bool_) if reach is None else _past(layout, placed, number, reach, now)
        if past.any():
            # An empty cell stands at the end, and is taken where nothing is needed.
            place = np.where(past, len(past), np.arange(len(past)))
            found = slot.take(slot.concat([found, slot.empty(1)]), place)
        kept.append(slot.pruned(found, tiles) if suffix else found)
    return Rings(layout, counts, placed.start, tuple(kept), rolled_at)


def _level(layout: Layout, at: Ints, rolled_at: Ints) -> Ints:
    """The level at which what happened `at` stands; -1 if nothing needs it any more.

    Of a tile `at` is its start: levels before its own were left by the whole block, and are not come back to.
    """
    found = np.full(len(at), -1, np.int64)
    for number in reversed(range(len(layout.levels))):
        hop, reach = layout.levels[number].hop, layout.levels[number].reach
        if reach is None:
            found[:] = number
            continue
        unit = _unit(layout, number)
        found[at // unit * unit + unit > rolled_at - reach - spare(hop)] = number
    return found


def _past(layout: Layout, placed: _Placed, number: int, reach: int, rolled_at: Ints) -> npt.NDArray[np.bool_]:
    """Which tiles no window of a slot needs, `number` being the coarsest level of its windows.

    Whole blocks of that level: so a tile that they are rolled up into later is needed, or not, as a whole. One of a
    coarser level is there only where that level looks no further, and with it the slot: its first block says it of all.
    """
    unit = layout.levels[number].hop
    return placed.start // unit * unit + unit <= rolled_at - reach - spare(unit)


def _coarsest(layout: Layout) -> list[int]:
    """Per slot the coarsest level of its windows."""
    numbers = {level.hop: number for number, level in enumerate(layout.levels)}
    found = [0] * len(layout.slots)
    for use in layout.uses:
        number = numbers[ALL_TIME if use.window.size is None else duration_us(use.window.hop)]
        for slot in use.slots:
            found[slot] = max(found[slot], number)
    return found


def _unit(layout: Layout, number: int) -> int:
    """What is rolled up from a level at a time: a block of the next; of the last but that for all time, a tile."""
    hops = [level.hop for level in layout.levels]
    following = hops[number + 1] if number + 1 < len(hops) else ALL_TIME
    return hops[number] if following == ALL_TIME else following


def _start(layout: Layout, at: Ints, level: Ints) -> Ints:
    hop = np.array([one.hop for one in layout.levels], np.int64)[level]
    return np.where(hop == ALL_TIME, BEFORE_ALL, at // hop * hop)


def _ascends(item: Ints, start: Ints) -> bool:
    later = (item[1:] > item[:-1]) | ((item[1:] == item[:-1]) & (start[1:] >= start[:-1]))
    return bool(later.all())
