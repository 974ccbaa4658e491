"""How a long range is cut into runs: by month, in order, no day twice, and none that was not asked for."""

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from feature_assets.orchestration.launch import month_chunks
from feature_assets.orchestration.partitions import day_range, range_tags

DAYS = st.lists(st.dates(date(2012, 11, 1), date(2013, 4, 30)), max_size=120)
DAY = timedelta(days=1)


@given(DAYS)
def test_the_runs_are_exactly_the_days_asked_for_in_order(days: list[date]) -> None:
    chunks = month_chunks(days)
    assert [day for chunk in chunks for day in chunk] == sorted(set(days))
    for chunk in chunks:
        # What a run is asked for is a range: it must hold the days of the chunk and no other.
        assert chunk == day_range(chunk[0], chunk[-1])
        assert len({(day.year, day.month) for day in chunk}) == 1
    for before, after in pairwise(chunks):
        together = after[0] - before[-1] == DAY and after[0].month == before[-1].month
        assert not together, "one run would have done for both"


def test_a_year_is_twelve_runs() -> None:
    year = day_range(date(2013, 1, 1), date(2013, 12, 31))
    assert [len(chunk) for chunk in month_chunks(year)] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert month_chunks([]) == []


def test_the_tags_of_a_run_name_its_first_and_its_last_day() -> None:
    tags = range_tags(day_range(date(2013, 1, 30), date(2013, 2, 2)))
    assert tags == {
        "dagster/asset_partition_range_start": "2013-01-30",
        "dagster/asset_partition_range_end": "2013-02-02",
    }
