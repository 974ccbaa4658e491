"""A micro-batch: applied once however often it is replayed, recorded before it is committed."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import msgspec
import pytest

from feature_assets.clock import ManualClock, to_us
from feature_assets.errors import StoreRefusedError
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.item import Item, table_name, unpack_item
from feature_assets.online.memory import MemoryStore
from feature_assets.online.micro_batch import StreamPorts, micro_batch_steps
from feature_assets.online.protocol import Record, WriteProtocol
from feature_assets.online.settle import RetryPolicy
from feature_assets.online.store import OnlineStore, Outcome, Put, Stored
from feature_assets.testing.faulty import FaultRates, FaultyStore
from feature_assets.testing.subject import HOUR
from feature_assets.testing.tiles import TileSums
from feature_assets.testing.world import Offsets
from feature_assets_tests.unit.balance import START

PLACE = "log/0"
TABLE = table_name("v", "1")
NOW = to_us(START)
RECORDS = [("a", 1), ("b", 2), ("a", 4), ("a", 8), ("c", 16)]


class Partly(MemoryStore):
    """Some keys are throttled for good."""

    def __init__(self) -> None:
        super().__init__()
        self.down: set[bytes] = set()

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        taken = iter(super().write(table, [put for put in puts if put.key not in self.down]))
        return [Outcome.THROTTLED if put.key in self.down else next(taken) for put in puts]


def ports(store: OnlineStore | None = None) -> StreamPorts:
    found = StreamPorts(
        view="v",
        version="1",
        store=store or MemoryStore(),
        ledger=MemoryLedger(),
        offsets=Offsets(),
        clock=ManualClock(START),
        reducer=TileSums(window=24 * HOUR, hop=HOUR),
        batch=2,
        protocol=WriteProtocol(write_timeout=HOUR),
        retries=RetryPolicy(jitter=lambda: 0.0, rounds=2),
    )
    found.store.prepare(TABLE)
    return found


def records(start: int = 0, end: int | None = None) -> list[Record]:
    return [
        Record(offset, key.encode(), NOW, msgspec.msgpack.encode(amount))
        for offset, (key, amount) in enumerate(RECORDS)
    ][start:end]


def run(through: StreamPorts, batch: Sequence[Record]) -> int:
    steps = micro_batch_steps(through, PLACE, batch)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            position: int = end.value
            return position


def item(through: StreamPorts, key: str) -> Item:
    found = through.store.read(TABLE, [key.encode()], consistent=True)[0]
    return unpack_item(found.value, found.seq) if isinstance(found, Stored) else Item()


def sums(through: StreamPorts) -> list[int]:
    reducer = TileSums(window=24 * HOUR, hop=HOUR)
    sections = [item(through, key).streams for key in "abc"]
    return [0 if section is None else reducer.value(section.state, NOW) for section in sections]


def rows(through: StreamPorts) -> list[LedgerRow]:
    return through.ledger.rows(view="v")


def test_records_are_applied_recorded_and_committed() -> None:
    through = ports()
    assert run(through, records()) == 5
    assert sums(through) == [13, 2, 16]
    assert item(through, "a").cut.fences == {PLACE: 3}
    (row,) = rows(through)
    assert (row.kind, row.first, row.last, row.entity, row.sent_at, row.acked_at) == ("range", 0, 4, None, NOW, NOW)
    assert through.offsets.committed(PLACE) == 5


def test_a_worker_is_of_one_life() -> None:
    through = replace(ports(), life=2)
    with pytest.raises(StoreRefusedError, match=r"no table 'v\.1r2'"):
        run(through, records())
    through.store.prepare(table_name("v", "1", 2))
    assert run(through, records()) == 5
    assert [row.life for row in rows(through)] == [2]
    assert sums(through) == [0, 0, 0]


def test_a_replay_changes_no_item_and_says_when_they_were_written() -> None:
    through = ports()
    run(through, records())
    before = [item(through, key) for key in "abc"]
    assert run(replace(through, clock=ManualClock(START.replace(hour=5))), records()) == 5
    assert [item(through, key) for key in "abc"] == before
    exceptions = {row.entity: (row.first, row.last, row.sent_at, row.acked_at) for row in rows(through) if row.entity}
    assert exceptions == {
        b"a": (0, 3, NOW, NOW + HOUR),
        b"b": (1, 1, NOW, NOW + HOUR),
        b"c": (4, 4, NOW, NOW + HOUR),
    }


def test_a_recovered_write_was_visible_at_the_latest_when_it_was_found() -> None:
    through = ports()
    run(through, records())
    run(through, records())
    assert {row.acked_at for row in rows(through) if row.entity} == {NOW}


def test_it_may_be_cut_off_at_any_step() -> None:
    whole = sum(1 for _ in micro_batch_steps(ports(), PLACE, records()))
    for kill_after in range(whole):
        through = ports()
        steps = micro_batch_steps(through, PLACE, records())
        for _ in range(kill_after):
            next(steps)
        steps.close()
        committed = through.offsets.committed(PLACE)
        covered = {offset for row in rows(through) if row.entity is None for offset in range(row.first or 0, 5)}
        assert covered >= set(range(committed)), "what is committed is in the ledger"
        if committed < 5:
            assert run(through, records(committed)) == 5
        assert sums(through) == [13, 2, 16], kill_after


def test_it_goes_on_from_the_lowest_record_that_could_not_be_written() -> None:
    store = Partly()
    through = ports(store)
    store.down = {b"b"}
    assert run(through, records()) == 1
    assert sums(through) == [13, 0, 16]
    (row,) = rows(through)
    assert (row.first, row.last) == (0, 0)
    assert through.offsets.committed(PLACE) == 1
    store.down = set()
    assert run(through, records(1)) == 5
    assert sums(through) == [13, 2, 16]
    exceptions = {row.entity: (row.first, row.last) for row in rows(through) if row.entity}
    assert exceptions == {b"a": (0, 3), b"c": (4, 4)}


def test_nothing_written_is_nothing_recorded() -> None:
    through = ports()
    down = replace(through, store=FaultyStore(through.store, Random(0), FaultRates(0, 1.0, 0, 0, 0, 0, 0)))
    assert run(down, records()) == 0
    assert rows(through) == []
    assert through.offsets.committed(PLACE) == 0


def test_a_micro_batch_has_records() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        micro_batch_steps(ports(), PLACE, [])
