"""Rows in the order of (key, time), and what is found in rows that stand so: pure numpy.

Invariant: every sort is stable, and every shortcut gives the order that sorting by (key, time) gives. Keys are codes
from 0. It knows no visibility and no features: integers in, permutations and places out.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_LIMIT = 2**63
_RADIX_BITS = 16
"""numpy sorts 16-bit integers by radix, five times as fast as wider ones."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """Rows put into some order of which the key comes first: which row is where (None: they stood so), and two columns.

    `time`: what stands next in the order.
    """

    order: Ints | None
    key: Ints
    time: Ints


def by_key_and_time(key: Ints, time: Ints) -> Ints | None:
    """The stable permutation into (key, time); None if the rows stand so already. Keys are not negative."""
    return ordered(key, time).order


def ordered(key: Ints, time: Ints) -> Ordered:
    """Keys first, by radix: what came in the order of time, or nearly, then stands so, or nearly, within each key."""
    order = None
    if not ascending(key):
        order = by_key(key)
        key, time = sorted_keys(key, order), time[order]
    if ascending_in_each(key, time):
        return Ordered(order, key, time)
    # It merges the runs that it finds, so that it has little to do then.
    inner = np.argsort(in_one(key, time), kind="stable")
    return Ordered(inner if order is None else order[inner], key, time[inner])


def in_one(key: Ints, time: Ints) -> Ints:
    """(key, time) in one integer each, which orders as they do."""
    first, last = int(time.min()), int(time.max())
    span = last - first + 1
    if (int(key.max()) + 1) * span >= _LIMIT:
        return _ranks(key, time)
    packed = key * span
    packed += time - first
    return packed


def _ranks(key: Ints, time: Ints) -> Ints:
    """The same by counting, whatever the width."""
    order = np.lexsort((time, key))
    key, time = key[order], time[order]
    counted = np.zeros(len(order), np.int64)
    counted[order[1:]] = np.cumsum((key[1:] != key[:-1]) | (time[1:] != time[:-1]))
    return counted


def sorted_keys(key: Ints, order: Ints) -> Ints:
    """`key[order]`, where that is ascending: dense keys are counted out, which does not jump through memory."""
    if int(key.max()) < len(key):
        counts = np.bincount(key)
        return np.repeat(np.arange(len(counts)), counts)
    return key[order]


def by_key(key: Ints) -> Ints:
    """The stable permutation into key order."""
    bits = int(key.max()).bit_length()
    if bits > 2 * _RADIX_BITS:
        return np.argsort(key, kind="stable")
    order = np.argsort(key.astype(np.uint16), kind="stable")
    if bits <= _RADIX_BITS:
        return order
    high = (key >> _RADIX_BITS).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def ascending(values: Ints) -> bool:
    """Whether no value is less than the one before."""
    return bool((values[1:] >= values[:-1]).all())


def ascending_in_each(key: Ints, values: Ints) -> bool:
    """Whether `values` ascend within each key, for rows that stand together by key."""
    return bool(((values[1:] >= values[:-1]) | (key[1:] != key[:-1])).all())


def with_neighbours(tied: Bools) -> Ints:
    """The places that are equal to the one before or after; `tied` says it of each and the one before, from the 2nd."""
    return np.flatnonzero(np.append(tied, False) | np.append(False, tied))


def last_of_each(key: Ints) -> Ints:
    """The place of the last row of each key, for rows that stand together by key."""
    return np.append(np.flatnonzero(key[1:] != key[:-1]), len(key) - 1)


def last_at_or_before(key: Ints, time: Ints, spine_key: Ints, at: Ints) -> Ints:
    """The place of the last row of that key with `time <= at`, for rows in the order of (key, time); -1 if none.

    A binary search over each question's own run of rows, all questions a step at a time: it needs no (key, time) in one
    integer, and costs what a search over such integers costs.
    """
    before, end = runs(key, spine_key)
    place = last_in_run(time, before, end, at)
    return np.where(place > before, place, -1)


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
    last = last_of_each(key)
    slot = np.minimum(np.searchsorted(key[last], spine_key), len(last) - 1)
    before = np.where(slot > 0, last[slot - 1], -1)
    return before, np.where(key[last[slot]] == spine_key, last[slot], before)
