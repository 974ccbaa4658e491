"""What a view's items take and cost online, before and after it is pushed.

Invariant: the bytes are those of real items, packed as a push packs them, from the newest days of the view; prices are
AWS's published on-demand ones at the date given, for orientation. It writes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.keys import encoded_keys
from feature_assets.online.item import BatchSection, Item, Row, pack_item
from feature_assets.online.matching import instants
from feature_assets.online.plan import PushedView
from feature_assets.online.sections import Contents, state_columns

DAYS: Final = 7
"""The newest days whose entities are sized."""
READ_UNIT_BYTES: Final = 4096
"""DynamoDB: one eventually consistent read of up to 4 KB is half a read request unit."""
WRITE_UNIT_BYTES: Final = 1024
"""DynamoDB: one write of up to 1 KB is one write request unit."""
USD_PER_READ_UNIT: Final = 0.125e-6
USD_PER_WRITE_UNIT: Final = 0.625e-6
"""On demand, us-east-1, as published since 1 November 2024."""
_ATTRIBUTE_BYTES: Final = 24
"""The names of the attributes, the sequence number and the expiry that stand beside key and value."""


class Sizeable(Protocol):
    """What sizing reads of a view's history."""

    def read(self, *, partitions: Collection[str] | None = None, columns: tuple[str, ...] | None = None) -> pa.Table:
        """The rows of the newest version per partition."""


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest version of each partition, whatever its verdict: what would be pushed."""

    view: PushedView
    table: Sizeable
    partitions: Sequence[str]

    def read(self, partitions: Sequence[str]) -> pa.Table:
        return self.table.read(partitions=partitions, columns=state_columns(self.view))


class ViewSize(msgspec.Struct, frozen=True, kw_only=True):
    """Items of the entities of the newest `DAYS` days, and what they cost. Units: request units of an item (p95)."""

    entities: int
    bytes_p50: int
    bytes_p95: int
    read_units: float
    write_units: int
    usd_per_million_reads: float
    usd_per_full_push: float


def sized(view: PushedView, table: Sizeable, partitions: Collection[str], contents: Contents) -> ViewSize:
    """The size of a view's items. `partitions`: those that the view has; entities of the newest ones are looked at."""
    state = _Newest(view, table, sorted(partitions))
    newest = state.read(state.partitions[-DAYS:])
    if newest.num_rows == 0:
        return ViewSize(
            entities=0,
            bytes_p50=0,
            bytes_p95=0,
            read_units=0.0,
            write_units=0,
            usd_per_million_reads=0.0,
            usd_per_full_push=0.0,
        )
    keys = list(view.entity.key_names)
    entities = newest.group_by(keys, use_threads=False).aggregate([])
    # As of the newest event: so they were when they were largest.
    rows = contents.rows(state, entities, int(instants(newest).max()))
    items = zip(encoded_keys(entities, keys), rows, strict=True)
    sizes = np.array([_item_bytes(key, b"" if row is None else row.values) for key, row in items])
    p95 = int(np.percentile(sizes, 95))
    read_units = 0.5 * -(-p95 // READ_UNIT_BYTES)
    writes = -(-sizes // WRITE_UNIT_BYTES)
    return ViewSize(
        entities=len(sizes),
        bytes_p50=int(np.percentile(sizes, 50)),
        bytes_p95=p95,
        read_units=read_units,
        write_units=-(-p95 // WRITE_UNIT_BYTES),
        usd_per_million_reads=read_units * USD_PER_READ_UNIT * 1e6,
        usd_per_full_push=float(writes.sum()) * USD_PER_WRITE_UNIT,
    )


def _item_bytes(key: bytes, values: bytes) -> int:
    # Any instant of today packs into as many bytes as any other; the numbers here only stand for real ones.
    row = Row(_INSTANT, 0, "2000-01-01", values)
    return len(key) + len(pack_item(Item(1, BatchSection(_COMMITS, _INSTANT, row)))) + _ATTRIBUTE_BYTES


_INSTANT = 1_700_000_000_000_000
_COMMITS = 100_000
