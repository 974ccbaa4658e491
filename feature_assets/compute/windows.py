"""Aggregates over windows, as of each question's instant: the kernels that training sets are made with.

Invariant: for every question (key, as_of) and every window the cell is that of exactly the records of that key with
`available_at <= as_of < superseded_at` and `start <= event_at < end` of the window; whichever path finds them.

Records that become available in the order in which they happened are ranges of one sorted column (`windows_order`,
`windows_ranges`): sums of them are differences of prefix sums. The others are looked at one by one where they are few
for a window, and asked of trees where they are many (`windows_candidates`, `windows_loose`). States that are objects
have no such trees: there, questions are divided by time until few records come or go between the first and the last.
It does not resolve availability, code keys or read tables. It keeps nothing between calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.layout import Use
from feature_assets.compute.aggregates.slot import Additive, Finished, Ints, Records, Slot
from feature_assets.compute.aggregates.slot import Asked as AskedCells
from feature_assets.compute.kernels import Boundary
from feature_assets.compute.ordering import by_key_and_time
from feature_assets.compute.windows_alike import alike
from feature_assets.compute.windows_candidates import LooseCells, candidates
from feature_assets.compute.windows_order import Asked, Line, Places, Spans, loose_places, split, steady_places
from feature_assets.compute.windows_ranges import Segments, ranged, segmented
from feature_assets.definition.window import Window


@dataclass(frozen=True, slots=True)
class Visibility:
    """Whose a record is and when it could be seen: int64, microseconds; `OPEN` for never available, never superseded.

    `key`: codes from 0.
    """

    key: Ints
    available_at: Ints
    superseded_at: Ints


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked: keys as codes, -1 for one that no record has; instants in microseconds.

    `boundary="open"` moves both ends of visibility by one: `available_at < as_of <= superseded_at`.
    """

    key: Ints
    as_of: Ints
    boundary: Boundary = "closed"


LABORIOUS = 4
"""Windows of objects that have more candidates than so many times all records and questions are divided by time."""


class Spanned(Protocol):
    """Whatever says what it spans as of an instant: a `Window`, or what several reach together. Hashable."""

    @property
    def count(self) -> int:
        """How many spans it has, one behind the other."""

    def spans(self, as_of: Ints) -> tuple[Ints, Ints]:
        """`start <= event_at < end`, each of shape (len(as_of), count); microseconds, `BEGINNING` and `OPEN`."""


@dataclass(frozen=True, slots=True)
class Reach:
    """All that any of some windows looks at, and what is visible beyond: from the earliest of their starts on."""

    windows: tuple[Window, ...]
    count: int = 1

    def spans(self, as_of: Ints) -> tuple[Ints, Ints]:
        """See `Spanned`."""
        starts = [window.spans(as_of)[0].min(axis=1) for window in self.windows]
        return np.minimum.reduce(starts)[:, None], np.full((len(as_of), 1), OPEN)


Wanted = Mapping[Slot[Any], Sequence[Spanned]]
"""Slots, each with the windows that it is wanted over."""
Cells = dict[tuple[Slot[Any], Spanned], Any]
"""Of each slot and window the cells: one per question, of a series `count` of them."""


def wanted_by(uses: Iterable[Use], slots: Sequence[Slot[Any]]) -> dict[Slot[Any], list[Spanned]]:
    """What has to be there to finish `uses`; `slots`: the layout's, which they point into."""
    wanted: dict[Slot[Any], list[Spanned]] = {}
    for use in uses:
        for number in use.slots:
            several = wanted.setdefault(slots[number], [])
            if use.window not in several:
                several.append(use.window)
    return wanted


def window_cells(wanted: Wanted, records: Records, seen: Visibility, questions: Questions) -> Cells:
    """The cells of all that is wanted, in the order of the questions."""
    windows = tuple(dict.fromkeys(window for several in wanted.values() for window in several))
    kernel = _Kernel.of(windows, records, seen, questions)
    objects = {slot: several for slot, several in wanted.items() if slot.kind == "object"}
    if not kernel.is_laborious(objects):
        return kernel.cells(wanted)
    found = kernel.cells({slot: several for slot, several in wanted.items() if slot.kind != "object"})
    del kernel
    return found | _by_halves(objects, records, seen, questions)


