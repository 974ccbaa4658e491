"""Several writers, a compaction, a vacuum and a reader at once: every acknowledged commit is there once, and whole."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable

from feature_assets.offline import commit
from feature_assets.offline.lake import Lake
from feature_assets.offline.maintenance import vacuum
from feature_assets.offline.rewrite import rewrite_partitioned
from feature_assets.offline.table import PartitionedTable
from feature_assets_tests.drills.offline_writer import partitions_of
from feature_assets_tests.partitions import PATH, feature_rows, speeds, xs

pytestmark = [pytest.mark.drill, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
Acknowledged = tuple[str, int, float]


def violations(table: PartitionedTable, acknowledged: Sequence[Acknowledged]) -> list[str]:
    """What is wrong with a table in which exactly these (partition, number, value) were acknowledged."""
    rows = table.read_versions(columns=("partition", "commit_seq", "x"))
    found: dict[tuple[str, int], list[float]] = {}
    for partition, seq, x in zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True):
        found.setdefault((partition, seq), []).append(x)
    wrong = []
    for partition, seq, value in acknowledged:
        if found.pop((partition, seq), None) != [value] * 3:
            wrong.append(f"{partition} {seq}: not there once")
    wrong += [f"{partition} {seq}: never acknowledged" for partition, seq in found]
    numbers = sorted({seq for _, seq, _ in acknowledged})
    if numbers != list(range(1, len(acknowledged) // 2 + 1)) or table.head() != len(numbers):
        wrong.append(
            f"the numbers are not dense: {len(numbers)} of {len(acknowledged) // 2}, the head is {table.head()}"
        )
    return wrong


def halves(table: PartitionedTable, writers: Sequence[int]) -> list[str]:
    """The writers of whose last commit a reader sees one partition and not the other."""
    rows = table.read(columns=("partition", "x"))
    held = dict(zip(rows.column("partition").to_pylist(), xs(rows), strict=True))
    return [str(number) for number in writers if len({held.get(partition) for partition in partitions_of(number)}) > 1]


def test_every_acknowledged_commit_is_there_once_and_whole(tmp_path: Path, long_drills: bool) -> None:
    writers, commits = ((1, 2, 3, 4), 200) if long_drills else ((1, 2, 3), 12)
    table = speeds(Lake(str(tmp_path)))
    module = "feature_assets_tests.drills.offline_writer"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(tmp_path), str(number), str(commits)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in writers
    ]
    reads = rewrites = 0
    try:
        while any(process.poll() is None for process in running):
            assert halves(table, writers) == []
            reads += 1
            if table.lake.exists(*PATH):
                rewrites += rewrite_partitioned(table).files_before > 0
                vacuum(table.lake, *PATH, retention=timedelta(0))
        outputs = [process.communicate() for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [(process.returncode, errors) for process, (_, errors) in zip(running, outputs, strict=True)] == [
        (0, b"")
    ] * len(writers)
    acknowledged = [
        msgspec.json.decode(line, type=Acknowledged) for output, _ in outputs for line in output.splitlines()
    ]
    assert len(acknowledged) == 2 * commits * len(writers)
    assert violations(table, acknowledged) == []
    assert reads > 0
    assert rewrites > 0


def interleaved(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, on_the_same_handle: bool
) -> tuple[PartitionedTable, list[Acknowledged]]:
    """Three commits, the second made whole while the third has written its files and not yet committed them.

    `on_the_same_handle` False: the third then commits on a handle of its own, as if it had not to be the one on which
    the number was read.
    """
    table, other = speeds(Lake(str(root))), speeds(Lake(str(root)))
    table.commit({day: feature_rows(day, [0.0] * 3) for day in partitions_of(1)})
    acknowledged: list[Acknowledged] = [(day, 1, 0.0) for day in partitions_of(1)]
    really = commit.commit_files

    def overtaken(lake: Lake, parts: Sequence[str], handle: DeltaTable, *given: object, **named: object) -> int:
        monkeypatch.setattr(commit, "commit_files", really)
        done = other.commit({day: feature_rows(day, [2.0] * 3) for day in partitions_of(2)})
        acknowledged.extend((day, done.seq or 0, 2.0) for day in partitions_of(2))
        used = handle if on_the_same_handle else lake.open(*parts)
        return really(lake, parts, used, *given, **named)  # type: ignore[arg-type] # handed on as it came

    monkeypatch.setattr(commit, "commit_files", overtaken)
    done = table.commit({day: feature_rows(day, [1.0] * 3) for day in partitions_of(1)})
    acknowledged.extend((day, done.seq or 0, 1.0) for day in partitions_of(1))
    return table, acknowledged


def test_of_two_commits_from_the_same_version_one_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, acknowledged = interleaved(tmp_path, monkeypatch, on_the_same_handle=True)
    assert violations(table, acknowledged) == []
    assert [seq for _, seq, _ in acknowledged] == [1, 1, 2, 2, 3, 3]


def test_without_the_check_of_the_transaction_the_drill_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's own test: delta-rs takes the same number a second time, and the check above must notice."""
    table, acknowledged = interleaved(tmp_path, monkeypatch, on_the_same_handle=False)
    assert [seq for _, seq, _ in acknowledged] == [1, 1, 2, 2, 2, 2]
    assert any("not dense" in wrong for wrong in violations(table, acknowledged))


def test_what_was_lost_or_doubled_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, acknowledged = interleaved(tmp_path, monkeypatch, on_the_same_handle=True)
    lost = [entry for entry in acknowledged if entry[1] != 2]
    doubled = [*acknowledged, acknowledged[-1]]
    assert any("never acknowledged" in wrong for wrong in violations(table, lost))
    assert any("not there once" in wrong for wrong in violations(table, doubled))
    assert xs(table.read(partitions=[partitions_of(1)[0]])) == [1.0] * 3
