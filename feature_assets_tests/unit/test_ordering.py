"""The order of (key, time) against Python's own stable sort, for keys and times of every width."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.ordering import by_key_and_time, in_one, last_at_or_before, last_of_each

KEYS = st.sampled_from([0, 1, 2, 7, 2**16 - 1, 2**16, 2**31, 2**33, 2**62])
TIMES = st.integers(-3, 3) | st.integers(-(2**61), 2**61)


def columns(draw: st.DrawFn, *, dense: bool) -> tuple[list[int], list[int]]:
    rows = draw(st.lists(st.tuples(st.integers(0, 3) if dense else KEYS, TIMES), min_size=1, max_size=12))
    arranged = draw(st.sampled_from([rows, sorted(rows), sorted(rows, key=lambda row: row[1])]))
    return [key for key, _ in arranged], [time for _, time in arranged]


ROWS = st.booleans().flatmap(lambda dense: st.composite(columns)(dense=dense))


@settings(max_examples=500)
@given(ROWS)
def test_the_permutation_is_that_of_a_stable_sort(rows: tuple[list[int], list[int]]) -> None:
    key, time = rows
    order = by_key_and_time(np.array(key, np.int64), np.array(time, np.int64))
    wanted = sorted(range(len(key)), key=lambda row: (key[row], time[row]))
    assert (list(range(len(key))) if order is None else order.tolist()) == wanted


@settings(max_examples=500)
@given(ROWS)
def test_one_integer_orders_as_both(rows: tuple[list[int], list[int]]) -> None:
    pairs: list[Any] = list(zip(*rows, strict=True))
    one = in_one(*(np.array(column, np.int64) for column in rows)).tolist()
    for a in range(len(pairs)):
        for b in range(len(pairs)):
            assert (one[a] < one[b], one[a] == one[b]) == (pairs[a] < pairs[b], pairs[a] == pairs[b])


@settings(max_examples=300)
@given(ROWS, st.lists(st.tuples(KEYS | st.integers(-1, 4), TIMES), max_size=8))
def test_the_last_row_up_to_a_time(rows: tuple[list[int], list[int]], asked: list[tuple[int, int]]) -> None:
    pairs = sorted(zip(*rows, strict=True))
    key, time = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    spine_key, at = (np.array([question[i] for question in asked], np.int64) for i in (0, 1))
    found = last_at_or_before(key, time, spine_key, at).tolist()
    for place, question in zip(found, asked, strict=True):
        fits = [row for row, pair in enumerate(pairs) if pair[0] == question[0] and pair[1] <= question[1]]
        assert place == max(fits, default=-1)


@given(ROWS)
def test_the_last_of_each_key(rows: tuple[list[int], list[int]]) -> None:
    key = sorted(rows[0])
    assert last_of_each(np.array(key, np.int64)).tolist() == [
        len(key) - 1 - key[::-1].index(one) for one in sorted(set(key))
    ]
