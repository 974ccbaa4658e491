"""The ledger: when which write reached which online store, recorded and not modelled.

Invariant: append-only, and a row is written after what it says has happened, with one exception: an `intent` stands
before the first write of its push, so that a push that was killed leaves the start of its interval.
It does not interpret its rows (`availability` does) and is no queue: nothing is ever taken out of it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from feature_assets.clock import Clock, to_us

Kind = Literal["intent", "ack", "range", "serving", "retired"]
"""What a row says, about one view version on one target store:

`intent`: a push of the state at `commit_seq` to `bucket` begins at `sent_at`.
`ack`: by `acked_at`, every entity of `bucket` was at the state of `commit_seq` or a later one.
`range`: by `acked_at`, the records `first..last` of `source_partition` were applied; with `entity`, to that one alone,
    which overrides the rows without: a retry or a replay made it different.
`serving`: from `acked_at` on, this version answers; its state was complete at `commit_seq`.
`retired`: from `acked_at` on, it does not answer any more, and what it held in the store may be gone. A life ends here:
    what a push that was planned before it says afterwards is void, as it was about the life before.
"""


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Times are microseconds since the epoch; `sent_at` is never after, `acked_at` never before the write.

    `life`: how often the version had been retired on the target when the push was planned, or the worker began.
    """

    kind: Kind
    view: str
    version: str
    target: str
    sent_at: int
    bucket: int | None = None
    commit_seq: int | None = None
    source_partition: str | None = None
    first: int | None = None
    last: int | None = None
    entity: bytes | None = None
    acked_at: int | None = None
    provenance: Literal["recorded", "recovered"] = "recorded"
    bootstrap: bool = False
    life: int = 0
    run_id: str = ""


class Ledger(Protocol):
    """Where ledger rows are kept. A position counts appends: it grows, and a pinned one reads the same for ever."""

    def append(self, rows: Sequence[LedgerRow]) -> int:
        """Append all of `rows`, or none of them; durable when this returns. Returns the position that includes them."""

    def rows(
        self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
    ) -> list[LedgerRow]:
        """The rows of a view, narrowed where asked, up to a position. In the order in which they were appended."""

    def head(self) -> int:
        """The position that includes everything appended so far; 0 if nothing was."""


class MemoryLedger:
    """A ledger in memory. For tests and simulations: it dies with its process."""

    def __init__(self) -> None:
        self._appends = 0
        self._rows: dict[str, list[tuple[int, LedgerRow]]] = {}

    def append(self, rows: Sequence[LedgerRow]) -> int:
        if rows:
            self._appends += 1
            for row in rows:
                self._rows.setdefault(row.view, []).append((self._appends, row))
        return self._appends

    def rows(
        self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
    ) -> list[LedgerRow]:
        limit = self._appends if upto is None else upto
        return [
            row
            for position, row in self._rows.get(view, ())
            if position <= limit and version in {None, row.version} and target in {None, row.target}
        ]

    def head(self) -> int:
        return self._appends


def life(rows: Sequence[LedgerRow]) -> int:
    """How often a version was retired on a target, by all of its rows there."""
    return sum(row.kind == "retired" for row in rows)


def valid(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The rows of one target without what was said of an earlier life after its version was retired."""
    lives: dict[str, int] = {}
    kept: list[LedgerRow] = []
    for row in rows:
        now = lives.get(row.version, 0)
        if row.kind == "retired":
            lives[row.version] = now + 1
        if row.kind not in {"ack", "serving", "range"} or row.life == now:
            kept.append(row)
    return kept


def is_serving(rows: Sequence[LedgerRow]) -> bool:
    """Whether a view version answers on a target, by all of its rows there."""
    turns = [row.kind for row in valid(rows) if row.kind in {"serving", "retired"}]
    return turns[-1:] == ["serving"]


def serving_order(rows: Sequence[LedgerRow]) -> list[str]:
    """The versions among `rows` (of one view and target) that ever served, in the order in which they first did."""
    return list(dict.fromkeys(row.version for row in valid(rows) if row.kind == "serving"))


def previous_version(rows: Sequence[LedgerRow], version: str) -> str | None:
    """The version of the view that served before `version` first did (or the last one, if it never did)."""
    order = serving_order(rows)
    before = order[: order.index(version)] if version in order else order
    return before[-1] if before else None


def acked(rows: Sequence[LedgerRow]) -> dict[int, list[int]]:
    """For each bucket, the states acknowledged since the version was last retired, by all of its rows on a target."""
    found: dict[int, list[int]] = {}
    for row in valid(rows):
        if row.kind == "retired":
            found.clear()
        elif row.kind == "ack" and row.bucket is not None and row.commit_seq is not None:
            found.setdefault(row.bucket, []).append(row.commit_seq)
    return found


def streams_caught_up(rows: Sequence[LedgerRow]) -> bool:
    """Whether streams have applied again, since a version was last retired, all that the ledger says was visible.

    By all of its rows on a target. What was visible stays so in every later life, as nobody is answered before this.
    """
    wanted: dict[str, int] = {}
    seen: dict[str, int] = {}
    reached: dict[str, int] = {}
    for row in valid(rows):
        if row.kind == "retired":
            wanted, seen, reached = _furthest(wanted, seen), {}, {}
        elif row.kind == "range" and row.source_partition is not None and row.last is not None:
            here = {row.source_partition: row.last}
            seen = _furthest(seen, here)
            # An exception says nothing of the entities between.
            reached = _furthest(reached, here) if row.entity is None else reached
    return all(reached.get(place, -1) >= last for place, last in wanted.items())


def _furthest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {place: max(one.get(place, -1), other.get(place, -1)) for place in one.keys() | other.keys()}


def retired(view: str, version: str, target: str, clock: Clock, *, run_id: str = "") -> LedgerRow:
    """The row that retires a version on a target. Once it is appended, the next push fills it anew, in a new table."""
    now = to_us(clock.now())
    return LedgerRow(
        kind="retired", view=view, version=version, target=target, sent_at=now, acked_at=now, run_id=run_id
    )
