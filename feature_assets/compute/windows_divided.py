"""Questions and records taken apart where many records come and go: by key, and by time.

Invariant: every question is in one part, and each part has all records that a question of it can see in a window.

The shorter the time from the first question of a part to its last, the fewer records come or go in it; at a single
instant none do, and all that is visible is in order. Each part has the records of the whole length of the windows, so
only the keys that need it are divided so.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.slot import Ints, Records
from feature_assets.compute.windows_asked import Questions, Spanned, Visibility

PARTS: Final = 4
"""In so many parts is divided at once: with fewer, more is sorted only to find out that it has to be divided again."""
Bools = npt.NDArray[np.bool_]
Part = tuple[Ints, Ints]
"""The rows of records, and those of questions."""


def by_key(hard: Bools, of_records: Ints, of_questions: Ints) -> list[Part]:
    """The keys that are not hard, and those that are; one part if there are none of the one kind.

    `hard`: of each key that a question can have; of more keys there may be records, which no question sees.
    """
    known = of_questions >= 0
    mine = np.zeros(len(of_questions), np.bool_)
    mine[known] = np.append(hard, np.zeros(int(of_questions.max(initial=-1)) + 1, np.bool_))[of_questions[known]]
    if mine.all() or not mine.any():
        return [(np.arange(len(of_records)), np.arange(len(of_questions)))]
    records = np.append(hard, np.zeros(int(of_records.max(initial=-1)) + 1, np.bool_))[of_records]
    return [(np.flatnonzero(records == one), np.flatnonzero(mine == one)) for one in (False, True)]


def by_time(windows: Sequence[Spanned], event_at: Ints, seen: Visibility, questions: Questions) -> list[Part]:
    """The questions by their instants, about as many in each part. There are at least two different instants."""
    as_of = questions.as_of
    places = np.arange(1, PARTS) * len(as_of) // PARTS
    edges = np.unique(np.partition(as_of, places)[places])
    number = np.searchsorted(edges, as_of, side="right")
    if (number == number[0]).all():
        number = np.searchsorted(edges, as_of, side="left")
    parts = []
    for one in np.unique(number):
        mine = np.flatnonzero(number == one)
        first, last = int(as_of[mine].min()), int(as_of[mine].max())
        some = (seen.available_at <= last) & (seen.superseded_at >= first)
        ends = [window.spans(np.array([first, last])) for window in windows]
        some &= event_at >= min(int(start.min()) for start, _ in ends)
        some &= event_at < max(int(end.max()) for _, end in ends)
        parts.append((np.flatnonzero(some), mine))
    return parts


def texts_once(records: Records) -> Records:
    """The records with each text once, so that taking some of them copies numbers only."""
    columns = {
        name: column.dictionary_encode()
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type)
        else column
        for name, column in records.columns.items()
    }
    return Records(columns, records.event_at, records.sequence)
