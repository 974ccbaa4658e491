"""Versions that say the same are one: at no instant is anything seen that was not, or missed, however they lie."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.windows_joined import joined

LATEST = 6
VALUES = [None, 0.0, -0.0, float("nan"), 1.5]
Version = tuple[int, int, int, float | None, str | None, int, int]
"""Key, event time, sequence, two values, from when until when it can be seen."""
VERSIONS = st.tuples(
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from(VALUES[:2] * 3 + VALUES),
    st.sampled_from([None, "a", "a", "a", "b"]),
    st.integers(0, LATEST),
    st.sampled_from([*range(LATEST), OPEN]),
)


def seen(versions: list[Version], at: int) -> Counter[str]:
    """What can be seen at an instant, as text: NaN is NaN, and -0.0 is not 0.0."""
    return Counter(repr(one[:5]) for one in versions if one[5] <= at < one[6])


def joined_versions(versions: Sequence[Version]) -> list[Version] | None:
    key, event_at, sequence, price, place, since, until = (list(column) for column in zip(*versions, strict=True))
    columns = {"price": pa.array(price, pa.float64()), "place": pa.array(place, pa.string())}
    records = Records(columns, np.array(event_at, np.int64), np.array(sequence, np.int64))
    found = joined(records, np.array(key, np.int64), np.array(since, np.int64), np.array(until, np.int64))
    if found is None:
        return None
    rows, ends = found
    assert (np.diff(rows) > 0).all()
    return [(*versions[row][:6], end) for row, end in zip(rows.tolist(), ends.tolist(), strict=True)]


@settings(max_examples=1000)
@given(st.lists(VERSIONS, min_size=1, max_size=12))
def test_the_same_is_seen_at_every_instant(versions: list[Version]) -> None:
    found = joined_versions(versions)
    remaining = versions if found is None else found
    for at in range(LATEST + 1):
        assert seen(remaining, at) == seen(versions, at), at
    # None of those that remain ends where another begins that says the same.
    ends = {(repr(one[:5]), one[6]) for one in remaining if one[5] < one[6]}
    assert not ends & {(repr(one[:5]), one[5]) for one in remaining if one[5] < one[6]}
    assert found is None or len(found) < len(versions)


def test_a_day_that_says_the_same_again_is_as_if_it_had_not_been_computed_again() -> None:
    days = [(key, event_at, 0, 1.5, "a") for key in range(3) for event_at in range(4)]
    again = [(*one, since, until) for since, until in ((1, 3), (3, 4), (4, OPEN)) for one in days]
    assert joined_versions(again) == [(*one, 1, OPEN) for one in days]


def test_nothing_is_joined_over_a_gap_or_to_something_else() -> None:
    one, other = (0, 0, 0, 1.5, "a"), (0, 0, 0, 1.5, "b")
    assert joined_versions([(*one, 1, 2), (*one, 3, OPEN)]) is None
    assert joined_versions([(*one, 1, 2), (*other, 2, OPEN)]) is None
    assert joined_versions([(*one, 1, OPEN), (*one, 2, OPEN)]) is None
    assert joined_versions([(*one, 3, 1), (*one, 1, OPEN)]) is None, "it was never seen"


def test_one_end_for_all_is_no_end() -> None:
    """As it is handed over where nothing is ever superseded."""
    ends = np.broadcast_to(np.int64(OPEN), (2,))
    zeros = np.zeros(2, np.int64)
    assert joined(Records({}, zeros, zeros), zeros, zeros, ends) is None
