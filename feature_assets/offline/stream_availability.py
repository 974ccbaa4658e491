"""When was a record of a log visible? The `range` rows of the ledger in, visibility intervals out. Pure.

Invariant: a record is visible from the acknowledgement of an exception row of its own entity if one covers it, else of
the row of its source partition that covers it; of several, the earliest. Streams only insert: nothing is superseded.
After a version was retired its streams apply everything again, before it answers again: a record that was visible in
an earlier life has been since then.
It does not know windows or reducers, and a record that no row covers is not available yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import OPEN
from feature_assets.offline.availability import Provenance, Resolved
from feature_assets.offline.ledger import LedgerRow, valid

Ints = npt.NDArray[np.int64]
Place = tuple[str, bytes | None]
"""A source partition, and the entity whose exceptions these are; None: the rows that are about every entity."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which row answers for an offset: `row[i]` from `start[i]` up to `start[i + 1]`; -1 is a gap."""

    start: Ints
    row: Ints

    def of(self, offset: Ints) -> Ints:
        """The number of the row that answers for each offset, or -1."""
        rows: Ints = self.row[np.searchsorted(self.start, offset, side="right") - 1]
        return rows


@dataclass(frozen=True, slots=True)
class StreamTimeline:
    """The visibility of every record of the logs that feed a view version on a target. Made by `stream_timeline`."""

    lives: tuple[dict[Place, Coverage], ...]
    acked_at: Ints
    sent_at: Ints
    provenance: npt.NDArray[np.int8]

    def resolve(
        self, *, source_partition: pa.Array | pa.ChunkedArray, offset: Ints, entity: Sequence[bytes]
    ) -> Resolved:
        """Visibility of records, one entry per record; `entity` is each record's encoded key."""
        places = pc.dictionary_encode(_whole(source_partition))
        code, names = np.asarray(places.indices).astype(np.int64), places.dictionary.to_pylist()
        row = np.full(len(offset), -1, np.int64)
        for coverage in self.lives:
            found = _answering(coverage, names, code, offset, entity)
            row = np.where(row >= 0, row, found)
        known = row >= 0
        available, sent = np.full(len(row), OPEN), np.full(len(row), OPEN)
        available[known], sent[known] = self.acked_at[row[known]], self.sent_at[row[known]]
        provenance = np.zeros(len(row), np.int8)
        provenance[known] = self.provenance[row[known]]
        return Resolved(available, np.full(len(row), OPEN), sent, provenance)


def _answering(
    coverage: dict[Place, Coverage], places: list[str], code: Ints, offset: Ints, entity: Sequence[bytes]
) -> Ints:
    """The number of the row of one life that answers for each record, or -1. `code`: the place of each."""
    row = np.full(len(offset), -1, np.int64)
    for number, name in enumerate(places):
        general = coverage.get((name, None))
        if general is not None:
            mine = np.flatnonzero(code == number)
            row[mine] = general.of(offset[mine])
    _override(coverage, row, places, code, offset, entity)
    return row


def _override(
    coverage: dict[Place, Coverage], row: Ints, places: list[str], code: Ints, offset: Ints, entity: Sequence[bytes]
) -> None:
    """Let an entity's exceptions answer for its records; they are few, so this looks at their entities alone."""
    named = sorted({own for _, own in coverage if own is not None})
    if not named:
        return
    index = pc.index_in(pa.array(entity, pa.binary()), value_set=pa.array(named, pa.binary()))
    candidates = np.flatnonzero(np.asarray(index.is_valid()))
    groups = np.asarray(index.fill_null(0))[candidates] * len(places) + code[candidates]
    order = np.argsort(groups, kind="stable")
    groups, candidates = groups[order], candidates[order]
    for start, end in _runs(groups):
        which = int(groups[start])
        own = coverage.get((places[which % len(places)], named[which // len(places)]))
        if own is not None:
            mine = candidates[start:end]
            found = own.of(offset[mine])
            row[mine] = np.where(found >= 0, found, row[mine])


def stream_timeline(rows: Sequence[LedgerRow]) -> StreamTimeline:
    """The timeline of the streams of one view version on one target, from all of its ledger rows there."""
    ranges = [row for row in valid(rows) if row.kind == "range"]
    grouped: dict[int, dict[Place, list[tuple[int, int, int]]]] = {}
    for number, row in enumerate(ranges):
        if row.source_partition is not None and row.first is not None and row.last is not None:
            spans = grouped.setdefault(row.life, {}).setdefault((row.source_partition, row.entity), [])
            spans.append((row.first, row.last + 1, number))
    acked = np.array([OPEN if row.acked_at is None else row.acked_at for row in ranges], np.int64)
    sent = np.array([row.sent_at for row in ranges], np.int64)
    recovered = [Provenance.RECOVERED if row.provenance == "recovered" else Provenance.RECORDED for row in ranges]
    lives = tuple(
        {place: _coverage(spans, acked) for place, spans in grouped[life].items()} for life in sorted(grouped)
    )
    return StreamTimeline(lives, acked, sent, np.array(recovered, np.int8))


def _coverage(spans: list[tuple[int, int, int]], acked_at: Ints) -> Coverage:
    """Paint the spans over one another, the earliest acknowledged last."""
    first, end, number = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    start = np.unique(np.concatenate([[np.iinfo(np.int64).min], first, end]))
    row = np.full(len(start), -1, np.int64)
    lo, hi = np.searchsorted(start, first), np.searchsorted(start, end)
    # Of equal acknowledgements the row that was appended first answers.
    for span in np.lexsort((-number, -acked_at[number])).tolist():
        row[lo[span] : hi[span]] = number[span]
    return Coverage(start, row)


def _runs(groups: Ints) -> list[tuple[int, int]]:
    """The ranges of equal values in a sorted array."""
    if not len(groups):
        return []
    edges = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(groups)], strict=True))


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column if isinstance(column, pa.Array) else column.combine_chunks()
