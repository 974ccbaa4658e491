"""The parts in which views of aggregates are read: all records once, within the limit, as few readings as possible."""

from datetime import timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError
from feature_assets.training.memory import ROW_OVERHEAD
from feature_assets.training.window_parts import Group, groups, question_bytes
from feature_assets.training.windows import Windowed
from feature_assets_tests.histories import SOURCE, unchanged

ROWS = {f"2024-03-0{day}": 100 for day in range(1, 9)}
ROW = 20
EACH = ROW + ROW_OVERHEAD


def divided(budget: int, *, questions: int = 0, bytes_per_question: int = 1000) -> tuple[Group, ...]:
    return groups(
        ROWS,
        ROW,
        questions=questions,
        bytes_per_question=bytes_per_question,
        buckets=4,
        budget=budget,
        view="sums",
    )


def test_what_fits_is_one_part() -> None:
    (group,) = divided(800 * EACH + 10_000, questions=10)
    assert group.buckets is None
    assert [(part.buckets, part.start, part.end) for part in group.parts] == [(None, None, None)]


def test_records_that_do_not_fit_are_read_by_days() -> None:
    (group,) = divided(250 * EACH, questions=0)
    assert group.buckets is None
    assert len(group.parts) == 4
    ends = [(part.start, part.end) for part in group.parts]
    assert (ends[0][0], ends[-1][1]) == (None, None)
    assert all(one[1] == other[0] for one, other in pairwise(ends))


@pytest.mark.parametrize("budget", [60_000, 80_000, 120_000])
def test_questions_that_do_not_fit_are_taken_by_buckets(budget: int) -> None:
    found = divided(budget, questions=120)
    assert len(found) in {2, 4}
    assert sorted(bucket for group in found for bucket in group.buckets or ()) == [0, 1, 2, 3]
    for group in found:
        assert all(part.buckets == group.buckets for part in group.parts)
        assert 120_000 // len(found) + EACH * 100 // len(found) <= budget


def test_what_never_fits_is_refused_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"one bucket of 4 takes about 300,000 bytes") as refused:
        divided(100_000, questions=1200)
    assert "raise memory_limit" in (refused.value.hint or "")


def test_series_and_objects_weigh_more() -> None:
    view = FeatureView(
        "sums",
        Entity("card", {"card": pa.int64()}),
        SOURCE,
        unchanged,
        columns=[("amount", pa.float64())],
        aggregates=[
            Aggregate("count", None, timedelta(hours=1)),
            Aggregate("last_k", "amount", timedelta(hours=1), k=3),
        ],
    )
    light, heavy = (question_bytes(Windowed.of([view[name]]).wanted) for name in view.feature_names)
    assert 0 < light < heavy
