"""How large rings become: what is said of it beforehand is enough, and is not much more than happens."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.counts import Count
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.compute.aggregates.slot import COUNT_BYTES, Records
from feature_assets.compute.tiles import (
    Rings,
    packed,
    require_small,
    ring_of_records,
    rolled,
    size_bound,
    tile_capacity,
    windows,
)
from feature_assets.definition.window import Window
from feature_assets.errors import DefinitionError
from feature_assets_tests.ring_records import START, view_of

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
USUAL = [Window.sliding(HOUR), Window.sliding(DAY), Window.sliding(WEEK)]
FIVE = [(name, None if name == "count" else "amount", None) for name in ("count", "sum", "mean", "min", "max")]
NOW = START + duration_us(30 * DAY)


def dense(asked: Sequence[tuple[tuple[str, str | None, str | None], Sequence[Window]]], now: int, every: int) -> Rings:
    """A record of one entity every so many microseconds, from long before anything looks."""
    layout = layout_of(view_of(asked))
    at = np.arange(now, now - duration_us(40 * DAY), -every)
    random = np.random.default_rng(7)
    columns = {
        "amount": pa.array(random.integers(-(2**62), 2**62, len(at))),
        "price": pa.array(random.lognormal(0, 4, len(at))),
        "place": pa.array(random.choice(["a", "b"], len(at))),
    }
    records = Records(columns, at, np.arange(len(at)))
    return ring_of_records(layout, records, np.zeros(len(at), np.int64), 1, now)


def test_as_many_tiles_as_there_can_be_and_no_more() -> None:
    asked = [(FIVE[0], USUAL)]
    found = set()
    for minutes in range(0, 60 * 24, 97):
        now = NOW + minutes * 60_000_000 + 1
        found.add(int(dense(asked, now, 60_000_000).tiles[0]))
    assert max(found) <= tile_capacity(layout_of(view_of(asked))) == 26 + 30 + 26
    # The blocks of all levels end at the same time only just before they are rolled up together.
    assert max(found) >= 74
    assert int(dense([(FIVE[0], USUAL[:1])], NOW - 1, 60_000_000).tiles[0]) == 15
    assert tile_capacity(layout_of(view_of([(FIVE[0], USUAL[:1])]))) == 15


@pytest.mark.parametrize("function", ["count", "sum", "mean", "min", "max", "var", "rate", "ratio", "time_since_last"])
@pytest.mark.parametrize("column", ["amount", "price"])
def test_no_ring_of_numbers_is_larger_than_its_bound(function: str, column: str) -> None:
    rings = dense([((function, column, None), USUAL)], NOW, 60_000_000)
    (blob,) = packed(rings)
    bound = size_bound(rings.layout)
    assert len(blob) <= bound
    assert bound < 20_000


def test_five_aggregates_over_an_hour_a_day_and_a_week_are_small() -> None:
    """Of numbers that take all of 64 bits; those of a shop take half of it."""
    (blob,) = packed(dense([(one, USUAL) for one in FIVE], NOW, 60_000_000))
    assert len(blob) <= 4096


def test_a_slot_that_no_longer_looks_takes_nothing() -> None:
    """The maximum of an hour is not kept for a week because a count is."""
    maximum, count = ("max", "amount", None), ("count", None, None)
    together = dense([(count, USUAL), (maximum, USUAL[:1])], NOW, 60_000_000)
    of_maximum = together.cells[[slot.name for slot in together.layout.slots].index("max(amount)")]
    assert 12 <= np.count_nonzero(of_maximum != together.layout.slots[1].empty(1)[0]) <= 15
    assert together.tiles[0] > 60


def test_what_later_tiles_repeat_takes_nothing() -> None:
    """One last value of an item, and not one of each tile; but of windows that end earlier each may be the one."""
    last = ("last", "place", None)
    (suffixes,) = packed(dense([(last, USUAL)], NOW, 60_000_000))
    (others,) = packed(dense([(last, [*USUAL, Window.sliding(HOUR, offset=DAY)])], NOW, 60_000_000))
    assert len(suffixes) < 100
    assert len(others) > 1000


def test_a_view_that_may_outgrow_a_store_is_refused() -> None:
    minutes = Window.sliding(30 * DAY, hop=timedelta(minutes=1))
    require_small(view_of([(("count", None, None), [Window.sliding(30 * DAY)])]))
    with pytest.raises(DefinitionError) as caught:
        require_small(view_of([(("count", None, None), USUAL), (("var", "price", None), [minutes])]))
    said = str(caught.value)
    assert "FeatureView 'ring'" in said
    assert "43,226 tiles" in said
    assert "aggregate 'a1'" in said
    assert "380,000" in said
    assert "longer hops" in said


def test_what_a_slot_says_of_itself_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of([(("count", None, None), USUAL)])
    before = size_bound(layout_of(view))
    monkeypatch.setattr(Count, "max_bytes", 1000)
    assert size_bound(layout_of(view)) == before + 82 * (1000 - COUNT_BYTES)
    monkeypatch.setattr(Count, "max_bytes", 10_000)
    with pytest.raises(DefinitionError):
        require_small(view)


def test_what_is_no_longer_needed_goes() -> None:
    rings = dense([(FIVE[0], USUAL)], NOW, 60_000_000)
    gone = rolled(rings, NOW + duration_us(9 * DAY))
    assert not gone.counts.any()
    assert packed(gone) == [b""]
    assert [one.values.to_pylist() for one in windows([gone], NOW + duration_us(9 * DAY))] == [[0], [0], [0]]
