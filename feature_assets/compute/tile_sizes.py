"""How large a ring may become, from the definition alone.

Invariant: a view whose rings could outgrow what a store takes is refused before anything is computed, and never found
out about by an entity that is busier than the others.

What a cell takes is a slot's own knowledge (`Slot.max_bytes`). Where it says nothing it is `PER_NUMBER` for each number
of an additive slot: enough for every sum of integers, and for sums of doubles that lie within a factor of 2**64 of each
other; more is possible, and met when it is written (`ItemTooLargeError`). An object slot is taken to be small for each
tile, or, where it is `pruned`, for the whole item.
"""

from typing import Any, Final

from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.slot import Slot
from feature_assets.compute.tile_codec import CHECK_BYTES, header_of
from feature_assets.compute.tile_rolling import tile_capacity
from feature_assets.definition.view import FeatureView
from feature_assets.errors import DefinitionError

LARGEST: Final = 380_000
"""DynamoDB takes items of 400 KB; the rest is for keys, cuts and the like."""
PER_NUMBER: Final = 20
"""153 bits: 64 of the factor, 53 of the mantissa, 31 for 2**31 records, and the sign."""
PER_EXTREME: Final = 9
"""A number of 64 bits and a bit that says whether it is there."""
PER_OBJECT: Final = 64
PRUNED: Final = 4096
PER_START: Final = 4


def size_bound(layout: Layout) -> int:
    """How many bytes a ring has at most; see above for what is taken for granted."""
    tiles = tile_capacity(layout)
    return _fixed(layout, tiles) + sum(_bound(slot, tiles) for slot in layout.slots)


def require_small(view: FeatureView) -> None:
    """Refuse a view of aggregates whose rings could have more than `LARGEST` bytes. Raises `DefinitionError`."""
    if not view.aggregates:
        return
    layout = layout_of(view)
    total, tiles = size_bound(layout), tile_capacity(layout)
    if total <= LARGEST:
        return
    worst = max(layout.uses, key=lambda use: sum(_bound(layout.slots[slot], tiles) for slot in use.slots))
    share = sum(_bound(layout.slots[slot], tiles) for slot in worst.slots)
    raise DefinitionError(
        f"{view.place}: FeatureView {view.name!r}: an item could have {total:,} bytes, of at most {LARGEST:,}: "
        f"{tiles:,} tiles, of which aggregate {worst.aggregate.name!r} takes {share:,} bytes",
        hint="give its windows longer hops (a window's default is a twelfth or less), shorten the windows, "
        "lower k, bound or precision, or move aggregates to a view of their own",
    )


def _fixed(layout: Layout, tiles: int) -> int:
    return header_of(layout).itemsize + CHECK_BYTES + PER_START * (tiles + len(layout.levels))


def _bound(slot: Slot[Any], tiles: int) -> int:
    if slot.max_bytes is not None:
        return slot.max_bytes * tiles
    if slot.kind == "additive":
        return PER_NUMBER * int(slot.empty(1).values.shape[1]) * tiles
    if slot.kind == "extreme":
        return PER_EXTREME * tiles
    is_pruned = type(slot).pruned is not Slot.pruned
    return min(PRUNED, PER_OBJECT * tiles) if is_pruned else PER_OBJECT * tiles
