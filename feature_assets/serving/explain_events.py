"""The rows of an entity as events: each told once, with whether it counts and why not.

Invariant: a row that stands unchanged in several versions of its day is one event, told of the version that is visible
if one is; two equal rows in one version are two. Every event has exactly one reason.
It reads nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.clock import OPEN, from_us
from feature_assets.offline.availability import PROVENANCE_NAMES
from feature_assets.serving.explain_history import EntityRows
from feature_assets.serving.explain_values import instant, plain_rows
from feature_assets.serving.explanation import Event, Events, Limits, Why

Bools = npt.NDArray[np.bool_]
Spans = Mapping[str, Sequence[tuple[int, int]]]
"""By label the spans of a window: start and end, microseconds."""

_UNSEEN: Final = (
    Why.UNACKNOWLEDGED,
    Why.NOT_AVAILABLE,
    Why.LATE,
    Why.FUTURE,
    Why.SUPERSEDED,
    Why.HELD_BACK,
    Why.UNJUDGED,
)
"""Why a row is not visible: of several versions that hold it, the first of these is told."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One event: the row that it is told of (its place), and what is true of any of the rows that say the same."""

    row: int
    rows: tuple[int, ...]
    visible: bool
    in_item: bool | None
    unseen: Why | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts at an instant. `in_item`: of each row, whether the item holds it; None if there is none to ask.

    `spans`: of the windows; None in a view of rows, of which `winner` is the place of the row that answers, if any, and
    `ttl` how old it may be (microseconds). With an item it decides what counts, else the ledger.
    """

    as_of: int
    in_item: Bools | None
    spans: Spans | None = None
    winner: int | None = None
    ttl: int | None = None

    def windows(self, event_at: int) -> tuple[str, ...]:
        """The windows that cover an instant."""
        spans = self.spans or {}
        return tuple(name for name, each in spans.items() if any(start <= event_at < end for start, end in each))

    def holds(self, event: Judged) -> bool:
        """Whether what answers holds the event, in a window or not."""
        return event.visible if event.in_item is None else event.in_item

    def counts(self, event: Judged, rows: EntityRows) -> bool:
        """Whether the event is in the answer."""
        if self.spans is None:
            return self.winner in event.rows and not self._is_expired(int(rows.event_at[event.row]))
        return self.holds(event) and bool(self.windows(int(rows.event_at[event.row])))

    def why(self, event: Judged, rows: EntityRows) -> Why:
        """The reason."""
        at = int(rows.event_at[event.row])
        if event.unseen is not None:
            return event.unseen
        if event.in_item is False:
            return Why.NOT_IN_ITEM
        if self.spans is not None:
            return Why.COUNTED if self.windows(at) else Why.OUTSIDE
        if self._is_expired(at):
            return Why.EXPIRED
        return Why.COUNTED if self.winner in event.rows else Why.OLDER

    def _is_expired(self, event_at: int) -> bool:
        return self.ttl is not None and self.as_of - event_at > self.ttl


def judged(rows: EntityRows, standing: Standing, columns: Sequence[str]) -> list[Judged]:
    """The events, the newest first."""
    values = [repr(sorted(row.items())) for row in plain_rows(rows.table.select(list(columns)))]
    seen: Counter[tuple[object, ...]] = Counter()
    groups: dict[tuple[object, ...], list[int]] = {}
    for row in rows.newest_first.tolist():
        partition, seq = rows.versions[row]
        same = (partition, int(rows.event_at[row]), int(rows.sequence[row]), values[row] if columns else "")
        groups.setdefault((*same, seen[*same, seq]), []).append(row)
        seen[*same, seq] += 1
    visible = rows.visible(standing.as_of)
    return [_judged(group, rows, standing, visible) for group in groups.values()]


def _judged(group: list[int], rows: EntityRows, standing: Standing, visible: Bools) -> Judged:
    in_item = None if standing.in_item is None else bool(standing.in_item[group].any())
    shown = [row for row in group if visible[row]]
    if shown:
        return Judged(shown[0], tuple(group), visible=True, in_item=in_item, unseen=None)
    reasons = {row: _unseen(row, rows, standing) for row in group}
    row = min(group, key=lambda one: (_UNSEEN.index(reasons[one]), int(rows.available_at[one])))
    return Judged(row, tuple(group), visible=False, in_item=in_item, unseen=reasons[row])


def _unseen(row: int, rows: EntityRows, standing: Standing) -> Why:
    """Why a row is not visible."""
    if not rows.passed[row]:
        return Why.HELD_BACK
    if not rows.judged[row]:
        return Why.UNJUDGED
    if rows.superseded_at[row] <= standing.as_of or rows.replaced[row]:
        return Why.SUPERSEDED
    if standing.in_item is not None and standing.in_item[row]:
        return Why.UNACKNOWLEDGED
    if rows.event_at[row] > standing.as_of:
        return Why.FUTURE
    return Why.LATE if rows.arrived_at[row] > standing.as_of else Why.NOT_AVAILABLE


def events_of(
    found: Sequence[Judged], rows: EntityRows, standing: Standing, columns: Sequence[str], limits: Limits
) -> Events:
    """The events to list: so many of those that count, and so many of those that do not."""
    counts = Counter(standing.why(event, rows).value for event in found)
    left = {True: limits.events, False: limits.events}
    listed: list[Judged] = []
    for event in found:
        counted = standing.counts(event, rows)
        if left[counted] > 0 and event.unseen is not Why.FUTURE:
            left[counted] -= 1
            listed.append(event)
    return Events(
        listed=tuple(event_of(event, rows, standing, columns) for event in listed),
        total=len(found),
        counts=dict(sorted(counts.items())),
        since=rows.since,
        complete=rows.complete,
    )


def event_of(event: Judged, rows: EntityRows, standing: Standing, columns: Sequence[str]) -> Event:
    """One event, in full."""
    row = event.row
    partition, commit_seq = rows.versions[row]
    available_at = int(rows.available_at[list(event.rows)].min())
    at = int(rows.event_at[row])
    return Event(
        event_at=from_us(at),
        sequence=int(rows.sequence[row]),
        arrived_at=instant(int(rows.arrived_at[row])),
        partition=partition,
        commit_seq=commit_seq,
        available_at=instant(available_at),
        superseded_at=instant(int(rows.superseded_at[row])),
        availability=None if available_at == OPEN else PROVENANCE_NAMES[int(rows.provenance[row])],
        visible=event.visible,
        in_item=event.in_item,
        counted=standing.counts(event, rows),
        why=standing.why(event, rows),
        versions=len(event.rows),
        windows=standing.windows(at),
        values=plain_rows(rows.table.select(list(columns)).slice(row, 1))[0] if columns else {},
    )
