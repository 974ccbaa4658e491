"""The ledger in Delta answers as the ledger in memory does, keeps what it acknowledged, and takes many appenders."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.errors import OfflineError, StorageFullError
from feature_assets.offline import append_table, rewrite
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.delta_ledger import PATH, SCHEMA, DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow, MemoryLedger

instants = st.integers(0, 2**52)
numbers = st.none() | st.integers(0, 2**62)
ledger_rows = st.builds(
    LedgerRow,
    kind=st.sampled_from(["intent", "ack", "range", "serving", "retired"]),
    view=st.sampled_from(["speeds", "delays"]),
    version=st.sampled_from(["a", "b"]),
    target=st.sampled_from(["sqlite:one", "dynamodb:two"]),
    sent_at=instants,
    bucket=st.none() | st.integers(0, 15),
    commit_seq=numbers,
    source_partition=st.none() | st.text(max_size=5),
    first=numbers,
    last=numbers,
    entity=st.none() | st.binary(max_size=5),
    acked_at=st.none() | instants,
    provenance=st.sampled_from(["recorded", "recovered"]),
    bootstrap=st.booleans(),
    run_id=st.sampled_from(["", "run"]),
)


def row(sent_at: int, view: str = "speeds") -> LedgerRow:
    return LedgerRow(kind="intent", view=view, version="a", target="sqlite:one", sent_at=sent_at)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


@settings(max_examples=15)
@given(st.lists(st.lists(ledger_rows, max_size=4), max_size=4))
def test_it_answers_as_the_one_in_memory(appends: list[list[LedgerRow]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        lake, memory = Lake(root), MemoryLedger()
        kept = DeltaLedger(lake)
        for rows in appends:
            assert kept.append(rows) == memory.append(rows)
            assert kept.head() == memory.head()
        for ledger in (kept, DeltaLedger(lake)):
            for view in ("speeds", "delays", "unknown"):
                for version in (None, "a"):
                    for target in (None, "sqlite:one"):
                        for upto in (None, 0, 1, memory.head()):
                            asked = {"view": view, "version": version, "target": target}
                            assert ledger.rows(**asked, upto=upto) == memory.rows(**asked, upto=upto)  # type: ignore[arg-type] # the literals above


def test_one_sees_what_another_appended(lake: Lake) -> None:
    one, other = DeltaLedger(lake), DeltaLedger(lake)
    assert one.append([row(1)]) == 1
    assert other.rows(view="speeds") == [row(1)]
    assert other.append([row(2)]) == 2
    assert one.rows(view="speeds") == [row(1), row(2)]
    assert one.rows(view="speeds", upto=1) == [row(1)]


def test_compaction_changes_no_position(lake: Lake) -> None:
    ledger = DeltaLedger(lake)
    for at in range(5):
        ledger.append([row(at), row(at, "delays")])
    done = rewrite.rewrite_appended(AppendTable(lake, PATH, SCHEMA))
    assert (done.files_before, done.files_after, done.rows) == (5, 1, 10)
    assert rewrite.rewrite_appended(AppendTable(lake, PATH, SCHEMA)).files_before == 0
    fresh = DeltaLedger(lake)
    for upto in range(6):
        assert fresh.rows(view="speeds", upto=upto) == [row(at) for at in range(upto)]
    assert fresh.append([row(9)]) == ledger.head() == 6


def test_all_appenders_at_once_are_acknowledged_once(lake: Lake) -> None:
    with ThreadPoolExecutor(4) as pool:
        positions = list(pool.map(lambda at: DeltaLedger(lake).append([row(at), row(at)]), range(20)))
    assert sorted(positions) == list(range(1, 21))
    found = [entry.sent_at for entry in DeltaLedger(lake).rows(view="speeds")]
    assert found == [at for position in range(1, 21) for at in [positions.index(position)] * 2]


def test_an_append_whose_answer_was_lost_is_acknowledged_and_not_repeated(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = DeltaLedger(lake)
    ledger.append([row(1)])
    really = AppendTable.append

    def loses_the_answer(self: AppendTable, *given: object, **named: object) -> int:
        really(self, *given, **named)  # type: ignore[arg-type] # handed on as it came
        raise OfflineError("connection reset")

    monkeypatch.setattr(append_table.AppendTable, "append", loses_the_answer)
    assert ledger.append([row(2), row(3)]) == 2
    assert [entry.sent_at for entry in ledger.rows(view="speeds")] == [1, 2, 3]


def test_an_append_that_did_not_happen_raises(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = DeltaLedger(lake)
    ledger.append([row(1)])

    def fails(*_given: object, **_named: object) -> int:
        raise OfflineError("connection refused")

    monkeypatch.setattr(append_table.AppendTable, "append", fails)
    with pytest.raises(OfflineError, match="connection refused"):
        ledger.append([row(2)])
    assert ledger.head() == 1


def test_a_full_disk_is_no_acknowledgement(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_given: object, **_named: object) -> int:
        raise StorageFullError("no space left")

    monkeypatch.setattr(append_table.AppendTable, "append", fails)
    with pytest.raises(StorageFullError):
        DeltaLedger(lake).append([row(1)])


def test_a_row_of_a_newer_release_is_an_error_and_not_skipped(lake: Lake) -> None:
    DeltaLedger(lake).append([row(1)])
    table = AppendTable(lake, PATH, SCHEMA)
    rows = table.read(columns=tuple(SCHEMA.names))
    unknown = rows.set_column(0, "kind", [["eviction"]])
    table.append(unknown)
    with pytest.raises(OfflineError, match=r"none that this release knows.*eviction"):
        DeltaLedger(lake).rows(view="speeds")
