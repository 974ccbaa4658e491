"""Blobs in one buffer against a list of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.compute.aggregates.joined import Joined

BLOBS = st.lists(st.binary(max_size=9), max_size=12)


@given(BLOBS, st.data())
def test_it_is_the_sequence_of_its_blobs(blobs: list[bytes], data: st.DataObject) -> None:
    joined = Joined.of(blobs)
    assert list(joined) == blobs
    assert [joined[at] for at in range(len(joined))] == blobs
    assert joined[1:3] == blobs[1:3]
    assert joined.lengths.tolist() == [len(blob) for blob in blobs]
    assert Joined.of(joined) is joined
    items = data.draw(st.lists(st.integers(0, len(blobs) - 1), max_size=20) if blobs else st.just([]))
    assert list(joined.pick(np.array(items, np.int64))) == [blobs[item] for item in items]


@given(BLOBS, st.data())
def test_what_is_skipped_is_left_out(blobs: list[bytes], data: st.DataObject) -> None:
    skip = [data.draw(st.integers(0, len(blob))) for blob in blobs]
    keys = [data.draw(st.integers(-1, 2)) for _ in blobs]
    joined = Joined.of(blobs)
    found = {
        key: (items.tolist(), list(part))
        for key, items, part in joined.groups(np.array(keys, np.int64), np.array(skip, np.int64))
    }
    naive: dict[int, tuple[list[int], list[bytes]]] = {}
    for item, key in enumerate(keys):
        if key >= 0:
            items, parts = naive.setdefault(key, ([], []))
            items.append(item)
            parts.append(blobs[item][skip[item] :])
    assert found == naive


@given(st.lists(st.lists(st.binary(max_size=5), min_size=3, max_size=3), max_size=8), st.sets(st.integers(0, 2)))
def test_a_blob_is_cut_into_its_parts(parts: list[list[bytes]], without: set[int]) -> None:
    sizes = np.array([[len(part) for part in one] for one in parts], np.int64).reshape(-1, 3)
    cut = Joined.of([b"".join(one) for one in parts]).cut(sizes, without)
    assert [list(one) for one in cut] == [
        [b"" if number in without else one[number] for one in parts] for number in range(3)
    ]


@given(st.lists(st.binary(min_size=3, max_size=6), max_size=8))
def test_heads(blobs: list[bytes]) -> None:
    joined = Joined.of(blobs)
    assert [bytes(one) for one in joined.heads(3)] == [blob[:3] for blob in blobs]
    some = np.arange(len(blobs))[::-2]
    assert [bytes(one) for one in joined.heads(3, some)] == [blobs[item][:3] for item in some]
