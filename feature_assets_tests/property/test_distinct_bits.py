"""Sets as bits are the sets: made of the same records, merged and turned back."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.aggregates import distinct_bits
from feature_assets.compute.aggregates.sets import Distinct
from feature_assets.compute.aggregates.slot import Records

CELLS = 6


@given(
    st.lists(st.tuples(st.integers(0, CELLS - 1), st.none() | st.integers(0, 200)), max_size=80),
    st.integers(1, 40),
    st.lists(st.integers(0, 2), min_size=CELLS, max_size=CELLS),
)
def test_bits_are_the_sets(given_: list[tuple[int, int | None]], bound: int, groups: list[int]) -> None:
    slot, group = Distinct("x", bound), np.sort(np.array(groups, np.int64))
    cell = np.sort(np.array([of for of, _ in given_], np.int64))
    column = pa.array([None if value is None else f"v{value}" for _, value in given_], pa.string())
    records = Records({"x": column}, cell, cell)
    made = slot.as_bits(records)
    assert made is not None
    bits, numbered = made
    sets, states = slot.lift(records, cell, CELLS), bits.lift(numbered, cell, CELLS)
    assert slot.sets_of(bits, states).tolist() == sets.tolist()
    merged = bits.merge(bits.concat([bits.take(states, np.arange(CELLS)), bits.empty(1)]), np.append(group, 2), 3)
    assert slot.sets_of(bits, merged).tolist() == slot.merge(sets, group, 3).tolist()


def test_a_column_of_many_values_has_no_bits() -> None:
    numbers = np.arange(distinct_bits.MOST + 1)
    records = Records({"x": pa.array(numbers)}, numbers, numbers)
    assert Distinct("x", 3).as_bits(records) is None
    assert Distinct("x", 3).as_bits(records.take(numbers[1:])) is not None
