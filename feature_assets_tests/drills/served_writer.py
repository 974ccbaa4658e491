"""One server of the drill with several: records answers and says up to which one all are written.

    python -m feature_assets_tests.drills.served_writer ROOT NUMBER ANSWERS

It prints a line of JSON after each flush: how many answers had been recorded before it, and whether all were written.
With a bound as fourth argument no file grows beyond so many bytes, as on a full disk, until the last flush.
"""

import sys
from contextlib import nullcontext

import msgspec
import pyarrow as pa

from feature_assets.clock import SystemClock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.offline.lake import Lake
from feature_assets.serving.served_log import ServedLog, ServedLogOptions
from feature_assets_tests.answers import answer_of
from feature_assets_tests.drills.full_disk import at_most
from feature_assets_tests.histories import SOURCE, view_of

VIEW = view_of("w", {"k": pa.int64()}, {"x": pa.float64()})
SERVICE = FeatureService("it", [VIEW])
PROJECT = Project("test", sources=[SOURCE], views=[VIEW], services=[SERVICE])
ROWS = 5


def serve(root: str, number: str, answers: int, bound: int | None) -> None:
    """Record `answers` answers, flushing now and then."""
    options = ServedLogOptions(flush_rows=7 * ROWS, flush_seconds=3600.0, queue_rows=10**6)
    with ServedLog(Lake(root), PROJECT, SystemClock(), options, target="memory") as log:
        with nullcontext() if bound is None else at_most(bound):
            for turn in range(answers):
                values = {"w__x": [turn + row / 10 for row in range(ROWS)]}
                log.record(answer_of(SERVICE, {"k": range(ROWS)}, values), f"{number} {turn}")
                if turn % 20 == 19:
                    _say(turn + 1, log.flush())
        _say(answers, log.flush())


def _say(recorded: int, written: bool) -> None:
    sys.stdout.buffer.write(msgspec.json.encode((recorded, written)) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
