"""What the source positions of a view version's table are positions in: a property of the table.

Invariant: positions of two versions are compared only if both tables say the same; what does not say is comparable
with nothing. A later version of a view may read other sources, whose commits are counted anew. It counts nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from deltalake import DeltaTable

from feature_assets.clock import duration_us
from feature_assets.definition.view import FeatureView
from feature_assets.offline.lake import Lake

COUNTED_IN = "feature_assets.source_positions"
"""The table property."""


class Counted(Protocol):
    """The table of a view version."""

    def counted_in(self) -> str | None:
        """What its source positions are counted in; None if it does not say."""


def counted_in(view: FeatureView) -> str:
    """What the positions of a view as the code has it are counted in.

    One source counts its commits. Of several, positions are added up, each over the days that the lookback reaches.
    """
    names = sorted(source.name for source in view.sources)
    return names[0] if len(names) == 1 else f"{'+'.join(names)} over {duration_us(view.lookback)} us"


def is_comparable(version: Counted, before: Counted) -> bool:
    """Whether source positions of the one mean in the other what they mean in it: else nothing can be inherited."""
    own = version.counted_in()
    return bool(own) and own == before.counted_in()


def properties(said: str) -> dict[str, str | None]:
    """What a table is made with, to say it."""
    return {COUNTED_IN: said} if said else {}


def said_by(handle: DeltaTable) -> str | None:
    """What a table says."""
    found: str | None = handle.metadata().configuration.get(COUNTED_IN)
    return found


def kept(lake: Lake, parts: Sequence[str], handle: DeltaTable, said: str) -> DeltaTable:
    """A handle on the table, which says it now: one that was made before tables did is told."""
    if not said or said_by(handle) is not None:
        return handle
    before = handle.version()
    with lake.faults(*parts):
        handle.alter.set_table_properties({COUNTED_IN: said}, raise_if_not_exists=False)
    lake.sync_log(*parts, after=before - 1)
    return lake.open(*parts)
