"""Profiles: what a column looked like, small enough to keep and exact enough to compare.

Invariant: a profile depends on the multiset of the rows alone, never on their order or on how they were cut into
chunks, and two profiles are comparable when one was taken with the bins of the other. Missing means null or NaN.
It does not judge: `feature_assets.quality.drift` does.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.errors import InputError

FORMAT = 1
"""The version of the stored form; a reader refuses a newer one."""

FINE_BINS = 200
"""Numeric bins kept per column: a distance between distribution functions is then known to within 1/200 of the rows."""

MAX_CATEGORIES = 1_000
"""Categories kept by name; the rest is counted together."""

Floats = npt.NDArray[np.float64]


class NumericProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The finite and infinite values of a numeric column, by bins that end at `edges`.

    `counts` has one more entry than `edges`: bin i holds the values in (edges[i-1], edges[i]], the first everything up
    to `edges[0]`, the last everything beyond the last edge. The first edge lies just below the reference's least value,
    so that values below the reference's range are told apart from its least one.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    least: float | None = None
    greatest: float | None = None
    mean: float | None = None


class CategoryProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The values of a categorical column: the most frequent ones by name, most frequent first; the rest counted.

    Taken with a reference, whatever the reference names is named here too.
    """

    counts: tuple[tuple[str, int], ...]
    rest_rows: int = 0
    singletons: int = 0
    """Values that occur once: their share estimates how often an unseen value turns up (Good and Turing)."""


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column; `numeric` or `categories` is there if its dtype has that nature, neither for nested and binary."""

    name: str
    dtype: str
    rows: int
    nulls: int
    nans: int = 0
    numeric: NumericProfile | None = None
    categories: CategoryProfile | None = None

    @property
    def missing(self) -> int:
        """Rows without a value: null or NaN."""
        return self.nulls + self.nans

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The profile of a table's columns, in the order they were asked for."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    format: int = FORMAT

    def column(self, name: str) -> ColumnProfile | None:
        """The profile of the column `name`, or None if it was not profiled."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> bytes:
        """The stored form."""
        return msgspec.json.encode(self)


def read_profile(stored: bytes | str) -> Profile:
    """The profile in its stored form. Raises `InputError` if it is damaged or of a newer format."""
    try:
        profile = msgspec.json.decode(stored, type=Profile)
    except msgspec.DecodeError as error:
        raise InputError(f"a stored profile cannot be read: {error}", hint="profile the reference again") from error
    if profile.format > FORMAT:
        raise InputError(
            f"a stored profile has format {profile.format}, this version reads up to {FORMAT}",
            hint="upgrade feature_assets, or profile the reference again",
        )
    return profile


def profiled(table: pa.Table, columns: Sequence[str] | None = None, reference: Profile | None = None) -> Profile:
    """The profile of `columns` (default: all) of `table`.

    With a `reference`, columns are counted by the reference's bins and categories, which makes the two comparable; a
    column that the reference lacks gets bins of its own. Raises `InputError` for a column that the table lacks.
    """
    names = table.column_names if columns is None else list(columns)
    unknown = [name for name in names if name not in table.column_names]
    if unknown:
        raise InputError(
            f"profile: the table has no column {unknown[0]!r}", hint=f"columns: {', '.join(sorted(table.column_names))}"
        )
    return Profile(
        rows=table.num_rows,
        columns=tuple(_column(name, table[name], reference.column(name) if reference else None) for name in names),
    )


def _column(name: str, values: pa.ChunkedArray, reference: ColumnProfile | None) -> ColumnProfile:
    values = _decoded(values)
    kind = values.type
    base = {"name": name, "dtype": str(kind), "rows": len(values), "nulls": values.null_count}
    if pa.types.is_boolean(kind) or _is_string(kind):
        named = reference.categories.counts if reference is not None and reference.categories is not None else ()
        return ColumnProfile(**base, categories=_categories(values, frozenset(name for name, _ in named)))
    numbers = _numbers(values)
    if numbers is None:
        return ColumnProfile(**base)
    nans = np.isnan(numbers)
    edges = reference.numeric.edges if reference is not None and reference.numeric is not None else None
    return ColumnProfile(**base, nans=int(nans.sum()), numeric=_numeric(numbers[~nans], edges))


def _decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numbers(values: pa.ChunkedArray) -> Floats | None:
    """The non-null values as floats (times as their integer units), or None if the dtype is not a quantity."""
    kind, present = values.type, values.drop_null()
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        present = present.cast(pa.int32() if kind.bit_width == pa.int32().bit_width else pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return None
    # Whole numbers beyond 2**53 lose their last digits: a distribution does not need them, hence no safe cast.
    numbers: Any = present.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(numbers, dtype=np.float64)


def _numeric(values: Floats, edges: tuple[float, ...] | None) -> NumericProfile:
    finite = values[np.isfinite(values)]
    bounds = _edges(finite) if edges is None else np.asarray(edges, dtype=np.float64)
    counts = np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds) + 1)
    if len(finite) == 0:
        return NumericProfile(edges=tuple(bounds.tolist()), counts=tuple(counts.tolist()))
    # Sorted first: a float sum must not depend on the order of the rows. Scaled first: it must not overflow.
    scale = max(1.0, float(np.abs(finite).max()))
    mean = float(np.sum(np.sort(finite) / scale) / len(finite) * scale)
    return NumericProfile(
        edges=tuple(bounds.tolist()),
        counts=tuple(counts.tolist()),
        least=float(finite.min()),
        greatest=float(finite.max()),
        mean=mean,
    )


def _edges(finite: Floats) -> Floats:
    if len(finite) == 0:
        return np.empty(0, dtype=np.float64)
    distinct = np.unique(finite)
    if len(distinct) > FINE_BINS:
        # Of the values themselves, so that a value that many rows share is an edge and its bin ends with it.
        quantiles = np.quantile(finite, np.linspace(0.0, 1.0, FINE_BINS + 1), method="inverted_cdf")
        distinct = np.unique(quantiles)
    below = math.nextafter(float(distinct[0]), -math.inf)
    return np.concatenate([[below], distinct]) if math.isfinite(below) else distinct


def _categories(values: pa.ChunkedArray, named: frozenset[str]) -> CategoryProfile:
    counted = pc.value_counts(values.drop_null().cast(pa.string()))
    pairs = [(str(entry["values"]), int(entry["counts"])) for entry in counted.to_pylist()]
    pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    kept = pairs[:MAX_CATEGORIES] + [pair for pair in pairs[MAX_CATEGORIES:] if pair[0] in named]
    return CategoryProfile(
        counts=tuple(kept),
        rest_rows=sum(count for _, count in pairs) - sum(count for _, count in kept),
        singletons=sum(1 for _, count in pairs if count == 1),
    )
