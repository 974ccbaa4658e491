"""From answers to rows of the log: which entities are in the sample, and what is kept of each row.

Invariant: an entity (all key columns of a row together) is in the sample always or never, by the hash of its encoded
keys alone: in every process, at every time; a higher rate keeps whom a lower one kept. What is kept are the columns of
the answer as they are: nothing is computed again and nothing converted.
It writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import to_us
from feature_assets.compute.keys import buckets_of, encoded_columns
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import service_version
from feature_assets.offline.served_columns import ServedColumns, meta_column, status_column
from feature_assets.online.item import Item
from feature_assets.serving.answer import Answer, Meta
from feature_assets.serving.status import Status, unknown

PARTS: Final = 1_000_000
"""In how many parts entities are divided by the hash of their keys: a rate is rounded to a whole number of them."""

_STATUSES: Final = pa.array([status.value for status in Status])
_TEXTS: Final = pa.map_(pa.string(), pa.string())

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_Said = tuple[int | None, int | None, int | None, int | None, list[tuple[str, int]] | None]
_UNKNOWN: Final[_Said] = (None, None, None, None, None)


class Recorded(Protocol):
    """An answer that is to be logged, and what was said with it."""

    @property
    def answer(self) -> Answer: ...

    @property
    def request_id(self) -> str: ...

    @property
    def logged_at(self) -> datetime: ...


@dataclass(frozen=True)
class ServedRows:
    """Makes rows of the log of a service. `rate`: which share of its entities; `target`: the store that answered."""

    service: FeatureService
    target: str
    rate: float

    @cached_property
    def columns(self) -> ServedColumns:
        """Those of the log."""
        return ServedColumns.of(self.service)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key columns of a request: what identifies the entity, or the entities together, of a row."""
        return tuple(dict.fromkeys(column for ref in self.service.refs for column in ref.key_columns))

    def rows(self, recorded: Sequence[Recorded], batch: str) -> pa.Table:
        """The rows of these answers whose entities are in the sample, with the columns of `ServedColumns.schema`."""
        answers = [one.answer for one in recorded]
        asked = {
            column: pa.chunked_array([chunk for one in answers for chunk in one.request[name].chunks], dtype)
            for name, column, dtype in self._asked
        }
        kept = np.flatnonzero(self.sampled(asked))
        of = np.repeat(np.arange(len(answers)), [len(answer) for answer in answers])[kept]
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "request_id": _each([one.request_id for one in recorded], of, pa.string()),
            "request_row": pa.array(_places(answers)[kept]),
            "as_of": _each([to_us(answer.as_of) for answer in answers], of, pa.int64()).cast(INSTANT),
            "logged_at": _each([to_us(one.logged_at) for one in recorded], of, pa.int64()).cast(INSTANT),
            "service_version": pa.repeat(service_version(self.service), len(of)),
            "target": pa.repeat(self.target, len(of)),
            "failures": _each([list(answer.failures.items()) for answer in answers], of, _TEXTS),
            "batch": pa.repeat(batch, len(of)),
            **asked,
        }
        failed = np.zeros(len(of), np.bool_)
        for name in self.columns.outputs:
            codes = np.concatenate([answer.codes[name] for answer in answers])[kept]
            failed |= unknown(codes)
            columns[status_column(name)] = _STATUSES.take(pa.array(codes))
            columns[name] = pa.chunked_array([chunk for one in answers for chunk in one.table.column(name).chunks])
        if len(kept) < sum(map(len, answers)):
            place = pa.array(kept)
            for name in (*asked, *self.columns.outputs):
                columns[name] = columns[name].take(place)
        columns["failed"] = pa.array(failed)
        for prefix in self.columns.prefixes:
            columns.update(_meta_columns(prefix, [answer.meta[prefix] for answer in answers], kept, of))
        schema = self.columns.schema
        return pa.table([columns[field.name] for field in schema], schema=schema)

    def sampled(self, asked: Mapping[str, pa.ChunkedArray]) -> Bools:
        """Which rows' entities are in the sample; `asked`: what was asked with, by its column in the log."""
        keys = [asked[self.columns.asked[name]] for name in self.keys]
        if self.rate >= 1 or not keys:
            return np.ones(len(next(iter(asked.values()))) if asked else 0, np.bool_)
        kept: Bools = buckets_of(_entities(keys), PARTS) < round(self.rate * PARTS)
        return kept

    @cached_property
    def _asked(self) -> list[tuple[str, str, pa.DataType]]:
        return [(name, column, self.columns.schema.field(column).type) for name, column in self.columns.asked.items()]


