"""Reading the items of a view of rows: the values of an entity's winning row, if it is not too old.

Invariant: an item that cannot be read leaves the others as they are.
It reads no store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import duration_us
from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import Body
from feature_assets.serving.lookup import NO_ROW, Values
from feature_assets.serving.stages import Stages, ended
from feature_assets.serving.status import Status

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowValues:
    """Reads rows as `codec` unpacks them: of the features those `wanted`."""

    view: FeatureView
    codec: ValueCodec
    wanted: frozenset[str]

    def values(self, items: Sequence[Body], as_of: int, stages: Stages | None = None) -> Values:
        """The values of the winning rows: none of an item without one, or with one that has expired."""
        rows = [None if item.batch is None else item.batch.row for item in items]
        there = [row for row in rows if row is not None]
        held = np.arange(len(rows))
        if len(there) < len(rows):
            held = np.array([place for place, row in enumerate(rows) if row is not None], np.int64)
        unpacked = _Unpacked.of(self.codec, [row.values for row in there], self.wanted)
        event_at = np.array([row.event_at for row in there], np.int64)
        ended(stages, "decode")
        codes, row = np.full(len(items), Status.NOT_FOUND.code), np.full(len(items), NO_ROW)
        if unpacked.bad:
            codes[held[unpacked.bad]] = Status.ERROR.code
            held, event_at = np.delete(held, unpacked.bad), np.delete(event_at, unpacked.bad)
        expired = self._expired(event_at, as_of)
        codes[held] = np.where(expired, Status.EXPIRED.code, Status.PRESENT.code)
        row[held] = np.where(expired, NO_ROW, np.arange(len(held)))
        return Values(
            unpacked.arrays,
            row,
            codes,
            unreadable=len(unpacked.bad),
            fitting=unpacked.fitting,
            reason=unpacked.reason,
        )

    def _expired(self, event_at: Ints, as_of: int) -> npt.NDArray[np.bool_]:
        """Exactly the time to live is not expired yet."""
        if self.view.ttl is None:
            return np.zeros(len(event_at), np.bool_)
        mask: npt.NDArray[np.bool_] = event_at < as_of - duration_us(self.view.ttl)
        return mask


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """Unpacked values, without those in `bad` (places), which are unreadable. `fitting`: how many say they fit."""

    arrays: dict[str, pa.Array]
    bad: list[int]
    fitting: int
    reason: str

    @classmethod
    def of(cls, codec: ValueCodec, packed: Sequence[bytes], wanted: frozenset[str]) -> "_Unpacked":
        if not packed:
            empty = {name: pa.array([], dtype) for name, dtype in zip(codec.names, codec.dtypes, strict=True)}
            return cls(empty, [], 0, "")
        try:
            return cls(codec.unpack_some(packed, wanted), [], len(packed), "")
        except CodecError as error:
            reason = str(error)
        # One by one, so that the unreadable ones leave the others as they are.
        bad = [place for place, value in enumerate(packed) if not _is_readable(codec, value)]
        skipped = frozenset(bad)
        good = cls.of(codec, [value for place, value in enumerate(packed) if place not in skipped], wanted)
        return cls(good.arrays, bad, sum(codec.fits(value) for value in packed), reason)


def _is_readable(codec: ValueCodec, value: bytes) -> bool:
    try:
        codec.unpack_many([value])
    except CodecError:
        return False
    return True
