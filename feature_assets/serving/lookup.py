"""From what a store returned for one view to what is known of each key.

Invariant: each key is judged by itself: one that failed, or cannot be decoded, leaves the others as they are; and "not
found" is said only of a table that holds a complete state.
It reads no store and fills in no defaults.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, cast, overload

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec.structs import replace

from feature_assets.compute.lazy_column import Column
from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.item import Body, Item, unpack_bodies, unpack_item
from feature_assets.online.store import ReadResult, Stored
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import OF_FAILURE, Codes, Status
from feature_assets.serving.versions import Serving

Ints = npt.NDArray[np.int64]

NO_ROW = -1
_NOT_FOUND = Status.NOT_FOUND.code
_ALL_STORED = {Stored}
_NO_BODY = Body()
"""What stands for what is in an item that surely is not there: its seq is 0, its cut empty."""


class Items(msgspec.Struct, frozen=True, eq=False):
    """The items of some keys, None where unknown, as what is in them and their seqs."""

    bodies: Sequence[Body | None]
    seqs: Sequence[int]

    def of(self, place: Ints | None) -> "ItemsOf":
        """Those at some places, one for each. None: all but the last."""
        return ItemsOf(self, place)


class ItemsOf(Sequence[Item | None]):
    """One item per row, made when they are looked at: an answer is seldom asked for them. One in many rows is one."""

    def __init__(self, items: Items, place: Ints | None) -> None:
        self._items = items
        self._place = place

    @cached_property
    def _rows(self) -> list[Item | None]:
        pairs = zip(self._items.bodies, self._items.seqs, strict=True)
        each = [None if body is None else Item(seq, body.batch, body.streams) for body, seq in pairs]
        return each[:-1] if self._place is None else [each[place] for place in self._place.tolist()]

    @overload
    def __getitem__(self, row: int) -> Item | None: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item | None]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item | None] | None:
        return self._rows[row]

    def __len__(self) -> int:
        return len(self._items.bodies) - 1 if self._place is None else len(self._place)


class Reading(Protocol):
    """How what the items of a view hold becomes values."""

    def values(self, items: Sequence[Body], as_of: int, stages: Stages | None = None) -> "Values":
        """The values of items that are known, some of them perhaps not stored. Times in microseconds."""


class Values(msgspec.Struct, frozen=True, eq=False):
    """`columns`: one per feature that is asked for, by name. `row`: of each item its place in these, or `NO_ROW`.

    `codes`: a `Status` per item, before single features are looked at; `overflow`: by feature, where in its column a
    bound was passed (features where none was may be left out). `unreadable`: how many items could not be read, for the
    `reason`; `fitting`: how many of all are of the view's own features. `whole`: all are `PRESENT`, and each item has a
    row of its own, in order.
    """

    columns: Mapping[str, Column]
    row: Ints
    codes: Codes
    overflow: Mapping[str, npt.NDArray[np.bool_]] = msgspec.field(default_factory=dict)
    unreadable: int = 0
    fitting: int = 0
    reason: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """A view as a reader sees it: its definition, the version of the code, and how its items are read."""

    view: FeatureView
    version: str
    reading: Reading


class Found(msgspec.Struct, frozen=True, eq=False):
    """One entry per key asked for, and a last one for what has no key.

    `serving`: the version that answered; None if none does. `codes`: `Status`, before single features are looked at.
    `row`: the place in `columns` (one per feature that is asked for, by name), `NO_ROW` where there is no value; None:
    each key has its own, in order.
    `overflow`: by feature, where in its column a bound was passed. `complete_through`: of the watermark, microseconds;
    None if unknown. `gone`: the version is not there as the ledger said; `other`: it is of other features. `reason`:
    for people, of what failed; empty if nothing did. `ages`: how long ago (microseconds) each key was read from the
    store; None: all just now.
    """

    serving: Serving | None
    codes: Codes
    items: "Items"
    row: Ints | None
    columns: Mapping[str, Column]
    overflow: Mapping[str, npt.NDArray[np.bool_]] = msgspec.field(default_factory=dict)
    complete_through: int | None = None
    reason: str = ""
    gone: bool = False
    other: bool = False
    ages: Ints | None = None

    def at(self, place: Ints | None) -> tuple[Codes, Ints | None]:
        """`codes` and `row` at some places, one for each; places None: of all keys; rows None: all, in order."""
        if place is None:
            return self.codes[:-1], None if self.row is None else self.row[:-1]
        row = np.append(np.arange(len(self.codes) - 1), NO_ROW) if self.row is None else self.row
        return self.codes[place], row[place]

    def read_before(self, place: Ints | None) -> Ints | None:
        """`ages` at some places, one for each; None: of all keys."""
        if self.ages is None or place is None:
            return self.ages
        return np.append(self.ages, 0)[place]


def failed(
    served: Served, serving: Serving | None, keys: int, status: Status, reason: str, *, gone: bool = False
) -> Found:
    """Nothing is known of any key, for one reason. Only that there is nothing without a key is sure."""
    codes = np.full(keys + 1, status.code)
    codes[keys] = Status.NOT_FOUND.code
    columns = {one.name: pa.array([], one.dtype) for one in served.view.features}
    return Found(
        serving,
        codes,
        Items([None] * (keys + 1), [0] * (keys + 1)),
        np.full(keys + 1, NO_ROW),
        columns,
        reason=reason,
        gone=gone,
    )


def found(
    served: Served,
    serving: Serving,
    sorting: "Sorting",
    values: Values,
    *,
    complete_through: int | None,
    stale: bool,
) -> Found:
    """What the store returned for the keys, and the values of it. `stale`: the view is staler than it may be."""
    keys = len(sorting.bodies)
    if values.unreadable and not values.fitting and serving.version != served.version:
        what = f"version {serving.version}, which serves, has other features than the code's, which does not serve yet"
        return replace(failed(served, serving, keys, Status.LOADING, what, gone=True), other=True)
    present = Status.STALE.code if stale else Status.PRESENT.code
    codes, row = np.full(keys + 1, present), None
    codes[keys] = _NOT_FOUND
    if sorting.known is not None or not values.whole:
        known: Ints | slice = slice(keys)
        if sorting.known is not None:
            codes[:-1], known = sorting.codes, np.array(sorting.known, np.int64)
        codes[known] = values.codes
        if stale:
            codes[codes == Status.PRESENT.code] = present
        row = np.full(keys + 1, NO_ROW)
        row[known] = values.row
    reason = values.reason or sorting.reason
    read = Items([*sorting.bodies, None], [*sorting.seqs, 0])
    return Found(serving, codes, read, row, values.columns, values.overflow, complete_through, reason)


class Sorting(msgspec.Struct, frozen=True, eq=False):
    """The results by what they are: a status of each, what is in the item if that is known, and its seq.

    `known`: the places of those that are known; None: all are.
    """

    codes: Sequence[np.int8]
    bodies: Sequence[Body | None]
    seqs: Sequence[int]
    known: list[int] | None
    reason: str

    @property
    def known_bodies(self) -> list[Body]:
        """What is in the items that are known."""
        if self.known is None:
            return cast("list[Body]", self.bodies)
        return [body for body in self.bodies if body is not None]

    @classmethod
    def of(cls, results: Sequence[ReadResult]) -> "Sorting":
        """Each result by itself."""
        # Thousands of them, usually all stored.
        if set(map(type, results)) == _ALL_STORED:
            stored = cast("Sequence[Stored]", results)
            with suppress(CodecError):
                bodies = unpack_bodies([one.value for one in stored])
                return cls([_NOT_FOUND] * len(results), bodies, [one.seq for one in stored], None, "")
        return cls._each(results)

    @classmethod
    def _each(cls, results: Sequence[ReadResult]) -> "Sorting":
        codes, seqs = [_NOT_FOUND] * len(results), [0] * len(results)
        bodies: list[Body | None] = [_NO_BODY] * len(results)
        known, reason = [], ""
        for at, result in enumerate(results):
            if isinstance(result, Stored):
                try:
                    item = unpack_item(result.value, result.seq)
                except CodecError as error:
                    codes[at], bodies[at], reason = Status.ERROR.code, None, str(error)
                    continue
                bodies[at], seqs[at] = Body(item.batch, item.streams), item.seq
            elif result is not None:
                codes[at], bodies[at] = OF_FAILURE[result].code, None
                reason = reason or f"the store reported for a key: {result.value}"
                continue
            known.append(at)
        return cls(codes, bodies, seqs, known, reason)
