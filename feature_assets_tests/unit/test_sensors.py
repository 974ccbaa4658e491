"""The pause between attempts of the push sensor: it grows, it is bounded, and it never fails itself."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from feature_assets.orchestration.sensors import MAX_BACKOFF, backoff


def test_it_doubles_from_half_a_minute_to_a_quarter_of_an_hour() -> None:
    assert [backoff(attempt).total_seconds() for attempt in range(1, 8)] == [30, 60, 120, 240, 480, 900, 900]


@given(st.integers(1, 10**9))
def test_however_long_a_store_is_away_the_next_attempt_comes(attempt: int) -> None:
    assert timedelta(0) < backoff(attempt) <= backoff(attempt + 1) <= MAX_BACKOFF
