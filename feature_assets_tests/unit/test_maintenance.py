"""Maintenance: files become few, reads stay the same, availability is folded in, only what nobody needs is deleted."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError

from feature_assets.clock import OPEN, from_us, to_us
from feature_assets.definition.project import Project
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.errors import CommitConflictError, InputError, OfflineError, TableDamagedError
from feature_assets.offline import commit, files, maintenance, rewrite
from feature_assets.offline.availability import timeline
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.rewrite import rewrite_partitioned
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets_tests.partitions import PATH, feature_rows, speeds, xs
from feature_assets_tests.report_log import ReportLog, at, clock, day
from feature_assets_tests.weather import AIRPORT, view

TARGET = "sqlite:test"
DAYS = [f"2013-01-{number:02}" for number in range(1, 6)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def data_files(lake: Lake, *parts: str) -> set[str]:
    folder = lake.path(*parts)
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}


# ---- rewriting
def test_a_month_becomes_one_file_by_bucket(lake: Lake) -> None:
    table = speeds(lake)
    for number, name in enumerate(DAYS):
        table.commit({name: feature_rows(name, [float(number)] * 6), "2013-02-01": feature_rows("2013-02-01", [1.0])})
    before = table.read(), table.read_versions(), table.partition_versions()
    done = rewrite_partitioned(table)
    assert (done.months, done.files_before, done.files_after, done.rows) == (("2013-01",), 5, 1, 30)
    assert (table.read(), table.read_versions(), table.partition_versions()) == before
    [january, _] = table.snapshot().files
    rows = files.scan(lake, PATH, [january], table.stored, columns=["bucket", "partition", "row"])
    assert rows.equals(rows.sort_by([("bucket", "ascending"), ("partition", "ascending"), ("row", "ascending")]))
    assert rewrite_partitioned(table).files_before == 0


def test_a_month_that_does_not_fit_is_rewritten_a_part_at_a_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = speeds(lake)
    for name in DAYS:
        table.commit({name: feature_rows(name, range(8))})
    before = table.read()
    sizes: list[int] = []

    def seen(part: pa.Table) -> pa.Table:
        sizes.append(part.num_rows)
        return part

    monkeypatch.setattr(rewrite, "PART_ROWS", 20)
    rewrite_partitioned(table, change=seen)
    assert sizes == [20, 20]
    assert table.read() == before
    assert len(table.snapshot().files) == 1


def test_what_is_committed_meanwhile_stays(lake: Lake) -> None:
    table = speeds(lake)
    for name in DAYS[:2]:
        table.commit({name: feature_rows(name, [1.0])})

    def commits(part: pa.Table) -> pa.Table:
        speeds(lake).commit({DAYS[2]: feature_rows(DAYS[2], [2.0])})
        return part

    done = rewrite_partitioned(table, change=commits)
    assert (done.files_before, done.rows) == (2, 2)
    assert xs(table.read()) == [1.0, 1.0, 2.0]
    assert table.head() == 3


@pytest.mark.parametrize("with_transaction", [True, False])
def test_of_two_rewrites_at_once_the_second_starts_over(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, with_transaction: bool
) -> None:
    # Two guards, either of which suffices: the rewrite's number, and that a file cannot be removed twice.
    guard = commit.transactions
    if not with_transaction:
        monkeypatch.setattr(commit, "transactions", lambda of, n: [] if of == commit.REWRITE else guard(of, n))
    table = speeds(lake)
    for name in DAYS[:3]:
        table.commit({name: feature_rows(name, [1.0])})
    others = iter([True])

    def another_is_faster(part: pa.Table) -> pa.Table:
        if next(others, False):
            assert rewrite_partitioned(speeds(lake)).files_before == 3
        return part

    done = rewrite_partitioned(table, change=another_is_faster)
    assert done.files_before == 0, "when it looked again, there was nothing left to do"
    assert xs(table.read_versions()) == [1.0, 1.0, 1.0]
    assert len(data_files(lake, *PATH)) == 4, "the three, and the one of the faster; the loser's is gone"


def test_a_rewrite_that_loses_every_race_gives_up_and_changes_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = speeds(lake)
    for name in DAYS[:2]:
        table.commit({name: feature_rows(name, [1.0])})

    def loses(*_given: object, **_named: object) -> int:
        raise CommitFailedError("another writer")

    monkeypatch.setattr(rewrite, "commit_files", loses)
    monkeypatch.setattr(rewrite, "ATTEMPTS", 2)
    before = data_files(lake, *PATH)
    with pytest.raises(CommitConflictError, match="2 attempts to rewrite it"):
        rewrite_partitioned(table)
    assert data_files(lake, *PATH) == before


def test_a_rewrite_that_would_lose_rows_is_refused(lake: Lake) -> None:
    table = speeds(lake)
    for name in DAYS[:2]:
        table.commit({name: feature_rows(name, [1.0, 2.0])})
    before = data_files(lake, *PATH)
    with pytest.raises(OfflineError, match="read 3 of 4 rows"):
        rewrite_partitioned(table, change=lambda part: part.slice(1))
    assert data_files(lake, *PATH) == before
    assert table.read().num_rows == 4


# ---- the project
class Platform:
    """A project with one view of three days, in a lake of its own."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.log = ReportLog()
        for number in (1, 2, 3):
            for airport in ("JFK", "LGA", "EWR"):
                self.log.add(airport, number, 6.0, 10.0 * number)
        self.source = self.log.source()
        self.view = view(sources=self.source, buckets=2, delay=timedelta(hours=3))
        self.project = Project("test", sources=[self.source], views=[self.view], services=[], entities=[AIRPORT])
        self.ledger = DeltaLedger(lake)

    def materialize(self, *numbers: int, now: int = 9, passed: bool = True) -> None:
        days = [day(number) for number in numbers]
        materialize_source(self.source, days, lake=self.lake, clock=clock(now))
        done = materialize_view(self.view, days, lake=self.lake, clock=clock(now)).commit
        self.judge(done.seq or 0, done.written, passed=passed)

    def judge(self, seq: int, partitions: tuple[str, ...], *, passed: bool) -> None:
        of = {"view": self.view.name, "version": view_version(self.view), "commit_seq": seq}
        Verdicts(self.lake).record(
            [Verdict(**of, partition=name, passed=passed, checked_at=at(9)) for name in partitions]  # type: ignore[arg-type] # the fields above
        )

    def push(self, n: int, sent_at: int, acked_at: int, *, serving: bool = False) -> None:
        common = {"view": self.view.name, "version": view_version(self.view), "target": TARGET, "commit_seq": n}
        kind = {"kind": "ack", "sent_at": sent_at, "acked_at": acked_at, "bootstrap": serving}
        rows = [LedgerRow(**common, **kind, bucket=bucket) for bucket in range(2)]  # type: ignore[arg-type] # the fields above
        if serving:
            rows.append(LedgerRow(**common, kind="serving", sent_at=sent_at, acked_at=acked_at))  # type: ignore[arg-type] # the fields above
        self.ledger.append(rows)

    def compact(self) -> tuple[rewrite.Rewrite, ...]:
        return maintenance.compact(self.lake, self.project, ledger=self.ledger, target=TARGET)

    def folded(self) -> dict[tuple[str, int], set[tuple[int | None, int | None]]]:
        """For each version what stands in its rows: (available_at, superseded_at) in microseconds."""
        found: dict[tuple[str, int], set[tuple[int | None, int | None]]] = {}
        for row in feature_table(self.lake, self.view).read_versions().to_pylist():
            times = (row["available_at"], row["superseded_at"])
            micros = tuple(None if time is None else to_us(time) for time in times)
            found.setdefault((row["partition"], row["commit_seq"]), set()).add(micros)  # type: ignore[arg-type] # two of them
        return found


