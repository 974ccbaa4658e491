"""Cells of records that are out of order: each window has candidates, of which some are visible.

Invariant: the cell of a window equals `Slot.lift` of its visible candidates, found one by one or by a tree.

`Candidates` are records by (key, event_at) and, for each window, the places [low, high) of those that it may hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.slot import Additive, Ints, Records, Slot
from feature_assets.compute.windows_loose import Points, Sought, add_sums, greatest_ended, levels, take_greatest
from feature_assets.compute.windows_order import Line, Places
from feature_assets.compute.windows_ranges import chunks, expanded

ONE_BY_ONE = 64
"""Up to so many candidates of a window are looked at one by one; more are asked of a tree."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """`records` in the order of `line`; `key` and `at` of each window's question, and where its candidates are."""

    records: Records
    line: Line
    key: Ints
    at: Ints
    places: Places

    def cells(self, slots: Iterable[Slot[Any]]) -> "LooseCells":
        """The cells of the windows that have many candidates, of all slots that are not of objects."""
        states = {slot: slot.lift(self.records, np.arange(len(self.line)), len(self.line)) for slot in slots}
        many = np.flatnonzero(self.places.high - self.places.low > ONE_BY_ONE)
        found: dict[Slot[Any], Any] = {}
        simple = [slot for slot in states if slot.kind != "object"]
        if len(many) and simple:
            found = _Trees.of(self, many).cells({slot: states[slot] for slot in simple})
        place = np.full(len(self.at), -1, np.int64)
        place[many] = np.arange(len(many))
        return LooseCells(self, states, place, found)


@dataclass(frozen=True, slots=True)
class LooseCells:
    """`states`: of each record alone. `many`: the cells that trees gave; `place`: which one is a window's, or -1."""

    candidates: Candidates
    states: dict[Slot[Any], Any]
    place: Ints
    many: dict[Slot[Any], Any]

    def of(self, slot: Slot[Any], pairs: Ints) -> Any:  # noqa: ANN401 - the slot's cells
        """The cells of some windows."""
        place = self.place[pairs] if slot in self.many else np.full(len(pairs), -1, np.int64)
        cells = self._one_by_one(slot, pairs[place < 0])
        if not (place >= 0).any():
            return cells
        both = slot.concat([cells, self.many[slot]])
        order = np.where(place < 0, np.cumsum(place < 0) - 1, place + int((place < 0).sum()))
        return slot.take(both, order)

    def _one_by_one(self, slot: Slot[Any], pairs: Ints) -> Any:  # noqa: ANN401 - the slot's cells
        line, places, at = self.candidates.line, self.candidates.places, self.candidates.at[pairs]
        low, high = places.low[pairs], places.high[pairs]
        pieces = []
        for part in chunks(np.maximum(high - low, 0)):
            owner, record = expanded(low[part], high[part])
            asked = at[part][owner]
            seen = (line.available_at[record] <= asked) & (asked < line.superseded_at[record])
            mine = slot.take(self.states[slot], record[seen])
            pieces.append(slot.merge(mine, owner[seen], part.stop - part.start))
        return slot.concat(pieces) if pieces else slot.empty(0)


