"""The point-in-time kernels against the naive lookup, and each of their shortcuts where only it can answer."""

from collections.abc import Sequence
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_assets.clock import OPEN
from feature_assets.compute import kernels
from feature_assets.compute.kernels import NO_ROW, Boundary, Matches, latest_visible, winners
from feature_assets_tests.oracle.point_in_time import Record, latest

Ints = npt.NDArray[np.int64]


def ints(values: Sequence[int | None]) -> Ints:
    return np.array([OPEN if value is None else value for value in values], np.int64)


def asked(
    records: Sequence[Record],
    questions: Sequence[tuple[int, int]],
    ttl: int | None = None,
    boundary: Boundary = "closed",
) -> Matches:
    """The kernel over records whose keys are codes."""
    return latest_visible(
        key=ints([int(str(record.key)) for record in records]),
        event_at=ints([record.event_at for record in records]),
        sequence=ints([record.sequence for record in records]),
        partition=ints([record.partition for record in records]),
        available_at=ints([record.available_at for record in records]),
        superseded_at=ints([record.superseded_at for record in records]),
        spine_key=ints([key for key, _ in questions]),
        as_of=ints([as_of for _, as_of in questions]),
        ttl=ttl,
        boundary=boundary,
    )


def agree(records: Sequence[Record], questions: Sequence[tuple[int, int]], ttl: int | None, boundary: Boundary) -> None:
    matches = asked(records, questions, ttl, boundary)
    for place, (key, as_of) in enumerate(questions):
        found = latest(records, key, as_of, ttl, boundary)
        row = int(matches.row[place])
        assert (None if row == NO_ROW else records[row]) == (None if found is None else found.record)
        assert bool(matches.expired[place]) == (found is not None and found.expired)


# Few distinct times and keys: ties and touching intervals are the rule, not the exception.
TIMES = st.integers(-3, 12)
KEYS = st.integers(0, 3)


@st.composite
def records_of(draw: st.DrawFn, *, ended: bool, orderly: bool) -> list[Record]:
    rows = draw(st.lists(st.tuples(KEYS, TIMES, st.integers(0, 2), st.integers(0, 2), TIMES, TIMES), max_size=25))
    records = []
    for number, (key, event_at, sequence, partition, available_at, end) in enumerate(rows):
        start = event_at if orderly else (None if available_at == 12 else available_at)
        records.append(Record(key, event_at, sequence, partition, start, end if ended and end > 0 else None, number))
    return records


QUESTIONS = st.lists(st.tuples(st.integers(-1, 4), TIMES), max_size=12)
BOUNDARIES = st.sampled_from(["closed", "open"])
TTLS = st.none() | st.integers(0, 6)


@settings(max_examples=500)
@given(records_of(ended=True, orderly=False), QUESTIONS, TTLS, BOUNDARIES)
@example([Record(0, 1, 0, 0, 5, 5, 0)], [(0, 5)], None, "closed")
def test_intervals_that_end(
    records: list[Record], questions: list[tuple[int, int]], ttl: int | None, boundary: Boundary
) -> None:
    agree(records, questions, ttl, boundary)


@settings(max_examples=500)
@given(records_of(ended=True, orderly=False), QUESTIONS, TTLS, BOUNDARIES, st.integers(1, 6))
def test_blocks_of_keys_change_nothing(
    records: list[Record], questions: list[tuple[int, int]], ttl: int | None, boundary: Boundary, block: int
) -> None:
    with mock.patch.object(kernels, "_BLOCK", block):
        agree(records, questions, ttl, boundary)


@settings(max_examples=300)
@given(records_of(ended=False, orderly=False), QUESTIONS, TTLS, BOUNDARIES)
# Equal in the whole order, and available against the order in which they stand.
@example([Record(0, 1, 0, 0, 5, None, 0), Record(0, 1, 0, 0, 3, None, 1)], [(0, 4), (0, 6)], None, "closed")
def test_late_rows_that_stay(
    records: list[Record], questions: list[tuple[int, int]], ttl: int | None, boundary: Boundary
) -> None:
    agree(records, questions, ttl, boundary)


