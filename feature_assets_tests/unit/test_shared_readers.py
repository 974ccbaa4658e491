"""What a process keeps of the ledger and the verdicts is never older than what is there, whoever wrote it."""

import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_assets.offline.append_table import AppendTable, Newer, Seen
from feature_assets.offline.delta_ledger import PATH, DeltaLedger, ledger_of
from feature_assets.offline.delta_ledger import SCHEMA as LEDGER
from feature_assets.offline.footer import Content, local_versions_in
from feature_assets.offline.lake import Lake, PerLake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.rewrite import rewrite_appended
from feature_assets.offline.verdicts import SCHEMA, Verdict, Verdicts, verdicts_of

AT = datetime(2013, 1, 2, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def verdict(partition: str, *, passed: bool = True) -> Verdict:
    return Verdict(view="speeds", version="a", partition=partition, commit_seq=1, passed=passed, checked_at=AT)


def row(sent_at: int) -> LedgerRow:
    return LedgerRow(kind="intent", view="speeds", version="a", target="sqlite:one", sent_at=sent_at)


def days(verdicts: Verdicts) -> list[str]:
    names: list[str] = verdicts.of("speeds", "a")["partition"].to_pylist()
    return names


def test_a_lake_has_one_of_each_in_a_process(lake: Lake, tmp_path: Path) -> None:
    assert verdicts_of(lake) is verdicts_of(Lake(lake.root))
    assert ledger_of(lake) is ledger_of(Lake(lake.root))
    assert verdicts_of(lake) is not verdicts_of(Lake(str(tmp_path / "other")))
    remote = Lake("s3://bucket/lake", {"AWS_ACCESS_KEY_ID": "one"})
    assert verdicts_of(remote) is verdicts_of(Lake("s3://bucket/lake", {"AWS_ACCESS_KEY_ID": "one"}))
    assert verdicts_of(remote) is not verdicts_of(Lake("s3://bucket/lake", {"AWS_ACCESS_KEY_ID": "two"}))


def test_only_the_last_few_lakes_are_kept() -> None:
    made: list[str] = []

    def make(lake: Lake) -> str:
        made.append(lake.root)
        return lake.root

    kept = PerLake(make, lakes=2)
    one, two, three = (Lake(f"s3://bucket/{name}") for name in ("one", "two", "three"))
    for lake in (one, two, one, three, one, two):
        assert kept.of(lake) == lake.root
    assert made == [one.root, two.root, three.root, two.root]


def test_what_another_process_appends_is_seen(lake: Lake) -> None:
    kept, ledger = Verdicts(lake), DeltaLedger(lake)
    kept.record([verdict("d1")])
    ledger.append([row(1)])
    assert (days(kept), len(ledger.rows(view="speeds"))) == (["d1"], 1)
    code = (
        f"from feature_assets_tests.unit.test_shared_readers import *; lake = Lake({lake.root!r}); "
        "Verdicts(lake).record([verdict('d2', passed=False)]); DeltaLedger(lake).append([row(2)])"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert days(kept) == ["d1", "d2"]
    assert kept.excluded("speeds", "a") == {("d2", 1)}
    assert [found.sent_at for found in ledger.rows(view="speeds")] == [1, 2]


def test_each_row_is_read_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Verdicts(lake)
    read: list[int] = []
    newer = AppendTable.newer

    def counted(table: AppendTable, seen: Seen) -> Newer:
        found = newer(table, seen)
        read.append(found.rows.num_rows)
        return found

    monkeypatch.setattr(AppendTable, "newer", counted)
    for number in range(1, 4):
        Verdicts(lake).record([verdict(f"d{number}")])
        read.clear()
        assert len(days(kept)) == len(days(kept)) == number
        assert read == [1, 0]


def test_a_compaction_changes_nothing_that_is_known(lake: Lake) -> None:
    kept, ledger = Verdicts(lake), DeltaLedger(lake)
    for number in range(1, 5):
        Verdicts(lake).record([verdict(f"d{number}")])
        DeltaLedger(lake).append([row(number)])
        if number == 2:
            assert len(days(kept)) == len(ledger.rows(view="speeds")) == 2
    before = AppendTable(lake, ("verdicts",), SCHEMA).snapshot().files
    rewrite_appended(AppendTable(lake, ("verdicts",), SCHEMA))
    rewrite_appended(AppendTable(lake, PATH, LEDGER))
    assert len(AppendTable(lake, ("verdicts",), SCHEMA).snapshot().files) < len(before)
    assert days(kept) == ["d1", "d2", "d3", "d4"]
    assert [found.sent_at for found in ledger.rows(view="speeds")] == [1, 2, 3, 4]


@pytest.mark.parametrize("more", [0, 1, 2])
def test_another_table_in_the_same_place_is_another_table(lake: Lake, more: int) -> None:
    kept, ledger = Verdicts(lake), DeltaLedger(lake)
    kept.record([verdict("old")])
    ledger.append([row(1)])
    assert (days(kept), len(ledger.rows(view="speeds"))) == (["old"], 1)
    shutil.rmtree(lake.root)
    for number in range(more):
        Verdicts(lake).record([verdict(f"new{number}")])
        DeltaLedger(lake).append([row(10 + number)])
    assert days(kept) == [f"new{number}" for number in range(more)]
    assert [found.sent_at for found in ledger.rows(view="speeds")] == [10 + number for number in range(more)]


def test_a_table_restored_from_a_backup_is_what_the_backup_has(lake: Lake, tmp_path: Path) -> None:
    kept = Verdicts(lake)
    kept.record([verdict("d1")])
    shutil.copytree(lake.root, tmp_path / "backup")
    kept.record([verdict("lost", passed=False)])
    assert kept.excluded("speeds", "a") == {("lost", 1)}
    shutil.rmtree(lake.root)
    shutil.copytree(tmp_path / "backup", lake.root)
    # As many commits as there were before, and one of them is another.
    Verdicts(lake).record([verdict("lost")])
    assert kept.excluded("speeds", "a") == frozenset()
    assert days(kept) == ["d1", "lost"]


def test_a_commit_that_lands_while_the_table_is_read_is_seen_next_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Verdicts(lake)
    kept.record([verdict("d1")])
    snapshot = AppendTable.snapshot

    def overtaken(table: AppendTable) -> object:
        found = snapshot(table)
        monkeypatch.setattr(AppendTable, "snapshot", snapshot)
        Verdicts(lake).record([verdict("d2")])
        return found

    Verdicts(lake).record([verdict("d0")])
    monkeypatch.setattr(AppendTable, "snapshot", overtaken)
    assert days(kept) == ["d0", "d1"]
    assert days(kept) == ["d0", "d1", "d2"]


def test_threads_that_share_one_see_each_row_once(lake: Lake) -> None:
    kept, ledger = Verdicts(lake), DeltaLedger(lake)
    seen: list[tuple[int, int]] = []

    def look() -> None:
        for _ in range(6):
            found = days(kept)
            rows = ledger.rows(view="speeds")
            assert len(set(found)) == len(found)
            assert [one.sent_at for one in rows] == list(range(len(rows)))
            seen.append((len(found), len(rows)))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        Verdicts(lake).record([verdict(f"d{number}")])
        DeltaLedger(lake).append([row(number)])
    for thread in threads:
        thread.join()
    assert len(seen) == 18
    assert (len(days(kept)), len(ledger.rows(view="speeds"))) == (6, 6)


def test_a_footer_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"

    def write(partitions: list[str]) -> None:
        content = Content()
        content.add(
            pa.table({"partition": partitions, "commit_seq": [1] * len(partitions), "row": [0] * len(partitions)})
        )
        with pq.ParquetWriter(path, pa.schema([("x", pa.int64())])) as writer:
            writer.add_key_value_metadata(content.encoded())

    write(["d1"])
    for _ in range(2):
        assert [version.partition for version in local_versions_in(path) or ()] == ["d1"]
    write(["d1", "d2"])
    assert [version.partition for version in local_versions_in(path) or ()] == ["d1", "d2"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        local_versions_in(path)
