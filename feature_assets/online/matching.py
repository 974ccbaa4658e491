"""Which rows of a state are of which entities.

Invariant: a row is matched to the one entity that has its key, if there is one; two keys are equal iff all columns are.
It reads no table.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.coding import key_codes

Ints = npt.NDArray[np.int64]


def matched(rows: pa.Table, entities: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, Ints]:
    """The rows that are of some entity, and the place of that entity for each."""
    codes = key_codes([entities[name] for name in keys], [rows[name] for name in keys])
    entity_of = np.full(codes.size, -1, np.int64)
    entity_of[codes.rows] = np.arange(len(entities))
    entity = np.where(codes.questions >= 0, entity_of[codes.questions], -1)
    hit = np.flatnonzero(entity >= 0)
    return rows.take(pa.array(hit)), entity[hit]


def instants(rows: pa.Table) -> Ints:
    """`event_at` in microseconds."""
    return np.asarray(rows["event_at"].cast(pa.int64())).astype(np.int64, copy=False)
