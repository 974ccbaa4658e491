"""The bytes of rings: back as they were, readable by the documentation, and never taken for another ring."""

from datetime import timedelta
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.aggregates.layout import ALL_TIME, layout_of
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.tiles import Rings, packed, ring_of_records, unpacked, windows
from feature_assets.definition.window import Window
from feature_assets.errors import CodecError, ItemTooLargeError
from feature_assets_tests.oracle.ring_bytes import read
from feature_assets_tests.ring_records import ENTITIES, Story, same, stories, view_of

COUNTS = view_of([(("count", None, None), [Window.sliding(timedelta(minutes=2))])])
"""In tiles of ten seconds, of which the last thirteen and a spare one count."""


def ring_of(story: Story) -> Rings:
    return ring_of_records(story.layout, story.records, story.item, ENTITIES, story.now)


def counted(at: list[int], now: int) -> Rings:
    """A ring of one entity, of the plainest view."""
    instants = np.array(at, np.int64)
    records = Records({}, instants, np.zeros(len(at), np.int64))
    return ring_of_records(layout_of(COUNTS), records, np.zeros(len(at), np.int64), 1, now)


def story_format(story: Story) -> int:
    """What is written is the first format that has the cells of its functions."""
    later = {"top_k", "approx_percentile"}
    return 2 if later & {use.aggregate.function for use in story.layout.uses} else 1


def answers(rings: Rings, now: int) -> str:
    return repr([(one.values.to_pylist(), one.overflow.tolist()) for one in windows([rings], now)])


@settings(max_examples=300)
@given(stories())
def test_rings_come_back_from_their_bytes(story: Story) -> None:
    rings = ring_of(story)
    blobs = packed(rings)
    back = unpacked(story.layout, blobs)
    assert same(back, rings)
    some = rings.tiles > 0
    assert (back.rolled_at[some] == story.now).all()
    assert [bool(blob) for blob in blobs] == some.tolist(), "an entity without tiles has no bytes"
    for item in range(ENTITIES):
        alone = unpacked(story.layout, [blobs[item]])
        assert packed(alone) == [blobs[item]], "an item's bytes do not depend on the others"


@settings(max_examples=200)
@given(stories())
def test_bytes_are_as_documented(story: Story) -> None:
    rings = ring_of(story)
    hops = [level.hop for level in story.layout.levels]
    found = []
    for blob in filter(None, packed(rings)):
        head = read(blob, hops, len(story.layout.slots), ALL_TIME)
        assert (head.format, head.fingerprint, head.rolled_at) == (
            story_format(story),
            story.layout.fingerprint,
            story.now,
        )
        found += head.starts
        for slot, (code, cells) in zip(story.layout.slots, head.blobs, strict=True):
            slot.decode(np.array([code], np.uint8), [cells], np.array([len(head.starts)]))
    assert found == [(hops[level], start) for level, start in zip(rings.level, rings.starts.tolist(), strict=True)]


@settings(max_examples=200)
@given(stories(), st.data())
def test_what_is_damaged_is_refused(story: Story, data: st.DataObject) -> None:
    blobs = [blob for blob in packed(ring_of(story)) if blob]
    if not blobs:
        return
    place = data.draw(st.integers(0, len(blobs) - 1))
    blob = blobs[place]
    match data.draw(st.sampled_from(["cut", "bits", "longer", "other"])):
        case "cut":
            blob = blob[: data.draw(st.integers(1, len(blob) - 1))]
        case "bits":
            for bit in data.draw(st.sets(st.integers(0, 8 * len(blob) - 1), min_size=1, max_size=3)):
                blob = blob[: bit // 8] + bytes([blob[bit // 8] ^ 1 << bit % 8]) + blob[bit // 8 + 1 :]
        case "longer":
            blob += data.draw(st.binary(min_size=1, max_size=9))
        case _:
            blob = data.draw(st.binary(min_size=1, max_size=200))
    blobs[place] = blob
    with pytest.raises(CodecError, match=f"ring {place} of view 'ring'"):
        unpacked(story.layout, blobs)


@settings(max_examples=300)
@given(stories(), st.data())
def test_what_only_looks_whole_raises_nothing_else(story: Story, data: st.DataObject) -> None:
    """Damage under a checksum that is right: whoever made it, it is `CodecError` or a ring that can be asked."""
    blobs = [blob for blob in packed(ring_of(story)) if blob]
    if not blobs:
        return
    body = bytearray(blobs[0][:-4])
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=3)):
        body[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(1, len(body))) :]
    try:
        rings = unpacked(story.layout, [bytes(body) + crc32(body).to_bytes(4, "little")])
        answers(rings, story.now)
    except CodecError:
        return


def test_a_newer_format_is_refused_with_both_and_the_view() -> None:
    (blob,) = packed(counted([990_000_000], 1_000_000_000))
    newer = bytes([7]) + blob[1:-4]
    for bytes_of_it in (newer + crc32(newer).to_bytes(4, "little"), bytes([7]) + b"with a check of another kind"):
        with pytest.raises(CodecError, match=r"ring 1 of view 'ring': written in format 7.* up to format 2") as caught:
            unpacked(layout_of(COUNTS), [b"", bytes_of_it])
        assert "upgrade this reader" in str(caught.value)


def test_a_ring_of_another_view_is_refused() -> None:
    other = view_of([(("count", None, None), [Window.sliding(timedelta(minutes=1), hop=timedelta(seconds=2))])])
    with pytest.raises(CodecError, match="ring 0 of view 'ring': made for other aggregates or hops"):
        unpacked(layout_of(other), packed(counted([990_000_000], 1_000_000_000)))


def test_no_bytes_are_a_ring_without_tiles() -> None:
    now = 1_000_000_000
    assert packed(counted([now - 3_600_000_000], now)) == [b""], "too long ago"
    empty = unpacked(layout_of(COUNTS), [b"", b""])
    assert answers(empty, now) == "[([0, 0], [False, False])]"


def test_where_tiles_start_takes_next_to_nothing() -> None:
    """A tile beside the one before it takes no byte of its own; the oldest takes one, however many there are."""
    now = 1_000_000_000
    (alone,) = packed(counted([now], now))
    (dense,) = packed(counted([now - 10_000_000 * one for one in range(13)], now))
    assert len(dense) == len(alone) + 1 + 7, "counts that are all one take 8 bytes, one alone takes one"
    (sparse,) = packed(counted([now - 10_000_000 * one for one in (0, 5, 12)], now))
    assert len(sparse) == len(alone) + 1 + 2 + 2, "what is left out before a tile takes a byte, and so does a count"


def test_gaps_that_are_all_alike_take_as_little() -> None:
    view = view_of([(("count", None, None), [Window.sliding(timedelta(minutes=20), hop=timedelta(seconds=10))])])
    now = 3_000_000_000
    at = np.arange(now, now - 1_200_000_000, -30_000_000)
    zeros = np.zeros(len(at), np.int64)
    rings = ring_of_records(layout_of(view), Records({}, at, zeros), zeros, 1, now)
    (blob,) = packed(rings)
    assert same(unpacked(layout_of(view), [blob]), rings)
    assert len(blob) < 60


def test_more_tiles_than_can_be_said_are_refused() -> None:
    """Never wrapped round: with that many records dated ahead nothing is written."""
    rings = counted([1_000_000_000 + 10_000_000 * one for one in range(2**16)], 1_000_000_000)
    with pytest.raises(ItemTooLargeError, match="ring 0 of view 'ring': 65536 tiles"):
        packed(rings)
