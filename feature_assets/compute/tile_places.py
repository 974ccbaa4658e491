"""Where windows begin and end among the tiles of rings.

Invariant: the spans are those of `Window.spans`; what is the same for each read is worked out once, in `Spans`.
It looks at no cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from feature_assets.clock import OPEN, duration_us
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.tile_rolling import Rings
from feature_assets.definition.window import BEGINNING, Window


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of some windows, side by side: each takes as many columns as it has spans.

    `back`, `size`, `hop`: of each column, microseconds. `begun`, `ended`: the columns that begin, and that end, at
    some instant; the others reach as far as there is anything. `of_window`: the columns of each window.
    """

    back: Ints
    size: Ints
    hop: Ints
    begun: Ints
    ended: Ints
    of_window: tuple[slice, ...]

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "Spans":
        """Of these windows, in their order."""
        columns: list[tuple[int, int, int, bool, bool]] = []
        cuts = [0]
        for window in windows:
            if window.size is None:
                columns.append((0, 0, 1, False, False))
            else:
                size, hop, offset = duration_us(window.size), duration_us(window.hop), duration_us(window.offset)
                columns += [
                    (number * size + offset, size, hop, True, number > 0 or window.closed)
                    for number in range(window.count)
                ]
            cuts.append(len(columns))
        back, size_of, hop_of, begun, ended = np.array(columns, np.int64).reshape(-1, 5).T
        of_window = tuple(slice(*cut) for cut in pairwise(cuts))
        return cls(back, size_of, hop_of, np.flatnonzero(begun), np.flatnonzero(ended), of_window)

    def bounds(self, as_of: Ints) -> tuple[Ints, Ints]:
        """The starts and the ends, each of shape (len(as_of), columns); microseconds, `BEGINNING` and `OPEN`."""
        until = as_of[:, None] - self.back
        start, end = np.full(until.shape, BEGINNING), np.full(until.shape, OPEN)
        for found, instants, columns in ((start, until - self.size, self.begun), (end, until, self.ended)):
            if len(columns):
                hop = self.hop[columns]
                found[:, columns] = instants[:, columns] // hop * hop
        return start, end


def places(rings: Rings, spans: Spans, start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The first tile at each bound or later, of shape (items, columns): the starts, and the ends.

    `start`, `end`: bounds of the spans, of shape (items, columns), or (1, columns) where all items have the same.
    """
    tiles = rings.tiles
    last = np.cumsum(tiles)
    shape = len(rings), start.shape[1]
    low, high = np.empty(shape, np.int64), np.empty(shape, np.int64)
    low[:] = (last - tiles)[:, None]
    high[:] = last[:, None]
    known = [
        (found, bound[:, columns], columns)
        for found, bound, columns in ((low, start, spans.begun), (high, end, spans.ended))
        if len(columns)
    ]
    if known:
        search = _Search(rings, tiles, [bound for _, bound, _ in known])
        for found, bound, columns in known:
            found[:, columns] = search.of(bound)
    return low, high


class _Search:
    """Finds the first tile of an item that starts at an instant or later. `bounds`: all instants that are asked for."""

    def __init__(self, rings: Rings, tiles: Ints, bounds: Sequence[Ints]) -> None:
        # These are multiples of the finest hop; of tiles beyond them, only the side counts.
        self._hop = rings.layout.levels[0].hop
        self._least = min(int(bound.min(initial=OPEN)) for bound in bounds) // self._hop - 1
        self._greatest = max(int(bound.max(initial=BEGINNING)) for bound in bounds) // self._hop
        # Item and start in one integer, ascending.
        items = np.arange(len(rings)) * (self._greatest - self._least + 1)
        self._tiles = self._steps(rings.starts)
        self._tiles += np.repeat(items, tiles)
        self._items = items[:, None]

    def of(self, bound: Ints) -> Ints:
        """`bound`: of shape (items or 1, some)."""
        wanted = self._items + self._steps(bound)
        return np.searchsorted(self._tiles, wanted.ravel()).reshape(wanted.shape)

    def _steps(self, instants: Ints) -> Ints:
        steps = instants // self._hop
        np.clip(steps, self._least, self._greatest, out=steps)
        steps -= self._least
        return steps