@settings(max_examples=300)
@given(records_of(ended=False, orderly=True), QUESTIONS, TTLS, BOUNDARIES)
def test_rows_available_in_their_order(
    records: list[Record], questions: list[tuple[int, int]], ttl: int | None, boundary: Boundary
) -> None:
    agree(records, questions, ttl, boundary)


@settings(max_examples=200)
@given(records_of(ended=False, orderly=True))
def test_winners_are_the_greatest_of_each_key(records: list[Record]) -> None:
    rows = winners(
        ints([int(str(record.key)) for record in records]),
        ints([record.event_at for record in records]),
        ints([record.sequence for record in records]),
        ints([record.partition for record in records]),
    )
    found = [latest(records, key, 10**6) for key in range(4)]
    assert [records[row] for row in rows] == [one.record for one in found if one is not None]


@pytest.mark.parametrize("block", [500, 10_000])
@pytest.mark.parametrize("seed", range(6))
def test_real_times_and_many_rows(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Microseconds since the epoch; rows shuffled, sorted by time, or sorted by key and time."""
    monkeypatch.setattr(kernels, "_BLOCK", block)
    random = np.random.default_rng(seed)
    day, n = 86_400_000_000, 4_000
    key = random.integers(0, 40, n)
    event_at = 1_356_998_400_000_000 + random.integers(0, 300, n) * day
    late = np.where(random.random(n) < 0.2, random.integers(0, 9 * day, n), 0) * (seed % 3 != 0)
    end = np.where(random.random(n) < 0.3 * (seed % 2), event_at + late + random.integers(0, 40 * day, n), OPEN)
    sort = [np.arange(n), np.argsort(event_at, kind="stable"), np.lexsort((event_at, key))][seed // 2]
    records = [
        Record(int(key[i]), int(event_at[i]), int(i % 3), int(i), int(event_at[i] + late[i]), int(end[i])) for i in sort
    ]
    questions = [(int(random.integers(0, 42)), int(event_at[0] + random.integers(-200, 200) * day)) for _ in range(60)]
    agree(records, questions, 5 * day, "closed")


def test_keys_and_times_too_wide_to_pack_into_one_integer() -> None:
    century = 100 * 366 * 86_400_000_000
    records = [
        Record(key, -century + event_at, 0, 0, -century + event_at + late, end)
        for key, event_at, late, end in [
            (0, 0, 0, None),
            (10**7, 5, 3 * century, None),
            (10**7, 6, 0, century),
            (10**7, 4, 0, None),
            (10**7 - 1, 9, 0, None),
        ]
    ]
    times = [-century - 1, -century, -century + 7, century - 1, century, 3 * century]
    agree(records, [(key, at) for key in (0, 10**7, 10**7 - 1) for at in times], None, "closed")


def test_a_question_at_the_end_of_time() -> None:
    agree([Record(0, 1, 0, 0, 1), Record(0, 2, 0, 0, None)], [(0, OPEN - 1), (0, -(2**62))], 10, "closed")


def test_nothing_to_ask_and_nothing_to_answer_with() -> None:
    assert asked([], [(0, 1), (-1, 2)]).row.tolist() == [NO_ROW, NO_ROW]
    assert asked([Record(0, 1, 0, 0, 1)], []).row.tolist() == []
    assert asked([Record(0, 1, 0, 0, None)], [(0, 1)]).row.tolist() == [NO_ROW]
    assert winners(ints([]), ints([]), ints([]), ints([])).tolist() == []


def test_an_expired_winner_is_not_replaced_by_an_older_row() -> None:
    matches = asked([Record(0, 10, 0, 0, 10), Record(0, 20, 0, 0, 20, None)], [(0, 24), (0, 26)], ttl=5)
    assert matches.row.tolist() == [1, 1]
    assert matches.expired.tolist() == [False, True]
