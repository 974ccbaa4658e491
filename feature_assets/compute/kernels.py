"""Which row is visible: the point-in-time kernels, pure numpy.

Invariant: for every question (key, as_of) the answer is the greatest row in the order (event_at, sequence, partition)
among the rows of that key with `available_at <= as_of < superseded_at`; each shortcut below gives that same answer.
It does not resolve availability, code keys, read tables or know features: integers in, row numbers out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Boundary = Literal["closed", "open"]

NO_ROW = -1
"""In `Matches.row`: nothing of that key was visible. In a spine key: a key that no row has."""

_LIMIT = 2**63
_RADIX_BITS = 16
"""numpy sorts 16-bit integers by radix, five times as fast as wider ones."""


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
    rows = _Rows(key, event_at, sequence, partition, available_at, superseded_at)
    staying, ending = _relevant(available_at, superseded_at, at)
    row = _through(_latest_staying(rows.of(staying), spine_key, at), staying)
    if len(ending):
        row = rows.greater(row, _through(_latest_ending(rows.of(ending), spine_key, at), ending))
    return Matches(row, _expired(row, event_at, as_of, ttl))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The columns of some rows."""

    key: Ints
    event_at: Ints
    sequence: Ints
    partition: Ints
    available_at: Ints
    superseded_at: Ints

    def of(self, rows: Ints | None) -> "_Rows":
        """Some of them; None stands for all."""
        if rows is None:
            return self
        columns = (self.key, self.event_at, self.sequence, self.partition, self.available_at, self.superseded_at)
        return _Rows(*(_taken(column, rows) for column in columns))

    def greater(self, left: Ints, right: Ints) -> Ints:
        """Of two rows of the same key, given by their numbers or `NO_ROW`, the greater in the whole order."""
        best = np.where(left == NO_ROW, right, left)
        both = np.flatnonzero((left != NO_ROW) & (right != NO_ROW))
        left, right = left[both], right[both]
        less, equal = np.zeros(len(both), np.bool_), np.ones(len(both), np.bool_)
        for column in (self.event_at, self.sequence, self.partition):
            less |= equal & (column[left] < column[right])
            equal &= column[left] == column[right]
        less |= equal & (left < right)
        best[both[less]] = right[less]
        return best


def winners(key: Ints, event_at: Ints, sequence: Ints, partition: Ints) -> Ints:
    """The number of the greatest row of each key in the order (event_at, sequence, partition), by ascending key."""
    if not len(key):
        return np.zeros(0, np.int64)
    ordered = _ordered(key, event_at, sequence, partition)
    last = _last_of_each(ordered.key)
    return last if ordered.order is None else _taken(ordered.order, last)


def _last_of_each(key: Ints) -> Ints:
    """The place of the last row of each key, for rows that stand together by key."""
    return np.append(np.flatnonzero(key[1:] != key[:-1]), len(key) - 1)


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


