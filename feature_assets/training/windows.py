"""The point-in-time lookup of a view of aggregates: for each row of the spine, its windows as of its instant.

Invariant: a value is the aggregate of exactly the records that were visible at the question's instant by the mode's
rule, whatever the parts in which the records are read: states of windows are merged across parts, which is exact.
Every row has an answer: of a key without records it is that of an empty window, as it is online.

It orchestrates: availability comes from `history` and `modes`, states from the window kernels, bytes from the tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.extremes import IntegerExtreme, Newest
from feature_assets.compute.aggregates.layout import Layout, Use, layout_of
from feature_assets.compute.aggregates.slot import Ints, Records, Slot
from feature_assets.compute.coding import key_codes
from feature_assets.compute.kernels import Boundary
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.compute.windows import (
    Cells,
    Questions,
    Reach,
    Spanned,
    Visibility,
    empty_cells,
    finished,
    together,
    wanted_by,
    window_cells,
)
from feature_assets.definition.view import FeatureRef
from feature_assets.offline.availability import Provenance
from feature_assets.training.answer import WEAKEST_FIRST
from feature_assets.training.history import ViewState
from feature_assets.training.memory import Part
from feature_assets.training.modes import Mode
from feature_assets.training.point_in_time import (
    NOTHING,
    AskedKeys,
    Looked,
    Seen,
    integers,
    micros,
    seen_rows,
    versions_looked_at,
)
from feature_assets.training.spine import Spine, as_instants
from feature_assets.training.window_parts import Group

_WEAKNESS: Final = "\0weakness"
"""A name that no column can have: names are identifiers."""
_NEWEST: Final = Newest(None)
_WEAKEST: Final = IntegerExtreme(_WEAKNESS, greatest=True)


@dataclass(frozen=True, slots=True)
class Windowed:
    """What is asked of a view: features, and where they come from.

    Where they come from is about all that the view's windows look at, whichever of them are asked for.
    """

    layout: Layout
    uses: tuple[Use, ...]
    reach: Reach
    wanted: dict[Slot[Any], list[Spanned]] = field(repr=False)

    @classmethod
    def of(cls, refs: Sequence[FeatureRef]) -> "Windowed":
        """The features of references to one view."""
        layout = layout_of(refs[0].view)
        names = {feature.name for ref in refs for feature in ref.selected}
        uses = tuple(use for use in layout.uses if use.feature.name in names)
        reach = Reach(tuple(dict.fromkeys(use.window for use in layout.uses)))
        wanted = wanted_by(uses, layout.slots)
        for slot in (_NEWEST, _WEAKEST):
            wanted.setdefault(slot, []).append(reach)
        return cls(layout, uses, reach, wanted)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the view that are read."""
        return tuple(dict.fromkeys(one for slot in self.wanted for one in slot.columns if one != _WEAKNESS))


@dataclass(frozen=True, slots=True)
class _Answers:
    """The features and the origin of some questions, in their order."""

    features: list[pa.Array]
    newest: Ints
    weakness: Ints


def windows_looked_up(
    state: ViewState,
    refs: Sequence[FeatureRef],
    spine: Spine,
    *,
    mode: Mode,
    groups: Sequence[Group],
    boundary: Boundary = "closed",
    tick: Callable[[], None] = lambda: None,
) -> list[Looked]:
    """Look up all references to one view of aggregates together. `tick` is called after each part."""
    lookup = _Lookup(state, Windowed.of(refs), AskedKeys.of(refs, spine), mode, boundary, tick)
    bucket = lookup.bucket if len(groups) > 1 else np.zeros(0, np.int64)
    answers, places = [], []
    for group in groups:
        mine = (
            np.arange(len(lookup.asked.as_of))
            if group.buckets is None
            else np.flatnonzero(np.isin(bucket, np.array(group.buckets)))
        )
        answers.append(lookup.answers(group, mine))
        places.append(mine)
    return _split(lookup.windowed, _joined(answers, places), refs, len(spine.as_of))


