"""What is to be written to the log of one service: rows that gather, and batches whose append is due or has failed.

Invariant: rows are appended in the order in which they were gathered, each batch as a whole and once: after an append
that failed, the table is asked whether the batch is there after all. While appends fail, rows gather on, and attempts
are further and further apart.
It knows no threads: one at a time uses it.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.service import FeatureService
from feature_assets.errors import OfflineError
from feature_assets.offline.lake import Lake
from feature_assets.offline.served_columns import LOGGED_AT
from feature_assets.offline.served_table import ServedTable
from feature_assets.serving.served_rows import Recorded, ServedRows

LONGEST_PAUSE_S = 60.0
"""Between two attempts to write to a lake that fails."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an attempt did: how many rows are durable by it, or given up, or neither. `logged_at`: of the newest."""

    logged: int = 0
    failed: int = 0
    logged_at: datetime | None = None
    error: str = ""


@dataclass(slots=True)
class _Batch:
    """`again`: an attempt has failed, and may have done it after all."""

    rows: pa.Table
    again: bool = False


class ServedBatches:
    """The rows of one service on their way to the log. `rate`: which share of its entities is logged."""

    def __init__(
        self,
        lake: Lake,
        service: FeatureService,
        *,
        target: str,
        rate: float,
        flush_rows: int,
        flush_seconds: float,
    ) -> None:
        self._maker = ServedRows(service, target, rate)
        self._table = ServedTable(lake, service)
        self._flush_rows = flush_rows
        self._flush_seconds = flush_seconds
        self._gathering: list[pa.Table] = []
        self._gathered_rows = 0
        self._since = 0.0
        self._batch_id = ""
        self._batches: deque[_Batch] = deque()
        self._failures = 0
        self._retry_at = 0.0
        self._known_seq = 0

    @property
    def waiting(self) -> int:
        """How many rows are not written yet."""
        return self._gathered_rows + sum(int(batch.rows.num_rows) for batch in self._batches)

    @property
    def due_at(self) -> float:
        """When the next append is due, on the monotonic clock."""
        if self._batches:
            return self._retry_at
        return 0.0 if self._gathered_rows >= self._flush_rows else self._since + self._flush_seconds

    def gather(self, recorded: Sequence[Recorded]) -> int:
        """Take the rows of these answers that are in the sample; returns how many that are."""
        if not self._gathered_rows:
            self._since, self._batch_id = time.monotonic(), uuid4().hex
        rows = self._maker.rows(recorded, self._batch_id)
        if rows.num_rows:
            self._gathering.append(rows)
            self._gathered_rows += rows.num_rows
        return int(rows.num_rows)

    def write(self, *, everything: bool = False) -> Iterator[Written]:
        """Append what is due, or `everything`. Stops at the first failure of the lake."""
        if everything or (self._gathered_rows and time.monotonic() >= self.due_at and not self._batches):
            self._close_batch()
        while self._batches and (everything or time.monotonic() >= self._retry_at):
            written = self._attempt(self._batches[0])
            if written.logged or written.failed:
                self._batches.popleft()
            yield written
            if written.error and not written.failed:
                return

    def _close_batch(self) -> None:
        if self._gathered_rows:
            self._batches.append(_Batch(pa.concat_tables(self._gathering)))
        self._gathering, self._gathered_rows = [], 0

    def _attempt(self, batch: _Batch) -> Written:
        rows = batch.rows.num_rows
        try:
            self._known_seq = self._table.append(batch.rows, after=self._known_seq if batch.again else None)
        except OfflineError as error:
            batch.again = True
            self._failures += 1
            pause = min(LONGEST_PAUSE_S, self._flush_seconds * 2 ** min(self._failures - 1, 16))
            self._retry_at = time.monotonic() + pause
            return Written(error=str(error))
        except Exception as error:  # noqa: BLE001 - another attempt would fail the same way, and the next batch need not
            return Written(failed=rows, error=f"{type(error).__name__}: {error}")
        self._failures, self._retry_at = 0, 0.0
        return Written(logged=rows, logged_at=pc.max(batch.rows.column(LOGGED_AT)).as_py())
