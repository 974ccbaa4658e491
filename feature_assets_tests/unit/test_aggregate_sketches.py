"""HyperLogLog and percentile buckets: how near they come, their bounds, and their bytes."""

import math
from datetime import timedelta
from decimal import Decimal, localcontext

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.aggregates.cardinality import DistinctEstimated
from feature_assets.compute.aggregates.objects import EVERY
from feature_assets.compute.aggregates.percentiles import Buckets, Percentile, places_of, value_of
from feature_assets.compute.aggregates.registers import Registers
from feature_assets.compute.aggregates.slot import Asked, Computation, Records
from feature_assets.definition.aggregate import Aggregate
from feature_assets.errors import CodecError
from feature_assets_tests.oracle import aggregates_objects as oracle

HOUR = timedelta(hours=1)
BUCKET_1 = 1 + 2**23


def answer(computation: Computation, column: pa.Array) -> object:
    nothing = np.zeros(len(column), np.int64)
    state = computation.slots[0].lift(Records({"x": column}, nothing, nothing), nothing, 1)
    finished = computation.finish([state], Asked(np.zeros(1, np.int64), np.zeros(1, np.int64)))
    return oracle.OVERFLOW if finished.overflow[0] else finished.values[0].as_py()


def estimated(precision: int) -> DistinctEstimated:
    return DistinctEstimated(Aggregate("approx_count_distinct", "x", HOUR, precision=precision), {"x": pa.int64()})


