"""Reading the items of a view of aggregates: windows that end at the time of the request, finished from tiles.

Invariant: what is answered is of both sections of an item or of neither; an item that is not there holds no records,
and its windows are empty like those of one whose records have all left them. One that cannot be read leaves the others
as they are; so does one that was written so much later than the instant asked for that it has forgotten that past.
It reads no store.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.layout import Layout
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.tile_rolling import spare
from feature_assets.compute.tiles import Plan, Rings, fits, unpacked
from feature_assets.errors import CodecError
from feature_assets.online.item import Body
from feature_assets.serving.lookup import NO_ROW, Values
from feature_assets.serving.status import Status

Blobs = tuple[list[bytes], list[bytes]]
"""For each item the ring of its batch section, and that of its stream section; empty bytes where it has none."""


@dataclass(frozen=True, slots=True)
class WindowValues:
    """Reads rings of a layout: the features that are asked for, from the slots that they need."""

    layout: Layout
    names: tuple[str, ...]
    plan: Plan
    slots: frozenset[int]

    @classmethod
    def of(cls, layout: Layout, names: Collection[str]) -> "WindowValues":
        """Of the layout's features those named."""
        uses = [use for use in layout.uses if use.feature.name in names]
        plan = Plan.of(layout, uses)
        return cls(layout, tuple(use.feature.name for use in uses), plan, frozenset(plan.slots))

    def values(self, items: Sequence[Body], as_of: int | Ints) -> Values:
        """The features over each item's windows, as of `as_of`: one instant for all, or one for each."""
        blobs = _blobs(items)
        bad: list[int] = []
        reason = ""
        try:
            sections = self._sections(blobs)
        except CodecError as error:
            reason = str(error)
            bad = [
                place
                for place, (batch, streams) in enumerate(zip(*blobs, strict=True))
                if not self._is_readable(batch, streams)
            ]
            skipped = frozenset(bad)
            batch, streams = ([one for place, one in enumerate(each) if place not in skipped] for each in blobs)
            sections = self._sections((batch, streams))
        codes, row = np.full(len(items), Status.PRESENT.code), np.arange(len(items))
        known = row
        if bad:
            known = np.delete(row, bad)
            codes[bad], row[bad] = Status.ERROR.code, NO_ROW
            row[known] = np.arange(len(known))
        at = as_of if isinstance(as_of, int) else as_of[known]
        finished = self.plan.finished(sections, at)
        past = known[self._is_past(sections, at)]
        if len(past):
            codes[past], row[past] = Status.ERROR.code, NO_ROW
            reason = reason or "an item was written later than the instant asked for; is this machine's clock behind?"
        columns: dict[str, pa.Array] = {name: one.values for name, one in zip(self.names, finished, strict=True)}
        overflow = {name: one.overflow for name, one in zip(self.names, finished, strict=True) if one.overflow.any()}
        fitting = 0
        if bad:
            fitting = sum(
                any(both) and all(fits(self.layout, one) for one in both) for both in zip(*blobs, strict=True)
            )
        return Values(columns, row, codes, overflow, len(bad), fitting, reason)

    def _is_past(self, sections: Sequence[Rings], as_of: int | Ints) -> npt.NDArray[np.bool_]:
        """Which items no longer hold what a window could need that ends so long ago."""
        rolled_at = np.maximum.reduce([rings.rolled_at for rings in sections])
        mask: npt.NDArray[np.bool_] = rolled_at > as_of + spare(self.layout.levels[0].hop)
        return mask

    def _sections(self, blobs: Blobs) -> list[Rings]:
        """The batch sections, and the stream sections if there are any."""
        batch, streams = blobs
        found = [unpacked(self.layout, batch, self.slots)]
        return [*found, unpacked(self.layout, streams, self.slots)] if any(streams) else found

    def _is_readable(self, batch: bytes, streams: bytes) -> bool:
        try:
            self._sections(([batch], [streams]))
        except CodecError:
            return False
        return True


def _blobs(items: Sequence[Body]) -> Blobs:
    batch = [b"" if (one := item.batch) is None or (row := one.row) is None else row.values for item in items]
    return batch, [b"" if (section := item.streams) is None else section.state for item in items]