@pytest.fixture
def platform(lake: Lake) -> Platform:
    return Platform(lake)


D1, D2, D3 = (day(number).isoformat() for number in (1, 2, 3))


def test_every_numbered_table_is_compacted_and_reads_the_same(platform: Platform) -> None:
    for number in (1, 2, 3):
        platform.materialize(number)
        platform.push(number, to_us(at(9, number)), to_us(at(9, number)) + 5, serving=number == 1)
    features = feature_table(platform.lake, platform.view)
    drop = ("available_at", "superseded_at")
    before = features.read().drop_columns(list(drop))
    done = {one.table: one.files_before for one in platform.compact()}
    assert done == {
        "availability": 3,
        "events/reports": 3,
        f"features/weather/{view_version(platform.view)}": 3,
        "verdicts": 3,
    }
    assert features.read().drop_columns(list(drop)) == before
    assert platform.compact() == ()


def test_the_rows_say_when_they_were_available_and_until_when(platform: Platform) -> None:
    platform.materialize(1, 2)
    platform.push(1, to_us(at(9, 1)), to_us(at(9, 1)) + 5, serving=True)
    platform.log.add("BOS", 2, 7.0, 5.0)
    platform.materialize(2)
    platform.compact()
    simulated = [to_us(at(number + 1, 3)) for number in (1, 2)]
    assert platform.folded() == {
        (D1, 1): {(simulated[0], None)},
        (D2, 1): {(simulated[1], None)},
        (D2, 2): {(None, None)},
    }
    platform.push(2, to_us(at(9, 2)), to_us(at(9, 2)) + 7)
    acked = to_us(at(9, 2)) + 7
    assert [one.table for one in platform.compact()] == [
        "availability",
        f"features/weather/{view_version(platform.view)}",
    ]
    assert platform.folded() == {
        (D1, 1): {(simulated[0], None)},
        (D2, 1): {(simulated[1], acked)},
        (D2, 2): {(acked, None)},
    }


