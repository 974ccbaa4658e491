"""From what a store returned for one view to what is known of each key.

Invariant: each key is judged by itself: one that failed, or cannot be decoded, leaves the others as they are; and "not
found" is said only of a table that holds a complete state.
It reads no store and fills in no defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.item import Item, unpack_item
from feature_assets.online.store import ReadResult, Stored
from feature_assets.serving.status import OF_FAILURE, Codes, Status
from feature_assets.serving.versions import Serving
from feature_assets.serving.watermarks import is_stale

Ints = npt.NDArray[np.int64]

NO_ROW = -1
_NO_ITEM = Item()
"""What stands for an item that surely is not there: seq 0, an empty cut."""


class Reading(Protocol):
    """How what the items of a view hold becomes values."""

    def values(self, items: Sequence[Item], as_of: int) -> "Values":
        """The values of items that are known, some of them perhaps not stored. Times in microseconds."""


@dataclass(frozen=True, slots=True)
class Values:
    """`columns`: one array per feature of the view, by name. `row`: for each item its place in these, or `NO_ROW`.

    `codes`: a `Status` per item, before single features are looked at; `overflow`: by feature, where in its column a
    bound was passed (features where none was may be left out). `unreadable`: how many items could not be read, for the
    `reason`; `fitting`: how many of all are of the view's own features.
    """

    columns: dict[str, pa.Array]
    row: Ints
    codes: Codes
    overflow: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    unreadable: int = 0
    fitting: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """A view as a reader sees it: its definition, the version of the code, and how its items are read."""

    view: FeatureView
    version: str
    reading: Reading


@dataclass(frozen=True, slots=True)
class Found:
    """One entry per key asked for, and a last one for what has no key.

    `serving`: the version that answered; None if none does. `codes`: `Status`, before single features are looked at.
    `items`: None where unknown. `row`: the place in `columns` (one array per feature of the view, by name), `NO_ROW`
    where there is no value. `overflow`: by feature, where in its column a bound was passed. `complete_through`: of the
    watermark, microseconds; None if unknown. `gone`: the version is not there as the ledger said; `other`: it is of
    other features. `reason`: for people, of what failed; empty if nothing did.
    """

    serving: Serving | None
    codes: Codes
    items: Sequence[Item | None]
    row: Ints
    columns: dict[str, pa.Array]
    overflow: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
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
    sorting = _Sorting.of(items)
    known = np.array(sorting.known, np.int64)
    values = served.reading.values([item for item in sorting.items if item is not None], as_of)
    if values.unreadable and not values.fitting and serving.version != served.version:
        what = f"version {serving.version}, which serves, has other features than the code's, which does not serve yet"
        return replace(failed(served, serving, len(items), Status.LOADING, what, gone=True), other=True)
    codes, row = np.append(np.array(sorting.codes, np.int8), Status.NOT_FOUND.code), np.full(len(items) + 1, NO_ROW)
    stale = is_stale(served.view, complete_through, as_of)
    codes[known] = np.where(stale & (values.codes == Status.PRESENT.code), Status.STALE.code, values.codes)
    row[known] = values.row
    reason = values.reason or sorting.reason
    return Found(serving, codes, [*sorting.items, None], row, values.columns, values.overflow, complete_through, reason)


@dataclass(frozen=True, slots=True)
class _Sorting:
    """The results by what they are: a status of each, the item if it is known, and the places of those that are."""

    codes: list[np.int8]
    items: list[Item | None]
    known: list[int]
    reason: str

    @classmethod
    def of(cls, results: Sequence[ReadResult]) -> "_Sorting":
        codes = [Status.NOT_FOUND.code] * len(results)
        items: list[Item | None] = [_NO_ITEM] * len(results)
        known, reason = [], ""
        for at, result in enumerate(results):
            if isinstance(result, Stored):
                try:
                    items[at] = unpack_item(result.value, result.seq)
                except CodecError as error:
                    codes[at], items[at], reason = Status.ERROR.code, None, str(error)
                    continue
            elif result is not None:
                codes[at], items[at] = OF_FAILURE[result].code, None
                reason = reason or f"the store reported for a key: {result.value}"
                continue
            known.append(at)
        return cls(codes, items, known, reason)
