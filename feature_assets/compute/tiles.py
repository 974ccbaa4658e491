"""Rings of tiles, for whoever keeps or reads them: made, brought up to date, stored and asked.

Invariant: this is all that other stages need to know of them; how they are made is in `tile_rolling`, what their bytes
are in `tile_codec`, how windows are finished from them in `tile_windows`, how large they may become in `tile_sizes`.
"""

from feature_assets.compute.tile_codec import fits, packed, unpacked
from feature_assets.compute.tile_rolling import (
    SKEW,
    Rings,
    appended,
    earliest,
    empty_rings,
    merged,
    ring_of_records,
    rolled,
    tile_capacity,
)
from feature_assets.compute.tile_sizes import require_small, size_bound
from feature_assets.compute.tile_windows import Plan, windows

__all__ = [
    "SKEW",
    "Plan",
    "Rings",
    "appended",
    "earliest",
    "empty_rings",
    "fits",
    "merged",
    "packed",
    "require_small",
    "ring_of_records",
    "rolled",
    "size_bound",
    "tile_capacity",
    "unpacked",
    "windows",
]
