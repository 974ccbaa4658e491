"""What the items of a view hold: the winning row of an entity, or the tiles of its records.

Invariant: it follows from the view's definition alone, so that whoever pushes, reads back or sizes computes the same.
"""

from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.definition.view import FeatureView
from feature_assets.online.codec import ValueCodec
from feature_assets.online.sections import Contents
from feature_assets.online.tile_rings import TileRings
from feature_assets.online.winning_rows import WinningRows


def contents_of(view: FeatureView) -> Contents:
    """What the view's items hold."""
    if view.aggregates:
        return TileRings(view.entity.key_names, layout_of(view))
    return WinningRows(view.entity.key_names, ValueCodec(view.features).pack_table)
