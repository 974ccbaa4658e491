"""What was made from an older state never supersedes what was made from a newer one, wherever the slower one sleeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import narwhals as nw
import pytest

from feature_assets.errors import OutdatedError
from feature_assets.offline import basis, commit, materialize
from feature_assets.offline.lake import Lake
from feature_assets.offline.maintenance import history
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.table import PartitionedTable, dead_letter_table, event_table, feature_table
from feature_assets_tests.report_log import ReportLog, clock, day
from feature_assets_tests.weather import view

POINTS = ("materialize.before_commit", "table.after_files")
"""Before anything is written, and when the files are there and the log does not name them yet."""
Interrupt = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


@pytest.fixture
def log() -> ReportLog:
    found = ReportLog()
    for number in (1, 2):
        found.add("JFK", number, 6.0, 1.0)
    return found


@pytest.fixture
def sleeping_at(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """Does something once, when the point is next reached: what others do while that step sleeps there."""

    def arm(point: str, others: Callable[[], object]) -> None:
        armed = [point]

        def reached(name: str) -> None:
            if armed and name == armed[0]:
                armed.clear()
                others()

        for module in (materialize, commit):
            monkeypatch.setattr(module, "crash_point", reached)

    return arm


def ingest(lake: Lake, log: ReportLog, *numbers: int, name: str = "reports") -> object:
    days = [day(number) for number in numbers or (1,)]
    return materialize_source(log.source(name=name), days, lake=lake, clock=clock(9)).commit.seq


def corrected(log: ReportLog, temp: float, *, number: int = 1) -> None:
    """The report of the day says something else from now on."""
    log.rows = [row for row in log.rows if row[1].date() != day(number)]
    log.add("JFK", number, 6.0, temp)


def temps(table: PartitionedTable) -> list[tuple[int, float]]:
    """Every version of the first day: (commit_seq, its value)."""
    rows = table.read_versions(partitions=[day(1).isoformat()], columns=("commit_seq", "temp"))
    return list(zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True))


# ---- views


@pytest.mark.parametrize("point", POINTS)
def test_a_view_computed_from_an_older_source_does_not_supersede_one_from_a_newer(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt, point: str
) -> None:
    weather = view(sources=log.source())
    ingest(lake, log)
    materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    corrected(log, 2.0)
    ingest(lake, log)

    def faster() -> None:
        corrected(log, 3.0)
        ingest(lake, log)
        materialize_view(weather, [day(1)], lake=lake, clock=clock(9))

    sleeping_at(point, faster)
    slow = materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    assert temps(feature_table(lake, weather)) == [(1, 1.0), (2, 3.0)]
    assert (slow.commit.seq, slow.commit.unchanged) == (None, (day(1).isoformat(),))
    assert slow.tables[day(1).isoformat()].column("temp").to_pylist() == [3.0], "what is judged is what counts"


@pytest.mark.parametrize("point", POINTS)
def test_nor_one_that_a_newer_source_left_as_it_was(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt, point: str
) -> None:
    """The faster one finds that the correction was withdrawn: it has nothing to write, and is right."""
    weather = view(sources=log.source())
    ingest(lake, log)
    materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    corrected(log, 2.0)
    ingest(lake, log)

    def faster() -> None:
        corrected(log, 1.0)
        ingest(lake, log)
        assert materialize_view(weather, [day(1)], lake=lake, clock=clock(9)).commit.seq is None

    sleeping_at(point, faster)
    materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    assert temps(feature_table(lake, weather)) == [(1, 1.0)]


def first_of(reports: "nw.DataFrame[Any]", others: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    total = reports["temp"].sum() + others["temp"].sum()
    return reports.drop("n").with_columns(temp=nw.lit(total).cast(nw.Float64))


@pytest.mark.parametrize("point", POINTS)
def test_newer_in_one_source_does_not_make_up_for_older_in_another(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one has read an old state of the one source and, later, a very new one of the other."""
    other = ReportLog()
    other.add("JFK", 1, 6.0, 10.0)
    both = view(first_of, sources=[log.source(), other.source(name="others")])
    ingest(lake, log)
    ingest(lake, other, name="others")
    really = event_table
    pending = [True]

    def between_the_two(of_lake: Lake, source: Any) -> PartitionedTable:  # noqa: ANN401 - handed on
        if source.name == "others" and pending:
            pending.clear()
            corrected(log, 2.0)
            ingest(lake, log)
            materialize_view(both, [day(1)], lake=lake, clock=clock(9))
            for temp in (20.0, 30.0, 40.0):
                corrected(other, temp)
                ingest(lake, other, name="others")
        return really(of_lake, source)

    monkeypatch.setattr(materialize, "event_table", between_the_two)
    sleeping_at(point, lambda: None)
    done = materialize_view(both, [day(1)], lake=lake, clock=clock(9))
    assert temps(feature_table(lake, both)) == [(1, 12.0), (2, 42.0)]
    assert done.source_seq == {day(1).isoformat(): 2 + 4}


