"""Servers that log at once, die at any moment, or find the disk full: what was flushed is there once, and whole."""

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from feature_assets.crash import ARMED_BY
from feature_assets.errors import OfflineError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import MemoryLedger
from feature_assets.offline.maintenance import compact_table, vacuum
from feature_assets.offline.served_table import ServedTable
from feature_assets_tests.drills.served_writer import PROJECT, ROWS, SERVICE

pytestmark = [pytest.mark.drill, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
PATH = ("served", "it")


def server(root: Path, number: int, answers: int, *bound: int, crash_at: str = "") -> "subprocess.Popen[bytes]":
    module = "feature_assets_tests.drills.served_writer"
    return subprocess.Popen(
        [sys.executable, "-m", module, str(root), str(number), str(answers), *map(str, bound)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **({ARMED_BY: crash_at} if crash_at else {})},
    )


def flushed(output: bytes) -> int:
    """Up to which answer all were written, as the server said."""
    said = [msgspec.json.decode(line, type=tuple[int, bool]) for line in output.splitlines()]
    return max((recorded for recorded, written in said if written), default=0)


def answers_in(root: Path, number: int) -> list[int]:
    """Which answers of a server are in the log, in order. Each must be there once, and whole."""
    rows = ServedTable(Lake(str(root)), SERVICE).read(("request_id", "request_row", "k", "w__x")).to_pylist()
    mine = [row for row in rows if row["request_id"].startswith(f"{number} ")]
    for row in mine:
        turn = int(row["request_id"].split()[1])
        assert (row["k"], row["w__x"]) == (row["request_row"], turn + row["request_row"] / 10)
    counted = Counter((row["request_id"], row["request_row"]) for row in mine)
    assert set(counted.values()) <= {1}, "some row is there twice"
    turns = [int(name.split()[1]) for name in dict.fromkeys(name for name, _ in counted)]
    assert len(counted) == len(turns) * ROWS, "some answer is there in part"
    return turns


def test_servers_log_at_once_while_the_table_is_compacted_and_one_is_killed(tmp_path: Path, long_drills: bool) -> None:
    answers = 400 if long_drills else 80
    lake = Lake(str(tmp_path))
    running = [server(tmp_path, number, answers) for number in (1, 2)]
    doomed = server(tmp_path, 3, 10**6)
    try:
        assert doomed.stdout is not None
        first = doomed.stdout.readline() + doomed.stdout.readline()
        doomed.send_signal(signal.SIGKILL)
        rewrites = 0
        while any(process.poll() is None for process in running):
            done = compact_table(lake, PATH, PROJECT, ledger=MemoryLedger(), target="memory")
            rewrites += done is not None and done.files_before > 0
            vacuum(lake, *PATH, retention=timedelta(0))
        outputs = [process.communicate()[0] for process in running]
        rest = doomed.communicate()[0]
    finally:
        for process in (*running, doomed):
            process.kill()
            process.wait()
    assert [process.returncode for process in (*running, doomed)] == [0, 0, -signal.SIGKILL]
    for number, output in zip((1, 2), outputs, strict=True):
        assert flushed(output) == answers
        assert answers_in(tmp_path, number) == list(range(answers))
    there = answers_in(tmp_path, 3)
    assert there == list(range(len(there))), "nothing is missing before what is there"
    assert len(there) >= flushed(first + rest) >= 40
    assert rewrites > 0


@pytest.mark.parametrize("crash_at", ["table.after_files", "table.after_log"])
def test_a_server_that_dies_in_an_append_leaves_it_whole_or_not_at_all(tmp_path: Path, crash_at: str) -> None:
    process = server(tmp_path, 1, 40, crash_at=crash_at)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == -signal.SIGKILL
    assert flushed(output) == 0
    there = answers_in(tmp_path, 1)
    assert there == list(range(len(there)))
    assert bool(there) == (crash_at == "table.after_log")
    # Whoever comes next writes on.
    assert flushed(server(tmp_path, 2, 20).communicate(timeout=120)[0]) == 20
    assert answers_in(tmp_path, 2) == list(range(20))


def test_while_the_disk_is_full_answers_wait_and_then_are_all_there(tmp_path: Path) -> None:
    process = server(tmp_path, 1, 60, 300)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    said = [msgspec.json.decode(line, type=tuple[int, bool]) for line in output.splitlines()]
    assert said == [(20, False), (40, False), (60, False), (60, True)]
    assert answers_in(tmp_path, 1) == list(range(60))


def test_the_judge_sees_what_is_twice_or_in_part(tmp_path: Path) -> None:
    assert flushed(server(tmp_path, 1, 20).communicate(timeout=120)[0]) == 20
    table = ServedTable(Lake(str(tmp_path)), SERVICE)
    rows = table.read(tuple(table.columns.schema.names))
    table.append(rows.slice(0, 2))
    with pytest.raises(AssertionError, match="twice"):
        answers_in(tmp_path, 1)
    with pytest.raises(OfflineError):
        ServedTable(Lake(str(tmp_path / "empty")), SERVICE).lake.open(*PATH)
