"""What many candidates out of order add up to: a merge tree over late records, a segment tree over ended ones.

Invariant: both find for each question exactly the records of its key at places [low, high) of the order of event time
that are visible at its instant; in O((n + q) log n) steps of whole arrays for n records of one key, however skewed.

The merge tree holds points (time, place): a record is one, from its availability on, and one that was superseded is
two, of which the second takes away what the first gave. Points start in the order of time and are parted, bit by bit of
their places, into the order of places; at each level a node is a run of points, still in the order of time, so that
what is visible of it is a prefix. A question's places are O(log n) nodes, and its prefixes are counted on the way down.

What cannot be taken away (a greatest value) is, for records that end, asked of a binary tree over the distinct ends of
their intervals: an interval is O(log n) of its nodes, and an instant lies in one node per level.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.ordering import by_key_and_time, last_in_run, runs

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Points:
    """Points by (key, place). `place`: among its key's, dense from 0, no two alike. `time`: from when it counts."""

    key: Ints
    place: Ints
    time: Ints


@dataclass(frozen=True, slots=True)
class Sought:
    """Questions: of `key`, at places [low, high) of it, low < high, with `time <= at`."""

    key: Ints
    low: Ints
    high: Ints
    at: Ints


@dataclass(frozen=True, slots=True)
class Level:
    """`order`: the points, nodes one after the other. The question `owner[i]` gets what is at places start to stop."""

    order: Ints
    node: Ints
    owner: Ints
    start: Ints
    stop: Ints


@dataclass(slots=True)
class _Path:
    """For each question the node on the way to one of its ends: where the node starts, and how much of it is seen."""

    target: Ints
    start: Ints
    seen: Ints


def levels(points: Points, sought: Sought) -> Iterator[Level]:
    """The nodes that answer the questions, level by level."""
    order, first, size = _by_time(points)
    before, end = runs(points.key, sought.key)
    time = points.time[order]
    seen = last_in_run(time, before, end, sought.at) - before
    low = _Path(sought.low, before + 1, seen)
    high = _Path(sought.high - 1, before + 1, seen.copy())
    start, place = first[order], points.place[order]
    for bit in reversed(range(int(size.max()).bit_length())):
        zeros = np.concatenate(([0], np.cumsum((place >> bit & 1) == 0)))
        taken = [*_step(low, high, zeros, bit, to_right=True), *_step(high, low, zeros, bit, to_right=False)]
        order, start, place = _parted(order, start, place, zeros, bit)
        _descend(low, zeros, bit)
        _descend(high, zeros, bit)
        if not bit:
            taken += _leaves(low, high)
        owner, begin, count = (np.concatenate(parts) for parts in zip(*taken, strict=True))
        held = count > 0
        yield Level(order, start, owner[held], begin[held], begin[held] + count[held])
    if not int(size.max()).bit_length():
        # One point a key: the root is the leaf.
        some = np.flatnonzero(low.seen > 0)
        yield Level(order, start, some, low.start[some], low.start[some] + 1)


def _by_time(points: Points) -> tuple[Ints, Ints, Ints]:
    """The order by (key, time); the place of each key's first point; and the greatest place in it, for each point."""
    order = by_key_and_time(points.key, points.time)
    fresh = np.append(True, points.key[1:] != points.key[:-1])
    starts = np.flatnonzero(fresh)
    lengths = np.diff(np.append(starts, len(points.key)))
    identity = np.arange(len(points.key), dtype=np.int64)
    return identity if order is None else order, np.repeat(starts, lengths), np.repeat(lengths - 1, lengths)


def _parted(order: Ints, start: Ints, place: Ints, zeros: Ints, bit: int) -> tuple[Ints, Ints, Ints]:
    """Each node parted into its two children, stably: places are dense, so a left child has its full 2**bit points."""
    index = np.arange(len(order))
    left = zeros[:-1] - zeros[start]
    goes_left = (place >> bit & 1) == 0
    target = np.where(goes_left, start + left, start + (1 << bit) + (index - start) - left)
    moved = np.empty_like(order), np.empty_like(start), np.empty_like(place)
    moved[0][target] = order
    moved[1][target] = np.where(goes_left, start, start + (1 << bit))
    moved[2][target] = place
    return moved


def _step(path: _Path, other: _Path, zeros: Ints, bit: int, *, to_right: bool) -> list[tuple[Ints, Ints, Ints]]:
    """The children beside a path, on the side of the other, that lie wholly between the two."""
    apart = (path.target >> (bit + 1)) != (other.target >> (bit + 1))
    goes_right = (path.target >> bit & 1) == 1
    mine = np.flatnonzero(apart & (goes_right != to_right))
    start, seen = path.start[mine], path.seen[mine]
    left = zeros[start + seen] - zeros[start]
    return [(mine, start + (1 << bit), seen - left) if to_right else (mine, start, left)]


