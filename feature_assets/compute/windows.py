"""Aggregates over windows, as of each question's instant: the kernels that training sets are made with.

Invariant: for every question (key, as_of) and every window the cell is that of exactly the records of that key with
`available_at <= as_of < superseded_at` and `start <= event_at < end` of the window; whichever path finds them.

Records that become available in the order in which they happened are ranges of one sorted column (`windows_order`,
`windows_ranges`): sums of them are differences of prefix sums. The others are looked at one by one where they are few
for a window, and asked of trees where they are many (`windows_candidates`, `windows_loose`). States that are objects
have no such trees: there, keys of which many records come and go are taken apart, and their questions divided by time
until few do between the first and the last (`windows_divided`).
It does not resolve availability, code keys or read tables. It keeps nothing between calls.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.layout import Use
from feature_assets.compute.aggregates.slot import Asked as AskedCells
from feature_assets.compute.aggregates.slot import Finished, Ints, Records, Slot
from feature_assets.compute.windows_asked import Questions, Reach, Spanned, Visibility
from feature_assets.compute.windows_divided import by_key, by_time, texts_once
from feature_assets.compute.windows_joined import joined
from feature_assets.compute.windows_kernel import Cells, Kernel, Wanted, each, together

__all__ = [
    "Cells",
    "Questions",
    "Reach",
    "Spanned",
    "Visibility",
    "Wanted",
    "empty_cells",
    "finished",
    "shaped",
    "together",
    "wanted_by",
    "window_cells",
    "windowed",
]


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
    as_one = joined(records, seen.key, seen.available_at, seen.superseded_at)
    if as_one is not None:
        rows, superseded_at = as_one
        records, seen = records.take(rows), Visibility(seen.key[rows], seen.available_at[rows], superseded_at)
    return _window_cells(wanted, records, seen, questions)


def _window_cells(
    wanted: Wanted, records: Records, seen: Visibility, questions: Questions, *, is_hard: bool = False
) -> Cells:
    """`is_hard`: these are keys that had to be divided by time before."""
    windows = tuple(dict.fromkeys(window for several in wanted.values() for window in several))
    kernel = Kernel.of(windows, records, seen, questions)
    found = kernel.newest(wanted)
    known = {slot for slot, _ in found}
    wanted = {slot: several for slot, several in wanted.items() if slot not in known}
    objects = {slot: several for slot, several in wanted.items() if slot.kind == "object"}
    hard = kernel.laborious(objects)
    if not hard.any():
        return found | kernel.cells(wanted)
    found |= kernel.cells({slot: several for slot, several in wanted.items() if slot.kind != "object"})
    del kernel
    parts = [] if is_hard else by_key(hard, seen.key, questions.key)
    if len(parts) > 1:
        return found | _by_parts(objects, texts_once(records), seen, questions, parts)
    ends = [window for several in objects.values() for window in several]
    parts = by_time(ends, records.event_at, seen, questions)
    return found | _by_parts(objects, texts_once(records), seen, questions, parts, is_hard=True)


def _by_parts(
    wanted: Wanted,
    records: Records,
    seen: Visibility,
    questions: Questions,
    parts: Sequence[tuple[Ints, Ints]],
    *,
    is_hard: bool = False,
) -> Cells:
    """The same for some of the questions at a time, each with the records that concern them.

    `parts`: the records and the questions of each.
    """
    found = []
    for rows, some in parts:
        visible = Visibility(seen.key[rows], seen.available_at[rows], seen.superseded_at[rows])
        asked = Questions(questions.key[some], questions.as_of[some], questions.boundary)
        found.append(_window_cells(wanted, records.take(rows), visible, asked, is_hard=is_hard))
    back = np.argsort(np.concatenate([some for _, some in parts]), kind="stable")
    return {
        (slot, window): slot.take(slot.concat([part[slot, window] for part in found]), each(back, window.count))
        for slot, window in found[0]
    }


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
