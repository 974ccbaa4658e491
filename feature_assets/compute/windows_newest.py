"""Windows of which only the newest records count: these are looked up, and not what else a window holds.

Invariant: the cell of a window equals `Slot.lift` of its visible records. Of steady records what is visible of a window
is a range of places, and its newest are the last of them; of the loose ones each window is gone through from its end
until enough are found that are visible, all windows at once. What would take too many steps is left to others.

Which of the records of one instant are the newest is the slot's to say: all of that instant are given to it.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Ints, Records, Slot
from feature_assets.compute.windows_order import Line, Places
from feature_assets.compute.windows_ranges import expanded

STEPS: Final = 4096
"""So far back a window's loose records are looked at."""
WORK: Final = 1 << 27
"""So many records are looked at, of all windows together, of those that are not visible or of one instant."""
ROWS_AT_ONCE: Final = 1 << 23
"""About so many records are given to a slot at once."""
Bools = npt.NDArray[np.bool_]
Found = tuple[Ints, Ints]
"""The number of a window, and a row of it."""


@dataclass(frozen=True, slots=True)
class Side:
    """Records by (key, event_at), and the places of those that a window may hold: [low, high) of each window."""

    line: Line
    low: Ints
    high: Ints

    @classmethod
    def of(cls, line: Line, places: Places, pairs: Ints, has_value: Bools) -> "Side":
        """Of some windows, without the records that have no value; `has_value`: of all records."""
        low, high = places.low[pairs], np.maximum(places.high, places.low)[pairs]
        mine = has_value if line.rows is None else has_value[line.rows]
        if mine.all():
            return cls(line, low, high)
        moved = np.append(0, np.cumsum(mine))
        return cls(line.only(mine), moved[low], moved[high])

    def rows(self, places: Ints) -> Ints:
        """The numbers of the records at some places."""
        return places if self.line.rows is None else self.line.rows[places]


def newest_cells(slot: Slot[Any], records: Records, steady: Side, loose: Side, at: Ints) -> Any | None:  # noqa: ANN401 - the slot's cells
    """The cells of all windows; None if it would take too long. All steady records of a window are visible.

    `at`: the instant of each window; what became available up to then, and has not ended, is visible.
    """
    most = slot.newest or 1
    parts, step = [], max(ROWS_AT_ONCE // most, 1)
    work = WORK
    for first in range(0, len(at), step):
        mine = slice(first, first + step)
        low, high = steady.low[mine], steady.high[mine]
        last = _last(steady, low, high, most)
        visible, work = _visible(loose, loose.low[mine], loose.high[mine], at[mine], most, work)
        extra = int((high - last).sum()) - most * len(low)
        if visible is None or extra > work:
            return None
        owner, place = expanded(last, high)
        row = steady.rows(place)
        if len(visible[0]):
            # A stable sort of two runs each of which ascends.
            owner, row = np.concatenate((owner, visible[0])), np.concatenate((row, visible[1]))
            order = np.argsort(owner, kind="stable")
            owner, row = owner[order], row[order]
        parts.append(slot.lift_rows(records, row, owner, len(low)))
    return slot.concat(parts) if parts else slot.empty(0)


def _last(side: Side, low: Ints, high: Ints, most: int) -> Ints:
    """From which place on a window's last `most` records stand, with all that are as old as the first of them."""
    first = np.maximum(high - most, low)
    line = side.line
    if not len(line):
        return np.minimum(first, high)
    fresh = np.append(True, (line.event_at[1:] != line.event_at[:-1]) | (line.key[1:] != line.key[:-1]))
    if not fresh.all():
        begin = np.maximum.accumulate(np.where(fresh, np.arange(len(line)), 0))
        inside = first < high
        first[inside] = np.maximum(begin[first[inside]], low[inside])
    return np.minimum(first, high)


def _visible(side: Side, low: Ints, high: Ints, at: Ints, most: int, work: int) -> tuple[Found | None, int]:
    """The last `most` visible records of each window, with all that are as old; and what is left of `work`."""
    line = side.line
    place, left, edge = high - 1, np.full(len(low), most), np.zeros(len(low), np.int64)
    active = np.flatnonzero(low < high)
    owners, rows = [active[:0]], [active[:0]]
    for _ in range(STEPS):
        if not len(active) or work < 0:
            break
        work -= len(active)
        here = place[active]
        seen = (line.available_at[here] <= at[active]) & (at[active] < line.superseded_at[here])
        found = active[seen]
        owners.append(found)
        rows.append(side.rows(here[seen]))
        left[found] -= 1
        edge[found] = line.event_at[here[seen]]
        place[active] -= 1
        active = active[place[active] >= low[active]]
        active = active[(left[active] > 0) | (line.event_at[place[active]] == edge[active])]
    return None if len(active) else (np.concatenate(owners), np.concatenate(rows)), work
