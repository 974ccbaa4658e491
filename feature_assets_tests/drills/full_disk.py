"""Commits while the device takes less and less: every write of a file beyond a bound fails, as on a full disk.

    python -m feature_assets_tests.drills.full_disk ROOT KIND

The bound is the process's limit of the size of a file (the write fails with EFBIG, where a full disk says ENOSPC), so
it stands here, in a process of its own. It prints one line of JSON per attempt: [bound, outcome, head, values].
"""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from feature_assets.errors import StorageFullError
from feature_assets.offline import commit
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets_tests.partitions import feature_rows, speeds, xs

BOUNDS = (0, 100, 500, 1000, 2000, 3000, 5000, 8000, 12000, 20000, 60000)
DAY = "2013-01-01"


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes until the block is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def attempts(root: str, kind: str) -> Iterator[tuple[int, str, int, list[float | None]]]:
    """One commit per bound, each with another value."""
    table = speeds(Lake(root))
    table.commit({DAY: feature_rows(DAY, [0.0])})
    if kind == "checkpoint":
        commit.CHECKPOINT_EVERY = 1
    # The largest file is the one that fails: the data file, or the log entry of a run with a very long name.
    run_id = "x" * 30_000 if kind == "log" else ""
    for number, bound in enumerate(BOUNDS, start=1):
        rows = feature_rows(DAY, [float(number)] * (2000 if kind == "data" else 1))
        with at_most(bound):
            try:
                table.commit({DAY: rows}, run_id=run_id)
                outcome = "acknowledged"
            except StorageFullError:
                outcome = "full"
        yield bound, outcome, table.head(), list(dict.fromkeys(xs(table.read())))


def appended(root: str) -> Iterator[tuple[int, str, int, list[float | None]]]:
    """The same for the ledger."""
    ledger = DeltaLedger(Lake(root))
    for number, bound in enumerate(BOUNDS, start=1):
        row = LedgerRow(kind="intent", view="speeds", version="a", target="sqlite:one", sent_at=number)
        with at_most(bound):
            try:
                ledger.append([row])
                outcome = "acknowledged"
            except StorageFullError:
                outcome = "full"
        sent: list[float | None] = [float(entry.sent_at) for entry in DeltaLedger(Lake(root)).rows(view="speeds")]
        yield bound, outcome, ledger.head(), sent[-1:] or [0.0]


if __name__ == "__main__":
    for attempt in appended(sys.argv[1]) if sys.argv[2] == "ledger" else attempts(*sys.argv[1:3]):
        sys.stdout.buffer.write(msgspec.json.encode(attempt) + b"\n")
