"""The point-in-time join in bare numpy and pyarrow: what `bench/training_join.py` holds the loader against.

Invariant: it answers as the loader does, column for column, and obeys the same visibility: it opens the same Delta
tables, reads the instants at which commits could be seen from the same ledger, and takes the same columns from the same
files with the same number of threads.

What it is spared is what somebody who knows these tables would leave out: it looks up no verdicts, knows that a commit
reached all buckets at once, that keys are fewer than 65536, that no two rows have the same key and time, that without
corrections rows become available in their order, and that every instant was recorded; it verifies no page and no
footer, keeps within no limit of memory, and makes no digest and no manifest.
It is no part of the product, and no judge of it: that is the oracle of the tests.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq
from deltalake import DeltaTable

Ints = npt.NDArray[np.int64]

KEYS = 1 << 16
"""More keys than there are: so numpy sorts them by radix."""


@dataclass
class Stages:
    """Seconds by stage, added up."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what happens inside to a stage."""
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def rounded(self) -> dict[str, float]:
        """To be read."""
        return {name: round(seconds, 3) for name, seconds in self.seconds.items()}


@dataclass(frozen=True)
class Bare:
    """Where the tables are. `tables`: addresses by view; `ledger`: its address; `target`: the store that counts."""

    tables: Mapping[str, str]
    ledger: str
    target: str
    features: Sequence[str]
    corrected: bool

    def joined(self, spine: pa.Table, stages: Stages) -> pa.Table:
        """The spine with the features, their `event_at` and `availability`, view by view."""
        columns = {name: spine.column(name) for name in spine.column_names}
        at = np.asarray(spine.column("at").cast(pa.int64()))
        found = np.zeros(len(at), np.bool_)
        for view, address in self.tables.items():
            with stages.timed("read"):
                table, acked = self._read(view, address)
            with stages.timed("code"):
                key, asked = _coded(table, spine)
            with stages.timed("search"):
                row = (_searched_corrected if self.corrected else _searched)(table, acked, key, asked, at)
            with stages.timed("take"):
                taken = table.select([*self.features, "event_at"]).take(pa.array(row, mask=row < 0))
                columns |= {f"{view}__{name}": taken.column(name) for name in taken.column_names}
                columns[f"{view}__availability"] = _recorded(row >= 0)
            found |= row >= 0
        return pa.table(columns | {"availability": _recorded(found)})

    def _read(self, view: str, address: str) -> tuple[pa.Table, Ints]:
        """The rows, and by commit when it could be seen."""
        needed = ["tail", "event_at", "sequence", "commit_seq", *self.features]
        needed += ["partition"] if self.corrected else []
        table = pq.read_table(sorted(DeltaTable(address).file_uris()), columns=needed)
        mine = (pds.field("view") == view) & (pds.field("target") == self.target) & (pds.field("kind") == "ack")
        ledger = pds.dataset(DeltaTable(self.ledger).file_uris(), format="parquet")
        acks = ledger.to_table(columns=["pushed_seq", "acked_at"], filter=mine)
        commit = np.asarray(acks.column("pushed_seq"))
        acked = np.zeros(int(commit.max()) + 1, np.int64)
        acked[commit] = np.asarray(acks.column("acked_at").cast(pa.int64()))
        return table, acked


def _recorded(found: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(["recorded"]).take(pa.array(np.zeros(len(found), np.int8), mask=~found))


def _coded(table: pa.Table, spine: pa.Table) -> tuple[Ints, Ints]:
    encoded = table.column("tail").dictionary_encode()
    key = np.asarray(pa.chunked_array([chunk.indices for chunk in encoded.chunks])).astype(np.int64)
    asked = pc.index_in(spine.column("tail"), value_set=encoded.chunk(0).dictionary).fill_null(-1)
    return key, np.asarray(asked).astype(np.int64)


def _sorted(key: Ints, time_of: Ints) -> tuple[Ints, Ints]:
    """The order of (key, time) packed into one integer, and that integer in it. By key first, by radix: quicker."""
    by_key = np.argsort(key.astype(np.uint16), kind="stable")
    packed = (key * _span(time_of) + time_of)[by_key]
    inner = np.argsort(packed, kind="stable")
    return by_key[inner], packed[inner]


def _span(time_of: Ints) -> int:
    """More than any time, in microseconds since the first row's: three years fit, and so do the questions'."""
    return max(int(time_of.max()) + 1, 3 * 366 * 86_400_000_000)


def _searched(table: pa.Table, acked: Ints, key: Ints, asked: Ints, at: Ints) -> Ints:
    """Sort by (key, event_at) once; what is visible of a key is a prefix."""
    event_at = np.asarray(table.column("event_at").cast(pa.int64()))
    start = int(event_at.min())
    order, _ = _sorted(key, event_at - start)
    span = _span(event_at - start)
    visible = (key * span + (acked - start)[np.asarray(table.column("commit_seq"))])[order]
    questions = asked * span + (at - start)
    sort = np.argsort(questions, kind="stable")
    place = np.empty(len(at), np.int64)
    place[sort] = np.searchsorted(visible, questions[sort], side="right") - 1
    found = (place >= 0) & (key[order[place]] == asked)
    return np.where(found, order[place], -1)


def _searched_corrected(table: pa.Table, acked: Ints, key: Ints, asked: Ints, at: Ints) -> Ints:
    """With corrections, what is visible is no prefix: commit by commit, what counts from then on is searched."""
    event_at = np.asarray(table.column("event_at").cast(pa.int64()))
    commit = np.asarray(table.column("commit_seq"))
    day = np.asarray(table.column("partition").dictionary_encode().combine_chunks().indices).astype(np.int64)
    start = int(event_at.min())
    order, packed = _sorted(key, event_at - start)
    span, row = _span(event_at - start), np.full(len(at), -1, np.int64)
    for seq in range(1, len(acked)):
        newest = np.zeros(int(day.max()) + 1, np.int64)
        known = commit <= seq
        np.maximum.at(newest, day[known], commit[known])
        counts = (known & (newest[day] == commit))[order]
        last = seq == len(acked) - 1
        mine = np.flatnonzero((at >= acked[seq]) & (last | (at < acked[min(seq + 1, len(acked) - 1)])))
        ends = order[counts]
        place = np.searchsorted(packed[counts], asked[mine] * span + span - 1, side="right") - 1
        found = (place >= 0) & (key[ends[place]] == asked[mine])
        row[mine] = np.where(found, ends[place], -1)
    return row
