"""Lists, sets and sketches against the oracle, and the laws of a slot: no way to a state makes a difference to it."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.registers import Registers
from feature_assets.definition.aggregate import Aggregate
from feature_assets.errors import CodecError
from feature_assets_tests.object_records import (
    LISTED,
    SKETCHED,
    WINDOW,
    Function,
    States,
    comparable,
    functions,
    ints,
    plain,
    records_of,
    same,
    tiled,
)
from feature_assets_tests.oracle import aggregates_objects as oracle

CELLS = 5
ALL = (*LISTED, *SKETCHED)


def blobs_of(function: Function, states: States) -> object:
    """The bytes of each cell as an item of its own."""
    codes, blobs = function.slot.encode(states, np.ones(len(states), np.int64))
    return codes.tolist(), blobs


@pytest.mark.parametrize("name", LISTED)
@settings(max_examples=50)
@given(data=st.data())
def test_answers_are_the_oracles(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, CELLS))
    answers = function.finish(function.lift(records, CELLS))
    for cell in range(CELLS):
        expected = function.answer([one for of, one in records if of == cell])
        assert answers[cell] == comparable(expected), f"cell {cell}"


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40)
@given(data=st.data())
def test_a_state_is_of_the_records_whatever_the_way(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, CELLS))
    whole = function.lift(records, CELLS)
    group = data.draw(st.permutations(records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(group)), max_size=4)))
    parts = [group[start:end] for start, end in zip([0, *cuts], [*cuts, len(group)], strict=True)]
    merged = function.slot.empty(CELLS)
    for lifted in data.draw(st.permutations([function.lift(part, CELLS) for part in parts])):
        merged = function.merged_pair(merged, lifted)
    assert same(merged, whole)
    assert blobs_of(function, merged) == blobs_of(function, whole)
    assert function.finish(merged) == function.finish(whole)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40)
@given(data=st.data())
def test_cells_merge_into_groups_as_their_records_do(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, CELLS))
    groups = data.draw(st.integers(1, 4))
    group = ints(sorted(data.draw(st.lists(st.integers(0, groups - 1), min_size=CELLS, max_size=CELLS))))
    merged = function.slot.merge(function.lift(records, CELLS), group, groups)
    assert same(merged, function.lift([(int(group[cell]), one) for cell, one in records], groups))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40)
@given(data=st.data(), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_states_come_back_from_their_bytes(name: str, data: st.DataObject, sizes: list[int]) -> None:
    function = data.draw(functions(name))
    counts = ints(sizes)
    cells = int(counts.sum())
    records = data.draw(tiled(function.dtype, cells)) if cells else []
    states = function.lift(records, cells)
    codes, blobs = function.slot.encode(states, counts)
    assert same(function.slot.decode(codes, blobs, counts), states)
    assert same(function.slot.decode(codes, [memoryview(blob) for blob in blobs], counts), states)
    starts = np.cumsum(counts) - counts
    for item, (start, count) in enumerate(zip(starts.tolist(), sizes, strict=True)):
        part = function.some(states, start, start + count)
        assert (codes[item] == 0) == (not blobs[item]) == all(state is None for state in plain(part))
        alone = function.slot.encode(part, counts[item : item + 1])
        assert (alone[0].tolist(), alone[1]) == ([codes[item]], [blobs[item]])


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_taken_and_joined_is_itself(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    states = function.lift(data.draw(tiled(function.dtype, CELLS)), CELLS)
    chosen = data.draw(st.lists(st.integers(0, CELLS - 1), max_size=8))
    assert plain(function.slot.take(states, ints(chosen))) == [plain(states)[cell] for cell in chosen]
    parts = [function.some(states, 0, 2), function.some(states, 2, CELLS), function.slot.empty(1)]
    assert plain(function.slot.concat(parts)) == [*plain(states), None]
    assert not len(function.slot.concat([]))


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=50)
@given(data=st.data(), how=st.sampled_from(["code", "count", "cut", "longer", "byte", "anything"]))
def test_damage_is_refused_or_is_a_state(name: str, data: st.DataObject, how: str) -> None:
    """Never anything but `CodecError`; what is decoded in spite of it can be worked with."""
    function = data.draw(functions(name))
    states = function.lift(data.draw(tiled(function.dtype, CELLS)), CELLS)
    counts = ints([CELLS])
    codes, (blob,) = function.slot.encode(states, counts)
    code = int(codes[0])
    match how:
        case "code":
            code = (code + data.draw(st.integers(1, 255))) % 256
        case "count":
            counts = ints([data.draw(st.integers(0, 12).filter(lambda count: count != CELLS))])
        case "cut":
            blob = blob[: data.draw(st.integers(0, max(len(blob) - 1, 0)))]
        case "longer":
            blob += data.draw(st.binary(min_size=1, max_size=3))
        case "byte" if blob:
            at = data.draw(st.integers(0, len(blob) - 1))
            blob = blob[:at] + bytes([data.draw(st.integers(0, 255))]) + blob[at + 1 :]
        case _:
            code, blob = data.draw(st.integers(0, 3)), data.draw(st.binary(max_size=20))
    must_fail = how == "longer" or (bool(blob) and how == "count" and code == 1) or (how == "cut" and code != 0)
    try:
        found = function.slot.decode(np.array([code], np.uint8), [blob], counts)
    except CodecError:
        return
    assert not must_fail
    function.slot.merge(found, np.zeros(len(found), np.int64), 1)
    try:
        function.finish(found)
    except CodecError:
        return


@settings(max_examples=200)
@given(st.data(), st.integers(4, 7))
def test_registers_are_the_oracles(data: st.DataObject, precision: int) -> None:
    dtype = data.draw(st.sampled_from([pa.int64(), pa.string(), pa.float64()]))
    records = [one for _, one in data.draw(tiled(dtype, CELLS))]
    more = [oracle.Record(0, 0, number) for number in range(data.draw(st.integers(0, 200)))]
    if dtype == pa.int64():
        records += more
    (state,) = Registers("x", precision).lift(records_of(records, dtype), np.zeros(len(records), np.int64), 1)
    found = oracle.registers(records, precision)
    assert (state or b"") == oracle.state_of_registers(found, precision)


@settings(max_examples=200)
@given(st.data(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0]), st.sampled_from([0.2, 0.01, 0.0001]))
def test_percentiles_are_within_their_accuracy(data: st.DataObject, share: float, accuracy: float) -> None:
    dtype = data.draw(st.sampled_from([pa.int8(), pa.int64(), pa.float32(), pa.float64()]))
    aggregate = Aggregate("approx_percentile", "x", WINDOW, percentile=share, accuracy=accuracy)
    function = Function(aggregate, dtype, lambda _: None)
    records = data.draw(tiled(dtype, CELLS))
    answers = function.finish(function.lift(records, CELLS))
    for cell in range(CELLS):
        expected = oracle.percentile([one for of, one in records if of == cell], share)
        assert_near(answers[cell], expected, accuracy)


def assert_near(answer: object, expected: float | None, accuracy: float) -> None:
    """Within the accuracy, and the rounding of the two; below the normal doubles, within the least of them."""
    if expected is None or expected in {float("inf"), float("-inf"), 0.0}:
        assert answer == comparable(expected)
        return
    assert isinstance(answer, str)
    assert abs(float(answer) - expected) <= abs(expected) * accuracy * (1 + 1e-7) + 5e-324
