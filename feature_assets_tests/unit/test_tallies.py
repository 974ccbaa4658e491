"""Tallies: their bytes as documented, those of format 1 of rings, and how large they become."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.aggregates.entries import Entries
from feature_assets.compute.aggregates.frequencies import Frequencies
from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.percentiles import Buckets
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.aggregates.tallies import TALLIED, Tally, often
from feature_assets.compute.aggregates.varints import packed_varints, unpacked_varints
from feature_assets.compute.tiles import appended, fits, packed, ring_of_records, rolled, unpacked, windows
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.errors import CodecError
from feature_assets_tests.ring_records import COLUMNS, ENTITY, SECOND, SOURCE, START, same

FORMER = bytes.fromhex(
    "01fecb0a7601a0db215d00000003000100010101011e0000002d00000000060301949293a161a162a2c3a4930201019291a1639101c09292a1"
    "61a162920102949294ce008000154fcd8686ce007f79169401010101c092910091019293d2ff7fffddce01000038199301010162ccd9f2"
)
"""The ring of `records`, as the first release wrote it."""


def layout() -> Layout:
    several = [Window.sliding(timedelta(hours=1)), Window.lifetime()]
    aggregates = [
        Aggregate("top_k", "place", several, k=2, bound=3),
        Aggregate("approx_percentile", "price", several, percentile=0.5, bound=4),
    ]
    columns = list(COLUMNS.items())
    view = FeatureView("ring", ENTITY, SOURCE, Sql("SELECT * FROM sales"), columns=columns, aggregates=aggregates)
    return layout_of(view)


def records() -> Records:
    at = [START - minutes * 60 * SECOND for minutes in (0, 1, 1, 7, 30, 90, 100, 100, 100)]
    columns = {
        "price": pa.array([1.5, 2.5, -2.0, 0.0, None, 7.25, 1e300, float("inf"), 1.5]),
        "place": pa.array(["a", "b", "b", None, "c", "a", "a", "b", "ä"]),
    }
    return Records(columns, np.array(at), np.arange(9))


def test_a_ring_of_the_first_format_is_read_and_written_anew() -> None:
    of, now, nothing = layout(), START + 1, np.zeros(9, np.int64)
    expected = ring_of_records(of, records(), nothing, 1, now)
    assert fits(of, FORMER)
    read = unpacked(of, [b"", FORMER, *packed(expected)])
    assert [one.values.to_pylist()[1:] for one in windows([read], now)] == [
        [["b", "a"]] * 2,
        [None] * 2,
        [0.0] * 2,
        [None] * 2,
    ]
    assert [one.overflow.tolist()[1:] for one in windows([read], now)] == [[False] * 2, [True] * 2] * 2
    assert packed(rolled(read, now))[1:] == packed(expected) * 2, "without what the first release did not prune"
    assert packed(expected)[0][0] == 2, "releases that do not know it refuse it by its format"
    more = records().take(np.array([0, 3]))
    later = appended(unpacked(of, [FORMER]), more, nothing[:2], now)
    assert same(later, appended(expected, more, nothing[:2], now))


def test_a_ring_without_tallies_stays_in_the_first_format() -> None:
    aggregates = [Aggregate("count", None, timedelta(hours=1))]
    of = layout_of(FeatureView("ring", ENTITY, SOURCE, Sql("SELECT * FROM sales"), columns=[], aggregates=aggregates))
    (blob,) = packed(ring_of_records(of, records(), np.zeros(9, np.int64), 1, START))
    assert blob[0] == 1


def varints(raw: bytes) -> list[int]:
    """As documented, byte by byte."""
    found, number, place = [], 0, 0
    for byte in raw:
        number |= (byte & 127) << place
        place += 7
        if byte < 128:
            found.append(number)
            number, place = 0, 0
    assert not place
    return found


def parts(blob: bytes, count: int) -> list[tuple[int, bytes]]:
    """The codes and the bytes behind the head."""
    found, at = [], 4 * count
    for place in range(count):
        length = int.from_bytes(blob[4 * place + 1 : 4 * place + 4], "little")
        found.append((blob[4 * place], blob[at : at + length]))
        at += length
    assert at == len(blob)
    return found


def test_the_bytes_of_buckets() -> None:
    slot = Buckets("x", 0.2, 4)
    column = pa.array([-1.0, 0.0, 0.0, 1.5, 1.5, float("inf"), None, 1.0, 3.0, 9.0, 27.0, 81.0])
    cell = np.array([0] * 7 + [2] * 5)
    states = slot.lift(Records({"x": column}, cell, cell), cell, 3)
    codes, (blob,) = slot.encode(states, np.array([3]))
    assert codes.tolist() == [TALLIED]
    per_cell, places, times = parts(blob, 3)
    assert per_cell == (1, bytes([4, 0, 255])), "the last has too many"
    middle = 2**23
    assert varints(places[1]) == [2 * middle - 1, middle, middle + 1, 2**24 - middle - 1]
    assert varints(times[1]) == [1, 2, 2, 1]


def test_the_bytes_of_frequencies() -> None:
    slot = Frequencies("x", 2)
    column = pa.array(["b", "a", None, "b", "c", "ab", "c", "d", "e"])
    cell = np.array([0, 0, 0, 0, 1, 1, 3, 3, 3])
    states = slot.lift(Records({"x": column}, cell, cell), cell, 4)
    codes, (blob,) = slot.encode(states, np.array([4]))
    assert codes.tolist() == [TALLIED]
    per_cell, known, lengths, values, places, times = parts(blob, 6)
    assert per_cell == (1, bytes([2, 2, 0, 255]))
    assert (known, lengths) == ((1, b"\x04"), (1, bytes([2, 2, 2, 3])))
    assert values[1] == b"\xa1a\xa1b\xa1c\xa2ab", "each once, by its bytes"
    assert places == (1, bytes([0, 1, 2, 3]))
    assert varints(times[1]) == [1, 2, 1, 1]


@pytest.mark.parametrize("slot", [Buckets("x", 0.01, 1000), Frequencies("x", 1000)], ids=repr)
@given(data=st.data())
def test_merging_is_counting_together(slot: Tally, data: st.DataObject) -> None:
    """Also where there are so many cells and keys that no table of all of them is made."""
    cells = data.draw(st.sampled_from([1, 5, 3000]))
    each = st.tuples(st.integers(0, cells - 1), st.sampled_from([0, 1, 2, 77, 2**40]))
    given_ = data.draw(st.lists(each, max_size=40))
    cell = np.sort(np.array([at for at, _ in given_], np.int64))
    column = pa.array([value for _, value in sorted(given_)], pa.int64())
    states = slot.lift(Records({"x": column}, cell, cell), cell, cells)
    group = np.arange(cells) // 2
    merged = slot.merge(states, group, cells)
    direct = slot.lift(Records({"x": column}, cell, cell), cell // 2, cells)
    assert (counted(merged)) == counted(direct)
    assert sum(counted(merged).values()) == len(given_)


def counted(states: Entries) -> dict[tuple[int, object], int]:
    keys = [states.names[key] for key in states.keys] if states.names else states.keys.tolist()
    pairs = zip(states.cell.tolist(), keys, strict=True)
    return dict(zip(pairs, often(states).tolist(), strict=True))


NUMBERS = st.integers(0, 2**63 - 1) | st.integers(0, 300) | st.sampled_from([2**14, 2**14 - 1, 2**21, 2**56])


@given(st.lists(st.lists(NUMBERS, max_size=6), max_size=6))
def test_numbers_come_back(items: list[list[int]]) -> None:
    counts = np.array(list(map(len, items)), np.int64)
    values = np.array([value for item in items for value in item], np.int64)
    blobs = packed_varints(values, counts)
    assert list(map(varints, blobs)) == items
    assert unpacked_varints(blobs, counts).tolist() == values.tolist()
    assert unpacked_varints([memoryview(blob) for blob in blobs], counts).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("blobs", "counts"),
    [
        ([b"\x01"], [2]),
        ([b"\x01\x02"], [1]),
        ([b"\x01", b"\x01\x01"], [2, 1]),
        ([b"\x80"], [1]),
        ([b"\x80", b"\x01"], [1, 0]),
        ([b"\x80", b"\x01"], [0, 1]),
        ([b"\x80\x00"], [1]),
        ([b"\xff" * 9 + b"\x01"], [1]),
        ([b"\x80\x80\x01\x80"], [1]),
        ([], [1]),
    ],
)
def test_numbers_that_are_none_are_refused(blobs: list[bytes], counts: list[int]) -> None:
    with pytest.raises(CodecError):
        unpacked_varints([*blobs, *[b""] * (len(counts) - len(blobs))], np.array(counts))
