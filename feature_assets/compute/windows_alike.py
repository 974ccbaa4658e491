"""Spans that hold the same records as the one before: of questions that nothing came or went between.

Invariant: spans that are taken for one have the same key, start and end, and no record of the key became available or
was superseded between their instants; so whatever is computed of one is that of the other.

Data that is published once a day makes many of these: until the next push, only the windows move, a hop at a time.
It looks for them only where key, start and end alone say that there could be as many of them as there are records: what
comes or goes has to be sorted for it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.windows_order import Asked, Line, Spans

Bools = npt.NDArray[np.bool_]
_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Alike:
    """`spans`: those that differ from the one before. `place`: for each span that there was, its place among them."""

    spans: Spans
    place: Ints


def alike(line: Line, asked: Asked, spans: Spans) -> Alike:
    """The different ones of `spans`. Questions stand in the order of (key, time), and spans in that of questions.

    `line`: all records, in any order. Of a series, each span has another one before it: they all differ.
    """
    other = _moved(asked, spans)
    if len(other) - np.count_nonzero(other) >= len(line):
        changed = _changed(line, asked)
        if changed is not None:
            other[1:] |= changed[spans.question[1:]] != changed[spans.question[:-1]]
            first = np.flatnonzero(other)
            return Alike(Spans(spans.question[first], spans.start[first], spans.end[first]), np.cumsum(other) - 1)
    return Alike(spans, np.arange(len(other)))


def _moved(asked: Asked, spans: Spans) -> Bools:
    """Which spans are of another key than the one before, or begin or end elsewhere, or stand before its question."""
    key = asked.key[spans.question]
    other = np.ones(len(key), np.bool_)
    other[1:] = spans.question[1:] < spans.question[:-1]
    for column in (key, spans.start, spans.end):
        other[1:] |= column[1:] != column[:-1]
    return other


def _changed(line: Line, asked: Asked) -> Ints | None:
    """Of each question, how often anything of its key, or of one before it, had come or gone; None: it cannot be told.

    That is: where keys and instants together do not fit into 64 bits.
    """
    if not len(asked.at) or not len(line):
        return np.zeros(len(asked.at), np.int64)
    first, last = int(asked.at.min()), int(asked.at.max())
    span = last - first + 1
    if (int(line.key.max()) + 2) * span >= _LIMIT:
        return None
    codes = []
    for at in (line.available_at, line.superseded_at):
        # What is there from the first question on, and what comes after the last one, changes nothing between them.
        between = (at > first) & (at <= last)
        codes.append(line.key[between] * span + (at[between] - first))
    changes = np.sort(np.concatenate(codes))
    return np.searchsorted(changes, asked.key * span + (asked.at - first), side="right")
