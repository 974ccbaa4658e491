"""Materializing: from a reader to `events/`, from events through a transform to `features/`.

Invariant: one call is one commit per table, or none. What fails (a reader, a transform, a disk) leaves the last good
state, and running the same call again is harmless: what has not changed is not written. What others have committed
meanwhile from a newer state is not superseded: it is read and computed again then (`basis.py`), else once per call.
Verdicts are given in `quality`, the online copy is made in `online`: neither happens here.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa

from feature_assets.clock import Clock, duration_us, to_us
from feature_assets.compute.engine import Period
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.compute.transform import transformed
from feature_assets.crash import crash_point
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.errors import FeatureAssetsError, InputError
from feature_assets.offline.basis import ComputedFrom, ReadFrom, attempted
from feature_assets.offline.ingest import Admitted, admitted, micros, with_known_arrivals
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import (
    REASON,
    Commit,
    PartitionedTable,
    dead_letter_table,
    event_table,
    feature_table,
)
from feature_assets.offline.verdicts import verdicts_of
from feature_assets.offline.versions import newest, to_recommit

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SourceCommit:
    """What was ingested: the commit of `events/<source>`, and how many rows are in `dead_letter/<source>` instead."""

    commit: Commit
    quarantined: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ViewCommit:
    """What was computed: the commit, and each day's rows as `view_schema(view)` with `bucket` (int32) appended.

    `source_seq`: per day the position of its inputs: the greatest commit_seq among the source's partitions that were
    read for it; of several sources, the sum of these, which grows whenever one of them does.
    """

    commit: Commit
    tables: Mapping[str, pa.Table]
    source_seq: Mapping[str, int]


def materialize_source(
    source: BatchSource,
    days: Sequence[date],
    *,
    lake: Lake,
    clock: Clock,
    run_id: str = "",
    progress: Progress | None = None,
) -> SourceCommit:
    """Read the days (UTC, by `event_at`) from the source and commit those that changed, as one commit.

    Rows that cannot enter (see `ingest`) go to `dead_letter/<source>` first. Raises `InputError` and `SchemaError` for
    what the reader returned, and what `PartitionedTable.commit` raises.
    """
    return attempted(lambda: _ingested(source, days, lake, clock, run_id, progress))


def _ingested(
    source: BatchSource, days: Sequence[date], lake: Lake, clock: Clock, run_id: str, progress: Progress | None
) -> SourceCommit:
    table, letters = event_table(lake, source), dead_letter_table(lake, source)
    # Before anything is read: what others commit from now on may be newer.
    bases = [ReadFrom(one.name, _counts(one)) for one in (table, letters)]
    now = clock.now()
    entering: dict[str, pa.Table] = {}
    refused: dict[str, pa.Table] = {}
    reasons: Counter[str] = Counter()
    for first, last in _consecutive(days):
        found = admitted(source, _read(source, first, last, now), _midnight(first), _midnight(last + DAY), now)
        reasons.update(found.reasons.to_pylist())
        for day in _each(first, last):
            entering[day.isoformat()] = _of_day(found.rows, source.event_at, day)
            refused[day.isoformat()] = _of_day(_with_reasons(found), source.event_at, day)
        if progress is not None:
            progress(f"{source.name} read", len(entering), len(set(days)))
    _quarantine(letters, refused, bases[1], run_id)
    if source.arrived_at is None:
        entering = _with_arrivals(source, table, entering)
    crash_point("materialize.before_commit")
    commit = table.commit(entering, run_id=run_id, basis=bases[0])
    crash_point("materialize.after_commit")
    return SourceCommit(commit, sum(reasons.values()), dict(sorted(reasons.items())))


def materialize_view(
    view: FeatureView,
    days: Sequence[date],
    *,
    lake: Lake,
    clock: Clock,  # noqa: ARG001 - part of the call for symmetry: nothing of a view depends on when it is computed
    run_id: str = "",
    progress: Progress | None = None,
    force: bool = False,
    memory_limit: int | None = None,
) -> ViewCommit:
    """Compute the days from the newest events and commit those that changed, as one commit.

    A day whose newest version failed its verdict is committed again even if it did not change, and so is every day if
    `force`. Raises `InputError` if a source was not materialized for a day that is read, `TransformError`, and what
    `PartitionedTable.commit` raises; nothing is committed then.
    """
    wanted = sorted(set(days))
    return attempted(lambda: _computed(view, wanted, lake, run_id, progress, force=force, memory_limit=memory_limit))


def _computed(
    view: FeatureView,
    wanted: Sequence[date],
    lake: Lake,
    run_id: str,
    progress: Progress | None,
    *,
    force: bool,
    memory_limit: int | None,
) -> ViewCommit:
    inputs = [_Input.of(lake, source, view.lookback, wanted) for source in view.sources]
    tables: dict[str, pa.Table] = {}
    source_seq: dict[str, int] = {}
    for day in wanted:
        name = day.isoformat()
        events = {given.source.name: given.events_for(day, view.lookback) for given in inputs}
        rows = transformed(view, events, Period.day(day), memory_limit=memory_limit)
        bucket = buckets_of(encoded_keys(rows, view.entity.key_names), view.buckets)
        tables[name] = rows.append_column(pa.field("bucket", pa.int32()), pa.array(bucket, pa.int32()))
        source_seq[name] = sum(given.position_for(day, view.lookback) for given in inputs)
        if progress is not None:
            progress(f"{view.name} computed", len(tables), len(wanted))
    table = feature_table(lake, view)
    forced = frozenset(tables) if force else _failed(lake, view, table, tables)
    crash_point("materialize.before_commit")
    commit = table.commit(tables, source_seq=source_seq, run_id=run_id, force=forced, basis=_basis(table, inputs))
    crash_point("materialize.after_commit")
    return ViewCommit(commit, tables, source_seq)


@dataclass(frozen=True, slots=True)
class _Input:
    """The events of one source for all days of a call, by event time, and the version that each partition had."""

    source: BatchSource
    events: pa.Table
    event_at: np.ndarray[tuple[int], np.dtype[np.int64]]
    seqs: Mapping[str, int]
    head: int
    versions: PartitionedTable

    @classmethod
    def of(cls, lake: Lake, source: BatchSource, lookback: timedelta, days: Sequence[date]) -> "_Input":
        table = event_table(lake, source)
        versions = table.partition_versions().to_pylist()
        counts = newest((row["partition"], row["commit_seq"]) for row in versions)
        needed = sorted({day for wanted in days for day in _window(source, wanted, lookback)})
        missing = [day for day in needed if day.isoformat() not in counts]
        if missing:
            raise InputError(
                f"source {source.name!r} was not materialized for {missing[0].isoformat()}"
                + (f" and {len(missing) - 1} more days that are read" if len(missing) > 1 else ""),
                hint=f"materialize {source.name!r} for these days first",
            )
        head = max((row["commit_seq"] for row in versions), default=0)
        names = tuple(source.event_schema.names)
        events = table.read(partitions=[day.isoformat() for day in needed], upto=head, columns=names)
        read = {day.isoformat(): counts[day.isoformat()] for day in needed}
        return cls(source, events, micros(events, source.event_at), read, head, table)

    def events_for(self, day: date, lookback: timedelta) -> pa.Table:
        """The events with day - lookback <= event_at < day + 1."""
        start = to_us(_midnight(day))
        low, high = np.searchsorted(self.event_at, [start - duration_us(lookback), start + duration_us(DAY)])
        return self.events.slice(int(low), int(high - low))

    def position_for(self, day: date, lookback: timedelta) -> int:
        """The greatest commit_seq among the partitions that the day is computed from."""
        return max((self.seqs[read.isoformat()] for read in _window(self.source, day, lookback)), default=0)

    def is_same_at(self, number: int) -> bool:
        """Whether the source at that commit has the versions that were read of all days that were."""
        counts = _counts(self.versions, number)
        return all(counts.get(day) == seq for day, seq in self.seqs.items())


def _basis(table: PartitionedTable, inputs: Sequence[_Input]) -> ComputedFrom:
    of = {given.source.name: given for given in inputs}
    heads = {name: given.head for name, given in of.items()}
    return ComputedFrom(table.name, heads, lambda name, number: of[name].is_same_at(number))


def _counts(table: PartitionedTable, upto: int | None = None) -> dict[str, int]:
    """Of each partition the version that counts at a commit."""
    versions = table.partition_versions(upto).to_pylist()
    return newest((row["partition"], row["commit_seq"]) for row in versions)


def _window(source: BatchSource, day: date, lookback: timedelta) -> list[date]:
    """The days of the source that a day of a view is computed from, all of them within the source's own."""
    first = (_midnight(day) - lookback).date()
    last = day if source.end is None else min(day, source.end - DAY)
    return _each(max(first, source.start), last)