def _descend(path: _Path, zeros: Ints, bit: int) -> None:
    left = zeros[path.start + path.seen] - zeros[path.start]
    goes_right = (path.target >> bit & 1) == 1
    path.seen = np.where(goes_right, path.seen - left, left)
    path.start = np.where(goes_right, path.start + (1 << bit), path.start)


def _leaves(low: _Path, high: _Path) -> list[tuple[Ints, Ints, Ints]]:
    """The two ends themselves; once, where they are one."""
    every = np.arange(len(low.target))
    two = np.flatnonzero(low.target != high.target)
    return [(every, low.start, low.seen), (two, high.start[two], high.seen[two])]


def add_sums(found: Ints, level: Level, values: Ints) -> None:
    """Add to `found` (questions, width) what a level gives, of `values` (points, width)."""
    for digit in range(values.shape[1]):
        prefix = np.concatenate(([0], np.cumsum(values[level.order, digit])))
        np.add.at(found[:, digit], level.owner, prefix[level.stop] - prefix[level.start])


def take_greatest(found: Ints, level: Level, ranks: Ints, radix: int) -> None:
    """Raise `found` (questions) to what a level gives, of `ranks` (points), which are less than `radix`."""
    # Nodes ascend: with the node in front, one running maximum is that of each node.
    running = np.maximum.accumulate(level.node * radix + ranks[level.order])
    np.maximum.at(found, level.owner, running[level.stop - 1] % radix)


# ---------------------------------------------------------------------------------------------------------- the ended


def greatest_ended(*, key: Ints, place: Ints, start: Ints, end: Ints, ranks: Ints, sought: Sought) -> Ints:
    """The greatest rank among the intervals [start, end) of a key, at places [low, high), that hold the instant.

    Rows by (key, place); ranks are not negative; -1 where there is none. `place`: of a record among its key's.
    """
    cut_key, cut_at, where = _cuts(np.concatenate((key, key)), np.concatenate((start, end)))
    leaves = 1 << int(len(cut_key) - 1).bit_length()
    before, last = runs(cut_key, sought.key)
    leaf = last_in_run(cut_at, before, last, sought.at)
    asked = np.flatnonzero(leaf > before)
    found = np.full(len(sought.key), -1, np.int64)
    low, high, owner = where[: len(key)] + leaves, where[len(key) :] + leaves, np.arange(len(key))
    node = leaf + leaves
    while len(owner):
        left, right = (low & 1) == 1, (high & 1) == 1
        nodes = np.concatenate((low[left], high[right] - 1))
        records = np.concatenate((owner[left], owner[right]))
        if len(nodes):
            _take_from_nodes(found, nodes, records, place, ranks, node, sought, asked)
        low, high = (low + 1) >> 1, high >> 1
        inside = low < high
        low, high, owner = low[inside], high[inside], owner[inside]
        node = node >> 1
    return found


def _take_from_nodes(
    found: Ints, nodes: Ints, records: Ints, place: Ints, ranks: Ints, node: Ints, sought: Sought, asked: Ints
) -> None:
    """Raise `found` to the greatest rank in each question's node of one level, within its places."""
    order = np.lexsort((place[records], nodes))
    nodes, records = nodes[order], records[order]
    before, last = runs(nodes, node[asked])
    mine = np.flatnonzero(last > before)
    who, before, last = asked[mine], before[mine], last[mine]
    at_low = last_in_run(place[records], before, last, sought.low[who] - 1) + 1
    at_high = last_in_run(place[records], before, last, sought.high[who] - 1) + 1
    some = at_low < at_high
    who, at_low, at_high = who[some], at_low[some], at_high[some]
    np.maximum.at(found, who, greatest_between(ranks[records], at_low, at_high))


def greatest_between(values: Ints, low: Ints, high: Ints) -> Ints:
    """The greatest of values[low:high], low < high."""
    found = np.empty(len(low), np.int64)
    level_of = np.frexp((high - low).astype(np.float64))[1] - 1
    running = values
    for level in range(int(level_of.max(initial=-1)) + 1):
        if level:
            running = np.maximum(running[: -(1 << level >> 1)], running[1 << level >> 1 :])
        mine = np.flatnonzero(level_of == level)
        found[mine] = np.maximum(running[low[mine]], running[high[mine] - (1 << level)])
    return found


def _cuts(key: Ints, time: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct (key, time) in order, and for each of those given its place among them."""
    order = by_key_and_time(key, time)
    order = np.arange(len(key), dtype=np.int64) if order is None else order
    key, time = key[order], time[order]
    fresh = np.append(True, (key[1:] != key[:-1]) | (time[1:] != time[:-1]))
    where = np.empty(len(order), np.int64)
    where[order] = np.cumsum(fresh) - 1
    return key[fresh], time[fresh], where