def test_what_failed_or_was_not_judged_yet_is_available_to_nobody(platform: Platform) -> None:
    platform.materialize(1)
    platform.materialize(2, passed=False)
    platform.push(2, to_us(at(9, 1)), to_us(at(9, 1)) + 5, serving=True)
    materialize_source(platform.source, [day(3)], lake=platform.lake, clock=clock(9))
    materialize_view(platform.view, [day(3)], lake=platform.lake, clock=clock(9))
    platform.compact()
    assert platform.folded() == {
        (D1, 1): {(to_us(at(2, 3)), None)},
        (D2, 2): {(None, None)},
        (D3, 3): {(None, None)},
    }


def test_what_is_folded_is_what_the_ledger_resolves(platform: Platform) -> None:
    for number in (1, 2, 3, 2):
        platform.log.add(f"X{len(platform.log.rows)}", number, 8.0, 1.0)
        platform.materialize(number)
        n = feature_table(platform.lake, platform.view).head()
        platform.push(n, to_us(at(9, n)), to_us(at(9, n)) + n, serving=n == 2)
    platform.compact()
    rows = feature_table(platform.lake, platform.view).read_versions()
    line = timeline(
        platform.ledger.rows(view="weather"),
        feature_table(platform.lake, platform.view).partition_versions(),
        buckets=2,
        delay=platform.view.delay,
    )
    resolved = line.resolve_batch(
        commit_seq=rows["commit_seq"].to_numpy(),
        bucket=rows["bucket"].to_numpy(),
        partition=rows["partition"],
        arrived_at=rows["arrived_at"].cast(pa.int64()).to_numpy(),
    )
    for name, values in (("available_at", resolved.available_at), ("superseded_at", resolved.superseded_at)):
        assert rows[name].to_pylist() == [None if value == OPEN else from_us(value) for value in values.tolist()]


def test_a_version_that_the_code_does_not_have_any_more_is_compacted_too(platform: Platform) -> None:
    platform.materialize(1)
    platform.materialize(2)
    old = view_version(platform.view)
    changed: FeatureView = view(sources=platform.source, buckets=4)
    project = Project("test", sources=[platform.source], views=[changed], services=[], entities=[AIRPORT])
    done = maintenance.compact(platform.lake, project, ledger=platform.ledger, target=TARGET)
    assert f"features/weather/{old}" in [one.table for one in done]
    assert feature_table(platform.lake, changed, old).read().num_rows == 6


# ---- vacuum and history
def test_vacuum_keeps_what_was_replaced_within_the_retention(lake: Lake) -> None:
    table = speeds(lake)
    for name in DAYS:
        table.commit({name: feature_rows(name, [1.0])})
    before = data_files(lake, *PATH)
    rewrite_partitioned(table)
    [new] = data_files(lake, *PATH) - before
    assert maintenance.vacuum(lake, *PATH) == ()
    assert len(maintenance.vacuum(lake, *PATH, retention=timedelta(0), dry_run=True)) == 5
    assert data_files(lake, *PATH) == before | {new}
    assert len(maintenance.vacuum(lake, *PATH, retention=timedelta(0))) == 5
    assert data_files(lake, *PATH) == {new}
    assert table.read().num_rows == 5


