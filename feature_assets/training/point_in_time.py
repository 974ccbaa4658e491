"""The point-in-time lookup of one view: for each row of the spine, the greatest feature row visible at its instant.

Invariant: exactly one answer per question, whatever the parts in which the feature rows are looked at; a value in it
was visible at the question's instant by the mode's rule.
It orchestrates: availability comes from `history` and `modes`, the choice from the kernel, the bytes from the tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import OPEN, duration_us
from feature_assets.compute.coding import key_codes
from feature_assets.compute.kernels import NO_ROW, Boundary, Matches, latest_visible
from feature_assets.definition.view import FeatureRef
from feature_assets.offline.availability import Provenance, Timeline
from feature_assets.offline.versions import Version
from feature_assets.training.history import ViewState
from feature_assets.training.memory import Part
from feature_assets.training.modes import AsServed, Mode, WhatIf, modelled_availability
from feature_assets.training.spine import Spine

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]

_NEVER = np.int64(OPEN)
NOTHING: int = -1
"""In `Looked.provenance`: nothing was visible."""
_PROVENANCE = "\0provenance"
"""A name that no column can have: names are identifiers."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one reference got, one entry per row of the spine.

    `features`: by name, null where nothing was visible or the winner had expired. `event_at`: of the winner, expired or
    not. `provenance`: `Provenance` codes, `NOTHING` where nothing was visible.
    """

    ref: FeatureRef
    features: dict[str, pa.ChunkedArray]
    event_at: pa.ChunkedArray
    provenance: Codes
    expired: Bools


@dataclass(frozen=True, slots=True)
class Seen:
    """Feature rows of one part, and when each was visible. `provenance` None: all of them simulated."""

    table: pa.Table
    version: Ints
    available_at: Ints
    superseded_at: Ints
    provenance: Codes | None


def looked_up(
    state: ViewState,
    refs: Sequence[FeatureRef],
    spine: Spine,
    *,
    mode: Mode,
    parts: Sequence[Part],
    boundary: Boundary = "closed",
    tick: Callable[[], None] = lambda: None,
) -> list[Looked]:
    """Look up all references to one view together. `tick` is called after each part."""
    questions = AskedKeys.of(refs, spine)
    wanted = tuple(dict.fromkeys(feature.name for ref in refs for feature in ref.selected))
    versions = versions_looked_at(state, mode)
    gathered = _Gathered(len(questions.as_of))
    for part in parts:
        # A call, so that nothing of one part is held while the next is read.
        table, matches = _matched(state, seen_rows(state, versions, part, wanted, mode), questions, wanted, boundary)
        gathered.add(table, matches, only=len(parts) == 1)
        del table, matches
        if len(parts) > 1:
            # What the allocator keeps for later would be added to what the next part takes.
            pa.default_memory_pool().release_unused()
        tick()
    return _split(gathered, refs, len(spine.as_of))


def _matched(
    state: ViewState, seen: "Seen", questions: "AskedKeys", wanted: tuple[str, ...], boundary: Boundary
) -> tuple[pa.Table, Matches]:
    """The winners among the rows of one part, and the columns that an answer is taken from."""
    codes = key_codes([seen.table.column(key) for key in state.view.entity.key_names], questions.keys)
    matches = latest_visible(
        key=codes.rows,
        event_at=micros(seen.table.column("event_at")),
        sequence=integers(seen.table.column("sequence")),
        # Sorted by partition first: the number of the version orders as the partition does.
        partition=seen.version,
        available_at=seen.available_at,
        superseded_at=seen.superseded_at,
        spine_key=codes.questions,
        as_of=questions.as_of,
        ttl=None if state.pin.ttl is None else duration_us(state.pin.ttl),
        boundary=boundary,
    )
    return _answer_table(seen, wanted), matches


def versions_looked_at(state: ViewState, mode: Mode) -> tuple[Version, ...]:
    """The versions whose rows can be visible in a mode: what was ever served, or what counts in the end."""
    return state.ever_visible() if isinstance(mode, AsServed) else state.newest()


@dataclass(frozen=True, slots=True)
class AskedKeys:
    """The questions of all references, one reference after the other: so the rows are coded and sorted once for all."""

    keys: list[pa.ChunkedArray]
    as_of: Ints

    @classmethod
    def of(cls, refs: Sequence[FeatureRef], spine: Spine) -> "AskedKeys":
        """The questions of references to one view."""
        columns = zip(*(spine.keys(ref) for ref in refs), strict=True)
        keys = [pa.chunked_array([chunk for one in same for chunk in one.chunks], same[0].type) for same in columns]
        return cls(keys, np.tile(spine.as_of, len(refs)) if len(refs) > 1 else spine.as_of)


def seen_rows(state: ViewState, versions: Sequence[Version], part: Part, wanted: tuple[str, ...], mode: Mode) -> Seen:
    """The rows of one part with their visibility; only the columns that are needed for it are read."""
    place = state.places(versions)
    if isinstance(mode, AsServed):
        extra: tuple[str, ...] = ("bucket", "arrived_at") if _is_simulated(state.timeline, place) else ("bucket",)
    else:
        extra = ("arrived_at",) if isinstance(mode, WhatIf) else ()
    columns = tuple(dict.fromkeys((*state.view.entity.key_names, "event_at", "sequence", *extra, *wanted)))
    table, number = state.table.read_numbered(
        versions, columns=columns, buckets=part.buckets, event_range=part.event_range, ordered=False
    )
    arrived_at = micros(table.column("arrived_at")) if "arrived_at" in extra else None
    if isinstance(mode, AsServed):
        return _served(state.timeline, place, table, number, arrived_at)
    available = modelled_availability(mode, micros(table.column("event_at")), arrived_at)
    return Seen(table, number, available, np.broadcast_to(_NEVER, number.shape), None)


def _served(line: Timeline, place: Ints, table: pa.Table, number: Ints, arrived_at: Ints | None) -> Seen:
    """Visibility by the ledger."""
    bucket = np.asarray(table.column("bucket"))
    if arrived_at is not None:
        resolved = line.resolve(place[number], bucket, arrived_at)
        return Seen(table, number, resolved.available_at, resolved.superseded_at, resolved.provenance)
    # Nothing depends on a row's own arrival: versions and buckets say it all, and there are few of both.
    cell = (place * line.buckets)[number]
    cell += bucket
    ended = bool((line.superseded_at[place] != OPEN).any())
    superseded_at = line.superseded_at.ravel()[cell] if ended else np.broadcast_to(_NEVER, number.shape)
    return Seen(table, number, line.available_at.ravel()[cell], superseded_at, line.provenance.ravel()[cell])


def _is_simulated(line: Timeline, place: Ints) -> bool:
    """Whether some row of these versions is available by a rule that looks at the row's own arrival."""
    modelled = np.isin(line.provenance[place], (Provenance.SIMULATED, Provenance.INHERITED))
    return bool((modelled & (line.available_at[place] != OPEN)).any())


