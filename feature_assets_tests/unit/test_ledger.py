"""What the ledger's rows say about a version: whether it serves, since when, in which life."""

import msgspec
import pytest

from feature_assets.clock import ManualClock
from feature_assets.offline.ledger import (
    Ledger,
    LedgerRow,
    MemoryLedger,
    acked,
    is_serving,
    life,
    previous_version,
    retired,
    serving_order,
    streams_caught_up,
    valid,
)
from feature_assets_tests.unit.balance import START


def row(
    kind: str, *, version: str = "1", bucket: int | None = None, n: int | None = None, in_life: int = 0
) -> LedgerRow:
    about = {"view": "v", "target": "t", "sent_at": 0, "acked_at": 0}
    plain = {**about, "kind": kind, "version": version, "bucket": bucket, "commit_seq": n, "life": in_life}
    return msgspec.convert(plain, LedgerRow)


def test_a_position_pins_what_is_read() -> None:
    ledger: Ledger = MemoryLedger()
    assert ledger.head() == 0
    first = ledger.append([row("intent", bucket=0, n=1), row("intent", bucket=1, n=1)])
    second = ledger.append([row("ack", bucket=0, n=1)])
    assert (first, second, ledger.head()) == (1, 2, 2)
    assert [each.kind for each in ledger.rows(view="v", upto=first)] == ["intent", "intent"]
    assert [each.kind for each in ledger.rows(view="v")] == ["intent", "intent", "ack"]
    assert ledger.rows(view="w") == []


def test_an_append_of_nothing_is_no_append() -> None:
    ledger = MemoryLedger()
    assert ledger.append([]) == ledger.head() == 0


def test_rows_are_narrowed_by_version_and_target() -> None:
    ledger = MemoryLedger()
    other = msgspec.structs.replace(row("ack", version="2"), target="elsewhere")
    ledger.append([row("ack"), row("ack", version="2"), other])
    assert len(ledger.rows(view="v", version="2")) == 2
    assert ledger.rows(view="v", target="elsewhere") == [other]


def test_a_version_serves_from_its_serving_row_until_it_is_retired() -> None:
    assert not is_serving([])
    rows = [row("intent"), row("ack", bucket=0, n=1)]
    assert not is_serving(rows)
    rows += [row("serving", n=1)]
    assert is_serving(rows)
    rows += [row("ack", bucket=0, n=2), row("retired")]
    assert not is_serving(rows)
    # A loader that slept through the retirement says that it serves, and is about a life that is over.
    assert not is_serving([*rows, row("serving", n=2)])
    assert is_serving([*rows, row("serving", n=2, in_life=1)])
    assert life(rows) == 1


def test_acknowledgements_are_of_the_present_life() -> None:
    rows = [row("ack", bucket=0, n=1), row("ack", bucket=0, n=3), row("ack", bucket=1, n=2)]
    assert acked(rows) == {0: [1, 3], 1: [2]}
    rows += [row("retired"), row("ack", bucket=0, n=4), row("ack", bucket=1, n=4, in_life=1)]
    assert acked(rows) == {1: [4]}
    assert [each.commit_seq for each in valid(rows) if each.kind == "ack"] == [1, 3, 2, 4]


def test_lives_are_counted_by_version() -> None:
    rows = [row("retired", version="1"), row("serving", version="2"), row("serving", version="1", in_life=1)]
    assert valid(rows) == rows


def test_streams_have_caught_up_when_they_have_applied_what_was_visible_in_the_lives_before() -> None:
    def applied(last: int, *, entity: bytes | None = None, in_life: int = 0, place: str = "log/0") -> LedgerRow:
        plain = row("range", in_life=in_life)
        return msgspec.structs.replace(plain, source_partition=place, first=last, last=last, entity=entity)

    rows = [applied(4), applied(5, entity=b"a"), applied(0, place="log/1")]
    assert streams_caught_up(rows)
    rows += [row("retired")]
    assert not streams_caught_up(rows)
    rows += [applied(0, place="log/1", in_life=1), applied(4, in_life=1)]
    # One entity's record at 5 was visible.
    assert not streams_caught_up(rows)
    assert not streams_caught_up([*rows, applied(5)])
    assert not streams_caught_up([*rows, applied(5, entity=b"a", in_life=1)])
    assert streams_caught_up([*rows, applied(5, in_life=1)])
    # What the first life had counts in the third, too.
    assert not streams_caught_up([*rows, row("retired", in_life=1), applied(4, in_life=2), applied(0, place="log/1")])


def test_the_previous_version_is_the_one_that_served_before() -> None:
    rows = [
        row("serving", version="a"),
        row("serving", version="b"),
        row("serving", version="a"),
        row("ack", version="c"),
    ]
    assert serving_order(rows) == ["a", "b"]
    assert previous_version(rows, "a") is None
    assert previous_version(rows, "b") == "a"
    assert previous_version(rows, "c") == "b"
    assert previous_version([], "a") is None


def test_retiring_is_a_row_of_its_instant() -> None:
    found = retired("v", "1", "t", ManualClock(START), run_id="r")
    assert (found.kind, found.run_id, found.sent_at) == ("retired", "r", found.acked_at)


@pytest.mark.parametrize("kind", ["intended", "", None])
def test_a_row_of_an_unknown_kind_is_refused_where_it_is_read(kind: str | None) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": kind, "view": "v", "version": "1", "target": "t", "sent_at": 0}, LedgerRow)
