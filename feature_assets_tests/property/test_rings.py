"""Rings of tiles against records that are all kept: whatever the way to a ring, it is one, and it answers as they do.

Every function, windows of every kind with hops that nest, records late, ahead and on the edges of tiles; asked at the
instant that the ring is rolled up for, later, and by a clock that is a little behind.
"""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.layout import ALL_TIME
from feature_assets.compute.aggregates.slot import Asked, Finished, Records
from feature_assets.compute.tiles import (
    SKEW,
    Rings,
    appended,
    earliest,
    empty_rings,
    merged,
    packed,
    ring_of_records,
    rolled,
    tile_capacity,
    unpacked,
    windows,
)
from feature_assets_tests.ring_records import ENTITIES, SECOND, Story, same, shape_of, stories


def expected(story: Story, as_of: list[int]) -> list[list[tuple[str, bool]]]:
    """The answer of each feature for each entity, from the records that the oracle names."""
    answers = []
    for use in story.layout.uses:
        shape, count = shape_of(use.window), use.window.count
        holding = [one for entity, at in enumerate(as_of) for one in story.kept.held(entity, at, shape)]
        cell = np.repeat(np.arange(len(holding)), [len(one) for one in holding])
        chosen = story.records.take(np.array([place for one in holding for place in one], np.int64))
        cells = [story.layout.slots[number].lift(chosen, cell, len(holding)) for number in use.slots]
        at = np.array(as_of, np.int64)
        asked = Asked(np.repeat(at, count), use.window.spans(at)[0].ravel())
        found = use.computation.finish(cells, asked)
        values, overflow = found.values.to_pylist(), [any(one) for one in found.overflow.reshape(-1, count).tolist()]
        if count > 1:
            values = [values[first : first + count] for first in range(0, len(values), count)]
        answers.append(list(zip(map(repr, values), overflow, strict=True)))
        if use.aggregate.function == "count" and use.aggregate.column is None and use.aggregate.by is None:
            assert found.values.to_pylist() == [len(one) for one in holding]
    return answers


def plain(answers: list[Finished]) -> list[list[tuple[str, bool]]]:
    """As text, so that NaN equals NaN and 0.0 is not -0.0."""
    return [list(zip(map(repr, one.values.to_pylist()), one.overflow.tolist(), strict=True)) for one in answers]


def instants(story: Story, now: int) -> list[int]:
    """When each entity is asked for: at `now`, later, or a little before."""
    least = max(story.layout.levels[0].hop, SKEW) if story.layout.levels[0].hop < ALL_TIME else SKEW
    choices = [0, 1, -1, -least, -SECOND, 7 * SECOND, 500 * SECOND, least, 3 * least, 1000 * SECOND]
    return [now + story.random.choice(choices) for _ in range(ENTITIES)]


def ring_of(story: Story, now: int) -> Rings:
    return ring_of_records(story.layout, story.records, story.item, ENTITIES, now)


def require_answers(story: Story, sections: list[Rings], now: int) -> None:
    as_of = instants(story, now)
    found = windows(sections, np.array(as_of, np.int64))
    assert [one.values.type for one in found] == [use.feature.dtype for use in story.layout.uses]
    for use, one, other in zip(story.layout.uses, plain(found), expected(story, as_of), strict=True):
        assert one == other, (use.feature.name, use.aggregate.function, use.window)


def require_sound(rings: Rings) -> None:
    """Tiles are disjoint and in order, and stand on whole hops; there are no more than there can be."""
    levels = rings.layout.levels
    hops = np.array([level.hop for level in levels])[rings.level]
    bounded = hops < ALL_TIME
    assert (rings.starts[bounded] % hops[bounded] == 0).all()
    within = rings.item[1:] == rings.item[:-1]
    ends = np.where(bounded, rings.starts + hops, rings.starts)
    assert (rings.starts[1:][within] >= ends[:-1][within]).all()
    assert (np.diff(rings.starts)[within] > 0).all()
    is_ahead = rings.starts > rings.rolled_at[rings.item]
    assert np.bincount(rings.item[~is_ahead], minlength=1).max() <= tile_capacity(rings.layout)


@settings(max_examples=700)
@given(stories())
def test_windows_of_a_ring_are_those_of_all_records(story: Story) -> None:
    rings = ring_of(story, story.now)
    require_sound(rings)
    require_answers(story, [rings], story.now)
    require_answers(story, [unpacked(story.layout, packed(rings))], story.now)


@settings(max_examples=500)
@given(stories(), st.data())
def test_any_way_to_a_ring_leads_to_the_same(story: Story, data: st.DataObject) -> None:
    """In any order, in any number of steps, each rolled up for an instant of its own; stored or not in between."""
    order = story.random.sample(range(len(story.item)), len(story.item))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=5)))
    found = empty_rings(story.layout, ENTITIES)
    for start, end in pairwise([0, *cuts, len(order)]):
        now = story.now - story.random.choice([0, 0, SECOND, 60 * SECOND, 1000 * SECOND, 10**6 * SECOND])
        found = appended(found, *story.some(order[start:end]), now)
        require_sound(found)
        if story.random.random() < 0.3:
            found = unpacked(story.layout, packed(found))
        if story.random.random() < 0.3:
            found = rolled(found, story.now - story.random.randint(0, 100) * SECOND)
    assert same(rolled(found, story.now), ring_of(story, story.now))


@settings(max_examples=400)
@given(stories())
def test_sections_are_read_together_as_one_ring(story: Story) -> None:
    """As batch and stream are: each has other records, and was rolled up at another time."""
    rows = np.array([story.random.random() < 0.5 for _ in story.item], np.bool_)
    earlier = story.now - story.random.choice([0, 1, 90, 5000]) * SECOND
    batch = ring_of_records(story.layout, *story.some(np.flatnonzero(rows)), ENTITIES, earlier)
    stream = ring_of_records(story.layout, *story.some(np.flatnonzero(~rows)), ENTITIES, story.now)
    require_answers(story, [batch, stream], story.now)
    assert same(merged(batch, stream, story.now), ring_of(story, story.now))
    assert same(merged(stream, batch, story.now), ring_of(story, story.now))
    assert same(merged(batch, stream, earlier), ring_of(story, story.now)), "what one was rolled up for holds for both"


@settings(max_examples=400)
@given(stories())
def test_rolling_up_later_is_building_later(story: Story) -> None:
    rings = ring_of(story, story.now)
    later = story.now
    for _ in range(3):
        later += story.random.choice([0, 1, SECOND, 59 * SECOND, 600 * SECOND, 40_000 * SECOND])
        rings = rolled(rings, later)
        assert same(rings, ring_of(story, later))
        assert same(rolled(rings, story.now), rings), "it does not go back"
        require_answers(story, [rings], later)


@settings(max_examples=100)
@given(stories())
def test_what_is_too_old_is_known_beforehand(story: Story) -> None:
    """So that a push need not read it: from `earliest` on every record has a tile, and before it none has."""
    first = earliest(story.layout, story.now)
    if first is None:
        assert set(ring_of(story, story.now).item.tolist()) == set(story.item.tolist())
        return
    old = story.records.event_at < first
    young = ring_of_records(story.layout, *story.some(np.flatnonzero(~old)), ENTITIES, story.now)
    assert same(young, ring_of(story, story.now))
    if not len(story.item):
        return
    edge = story.records.take(np.zeros(1, np.int64))
    for at, tiles in ((first, 1), (first - 1, 0)):
        alone = Records(edge.columns, np.array([at]), edge.sequence)
        assert ring_of_records(story.layout, alone, np.zeros(1, np.int64), 1, story.now).tiles.tolist() == [tiles]
