"""The kernel of windows: questions and records, sorted and searched once for all slots.

Invariant: the cell of a window is that of exactly the records that are visible in it, whichever way it is found: sums
as differences, extremes and objects from trees of segments, the newest by themselves, what is out of order one by one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.sets import Distinct
from feature_assets.compute.aggregates.slot import Additive, Ints, Records, Slot
from feature_assets.compute.ordering import by_key_and_time
from feature_assets.compute.windows_alike import alike
from feature_assets.compute.windows_asked import Questions, Spanned, Visibility
from feature_assets.compute.windows_candidates import LooseCells, candidates
from feature_assets.compute.windows_newest import Side, newest_cells
from feature_assets.compute.windows_order import Asked, Line, Places, Spans, loose_places, split, steady_places
from feature_assets.compute.windows_ranges import Segments, ranged, segmented

TOGETHER = 1 << 14
"""So many cells of objects are merged at once."""
LABORIOUS = 8
"""Windows of objects that have more candidates than so many times their records and windows are divided."""
Bools = npt.NDArray[np.bool_]

Wanted = Mapping[Slot[Any], Sequence[Spanned]]
"""Slots, each with the windows that it is wanted over."""
Cells = dict[tuple[Slot[Any], Spanned], Any]
"""Of each slot and window the cells: one per question, of a series `count` of them."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Questions and records, sorted and searched once for all slots. Made by `of`.

    Spans are of the sorted questions, those that are like the one before left out; `places` leads from each window's
    cells, in the order in which they are asked for, to their spans, and `ranges` says which of them are the window's.
    """

    records: Records
    places: dict[Spanned, Ints]
    steady: Line
    loose: Line
    asked: Asked
    spans: Spans
    ranges: dict[Spanned, slice]
    steady_at: Places
    loose_at: Places
    segments: Segments = field(repr=False)

    @classmethod
    def of(cls, windows: Sequence[Spanned], records: Records, seen: Visibility, questions: Questions) -> "Kernel":
        at = questions.as_of if questions.boundary == "closed" else questions.as_of - 1
        # Neighbouring questions then search neighbouring places.
        order = by_key_and_time(questions.key + 1, questions.as_of) if len(at) else None
        order = np.arange(len(at), dtype=np.int64) if order is None else order
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        asked = Asked(questions.key[order], at[order])
        every, whole = _spans(windows, questions.as_of[order])
        line = Line(None, seen.key, records.event_at, seen.available_at, seen.superseded_at)
        found = alike(line, asked, every)
        places, ranges = _their_own(found.place, whole, back)
        spans = found.spans
        parts = split(line, asked, spans)
        steady_at = steady_places(parts.steady, asked, spans)
        segments = segmented(steady_at.low, steady_at.high, len(parts.steady))
        loose_at = loose_places(parts.loose, asked, spans)
        return cls(records, places, parts.steady, parts.loose, asked, spans, ranges, steady_at, loose_at, segments)

    def cells(self, wanted: Wanted) -> Cells:
        """The cells of each slot over each of its windows, in the order in which the questions were asked."""
        found: Cells = {}
        others: dict[Slot[Any], Sequence[Spanned]] = {}
        for slot, windows in wanted.items():
            as_bits = slot.as_bits(self.records) if isinstance(slot, Distinct) else None
            if not isinstance(slot, Distinct) or as_bits is None:
                others[slot] = windows
                continue
            bits, records = as_bits
            mine = replace(self, records=records).looked_up({bits: windows})
            found |= {(slot, window): slot.sets_of(bits, mine[bits, window]) for window in windows}
        return found | self.looked_up(others)

    def looked_up(self, wanted: Wanted) -> Cells:
        """The same, with the cells of the slots as they are."""
        if not wanted:
            return {}
        steady = self.records if self.steady.rows is None else self.records.take(self.steady.rows)
        loose = self._loose(wanted) if len(self.loose) else None
        found: Cells = {}
        for slot, windows in wanted.items():
            pairs = self._pairs(windows)
            cells = ranged(slot, steady, self.segments, pairs)
            if loose is not None:
                cells = together(slot, cells, loose.of(slot, pairs))
            found |= self._of_windows(slot, windows, cells)
        return found

    def newest(self, wanted: Wanted) -> Cells:
        """The cells of slots of which only the newest records count; without those that would take too long."""
        found: Cells = {}
        for slot, windows in wanted.items():
            if slot.newest is None:
                continue
            pairs = self._pairs(windows)
            (column,) = slot.columns
            has_value = np.asarray(self.records.columns[column].is_valid())
            steady = Side.of(self.steady, self.steady_at, pairs, has_value)
            loose = Side.of(self.loose, self.loose_at, pairs, has_value)
            cells = newest_cells(slot, self.records, steady, loose, self.asked.at[self.spans.question[pairs]])
            if cells is not None:
                found |= self._of_windows(slot, windows, cells)
        return found

    def _pairs(self, windows: Sequence[Spanned]) -> Ints:
        """The spans of some windows, one window after the other."""
        return np.concatenate([np.arange(self.ranges[one].start, self.ranges[one].stop) for one in windows])

    def _of_windows(self, slot: Slot[Any], windows: Sequence[Spanned], cells: Any) -> Cells:  # noqa: ANN401 - the slot's cells
        """The cells of `_pairs`, for each window in the order in which the questions were asked."""
        found: Cells = {}
        first = 0
        for window in windows:
            of = self.ranges[window]
            found[slot, window] = slot.take(cells, self.places[window] + (first - of.start))
            first += of.stop - of.start
        return found

    def laborious(self, objects: Wanted) -> Bools:
        """Of each key whether windows of objects have too many candidates: these are looked at one by one."""
        size = int(max(self.steady.key.max(initial=-1), self.loose.key.max(initial=-1))) + 1
        if not objects or not len(self.loose):
            return np.zeros(size, np.bool_)
        counts = np.maximum(self.loose_at.high - self.loose_at.low, 0)
        key = self.asked.key[self.spans.question]
        looked_at, there = np.zeros(size, np.int64), np.bincount(self.loose.key, minlength=size)
        there += np.bincount(self.steady.key, minlength=size) + np.bincount(key[key >= 0], minlength=size)[:size]
        for window in {window for several in objects.values() for window in several}:
            mine = self.ranges[window]
            some = np.flatnonzero(counts[mine] > 0)
            np.add.at(looked_at, key[mine][some], counts[mine][some])
        if int(looked_at.sum()) <= LABORIOUS * int(there.sum()):
            return np.zeros(size, np.bool_)
        return looked_at > LABORIOUS * there

    def _loose(self, slots: Iterable[Slot[Any]]) -> LooseCells:
        """What is out of order."""
        number = self.spans.question
        given = candidates(self.records, self.loose, self.asked.key[number], self.asked.at[number], self.loose_at)
        return given.cells(slots)


def _their_own(
    place: Ints, whole: Mapping[Spanned, slice], back: Ints
) -> tuple[dict[Spanned, Ints], dict[Spanned, slice]]:
    """For each window, the spans of its cells in the order in which they are asked for, and which ones are its own.

    `place`: of every span, the place of the one that stands for it; `whole`: which of all spans are a window's.
    """
    places = {window: place[of][each(back, window.count)] for window, of in whole.items()}
    own = {
        window: slice(int(place[of.start]), int(place[of.stop - 1]) + 1) if of.stop > of.start else slice(0, 0)
        for window, of in whole.items()
    }
    return places, own


def _spans(windows: Sequence[Spanned], as_of: Ints) -> tuple[Spans, dict[Spanned, slice]]:
    """The spans of all windows, one window after the other; of a series, question by question."""
    ranges: dict[Spanned, slice] = {}
    nothing = np.empty(0, np.int64)
    starts, ends, numbers, first = [nothing], [nothing], [nothing], 0
    for window in windows:
        start, end = window.spans(as_of)
        starts.append(start.ravel())
        ends.append(end.ravel())
        numbers.append(np.repeat(np.arange(len(as_of)), window.count))
        ranges[window] = slice(first, first + start.size)
        first += start.size
    return Spans(np.concatenate(numbers), np.concatenate(starts), np.concatenate(ends)), ranges


def together(slot: Slot[Any], one: Any, other: Any) -> Any:  # noqa: ANN401 - the slot's cells
    """Cell by cell, the merge of two."""
    if slot.kind == "extreme":
        return np.maximum(one, other) if slot.is_greatest else np.minimum(one, other)
    if slot.kind == "object" and len(one) > TOGETHER:
        # What is needed on the way is some times as large as the cells themselves.
        parts = [np.arange(first, min(first + TOGETHER, len(one))) for first in range(0, len(one), TOGETHER)]
        return slot.concat([together(slot, slot.take(one, part), slot.take(other, part)) for part in parts])
    both = slot.concat([one, other])
    if slot.kind == "additive":
        half = len(both.values) // 2
        return Additive(both.base, both.values[:half] + both.values[half:])
    half = len(one)
    order = np.stack((np.arange(half), np.arange(half) + half), axis=1).ravel()
    return slot.merge(slot.take(both, order), np.repeat(np.arange(half), 2), half)


def each(places: Ints, count: int) -> Ints:
    """The places of the cells of questions that have `count` each."""
    return (places[:, None] * count + np.arange(count)).ravel()
