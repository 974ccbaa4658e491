"""Reading the items of a view of rows: the values of an entity's winning row, if it is not too old.

Invariant: an item that cannot be read leaves the others as they are.
It reads no store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

import numpy as np
import pyarrow as pa

from feature_assets.compute.lazy_column import Column
from feature_assets.errors import CodecError
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import Body, Row
from feature_assets.serving.lookup import NO_ROW, Values
from feature_assets.serving.stages import Stages, ended
from feature_assets.serving.status import Status


@dataclass(frozen=True, slots=True)
class RowValues:
    """Reads rows as `codec` unpacks them: of the features those `wanted`. `ttl`: microseconds; None: they live on."""

    ttl: int | None
    codec: ValueCodec
    wanted: frozenset[str]

    def values(self, items: Sequence[Body], as_of: int, stages: Stages | None = None) -> Values:
        """The values of the winning rows: none of an item without one, or with one that has expired."""
        rows = _rows_of(items)
        there = [row for row in rows if row is not None]
        unpacked = _Unpacked.of(self.codec, [row.values for row in there], self.wanted)
        event_at = [row.event_at for row in there]
        ended(stages, "decode")
        # Exactly the time to live is not expired yet.
        oldest = None if self.ttl is None else as_of - self.ttl
        count = len(items)
        if len(there) == count and not unpacked.bad and (oldest is None or min(event_at, default=as_of) >= oldest):
            # As it usually is.
            present = np.full(count, Status.PRESENT.code)
            return Values(unpacked.columns, np.arange(count), present, fitting=count, whole=True)
        held = np.array([place for place, row in enumerate(rows) if row is not None], np.int64)
        times = np.array(event_at, np.int64)
        codes, row = np.full(count, Status.NOT_FOUND.code), np.full(count, NO_ROW)
        if unpacked.bad:
            codes[held[unpacked.bad]] = Status.ERROR.code
            held, times = np.delete(held, unpacked.bad), np.delete(times, unpacked.bad)
        expired = np.zeros(len(times), np.bool_) if oldest is None else times < oldest
        codes[held] = np.where(expired, Status.EXPIRED.code, Status.PRESENT.code)
        row[held] = np.where(expired, NO_ROW, np.arange(len(held)))
        return Values(unpacked.columns, row, codes, {}, len(unpacked.bad), unpacked.fitting, unpacked.reason)


@dataclass(slots=True)
class _Unpacked:
    """Unpacked values, without those in `bad` (places), which are unreadable. `fitting`: how many say they fit."""

    columns: dict[str, Column]
    bad: list[int]
    fitting: int
    reason: str

    @classmethod
    def of(cls, codec: ValueCodec, packed: Sequence[bytes], wanted: frozenset[str]) -> "_Unpacked":
        if not packed:
            empty: dict[str, Column] = {
                name: pa.array([], dtype) for name, dtype in zip(codec.names, codec.dtypes, strict=True)
            }
            return cls(empty, [], 0, "")
        try:
            return cls(codec.unpack_some(packed, wanted), [], len(packed), "")
        except CodecError as error:
            reason = str(error)
        # One by one, so that the unreadable ones leave the others as they are.
        bad = [place for place, value in enumerate(packed) if not _is_readable(codec, value)]
        skipped = frozenset(bad)
        good = cls.of(codec, [value for place, value in enumerate(packed) if place not in skipped], wanted)
        return cls(good.columns, bad, sum(codec.fits(value) for value in packed), reason)


_row_of: Final = attrgetter("batch.row")


def _rows_of(items: Sequence[Body]) -> list[Row | None]:
    try:
        # Thousands of them, usually all written by a push.
        return list(map(_row_of, items))
    except AttributeError:
        return [None if item.batch is None else item.batch.row for item in items]


def _is_readable(codec: ValueCodec, value: bytes) -> bool:
    try:
        codec.unpack_many([value])
    except CodecError:
        return False
    return True
