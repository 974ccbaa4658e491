"""What is pruned from tiles is not missed: not by any suffix of time, nor by records that come later, nor by roll-ups.

And it is the same whatever the steps: what is kept is a function of the records alone.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.slot import Ints
from feature_assets_tests.object_records import Function, States, functions, ints, plain, same, tiled
from feature_assets_tests.oracle import aggregates_objects as oracle

TILES = 6
PRUNED = ("last", "last_k", "last_distinct_k", "count_distinct", "top_k", "approx_percentile")


def one_item(states: States) -> Ints:
    return ints([len(states)])


def suffix_answers(function: Function, states: States) -> list[list[object]]:
    """Of the tiles from each on."""
    suffixes = [function.some(states, start, len(states)) for start in range(len(states) + 1)]
    return [function.finish(function.slot.merge(one, np.zeros(len(one), np.int64), 1)) for one in suffixes]


@pytest.mark.parametrize("name", PRUNED)
@settings(max_examples=80)
@given(data=st.data())
def test_no_suffix_misses_what_is_pruned(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    states = function.lift(data.draw(tiled(function.dtype, TILES)), TILES)
    before = plain(states)
    pruned = function.slot.pruned(states, one_item(states))
    assert plain(states) == before
    assert suffix_answers(function, pruned) == suffix_answers(function, states)
    assert same(function.slot.pruned(pruned, one_item(pruned)), pruned)


@pytest.mark.parametrize("name", PRUNED)
@settings(max_examples=40)
@given(data=st.data(), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_items_are_pruned_each_for_itself(name: str, data: st.DataObject, sizes: list[int]) -> None:
    function = data.draw(functions(name))
    cells = sum(sizes)
    states = function.lift(data.draw(tiled(function.dtype, cells)) if cells else [], cells)
    pruned = function.slot.pruned(states, ints(sizes))
    bounds = np.cumsum([0, *sizes]).tolist()
    for start, end in pairwise(bounds):
        part = function.some(states, start, end)
        assert same(function.some(pruned, start, end), function.slot.pruned(part, one_item(part)))


@pytest.mark.parametrize("name", PRUNED)
@settings(max_examples=80)
@given(data=st.data())
def test_batches_make_no_difference(name: str, data: st.DataObject) -> None:
    """Records come in any order, also into tiles long past, and every batch is pruned at once."""
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, TILES))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=5)))
    pruned = whole = function.slot.empty(TILES)
    for start, end in pairwise([0, *cuts, len(records)]):
        batch = function.lift(records[start:end], TILES)
        pruned = function.slot.pruned(function.merged_pair(pruned, batch), one_item(pruned))
        whole = function.lift(records[:end], TILES)
        assert suffix_answers(function, pruned) == suffix_answers(function, whole)
    counts = one_item(whole)
    expected = function.slot.pruned(whole, counts)
    assert same(pruned, expected)
    assert function.slot.encode(pruned, counts)[1] == function.slot.encode(expected, counts)[1]


@pytest.mark.parametrize("name", PRUNED)
@settings(max_examples=80)
@given(data=st.data())
def test_tiles_may_be_rolled_up_before_and_after(name: str, data: st.DataObject) -> None:
    """Adjacent tiles become one, and more records come; it is as if they had been one from the start."""
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, TILES))
    cut = data.draw(st.integers(0, len(records)))
    steps = data.draw(st.lists(st.integers(0, 1), min_size=TILES - 1, max_size=TILES - 1))
    coarse = np.cumsum([0, *steps])
    cells = int(coarse[-1]) + 1
    fine = function.lift(records[:cut], TILES)
    rolled = function.slot.merge(function.slot.pruned(fine, one_item(fine)), coarse, cells)
    rolled = function.slot.pruned(rolled, one_item(rolled))
    late = function.lift([(int(coarse[tile]), one) for tile, one in records[cut:]], cells)
    pruned = function.slot.pruned(function.merged_pair(rolled, late), one_item(rolled))
    whole = function.lift([(int(coarse[tile]), one) for tile, one in records], cells)
    assert same(pruned, function.slot.pruned(whole, one_item(whole)))
    assert suffix_answers(function, pruned) == suffix_answers(function, whole)


@pytest.mark.parametrize("name", PRUNED)
@settings(max_examples=80)
@given(data=st.data())
def test_nothing_is_kept_that_no_suffix_needs(name: str, data: st.DataObject) -> None:
    function = data.draw(functions(name))
    records = data.draw(tiled(function.dtype, TILES))
    states = function.lift(records, TILES)
    kept = plain(function.slot.pruned(states, one_item(states)))
    everything = oracle.ordered(one for _, one in records)
    match name:
        case "last":
            assert sum(state is not None for state in kept) == min(len(everything), 1)
        case "last_k" | "last_distinct_k":
            wanted = function.answer(everything)
            assert isinstance(wanted, list)
            values = [entry[2] for state in reversed(kept) if isinstance(state, tuple) for entry in state]
            assert values == [oracle.value_bytes(value) for value in wanted]
            assert () not in kept
        case "count_distinct":
            from_tile = [[one for tile, one in records if tile >= start] for start in range(TILES)]
            answers = [function.answer(part) for part in from_tile]
            # From the end on: what each tile adds to those after it, up to the tile that makes it too many.
            for tile, (answer, after) in enumerate(zip(answers, [*answers[1:], 0], strict=True)):
                match answer, after:
                    case _, oracle.OVERFLOW:
                        assert kept[tile] is None
                    case oracle.OVERFLOW, _:
                        assert kept[tile] == frozenset()
                    case int(), int():
                        state = kept[tile] or frozenset()
                        assert isinstance(state, frozenset)
                        assert len(state) == answer - after
                        assert kept[tile] is None or kept[tile]
        case _:
            # Nothing before the tile that makes it too many; and all of what comes after it.
            of_suffixes = suffix_answers(function, states)
            too_many = [tile for tile in range(TILES) if of_suffixes[tile] == [oracle.OVERFLOW]]
            edge = max(too_many, default=-1)
            assert kept[: max(edge, 0)] == [None] * max(edge, 0)
            assert edge < 0 or kept[edge] == "over"
            assert kept[edge + 1 :] == plain(states)[edge + 1 :]
