"""First, last, distinct and frequent values: their bytes as documented, ties, bounds, and blobs that are none.

Of frequent values what is here of bytes is what format 1 of rings had; see `test_tallies` for what is written.
"""

from datetime import timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.aggregates.frequencies import Frequencies, Ranked
from feature_assets.compute.aggregates.objects import EVERY, SOME, ObjectSlot
from feature_assets.compute.aggregates.orders import Latest, Listed, One
from feature_assets.compute.aggregates.sets import Distinct, DistinctCounted
from feature_assets.compute.aggregates.slot import Asked, Computation, Records, Slot
from feature_assets.definition.aggregate import Aggregate
from feature_assets.errors import CodecError

HOUR = timedelta(hours=1)
COLUMN = pa.array(["b", "a", None, "b", "c", "a"])
TIMES = [10, 20, 25, 30, 30, 5]
RECORDS = Records({"x": COLUMN}, np.array(TIMES), np.array([0, 0, 0, 7, 7, 0]))


def state_of(slot: ObjectSlot[object]) -> object:
    """What msgpack makes of the only cell of all records."""
    states = slot.lift(RECORDS, np.zeros(len(COLUMN), np.int64), 1)
    codes, (blob,) = slot.encode(states, np.array([1]))
    assert codes.tolist() == [EVERY]
    (state,) = msgspec.msgpack.decode(blob)
    return state


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (One("x", latest=True), [30, 7, "c"]),
        (One("x", latest=False), [5, 0, "a"]),
        (Latest("x", 4, distinct=False), [[30, 0, 10, 10], [7, 7, 0, 0], ["c", "b", "a", "b"]]),
        (Latest("x", 4, distinct=True), [[30, 0, 10], [7, 7, 0], ["c", "b", "a"]]),
        (Latest("x", 2, distinct=True), [[30, 0], [7, 7], ["c", "b"]]),
        (Distinct("x", 3), ["a", "b", "c"]),
        (Distinct("x", 2), []),
    ],
    ids=lambda given: str(given) if isinstance(given, ObjectSlot) else "",
)
def test_states_are_as_documented(slot: ObjectSlot[object], expected: object) -> None:
    assert state_of(slot) == expected


def test_few_filled_cells_are_a_map_and_many_an_array() -> None:
    slot = One("x", latest=True)
    one = slot.lift(RECORDS.take(np.array([0])), np.array([0]), 1)
    none = slot.empty(1)
    cells = [none, one, none, none, one, none, none]
    codes, blobs = slot.encode(slot.concat(cells), np.array([3, 2, 2, 0]))
    assert codes.tolist() == [SOME, EVERY, 0, 0]
    assert msgspec.msgpack.decode(blobs[0], type=dict[int, object]) == {1: [10, 0, "b"]}
    assert msgspec.msgpack.decode(blobs[1]) == [None, [10, 0, "b"]]
    assert blobs[2:] == [b"", b""]


STATE = [10, 0, "b"]


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (0, [None]),
        (3, [STATE, None, None]),
        (EVERY, [STATE, STATE]),
        (EVERY, [STATE, None, None]),
        (EVERY, [None, None, None]),
        (EVERY, {0: STATE}),
        (SOME, {}),
        (SOME, {3: STATE}),
        (SOME, {-1: STATE}),
        (SOME, {0: STATE, 1: STATE}),
        (SOME, {0: None}),
        (SOME, {0: [10, 0]}),
        (SOME, {0: ["10", 0, "b"]}),
    ],
)
def test_an_item_that_is_none_is_refused(code: int, value: object) -> None:
    with pytest.raises(CodecError, match=r"last\(x\): item 1: .*\nHint: the stored bytes are damaged"):
        One("x", latest=True).decode(
            np.array([0, code], np.uint8), [b"", msgspec.msgpack.encode(value)], np.array([2, 3])
        )


