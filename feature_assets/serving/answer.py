"""The answer: values, a status for each, and what they were computed from.

Invariant: one row per row asked for, in the same order, duplicates kept; what is unknown is null with a status that
says so. Statuses and times are kept as small integers until they are asked for.
It looks nothing up.
"""

import math
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from feature_assets.clock import from_us
from feature_assets.compute.lazy_column import Column, arrow_of
from feature_assets.online.item import Cut, Item
from feature_assets.serving.request import Request
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import Codes, Status, statuses

T = TypeVar("T")

EXACT_IN_JSON = 2**53


# Not slotted, here and below: a cached property needs the instance's dictionary.
@dataclass(frozen=True, eq=False)
class Meta:
    """What the values of one view, in one role, were computed from. Every list has one entry per row.

    `version`: of the view, that answered; None if none did. `complete_through`: the time up to which its state in the
    store is complete; None if unknown. `items`: as read, None where unknown. `read_before`: how long before the answer
    each was read from the store, in microseconds; None: all for this answer.
    """

    version: str | None
    as_of: datetime
    complete_through: datetime | None
    items: Sequence[Item | None] = field(repr=False)
    read_before: npt.NDArray[np.int64] | None = field(default=None, repr=False)

    @cached_property
    def cached_for(self) -> list[timedelta]:
        """How long each item had been remembered: what was written since its read is not in the values."""
        if self.read_before is None:
            return [timedelta(0)] * len(self.items)
        return [timedelta(microseconds=age) for age in self.read_before.tolist()]

    @cached_property
    def event_at(self) -> list[datetime | None]:
        """When the row that answered happened, also if it has expired; None without one."""
        return self._each(_of_row)

    @cached_property
    def available_at(self) -> list[datetime | None]:
        """When the item was last sent to the store: it was visible at some instant from then on, and by its ack."""
        return self._each(lambda item: None if item.batch is None else from_us(item.batch.sent_at))

    @cached_property
    def age(self) -> list[timedelta | None]:
        """From `event_at` to the answer's `as_of`; never negative."""
        return [None if at is None else max(timedelta(0), self.as_of - at) for at in self.event_at]

    @cached_property
    def cut(self) -> list[Cut | None]:
        """Which records are in the values; `n` is 0 if nothing is stored. None where unknown."""
        return self._each(lambda item: item.cut)

    @cached_property
    def seq(self) -> list[int | None]:
        """How often the item was written; 0 if it is not stored. None where unknown."""
        return self._each(lambda item: item.seq)

    def _each(self, of: Callable[[Item], T | None]) -> list[T | None]:
        # Many rows may share an item, and an item is worked out once.
        known: dict[int, T | None] = {}
        answers: list[T | None] = []
        for item in self.items:
            if item is None:
                answers.append(None)
                continue
            if id(item) not in known:
                known[id(item)] = of(item)
            answers.append(known[id(item)])
        return answers


@dataclass(frozen=True, eq=False)
class Answer:
    """Features of the rows asked for, as of `as_of`.

    `columns`: the service's output columns, in order, in the types of `schema`. `meta`: by prefix (view or role).
    `failures`: by prefix of a view, role or on-demand view, why some of it is unknown; for people. `asked`: what was
    asked with, as it was understood. `stages`: where the time went. `request_id`: by which it is found in the served
    log; empty if nobody gave it one.
    """

    service: str
    as_of: datetime
    columns: Mapping[str, Column] = field(repr=False)
    schema: pa.Schema = field(repr=False)
    meta: Mapping[str, Meta]
    failures: Mapping[str, str]
    codes: Mapping[str, Codes] = field(repr=False)
    asked: Request = field(repr=False)
    stages: Stages = field(repr=False)
    request_id: str = ""

    @cached_property
    def table(self) -> pa.Table:
        """The values."""
        return pa.table([arrow_of(column) for column in self.columns.values()], schema=self.schema)

    @property
    def request(self) -> Mapping[str, pa.ChunkedArray]:
        """The service's key columns and request fields that it was asked with, in their declared types."""
        return self.asked.columns

    @cached_property
    def status(self) -> dict[str, list[Status]]:
        """By output column, one status per row."""
        return {column: statuses(codes) for column, codes in self.codes.items()}

    def __len__(self) -> int:
        return self.asked.rows

    def to_pylist(self) -> list[dict[str, object]]:
        """One dictionary of values per row."""
        rows: list[dict[str, object]] = self.table.to_pylist()
        return rows

    def to_pandas(self) -> pd.DataFrame:
        """The values as a frame with a fresh index."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def to_documents(self) -> list[dict[str, object]]:
        """One document per row, of what JSON has: `as_of`, `values`, `status`, and `meta` by prefix.

        Instants and dates are ISO 8601 strings, durations seconds, binary base64, a map a list of pairs. What JSON
        lacks is text: decimals, integers beyond 2**53 (many readers would round them), "NaN", "Infinity", "-Infinity".
        """
        meta = {prefix: _meta_documents(one) for prefix, one in self.meta.items()}
        return [
            {
                "as_of": self.as_of.isoformat(),
                "values": {name: plain(value) for name, value in values.items()},
                "status": {name: found[row].value for name, found in self.status.items()},
                "meta": {prefix: documents[row] for prefix, documents in meta.items()},
            }
            for row, values in enumerate(self.to_pylist())
        ]


def _of_row(item: Item) -> datetime | None:
    return None if item.batch is None or item.batch.row is None else from_us(item.batch.row.event_at)


def _meta_documents(meta: Meta) -> list[dict[str, object]]:
    rows = zip(meta.event_at, meta.available_at, meta.age, meta.cut, meta.seq, meta.cached_for, strict=True)
    return [
        {
            "version": meta.version,
            "complete_through": plain(meta.complete_through),
            "event_at": plain(event_at),
            "available_at": plain(available_at),
            "age_seconds": plain(age),
            "cut": None if cut is None else {"n": cut.n, "fences": cut.fences},
            "seq": seq,
            "cached_seconds": plain(cached),
        }
        for event_at, available_at, age, cut, seq, cached in rows
    ]


def plain(value: object, *, exact: bool = False) -> object:
    """A value as JSON has it; `exact`: as MessagePack does, which has more numbers, and binary."""
    match value:
        case dict():
            return {name: plain(one, exact=exact) for name, one in value.items()}
        case list() | tuple():
            return [plain(one, exact=exact) for one in value]
        case bool():
            return value
        case int() | float() | bytes():
            return value if exact else _in_json(value)
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return str(value)
        case _:
            return value


def _in_json(value: float | bytes) -> object:
    match value:
        case int():
            return value if abs(value) <= EXACT_IN_JSON else str(value)
        case bytes():
            return b64encode(value).decode("ascii")
        case _:
            return value if math.isfinite(value) else _NOT_IN_JSON.get(value, "NaN")


_NOT_IN_JSON = {math.inf: "Infinity", -math.inf: "-Infinity"}
