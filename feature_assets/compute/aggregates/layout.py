"""The layout of a view's states: which slots it keeps, over which tiles, and which windows are finished from them.

Invariant: it follows from the view's aggregates alone; two definitions with the same slots and tiles have the same
fingerprint, and bytes of another fingerprint are never read as its own.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import pyarrow as pa

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.slot import Computation, Slot
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.definition.window import Window

FINGERPRINT_BYTES: Final = 4
ALL_TIME: Final = 2**62
"""The hop of the level that is one tile for everything: lifetimes need no more."""


@dataclass(frozen=True, slots=True)
class Level:
    """Tiles of one hop. `reach`: how far back from now windows of this or a finer hop look; None: without end.

    What is further back than that is rolled up into the next level, or dropped from the last.
    """

    hop: int
    reach: int | None


@dataclass(frozen=True, slots=True)
class Use:
    """One feature: an aggregate over one window, finished from these slots (places in the layout's)."""

    feature: Feature
    aggregate: Aggregate
    window: Window
    computation: Computation
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """`name`: of the view, for messages. `reaches`: per slot how far back its windows look (None: without end).

    `suffixes`: per slot, whether all of its windows are. `levels`: from the finest hop to the coarsest. `reach`: of the
    whole view. `shape`: layouts of the same shape are the same but for the names of views, columns and features.
    """

    name: str
    slots: tuple[Slot[Any], ...]
    reaches: tuple[int | None, ...]
    suffixes: tuple[bool, ...]
    levels: tuple[Level, ...]
    uses: tuple[Use, ...]
    fingerprint: bytes
    shape: Hashable

    @property
    def reach(self) -> int | None:
        """How far back anything looks; None: without end."""
        return self.levels[-1].reach

    @property
    def columns(self) -> tuple[str, ...]:
        """The view's columns that are read, each once."""
        return tuple(dict.fromkeys(column for slot in self.slots for column in slot.columns))


@lru_cache(maxsize=1024)
def layout_of(view: FeatureView) -> Layout:
    """The layout of a view of aggregates."""
    dtypes = {column.name: column.dtype for column in view.stored}
    each = [(one, window, computation(one, window, dtypes)) for one in view.aggregates for window in one.windows]
    slots = tuple(dict.fromkeys(slot for _, _, found in each for slot in found.slots))
    place = {slot: number for number, slot in enumerate(slots)}
    uses = tuple(
        Use(feature, one, window, found, tuple(place[slot] for slot in found.slots))
        for feature, (one, window, found) in zip(view.features, each, strict=True)
    )
    of_slot = [[use.window for use in uses if number in use.slots] for number in range(len(slots))]
    levels = _levels([use.window for use in uses])
    return Layout(
        name=view.name,
        slots=slots,
        reaches=tuple(_reach(windows) for windows in of_slot),
        suffixes=tuple(all(window.is_suffix for window in windows) for windows in of_slot),
        levels=levels,
        uses=uses,
        fingerprint=_fingerprint(slots, levels),
        shape=(levels, tuple(type(slot) for slot in slots), tuple(_shape(use, dtypes) for use in uses)),
    )


def _shape(use: Use, dtypes: Mapping[str, pa.DataType]) -> Hashable:
    """All that a feature is computed by, but for names."""
    one = use.aggregate
    columns = [None if name is None else str(dtypes[name]) for name in (one.column, one.over, one.by)]
    parameters = (one.k, one.bound, one.precision, one.percentile, one.accuracy, one.edges, one.half_life, one.scale)
    return (one.function, *columns, *parameters, one.windows.index(use.window), use.window, use.slots)


def _levels(windows: Sequence[Window]) -> tuple[Level, ...]:
    bounded = [window for window in windows if window.size is not None]
    hops = sorted({window.hop for window in bounded})
    levels = [Level(duration_us(hop), _reach([window for window in bounded if window.hop <= hop])) for hop in hops]
    return (*levels, Level(ALL_TIME, None)) if len(bounded) < len(windows) else tuple(levels)


def _reach(windows: Sequence[Window]) -> int | None:
    reaches = [window.reach for window in windows]
    known = [reach for reach in reaches if reach is not None]
    return max(known) if len(known) == len(reaches) else None


def _fingerprint(slots: Sequence[Slot[Any]], levels: Sequence[Level]) -> bytes:
    parts = ([slot.name for slot in slots], [level.hop for level in levels])
    return hashlib.sha256(msgspec.msgpack.encode(parts)).digest()[:FINGERPRINT_BYTES]