def test_what_others_did_to_other_days_is_no_reason_to_compute_again(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt
) -> None:
    weather = view(sources=log.source())
    ingest(lake, log, 1, 2)

    def others() -> None:
        corrected(log, 5.0, number=2)
        ingest(lake, log, 2)
        materialize_view(weather, [day(2)], lake=lake, clock=clock(9))

    told: list[str] = []
    sleeping_at("table.after_files", others)
    materialize_view(
        weather, [day(1)], lake=lake, clock=clock(9), progress=lambda what, _done, _total: told.append(what)
    )
    assert temps(feature_table(lake, weather)) == [(2, 1.0)]
    assert told == ["weather computed"]


def test_what_was_read_and_changed_nothing_is_noted_once(lake: Lake, log: ReportLog) -> None:
    weather = view(sources=log.source())
    ingest(lake, log, 1, 2)
    materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    corrected(log, 5.0, number=2)
    ingest(lake, log, 2)
    for _ in range(3):
        assert materialize_view(weather, [day(1)], lake=lake, clock=clock(9)).commit.seq is None
    table = feature_table(lake, weather)
    assert [one.operation for one in history(lake, *table.path)][:2] == ["note", "commit"]
    assert (table.head(), table.partition_versions().num_rows, table.read().num_rows) == (1, 1, 1)
    materialize_view(weather, [day(2)], lake=lake, clock=clock(9))
    assert table.head() == 2


def test_who_is_overtaken_every_time_gives_up_and_says_so(
    lake: Lake, log: ReportLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    weather = view(sources=log.source())
    ingest(lake, log)
    nested: list[bool] = []

    def always(name: str) -> None:
        if name == "materialize.before_commit" and not nested:
            nested.append(True)
            corrected(log, 10.0 + len(log.calls))
            ingest(lake, log)
            materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
            nested.clear()

    monkeypatch.setattr(materialize, "crash_point", always)
    with pytest.raises(
        OutdatedError, match=r"features/weather/.*'reports' up to commit 5, and another .* at 6"
    ) as caught:
        materialize_view(weather, [day(1)], lake=lake, clock=clock(9))
    assert caught.value.retryable
    assert feature_table(lake, weather).head() == basis.ATTEMPTS


# ---- sources
@pytest.mark.parametrize("point", POINTS)
def test_an_older_reading_does_not_supersede_a_newer_one(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt, point: str
) -> None:
    ingest(lake, log)
    corrected(log, 2.0)

    def faster() -> None:
        corrected(log, 3.0)
        ingest(lake, log)

    sleeping_at(point, faster)
    assert ingest(lake, log) is None
    assert temps(event_table(lake, log.source())) == [(1, 1.0), (2, 3.0)]


def test_nor_are_older_refusals_put_over_newer_ones(lake: Lake, log: ReportLog, sleeping_at: Interrupt) -> None:
    log.add("EWR", 1, 7.0, 5.0, late=-1.0)

    def faster() -> None:
        log.rows = [row for row in log.rows if row[0] != "EWR"]
        log.add("BOS", 1, 7.0, 6.0, late=-2.0)
        ingest(lake, log)

    sleeping_at("table.after_files", faster)
    ingest(lake, log)
    letters = dead_letter_table(lake, log.source())
    assert letters.read_versions().column("airport").to_pylist() == ["BOS"]


def test_readings_of_different_days_do_not_disturb_each_other(
    lake: Lake, log: ReportLog, sleeping_at: Interrupt
) -> None:
    sleeping_at("table.after_files", lambda: ingest(lake, log, 2))
    ingest(lake, log, 1)
    assert len(log.calls) == 2
    assert event_table(lake, log.source()).read().num_rows == 2
