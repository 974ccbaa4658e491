"""One materializer of the drill with several: counts up, reads the count, computes from it, as often as it is told.

    python -m feature_assets_tests.drills.offline_racer ROOT ROUNDS

The count is kept beside the lake and only grows, so of two readings the later one holds the greater number, and so
does what is computed from it. Now and then it sleeps between reading and committing, as the slower of two would.
"""

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from feature_assets.clock import SystemClock
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView
from feature_assets.errors import OutdatedError
from feature_assets.offline import materialize
from feature_assets.offline.lake import Lake
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets_tests.report_log import FIRST, ReportLog, at
from feature_assets_tests.weather import as_reported, view

LONGEST_SLEEP_S = 0.15


def counted_up(root: str) -> None:
    """One more, whoever else counts: a number is a file that exactly one of them made."""
    number = count_of(root) + 1
    while True:
        try:
            _number(root, number).touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return


def count_of(root: str) -> int:
    """The count as it is now: the numbers are dense."""
    number = 0
    while _number(root, number + 1).exists():
        number += 1
    return number


def _number(root: str, number: int) -> Path:
    return Path(root) / f"count-{number}"


def counter(root: str) -> BatchSource:
    """A source whose one report of the first day is the count."""

    def reader(start: datetime, end: datetime, _now: datetime) -> pa.Table:
        log = ReportLog()
        log.add("JFK", 1, 6.0, float(count_of(root)))
        return log.known(start, end, at(9))

    return ReportLog().source(reader=reader)


def counts(root: str) -> FeatureView:
    """The view of it."""
    return view(as_reported, sources=counter(root))


def race(root: str, rounds: int) -> None:
    """Count, ingest, compute, `rounds` times."""
    lake, chance = Lake(root), random.SystemRandom()

    def sleepy(name: str) -> None:
        if name == "materialize.before_commit" and chance.random() < 0.5:
            time.sleep(chance.uniform(0.0, LONGEST_SLEEP_S))

    vars(materialize)["crash_point"] = sleepy
    for _ in range(rounds):
        counted_up(root)
        _insisted(lambda: materialize_source(counter(root), [FIRST], lake=lake, clock=SystemClock()))
        _insisted(lambda: materialize_view(counts(root), [FIRST], lake=lake, clock=SystemClock()))


def _insisted(step: Callable[[], object]) -> None:
    """The step, again while others are always faster: what whoever started it would do."""
    while True:
        try:
            step()
        except OutdatedError:
            continue
        return


if __name__ == "__main__":
    race(sys.argv[1], int(sys.argv[2]))