def _meta_columns(prefix: str, metas: Sequence[Meta], kept: Ints, of: Ints) -> dict[str, pa.Array]:
    """What the values of a prefix were computed from. `kept`: which rows of all; `of`: the answer of each of those."""
    items: list[Item | None] = []
    for meta in metas:
        # A slice, as that is a list: the rows of an answer are slow to ask for one by one.
        items += meta.items[:]
    if len(kept) < len(items):
        items = [items[row] for row in kept.tolist()]
    n, seq, sent_at, event_at, fences = zip(*map(_said, items), strict=True) if items else ((),) * 5
    happened = pa.array(event_at, pa.int64())
    as_of = np.array([to_us(meta.as_of) for meta in metas], np.int64)[of]
    age = np.maximum(as_of - np.asarray(happened.fill_null(0)), 0)
    complete = [None if meta.complete_through is None else to_us(meta.complete_through) for meta in metas]
    said: dict[str, pa.Array] = {
        "version": _each([meta.version for meta in metas], of, pa.string()),
        "event_at": happened.cast(INSTANT),
        "available_at": pa.array(sent_at, pa.int64()).cast(INSTANT),
        "age_us": pa.array(age, mask=~np.asarray(happened.is_valid())),
        "cut_n": pa.array(n, pa.int64()),
        "cut_fences": pa.array(fences, pa.map_(pa.string(), pa.int64())),
        "seq": pa.array(seq, pa.int64()),
        "complete_through": _each(complete, of, pa.int64()).cast(INSTANT),
    }
    return {meta_column(prefix, what): column for what, column in said.items()}


def _said(item: Item | None) -> _Said:
    """What an item says of itself, as `Meta` has it: n, seq, sent_at, event_at, fences."""
    if item is None:
        return _UNKNOWN
    batch, streams = item.batch, item.streams
    fences = [] if streams is None else list(streams.fences.items())
    if batch is None:
        return 0, item.seq, None, None, fences
    return batch.n, item.seq, batch.sent_at, None if batch.row is None else batch.row.event_at, fences


def _each(values: Sequence[object], of: Ints, dtype: pa.DataType) -> pa.Array:
    """One value per answer, as one per row. `of`: the answer of each row."""
    return pa.array(values, dtype).take(pa.array(of))


def _places(answers: Sequence[Answer]) -> npt.NDArray[np.int32]:
    """The place of each row in its answer."""
    return np.concatenate([np.arange(len(answer), dtype=np.int32) for answer in answers])


def _entities(columns: Sequence[pa.ChunkedArray]) -> list[bytes]:
    """The encoded keys of each row. A row that lacks some has those that it has, and says which."""
    if not columns or not any(column.null_count for column in columns):
        return encoded_columns(columns) if columns else []
    given = [np.asarray(column.is_valid()) for column in columns]
    pattern = np.array(given).T
    entities = [b""] * len(pattern)
    for present in np.unique(pattern, axis=0):
        rows = np.flatnonzero((pattern == present).all(axis=1))
        place = pa.array(rows)
        there = [column.take(place) for column, is_there in zip(columns, present, strict=True) if is_there]
        keys = encoded_columns(there) if there else [b""] * len(rows)
        lacking = b"" if present.all() else bytes(present.tolist())
        for row, key in zip(rows.tolist(), keys, strict=True):
            entities[row] = lacking + key
    return entities
