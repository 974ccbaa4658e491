"""Reading the items of a view of aggregates: windows that end at the time of the request, finished from tiles.

Invariant: what is answered is of both sections of an item or of neither; an item that is not there holds no records,
and its windows are empty like those of one whose records have all left them. One that cannot be read leaves the others
as they are; so does one that was written so much later than the instant asked for that it has forgotten that past.
It reads no store.

Much of a read is the same for few items as for many. So views whose features differ in nothing but names, as those of
several entities often do, are read as if they were one.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.layout import Layout
from feature_assets.compute.aggregates.slot import Finished, Ints
from feature_assets.compute.tile_rolling import spare
from feature_assets.compute.tiles import Plan, Rings, fits, unpacked
from feature_assets.errors import CodecError
from feature_assets.online.item import Body
from feature_assets.serving.lookup import NO_ROW, Values
from feature_assets.serving.stages import Stages, ended
from feature_assets.serving.status import Status

_PAST = "an item was written later than the instant asked for; is this machine's clock behind?"


@dataclass(frozen=True, slots=True)
class WindowValues:
    """Reads rings of a layout: the features that are asked for, from the slots that they need.

    `alike`: readings of which it is the same differ in nothing but names.
    """

    layout: Layout
    names: tuple[str, ...]
    plan: Plan
    slots: frozenset[int]
    alike: Hashable

    @classmethod
    def of(cls, layout: Layout, names: Collection[str]) -> "WindowValues":
        """Of the layout's features those named."""
        places = tuple(place for place, use in enumerate(layout.uses) if use.feature.name in names)
        uses = [layout.uses[place] for place in places]
        plan = Plan.of(layout, uses)
        found = tuple(use.feature.name for use in uses)
        return cls(layout, found, plan, frozenset(plan.slots), (layout.shape, places))

    def values(self, items: Sequence[Body], as_of: int | Ints, stages: Stages | None = None) -> Values:
        """The features over each item's windows, as of `as_of`: one instant for all, or one for each."""
        try:
            sections = self._sections(items)
        except CodecError as error:
            return self._values_of_some(items, as_of, str(error))
        ended(stages, "decode")
        found = self._finished(sections, as_of)
        ended(stages, "merge")
        return found

    def _finished(self, sections: Sequence[Rings], as_of: int | Ints) -> Values:
        count = len(sections[0])
        finished, past = self.plan.finished(sections, as_of), self._past(sections, as_of)
        columns, overflow = self._columns(finished)
        return _values(columns, overflow, count, past)

    def _values_of_some(self, items: Sequence[Body], as_of: int | Ints, reason: str) -> Values:
        """Of the items that can be read."""
        readable = np.array([self._is_readable(item) for item in items], np.bool_)
        known = np.flatnonzero(readable)
        at = as_of if isinstance(as_of, int) else as_of[known]
        found = self._finished(self._sections([items[place] for place in known.tolist()]), at)
        codes, row = np.full(len(items), Status.ERROR.code), np.full(len(items), NO_ROW)
        codes[known], row[known] = found.codes, found.row
        unreadable = len(items) - len(known)
        fitting = sum(any(both) and all(fits(self.layout, one) for one in both) for both in map(_both, items))
        return Values(found.columns, row, codes, found.overflow, unreadable, fitting, reason)

    def _columns(self, finished: Sequence[Finished]) -> tuple[dict[str, pa.Array], dict[str, npt.NDArray[np.bool_]]]:
        columns: dict[str, pa.Array] = {name: one.values for name, one in zip(self.names, finished, strict=True)}
        overflow = {name: one.overflow for name, one in zip(self.names, finished, strict=True) if one.overflow.any()}
        return columns, overflow

    def _past(self, sections: Sequence[Rings], as_of: int | Ints) -> Ints:
        """Which items no longer hold what a window could need that ends so long ago."""
        rolled_at = np.maximum.reduce([rings.rolled_at for rings in sections])
        return np.flatnonzero(rolled_at > as_of + spare(self.layout.levels[0].hop))

    def _sections(self, items: Sequence[Body], layouts: Sequence[tuple[Layout, int]] = ()) -> list[Rings]:
        """The batch sections, and the stream sections if there are any."""
        batch = [b"" if (one := item.batch) is None or one.row is None else one.row.values for item in items]
        found = [unpacked(self.layout, batch, self.slots, layouts=layouts)]
        if any(item.streams is not None for item in items):
            streams = [b"" if item.streams is None else item.streams.state for item in items]
            if any(streams):
                found.append(unpacked(self.layout, streams, self.slots, layouts=layouts))
        return found

    def _is_readable(self, item: Body) -> bool:
        try:
            self._sections([item])
        except CodecError:
            return False
        return True


def values_together(
    readings: Sequence[WindowValues], items: Sequence[Sequence[Body]], as_of: int, stages: Stages | None = None
) -> list[Values]:
    """What each of some readings that are alike says of its items."""
    first = readings[0]
    layouts = [(reading.layout, len(mine)) for reading, mine in zip(readings, items, strict=True)]
    try:
        sections = first._sections(list(chain.from_iterable(items)), layouts)  # noqa: SLF001 - its own kind
    except CodecError:
        # One by one, so that the error names the view, and the others are as they are.
        return [reading.values(mine, as_of, stages) for reading, mine in zip(readings, items, strict=True)]
    ended(stages, "decode")
    finished, past = first.plan.finished(sections, as_of), first._past(sections, as_of)  # noqa: SLF001 - likewise
    found, start = [], 0
    for reading, mine in zip(readings, items, strict=True):
        count = len(mine)
        parts = [Finished(one.values.slice(start, count), one.overflow[start : start + count]) for one in finished]
        columns, overflow = reading._columns(parts)  # noqa: SLF001 - likewise
        found.append(_values(columns, overflow, count, past[(past >= start) & (past < start + count)] - start))
        start += count
    ended(stages, "merge")
    return found


def _values(columns: dict[str, pa.Array], overflow: dict[str, npt.NDArray[np.bool_]], count: int, past: Ints) -> Values:
    codes, row = np.full(count, Status.PRESENT.code), np.arange(count)
    if len(past):
        codes[past], row[past] = Status.ERROR.code, NO_ROW
    return Values(columns, row, codes, overflow, reason=_PAST if len(past) else "", whole=not len(past))


def _both(item: Body) -> tuple[bytes, bytes]:
    """The rings of its batch and its stream section; empty bytes where it has none."""
    batch = b"" if item.batch is None or item.batch.row is None else item.batch.row.values
    return batch, b"" if item.streams is None else item.streams.state
