"""From what a store returned for one view to what is known of each key.

Invariant: each key is judged by itself: one that failed, or cannot be decoded, leaves the others as they are; and "not
found" is said only of a table that holds a complete state.
It reads no store and fills in no defaults.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import duration_us
from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import Item, unpack_item
from feature_assets.online.store import ReadResult, Stored
from feature_assets.serving.status import OF_FAILURE, Codes, Status
from feature_assets.serving.versions import Serving
from feature_assets.serving.watermarks import is_stale

Ints = npt.NDArray[np.int64]

NO_ROW = -1
_NO_ITEM = Item()
"""What stands for an item that surely is not there: seq 0, an empty cut."""


@dataclass(frozen=True, slots=True)
class Served:
    """A view as a reader sees it: its definition, the version of the code, and how its values are unpacked."""

    view: FeatureView
    version: str
    codec: ValueCodec


@dataclass(frozen=True, slots=True)
class Found:
    """One entry per key asked for, and a last one for what has no key.

    `serving`: the version that answered; None if none does. `codes`: `Status`, before single features are looked at.
    `items`: None where unknown. `row`: the place in `columns` (one array per feature of the view, by name), `NO_ROW`
    where there is no value. `complete_through`: of the watermark, microseconds; None if unknown. `gone`: the version is
    not there as the ledger said; `other`: it is of other features. `reason`: for people, of what failed; empty if
    nothing did.
    """

    serving: Serving | None
    codes: Codes
    items: Sequence[Item | None]
    row: Ints
    columns: dict[str, pa.Array]
    complete_through: int | None = None
    reason: str = ""
    gone: bool = False
    other: bool = False


def failed(
    served: Served, serving: Serving | None, keys: int, status: Status, reason: str, *, gone: bool = False
) -> Found:
    """Nothing is known of any key, for one reason. Only that there is nothing without a key is sure."""
    codes = np.full(keys + 1, status.code)
    codes[keys] = Status.NOT_FOUND.code
    columns = {one.name: pa.array([], one.dtype) for one in served.view.features}
    return Found(serving, codes, [None] * (keys + 1), np.full(keys + 1, NO_ROW), columns, reason=reason, gone=gone)


def found(
    served: Served, serving: Serving, items: Sequence[ReadResult], *, as_of: int, complete_through: int | None
) -> Found:
    """What the store returned for the keys. Times in microseconds."""
    sorting = _Sorting(len(items))
    sorting.sort(items)
    values = _Values.of(served.codec, sorting.packed)
    if values.bad and not values.fitting and serving.version != served.version:
        what = f"version {serving.version}, which serves, has other features than the code's, which does not serve yet"
        return replace(failed(served, serving, len(items), Status.LOADING, what, gone=True), other=True)
    codes, row = np.array(sorting.codes, np.int8), np.full(len(items) + 1, NO_ROW)
    held, event_at = np.array(sorting.rows, np.int64), np.array(sorting.event_at, np.int64)
    if values.bad:
        codes[held[values.bad]] = Status.ERROR.code
        held, event_at = np.delete(held, values.bad), np.delete(event_at, values.bad)
    expired = _expired(served.view, event_at, as_of)
    value = Status.STALE if is_stale(served.view, complete_through, as_of) else Status.PRESENT
    codes[held] = np.where(expired, Status.EXPIRED.code, value.code)
    row[held] = np.where(expired, NO_ROW, np.arange(len(held)))
    columns = dict(zip(served.codec.names, values.arrays, strict=True))
    return Found(serving, codes, sorting.items, row, columns, complete_through, values.reason or sorting.reason)


@dataclass(slots=True)
class _Sorting:
    """The results by what they are. `rows`, `packed`, `event_at`: of the keys that have a row."""

    keys: int
    codes: list[np.int8] = field(init=False)
    items: list[Item | None] = field(init=False)
    rows: list[int] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    event_at: list[int] = field(default_factory=list)
    reason: str = ""

    def __post_init__(self) -> None:
        self.codes = [Status.NOT_FOUND.code] * (self.keys + 1)
        self.items = [None] * (self.keys + 1)

    def sort(self, results: Sequence[ReadResult]) -> None:
        for at, result in enumerate(results):
            if isinstance(result, Stored):
                self._stored(at, result)
            elif result is None:
                self.items[at] = _NO_ITEM
            else:
                self.codes[at] = OF_FAILURE[result].code
                self.reason = self.reason or f"the store reported for a key: {result.value}"

    def _stored(self, at: int, stored: Stored) -> None:
        try:
            item = unpack_item(stored.value, stored.seq)
        except CodecError as error:
            self.codes[at] = Status.ERROR.code
            self.reason = str(error)
            return
        self.items[at] = item
        row = None if item.batch is None else item.batch.row
        if row is not None:
            self.rows.append(at)
            self.packed.append(row.values)
            self.event_at.append(row.event_at)


@dataclass(frozen=True, slots=True)
class _Values:
    """Unpacked values, without those in `bad` (places), which are unreadable. `fitting`: how many say they fit."""

    arrays: list[pa.Array]
    bad: list[int]
    fitting: int
    reason: str

    @classmethod
    def of(cls, codec: ValueCodec, packed: Sequence[bytes]) -> "_Values":
        if not packed:
            return cls([pa.array([], dtype) for dtype in codec.dtypes], [], 0, "")
        try:
            return cls(codec.unpack_many(packed), [], len(packed), "")
        except CodecError as error:
            reason = str(error)
        # One by one, so that the unreadable ones leave the others as they are.
        bad = [place for place, value in enumerate(packed) if not _is_readable(codec, value)]
        skipped = frozenset(bad)
        good = cls.of(codec, [value for place, value in enumerate(packed) if place not in skipped])
        return cls(good.arrays, bad, sum(codec.fits(value) for value in packed), reason)


def _is_readable(codec: ValueCodec, value: bytes) -> bool:
    try:
        codec.unpack_many([value])
    except CodecError:
        return False
    return True


def _expired(view: FeatureView, event_at: Ints, as_of: int) -> npt.NDArray[np.bool_]:
    """Exactly the time to live is not expired yet."""
    if view.ttl is None:
        return np.zeros(len(event_at), np.bool_)
    mask: npt.NDArray[np.bool_] = as_of - event_at > duration_us(view.ttl)
    return mask
