"""Materializing: one commit or none; what has not changed is not written, what failed changes nothing."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView, Sql
from feature_assets.errors import InputError, SchemaError, TransformError
from feature_assets.offline.ingest import AHEAD_OF_ARRIVAL
from feature_assets.offline.lake import Lake
from feature_assets.offline.materialize import SourceCommit, ViewCommit, materialize_source, materialize_view
from feature_assets.offline.table import REASON, dead_letter_table, event_table, feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets_tests.report_log import ReportLog, at, clock, day
from feature_assets_tests.weather import SCHEMA, as_reported, source, view


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


@pytest.fixture
def log() -> ReportLog:
    found = ReportLog()
    for number in (1, 2, 3):
        found.add("JFK", number, 6.0, 10.0 * number)
        found.add("LGA", number, 6.0, -1.0 * number)
    return found


def ingest(lake: Lake, log: ReportLog, *numbers: int, now: int = 9, **changes: Any) -> SourceCommit:  # noqa: ANN401 - a definition's own arguments
    days = [day(number) for number in numbers]
    return materialize_source(log.source(**changes), days, lake=lake, clock=clock(now), run_id="run")


def compute(lake: Lake, of: FeatureView, *numbers: int, force: bool = False) -> ViewCommit:
    return materialize_view(of, [day(number) for number in numbers], lake=lake, clock=clock(9), force=force)


# ---- sources
def test_days_become_partitions_of_one_commit(lake: Lake, log: ReportLog) -> None:
    done = ingest(lake, log, 3, 1, 2, 4)
    assert done.commit.written == tuple(day(number).isoformat() for number in (1, 2, 3, 4))
    assert (done.commit.seq, done.commit.rows, done.quarantined) == (1, 6, 0)
    events = event_table(lake, log.source())
    assert events.partition_versions().column("rows").to_pylist() == [2, 2, 2, 0]
    assert events.read(columns=tuple(SCHEMA.names)).equals(
        log.known(at(1), at(5), at(9)).sort_by([("event_at", "ascending"), ("airport", "ascending")])
    )


def test_consecutive_days_are_read_with_one_call(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2, 3, 7)
    assert log.calls == [(at(1), at(4)), (at(7), at(8))]


def test_the_same_days_again_write_nothing_and_a_late_report_corrects_its_day(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2)
    assert ingest(lake, log, 1, 2).commit.seq is None
    log.add("EWR", 1, 7.0, 5.0, late=100.0)
    again = ingest(lake, log, 1, 2)
    assert (again.commit.seq, again.commit.written) == (2, (day(1).isoformat(),))
    events = event_table(lake, log.source())
    assert events.read(partitions=[day(1).isoformat()]).num_rows == 3
    assert events.read(partitions=[day(1).isoformat()], upto=1).num_rows == 2


def test_what_is_ahead_of_its_arrival_goes_to_the_dead_letters(lake: Lake, log: ReportLog) -> None:
    log.add("EWR", 2, 7.0, 5.0, late=-1.0)
    done = ingest(lake, log, 1, 2)
    assert (done.commit.rows, done.quarantined, done.reasons) == (4, 1, {AHEAD_OF_ARRIVAL: 1})
    letters = dead_letter_table(lake, log.source())
    rows = letters.read().to_pylist()
    assert [(row["airport"], row["partition"], row[REASON]) for row in rows] == [
        ("EWR", day(2).isoformat(), AHEAD_OF_ARRIVAL)
    ]
    assert ingest(lake, log, 1, 2).quarantined == 1
    assert letters.head() == 1, "the same refusal is not written twice"
    log.rows = [row for row in log.rows if row[0] != "EWR"]
    assert ingest(lake, log, 1, 2).quarantined == 0
    assert letters.read().num_rows == 0
    assert letters.read(upto=1).num_rows == 1


def test_a_row_that_is_read_again_keeps_its_first_arrival(lake: Lake) -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("arrived_at"))
    temps = [1.0]

    def reader(start: datetime, _end: datetime, _now: datetime) -> pa.Table:
        columns = [["JFK"] * len(temps), [start] * len(temps), temps, list(range(len(temps)))]
        return pa.table(columns, schema=schema)

    reports = source(reader=reader, schema=schema, arrived_at=None, start=day(1), order_by=("n",))
    for now in (2, 3):
        materialize_source(reports, [day(1)], lake=lake, clock=clock(now))
    assert event_table(lake, reports).head() == 1
    temps.append(2.0)
    materialize_source(reports, [day(1)], lake=lake, clock=clock(4))
    found = event_table(lake, reports).read()
    assert found.column("arrived_at").to_pylist() == [at(2), at(4)]
    assert event_table(lake, reports).head() == 2


def test_an_added_column_is_null_in_earlier_events(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1)
    wider = SCHEMA.append(pa.field("gust", pa.float64()))

    def reader(start: datetime, end: datetime, now: datetime) -> pa.Table:
        rows = log.known(start, end, now)
        return rows.append_column("gust", pa.array([30.0] * rows.num_rows, pa.float64()))

    materialize_source(log.source(schema=wider, reader=reader), [day(2)], lake=lake, clock=clock(9))
    events = event_table(lake, log.source(schema=wider))
    assert events.read().column("gust").to_pylist() == [None, None, 30.0, 30.0]
    with pytest.raises(SchemaError, match=r"events/reports: column 'gust' .* is gone"):
        ingest(lake, log, 3)


def test_a_reader_that_raises_is_named_and_nothing_is_written(lake: Lake, log: ReportLog) -> None:
    def reader(_start: datetime, _end: datetime, _now: datetime) -> pa.Table:
        raise ConnectionError("the archive is closed")

    with pytest.raises(
        InputError, match=r"'reports': its reader raised ConnectionError.*the archive is closed"
    ) as caught:
        ingest(lake, log, 1, reader=reader)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert not lake.exists("events", "reports")


def test_progress_is_told(lake: Lake, log: ReportLog) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    days = [day(1), day(2), day(4)]
    materialize_source(log.source(), days, lake=lake, clock=clock(9), progress=progress)
    materialize_view(view(sources=log.source()), days, lake=lake, clock=clock(9), progress=progress)
    assert told == [
        ("reports read", 2, 3),
        ("reports read", 3, 3),
        ("weather computed", 1, 3),
        ("weather computed", 2, 3),
        ("weather computed", 3, 3),
    ]


# ---- views
def test_a_view_is_computed_a_day_at_a_time_into_one_commit(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2, 4)
    weather = view(sources=log.source())
    done = compute(lake, weather, 1, 2, 4)
    names = [day(number).isoformat() for number in (1, 2, 4)]
    assert done.commit.seq == 1
    assert [(name, table.num_rows) for name, table in done.tables.items()] == list(zip(names, [2, 2, 0], strict=True))
    assert done.source_seq == dict.fromkeys(names, 1)
    features = feature_table(lake, weather)
    assert features.path == ("features", "weather", view_version(weather))
    rows = features.read()
    assert sorted(rows.column("temp").to_pylist()) == [-2.0, -1.0, 10.0, 20.0]
    assert rows.column("arrived_at").to_pylist() == [at(1, 7)] * 2 + [at(2, 7)] * 2
    assert set(rows.column("bucket").to_pylist()) <= set(range(weather.buckets))
    assert done.tables[names[0]].column_names == [*features.schema.names, "bucket"]


def test_the_same_days_again_write_nothing_unless_forced(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2)
    weather = view(sources=log.source())
    compute(lake, weather, 1, 2)
    again = compute(lake, weather, 1, 2)
    assert (again.commit.seq, set(again.tables)) == (None, {day(1).isoformat(), day(2).isoformat()})
    assert compute(lake, weather, 1, force=True).commit.written == (day(1).isoformat(),)


def test_a_corrected_day_is_a_new_version_with_its_source_position(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2)
    weather = view(sources=log.source())
    compute(lake, weather, 1, 2)
    log.add("EWR", 2, 7.0, 5.0)
    ingest(lake, log, 1, 2)
    assert compute(lake, weather, 1, 2).commit.written == (day(2).isoformat(),)
    rows = feature_table(lake, weather).partition_versions().to_pylist()
    assert [(row["partition"], row["commit_seq"], row["source_seq"]) for row in rows] == [
        (day(1).isoformat(), 1, 1),
        (day(2).isoformat(), 1, 1),
        (day(2).isoformat(), 2, 2),
    ]


def test_a_day_whose_newest_version_failed_is_committed_again(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2)
    weather = view(sources=log.source())
    compute(lake, weather, 1, 2)
    failed = Verdict(
        view="weather",
        version=view_version(weather),
        partition=day(1).isoformat(),
        commit_seq=1,
        passed=False,
        checked_at=at(9),
    )
    Verdicts(lake).record([failed])
    assert compute(lake, weather, 1, 2).commit.written == (day(1).isoformat(),)
    assert compute(lake, weather, 1, 2).commit.seq is None, "the newest version has not failed"


def test_a_transform_sees_its_day_and_its_lookback_and_no_more(lake: Lake, log: ReportLog) -> None:
    log.rows.clear()
    for number in (1, 2, 3):
        for hours in (0.0, 11.999, 12.0, 23.999):
            log.add("JFK", number, hours, 0.0, n=int(hours))
    ingest(lake, log, 1, 2, 3)
    statement = (
        "SELECT airport, $partition_start AS event_at, count(*)::DOUBLE AS temp, min(event_at) AS since "
        "FROM reports GROUP BY airport"
    )
    features = [Feature("temp", pa.float64()), Feature("since", pa.timestamp("us", "UTC"))]
    half = view(Sql(statement), features, sources=log.source(), lookback=timedelta(hours=12))
    compute(lake, half, 1, 2, 3)
    rows = feature_table(lake, half).read().to_pylist()
    assert [(row["temp"], row["since"]) for row in rows] == [(4.0, at(1)), (6.0, at(1, 12.0)), (6.0, at(2, 12.0))]


def test_the_source_position_covers_the_lookback(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2, 3)
    log.add("EWR", 1, 7.0, 5.0)
    ingest(lake, log, 1)
    weather = view(transform=latest, sources=log.source(), lookback=timedelta(days=1))
    assert list(compute(lake, weather, 1, 2, 3).source_seq.values()) == [2, 2, 1]


def latest(reports: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    return reports.drop("n").filter(nw.col("event_at") == nw.col("event_at").max())


def joined(reports: "nw.DataFrame[Any]", _others: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    return reports.drop("n")


def test_of_several_sources_the_position_grows_with_each(lake: Lake, log: ReportLog) -> None:
    other = ReportLog()
    both = view(joined, sources=[log.source(), other.source(name="others")])

    def position() -> int:
        materialize_source(log.source(), [day(1)], lake=lake, clock=clock(9))
        materialize_source(other.source(name="others"), [day(1)], lake=lake, clock=clock(9))
        return compute(lake, both, 1).source_seq[day(1).isoformat()]

    positions = [position()]
    other.add("JFK", 1, 1.0, 1.0)
    positions.append(position())
    log.add("EWR", 1, 1.0, 1.0)
    positions.append(position())
    assert positions == [2, 3, 4]


def test_a_day_that_its_source_does_not_have_is_an_error(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 2)
    weather = view(sources=log.source())
    with pytest.raises(
        InputError, match=r"'reports' was not materialized for 2024-03-03 and 1 more days.*\nHint: materialize"
    ):
        compute(lake, weather, 2, 3, 4)
    with pytest.raises(InputError, match="was not materialized for 2024-03-01"):
        compute(lake, view(transform=latest, sources=log.source(), lookback=timedelta(hours=1)), 2)
    assert not lake.exists("features", "weather", view_version(weather))


def test_days_that_a_source_cannot_have_are_not_asked_of_it(lake: Lake, log: ReportLog) -> None:
    end = date(2024, 3, 4)
    ingest(lake, log, 1, 2, 3, end=end)
    statement = "SELECT airport, $partition_end AS event_at, count(*)::DOUBLE AS temp FROM reports GROUP BY airport"
    weather = view(Sql(statement), sources=log.source(end=end), lookback=timedelta(days=2))
    assert compute(lake, weather, 1, 2, 3, 4).commit.written == tuple(
        day(number).isoformat() for number in (1, 2, 3, 4)
    )


def test_a_transform_that_fails_leaves_the_last_good_state(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1, 2, 3)

    def breaks_on_the_second(reports: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
        if 20.0 in reports["temp"].to_list():
            raise ZeroDivisionError("twenty")
        return as_reported(reports)

    weather = view(breaks_on_the_second, sources=log.source())
    compute(lake, weather, 1)
    before = feature_table(lake, weather).read()
    with pytest.raises(TransformError, match="ZeroDivisionError"):
        compute(lake, weather, 1, 2, 3)
    assert feature_table(lake, weather).read().equals(before)
    assert feature_table(lake, weather).head() == 1
    assert compute(lake, weather, 1, 3).commit.written == (day(3).isoformat(),)


def test_a_changed_view_has_a_table_of_its_own_and_the_old_one_stays_readable(lake: Lake, log: ReportLog) -> None:
    ingest(lake, log, 1)
    old = view(sources=log.source())
    compute(lake, old, 1)
    statement = "SELECT airport, event_at, arrived_at, n FROM reports"
    new = view(Sql(statement), [Feature("n", pa.int64())], sources=log.source())
    compute(lake, new, 1)
    assert feature_table(lake, new).read().column("n").to_pylist() == [0, 0]
    assert sorted(feature_table(lake, new, view_version(old)).read().column("temp").to_pylist()) == [-1.0, 10.0]
    assert set(lake.tables("features", "weather")) == {view_version(old), view_version(new)}
