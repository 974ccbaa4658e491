"""Some features of a view, asked for one instant, are the same as among all of them, asked item by item.

And what they do not need is not read: the cells of other slots may be anything.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.slot import Finished
from feature_assets.compute.tiles import Plan, Rings, packed, ring_of_records, unpacked, windows
from feature_assets_tests.ring_records import ENTITIES, SECOND, Story, stories


def plain(answers: list[Finished]) -> list[list[tuple[str, bool]]]:
    """As text, so that NaN equals NaN and 0.0 is not -0.0."""
    return [list(zip(map(repr, one.values.to_pylist()), one.overflow.tolist(), strict=True)) for one in answers]


def sections_of(story: Story) -> list[Rings]:
    """The records in one section, or in two."""
    parts = [story.random.randrange(2) for _ in range(len(story.item))]
    found = []
    for part in set(parts) or {0}:
        records, item = story.some([row for row, mine in enumerate(parts) if mine == part])
        found.append(ring_of_records(story.layout, records, item, ENTITIES, story.now))
    return found


@settings(max_examples=150)
@given(story=stories(most=6), late=st.integers(0, 700))
def test_some_features_are_the_same_among_all(story: Story, late: int) -> None:
    sections, at = sections_of(story), story.now + late * SECOND
    every = plain(windows(sections, np.full(ENTITIES, at)))
    chosen = story.random.sample(range(len(every)), story.random.randint(1, len(every)))
    plan = Plan.of(story.layout, [story.layout.uses[place] for place in chosen])
    assert plan.slots == tuple(sorted({slot for place in chosen for slot in story.layout.uses[place].slots}))
    read = [unpacked(story.layout, packed(rings), plan.slots) for rings in sections]
    answers = plan.finished(read, at)
    assert plain(answers) == [every[place] for place in chosen]
    assert [one.values.type for one in answers] == [story.layout.uses[place].feature.dtype for place in chosen]
    assert plain(plan.finished(read, np.full(ENTITIES, at))) == plain(answers)


@pytest.mark.parametrize("items", [0, 2])
@given(story=stories())
def test_items_without_tiles_have_empty_windows(items: int, story: Story) -> None:
    plan = Plan.of(story.layout, story.layout.uses)
    nothing = unpacked(story.layout, [b""] * items, plan.slots)
    assert plain(plan.finished([nothing], story.now)) == plain(windows([nothing], np.full(items, story.now)))