@dataclass(frozen=True)
class _Lookup:
    state: ViewState
    windowed: Windowed
    asked: AskedKeys
    mode: Mode
    boundary: Boundary
    tick: Callable[[], None]

    @cached_property
    def bucket(self) -> Ints:
        """The bucket of each question's key."""
        names = self.state.view.entity.key_names
        table = pa.table(self.asked.keys, names=list(names))
        return np.asarray(buckets_of(encoded_keys(table, names), self.state.pin.buckets)).astype(np.int64)

    def answers(self, group: Group, mine: Ints) -> _Answers:
        """The answers to some questions, from all parts of their group."""
        wanted, as_of = self.windowed.wanted, self.asked.as_of[mine]
        keys = [column.take(pa.array(mine)) for column in self.asked.keys] if group.buckets else self.asked.keys
        cells: Cells | None = None
        for part in group.parts:
            # A call, so that nothing of one part is held while the next is read.
            cells = self._with_part(cells, part, keys, as_of)
            if len(group.parts) > 1:
                # What the allocator keeps for later would be added to what the next part takes.
                pa.default_memory_pool().release_unused()
            self.tick()
        cells = empty_cells(wanted, len(as_of)) if cells is None else cells
        features = [self._feature(use, cells, as_of) for use in self.windowed.uses]
        reach = self.windowed.reach
        return _Answers(features, cells[_NEWEST, reach], cells[_WEAKEST, reach])

    def _feature(self, use: Use, cells: Cells, as_of: Ints) -> pa.Array:
        return finished(use, self.windowed.layout.slots, cells, as_of).values

    def _with_part(self, before: Cells | None, part: Part, keys: list[pa.ChunkedArray], as_of: Ints) -> Cells | None:
        """The cells, with the records of one more part."""
        state, wanted = self.state, self.windowed.wanted
        versions = versions_looked_at(state, self.mode)
        rows = seen_rows(state, versions, part, self.windowed.columns, self.mode)
        if not rows.table.num_rows:
            return before
        codes = key_codes([rows.table.column(key) for key in state.view.entity.key_names], keys)
        records = _records(rows, self.windowed.columns)
        visibility = Visibility(codes.rows, rows.available_at, rows.superseded_at)
        concerned = self._concerned(codes.questions, as_of, records, visibility)
        if not len(concerned):
            return before
        asked = Questions(codes.questions[concerned], as_of[concerned], self.boundary)
        found = window_cells(wanted, records, visibility, asked)
        if len(concerned) < len(as_of):
            found = {pair: _spread(*pair, cells, concerned, len(as_of)) for pair, cells in found.items()}
        return found if before is None else {pair: together(pair[0], before[pair], found[pair]) for pair in found}

    def _concerned(self, key: Ints, as_of: Ints, records: Records, seen: Visibility) -> Ints:
        """The questions that a part can have something for."""
        start = self.windowed.reach.spans(as_of)[0][:, 0]
        some = (key >= 0) & (start <= records.event_at.max()) & (as_of >= seen.available_at.min())
        return np.flatnonzero(some)


def _records(rows: Seen, columns: Sequence[str]) -> Records:
    simulated = np.full(len(rows.version), Provenance.SIMULATED, np.int8)
    provenance = simulated if rows.provenance is None else rows.provenance
    # The order of strength, from the strongest on.
    weakness = np.zeros(len(WEAKEST_FIRST), np.int64)
    weakness[list(WEAKEST_FIRST)] = np.arange(len(WEAKEST_FIRST))[::-1]
    taken = {name: _whole(rows.table.column(name)) for name in columns}
    taken[_WEAKNESS] = pa.array(weakness[provenance])
    return Records(taken, micros(rows.table.column("event_at")), integers(rows.table.column("sequence")))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _spread(slot: Slot[Any], window: Spanned, cells: Any, questions: Ints, total: int) -> Any:  # noqa: ANN401 - the slot's cells
    """The cells of some questions among all, the others empty."""
    place = np.zeros((total, window.count), np.int64)
    place[questions] = 1 + np.arange(len(questions) * window.count).reshape(-1, window.count)
    return slot.take(slot.concat([slot.empty(1), cells]), place.ravel())


def _joined(answers: Sequence[_Answers], places: Sequence[Ints]) -> _Answers:
    """The answers of all groups, in the order of the questions."""
    if len(answers) == 1:
        return answers[0]
    order = np.argsort(np.concatenate(places), kind="stable")
    features = [
        pa.concat_arrays(list(several)).take(pa.array(order))
        for several in zip(*(one.features for one in answers), strict=True)
    ]
    newest, weakness = (
        np.concatenate([getattr(one, name) for one in answers])[order] for name in ("newest", "weakness")
    )
    return _Answers(features, newest, weakness)


def _split(windowed: Windowed, answers: _Answers, refs: Sequence[FeatureRef], rows: int) -> list[Looked]:
    """Give each reference its questions' answers."""
    by_name = {use.feature.name: values for use, values in zip(windowed.uses, answers.features, strict=True)}
    nothing = answers.newest == _NEWEST.identity
    # In the order of weakness, the strongest first.
    codes = np.array(WEAKEST_FIRST[::-1], np.int8)
    provenance = np.where(nothing, np.int8(NOTHING), codes[np.where(nothing, 0, answers.weakness)])
    event_at = pa.array(np.where(nothing, 0, answers.newest), mask=nothing).cast(as_instants(answers.newest[:0]).type)
    looked = []
    for index, ref in enumerate(refs):
        first = index * rows
        features = {one.name: pa.chunked_array([by_name[one.name].slice(first, rows)]) for one in ref.selected}
        origin = pa.chunked_array([event_at.slice(first, rows)])
        mine = provenance[first : first + rows]
        looked.append(Looked(ref, features, origin, mine, np.zeros(rows, np.bool_)))
    return looked