# ------------------------------------------------------------------------------------------------------------ the order


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Rows put into some order of which the key comes first: which row is where (None: they stood so), and two columns.

    `time`: what stands next in the order.
    """

    order: Ints | None
    key: Ints
    time: Ints


def _ordered(key: Ints, event_at: Ints, sequence: Ints, partition: Ints) -> _Ordered:
    """Rows in (key, event_at, sequence, partition)."""
    found = _by_key_and_time(key, event_at)
    order, key, event_at = found.order, found.key, found.time
    tied = event_at[1:] == event_at[:-1]
    tied &= key[1:] == key[:-1]
    if not tied.any():
        return found
    # Only rows that are equal so far need the rest of the order: they are sorted among themselves, in their own places.
    places = _with_neighbours(tied)
    rows = places if order is None else order[places]
    inner = np.lexsort((partition[rows], sequence[rows], event_at[places], key[places]))
    if not _ascending(inner):
        order = np.arange(len(key), dtype=np.int64) if order is None else order
        order[places] = rows[inner]
    return _Ordered(order, key, event_at)


def _with_neighbours(tied: Bools) -> Ints:
    """The places that are equal to the one before or after; `tied` says it of each and the one before, from the 2nd."""
    return np.flatnonzero(np.append(tied, False) | np.append(False, tied))


def _sorted(key: Ints, order: Ints) -> Ints:
    """`key[order]`, where that is ascending: dense keys are counted out, which does not jump through memory."""
    if int(key.max()) < len(key):
        counts = np.bincount(key)
        return np.repeat(np.arange(len(counts)), counts)
    return key[order]


def by_key_and_time(key: Ints, time: Ints) -> Ints | None:
    """The stable permutation into (key, time); None if the rows stand so already. Keys are not negative."""
    return _by_key_and_time(key, time).order


def _by_key_and_time(key: Ints, time: Ints) -> _Ordered:
    """Keys first, by radix: what came in the order of time, or nearly, then stands so, or nearly, within each key."""
    order = None
    if not _ascending(key):
        order = _by_key(key)
        key, time = _sorted(key, order), time[order]
    if ascending_in_each(key, time):
        return _Ordered(order, key, time)
    # Merges the runs that it finds, so that it has little to do then.
    packed = _packed(key, time)
    inner = np.lexsort((time, key)) if packed is None else np.argsort(packed, kind="stable")
    return _Ordered(inner if order is None else order[inner], key, time[inner])


def _packed(key: Ints, time: Ints) -> Ints | None:
    """(key, time) in one integer that orders as they do; None if that is too wide."""
    first, last = int(time.min()), int(time.max())
    span = last - first + 1
    if (int(key.max()) + 1) * span >= _LIMIT:
        return None
    packed = key * span
    packed += time - first
    return packed


def _by_key(key: Ints) -> Ints:
    """The stable permutation into key order."""
    bits = int(key.max()).bit_length()
    if bits > 2 * _RADIX_BITS:
        return np.argsort(key, kind="stable")
    order = np.argsort(key.astype(np.uint16), kind="stable")
    if bits <= _RADIX_BITS:
        return order
    high = (key >> _RADIX_BITS).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def _ascending(values: Ints) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def ascending_in_each(key: Ints, values: Ints) -> bool:
    """Whether `values` ascend within each key, for rows that stand together by key."""
    return bool(((values[1:] >= values[:-1]) | (key[1:] != key[:-1])).all())


# ------------------------------------------------------------------------------------------------------- the visibility


def _latest_staying(rows: _Rows, spine_key: Ints, at: Ints) -> Ints:
    """The greatest visible row, or `NO_ROW`, among rows that, once available, stay so.

    In the order of availability what is visible of a key is a prefix of its rows, whatever the order of the rows' own
    times: the answer is the greatest row up to there. Nothing need be sorted by time.
    """
    if not len(rows.key):
        return np.full(len(at), NO_ROW, np.int64)
    stood = _by_key_and_time(rows.key, rows.available_at)
    place = _last_at_or_before(stood.key, stood.time, spine_key, at)
    return _through(_through(place, _greatest_so_far(rows, stood)), stood.order)


def _greatest_so_far(rows: _Rows, stood: _Ordered) -> Ints | None:
    """For each place the place of the greatest row of its key up to there; None if that is always the place itself."""
    event_at = _taken(rows.event_at, stood.order)
    value = _packed(stood.key, event_at)
    value = _ranks(stood.key, event_at) if value is None else value
    # Values of greater keys are greater, so that one running maximum over all keys is right.
    greatest = np.maximum.accumulate(value)
    reached = value == greatest
    tied = reached[1:] & (greatest[1:] == greatest[:-1])
    if not tied.any():
        return None if reached.all() else np.maximum.accumulate(np.where(reached, np.arange(len(value)), 0))
    # As great by time as the one before: the rest of the order decides, among these rows alone.
    members = np.flatnonzero(reached)
    places = members[_with_neighbours(greatest[members[1:]] == greatest[members[:-1]])]
    own = places if stood.order is None else stood.order[places]
    inner = np.lexsort((own, rows.partition[own], rows.sequence[own], value[places]))
    rank = np.empty(len(inner), np.int64)
    rank[inner] = np.arange(len(inner))
    best = np.arange(len(value))
    best[places] = places[inner[np.maximum.accumulate(rank)]]
    return best[np.maximum.accumulate(np.where(reached, np.arange(len(value)), 0))]


def _ranks(key: Ints, time: Ints) -> Ints:
    """Integers that order, and are equal, as (key, time) do."""
    order = np.lexsort((time, key))
    key, time = key[order], time[order]
    ranks = np.zeros(len(order), np.int64)
    ranks[order[1:]] = np.cumsum((key[1:] != key[:-1]) | (time[1:] != time[:-1]))
    return ranks


def _latest_ending(rows: _Rows, spine_key: Ints, at: Ints) -> Ints:
    """The greatest visible row, or `NO_ROW`, among rows that are visible in [available_at, superseded_at).

    The distinct endpoints cut the line of (key, time) into segments. Each interval is a run of segments and so the
    union of O(log n) nodes of a binary tree over them; a segment's answer is the greatest rank on its path to the root.
    """
    ordered = _ordered(rows.key, rows.event_at, rows.sequence, rows.partition)
    key = ordered.key
    start, end = (_taken(column, ordered.order) for column in (rows.available_at, rows.superseded_at))
    cut_key, cut_at, where = _cuts(np.concatenate((key, key)), np.concatenate((start, end)))
    leaves = 1 << int(len(cut_key) - 1).bit_length()
    tree = np.full(2 * leaves, NO_ROW, np.int64)
    _cover(tree, where[: len(key)] + leaves, where[len(key) :] + leaves, np.arange(len(key)))
    level = 1
    while level < leaves:
        children = tree[2 * level : 4 * level].reshape(-1, 2)
        np.maximum(children, tree[level : 2 * level, None], out=children)
        level *= 2
    rank = _through(_last_at_or_before(cut_key, cut_at, spine_key, at), tree[leaves:])
    return _through(rank, ordered.order)


def _cuts(key: Ints, time: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct (key, time) in order, and for each of those given its place among them."""
    found = _by_key_and_time(key, time)
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


