"""What any ledger promises, over the one in memory and the one in Delta."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow, MemoryLedger

MakeLedger = Callable[[], Ledger]
EVERYTHING = LedgerRow(
    kind="range",
    view="v",
    version="1",
    target="t",
    sent_at=1_767_225_600_000_001,
    bucket=3,
    commit_seq=4,
    source_partition="log/0",
    first=5,
    last=6,
    entity=b"\x91\xa1a",
    acked_at=1_767_225_600_000_002,
    provenance="recovered",
    bootstrap=True,
    life=2,
    run_id="r",
)
"""A row with no default in it."""


@pytest.fixture(params=["memory", "delta"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeLedger:
    """Makes ledgers; those in Delta are over the same table."""
    if request.param == "memory":
        one = MemoryLedger()
        return lambda: one
    return lambda: DeltaLedger(Lake(str(tmp_path)))


def row(bucket: int, *, version: str = "1", target: str = "t", view: str = "v") -> LedgerRow:
    return LedgerRow(kind="ack", view=view, version=version, target=target, sent_at=1, acked_at=2, bucket=bucket)


def test_a_new_ledger_is_empty(make: MakeLedger) -> None:
    ledger = make()
    assert ledger.head() == 0
    assert ledger.rows(view="v") == []
    assert ledger.append([]) == 0


def test_every_field_comes_back(make: MakeLedger) -> None:
    ledger = make()
    plain = LedgerRow(kind="intent", view="v", version="1", target="t", sent_at=0)
    assert all(getattr(EVERYTHING, each.name) != each.default for each in msgspec.structs.fields(LedgerRow))
    ledger.append([EVERYTHING, plain])
    assert make().rows(view="v") == [EVERYTHING, plain]


def test_rows_come_in_the_order_of_their_appends(make: MakeLedger) -> None:
    ledger = make()
    for start in (0, 3, 6):
        ledger.append([row(bucket) for bucket in range(start, start + 3)])
    assert [each.bucket for each in ledger.rows(view="v")] == list(range(9))


def test_a_pinned_position_reads_the_same_for_ever(make: MakeLedger) -> None:
    ledger = make()
    first = ledger.append([row(0), row(1)])
    second = make().append([row(2)])
    assert second > first
    assert [each.bucket for each in ledger.rows(view="v", upto=first)] == [0, 1]
    assert [each.bucket for each in ledger.rows(view="v", upto=second)] == [0, 1, 2]
    assert ledger.rows(view="v", upto=0) == []
    assert ledger.head() == second


def test_what_another_has_appended_is_seen(make: MakeLedger) -> None:
    one, other = make(), make()
    one.append([row(0)])
    other.append([row(1)])
    assert [each.bucket for each in one.rows(view="v")] == [each.bucket for each in other.rows(view="v")] == [0, 1]


def test_rows_are_narrowed(make: MakeLedger) -> None:
    ledger = make()
    ledger.append([row(0), row(1, version="2"), row(2, target="u"), row(3, view="w")])
    assert [each.bucket for each in ledger.rows(view="v", version="1")] == [0, 2]
    assert [each.bucket for each in ledger.rows(view="v", target="t")] == [0, 1]
    assert [each.bucket for each in ledger.rows(view="w")] == [3]
