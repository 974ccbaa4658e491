"""Runs that go behind what serves: the process itself, its threads, what it starts; and nobody else."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from feature_assets.orchestration.resources import _give_way
from feature_assets.settings import RunPriority, Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is niceness")

GIVING_WAY = """
import os, subprocess, sys, threading
from pathlib import Path
from feature_assets.priority import give_way
done = threading.Event()
threading.Thread(target=done.wait, daemon=True).start()
give_way()
threading.Thread(target=done.wait, daemon=True).start()
threads = [os.sched_getscheduler(int(one.name)) for one in Path("/proc/self/task").iterdir()]
started = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"], capture_output=True)
group = Path("/proc/self/autogroup")
# A process that began before any session, or in a control group of its own, is in none: then there is nothing to read.
niceness = group.read_text().split()[-1:] if group.exists() else []
assert len(threads) >= 3
print(set(threads), int(started.stdout), *(niceness or ["none"]))
"""


@pytest.mark.parametrize("alone", [True, False])
def test_a_process_gives_way_with_its_threads_and_what_it_starts(*, alone: bool) -> None:
    command = [sys.executable, "-c", GIVING_WAY]
    found = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=alone).stdout
    threads, group = found.rsplit(" ", 2)[:-1], found.split()[-1]
    assert threads == [str({os.SCHED_IDLE}), str(os.SCHED_IDLE)]
    if group != "none":
        # A session that it shares with others stays as it is.
        assert (group == "19") is alone


def _run(settings: Settings, told: Connection) -> None:
    _give_way(settings)
    told.send(os.sched_getscheduler(0))


@pytest.mark.parametrize("priority", RunPriority)
def test_a_run_in_a_process_of_its_own_gives_way_unless_told_not_to(priority: RunPriority) -> None:
    settings, here = Settings(run_priority=priority), os.sched_getscheduler(0)
    heard, told = multiprocessing.Pipe(duplex=False)
    run = multiprocessing.get_context("spawn").Process(target=_run, args=(settings, told))
    run.start()
    assert heard.poll(60)
    assert heard.recv() == (os.SCHED_IDLE if priority is RunPriority.BACKGROUND else here)
    run.join(60)
    # A run in a process that is somebody's own leaves it as it is.
    _give_way(settings)
    assert os.sched_getscheduler(0) == here


def test_a_command_that_runs_something_gives_way(tmp_path: Path) -> None:
    code = "import os, feature_assets.cli.runs as runs; runs._settings(); print(os.sched_getscheduler(0))"
    for priority, policy in (("background", os.SCHED_IDLE), ("normal", os.sched_getscheduler(0))):
        environment = {**os.environ, "FEATURE_ASSETS_RUN_PRIORITY": priority, "FEATURE_ASSETS_ROOT": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
        assert int(done.stdout) == policy
