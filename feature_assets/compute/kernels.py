"""Which row is visible: the point-in-time kernels, pure numpy.

Invariant: for every question (key, as_of) the answer is the greatest row in the order (event_at, sequence, partition)
among the rows of that key with `available_at <= as_of < superseded_at`; each shortcut below gives that same answer.
It does not resolve availability, code keys, read tables or know features: integers in, row numbers out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from feature_assets.compute.ordering import (
    Ordered,
    ascending,
    by_key,
    in_one,
    last_at_or_before,
    last_of_each,
    ordered,
    with_neighbours,
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Boundary = Literal["closed", "open"]

NO_ROW = -1
"""In `Matches.row`: nothing of that key was visible. In a spine key: a key that no row has."""

_BLOCK = 1 << 17
"""Rows that are looked at together: so many that a step costs more than its call, so few that they stay in a cache."""


@dataclass(frozen=True, slots=True)
class Matches:
    """One answer per question, in the order of the questions.

    `row` is the number of the winning row, `NO_ROW` where none was visible. `expired` says that the winner was older
    than the time to live; an expired winner is not replaced by an older row.
    """

    row: Ints
    expired: Bools


def latest_visible(  # noqa: PLR0913 - one array for each column of the time model
    *,
    key: Ints,
    event_at: Ints,
    sequence: Ints,
    partition: Ints,
    available_at: Ints,
    superseded_at: Ints,
    spine_key: Ints,
    as_of: Ints,
    ttl: int | None = None,
    boundary: Boundary = "closed",
) -> Matches:
    """The greatest visible row for every (spine_key, as_of).

    All arrays are int64; times and `ttl` are microseconds, `OPEN` stands for "never available" and "never superseded".
    Keys are codes from 0; rows may stand in any order. A row whose interval is empty is never visible. Where two rows
    are equal in the whole order, the later one in the arrays wins. `boundary="open"` moves both ends of visibility by
    one: `available_at < as_of <= superseded_at`.
    """
    if not len(key) or not len(as_of):
        return _nothing(len(as_of))
    # Times are whole microseconds: strictly before an instant is at or before the microsecond in front of it.
    at = as_of if boundary == "closed" else as_of - 1
    rows = _Rows(key, event_at, available_at, superseded_at, sequence, partition)
    row = np.full(len(as_of), NO_ROW, np.int64)
    for block, first, asked in _blocks(rows, spine_key):
        row[asked] = _through(_latest(block, spine_key[asked] - first, at[asked]), block.number)
    return Matches(row, _expired(row, event_at, as_of, ttl))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of some rows. `sequence` and `partition`, which few rows need, are those of all rows.

    `number`: which of all rows they are, ascending within a key; None: all of them.
    """

    key: Ints
    event_at: Ints
    available_at: Ints
    superseded_at: Ints
    sequence: Ints
    partition: Ints
    number: Ints | None = None

    def of(self, rows: Ints | None, key: Ints | None = None) -> "_Rows":
        """Some of them (None: all); `key`: their keys, where these are to be others."""
        if rows is None:
            return self
        event_at = self.event_at[rows]
        start, end = _taken(self.available_at, rows), _taken(self.superseded_at, rows)
        key = self.key[rows] if key is None else key
        return _Rows(key, event_at, start, end, self.sequence, self.partition, self._number(rows))

    def _number(self, rows: Ints) -> Ints:
        return rows if self.number is None else self.number[rows]

    def rest(self, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """What some of them are ordered by after the time: sequence, partition, and the caller's order."""
        number = self._number(rows)
        return self.sequence[number], self.partition[number], number

    def greater(self, left: Ints, right: Ints) -> Ints:
        """Of two rows of the same key, or `NO_ROW`, the greater in the whole order."""
        best = np.where(left == NO_ROW, right, left)
        both = np.flatnonzero((left != NO_ROW) & (right != NO_ROW))
        left, right = left[both], right[both]
        less, equal = np.zeros(len(both), np.bool_), np.ones(len(both), np.bool_)
        columns = zip((self.event_at[left], *self.rest(left)), (self.event_at[right], *self.rest(right)), strict=True)
        for mine, other in columns:
            less |= equal & (mine < other)
            equal &= mine == other
        best[both[less]] = right[less]
        return best


def winners(key: Ints, event_at: Ints, sequence: Ints, partition: Ints) -> Ints:
    """The number of the greatest row of each key in the order (event_at, sequence, partition), by ascending key."""
    if not len(key):
        return np.zeros(0, np.int64)
    ordered = _ordered(key, event_at, sequence, partition)
    last = last_of_each(ordered.key)
    return last if ordered.order is None else _taken(ordered.order, last)


def _taken(column: Ints, rows: Ints | None) -> Ints:
    """`column[rows]`; no `rows` means the identity. What is one value throughout stays so, without being copied."""
    if rows is None:
        return column
    return np.broadcast_to(column[:1], rows.shape) if column.strides == (0,) else column[rows]


def _nothing(questions: int) -> Matches:
    return Matches(np.full(questions, NO_ROW, np.int64), np.zeros(questions, np.bool_))


def _through(index: Ints, rows: Ints | None) -> Ints:
    """`rows[index]`, where `NO_ROW` stays what it is and no `rows` means the identity."""
    if rows is None:
        return index
    return np.where(index == NO_ROW, NO_ROW, rows[index])


def _expired(row: Ints, event_at: Ints, as_of: Ints, ttl: int | None) -> Bools:
    """Whether the winner, and only it, is older than `ttl`."""
    if ttl is None:
        return np.zeros(len(row), np.bool_)
    expired: Bools = (row != NO_ROW) & (as_of - event_at[row] > ttl)
    return expired


# ------------------------------------------------------------------------------------------------------- the visibility


def _blocks(rows: _Rows, spine_key: Ints) -> Iterator[tuple[_Rows, int, Ints | slice]]:
    """All rows that are asked for, some keys at a time, with the key that is their 0, and the questions for them.

    What is done with a block stays in the cache, and takes no memory that grows with the rows.
    """
    if len(rows.key) <= _BLOCK or int(rows.key.max()) >= len(rows.key):
        yield rows, 0, slice(None)
        return
    counts = np.bincount(rows.key)
    ends = np.cumsum(counts)
    asked = np.flatnonzero((spine_key >= 0) & (spine_key < len(ends)))
    if not len(asked):
        return
    asked = asked[by_key(spine_key[asked])]
    order = np.arange(len(rows.key)) if ascending(rows.key) else by_key(rows.key)
    cuts = np.searchsorted(ends, np.arange(_BLOCK, len(order), _BLOCK)) + 1
    keys = np.unique(np.concatenate(([0], cuts, [len(ends)])))
    questions = np.searchsorted(spine_key[asked], keys)
    for block in np.flatnonzero(questions[1:] > questions[:-1]).tolist():
        first, last = int(keys[block]), int(keys[block + 1])
        own = order[ends[first] - counts[first] : ends[last - 1]]
        key = np.repeat(np.arange(last - first), counts[first:last])
        yield rows.of(own, key), first, asked[questions[block] : questions[block + 1]]


def _latest(rows: _Rows, spine_key: Ints, at: Ints) -> Ints:
    """The greatest visible row, or `NO_ROW`."""
    staying, ending = _relevant(rows.available_at, rows.superseded_at, at)
    row = np.full(len(at), NO_ROW, np.int64)
    if staying is None or len(staying):
        row = _through(_latest_staying(rows.of(staying), spine_key, at), staying)
    if len(ending):
        row = rows.greater(row, _through(_latest_ending(rows.of(ending), spine_key, at), ending))
    return row


def _relevant(available_at: Ints, superseded_at: Ints, at: Ints) -> tuple[Ints | None, Ints]:
    """The rows that any of these questions could see: those that, once available, stay so (None: all), and the others.

    What is superseded only after the last question is not superseded for any.
    """
    seen = available_at <= at.max()
    seen &= available_at < superseded_at
    ending = superseded_at <= at.max()
    staying = seen & ~ending
    if staying.all():
        return None, np.zeros(0, np.int64)
    ending &= seen
    ending &= superseded_at > at.min()
    return np.flatnonzero(staying), np.flatnonzero(ending)


def _ordered(key: Ints, event_at: Ints, sequence: Ints, partition: Ints) -> Ordered:
    """Rows in (key, event_at, sequence, partition)."""
    found = ordered(key, event_at)
    order, key, event_at = found.order, found.key, found.time
    tied = event_at[1:] == event_at[:-1]
    tied &= key[1:] == key[:-1]
    if not tied.any():
        return found
    # Only rows that are equal so far need the rest of the order: they are sorted among themselves, in their own places.
    places = with_neighbours(tied)
    rows = places if order is None else order[places]
    inner = np.lexsort((partition[rows], sequence[rows], event_at[places], key[places]))
    if not ascending(inner):
        order = np.arange(len(key), dtype=np.int64) if order is None else order
        order[places] = rows[inner]
    return Ordered(order, key, event_at)


def _latest_staying(rows: _Rows, spine_key: Ints, at: Ints) -> Ints:
    """The greatest visible row, or `NO_ROW`, among rows that, once available, stay so.

    In the order of availability what is visible of a key is a prefix of its rows, whatever the order of the rows' own
    times: the answer is the greatest row up to there. Nothing need be sorted by time.
    """
    stood = ordered(rows.key, rows.available_at)
    place = last_at_or_before(stood.key, stood.time, spine_key, at)
    return _through(_through(place, _greatest_so_far(rows, stood)), stood.order)


def _greatest_so_far(rows: _Rows, stood: Ordered) -> Ints | None:
    """For each place the place of the greatest row of its key up to there; None if that is always the place itself."""
    event_at = _taken(rows.event_at, stood.order)
    value = in_one(stood.key, event_at)
    # Values of greater keys are greater, so that one running maximum over all keys is right.
    greatest = np.maximum.accumulate(value)
    reached = value == greatest
    tied = reached[1:] & (greatest[1:] == greatest[:-1])
    if not tied.any() and reached.all():
        return None
    last = np.maximum.accumulate(np.where(reached, np.arange(len(value)), 0))
    if not tied.any():
        return last
    # As great by time as the one before: the rest of the order decides, among these rows alone.
    members = np.flatnonzero(reached)
    places = members[with_neighbours(greatest[members[1:]] == greatest[members[:-1]])]
    own = places if stood.order is None else stood.order[places]
    sequence, partition, number = rows.rest(own)
    inner = np.lexsort((number, partition, sequence, value[places]))
    rank = np.empty(len(inner), np.int64)
    rank[inner] = np.arange(len(inner))
    best = np.arange(len(value))
    best[places] = places[inner[np.maximum.accumulate(rank)]]
    return best[last]


def _latest_ending(rows: _Rows, spine_key: Ints, at: Ints) -> Ints:
    """The greatest visible row, or `NO_ROW`, among rows that are visible in [available_at, superseded_at).

    The distinct endpoints cut the line of (key, time) into segments. Each interval is a run of segments and so the
    union of O(log n) nodes of a binary tree over them; a segment's answer is the greatest rank on its path to the root.
    """
    stood = _ordered(rows.key, rows.event_at, *rows.rest(np.arange(len(rows.key)))[:2])
    key = stood.key
    start, end = (_taken(column, stood.order) for column in (rows.available_at, rows.superseded_at))
    cut_key, cut_at, where = _cuts(np.concatenate((key, key)), np.concatenate((start, end)))
    leaves = 1 << int(len(cut_key) - 1).bit_length()
    tree = np.full(2 * leaves, NO_ROW, np.int64)
    _cover(tree, where[: len(key)] + leaves, where[len(key) :] + leaves, np.arange(len(key)))
    level = 1
    while level < leaves:
        children = tree[2 * level : 4 * level].reshape(-1, 2)
        np.maximum(children, tree[level : 2 * level, None], out=children)
        level *= 2
    rank = _through(last_at_or_before(cut_key, cut_at, spine_key, at), tree[leaves:])
    return _through(rank, stood.order)


def _cuts(key: Ints, time: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct (key, time) in order, and for each of those given its place among them."""
    found = ordered(key, time)
    key, time = found.key, found.time
    fresh = np.append(True, (key[1:] != key[:-1]) | (time[1:] != time[:-1]))
    if found.order is None:
        return key[fresh], time[fresh], np.cumsum(fresh) - 1
    where = np.empty(len(key), np.int64)
    where[found.order] = np.cumsum(fresh) - 1
    return key[fresh], time[fresh], where


def _cover(tree: Ints, low: Ints, high: Ints, ranks: Ints) -> None:
    """Write each interval's rank on the nodes that make up [low, high), all intervals together, level by level."""
    while len(low):
        left, right = (low & 1) == 1, (high & 1) == 1
        for nodes, values in ((low[left], ranks[left]), (high[right] - 1, ranks[right])):
            # Of repeated nodes the last assignment stays, and ranks ascend: so it is the greatest.
            tree[nodes] = np.maximum(tree[nodes], values)
        low, high = (low + 1) >> 1, high >> 1
        inside = low < high
        if not inside.all():
            low, high, ranks = low[inside], high[inside], ranks[inside]
