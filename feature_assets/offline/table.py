"""Which tables of versioned partitions there are: events, refused events, features.

Invariant: whoever names a source or a view gets the same table, with the same order of rows. What such a table does is
in `partitioned.py`; nothing is opened here before it is used.
"""

import pyarrow as pa

from feature_assets.compute.engine import view_schema
from feature_assets.definition.naming import EVENT_AT, LIFECYCLE, SEQUENCE
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.lake import Lake
from feature_assets.offline.partitioned import Commit, PartitionedTable
from feature_assets.offline.snapshot import VERSIONS_SCHEMA
from feature_assets.offline.source_positions import counted_in

__all__ = [
    "REASON",
    "VERSIONS_SCHEMA",
    "Commit",
    "PartitionedTable",
    "dead_letter_table",
    "event_table",
    "feature_table",
    "table_as_stored",
]

REASON = "quarantine_reason"
"""The column of `dead_letter/<source>` that says why a row is there."""


def event_table(lake: Lake, source: BatchSource) -> PartitionedTable:
    """`events/<source>`: the source's columns, the arrival filled."""
    order = (source.event_at, *source.order_by)
    path = ("events", source.name)
    return PartitionedTable(lake, path, source.event_schema, features=False, order=order, event_at=source.event_at)


def dead_letter_table(lake: Lake, source: BatchSource) -> PartitionedTable:
    """`dead_letter/<source>`: what was refused, as it was read, with the reason."""
    schema = source.event_schema.append(pa.field(REASON, pa.string()))
    order = (source.event_at, *source.order_by)
    return PartitionedTable(
        lake, ("dead_letter", source.name), schema, features=False, order=order, event_at=source.event_at
    )


def feature_table(lake: Lake, view: FeatureView, version: str | None = None) -> PartitionedTable:
    """`features/<view>/<version>`; the version of the code if None. By (bucket, keys, event_at, sequence) in a day.

    Another version than the code's has the columns that its table has: the code may declare others by now.
    """
    current = view_version(view)
    path = ("features", view.name, version or current)
    if path[-1] != current and lake.exists(*path):
        return table_as_stored(lake, path)
    order = (*view.entity.key_names, EVENT_AT, SEQUENCE)
    return PartitionedTable(lake, path, view_schema(view), features=True, order=order, counted_in=counted_in(view))


def table_as_stored(lake: Lake, path: tuple[str, ...], *, event_at: str = EVENT_AT) -> PartitionedTable:
    """A table that is there, with the columns that it has. Not to be committed to: it has no order."""
    found = pa.schema(lake.open(*path).schema())
    schema = pa.schema([field for field in found if field.name not in LIFECYCLE])
    return PartitionedTable(lake, path, schema, features="bucket" in found.names, order=(), event_at=event_at)
