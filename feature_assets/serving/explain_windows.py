"""Windows and tiles: what a feature of a view of aggregates is over, and what it was merged from.

Invariant: the tiles that are said to be in a window are those that its rule names, by where they start; merged, they
give the feature. Where no item was read they are those that the visible rows make, rolled up for the instant.
It reads no store and no table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from feature_assets.clock import duration_text
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.layout import ALL_TIME, Layout, Use, layout_of
from feature_assets.compute.aggregates.slot import Asked, Ints, Records
from feature_assets.compute.tiles import Plan, Rings, ring_of_records, unpacked
from feature_assets.definition.view import FeatureRef
from feature_assets.definition.window import Window
from feature_assets.online.item import Item
from feature_assets.serving.explain_events import Judged, Standing
from feature_assets.serving.explain_history import EntityRows
from feature_assets.serving.explain_values import instant, plain_values
from feature_assets.serving.explanation import Limits, Span, Tile, WindowOf

Kind = Literal["batch", "stream", "history"]


@dataclass(frozen=True, slots=True)
class Tiled:
    """Tiles of one entity, by section."""

    layout: Layout
    sections: tuple[tuple[Kind, Rings], ...]

    @classmethod
    def of_item(cls, layout: Layout, item: Item) -> "Tiled":
        """The tiles of an item. Raises `CodecError` if its bytes are none of the layout's."""
        blobs: list[tuple[Kind, bytes]] = []
        if item.batch is not None and item.batch.row is not None:
            blobs.append(("batch", item.batch.row.values))
        if item.streams is not None:
            blobs.append(("stream", item.streams.state))
        return cls(layout, tuple((kind, unpacked(layout, [blob])) for kind, blob in blobs))

    @classmethod
    def of_rows(cls, layout: Layout, rows: EntityRows, chosen: Ints, as_of: int) -> "Tiled":
        """The tiles that some rows make."""
        columns = {name: rows.table.column(name).combine_chunks() for name in layout.columns}
        records = Records(columns, rows.event_at, rows.sequence).take(chosen)
        return cls(layout, (("history", ring_of_records(layout, records, np.zeros(len(chosen), np.int64), 1, as_of)),))

    def overflown(self, uses: Sequence[Use], as_of: int) -> dict[str, bool]:
        """By feature, whether a bound was passed."""
        if not self.sections:
            return {}
        found = Plan.of(self.layout, uses).finished([rings for _, rings in self.sections], as_of)
        return {use.feature.name: bool(one.overflow[0]) for use, one in zip(uses, found, strict=True)}

    def starts(self) -> list[int]:
        """Where the tiles start."""
        return [start for _, rings in self.sections for start in rings.starts.tolist()]


def uses_of(ref: FeatureRef) -> tuple[Use, ...]:
    """The features of a reference, as the layout has them; none of a view of rows."""
    names = {feature.name for feature in ref.selected}
    return tuple(use for use in layout_of(ref.view).uses if use.feature.name in names) if ref.view.aggregates else ()


def names_of(uses: Sequence[Use]) -> dict[Window, str]:
    """What the windows are called: by their labels, and where two have the same, also by their hops."""
    windows = dict.fromkeys(use.window for use in uses)
    labels = [window.label for window in windows]
    return {
        one: one.label if labels.count(one.label) == 1 else f"{one.label} by {duration_text(one.hop)}"
        for one in windows
    }


def spans_of(uses: Sequence[Use], as_of: int) -> dict[str, list[tuple[int, int]]]:
    """By name, the spans of each window."""
    return {name: _spans(window, as_of) for window, name in names_of(uses).items()}


def _spans(window: Window, as_of: int) -> list[tuple[int, int]]:
    start, end = window.spans(np.array([as_of], np.int64))
    return list(zip(start[0].tolist(), end[0].tolist(), strict=True))


def earliest_of(layout: Layout, as_of: int) -> int | None:
    """From when on a row can be in any window of the view, in microseconds; None: always."""
    windows = {use.window for use in layout.uses}
    if any(window.size is None for window in windows):
        return None
    return min(start for window in windows for start, _ in _spans(window, as_of))


def window_of(use: Use, name: str, standing: Standing, tiled: Tiled | None, found: "Counted") -> WindowOf:
    """What a feature is over."""
    spans = _spans(use.window, standing.as_of)
    tiles = None if tiled is None else sum(_inside(start, spans) for start in tiled.starts())
    return WindowOf(
        label=name,
        function=use.aggregate.function,
        column=use.aggregate.column,
        hop=use.window.hop.total_seconds(),
        spans=tuple(Span(start=instant(start), end=instant(end)) for start, end in spans),
        tiles=tiles,
        events=found.inside(spans, standing),
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """The events of an entity, to be counted by window. `whole`: whether no day that could matter was left out."""

    events: Sequence[Judged]
    rows: EntityRows | None

    def inside(self, spans: Sequence[tuple[int, int]], standing: Standing) -> int | None:
        """How many of those that count are in some spans."""
        rows = self.rows
        if rows is None or not rows.complete:
            return None
        return sum(standing.holds(one) and _inside(int(rows.event_at[one.row]), spans) for one in self.events)


def _inside(at: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= at < end for start, end in spans)


def tiles_of(uses: Sequence[Use], tiled: Tiled, as_of: int, limits: Limits) -> tuple[tuple[Tile, ...], int]:
    """The tiles to list, the newest first, and how many there are."""
    spans = spans_of(uses, as_of)
    total = sum(int(rings.tiles[0]) for _, rings in tiled.sections)
    found: list[tuple[int, Tile]] = []
    for kind, rings in tiled.sections:
        newest = np.arange(len(rings.starts))[::-1][: limits.tiles]
        states, counts = _states(tiled.layout, uses, rings, newest, as_of), _counts(tiled.layout, uses, rings, newest)
        levels = rings.level
        for number, place in enumerate(newest.tolist()):
            start, hop = int(rings.starts[place]), tiled.layout.levels[int(levels[place])].hop
            of_all_time = hop == ALL_TIME
            tile = Tile(
                section=kind,
                level=int(levels[place]),
                start=None if of_all_time else instant(start),
                end=None if of_all_time else instant(start + hop),
                counts={name: values[number] for name, values in counts.items()},
                states={name: values[number] for name, values in states.items()},
                windows=tuple(name for name, each in spans.items() if _inside(start, each)),
            )
            found.append((start, tile))
    found.sort(key=lambda one: -one[0])
    return tuple(tile for _, tile in found[: limits.tiles]), total


def _states(layout: Layout, uses: Sequence[Use], rings: Rings, tiles: Ints, as_of: int) -> dict[str, list[object]]:
    """By aggregate, what each tile alone would give."""
    found: dict[str, list[object]] = {}
    for use in uses:
        if use.aggregate.name in found:
            continue
        cells = [layout.slots[slot].take(rings.cells[slot], tiles) for slot in use.slots]
        start = np.full(len(tiles), _spans(use.window, as_of)[0][0])
        finished = use.computation.finish(cells, Asked(np.full(len(tiles), as_of), start))
        found[use.aggregate.name] = plain_values(finished.values)
    return found


def _counts(layout: Layout, uses: Sequence[Use], rings: Rings, tiles: Ints) -> dict[str, list[int]]:
    """How many records or values are in each tile, as far as that is kept."""
    needed = {slot for use in uses for slot in use.slots}
    return {
        slot.name: rings.cells[number].values[tiles, 0].tolist()
        for number, slot in enumerate(layout.slots)
        if isinstance(slot, Count) and number in needed
    }