def _failed(lake: Lake, view: FeatureView, table: PartitionedTable, wanted: Mapping[str, pa.Table]) -> frozenset[str]:
    failed = verdicts_of(lake).excluded(view.name, view_version(view))
    if not failed:
        return frozenset()
    return to_recommit(wanted, _counts(table), failed)


def _read(source: BatchSource, first: date, last: date, now: datetime) -> object:
    try:
        return source.reader(_midnight(first), _midnight(last + DAY), now)
    except FeatureAssetsError:
        raise
    except Exception as error:
        raise InputError(
            f"source {source.name!r}: its reader raised {type(error).__name__} for {first} to {last}: {error}",
            hint="nothing was ingested; correct the reader or what it reads, then run the step again",
        ) from error


def _quarantine(table: PartitionedTable, refused: Mapping[str, pa.Table], basis: ReadFrom, run_id: str) -> None:
    """Commit what was refused; also that a day which had refused rows has none any more."""
    concerned = {name: rows for name, rows in refused.items() if rows.num_rows or name in basis.counts}
    if concerned:
        table.commit(concerned, run_id=run_id, basis=basis)


def _with_reasons(found: Admitted) -> pa.Table:
    return found.refused.append_column(pa.field(REASON, pa.string()), found.reasons)


def _with_arrivals(source: BatchSource, table: PartitionedTable, days: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Each row that was there before keeps the arrival that it had."""
    names = (*source.event_schema.names, "partition")
    before = table.read(partitions=list(days), columns=names)
    return {
        name: with_known_arrivals(source, rows, before.filter(pa.compute.equal(before.column("partition"), name)))
        for name, rows in days.items()
    }


def _of_day(rows: pa.Table, event_at: str, day: date) -> pa.Table:
    start = to_us(_midnight(day))
    at = micros(rows, event_at)
    return rows.filter(pa.array((at >= start) & (at < start + duration_us(DAY))))


def _consecutive(days: Sequence[date]) -> list[tuple[date, date]]:
    """The days as runs (first, last) without a gap, ascending."""
    runs: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if runs and day == runs[-1][1] + DAY:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _each(first: date, last: date) -> list[date]:
    return [first + DAY * n for n in range((last - first).days + 1)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
