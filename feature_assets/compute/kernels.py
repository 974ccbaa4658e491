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
    rows = _relevant(available_at, superseded_at, at)
    if rows is not None and not len(rows):
        return _nothing(len(as_of))
    ordered = _ordered(*(_taken(column, rows) for column in (key, event_at, sequence, partition)))
    start, end = (_taken(_taken(column, rows), ordered.order) for column in (available_at, superseded_at))
    rank = _best_rank(ordered.key, start, end, spine_key, at)
    row = _through(_through(rank, ordered.order), rows)
    return Matches(row, _expired(row, event_at, as_of, ttl))


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


def _relevant(available_at: Ints, superseded_at: Ints, at: Ints) -> Ints | None:
    """The rows that any of these questions could see; None if it is all of them."""
    seen = available_at <= at.max()
    seen &= available_at < superseded_at
    seen &= superseded_at > at.min()
    return None if seen.all() else np.flatnonzero(seen)


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
    """Rows put into (key, event_at, sequence, partition): which row is where (None: they stood so), and their keys."""

    order: Ints | None
    key: Ints


def _ordered(key: Ints, event_at: Ints, sequence: Ints, partition: Ints) -> _Ordered:
    order = by_key_and_time(key, event_at)
    if order is not None:
        key, event_at = _sorted(key, order), event_at[order]
    tied = event_at[1:] == event_at[:-1]
    tied &= key[1:] == key[:-1]
    if not tied.any():
        return _Ordered(order, key)
    # Only rows that are equal so far need the rest of the order: they are sorted among themselves, in their own places.
    places = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    rows = places if order is None else order[places]
    inner = np.lexsort((partition[rows], sequence[rows], event_at[places], key[places]))
    if not _ascending(inner):
        order = np.arange(len(key), dtype=np.int64) if order is None else order
        order[places] = rows[inner]
    return _Ordered(order, key)


def _sorted(key: Ints, order: Ints) -> Ints:
    """`key[order]`, where that is ascending: dense keys are counted out, which does not jump through memory."""
    if int(key.max()) < len(key):
        counts = np.bincount(key)
        return np.repeat(np.arange(len(counts)), counts)
    return key[order]


def by_key_and_time(key: Ints, time: Ints) -> Ints | None:
    """The stable permutation into (key, time); None if the rows stand so already. Keys are not negative."""
    if _ascending(key) and ascending_in_each(key, time):
        return None
    if _ascending(time):
        return _by_key(key)
    first, last = int(time.min()), int(time.max())
    span = last - first + 1
    if (int(key.max()) + 1) * span >= _LIMIT:
        return np.lexsort((time, key))
    packed = key * span
    packed += time
    packed -= first
    return np.argsort(packed, kind="stable")


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


def _best_rank(key: Ints, available_at: Ints, superseded_at: Ints, spine_key: Ints, at: Ints) -> Ints:
    """The place of the greatest visible row among rows that stand in the order; `NO_ROW` if there is none."""
    # What is superseded only after the last question is not superseded for any.
    ended = superseded_at <= at.max()
    if not ended.any():
        return _latest_open(key, available_at, None, spine_key, at)
    ranks = np.flatnonzero(ended)
    best = _latest_ended(key[ended], available_at[ended], superseded_at[ended], ranks, spine_key, at)
    if len(ranks) < len(key):
        still = ~ended
        best = np.maximum(best, _latest_open(key[still], available_at[still], np.flatnonzero(still), spine_key, at))
    return best


def _latest_open(key: Ints, available_at: Ints, ranks: Ints | None, spine_key: Ints, at: Ints) -> Ints:
    """The greatest rank among rows that, once available, stay so. `ranks` ascend; None stands for 0, 1, 2, ...

    If rows become available in their order (the common case), what is visible of a key is a prefix of its rows and
    the greatest is the prefix's last. Otherwise it is the running maximum of the rank in the order of availability; a
    rank is greater than all ranks of smaller keys, so that one running maximum over all keys is right.
    """
    by_availability = by_key_and_time(key, available_at)
    if by_availability is not None:
        # The order of keys is the same.
        available_at = available_at[by_availability]
        ranks = np.maximum.accumulate(by_availability if ranks is None else ranks[by_availability])
    place = _last_at_or_before(key, available_at, spine_key, at)
    return place if ranks is None else _through(place, ranks)


def _latest_ended(key: Ints, start: Ints, end: Ints, ranks: Ints, spine_key: Ints, at: Ints) -> Ints:
    """The greatest rank among the intervals [start, end) that hold the question. `ranks` ascend.

    The distinct endpoints cut the line of (key, time) into segments. Each interval is a run of segments and so the
    union of O(log n) nodes of a binary tree over them; a segment's answer is the greatest rank on its path to the root.
    """
    cut_key, cut_at, where = _cuts(np.concatenate((key, key)), np.concatenate((start, end)))
    leaves = 1 << int(len(cut_key) - 1).bit_length()
    tree = np.full(2 * leaves, NO_ROW, np.int64)
    _cover(tree, where[: len(key)] + leaves, where[len(key) :] + leaves, ranks)
    level = 1
    while level < leaves:
        children = tree[2 * level : 4 * level].reshape(-1, 2)
        np.maximum(children, tree[level : 2 * level, None], out=children)
        level *= 2
    return _through(_last_at_or_before(cut_key, cut_at, spine_key, at), tree[leaves:])


def _cuts(key: Ints, time: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct (key, time) in order, and for each of those given its place among them."""
    order = by_key_and_time(key, time)
    order = np.arange(len(key), dtype=np.int64) if order is None else order
    key, time = key[order], time[order]
    fresh = np.append(True, (key[1:] != key[:-1]) | (time[1:] != time[:-1]))
    where = np.empty(len(order), np.int64)
    where[order] = np.cumsum(fresh) - 1
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
