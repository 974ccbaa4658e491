"""Records of numbers as hypothesis makes them, and every aggregate of numbers beside its oracle."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, Slot
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.window import Window
from feature_assets_tests.oracle import aggregates_numbers as oracle
from feature_assets_tests.oracle.functions import Within

MINUTE = timedelta(minutes=1)
WINDOW = Window.sliding(timedelta(hours=1), hop=MINUTE)
AS_OF = 10_000_000_000
ODD = [
    0.0,
    -0.0,
    nan,
    inf,
    -inf,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    -1.7976931348623157e308,
]
TIES = [0.5, 2.5, -1.5, 1.005, 2.675, 0.145, 1e16, -1e-16, 2.0**52 + 0.5, 9007199254740993.0, 8.345, 1e22, 0.1]
FLOATS = (pa.float32(), pa.float64())
INTEGERS = {pa.int8(): 8, pa.int16(): 16, pa.int32(): 32, pa.int64(): 64}
Given = tuple[int, oracle.Record]


def _finite(width: int) -> st.SearchStrategy[float]:
    fitting = [one for one in TIES if width == 64 or one == float(np.float32(one))]
    # Next to a tie of some decimal: rounding its product would make a tie of it.
    halves = st.builds(
        lambda whole, scale: float(np.float32((whole + 0.5) / 10**scale) if width == 32 else (whole + 0.5) / 10**scale),
        st.integers(-999, 999),
        st.integers(1, 4),
    )
    whole = st.integers(-300, 300).map(float)
    return whole | halves | st.sampled_from(fitting) | st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]  # 32 or 64


def _values(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    if dtype in FLOATS:
        width = dtype.bit_width
        odd = [one for one in ODD if width == 64 or isnan(one) or one in {0.0, inf, -inf}]
        # Mostly all finite, or no sum ever would be.
        return _finite(width) | _finite(width) | st.sampled_from(odd)
    if dtype in INTEGERS:
        top = 2 ** (INTEGERS[dtype] - 1)
        return st.integers(-top, top - 1) | st.integers(-9, 9) | st.sampled_from([-top, top - 1])
    if dtype == pa.date32():
        return st.dates() | st.just(date(1970, 1, 1))
    return st.datetimes(timezones=st.just(UTC)) | st.just(datetime(1969, 12, 31, tzinfo=UTC))


VALUES = {dtype: _values(dtype) for dtype in (*FLOATS, *INTEGERS, pa.date32(), INSTANT)}
KEYS: dict[pa.DataType, list[Any]] = {
    pa.string(): ["", "a", "b", "ab", "ä"],
    pa.int16(): [0, -1, 300, 127, 128],
    pa.date32(): [date(1969, 12, 31), date(1970, 1, 1), date(2026, 1, 1)],
}


@dataclass(frozen=True, slots=True, repr=False)
class Function:
    """An aggregate of "x", and its answer for some records by the oracle."""

    aggregate: Aggregate
    columns: dict[str, pa.DataType]
    answer: Callable[[Sequence[oracle.Record]], object]
    made: Computation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "made", computation(self.aggregate, WINDOW, self.columns))

    def __repr__(self) -> str:
        types = {name: str(dtype) for name, dtype in self.columns.items()}
        return f"{self.aggregate.function}({self.slots}, {types})"

    @property
    def slots(self) -> tuple[Slot[Any], ...]:
        return self.made.slots

    def lift(self, records: Sequence[Given], cells: int) -> list[Any]:
        """The cells of each slot, of records in any order, each given with its cell."""
        ascending = sorted(records, key=lambda one: one[0])
        chosen = records_of([one for _, one in ascending], self.columns)
        return [slot.lift(chosen, ints(cell for cell, _ in ascending), cells) for slot in self.slots]

    def merged_pair(self, one: Sequence[Any], other: Sequence[Any], cells: int) -> list[Any]:
        """Cell by cell."""
        place = np.arange(cells)
        side_by_side = np.stack([place, place + cells], axis=1).reshape(-1)
        return [
            slot.merge(slot.take(slot.concat(both), side_by_side), np.repeat(place, 2), cells)
            for slot, *both in zip(self.slots, one, other, strict=True)
        ]

    def done(self, states: Sequence[Any], cells: int) -> Finished:
        return self.made.finish(states, Asked(np.full(cells, AS_OF), np.zeros(cells, np.int64)))

    def finish(self, states: Sequence[Any], cells: int) -> list[object]:
        """The answers, `OVERFLOW` among them."""
        done = self.done(states, cells)
        assert done.values.type == self.aggregate.dtype(WINDOW, self.columns)
        done.values.validate(full=True)
        answers = zip(done.values.to_pylist(), done.overflow.tolist(), strict=True)
        found = [oracle.OVERFLOW if overflow else value for value, overflow in answers]
        assert all(value is None for value, over in zip(done.values.to_pylist(), done.overflow, strict=True) if over)
        return found

    def bytes_of(self, states: Sequence[Any], counts: Ints) -> list[tuple[list[int], list[bytes]]]:
        """What each slot stores of items."""
        found = [slot.encode(one, counts) for slot, one in zip(self.slots, states, strict=True)]
        return [(codes.tolist(), blobs) for codes, blobs in found]


def agrees(answer: object, expected: object) -> bool:
    """Whether it is the oracle's: NaN is NaN, and a zero has no sign."""
    if isinstance(expected, oracle.Near | Within):
        return expected.is_met(answer)
    if isinstance(expected, list | tuple) and answer == oracle.OVERFLOW:
        # Of a series or a map, as a whole.
        return any(agrees(answer, one) for one in expected)
    if isinstance(expected, list) and isinstance(answer, list):
        return len(answer) == len(expected) and all(map(agrees, answer, expected))
    if isinstance(expected, tuple) and isinstance(answer, tuple):
        return all(map(agrees, answer, expected))
    if isinstance(expected, float):
        return isinstance(answer, float) and repr(answer) == repr(expected + 0.0)
    return type(answer) is type(expected) and answer == expected


