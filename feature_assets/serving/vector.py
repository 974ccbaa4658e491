"""The columns of an answer: looked-up values in the order of the request, defaults, on-demand features.

Invariant: where nothing failed, the values are those of the training loader: a default stands in wherever a value
surely is absent, and before on-demand views see it. Where something failed there is a null, and what was computed from
it is as unknown as itself.
It reads no store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import to_us
from feature_assets.compute.lazy_column import Column, LazyColumn, arrow_of
from feature_assets.compute.on_demand import on_demand_columns
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.view import Feature
from feature_assets.errors import FeatureAssetsError
from feature_assets.serving.compiled import Reference
from feature_assets.serving.lookup import NO_ROW, Found, Ints
from feature_assets.serving.request import Request
from feature_assets.serving.status import Codes, Status, absent, unknown


@dataclass(slots=True)
class Vector:
    """The output columns of a service and their statuses, as they come in. `failures`: by prefix, for people.

    `stale_is_null`: what is stale is as unknown as what failed.
    """

    request: Request
    as_of: datetime
    stale_is_null: bool = False
    values: dict[str, Column] = field(default_factory=dict)
    codes: dict[str, Codes] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add_reference(self, ref: Reference, found: Found, place: Ints | None) -> None:
        """The features of a reference. `place`: for each row of the request, its entry in `found`; None: in order."""
        codes, row = found.at(place)
        if self.stale_is_null and (codes == Status.STALE.code).any():
            row = np.where(codes == Status.STALE.code, NO_ROW, np.arange(len(codes)) if row is None else row)
        if found.reason and unknown(codes).any():
            self.failures[ref.prefix] = found.reason
        index = None if row is None or _is_whole(row, found) else pa.array(row, mask=row == NO_ROW)
        for name, feature in ref.columns:
            column, own = found.columns[feature.name], codes
            over = found.overflow.get(feature.name)
            if over is not None:
                own = np.where(over if row is None else over[row] & (row != NO_ROW), Status.OVERFLOW.code, codes)
            self._put(name, feature, column if index is None else arrow_of(column).take(index), own)

    def add_on_demand(self, view: OnDemandView) -> None:
        """The features of an on-demand view, of the rows whose inputs are known.

        The others get the status of the first input that is not.
        """
        codes = np.full(self.request.rows, Status.PRESENT.code)
        for name in reversed(view.inputs):
            codes = np.where(self._is_lost(self.codes[name]), self.codes[name], codes)
        lost = self._is_lost(codes)
        computed = self._computed(view, np.flatnonzero(~lost) if lost.any() else None)
        if computed is None:
            codes[~lost] = Status.ERROR.code
            computed = {one.name: pa.nulls(self.request.rows, one.dtype) for one in view.features}
        elif lost.any():
            index = pa.array(np.cumsum(~lost) - 1, mask=lost)
            computed = {name: column.take(index) for name, column in computed.items()}
        for one in view.features:
            self._put(view.column(one.name), one, computed[one.name], codes)

    def _computed(self, view: OnDemandView, rows: Ints | None) -> Mapping[str, pa.Array] | None:
        """What the function returned for these rows (None: all); None if it failed."""
        names = [*(one.name for one in view.request), *view.inputs]
        given = {
            name: arrow_of(self.values[name]) if name in view.inputs else self.request.columns[name] for name in names
        }
        count = self.request.rows if rows is None else len(rows)
        if rows is not None:
            index = pa.array(rows)
            given = {name: column.take(index) for name, column in given.items()}
        as_of = pa.repeat(pa.scalar(to_us(self.as_of), pa.int64()), count).cast(INSTANT)
        try:
            return on_demand_columns(view, given, as_of)
        except FeatureAssetsError as error:
            # The request was checked before: whatever is wrong now is the function's doing.
            self.failures[view.name] = str(error)
            return None

    def _is_lost(self, codes: Codes) -> npt.NDArray[np.bool_]:
        return unknown(codes) | (codes == Status.STALE.code) if self.stale_is_null else unknown(codes)

    def _put(self, name: str, feature: Feature, column: Column, codes: Codes) -> None:
        if not isinstance(column, LazyColumn) and column.null_count:
            valid = np.asarray(column.is_valid())
            served = codes == Status.PRESENT.code
            if not self.stale_is_null:
                served |= codes == Status.STALE.code
            codes = np.where(~valid & served, Status.NULL.code, codes)
            if feature.default is not None:
                column, codes = _defaulted(column, codes, feature)
        self.values[name] = column
        self.codes[name] = codes


def _is_whole(row: Ints, found: Found) -> bool:
    """Whether these places are all there are, once each and in order: then nothing need be moved."""
    size = len(next(iter(found.columns.values())))
    return len(row) == size and bool((row == np.arange(size)).all())


def _defaulted(column: pa.Array, codes: Codes, feature: Feature) -> tuple[pa.Array, Codes]:
    # What overflowed stays marked as such: the default is what a model is given, and not what is known.
    missing = absent(codes)
    replaced = missing | (codes == Status.OVERFLOW.code)
    # Taken from where the default stands, at the end: Arrow fills no nested values.
    pool = pa.concat_arrays([column, pa.array([feature.default], feature.dtype)])
    place = np.where(replaced, len(column), np.arange(len(column)))
    return pool.take(pa.array(place)), np.where(missing, Status.DEFAULTED.code, codes)