@dataclass(frozen=True, slots=True)
class _Trees:
    """The windows with many candidates, and the records of their keys. `last`: the latest question's instant."""

    line: Line
    kept: Ints
    first: Ints
    sought: Sought

    @classmethod
    def of(cls, given: Candidates, many: Ints) -> "_Trees":
        asked = np.zeros(int(given.line.key[-1]) + 1, np.bool_)
        asked[given.key[many]] = True
        keep = asked[given.line.key]
        moved = np.concatenate(([0], np.cumsum(keep)))
        first, low, high = (moved[part[many]] for part in (given.places.first, given.places.low, given.places.high))
        return cls(
            given.line.only(keep), np.flatnonzero(keep), first, Sought(given.key[many], low, high, given.at[many])
        )

    def cells(self, states: dict[Slot[Any], Any]) -> dict[Slot[Any], Any]:
        """Of slots whose cells are numbers, given the state of each record alone."""
        sums = {slot: state for slot, state in states.items() if slot.kind == "additive"}
        extremes = {slot: state for slot, state in states.items() if slot.kind == "extreme"}
        return {**self._sums(sums), **self._extremes(extremes)}

    def _ended(self) -> npt.NDArray[np.bool_]:
        return self.line.superseded_at <= int(self.sought.at.max())

    def _subset(self, times: Ints) -> tuple[Ints, Ints, Sought, Ints]:
        """Points of which each record has so many: each one's record, place, and the questions in these places."""
        offset = np.concatenate(([0], np.cumsum(times)))
        record = np.repeat(np.arange(len(times)), times)
        fresh = np.append(True, self.line.key[1:] != self.line.key[:-1])
        start = np.flatnonzero(fresh)[np.cumsum(fresh) - 1]
        place = np.arange(len(record)) - offset[start[record]]
        low, high = (offset[end] - offset[self.first] for end in (self.sought.low, self.sought.high))
        some = np.flatnonzero(low < high)
        sought = Sought(self.sought.key[some], low[some], high[some], self.sought.at[some])
        return record, place, sought, some

    def _sums(self, states: dict[Slot[Any], Additive]) -> dict[Slot[Any], Additive]:
        if not states:
            return {}
        record, place, sought, some = self._subset(1 + self._ended())
        again = np.append(False, record[1:] == record[:-1])
        time = np.where(again, self.line.superseded_at[record], self.line.available_at[record])
        sign = np.where(again, -1, 1)[:, None]
        values = {slot: state.values[self.kept[record]] * sign for slot, state in states.items()}
        found = {slot: np.zeros((len(some), one.shape[1]), np.int64) for slot, one in values.items()}
        if len(some):
            for level in levels(Points(self.line.key[record], place, time), sought):
                for slot, one in values.items():
                    add_sums(found[slot], level, one)
        whole = {}
        for slot, state in states.items():
            cells = np.zeros((len(self.first), state.values.shape[1]), np.int64)
            cells[some] = found[slot]
            whole[slot] = Additive(state.base, cells)
        return whole

    def _extremes(self, states: dict[Slot[Any], Any]) -> dict[Slot[Any], Any]:
        if not states:
            return {}
        ranked = {slot: _ranked(state[self.kept], greatest=slot.is_greatest) for slot, state in states.items()}
        best = {slot: np.full(len(self.first), -1, np.int64) for slot in states}
        ended = self._ended()
        record, place, sought, some = self._subset((~ended).astype(np.int64))
        if len(some):
            points = Points(self.line.key[record], place, self.line.available_at[record])
            found = {slot: np.full(len(some), -1, np.int64) for slot in states}
            for level in levels(points, sought):
                for slot, (_, ranks) in ranked.items():
                    take_greatest(found[slot], level, ranks[record], len(ranks))
            for slot, one in found.items():
                best[slot][some] = one
        record, place, sought, some = self._subset(ended.astype(np.int64))
        for slot, (_, ranks) in ranked.items() if len(some) else ():
            one = greatest_ended(
                key=self.line.key[record],
                place=place,
                start=self.line.available_at[record],
                end=self.line.superseded_at[record],
                ranks=ranks[record],
                sought=sought,
            )
            best[slot][some] = np.maximum(best[slot][some], one)
        cells = {}
        for slot, (values, _) in ranked.items():
            cells[slot] = slot.empty(len(self.first))
            known = best[slot] >= 0
            cells[slot][known] = values[best[slot][known]]
        return cells


def _ranked(values: npt.NDArray[Any], *, greatest: bool) -> tuple[npt.NDArray[Any], Ints]:
    """The distinct values from the worst to the best, and the place of each value among them."""
    distinct, inverse = np.unique(values, return_inverse=True)
    if greatest:
        return distinct, inverse
    return distinct[::-1], len(distinct) - 1 - inverse


def candidates(records: Records, line: Line, key: Ints, at: Ints, places: Places) -> Candidates:
    """The candidates among `records`, which `line` orders."""
    ordered = records if line.rows is None else records.take(line.rows)
    return Candidates(ordered, line, key, at, places)
