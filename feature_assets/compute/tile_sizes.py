"""How large a ring may become, from the definition alone.

Invariant: a view whose rings could outgrow what a store takes is refused before anything is computed, and never found
out about by an entity that is busier than the others.

What a cell takes is a slot's own knowledge (`Slot.most_bytes`, which also says what is taken for granted: the length of
texts, for one). A slot of objects has cells in the tiles that its own windows look at; of numbers there is one in every
tile. Where all of a slot's windows are suffixes of time, tiles are without what later ones repeat; where one of them
ends earlier, each tile may be as large as any.
"""

from typing import Final

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import ALL_TIME, Layout, Use, layout_of
from feature_assets.compute.tile_codec import CHECK_BYTES, header_of
from feature_assets.compute.tile_rolling import spare, tile_capacity
from feature_assets.definition.view import FeatureView
from feature_assets.errors import DefinitionError

LARGEST: Final = 380_000
"""DynamoDB takes items of 400 KB; the rest is for keys, cuts and the like."""
PER_START: Final = 4


def size_bound(layout: Layout) -> int:
    """How many bytes a ring has at most; see above for what is taken for granted."""
    return _fixed(layout) + sum(_bound(layout, slot) for slot in range(len(layout.slots)))


def require_small(view: FeatureView) -> None:
    """Refuse a view of aggregates whose rings could have more than `LARGEST` bytes. Raises `DefinitionError`."""
    if not view.aggregates:
        return
    layout = layout_of(view)
    total = size_bound(layout)
    if total <= LARGEST:
        return

    def share(use: Use) -> int:
        return sum(_bound(layout, slot) for slot in use.slots)

    worst = max(layout.uses, key=share)
    hint = (
        "give its windows longer hops (a window's default is a twelfth or less), shorten the windows, "
        "lower k, bound or precision, or move aggregates to a view of their own"
    )
    if not all(layout.suffixes[slot] for slot in worst.slots):
        hint += "; its windows with an offset, tumbling or in a series need each tile whole: without them it is less"
    raise DefinitionError(
        f"{view.place}: FeatureView {view.name!r}: an item could have {total:,} bytes, of at most {LARGEST:,}: "
        f"{tile_capacity(layout):,} tiles, of which aggregate {worst.aggregate.name!r} takes {share(worst):,} bytes",
        hint=hint,
    )


def _fixed(layout: Layout) -> int:
    return header_of(layout).itemsize + CHECK_BYTES + PER_START * (tile_capacity(layout) + len(layout.levels))


def _bound(layout: Layout, number: int) -> int:
    slot = layout.slots[number]
    tiles = tile_capacity(layout)
    mine = min(_reached(layout, number), tiles) if slot.kind == "object" else tiles
    # An empty cell takes a byte.
    rest = tiles - mine
    return slot.most_bytes(mine, suffix=layout.suffixes[number], endless=layout.reaches[number] is None) + rest


def _reached(layout: Layout, number: int) -> int:
    """How many tiles there can be that the windows of a slot look at."""
    reach = layout.reaches[number]
    if reach is None:
        return tile_capacity(layout)
    hop = max(duration_us(use.window.hop) for use in layout.uses if number in use.slots)
    total, covered, farthest = 0, 0, reach + spare(hop) + hop
    for level, following in zip(layout.levels, (*layout.levels[1:], layout.levels[-1]), strict=True):
        # Whole blocks of the next level are rolled up at a time.
        unit = level.hop if following.hop == ALL_TIME else following.hop
        within = farthest if level.reach is None else min(level.reach + spare(level.hop) + unit, farthest)
        total += -((covered - within) // level.hop)
        covered = within
    return total
