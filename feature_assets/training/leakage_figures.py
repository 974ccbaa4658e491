"""The figures of a leakage report: one spine, joined in several modes, feature by feature.

Invariant: what stands in tuples beside `modes` has one entry per mode in the same order; the first mode is as served,
and differences are those of the others from it.
It computes from tables that somebody else has joined, and judges nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import FeatureRef
from feature_assets.training.answer import EVENT_AT
from feature_assets.training.differences import Ages, Kinds, Size, ages_of, kinds_of, same_values, size_of

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

SHOWN_PERCENTILES = 3
"""Of the ages, those that a table has room for; the maximum follows them."""


class FeatureDifference(msgspec.Struct, frozen=True):
    """One feature in one other mode: the `share` of rows that differ from what was served, how, and by how much."""

    share: float
    kinds: Kinds
    size: Size | None


class FeatureLeakage(msgspec.Struct, frozen=True, kw_only=True):
    """One feature.

    `differences`: one per mode but the first. `without_value`: per mode, the share of rows in which it is null, after
    defaults stand in. `ages`: per mode, of the rows that values were taken from; None where there are none, or where
    the feature is computed at request time.
    """

    feature: str
    dtype: str
    differences: tuple[FeatureDifference, ...]
    without_value: tuple[float, ...]
    ages: tuple[Ages | None, ...]

    @property
    def share(self) -> float:
        """The share of the rows in which a join on event time gives another value than was served."""
        return self.differences[0].share

    @property
    def staleness(self) -> tuple[timedelta, ...]:
        """As served: how old the used rows were, at the 50th, 90th, 99th percentile and at most. Empty if unknown."""
        return () if self.ages[0] is None else self.ages[0].percentiles


class LeakageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All figures about one training set.

    `modes`: `as_served`, `as_of_event` and, if it was asked for, a schedule. `differing`: per mode, in how many of the
    `rows` any feature differs from what was served. `leaked_served`, `leaked_by_event`: in how many of the `rows` a
    value was used that was not available then. `availability`: rows by the weakest origin of their values as served.
    """

    training_set: str
    name: str | None
    service: str
    target: str
    made_at: datetime
    first: datetime | None
    last: datetime | None
    rows: int
    modes: tuple[str, ...]
    differing: tuple[int, ...]
    leaked_served: int
    leaked_by_event: int
    availability: dict[str, int]
    features: tuple[FeatureLeakage, ...]

    @property
    def by_share(self) -> tuple[FeatureLeakage, ...]:
        """The features, those that differ in most rows first."""
        return tuple(sorted(self.features, key=lambda feature: -feature.share))


def feature_figures(
    service: FeatureService,
    tables: Sequence[pa.Table],
    as_of: Ints,
    ttl: Mapping[str, timedelta | None],
) -> tuple[tuple[FeatureLeakage, ...], tuple[int, ...]]:
    """The figures per feature, and in how many rows any of them differs; `tables` as served first, of one spine.

    `ttl`: by view, as it was used: a row that was older gave no value, so its age is none of a used one.
    """
    ages: dict[str, tuple[Ages | None, ...]] = {
        ref.prefix: tuple(_ages(table, as_of, ref, ttl[ref.view.name]) for table in tables) for ref in service.refs
    }
    differing = [np.zeros(len(as_of), np.bool_) for _ in tables]
    features = []
    for output in service.output_columns:
        columns = [table.column(output.name) for table in tables]
        masks = [~same_values(columns[0], column) for column in columns]
        differing = [so_far | mask for so_far, mask in zip(differing, masks, strict=True)]
        differences = [_difference(columns[0], *one) for one in zip(columns[1:], masks[1:], strict=True)]
        features.append(
            FeatureLeakage(
                feature=output.name,
                dtype=str(output.dtype),
                differences=tuple(differences),
                without_value=tuple(_share(column.null_count, len(as_of)) for column in columns),
                ages=(None,) * len(tables) if output.ref is None else ages[output.ref.prefix],
            )
        )
    return tuple(features), tuple(int(mask.sum()) for mask in differing)


def _difference(served: pa.ChunkedArray, other: pa.ChunkedArray, differing: Bools) -> FeatureDifference:
    return FeatureDifference(
        share=_share(int(differing.sum()), len(differing)),
        kinds=kinds_of(served, other, differing),
        size=size_of(served, other, differing),
    )


def _ages(table: pa.Table, as_of: Ints, ref: FeatureRef, ttl: timedelta | None) -> Ages | None:
    column = table.column(f"{ref.prefix}{SEPARATOR}{EVENT_AT}")
    found = np.asarray(column.is_valid())
    event_at = np.asarray(column.drop_null().cast(pa.int64()))
    asked = as_of[found]
    if ttl is not None:
        alive = asked - event_at <= ttl // timedelta(microseconds=1)
        asked, event_at = asked[alive], event_at[alive]
    return ages_of(asked, event_at)


def _share(count: int, rows: int) -> float:
    return count / rows if rows else 0.0