def test_orphans_are_deleted_only_when_asked_for_and_old(lake: Lake, tmp_path: Path) -> None:
    table = speeds(lake)
    table.commit({DAYS[0]: feature_rows(DAYS[0], [1.0])})
    files.write_file(lake, PATH, [pa.table({"x": [1]})], month=None)
    assert maintenance.vacuum(lake, *PATH, retention=timedelta(0)) == ()
    assert maintenance.vacuum(lake, *PATH, retention=timedelta(hours=1), orphans=True) == ()
    with pytest.raises(InputError, match="at least 1:00:00"):
        maintenance.vacuum(lake, *PATH, retention=timedelta(minutes=59), orphans=True)
    assert len(data_files(lake, *PATH)) == 2


def test_an_old_orphan_is_deleted(lake: Lake) -> None:
    import os

    table = speeds(lake)
    table.commit({DAYS[0]: feature_rows(DAYS[0], [1.0])})
    orphan = files.write_file(lake, PATH, [pa.table({"x": [1]})], month=None)
    path = lake.path(*PATH) / orphan.path
    then = path.stat().st_mtime - 7200
    os.utime(path, (then, then))
    assert maintenance.vacuum(lake, *PATH, retention=timedelta(hours=1), orphans=True) == (orphan.path,)
    assert table.read().num_rows == 1


def test_a_reader_whose_files_are_vacuumed_looks_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = speeds(lake)
    for name in DAYS:
        table.commit({name: feature_rows(name, [1.0])})
    before = table.read()
    really = files.scan
    first = iter([True])

    def overtaken(*given: object, **named: object) -> pa.Table:
        if next(first, False):
            rewrite_partitioned(speeds(lake))
            maintenance.vacuum(lake, *PATH, retention=timedelta(0))
        return really(*given, **named)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(files, "scan", overtaken)
    assert table.read() == before


def test_a_writer_whose_files_are_vacuumed_starts_over(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = speeds(lake)
    for name in DAYS[:2]:
        table.commit({name: feature_rows(name, [1.0])})
    really = files.scan
    first = iter([True])

    def overtaken(*given: object, **named: object) -> pa.Table:
        if next(first, False):
            rewrite_partitioned(speeds(lake))
            maintenance.vacuum(lake, *PATH, retention=timedelta(0))
        return really(*given, **named)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(files, "scan", overtaken)
    assert table.commit({DAYS[0]: feature_rows(DAYS[0], [2.0])}).seq == 3
    assert xs(table.read()) == [2.0, 1.0]


def test_a_rewrite_whose_files_are_vacuumed_starts_over(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = speeds(lake)
    for name in DAYS:
        table.commit({name: feature_rows(name, [1.0])})
    before = table.read()
    really = files.scan
    first = iter([True])

    def overtaken(*given: object, **named: object) -> pa.Table:
        if next(first, False):
            rewrite_partitioned(speeds(lake))
            maintenance.vacuum(lake, *PATH, retention=timedelta(0))
            table.commit({"2013-01-31": feature_rows("2013-01-31", [])})
        return really(*given, **named)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(files, "scan", overtaken)
    assert rewrite_partitioned(table).files_before == 2
    assert table.read() == before


def test_a_rewrite_of_a_file_that_is_lost_names_the_damage_at_once(lake: Lake) -> None:
    table = speeds(lake)
    for name in DAYS:
        table.commit({name: feature_rows(name, [1.0])})
    [lost, *_] = sorted(data_files(lake, *PATH))
    (lake.path(*PATH) / lost).unlink()
    with pytest.raises(TableDamagedError, match=f"data file {lost} is missing"):
        rewrite_partitioned(table)


def test_history_tells_what_was_done_by_whom(lake: Lake) -> None:
    table = speeds(lake)
    table.commit({DAYS[0]: feature_rows(DAYS[0], [1.0, 2.0])}, run_id="first")
    table.commit({DAYS[1]: feature_rows(DAYS[1], [])}, run_id="second")
    rewrite_partitioned(table, run_id="third")
    told = [(one.version, one.operation, one.number, one.rows, one.run_id) for one in maintenance.history(lake, *PATH)]
    assert told == [
        (3, "rewrite", 1, 3, "third"),
        (2, "commit", 2, 1, "second"),
        (1, "commit", 1, 2, "first"),
        (0, "create table", None, None, ""),
    ]
    assert [one.version for one in maintenance.history(lake, *PATH, limit=2)] == [3, 2]


def test_all_tables_of_a_lake_are_found(platform: Platform) -> None:
    platform.materialize(1)
    platform.lake.write_bytes(b"{}", "models", "late", "1", "manifest.json")
    assert list(maintenance.tables(platform.lake)) == [
        ("events", "reports"),
        ("features", "weather", view_version(platform.view)),
        ("verdicts",),
    ]
