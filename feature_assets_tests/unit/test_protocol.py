"""The rules of the write protocol, one by one, as pure functions."""

from collections.abc import Sequence

import pytest

from feature_assets.errors import ItemTooLargeError
from feature_assets.online.item import BatchSection, Item, Recent, Row, StreamSection
from feature_assets.online.protocol import MAX_FENCES, Closing, Record, WriteProtocol
from feature_assets.online.store import Outcome, Stored

RULES = WriteProtocol()
PLACE = "log/0"


class Concatenation:
    """A reducer whose state is what it was given, in the order in which it was given."""

    def empty(self) -> bytes:
        return b""

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        del now
        return state + b"".join(record.payload for record in records)


def record(offset: int) -> Record:
    return Record(offset, b"k", 0, bytes([offset]))


def applied(
    item: Item, offsets: Sequence[int], *, committed: int = 0, now: int = 50
) -> tuple[Item | None, list[Recent]]:
    found = RULES.applied(
        item,
        [record(offset) for offset in offsets],
        source_partition=PLACE,
        reducer=Concatenation(),
        committed=committed,
        now=now,
    )
    return found.item, list(found.recovered)


def test_a_write_is_conditional_on_what_was_read() -> None:
    assert RULES.expected(None) == 0
    assert RULES.expected(Stored(4, b"")) == 4


def test_only_an_acknowledged_write_is_done() -> None:
    assert [outcome for outcome in Outcome if RULES.settled(outcome)] == [Outcome.APPLIED]


@pytest.mark.parametrize(
    ("commits", "since", "n", "touching"),
    [
        ((), 0, 9, ()),
        ((3,), 0, 9, (3,)),
        ((3,), 3, 9, ()),
        ((3, 5), 3, 9, (3, 5)),
        # Those between the replaced and the newest may have been written by a push that was killed.
        ((1, 3, 5, 7), 3, 7, (3, 5, 7)),
        ((1, 3, 5, 7), 0, 5, (1, 3, 5)),
        ((1, 3, 5, 7), 4, 4, ()),
        ((1, 3, 5, 7), 6, 6, ()),
        ((8,), 3, 7, ()),
    ],
)
def test_a_push_touches_what_is_new_and_what_it_replaced(
    commits: Sequence[int], since: int, n: int, touching: Sequence[int]
) -> None:
    assert tuple(RULES.touching(commits, since, n)) == tuple(touching)


def test_a_push_goes_back_to_what_was_acknowledged_as_a_whole() -> None:
    assert RULES.since(()) == 0
    assert RULES.since((3, 9, 5)) == 9


def test_the_wanted_state_is_one_whose_verdicts_are_known() -> None:
    assert RULES.wanted(7, 5) == 5


def test_a_batch_section_is_put_over_an_older_one_only() -> None:
    row = Row(1, 2, "2026-01-01", b"v")
    streams = StreamSection({PLACE: 3}, (), b"s")
    empty = RULES.with_batch(Item(), 5, 100, row)
    assert empty == Item(0, BatchSection(5, 100, row), None)
    older = Item(4, BatchSection(4, 90, None), streams)
    assert RULES.with_batch(older, 5, 100, row) == Item(4, BatchSection(5, 100, row), streams)
    for n in (5, 6):
        assert RULES.with_batch(Item(4, BatchSection(n, 90, None), streams), 5, 100, row) is None


def test_an_entity_without_a_row_gets_an_empty_section() -> None:
    found = RULES.with_batch(Item(), 5, 100, None)
    assert found is not None
    assert found.cut.n == 5


def test_a_version_serves_when_nothing_is_left_to_acknowledge() -> None:
    assert RULES.may_serve(0)
    assert not RULES.may_serve(1)


def test_records_are_applied_in_order_and_move_the_fence() -> None:
    item, recovered = applied(Item(seq=2), [3, 5])
    assert item == Item(2, None, StreamSection({PLACE: 5}, (Recent(PLACE, 3, 5, 50),), b"\x03\x05"))
    assert recovered == []


def test_a_replay_changes_nothing_and_recovers_when_it_was_applied() -> None:
    item, _ = applied(Item(), [3, 5])
    assert item is not None
    assert applied(item, [3, 5], now=80) == (None, [Recent(PLACE, 3, 5, 50)])


def test_of_a_replay_that_goes_further_only_the_rest_is_applied() -> None:
    item, _ = applied(Item(), [3, 5])
    assert item is not None
    further, recovered = applied(item, [5, 7, 9], now=80)
    assert further is not None
    assert further.streams is not None
    assert further.streams.state == b"\x03\x05\x07\x09"
    assert further.streams.recent == (Recent(PLACE, 3, 5, 50), Recent(PLACE, 7, 9, 80))
    assert recovered == [Recent(PLACE, 3, 5, 50)]


def test_what_is_committed_is_forgotten_of_this_partition_alone() -> None:
    recent = (Recent(PLACE, 0, 3, 10), Recent(PLACE, 4, 5, 20), Recent("log/1", 0, 1, 30))
    # Committed up to 5 means that 5 itself is replayed.
    item = Item(1, None, StreamSection({PLACE: 5, "log/1": 1}, recent, b""))
    further, _ = applied(item, [8], committed=5)
    assert further is not None
    assert further.streams is not None
    assert further.streams.recent == (*recent[1:], Recent(PLACE, 8, 8, 50))


def test_a_batch_section_is_left_alone_by_a_stream() -> None:
    section = BatchSection(5, 90, None)
    item, _ = applied(Item(3, section, None), [1])
    assert item is not None
    assert item.batch == section


def test_an_item_is_fed_by_so_many_partitions_and_no_more() -> None:
    fences = {f"log/{number}": 0 for number in range(1, MAX_FENCES)}
    item = Item(1, None, StreamSection(fences, (), b""))
    full, _ = applied(item, [1])
    assert full is not None
    assert full.streams is not None
    assert len(full.streams.fences) == MAX_FENCES
    with pytest.raises(ItemTooLargeError, match="'log/0' is one more than 16"):
        applied(Item(1, None, StreamSection({**fences, "log/16": 0}, (), b"")), [1])


def test_offsets_are_committed_up_to_the_lowest_that_is_not_acknowledged() -> None:
    assert RULES.acknowledged_upto(9, []) == 10
    assert RULES.acknowledged_upto(9, [7, 4, 8]) == 4


def test_the_ledger_comes_before_the_offsets() -> None:
    assert RULES.closing() == (Closing.LEDGER, Closing.OFFSETS)
