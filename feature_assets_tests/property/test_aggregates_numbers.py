"""Aggregates of numbers against fractions, and the laws of their slots: no way to a state makes a difference to it."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.exact import integers
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.aggregates.sums import FixedSum, FloatSum
from feature_assets.errors import CodecError
from feature_assets_tests.number_records import Function, agrees, functions, given_records, ints

CELLS = 4
ALONE = ints([1] * CELLS)


@settings(max_examples=700)
@given(st.data(), functions())
def test_answers_are_the_oracles(data: st.DataObject, function: Function) -> None:
    records = data.draw(given_records(function, CELLS))
    answers = function.finish(function.lift(records, CELLS), CELLS)
    for cell in range(CELLS):
        expected = function.answer([one for of, one in records if of == cell])
        assert agrees(answers[cell], expected), f"cell {cell}: {answers[cell]!r} is not {expected!r}"


@settings(max_examples=450)
@given(st.data(), functions())
def test_a_state_is_of_the_records_whatever_the_way(data: st.DataObject, function: Function) -> None:
    records = data.draw(given_records(function, CELLS))
    whole = function.lift(records, CELLS)
    group = data.draw(st.permutations(records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(group)), max_size=4)))
    parts = [group[start:end] for start, end in zip([0, *cuts], [*cuts, len(group)], strict=True)]
    merged = [slot.empty(CELLS) for slot in function.slots]
    for lifted in data.draw(st.permutations([function.lift(part, CELLS) for part in parts])):
        merged = function.merged_pair(merged, lifted, CELLS)
        if data.draw(st.booleans()):
            # On its way through a store.
            stored = [slot.encode(one, ALONE) for slot, one in zip(function.slots, merged, strict=True)]
            merged = [slot.decode(*one, ALONE) for slot, one in zip(function.slots, stored, strict=True)]
    assert function.bytes_of(merged, ALONE) == function.bytes_of(whole, ALONE)
    assert repr(function.finish(merged, CELLS)) == repr(function.finish(whole, CELLS))


@settings(max_examples=200)
@given(st.data(), functions())
def test_cells_merge_into_groups_as_their_records_do(data: st.DataObject, function: Function) -> None:
    records = data.draw(given_records(function, CELLS))
    groups = data.draw(st.integers(1, 4))
    group = ints(sorted(data.draw(st.lists(st.integers(0, groups - 1), min_size=CELLS, max_size=CELLS))))
    states = function.lift(records, CELLS)
    merged = [slot.merge(one, group, groups) for slot, one in zip(function.slots, states, strict=True)]
    expected = function.lift([(int(group[cell]), one) for cell, one in records], groups)
    counts = ints([1] * groups)
    assert function.bytes_of(merged, counts) == function.bytes_of(expected, counts)


@settings(max_examples=250)
@given(st.data(), functions(), st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_states_come_back_from_their_bytes(data: st.DataObject, function: Function, sizes: list[int]) -> None:
    counts = ints(sizes)
    cells = int(counts.sum())
    records = data.draw(given_records(function, cells)) if cells else []
    states = function.lift(records, cells)
    starts = (np.cumsum(counts) - counts).tolist()
    back = []
    for slot, one in zip(function.slots, states, strict=True):
        codes, blobs = slot.encode(one, counts)
        found = slot.decode(codes, [memoryview(blob) for blob in blobs], counts)
        back.append(found)
        again = slot.encode(found, counts)
        assert (again[0].tolist(), again[1]) == (codes.tolist(), blobs)
        for item, (start, count) in enumerate(zip(starts, sizes, strict=True)):
            part = slot.take(one, np.arange(start, start + count))
            nothing = slot.encode(slot.empty(count), ints([count]))
            alone = slot.encode(part, ints([count]))
            assert (alone[0].tolist(), alone[1]) == ([codes[item]], [blobs[item]])
            assert (nothing[0].tolist(), nothing[1]) == ([0], [b""])
            assert codes[item] or not blobs[item]
    assert repr(function.finish(back, cells)) == repr(function.finish(states, cells))


@settings(max_examples=150)
@given(st.data(), functions())
def test_what_is_taken_and_joined_is_itself(data: st.DataObject, function: Function) -> None:
    chosen = data.draw(st.lists(st.integers(0, CELLS - 1), max_size=8))
    states = function.lift(data.draw(given_records(function, CELLS)), CELLS)
    others = function.lift(data.draw(given_records(function, CELLS)), CELLS)
    for slot, one, other in zip(function.slots, states, others, strict=True):
        alone, beside = slot.encode(one, ALONE)[1], slot.encode(other, ALONE)[1]
        taken = slot.encode(slot.take(one, ints(chosen)), ints([1] * len(chosen)))[1]
        assert taken == [alone[cell] for cell in chosen]
        joined = slot.concat([one, slot.empty(2), slot.empty(0), other])
        assert slot.encode(joined, ints([1] * (2 * CELLS + 2)))[1] == [*alone, b"", b"", *beside]
        assert slot.encode(slot.concat([]), ints([]))[1] == []


@settings(max_examples=300)
@given(st.data(), functions(), st.sampled_from(["code", "count", "cut", "longer", "byte", "anything"]))
def test_damage_is_refused_or_is_a_state(data: st.DataObject, function: Function, how: str) -> None:
    """Never anything but `CodecError`; what is decoded in spite of it can be worked with."""
    states = function.lift(data.draw(given_records(function, CELLS)), CELLS)
    which = data.draw(st.integers(0, len(states) - 1))
    slot = function.slots[which]
    count = CELLS
    codes, (blob,) = slot.encode(states[which], ints([CELLS]))
    code = int(codes[0])
    match how:
        case "code":
            code = (code + data.draw(st.integers(1, 255))) % 256
        case "count":
            count = data.draw(st.integers(0, 12).filter(lambda other: other != CELLS))
        case "cut":
            blob = blob[: data.draw(st.integers(0, max(len(blob) - 1, 0)))]
        case "longer":
            blob += data.draw(st.binary(min_size=1, max_size=3))
        case "byte" if blob:
            at = data.draw(st.integers(0, len(blob) - 1))
            blob = blob[:at] + bytes([data.draw(st.integers(0, 255))]) + blob[at + 1 :]
        case _:
            code, blob = data.draw(st.integers(0, 255)), data.draw(st.binary(max_size=40))
    try:
        found = slot.decode(np.array([code], np.uint8), [blob], ints([count]))
        if count == CELLS:
            states[which] = found
            # Not as Python's values: a date that is damaged may be none of these.
            function.done(states, CELLS)
    except CodecError:
        return
    slot.merge(found, np.zeros(count, np.int64), 1)
    slot.encode(found, ints([count]))


@pytest.mark.parametrize("scale", range(1, 7))
def test_decimals_are_of_the_exact_double(scale: int) -> None:
    """Of many such doubles the product with 10**scale, rounded, is a tie, and the exact one is not."""
    values = [(whole + 0.5) / 10**scale for whole in range(-1500, 1500)]
    slot = FixedSum("x", scale)
    records = Records({"x": pa.array(values)}, np.arange(len(values)), np.arange(len(values)))
    found, beyond = integers(slot.lift(records, np.arange(len(values)), len(values)))
    assert not beyond.any()
    assert found.tolist() == [round(Fraction(one) * 10**scale) for one in values]


@pytest.mark.parametrize("length", [0, 1, 70_000])
def test_many_records_of_one_cell(length: int) -> None:
    """More than are spread over columns at a time."""
    values = np.resize([0.1, -1e300, 3.0, 1e300, 5e-324], length)
    slot = FloatSum("x")
    records = Records({"x": pa.array(values)}, np.arange(length), np.arange(length))
    whole = slot.lift(records, np.zeros(length, np.int64), 1)
    each = slot.merge(slot.lift(records, np.arange(length), length), np.zeros(length, np.int64), 1)
    assert slot.encode(whole, ints([1]))[1] == slot.encode(each, ints([1]))[1]
