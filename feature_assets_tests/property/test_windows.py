"""The window kernels against the naive choice of records: every function and kind of window, everything out of order.

Ties, duplicates, late, superseded, future-dated and never available records, unknown keys, both boundaries; a window's
cell is made in one step from the records that the oracle names, and so shows which records the kernel took.
"""

from collections.abc import Sequence
from datetime import timedelta
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import OPEN, duration_us
from feature_assets.compute import windows_candidates, windows_kernel, windows_newest, windows_ranges
from feature_assets.compute.aggregates import distinct_bits
from feature_assets.compute.aggregates.functions import computation
from feature_assets.compute.aggregates.layout import Use
from feature_assets.compute.aggregates.slot import Asked, Finished, Records, Slot
from feature_assets.compute.kernels import Boundary
from feature_assets.compute.windows import Questions, Visibility, windowed
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.view import Feature
from feature_assets.definition.window import Window
from feature_assets_tests.oracle.windows import Record, WindowShape, held

SECOND = 1_000_000
COLUMNS = {"amount": pa.int64(), "price": pa.float64(), "place": pa.string()}
SHORT, LONG = timedelta(seconds=4), timedelta(seconds=24)
HOP = timedelta(seconds=2)
WINDOWS = (
    Window.sliding(SHORT, hop=HOP),
    Window.sliding(LONG, hop=timedelta(seconds=1)),
    Window.sliding(timedelta(seconds=6), hop=HOP, offset=timedelta(seconds=4)),
    Window.tumbling(timedelta(seconds=8)),
    Window.lifetime(),
    Window.series(SHORT, 3, hop=HOP),
)
GIVEN: dict[str, dict[str, Any]] = {
    "last_k": {"k": 2},
    "last_distinct_k": {"k": 2},
    "top_k": {"k": 2},
    "approx_percentile": {"percentile": 0.5},
    "histogram": {"edges": (0.0, 2.0)},
    "ratio": {"over": "amount"},
    "decayed_sum": {"half_life": timedelta(seconds=5)},
    "decayed_count": {"half_life": timedelta(seconds=5)},
}


def aggregates() -> list[Aggregate]:
    """Every function that is defined for one of the columns, of each of these; and two that are kept apart."""
    found = []
    for function, rule in FUNCTIONS.items():
        fitting = [WINDOWS[0], *(one for one in WINDOWS[1:] if one.size is not None or not rule.needs_size)]
        of = [name for name, dtype in COLUMNS.items() if rule.takes(dtype)]
        found += [Aggregate(function, column, fitting, **GIVEN.get(function, {})) for column in of]
        if not rule.needs_column:
            found.append(Aggregate(function, None, fitting, **GIVEN.get(function, {})))
    found.append(Aggregate("sum", "price", WINDOWS[:2], by="place"))
    found.append(Aggregate("count", "price", WINDOWS[:2], by="place", bound=1))
    return found


def used() -> tuple[list[Use], list[Slot[object]]]:
    """Every feature of them, and the slots that they share."""
    slots: dict[Slot[object], int] = {}
    uses = []
    for one in aggregates():
        for window in one.windows:
            found = computation(one, window, COLUMNS)
            places = tuple(slots.setdefault(slot, len(slots)) for slot in found.slots)
            feature = Feature(one.feature_name(window), one.dtype(window, COLUMNS))
            uses.append(Use(feature, one, window, found, places))
    return uses, list(slots)


USES, SLOTS = used()


def shape_of(window: Window) -> WindowShape:
    """The window as the oracle takes it."""
    size = None if window.size is None else duration_us(window.size)
    return WindowShape(size, duration_us(window.hop), duration_us(window.offset), window.closed, window.count)


# -------------------------------------------------------------------------------------------------- what can happen


def moment(random: Random) -> int:
    """On a grid of whole seconds, so that instants coincide; and a microsecond beside it."""
    return 100 * SECOND + random.randint(0, 40) * SECOND + random.choice([0, 0, 0, -1, 1])


def record(random: Random, key: int, manner: str) -> Record:
    event_at = moment(random)
    delay = {"prompt": 0, "steady": 3 * SECOND, "jitter": random.randint(0, 3 * SECOND)}.get(manner, 0)
    if manner == "wild":
        delay = random.choice([-9, 0, 0, 1, 3, 30]) * SECOND
    available = None if manner == "wild" and random.random() < 0.1 else event_at + delay
    ends = manner == "wild" and available is not None and random.random() < 0.4
    superseded = available + random.choice([-1, 0, 1, 5, 20]) * SECOND if ends and available is not None else None
    return Record(key, event_at, available, superseded)