def records_of(records: Sequence[oracle.Record], columns: dict[str, pa.DataType]) -> Records:
    arrays = {name: pa.array([getattr(one, name) for one in records], dtype) for name, dtype in columns.items()}
    return Records(arrays, ints(one.event_at for one in records), np.arange(len(records)))


def ints(numbers: Iterable[int]) -> Ints:
    return np.array(list(numbers), np.int64)


def of_numbers(columns: dict[str, pa.DataType], scale: int) -> list[tuple[dict[str, Any], Callable[..., object]]]:
    """What may be kept apart by a column: parameters of the aggregate, and its oracle."""
    size = duration_us(timedelta(hours=1))
    found: list[tuple[dict[str, Any], Callable[..., object]]] = [
        ({"function": "count"}, partial(oracle.count, column=None)),
        ({"function": "count", "column": "x"}, partial(oracle.count, column="x")),
        ({"function": "rate", "column": "x"}, partial(oracle.rate, size=size, column="x")),
        ({"function": "rate"}, partial(oracle.rate, size=size, column=None)),
        ({"function": "min", "column": "x"}, partial(oracle.extreme, greatest=False)),
        ({"function": "max", "column": "x"}, partial(oracle.extreme, greatest=True)),
    ]
    if columns["x"] in {pa.date32(), INSTANT}:
        return found
    found += [
        ({"function": "sum", "column": "x"}, oracle.sum_),
        ({"function": "mean", "column": "x"}, oracle.mean),
        ({"function": "var", "column": "x"}, oracle.variance),
        ({"function": "stddev", "column": "x"}, partial(oracle.variance, is_root=True)),
        ({"function": "ratio", "column": "x", "over": "y"}, oracle.ratio),
    ]
    if columns["x"] in FLOATS:
        found += [
            ({"function": "sum", "column": "x", "scale": scale}, partial(oracle.sum_, scale=scale)),
            ({"function": "mean", "column": "x", "scale": scale}, partial(oracle.mean, scale=scale)),
            ({"function": "ratio", "column": "x", "over": "y", "scale": scale}, partial(oracle.ratio, scale=scale)),
        ]
    return found


