"""Aggregates over windows, as of each question's instant: the kernels that training sets are made with.

Invariant: for every question (key, as_of) and every window the cell is that of exactly the records of that key with
`available_at <= as_of < superseded_at` and `start <= event_at < end` of the window; whichever path finds them.

Records that become available in the order in which they happened are ranges of one sorted column (`windows_order`,
`windows_ranges`): sums of them are differences of prefix sums. The others are looked at one by one where they are few
for a window, and asked of trees where they are many (`windows_loose`); of objects, always one by one.
It does not resolve availability, code keys or read tables. It keeps nothing between calls.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.layout import Use
from feature_assets.compute.aggregates.slot import Additive, Finished, Ints, Records, Slot
from feature_assets.compute.aggregates.slot import Asked as AskedCells
from feature_assets.compute.kernels import Boundary, by_key_and_time
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
    kernel = WindowKernel.of([use.window for use in uses], records, seen, questions)
    wanted: dict[int, list[Window]] = {}
    for use in uses:
        for number in use.slots:
            wanted.setdefault(number, []).append(use.window)
    cells = kernel.cells({slots[number]: windows for number, windows in wanted.items()})
    return [kernel.finished(use, [cells[slots[number], use.window] for number in use.slots]) for use in uses]


@dataclass(frozen=True, slots=True)
class WindowKernel:
    """Questions and records, sorted and searched once for all slots. Made by `of`.

    Cells stand in the order of the sorted questions; `finished` brings them back into the questions' own.
    """

    records: Records
    as_of: Ints
    back: Ints
    steady: Line
    loose: Line
    asked: Asked
    spans: Spans
    ranges: dict[Window, slice]
    steady_at: Places
    loose_at: Places
    segments: Segments = field(repr=False)

    @classmethod
    def of(cls, windows: Sequence[Window], records: Records, seen: Visibility, questions: Questions) -> "WindowKernel":
        """The kernel for some windows."""
        at = questions.as_of if questions.boundary == "closed" else questions.as_of - 1
        # Neighbouring questions then search neighbouring places.
        order = by_key_and_time(questions.key + 1, questions.as_of) if len(at) else None
        order = np.arange(len(at), dtype=np.int64) if order is None else order
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        asked, as_of = Asked(questions.key[order], at[order]), questions.as_of[order]
        parts = split(seen.key, records.event_at, seen.available_at, seen.superseded_at, asked)
        spans, ranges = _spans(windows, as_of)
        steady_at = steady_places(parts.steady, asked, spans)
        segments = segmented(steady_at.low, steady_at.high, len(parts.steady))
        return cls(
            records=records,
            as_of=as_of,
            back=back,
            steady=parts.steady,
            loose=parts.loose,
            asked=asked,
            spans=spans,
            ranges=ranges,
            steady_at=steady_at,
            loose_at=loose_places(parts.loose, asked, spans),
            segments=segments,
        )

    def cells(self, wanted: dict[Slot[Any], list[Window]]) -> dict[tuple[Slot[Any], Window], Any]:
        """The cells of each slot over each of its windows: one per question and window of a series."""
        steady = self.records if self.steady.rows is None else self.records.take(self.steady.rows)
        loose = self._loose(wanted) if len(self.loose) else None
        found = {}
        for slot, several in wanted.items():
            windows = list(dict.fromkeys(several))
            pairs = np.concatenate(
                [np.arange(*self.ranges[window].indices(len(self.spans.start))) for window in windows]
            )
            cells = ranged(slot, steady, self.segments, pairs)
            if loose is not None:
                cells = _together(slot, cells, loose.of(slot, pairs))
            first = 0
            for window in windows:
                count = self.ranges[window].stop - self.ranges[window].start
                found[slot, window] = slot.take(cells, np.arange(first, first + count))
                first += count
        return found

    def _loose(self, slots: Iterable[Slot[Any]]) -> LooseCells:
        """What is out of order."""
        number = self.spans.question
        given = candidates(self.records, self.loose, self.asked.key[number], self.asked.at[number], self.loose_at)
        return given.cells(slots)

    def finished(self, use: Use, cells: Sequence[Any]) -> Finished:
        """The values of a feature, in the order of the questions."""
        count = use.window.count
        as_of = np.repeat(self.as_of, count)
        found = use.computation.finish(cells, AskedCells(as_of, self.spans.start[self.ranges[use.window]]))
        values, overflow = found.values, found.overflow
        if count > 1:
            ends = pa.array(np.arange(0, len(as_of) + 1, count, dtype=np.int32))
            values, overflow = pa.ListArray.from_arrays(ends, values), np.any(overflow.reshape(-1, count), axis=1)
        return Finished(values.take(pa.array(self.back)).cast(use.feature.dtype), overflow[self.back])


def _spans(windows: Sequence[Window], as_of: Ints) -> tuple[Spans, dict[Window, slice]]:
    """The spans of all windows, one window after the other; of a series, question by question."""
    starts, ends, ranges, first = [], [], {}, 0
    numbers = []
    for window in dict.fromkeys(windows):
        start, end = window.spans(as_of)
        starts.append(start.ravel())
        ends.append(end.ravel())
        numbers.append(np.repeat(np.arange(len(as_of)), window.count))
        ranges[window] = slice(first, first + start.size)
        first += start.size
    nothing = [np.empty(0, np.int64)]
    question, start, end = (np.concatenate(parts or nothing) for parts in (numbers, starts, ends))
    return Spans(question, start, end), ranges


def _together(slot: Slot[Any], one: Any, other: Any) -> Any:  # noqa: ANN401 - the slot's cells
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