@pytest.mark.parametrize("precision", [4, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("count", [10, 100, 1_000, 10_000, 100_000])
def test_the_estimate_is_within_three_standard_errors(precision: int, count: int) -> None:
    generator = np.random.default_rng(precision * 1_000_000 + count)
    values = generator.choice(2**40, count, replace=False)
    found = answer(estimated(precision), pa.array(np.concatenate([values, values[: count // 2]])))
    assert isinstance(found, int)
    assert abs(found - count) <= max(1, 3 * 1.04 / math.sqrt(2**precision) * count)


def test_the_estimates_of_many_sets_have_the_error_that_is_said() -> None:
    sets, size = 75, 8_000
    values = pa.array(np.random.default_rng(7).permutation(sets * size))
    cell, nothing = np.repeat(np.arange(sets), size), np.zeros(sets, np.int64)
    computation = estimated(8)
    state = computation.slots[0].lift(Records({"x": values}, cell, cell), cell, sets)
    errors = np.asarray(computation.finish([state], Asked(nothing, nothing)).values) / size - 1
    standard = 1.04 / math.sqrt(2**8)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(standard, rel=0.15)
    assert abs(np.mean(errors)) < 3 * standard / math.sqrt(sets)
    assert computation.error_bound == "standard error 6.50% of the number"


@pytest.mark.parametrize("precision", [4, 9])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 50, 3_000])
def test_the_estimate_is_that_of_the_published_equations(precision: int, count: int) -> None:
    records = [oracle.Record(0, 0, number) for number in range(count)]
    expected = oracle.estimate(oracle.registers(records, precision), precision)
    found = answer(estimated(precision), pa.array(range(count), pa.int64()))
    assert isinstance(found, int)
    assert abs(found - expected) <= 0.5 + 1e-6 * expected


def test_registers_near_and_at_their_greatest_ranks() -> None:
    """What no test can hash to: all registers at high ranks are still estimated by the equations."""
    precision, nothing = 4, np.zeros(1, np.int64)
    for rank in (40, 55, 58, 60, 61):
        found = dict.fromkeys(range(16), rank)
        states = np.fromiter([oracle.state_of_registers(found, precision)], object, 1)
        value = estimated(precision).finish([states], Asked(nothing, nothing)).values[0].as_py()
        # An estimate that would pass 64 bits stays at 2**62.
        expected = 2.0**62 if rank > 58 else oracle.estimate(found, precision)
        assert value == pytest.approx(expected, rel=1e-9)


def test_sparse_and_dense_registers_stand_side_by_side() -> None:
    """Of five cells the second and the fourth are sparse; they come back, are estimated and merged each as itself."""
    sizes = [500, 2, 300, 1, 700]
    cell = np.repeat(np.arange(5), sizes)
    computation, nothing = estimated(6), np.zeros(5, np.int64)
    slot = computation.slots[0]
    states = slot.lift(Records({"x": pa.array(np.arange(len(cell)))}, cell, cell), cell, 5)
    assert [len(state) == 48 for state in states] == [True, False, True, False, True]
    codes, blobs = slot.encode(states, np.array([5]))
    assert slot.decode(codes, blobs, np.array([5])).tolist() == states.tolist()
    together = computation.finish([states], Asked(nothing, nothing)).values.to_pylist()
    alone = [
        computation.finish([states[at : at + 1]], Asked(nothing[:1], nothing[:1])).values[0].as_py() for at in range(5)
    ]
    assert together == alone
    rows = [np.flatnonzero(np.isin(cell, cells)) for cells in ((0, 1), (2, 3, 4))]
    expected = [
        oracle.state_of_registers(oracle.registers([oracle.Record(0, 0, row) for row in some.tolist()], 6), 6)
        for some in rows
    ]
    assert slot.merge(states, np.array([0, 0, 1, 1, 1]), 2).tolist() == expected


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\x01",
        (3 * 64 + 1).to_bytes(3, "little") + (3 * 64 + 2).to_bytes(3, "little"),
        (3 * 64 + 1).to_bytes(3, "little") + (2 * 64 + 1).to_bytes(3, "little"),
        (16 * 64 + 1).to_bytes(3, "little"),
        (3 * 64).to_bytes(3, "little"),
        (3 * 64 + 62).to_bytes(3, "little"),
        b"\x00" * 12,
        b"\xff" * 12,
        b"\x04" * 15,
    ],
    ids=["none", "odd", "twice", "descending", "no register", "rank 0", "rank 62", "unset", "rank 63", "too long"],
)
def test_registers_that_are_none_are_refused(state: bytes) -> None:
    blob = msgspec.msgpack.encode([state])
    with pytest.raises(CodecError, match=r"registers\(x, 4\)"):
        Registers("x", 4).decode(np.array([EVERY], np.uint8), [blob], np.array([1]))


def percentile(share: float, accuracy: float = 0.01, bound: int = 2048) -> Percentile:
    aggregate = Aggregate("approx_percentile", "x", HOUR, percentile=share, accuracy=accuracy, bound=bound)
    return Percentile(aggregate, {"x": pa.float64()})


@pytest.mark.parametrize("accuracy", [0.0001, 0.01, 0.2])
def test_percentiles_of_many_numbers(accuracy: float) -> None:
    values = np.random.default_rng(3).lognormal(0, 2, 200_000) * np.where(np.arange(200_000) % 5, 1, -1)
    ascending = np.sort(values)
    for share in (0.0, 0.01, 0.2, 0.5, 0.95, 0.999, 1.0):
        exact = ascending[math.floor(share * (len(values) - 1))]
        found = answer(percentile(share, accuracy, bound=10_000), pa.array(values))
        if found == oracle.OVERFLOW:
            assert len(np.unique(places_of(values, accuracy))) > 10_000
        else:
            assert found == pytest.approx(exact, rel=accuracy * (1 + 1e-9), abs=0)


def test_percentiles_of_one_column_share_a_slot() -> None:
    one, other, finer = percentile(0.5), percentile(0.99), percentile(0.5, accuracy=0.02)
    assert one.slots == other.slots != finer.slots
    assert one.error_bound == "within 0.01 of the value, relatively"


def test_more_buckets_than_the_bound_is_overflow_and_stays_it() -> None:
    computation = percentile(0.5, bound=3)
    assert answer(computation, pa.array([1.0, 10.0, 100.0, 100.0])) == pytest.approx(10, rel=0.01)
    assert answer(computation, pa.array([1.0, 10.0, 100.0, math.inf])) == oracle.OVERFLOW
    assert answer(computation, pa.array([1.0, 10.0, 0.0, -10.0])) == oracle.OVERFLOW
    assert answer(computation, pa.array([math.nan, None, 10.0])) == pytest.approx(10, rel=0.01)
    assert answer(computation, pa.array([math.nan, None])) is None
    slot = computation.slots[0]
    nothing = np.arange(4, dtype=np.int64)
    cells = slot.lift(Records({"x": pa.array([1.0, 10.0, 100.0, 1000.0])}, nothing, nothing), nothing, 4)
    few = slot.merge(cells, np.array([0, 0, 0, 1]), 2)
    assert few.over.tolist() == [False, False]
    over = slot.merge(few, np.array([0, 0]), 1)
    assert (over.over.tolist(), over.counts.tolist(), len(over.keys)) == ([True], [0], 0)
    both = slot.merge(slot.concat([over, few]), np.zeros(3, np.int64), 1)
    assert (both.over.tolist(), len(both.keys)) == ([True], 0)


@pytest.mark.parametrize("accuracy", [0.0001, 0.01, 0.2])
def test_numbers_belong_to_the_buckets_of_the_exact_logarithm(accuracy: float) -> None:
    generator = np.random.default_rng(5)
    values = np.concatenate(
        [10.0 ** generator.uniform(-307, 308, 300), generator.uniform(0.5, 2, 300), [1.0, 5e-324, 1.7e308, 2.0**-1022]]
    )
    found = places_of(values, accuracy) - 2**23
    with localcontext(prec=50):
        share = Decimal(accuracy)
        step = ((1 + share) / (1 - share)).ln()
        exact = [Decimal(value).ln() / step for value in values.tolist()]
    near = np.array([abs(one - round(one)) < Decimal("1e-8") for one in exact])
    expected = np.array([math.ceil(one) for one in exact])
    assert (found == expected)[~near].all()
    assert near.sum() < 5
    assert places_of(np.array([1.0]), accuracy).tolist() == [2**23]


def test_places_ascend_with_the_values() -> None:
    values = np.array([-math.inf, -1.7e308, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1.7e308, math.inf])
    places = places_of(values, 0.0001)
    assert (np.diff(places) >= 0).all()
    assert len(set(places.tolist())) == len(values) - 1
    assert (places == -places[::-1]).all()
    assert [value_of(place, 0.0001) for place in places[[0, 4, 9]].tolist()] == [-math.inf, 0.0, math.inf]
    greatest = np.array([np.finfo(np.float64).max])
    of_greatest = [value_of(int(places_of(greatest, one)[0]), one) for one in (0.2, 0.15, 0.1, 0.05, 0.02, 0.01)]
    assert all(map(math.isfinite, of_greatest))
    assert greatest[0] in of_greatest, "none of them would have been beyond it"


@pytest.mark.parametrize(
    "state",
    [
        [[BUCKET_1], []],
        [[BUCKET_1, 0], [1, 1]],
        [[BUCKET_1, -1], [1, 1]],
        [[BUCKET_1], [0]],
        [[BUCKET_1], [2**64 - 1]],
        [[2**24 + 1], [1]],
        [[2**63], [1]],
        [[1, 1, 1, 1], [1, 1, 1, 1]],
        [[1.5], [1]],
    ],
    ids=["no count", "twice", "descending", "none", "beyond int64", "beyond infinity", "far", "too many", "float"],
)
def test_buckets_that_are_none_are_refused(state: list[list[int]]) -> None:
    slot = Buckets("x", 0.01, 3)
    with pytest.raises(CodecError, match=r"buckets\(x"):
        slot.decode(np.array([EVERY], np.uint8), [msgspec.msgpack.encode([state])], np.array([1]))
