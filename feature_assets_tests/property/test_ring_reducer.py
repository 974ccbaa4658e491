"""A stream section of a ring: whatever the micro-batches, replays and zombies, the item is byte for byte the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.tiles import packed, ring_of_records
from feature_assets.definition.window import Window
from feature_assets.errors import CodecError
from feature_assets.online.item import Item, StreamSection, pack_item, unpack_item
from feature_assets.online.protocol import Record, WriteProtocol
from feature_assets.online.ring_reducer import RingReducer, payloads
from feature_assets_tests.ring_records import COLUMNS, SECOND, START, Story, stories, view_of

PLACE = "log/0"
RULES = WriteProtocol()
VIEW = view_of([(("last", "amount", None), [Window.lifetime()]), (("count", None, "place"), [Window.lifetime()])])
REDUCER = RingReducer.of(VIEW)


@dataclass(slots=True)
class Written:
    """An item, written through the protocol; it is stored as bytes in between."""

    reducer: RingReducer
    value: bytes | None = None
    seq: int = 0

    def apply(self, records: Sequence[Record], now: int) -> None:
        item = Item() if self.value is None else unpack_item(self.value, self.seq)
        found = RULES.applied(item, records, source_partition=PLACE, reducer=self.reducer, committed=2**40, now=now)
        if found.item is not None:
            self.value, self.seq = pack_item(found.item), self.seq + 1

    @property
    def streams(self) -> StreamSection:
        assert self.value is not None
        streams = unpack_item(self.value, self.seq).streams
        assert streams is not None
        return streams


def log_of(story: Story, entity: int) -> list[Record]:
    """The records of one entity, at offsets with gaps: a log holds others, too."""
    rows = [place for place, whose in enumerate(story.item.tolist()) if whose == entity]
    records, _ = story.some(rows)
    found = payloads(story.layout, records.columns, len(records))
    return [
        Record(3 * place, b"k", at, payload)
        for place, (at, payload) in enumerate(zip(records.event_at.tolist(), found, strict=True))
    ]


@given(stories())
def test_splits_duplicates_of_work_and_replays_change_no_byte(story: Story) -> None:
    log, random = log_of(story, int(story.item[0]) if len(story.item) else 0), story.random
    if not log:
        return
    reducer = RingReducer.of(story.view)
    once, often = Written(reducer), Written(reducer)
    once.apply(log, story.now)
    position, earlier = 0, story.now - 5 * SECOND * len(log)
    while position < len(log):
        # Whoever replays begins where somebody stood before.
        start = random.randint(0, position)
        end = random.randint(position, len(log))
        if end > start:
            is_last = end == len(log)
            often.apply(log[start:end], story.now if is_last else random.randint(earlier, story.now))
        position = end
    for _ in range(3):
        often.apply(log[random.randrange(len(log)) :], story.now + 3600 * SECOND)
    assert often.streams.state == once.streams.state
    assert often.streams.fences == once.streams.fences
    assert once.streams.state == whole(story, log)


def whole(story: Story, log: Sequence[Record]) -> bytes:
    """The ring that is made of the records themselves, whose sequence is the offset."""
    rows = [place for place, whose in enumerate(story.item.tolist()) if whose == story.item[0]]
    records, item = story.some(rows)
    offsets = np.array([record.offset for record in log], np.int64)
    numbered = Records(records.columns, records.event_at, offsets)
    return packed(ring_of_records(story.layout, numbered, item * 0, 1, story.now))[0]


def test_of_two_at_one_instant_the_later_in_the_log_is_the_last() -> None:
    columns = {"amount": pa.array([5, 4]), "place": pa.array(["a", None])}
    both = [
        Record(offset, b"k", START, payload)
        for offset, payload in zip((7, 9), payloads(REDUCER.layout, columns, 2), strict=True)
    ]
    state = REDUCER.apply(REDUCER.empty(), both, START)
    turned = [replace_offset(both[0], 9), replace_offset(both[1], 7)]
    assert state != REDUCER.apply(REDUCER.empty(), turned, START)
    assert state == REDUCER.apply(REDUCER.apply(b"", both[:1], START), both[1:], START)


def replace_offset(record: Record, offset: int) -> Record:
    return Record(offset, record.key, record.event_at, record.payload)


def test_a_payload_is_an_array_of_the_columns_that_are_read() -> None:
    columns = {name: pa.array([None], dtype) for name, dtype in COLUMNS.items()}
    assert REDUCER.layout.columns == ("amount", "place")
    assert payloads(REDUCER.layout, columns, 1) == [b"\x92\xc0\xc0"]
    counts = view_of([(("count", None, None), [Window.lifetime()])])
    assert payloads(RingReducer.of(counts).layout, {}, 2) == [b"\x90", b"\x90"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "the record at offset 7 cannot be read"),
        (b"\x01", "the record at offset 7 cannot be read"),
        (b"\x91\x01", "it has 1 values, of 2"),
        (b"\x92\xa1a\xa1a", "no int64"),
        (b"\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1a", "no int64"),
    ],
)
def test_a_payload_that_is_none_is_named(payload: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        REDUCER.apply(b"", [Record(7, b"k", START, payload)], START)


def test_a_state_of_a_newer_release_is_refused() -> None:
    good = Record(0, b"k", START, b"\x92\x01\xa1a")
    state = REDUCER.apply(b"", [good], START)
    with pytest.raises(CodecError, match="written in format 3, and this release reads up to format 2"):
        REDUCER.apply(b"\x03" + state[1:], [good], START)
    written = Written(REDUCER)
    written.apply([good], START)
    assert written.value is not None
    written.value = b"\x02" + written.value[1:]
    with pytest.raises(CodecError, match="written in format 2"):
        written.apply([good], START)


def test_a_state_of_another_layout_is_refused() -> None:
    other = RingReducer.of(view_of([(("sum", "amount", None), [Window.lifetime()])]))
    state = other.apply(b"", [Record(0, b"k", START, b"\x91\x01")], START)
    with pytest.raises(CodecError, match="made for other aggregates"):
        REDUCER.apply(state, [Record(0, b"k", START, b"\x92\x01\xa1a")], START)
