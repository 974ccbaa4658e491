"""Answers made by hand, for tests of what becomes of them: any values, any statuses, any items behind them.

Invariant: an answer here has the form of one that the reader gives; what it says need not make sense.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from feature_assets.definition.service import FeatureService
from feature_assets.online.item import BatchSection, Item, Row, StreamSection
from feature_assets.serving.answer import Answer, Meta
from feature_assets.serving.request import Request
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import Status

AS_OF = datetime(2024, 3, 2, 12, tzinfo=UTC)


def answer_of(
    service: FeatureService,
    asked: Mapping[str, Sequence[Any] | pa.Array],
    values: Mapping[str, Sequence[Any] | pa.Array],
    *,
    statuses: Mapping[str, Sequence[Status]] | None = None,
    items: Mapping[str, Sequence[Item | None]] | None = None,
    as_of: datetime = AS_OF,
    failures: Mapping[str, str] | None = None,
    version: str | None = "v1",
) -> Answer:
    """An answer to `asked`. Statuses that are left out are PRESENT, or NULL for a null; items are not stored."""
    outputs = {one.name: array_of(values[one.name], one.dtype) for one in service.output_columns}
    rows = len(next(iter(outputs.values())))
    given = {one.name: pa.chunked_array([array_of(asked[one.name], one.dtype)]) for one in service.key_columns}
    codes = {}
    for name, column in outputs.items():
        plain = [Status.PRESENT if valid else Status.NULL for valid in column.is_valid().to_pylist()]
        chosen = plain if statuses is None else statuses.get(name, plain)
        codes[name] = np.array([status.code for status in chosen], np.int8)
    meta = {
        ref.prefix: Meta(version, as_of, as_of, list((items or {}).get(ref.prefix, [Item()] * rows)))
        for ref in service.refs
    }
    schema = pa.schema([(name, column.type) for name, column in outputs.items()])
    asked_with = Request(rows, given)
    return Answer(service.name, as_of, outputs, schema, meta, failures or {}, codes, asked_with, Stages())


def array_of(values: Sequence[Any] | pa.Array, dtype: pa.DataType) -> pa.Array:
    """Values of a type, or what already is of it."""
    return values if isinstance(values, pa.Array) else pa.array(values, dtype)


def item_of(seq: int = 1, n: int = 1, event_at: int | None = 0, fences: Mapping[str, int] | None = None) -> Item:
    """An item of a row; instants in microseconds."""
    row = None if event_at is None else Row(event_at, 0, "2024-03-01", b"")
    streams = None if fences is None else StreamSection(dict(fences), (), b"")
    return Item(seq, BatchSection(n, 5, row), streams)