def _by_halves(wanted: Wanted, records: Records, seen: Visibility, questions: Questions) -> Cells:
    """The same for the earlier and the later half of the questions, each with the records that concern it.

    The shorter the time from the first question to the last, the fewer records come or go in it; at a single instant
    none do, and all that is visible is in order.
    """
    middle = np.partition(questions.as_of, len(questions.as_of) // 2)[len(questions.as_of) // 2]
    early = questions.as_of < middle
    early = early if early.any() else questions.as_of <= middle
    parts, places = [], []
    for half in (np.flatnonzero(early), np.flatnonzero(~early)):
        as_of = questions.as_of[half]
        some = (seen.available_at <= as_of.max()) & (seen.superseded_at >= as_of.min())
        ends = [window.spans(np.array([as_of.min(), as_of.max()])) for several in wanted.values() for window in several]
        some &= records.event_at >= min(int(start.min()) for start, _ in ends)
        some &= records.event_at < max(int(end.max()) for _, end in ends)
        rows = np.flatnonzero(some)
        visible = Visibility(seen.key[rows], seen.available_at[rows], seen.superseded_at[rows])
        asked = Questions(questions.key[half], as_of, questions.boundary)
        parts.append(window_cells(wanted, records.take(rows), visible, asked))
        places.append(half)
    back = np.argsort(np.concatenate(places), kind="stable")
    return {
        (slot, window): slot.take(slot.concat([part[slot, window] for part in parts]), _each(back, window.count))
        for slot, window in parts[0]
    }


def _each(places: Ints, count: int) -> Ints:
    """The places of the cells of questions that have `count` each."""
    return (places[:, None] * count + np.arange(count)).ravel()


def empty_cells(wanted: Wanted, questions: int) -> Cells:
    """The cells where there are no records at all."""
    return {
        (slot, window): slot.empty(questions * window.count) for slot, several in wanted.items() for window in several
    }


def windowed(
    uses: Sequence[Use],
    slots: Sequence[Slot[Any]],
    records: Records,
    seen: Visibility,
    questions: Questions,
) -> list[Finished]:
    """The features of `uses`, each with one value per question, in the order of the questions.

    `slots`: the layout's, which `uses` point into. A series gives a list for each question; it has overflowed if one of
    its windows has.
    """
    cells = window_cells(wanted_by(uses, slots), records, seen, questions)
    return [finished(use, slots, cells, questions.as_of) for use in uses]


def finished(use: Use, slots: Sequence[Slot[Any]], cells: Cells, as_of: Ints) -> Finished:
    """The values of a feature for each question, from its cells."""
    count = use.window.count
    start = use.window.spans(as_of)[0].ravel()
    mine = [cells[slots[number], use.window] for number in use.slots]
    return shaped(use, use.computation.finish(mine, AskedCells(np.repeat(as_of, count), start)))


def shaped(use: Use, found: Finished) -> Finished:
    """The values of a feature, of its type, from those of its cells: of a series a list for each question."""
    values, overflow, count = found.values, found.overflow, use.window.count
    if count > 1:
        ends = pa.array(np.arange(0, len(overflow) + 1, count, dtype=np.int32))
        values, overflow = pa.ListArray.from_arrays(ends, values), np.any(overflow.reshape(-1, count), axis=1)
    dtype = use.feature.dtype
    return Finished(values if values.type == dtype else values.cast(dtype), overflow)


# ---------------------------------------------------------------------------------------------------------- the kernel


@dataclass(frozen=True, slots=True)
class _Kernel:
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
    loose_at: Places
    segments: Segments = field(repr=False)

    @classmethod
    def of(cls, windows: Sequence[Spanned], records: Records, seen: Visibility, questions: Questions) -> "_Kernel":
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
        return cls(records, places, parts.steady, parts.loose, asked, spans, ranges, loose_at, segments)

    def cells(self, wanted: Wanted) -> Cells:
        """The cells of each slot over each of its windows, in the order in which the questions were asked."""
        steady = self.records if self.steady.rows is None else self.records.take(self.steady.rows)
        loose = self._loose(wanted) if len(self.loose) else None
        found: Cells = {}
        for slot, windows in wanted.items():
            pairs = np.concatenate([np.arange(self.ranges[one].start, self.ranges[one].stop) for one in windows])
            cells = ranged(slot, steady, self.segments, pairs)
            if loose is not None:
                cells = together(slot, cells, loose.of(slot, pairs))
            first = 0
            for window in windows:
                of = self.ranges[window]
                found[slot, window] = slot.take(cells, self.places[window] + (first - of.start))
                first += of.stop - of.start
        return found

    def is_laborious(self, objects: Wanted) -> bool:
        """Whether there are too many candidates of windows of objects: these are looked at one by one."""
        if not objects or not len(self.loose):
            return False
        counts = np.maximum(self.loose_at.high - self.loose_at.low, 0)
        windows = {window for several in objects.values() for window in several}
        looked_at = sum(int(counts[self.ranges[window]].sum()) for window in windows)
        return looked_at > LABORIOUS * (len(self.steady) + len(self.loose) + len(counts))

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
    places = {window: place[of][_each(back, window.count)] for window, of in whole.items()}
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
    both = slot.concat([one, other])
    if slot.kind == "additive":
        half = len(both.values) // 2
        return Additive(both.base, both.values[:half] + both.values[half:])
    half = len(one)
    order = np.stack((np.arange(half), np.arange(half) + half), axis=1).ravel()
    return slot.merge(slot.take(both, order), np.repeat(np.arange(half), 2), half)