def test_a_map_of_cells_that_do_not_ascend_is_refused() -> None:
    slot, counts, codes = One("x", latest=True), np.array([7]), np.array([SOME], np.uint8)
    assert slot.decode(codes, [msgspec.msgpack.encode({1: STATE, 2: STATE})], counts)[2] == (10, 0, b"\xa1b")
    with pytest.raises(CodecError):
        slot.decode(codes, [msgspec.msgpack.encode({1: STATE, 3: STATE, 2: STATE})], counts)


@pytest.mark.parametrize(
    ("slot", "state"),
    [
        (Latest("x", 2, distinct=False), [[], [], []]),
        (Latest("x", 2, distinct=False), [[3, 1, 1], [0, 0, 0], ["a", "b", "c"]]),
        (Latest("x", 2, distinct=False), [[3, 1], [0], ["a", "b"]]),
        (Latest("x", 2, distinct=False), [[3, -1], [0, 0], ["a", "b"]]),
        (Latest("x", 2, distinct=False), [[3, 0], [0, 1], ["a", "b"]]),
        (Latest("x", 2, distinct=True), [[3, 1], [0, 0], ["a", "a"]]),
        (Distinct("x", 2), ["b", "a"]),
        (Distinct("x", 2), ["a", "a"]),
        (Distinct("x", 2), ["a", "b", "c"]),
        (Frequencies("x", 2), [["b", "a"], [1, 1]]),
        (Frequencies("x", 2), [["a", "b", "c"], [1, 1, 1]]),
        (Frequencies("x", 2), [["a", "b"], [1]]),
        (Frequencies("x", 2), [["a"], [0]]),
        (Frequencies("x", 2), [["a"], [2**63]]),
    ],
)
def test_a_state_that_is_none_is_refused(slot: Slot[object], state: object) -> None:
    with pytest.raises(CodecError):
        slot.decode(np.array([EVERY], np.uint8), [msgspec.msgpack.encode([state])], np.array([1]))


def finished(computation: Computation, column: pa.Array) -> tuple[object, bool]:
    place = np.arange(len(column))
    nothing = np.zeros(len(column), np.int64)
    state = computation.slots[0].lift(Records({"x": column}, place, nothing), nothing, 1)
    done = computation.finish([state], Asked(nothing[:1], nothing[:1]))
    return done.values[0].as_py(), bool(done.overflow[0])


def test_a_bound_may_be_reached_and_not_passed() -> None:
    counted = DistinctCounted(Aggregate("count_distinct", "x", HOUR, bound=2), {"x": pa.int64()})
    ranked = Ranked(Aggregate("top_k", "x", HOUR, k=2, bound=2), {"x": pa.int64()})
    assert finished(counted, pa.array([1, 2, 1])) == (2, False)
    assert finished(counted, pa.array([1, 2, 3])) == (None, True)
    assert finished(ranked, pa.array([1, 2, 2])) == ([2, 1], False)
    assert finished(ranked, pa.array([1, 2, 3])) == (None, True)


def test_nothing_is_counted_as_nothing_and_listed_as_the_empty_list() -> None:
    nulls = pa.array([None], pa.int64())
    columns = {"x": pa.int64()}
    assert finished(DistinctCounted(Aggregate("count_distinct", "x", HOUR), columns), nulls) == (0, False)
    assert finished(Ranked(Aggregate("top_k", "x", HOUR, k=2), columns), nulls) == ([], False)
    assert finished(Listed(Aggregate("last_k", "x", HOUR, k=2), columns), nulls) == ([], False)


def test_records_that_are_equal_in_all_are_each_one() -> None:
    computation = Listed(Aggregate("last_k", "x", HOUR, k=5), {"x": pa.int64()})
    slot = computation.slots[0]
    nothing = np.zeros(3, np.int64)
    lifted = slot.lift(Records({"x": pa.array([4, 4, 4])}, nothing, nothing), nothing, 1)
    assert len(lifted[0]) == 3
    assert len(slot.merge(slot.concat([lifted, lifted]), np.array([0, 0]), 1)[0]) == 5