def _answer_table(seen: Seen, wanted: tuple[str, ...]) -> pa.Table:
    simulated = np.int8(Provenance.SIMULATED)
    provenance = np.full(len(seen.version), simulated) if seen.provenance is None else seen.provenance
    return seen.table.select([*wanted, "event_at"]).append_column(_PROVENANCE, pa.array(provenance))


@dataclass(slots=True)
class _Gathered:
    """The winners so far. `place` says for each question which row of the pieces, put one after the other, is its."""

    questions: int
    pieces: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    place: Ints = field(init=False)
    expired: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.place = np.full(self.questions, NO_ROW, np.int64)
        self.expired = np.zeros(self.questions, np.bool_)

    def add(self, table: pa.Table, matches: Matches, *, only: bool) -> None:
        """Take the winners of one part; they beat those of earlier parts. `only`: there is no other part."""
        if only:
            self.pieces, self.place, self.expired = [table], matches.row, matches.expired
            return
        found = np.flatnonzero(matches.row != NO_ROW)
        self.pieces.append(table.take(pa.array(matches.row[found])))
        self.place[found] = self.rows + np.arange(len(found))
        self.expired[found] = matches.expired[found]
        self.rows += len(found)
        if self.rows > 2 * self.questions:
            self._drop_beaten()

    def _drop_beaten(self) -> None:
        """Keep one row per question: so the winners of many parts never take more than a few times the answer."""
        found = np.flatnonzero(self.place != NO_ROW)
        self.pieces = [pa.concat_tables(self.pieces).take(pa.array(self.place[found]))]
        self.rows = len(found)
        self.place[found] = np.arange(len(found))

    def taken(self, names: Sequence[str], questions: slice, *, expired: bool) -> pa.Table:
        """Columns of the winners of some questions; null where there is none or, if not `expired`, it is too old."""
        place = self.place[questions]
        missing = place == NO_ROW
        if not expired:
            missing |= self.expired[questions]
        return pa.concat_tables(self.pieces).select(names).take(pa.array(place, mask=missing))


def _split(gathered: _Gathered, refs: Sequence[FeatureRef], rows: int) -> list[Looked]:
    """Give each reference its questions' answers."""
    looked = []
    for index, ref in enumerate(refs):
        questions = slice(index * rows, (index + 1) * rows)
        names = [feature.name for feature in ref.selected]
        features = gathered.taken(names, questions, expired=False)
        winner = gathered.taken(["event_at", _PROVENANCE], questions, expired=True)
        provenance = winner.column(_PROVENANCE).fill_null(NOTHING)
        looked.append(
            Looked(
                ref,
                {name: features.column(name) for name in names},
                winner.column("event_at"),
                np.asarray(provenance),
                gathered.expired[questions],
            )
        )
    return looked


def micros(column: pa.ChunkedArray) -> Ints:
    """A column of instants as microseconds since the epoch."""
    values: Ints = np.asarray(column.cast(pa.int64()))
    return values


def integers(column: pa.ChunkedArray) -> Ints:
    """A column of integers."""
    values: Ints = np.asarray(column).astype(np.int64, copy=False)
    return values
