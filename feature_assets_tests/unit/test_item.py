"""The bytes of an item: documented, the same for ever, and refused if a newer release wrote them."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.errors import CodecError
from feature_assets.online.item import (
    WATERMARK_KEY,
    BatchSection,
    Body,
    Cut,
    Item,
    Recent,
    Row,
    StreamSection,
    Watermark,
    pack_item,
    pack_watermark,
    table_name,
    unpack_bodies,
    unpack_item,
    unpack_watermark,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.builds(Row, INT64, INT64, st.text(max_size=12), st.binary(max_size=40))
RECENT = st.builds(Recent, st.text(max_size=8), INT64, INT64, INT64)
STREAMS = st.builds(
    StreamSection,
    st.dictionaries(st.text(max_size=8), INT64, max_size=4),
    st.lists(RECENT, max_size=3).map(tuple),
    st.binary(max_size=40),
)
BATCHES = st.builds(BatchSection, INT64, INT64, st.none() | ROWS)
ITEMS = st.builds(Item, st.integers(0, 2**40), st.none() | BATCHES, st.none() | STREAMS)

EXAMPLE = Item(
    seq=7,
    batch=BatchSection(n=12, sent_at=1000, row=Row(900, 3, "2026-01-02", b"\x93\x01")),
    streams=StreamSection({"log/1": 4, "log/0": 9}, (Recent("log/0", 8, 9, 990),), b"tiles"),
)


@given(ITEMS)
def test_what_is_packed_comes_back(item: Item) -> None:
    assert unpack_item(pack_item(item), item.seq) == item


def test_the_form_is_the_documented_one() -> None:
    value = pack_item(EXAMPLE)
    assert value[0] == 1
    assert msgspec.msgpack.decode(value[1:]) == [
        [12, 1000, [900, 3, "2026-01-02", b"\x93\x01"]],
        [{"log/0": 9, "log/1": 4}, [["log/0", 8, 9, 990]], b"tiles"],
    ]
    assert msgspec.msgpack.decode(pack_item(Item())[1:]) == [None, None]


def test_the_bytes_never_change() -> None:
    assert pack_item(EXAMPLE).hex() == (
        "0192930ccd03e894cd038403aa323032362d30312d3032c402930193"
        "82a56c6f672f3009a56c6f672f3104"
        "9194a56c6f672f300809cd03dec40574696c6573"
    )
    assert pack_watermark(Watermark(3, 5, 8)).hex() == "0193030508"


def test_equal_items_have_equal_bytes() -> None:
    assert EXAMPLE.streams is not None
    other = StreamSection({"log/0": 9, "log/1": 4}, EXAMPLE.streams.recent, EXAMPLE.streams.state)
    assert list(other.fences) != list(EXAMPLE.streams.fences)
    assert pack_item(Item(7, EXAMPLE.batch, other)) == pack_item(EXAMPLE)


def test_the_cut_is_what_the_item_was_made_of() -> None:
    assert EXAMPLE.cut == Cut(12, {"log/0": 9, "log/1": 4})
    assert Item().cut == Cut(0, {})


@pytest.mark.parametrize("read", [lambda value: unpack_item(value, 1), unpack_watermark])
def test_a_newer_format_is_refused_by_name(read: object) -> None:
    assert callable(read)
    with pytest.raises(CodecError, match=r"written in format 2, and this release reads up to format 1[^$]*upgrade"):
        read(b"\x02" + pack_item(EXAMPLE)[1:])


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01", b"\x01\xc1", b"\x01\x90\x90", b"\x01\x92\x93\x01\x02\xc0"])
def test_damage_is_an_error_of_its_own(value: bytes) -> None:
    with pytest.raises(CodecError, match="Hint"):
        unpack_item(value, 1)


@given(ITEMS, st.data())
def test_truncated_bytes_are_never_an_item(item: Item, data: st.DataObject) -> None:
    value = pack_item(item)
    with pytest.raises(CodecError):
        unpack_item(value[: data.draw(st.integers(0, len(value) - 1))], item.seq)


@given(ITEMS, st.data())
def test_a_flipped_bit_is_an_error_or_another_item(item: Item, data: st.DataObject) -> None:
    value = bytearray(pack_item(item))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack_item(bytes(value), item.seq)
    except CodecError:
        return
    assert found != item


def test_what_a_later_release_appends_is_read_as_absent() -> None:
    body = msgspec.msgpack.decode(pack_item(EXAMPLE)[1:])
    body[0].append("new")
    body.append({"sections": "of the future"})
    assert unpack_item(b"\x01" + msgspec.msgpack.encode(body), 7) == EXAMPLE


def test_the_watermark_comes_back_and_has_a_key_that_no_entity_has() -> None:
    mark = Watermark(n=5, complete_through=77, sent_at=99)
    assert unpack_watermark(pack_watermark(mark)) == mark
    # An encoded key is a MessagePack array: 0x90 to 0x9f, 0xdc or 0xdd.
    assert WATERMARK_KEY[0] == 0


def test_each_life_has_a_table_of_its_own() -> None:
    assert [table_name("v", "0a1b", life) for life in (0, 1, 12)] == ["v.0a1b", "v.0a1br1", "v.0a1br12"]


@given(st.lists(ITEMS, min_size=1, max_size=4), st.data())
def test_items_read_together_are_those_read_one_by_one(items: list[Item], data: st.DataObject) -> None:
    packed = [pack_item(item) for item in items]
    assert unpack_bodies(packed) == [Body(item.batch, item.streams) for item in items]
    # Bytes of one that come to lie in another, as no fault of a store would move them: never others than one by one.
    whole = b"".join(packed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=len(items) - 1, max_size=len(items) - 1)))
    moved = [whole[start:end] for start, end in pairwise([0, *cuts, len(whole)])]
    alone = [_alone(value) for value in moved]
    if None in alone:
        with pytest.raises(CodecError):
            unpack_bodies(moved)
    else:
        assert unpack_bodies(moved) == alone


def test_of_no_items_nothing_is_read() -> None:
    assert unpack_bodies([]) == []


def _alone(value: bytes) -> Body | None:
    try:
        item = unpack_item(value, 1)
    except CodecError:
        return None
    return Body(item.batch, item.streams)
