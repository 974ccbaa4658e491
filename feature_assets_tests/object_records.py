"""Records of every type of column, drawn, and the aggregates of lists, sets and sketches that can be had of them.

Values come from small pools, event times and sequences from small ranges: equal values and ties are the rule.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from feature_assets.compute.aggregates.entries import Entries
from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.objects import Objects
from feature_assets.compute.aggregates.slot import Asked, Computation, Ints, Records, Slot
from feature_assets.compute.aggregates.tallies import often
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.dtypes import INSTANT
from feature_assets_tests.oracle import aggregates_objects as oracle

States = Objects | Entries
TILE = 10
"""Event times of tile t are from TILE * t on."""
WINDOW = timedelta(hours=1)


def _integers(bits: int) -> st.SearchStrategy[object]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) | st.integers(-3, 3)


def _floats(width: int) -> st.SearchStrategy[object]:
    special = st.sampled_from([math.nan, -math.nan, 0.0, -0.0, math.inf, -math.inf, 1.5])
    return special | (st.floats(width=32) if width == 32 else st.floats())


VALUES: Mapping[pa.DataType, st.SearchStrategy[object]] = {
    pa.string(): st.text(max_size=3) | st.sampled_from(["", "a", "x" * 40]),
    pa.binary(): st.binary(max_size=3) | st.just(b"y" * 300),
    pa.bool_(): st.booleans(),
    pa.int8(): _integers(8),
    pa.int16(): _integers(16),
    pa.int32(): _integers(32),
    pa.int64(): _integers(64),
    pa.float32(): _floats(32),
    pa.float64(): _floats(64),
    pa.date32(): st.dates() | st.just(date(1970, 1, 1)),
    INSTANT: st.datetimes(timezones=st.just(UTC))
    | st.sampled_from([datetime(1969, 12, 31, tzinfo=UTC), datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)]),
}


@dataclass(frozen=True, slots=True, repr=False)
class Function:
    """An aggregate of a column "x", and its answer for some records by the oracle."""

    aggregate: Aggregate
    dtype: pa.DataType
    answer: Callable[[Iterable[oracle.Record]], object]
    made: Computation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", computation(self.aggregate, self.aggregate.windows[0], {"x": self.dtype}))

    def __repr__(self) -> str:
        return f"{self.slot} of {self.dtype}"

    @property
    def slot(self) -> Slot[Any]:
        (slot,) = self.made.slots
        return slot

    def lift(self, records: Sequence[tuple[int, oracle.Record]], cells: int) -> States:
        """The cells of records, each given with its cell, in any order."""
        ascending = sorted(records, key=lambda one: one[0])
        lifted: States = self.slot.lift(
            records_of([one for _, one in ascending], self.dtype), ints(cell for cell, _ in ascending), cells
        )
        return lifted

    def merged_pair(self, one: States, other: States) -> States:
        """Cell by cell."""
        both = self.slot.concat([one, other])
        cells = np.arange(len(one))
        side_by_side = np.stack([cells, cells + len(one)], axis=1).reshape(-1)
        merged: States = self.slot.merge(self.slot.take(both, side_by_side), np.repeat(cells, 2), len(one))
        return merged

    def some(self, states: States, first: int, end: int) -> States:
        """The cells first to end."""
        taken: States = self.slot.take(states, np.arange(first, end))
        return taken

    def finish(self, states: States) -> list[object]:
        """The answers, `OVERFLOW` among them, in a form that can be compared."""
        nothing = np.zeros(len(states), np.int64)
        done = self.made.finish([states], Asked(nothing, nothing))
        assert done.values.type == self.aggregate.dtype(self.aggregate.windows[0], {"x": self.dtype})
        assert not any(done.values.is_valid().to_numpy(zero_copy_only=False)[done.overflow])
        answers = zip(done.values.to_pylist(), done.overflow.tolist(), strict=True)
        return [oracle.OVERFLOW if overflow else comparable(value) for value, overflow in answers]


def plain(states: States) -> list[object]:
    """Cell by cell what is in it, None if it is empty; of a tally the keys and how often each occurs."""
    if not isinstance(states, Entries):
        return list(states.tolist())
    keys: list[object] = [states.names[key] for key in states.keys] if states.names else states.keys.tolist()
    pairs = list(zip(keys, often(states).tolist(), strict=True))
    ends = np.cumsum(states.counts).tolist()
    cells = zip([0, *ends], ends, states.over.tolist(), strict=False)
    return ["over" if over else pairs[start:end] or None for start, end, over in cells]


def same(one: States, other: States) -> bool:
    return plain(one) == plain(other)


def records_of(records: Sequence[oracle.Record], dtype: pa.DataType) -> Records:
    column = pa.array([one.value for one in records], dtype)
    return Records({"x": column}, ints(one.event_at for one in records), ints(one.sequence for one in records))


def ints(numbers: Iterable[int]) -> Ints:
    return np.array(list(numbers), np.int64)


def comparable(value: object) -> object:
    """NaN equals itself, and -0.0 is 0.0 but not 0."""
    if isinstance(value, list):
        return [comparable(one) for one in value]
    return repr(value + 0.0) if isinstance(value, float) else value


LISTED = ("first", "last", "last_k", "last_distinct_k", "count_distinct", "top_k")
SKETCHED = ("approx_count_distinct", "approx_percentile")


@st.composite
def functions(draw: st.DrawFn, name: str) -> Function:
    """One of that name, of some type of column, with small bounds."""
    dtype = draw(st.sampled_from([dtype for dtype in VALUES if FUNCTIONS[name].takes(dtype)]))
    k, bound = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    precision = draw(st.integers(4, 6))
    parameters: dict[str, Any]
    answer: Callable[..., object]
    match name:
        case "last_k" | "last_distinct_k":
            parameters, answer = {"k": k}, getattr(oracle, name)
        case "top_k":
            parameters, answer = {"k": k, "bound": bound}, oracle.top_k
        case "count_distinct":
            parameters, answer = {"bound": bound}, oracle.count_distinct
        case "first" | "last":
            parameters, answer = {}, getattr(oracle, name)
        case "approx_count_distinct":
            return Function(Aggregate(name, "x", WINDOW, precision=precision), dtype, _not_exactly)
        case _:
            return Function(Aggregate(name, "x", WINDOW, percentile=0.5, bound=bound), dtype, _not_exactly)
    return Function(Aggregate(name, "x", WINDOW, **parameters), dtype, partial(answer, **parameters))


def _not_exactly(_: object) -> object:
    raise NotImplementedError("what is approximate is tested apart")


@st.composite
def tiled(draw: st.DrawFn, dtype: pa.DataType, cells: int) -> list[tuple[int, oracle.Record]]:
    """Records with the tile that each belongs to, in any order."""
    pool = draw(st.lists(VALUES[dtype], min_size=1, max_size=6))
    size = draw(st.sampled_from([0, 1, 4, 9, 20, 30]))
    record = st.builds(
        lambda tile, later, sequence, value: (tile, oracle.Record(TILE * tile + later, sequence, value)),
        st.integers(0, cells - 1),
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([None, *pool]),
    )
    return draw(st.lists(record, min_size=size, max_size=size))