def _last_at_or_before(key: Ints, time: Ints, spine_key: Ints, at: Ints) -> Ints:
    """The place of the last row of that key with `time <= at`, for rows in the order of (key, time); -1 if none.

    A binary search over each question's own run of rows, all questions a step at a time: it needs no (key, time) in one
    integer, and costs what a search over such integers costs.
    """
    before, end = runs(key, spine_key)
    place = last_in_run(time, before, end, at)
    return np.where(place > before, place, NO_ROW)


def last_in_run(time: Ints, before: Ints, end: Ints, at: Ints) -> Ints:
    """The last place in (before, end] with `time <= at`, or `before`, for times that ascend within each such run."""
    place = before
    longest = int((end - place).max(initial=0))
    for bit in reversed(range(longest.bit_length())):
        further = place + (1 << bit)
        inside = further <= end
        place = np.where(inside & (time[np.where(inside, further, 0)] <= at), further, place)
    return place


def runs(key: Ints, spine_key: Ints) -> tuple[Ints, Ints]:
    """For each question, the place before its key's first row and that of its last; the same place if it has none."""
    if int(key[-1]) < len(key):
        # Dense keys: where each one's rows end is counted out, and looked up by the key itself.
        ends = np.concatenate(([-1], np.cumsum(np.bincount(key)) - 1))
        known = (spine_key >= 0) & (spine_key < len(ends) - 1)
        slot = np.where(known, spine_key, 0)
        return ends[slot], np.where(known, ends[slot + 1], ends[slot])
    last = _last_of_each(key)
    slot = np.minimum(np.searchsorted(key[last], spine_key), len(last) - 1)
    before = np.where(slot > 0, last[slot - 1], -1)
    return before, np.where(key[last[slot]] == spine_key, last[slot], before)
