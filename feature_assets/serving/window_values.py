"""Reading the items of a view of aggregates: windows that end at the time of the request, finished from tiles.

Invariant: what is answered is of both sections of an item or of neither; an item that is not there holds no records,
and its windows are empty like those of one whose records have all left them. One that cannot be read leaves the others
as they are.
It reads no store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.layout import Layout
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.tiles import Rings, fits, unpacked, windows
from feature_assets.errors import CodecError
from feature_assets.online.item import Item
from feature_assets.serving.lookup import NO_ROW, Values
from feature_assets.serving.status import Status

Blobs = Sequence[tuple[bytes, bytes]]
"""For each item the rings of its batch and its stream section; empty bytes where it has none."""


@dataclass(frozen=True, slots=True)
class WindowValues:
    """Reads rings of a layout."""

    layout: Layout

    def values(self, items: Sequence[Item], as_of: int | Ints) -> Values:
        """The features over each item's windows, as of `as_of`: one instant for all, or one for each."""
        blobs = [(_batch(item), _stream(item)) for item in items]
        bad: list[int] = []
        reason = ""
        try:
            sections = self._sections(blobs)
        except CodecError as error:
            reason = str(error)
            bad = [place for place, both in enumerate(blobs) if not self._is_readable(both)]
            skipped = frozenset(bad)
            sections = self._sections([both for place, both in enumerate(blobs) if place not in skipped])
        known = np.delete(np.arange(len(items)), bad)
        finished = windows(sections, np.broadcast_to(as_of, len(items))[known])
        codes, row = np.full(len(items), Status.ERROR.code), np.full(len(items), NO_ROW)
        codes[known], row[known] = Status.PRESENT.code, np.arange(len(known))
        names = [use.feature.name for use in self.layout.uses]
        columns: dict[str, pa.Array] = {name: one.values for name, one in zip(names, finished, strict=True)}
        overflow = {name: one.overflow for name, one in zip(names, finished, strict=True) if one.overflow.any()}
        fitting = sum(any(both) and all(fits(self.layout, one) for one in both) for both in blobs) if bad else 0
        return Values(columns, row, codes, overflow, len(bad), fitting, reason)

    def _sections(self, blobs: Blobs) -> list[Rings]:
        """The batch sections, and the stream sections if there are any."""
        batch, streams = [one for one, _ in blobs], [one for _, one in blobs]
        return [unpacked(self.layout, each) for each in (batch, streams) if each is batch or any(each)]

    def _is_readable(self, both: tuple[bytes, bytes]) -> bool:
        try:
            self._sections([both])
        except CodecError:
            return False
        return True


def _batch(item: Item) -> bytes:
    return b"" if item.batch is None or item.batch.row is None else item.batch.row.values


def _stream(item: Item) -> bytes:
    return b"" if item.streams is None else item.streams.state