def _decays(half_life: timedelta, *, numbers: bool) -> list[tuple[dict[str, Any], Callable[..., object]]]:
    fading = partial(oracle.decayed, as_of=AS_OF, hop=duration_us(MINUTE), half_life=duration_us(half_life))
    found: list[tuple[dict[str, Any], Callable[..., object]]] = [
        ({"function": "decayed_count", "half_life": half_life}, partial(fading, column=None, counts=True)),
        (
            {"function": "decayed_count", "column": "x", "half_life": half_life},
            partial(fading, column="x", counts=True),
        ),
    ]
    if numbers:
        given = {"function": "decayed_sum", "column": "x", "half_life": half_life}
        found.append((given, partial(fading, column="x", counts=False)))
    return found


@st.composite
def functions(draw: st.DrawFn) -> Function:
    """Any aggregate of numbers, of any column that it may be of."""
    columns = {"x": draw(st.sampled_from(list(VALUES))), "y": draw(st.sampled_from([*FLOATS, *INTEGERS]))}
    apart = of_numbers(columns, draw(st.integers(0, 18)))
    if draw(st.integers(0, 3)) == 0:
        given, answer = draw(st.sampled_from(apart))
        bound = draw(st.integers(1, 4))
        columns["by"] = draw(st.sampled_from(list(KEYS)))
        aggregate = Aggregate(windows=WINDOW, by="by", bound=bound, **given)
        return Function(aggregate, columns, partial(oracle.keyed, inner=answer, bound=bound))
    numbers = columns["x"] in FLOATS or columns["x"] in INTEGERS
    half_life = draw(st.sampled_from([timedelta(seconds=1), MINUTE, timedelta(minutes=7), timedelta(days=30)]))
    since = partial(oracle.since_last, as_of=AS_OF)
    more = [
        *_decays(half_life, numbers=numbers),
        ({"function": "time_since_last"}, partial(since, column=None)),
        ({"function": "time_since_last", "column": "x"}, partial(since, column="x")),
    ]
    if numbers:
        pool = st.lists(st.sampled_from([-1e300, -(2.0**63), -1, 0, 0.5, 1, 2**53 + 1, 2.0**63, 1e300]), min_size=1)
        edges = sorted(set(draw(pool)))
        more.append(({"function": "histogram", "column": "x", "edges": edges}, partial(oracle.histogram, edges=edges)))
    given, answer = draw(st.sampled_from([*apart, *more]))
    return Function(Aggregate(windows=WINDOW, **given), columns, answer)


@st.composite
def given_records(draw: st.DrawFn, function: Function, cells: int) -> list[Given]:
    """Records with the cell that each belongs to, in any order."""
    pools = {name: draw(st.lists(VALUES[function.columns[name]], min_size=1, max_size=6)) for name in ("x", "y")}
    if function.aggregate.function == "decayed_sum":
        # Where the last hop's sum is beyond the range is not what the oracle is about.
        pools["x"] = [one for one in pools["x"] if not isinstance(one, float) or not 1e300 < abs(one) < inf] or [1]
    keys = KEYS[function.columns.get("by", pa.string())]
    record = st.builds(
        lambda cell, age, x, y, by: (cell, oracle.Record(AS_OF - age, x, y, by)),
        st.integers(0, cells - 1),
        st.sampled_from([0, 1, -90_000_000, 30_000_000, 60_000_000, 61_000_000, 1_800_000_000, 5_000_000_001]),
        st.none() | st.sampled_from(pools["x"]) | st.sampled_from(pools["x"]),
        st.none() | st.sampled_from(pools["y"]) | st.sampled_from(pools["y"]),
        st.none() | st.sampled_from(keys),
    )
    return draw(st.lists(record, max_size=24))
