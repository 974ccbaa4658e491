"""Spans that are taken for one: only neighbours of one key and extent between which nothing came or went."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import OPEN
from feature_assets.compute.windows_alike import alike
from feature_assets.compute.windows_order import Asked, Line, Spans

Ints = npt.NDArray[np.int64]


def ints(values: list[int]) -> Ints:
    return np.array(values, np.int64)


def line_of(records: list[tuple[int, int, int | None]]) -> Line:
    """Records as (key, available_at, superseded_at); what happened when does not matter here."""
    key, available, superseded = ints([one[0] for one in records]), ints([one[1] for one in records]), records
    ended = ints([OPEN if one[2] is None else one[2] for one in superseded])
    return Line(None, key, np.zeros(len(key), np.int64), available, ended)


def spans_of(asked: Asked, size: int, hop: int) -> Spans:
    number = np.arange(len(asked.at))
    return Spans(number, (asked.at - size) // hop * hop, np.full(len(asked.at), OPEN))


def test_questions_between_which_nothing_comes_or_goes_are_one() -> None:
    asked = Asked(ints([0, 0, 0, 0, 0, 1]), ints([10, 11, 12, 13, 14, 14]))
    found = alike(line_of([(0, 12, None), (0, 3, 14), (1, 11, None)]), asked, spans_of(asked, 100, 50))
    assert found.place.tolist() == [0, 0, 1, 1, 2, 3]
    assert found.spans.question.tolist() == [0, 2, 4, 5]


def test_a_window_that_moves_on_is_another() -> None:
    asked = Asked(ints([0] * 6), ints([18, 19, 20, 21, 29, 30]))
    assert alike(line_of([(0, 1, None)]), asked, spans_of(asked, 10, 10)).place.tolist() == [0, 0, 1, 1, 1, 2]


def test_keys_and_times_that_do_not_fit_into_64_bits_are_left_as_they_are() -> None:
    asked = Asked(ints([2**20] * 3), ints([0, 0, 2**45]))
    assert alike(line_of([(2**20, 1, None)]), asked, spans_of(asked, 10, 2**50)).place.tolist() == [0, 1, 2]


RECORD = st.tuples(st.integers(0, 2), st.integers(0, 12), st.one_of(st.none(), st.integers(0, 14)))
QUESTION = st.tuples(st.integers(-1, 2), st.integers(0, 14))


@given(
    st.lists(RECORD, max_size=6),
    st.lists(QUESTION, min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
)
def test_what_is_taken_for_one_sees_the_same_records(
    records: list[tuple[int, int, int | None]],
    questions: list[tuple[int, int]],
    windows: list[tuple[int, int]],
) -> None:
    line = line_of(records)
    questions = sorted(questions)
    asked = Asked(ints([key for key, _ in questions]), ints([at for _, at in questions]))
    each = [spans_of(asked, size, hop) for size, hop in windows]
    spans = Spans(*(np.concatenate([getattr(one, name) for one in each]) for name in ("question", "start", "end")))
    found = alike(line, asked, spans)

    def seen(question: int) -> list[int]:
        key, at = asked.key[question], asked.at[question]
        there = (line.key == key) & (line.available_at <= at) & (at < line.superseded_at)
        return [int(row) for row in np.flatnonzero(there)]

    assert len(found.place) == len(spans.question)
    for number, place in enumerate(found.place.tolist()):
        mine, stands = int(spans.question[number]), int(found.spans.question[place])
        assert asked.key[mine] == asked.key[stands]
        assert (spans.start[number], spans.end[number]) == (found.spans.start[place], found.spans.end[place])
        assert seen(mine) == seen(stands)
