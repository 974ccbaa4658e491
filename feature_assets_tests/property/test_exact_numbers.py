"""Exact numbers, their roundings and their bytes, against Python's fractions and the documentation."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import fsum, ulp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates import exact, rounding
from feature_assets.compute.aggregates.decay import halved
from feature_assets.compute.aggregates.packed_exact import packed_numbers, unpacked_numbers
from feature_assets.compute.aggregates.packing import (
    packed_integers,
    packed_sparse,
    unpacked_integers,
    unpacked_sparse,
)
from feature_assets.compute.aggregates.slot import Additive
from feature_assets.compute.aggregates.stretches import Stretches
from feature_assets.errors import CodecError
from feature_assets_tests.number_records import ints
from feature_assets_tests.oracle import aggregates_numbers as oracle

DIGITS = st.integers(-(2**62), 2**62) | st.integers(-2, 2) | st.sampled_from([2**32 - 1, -(2**32), 2**31, 2**52])
POWERS = st.builds(
    lambda sign, place: sign * 2.0**place,
    st.sampled_from([1.0, -1.0]),
    st.sampled_from([0, 1, -52, -53, -54, -70, -140, -300]),
)
WORDS = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200) | st.integers(10**15, 10**15 + 300)


@st.composite
def numbers(draw: st.DrawFn, *, least: int = -70) -> Additive:
    """Any digits, in any form."""
    width = draw(st.integers(1, 6))
    rows = draw(st.lists(st.lists(DIGITS, min_size=width, max_size=width), max_size=6))
    base = draw(st.integers(least, 66 - width) | st.integers(max(least, -4), 2))
    return Additive(base, np.array(rows, np.int64).reshape(-1, width))


def fractions(number: Additive) -> list[Fraction]:
    bases = [Fraction(2) ** (32 * (number.base + place)) for place in range(number.values.shape[1])]
    return [
        sum((digit * base for digit, base in zip(row, bases, strict=True)), Fraction(0))
        for row in number.values.tolist()
    ]


def sizes(data: st.DataObject, cells: int) -> list[int]:
    """Items of so many cells together, some of them empty."""
    cuts = sorted(data.draw(st.lists(st.integers(0, cells), max_size=4)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, cells], strict=True)]


@settings(max_examples=250)
@given(numbers())
def test_forms_of_a_number_are_the_number(number: Additive) -> None:
    expected = fractions(number)
    canonical = exact.canonical(number)
    assert fractions(canonical) == expected
    assert ((canonical.values[:, :-1] >= 0) & (canonical.values[:, :-1] < 2**32)).all()
    assert (np.abs(canonical.values[:, -1]) <= 2**31).all()
    magnitudes, negative = exact.magnitudes(number)
    assert fractions(magnitudes) == list(map(abs, expected))
    assert negative.tolist() == [one < 0 for one in expected]
    assert fractions(exact.added(canonical, canonical)) == [2 * one for one in expected]


@settings(max_examples=250)
@given(numbers(), numbers(), st.integers(0, 2**31 - 1))
def test_spreads_are_those_of_fractions(sums: Additive, squares: Additive, count: int) -> None:
    cells = min(len(sums.values), len(squares.values))
    sums = Additive(sums.base, sums.values[:cells])
    squares = exact.magnitudes(Additive(squares.base, squares.values[:cells]))[0]
    counts = [count, *range(cells)][:cells]
    pairs = zip(counts, fractions(squares), fractions(sums), strict=True)
    assert fractions(exact.spreads(sums, squares, ints(counts))) == [n * more - one * one for n, more, one in pairs]
    largest = Additive(squares.base, np.full((1, 3), 2**32 - 1))
    nothing = Additive(0, np.zeros((1, 1), np.int64))
    assert fractions(exact.spreads(nothing, largest, ints([2**31 - 1]))) == [fractions(largest)[0] * (2**31 - 1)]


@settings(max_examples=250)
@given(numbers(least=0))
def test_whole_numbers_are_int64_or_beyond(number: Additive) -> None:
    values, beyond = exact.integers(number)
    for value, over, expected in zip(values.tolist(), beyond.tolist(), fractions(number), strict=True):
        assert over == (not -(2**63) <= expected < 2**63)
        assert over or value == expected


@settings(max_examples=300)
@given(numbers(least=-33))
def test_sums_are_rounded_to_the_nearest_double(number: Additive) -> None:
    values, beyond = rounding.rounded_sums(number)
    for value, over, expected in zip(
        values.tolist(), beyond.tolist(), map(oracle.nearest, fractions(number)), strict=True
    ):
        assert over == (expected == oracle.OVERFLOW)
        assert over or repr(value) == repr(expected)


@settings(max_examples=250)
@given(st.lists(POWERS, min_size=1, max_size=8))
def test_ties_are_broken_by_whatever_is_below(values: list[float]) -> None:
    """Few bits, far apart: many sums are half-way between two doubles, or beside that."""
    limbs, exponent = exact.float_limbs(np.array(values))
    number = exact.summed(limbs, exponent, np.zeros(len(values), np.int64), 1)
    assert rounding.rounded_sums(number)[0].tolist() == [fsum(values) + 0.0]


@settings(max_examples=250)
@given(numbers(least=-30), numbers(least=-30))
def test_quotients_and_roots_are_next_to_the_exact_ones(one: Additive, other: Additive) -> None:
    cells = min(len(one.values), len(other.values))
    one, other = Additive(one.base, one.values[:cells]), Additive(other.base, other.values[:cells])
    above, below = rounding.scaled_sums(one), rounding.scaled_sums(other)
    quotients, roots = rounding.rounded(rounding.quotients(above, below)), rounding.rounded(rounding.roots(above))
    for cell, (upper, lower) in enumerate(zip(fractions(one), fractions(other), strict=True)):
        for (values, beyond), near in (
            (quotients, lower and oracle.Near(upper / lower)),
            (roots, oracle.Near(abs(upper), is_root=True)),
        ):
            answer = oracle.OVERFLOW if beyond[cell] else float(values[cell])
            assert not near or near.is_met(answer)


@settings(max_examples=200)
@given(numbers(least=-30), st.integers(0, 2**31 - 1))
def test_a_division_by_counts_is_that_by_numbers(number: Additive, count: int) -> None:
    counts = ints([count, *range(len(number.values))][: len(number.values)])
    scaled, sizes = rounding.scaled_sums(number), rounding.whole(counts)
    once = rounding.quotients(scaled, sizes)
    for times, expected in ((1, once), (2, rounding.quotients(once, sizes))):
        found = rounding.divided(scaled, counts, times=times)
        for name in ("high", "low", "exponent", "negative"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@settings(max_examples=300)
@given(st.data(), numbers())
def test_numbers_are_read_back_by_the_documentation(data: st.DataObject, number: Additive) -> None:
    expected = fractions(number)
    counts = sizes(data, len(expected))
    codes, blobs = packed_numbers(number, ints(counts))
    assert fractions(unpacked_numbers(codes, blobs, ints(counts))) == expected
    read = [oracle.packed_numbers(*one) for one in zip(codes.tolist(), blobs, counts, strict=True)]
    assert [one for item in read for one in item] == expected
    assert all(len(blob) <= 2 + 8 * 6 * count + 8 * count for blob, count in zip(blobs, counts, strict=True))


@settings(max_examples=200)
@given(st.lists(numbers(), min_size=1, max_size=5))
def test_items_of_very_different_sizes_are_read_back(items: list[Additive]) -> None:
    number, counts = exact.concatenated(items), ints(map(len, (one.values for one in items)))
    codes, blobs = packed_numbers(number, counts)
    assert fractions(unpacked_numbers(codes, blobs, counts)) == [one for item in items for one in fractions(item)]


@settings(max_examples=200)
@given(st.data(), st.lists(st.tuples(st.binary(max_size=3), st.integers(0, 8), st.integers(0, 4)), max_size=6))
def test_stretches_of_a_buffer_are_read_one_by_one(data: st.DataObject, forms: list[tuple[bytes, int, int]]) -> None:
    """What is behind a head, of integers of some width; and what is left of each without its head."""
    bodies = [data.draw(st.binary(min_size=width * count, max_size=width * count)) for _, width, count in forms]
    blobs = [head + body for (head, _, _), body in zip(forms, bodies, strict=True)]
    stretches = Stretches.of(blobs)
    heads, widths, counts = (ints(column) for column in ([len(head) for head, _, _ in forms], *_columns(forms)))
    expected = [
        int.from_bytes(body[at * width : (at + 1) * width], "little", signed=True)
        for (_, width, count), body in zip(forms, bodies, strict=True)
        for at in range(count)
    ]
    assert stretches.integers(heads, widths, counts).tolist() == expected
    assert list(stretches) == [stretches[at] for at in range(len(blobs))] == stretches[:] == blobs
    assert list(stretches.beyond(heads)) == bodies


def _columns(forms: list[tuple[bytes, int, int]]) -> list[list[int]]:
    return [[width for _, width, _ in forms], [count for _, _, count in forms]]


@settings(max_examples=300)
@given(st.data(), st.lists(WORDS | st.just(7), max_size=24))
def test_integers_are_read_back_by_the_documentation(data: st.DataObject, values: list[int]) -> None:
    counts = sizes(data, len(values))
    codes, blobs = packed_integers(ints(values), ints(counts))
    assert unpacked_integers(codes, blobs, ints(counts)).tolist() == values
    read = [oracle.packed_integers(*one) for one in zip(codes.tolist(), blobs, counts, strict=True)]
    assert [one for item in read for one in item] == values
    codes, blobs = packed_sparse(ints(values), 7, ints(counts))
    assert unpacked_sparse(codes, blobs, 7, ints(counts)).tolist() == values
    read = [oracle.packed_sparse(*one, 7) for one in zip(codes.tolist(), blobs, counts, strict=True)]
    assert [one for item in read for one in item] == values
    assert all(len(blob) <= 8 * count for blob, count in zip(blobs, counts, strict=True))


@settings(max_examples=200)
@given(st.floats(0, 1, exclude_max=True) | st.integers(0, 63).map(lambda step: step / 64))
def test_half_lives_are_next_to_the_exact_power(share: float) -> None:
    (found,) = halved(np.array([share])).tolist()
    with localcontext() as context:
        context.prec = 60
        expected = Decimal(2) ** -Decimal(share)
        assert abs(Decimal(found) - expected) <= Decimal("1.1") * Decimal(ulp(0.5))
    assert found == 1.0 or share


@pytest.mark.parametrize(
    ("values", "code", "blob"),
    [
        ([0.0, 0.0], 0, ""),
        ([1.0, -2.0], 1, "01fe"),
        ([300.0, 0.0], 1, "2c010000"),
        ([0.5, 1.0], 2, "ffff" + "8000" + "0001"),
        ([2.0**80], 2, "0a00" + "01"),
    ],
)
def test_sums_have_these_bytes(values: list[float], code: int, blob: str) -> None:
    """They are in stores: they do not change."""
    limbs, exponent = exact.float_limbs(np.array(values))
    number = exact.summed(limbs, exponent, np.arange(len(values)), len(values))
    codes, blobs = packed_numbers(number, ints([len(values)]))
    assert (codes.tolist(), [one.hex() for one in blobs]) == ([code], [blob])


@pytest.mark.parametrize(
    ("values", "code", "blob"),
    [
        ([0, 0], 0, ""),
        ([1, -1], 1, "01ff"),
        ([1, 300], 2, "01002c01"),
        ([2**40, 2**40, 2**40], 16, "0000000000010000"),
        ([2**40 + 1, 2**40, 2**40], 17, "0000000000010000" + "010000"),
    ],
)
def test_integers_have_these_bytes(values: list[int], code: int, blob: str) -> None:
    codes, blobs = packed_integers(ints(values), ints([len(values)]))
    assert (codes.tolist(), [one.hex() for one in blobs]) == ([code], [blob])


@pytest.mark.parametrize(
    ("code", "blob", "count"),
    [(1, b"\x01\x02\x03", 2), (0, b"\x01", 2), (3, b"\x01", 1), (2, b"\x01", 1), (2, b"\xff\x7f\x01", 1), (1, b"", 2)],
)
def test_damaged_numbers_are_refused(code: int, blob: bytes, count: int) -> None:
    with pytest.raises(CodecError, match=r"item 0|without a place"):
        unpacked_numbers(np.array([code], np.uint8), [blob], ints([count]))