def columns_of(random: Random, count: int) -> dict[str, pa.Array]:
    """Few values, so that they repeat; nulls; and everything that a float can be."""
    amounts = [random.choice([None, 0, 1, -3, 2**40, 2**62]) for _ in range(count)]
    prices = [
        random.choice([None, 0.5, 0.1, -2.0, 1e300, -0.0, nan, inf, -inf][: random.choice([4, 9])]) for _ in amounts
    ]
    places = [random.choice([None, "", "a", "b", "c"]) for _ in amounts]
    given = {"amount": amounts, "price": prices, "place": places}
    return {name: pa.array(given[name], dtype) for name, dtype in COLUMNS.items()}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], dict[str, pa.Array], list[tuple[int, int]], Random]:
    """Records of four keys, one of which has most; questions of them and of another."""
    random = draw(st.randoms(use_true_random=True))
    count, asked = draw(st.sampled_from([40, 12, 3, 0])), draw(st.sampled_from([8, 3, 1]))
    manners = [random.choice(["prompt", "steady", "jitter", "wild"]) for _ in range(4)]
    keys = [random.choice([0, 0, 0, 1, 2, 3]) for _ in range(count)]
    records = [record(random, key, manners[key]) for key in keys]
    if random.random() < 0.5:
        records.sort(key=lambda one: one.event_at)
    questions = [(random.choice([0, 0, 1, 2, 3, -1]), moment(random)) for _ in range(asked)]
    return records, columns_of(random, count), questions, random


# ------------------------------------------------------------------------------------------------------------ the proof


def ints(values: Sequence[int | None]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([OPEN if value is None else value for value in values], np.int64)


def answered(
    records: list[Record], table: Records, questions: list[tuple[int, int]], uses: list[Use], boundary: Boundary
) -> list[Finished]:
    seen = Visibility(
        ints([int(str(one.key)) for one in records]),
        ints([one.available_at for one in records]),
        ints([one.superseded_at for one in records]),
    )
    asked = Questions(ints([key for key, _ in questions]), ints([at for _, at in questions]), boundary)
    return windowed(uses, SLOTS, table, seen, asked)


def expected(use: Use, table: Records, asked: list[int], holding: list[list[int]]) -> Finished:
    """The values of all windows of a feature, from the records that the oracle names. `asked`: each one's instant."""
    cell = np.repeat(np.arange(len(holding)), [len(one) for one in holding])
    chosen = table.take(np.array([place for one in holding for place in one], np.int64))
    cells = [SLOTS[number].lift(chosen, cell, len(holding)) for number in use.slots]
    count = use.window.count
    as_of = np.array(asked, np.int64)
    return use.computation.finish(cells, Asked(np.repeat(as_of, count), use.window.spans(as_of)[0].ravel()))


def require_equal(
    records: list[Record],
    columns: dict[str, pa.Array],
    questions: list[tuple[int, int]],
    uses: list[Use],
    boundary: Boundary,
) -> None:
    table = Records(columns, ints([one.event_at for one in records]), np.zeros(len(records), np.int64))
    answers = answered(records, table, questions, uses, boundary)
    for use, answer in zip(uses, answers, strict=True):
        shape, count = shape_of(use.window), use.window.count
        each = [held(records, key, as_of, shape, strict=boundary == "open") for key, as_of in questions]
        found = expected(use, table, [as_of for _, as_of in questions], [one for several in each for one in several])
        values, overflow = found.values.to_pylist(), np.any(found.overflow.reshape(-1, count), axis=1).tolist()
        if count > 1:
            values = [values[first : first + count] for first in range(0, len(values), count)]
        assert answer.values.type == use.feature.dtype
        # As text, so that NaN equals NaN and 0.0 is not -0.0.
        given = list(zip(map(repr, answer.values.to_pylist()), answer.overflow.tolist(), strict=True))
        assert given == list(zip(map(repr, values), overflow, strict=True)), use.feature.name
        if use.aggregate.function == "count" and use.aggregate.column is None and count == 1:
            assert answer.values.to_pylist() == [len(one) for several in each for one in several]


@settings(max_examples=2000)
@given(histories(), st.sampled_from(["closed", "open"]), st.sampled_from([0, 2, 64]), st.data())
def test_every_window_holds_what_the_oracle_says(
    history: tuple[list[Record], dict[str, pa.Array], list[tuple[int, int]], Random],
    boundary: Boundary,
    one_by_one: int,
    data: st.DataObject,
) -> None:
    records, columns, questions, random = history
    uses = random.sample(USES, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_candidates, "ONE_BY_ONE", one_by_one)
        patch.setattr(windows_ranges, "PAIRS_AT_ONCE", random.choice([16, 1 << 21]))
        patch.setattr(windows_kernel, "LABORIOUS", random.choice([0, 4]))
        patch.setattr(windows_ranges, "RANGES_AT_ONCE", random.choice([5, 1 << 14]))
        patch.setattr(windows_newest, "STEPS", random.choice([0, 3, 4096]))
        patch.setattr(distinct_bits, "MOST", random.choice([0, 2048]))
        patch.setattr(windows_kernel, "TOGETHER", random.choice([2, 1 << 14]))
        patch.setattr(windows_newest, "WORK", random.choice([0, 30, 1 << 27]))
        patch.setattr(windows_newest, "ROWS_AT_ONCE", random.choice([4, 1 << 23]))
        require_equal(records, columns, questions, uses, boundary)
