"""Records and questions brought into an order in which most windows are contiguous.

Invariant: `steady` and `loose` hold every record that some question can see, once. The steady ones of a key become
available in the order of event time and stay so: what is visible of them is a prefix, and of that a window is a range.
The loose ones are the rest: those that were overtaken (something that happened later was available sooner), and those
that are superseded while there are still questions.

So a key whose records all come in order has no loose ones and costs what a search costs; one late record costs itself.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.ordering import ascending_in_each, by_key_and_time, last_in_run, runs
from feature_assets.definition.window import BEGINNING

_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Line:
    """Records by (key, event_at). `rows`: their numbers; None: they are 0, 1, 2, ..."""

    rows: Ints | None
    key: Ints
    event_at: Ints
    available_at: Ints
    superseded_at: Ints

    def __len__(self) -> int:
        return len(self.key)

    def only(self, keep: npt.NDArray[np.bool_]) -> "Line":
        """Some of them."""
        rows = np.flatnonzero(keep) if self.rows is None else self.rows[keep]
        columns = (self.event_at, self.available_at, self.superseded_at)
        return Line(rows, self.key[keep], *(column[keep] for column in columns))


@dataclass(frozen=True, slots=True)
class Split:
    """See the invariant."""

    steady: Line
    loose: Line


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions: `key` (-1: of no record), and `at`: what became available up to then is visible, unless it ended."""

    key: Ints
    at: Ints


@dataclass(frozen=True, slots=True)
class Spans:
    """Windows of questions: `start <= event_at < end` of the question number `question`."""

    question: Ints
    start: Ints
    end: Ints


def split(line: Line, asked: Asked, spans: Spans) -> Split:
    """The records, in any order, that a question can have in a window. Microseconds; keys are codes from 0."""
    line = _sorted(_concerned(line, asked, spans))
    lasting = line.superseded_at > asked.at.max(initial=BEGINNING)
    if lasting.all() and ascending_in_each(line.key, line.available_at):
        return Split(line, line.only(np.zeros(len(line), np.bool_)))
    steady = lasting & _in_order(line, lasting)
    return Split(line.only(steady), line.only(~steady))


def _concerned(line: Line, asked: Asked, spans: Spans) -> Line:
    if not len(asked.at) or not len(line) or not len(spans.start):
        return line.only(np.zeros(len(line), np.bool_))
    seen = line.available_at <= asked.at.max()
    seen &= line.available_at < line.superseded_at
    seen &= line.superseded_at > asked.at.min()
    seen &= (line.event_at >= spans.start.min()) & (line.event_at < spans.end.max())
    wanted = np.zeros(int(line.key.max()) + 1, np.bool_)
    wanted[asked.key[(asked.key >= 0) & (asked.key < len(wanted))]] = True
    if not wanted.all():
        seen &= wanted[line.key]
    line = line if seen.all() else line.only(seen)
    # What was there before the first question might as well have come with it: then it has overtaken nothing.
    return replace(line, available_at=np.maximum(line.available_at, asked.at.min()))


def _sorted(line: Line) -> Line:
    """By (key, event_at), and by availability where these are equal, so that ties are in order if they can be."""
    if not len(line):
        return line
    order = by_key_and_time(line.key, line.event_at)
    key, event_at = (line.key, line.event_at) if order is None else (line.key[order], line.event_at[order])
    available_at = line.available_at if order is None else line.available_at[order]
    back = (available_at[1:] < available_at[:-1]) & (event_at[1:] == event_at[:-1]) & (key[1:] == key[:-1])
    if back.any():
        tied = (event_at[1:] == event_at[:-1]) & (key[1:] == key[:-1])
        places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
        inner = np.lexsort((available_at[places], event_at[places], key[places]))
        order = np.arange(len(key), dtype=np.int64) if order is None else order
        order[places] = order[places][inner]
        available_at = line.available_at[order]
    if order is None:
        return line
    superseded_at = line.superseded_at
    ended = np.broadcast_to(superseded_at[:1], order.shape) if superseded_at.strides == (0,) else superseded_at[order]
    return Line(order if line.rows is None else line.rows[order], key, event_at, available_at, ended)


def _in_order(line: Line, lasting: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which lasting records were available no later than every lasting one of their key that comes behind them."""
    first = int(line.available_at.min())
    span = int(line.available_at.max()) - first + 1
    if (int(line.key[-1]) + 1) * span < _LIMIT:
        rank = line.key * span
        rank += line.available_at - first
    else:
        rank = np.empty(len(line), np.int64)
        order = by_key_and_time(line.key, line.available_at)
        rank[slice(None) if order is None else order] = np.arange(len(line))
    # Ranks of greater keys are greater: what stands behind a key's last record does not concern it.
    least_behind = np.minimum.accumulate(np.where(lasting, rank, _LIMIT - 1)[::-1])[::-1]
    return np.append(rank[:-1] <= least_behind[1:], True)


# ------------------------------------------------------------------------------------------------------------- places


@dataclass(frozen=True, slots=True)
class Places:
    """Of each span the records [low, high) of a line, and where its key's records begin."""

    first: Ints
    low: Ints
    high: Ints


def steady_places(line: Line, asked: Asked, spans: Spans) -> Places:
    """The records of each span that are visible: all of [low, high). `line` holds steady records."""
    if not len(line):
        return _none(spans)
    before, end = runs(line.key, asked.key)
    visible = last_in_run(line.available_at, before, end, asked.at) + 1
    first, visible = (before + 1)[spans.question], visible[spans.question]
    low = _first_from(line.event_at, first, visible, spans.start)
    high = _first_from(line.event_at, first, visible, spans.end)
    return Places(first, low, high)


def loose_places(line: Line, asked: Asked, spans: Spans) -> Places:
    """The candidates of each span: what of them is visible has to be looked at."""
    if not len(line):
        return _none(spans)
    before, end = runs(line.key, asked.key)
    first, stop = (before + 1)[spans.question], (end + 1)[spans.question]
    low = _first_from(line.event_at, first, stop, spans.start)
    # What is available happened no further ahead than anything did; nothing behind that can be visible.
    ahead = max(int((line.event_at - line.available_at).max()), 0)
    at = asked.at[spans.question]
    high = _first_from(line.event_at, first, stop, np.minimum(spans.end - 1, at + ahead) + 1)
    return Places(first, low, high)


def _first_from(time: Ints, first: Ints, stop: Ints, least: Ints) -> Ints:
    """The first place in [first, stop) with `time >= least`, or `stop`."""
    if (least == BEGINNING).all():
        return first
    if (least > time.max()).all():
        return stop
    return last_in_run(time, first - 1, stop - 1, np.maximum(least, BEGINNING + 1) - 1) + 1


def _none(spans: Spans) -> Places:
    nothing = np.zeros(len(spans.question), np.int64)
    return Places(nothing, nothing, nothing)
