"""The one way to commit: an acknowledgement is a commit that is there once, whatever becomes of the answer."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from feature_assets.errors import CommitConflictError, OfflineError, TableDamagedError
from feature_assets.offline import commit, integrity
from feature_assets.offline.lake import Lake
from feature_assets_tests.partitions import PATH, feature_rows, speeds, xs

DAY = "2013-01-01"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def data_files(lake: Lake) -> int:
    return len(list(lake.path(*PATH).glob("month=*/*.parquet")))


@pytest.mark.parametrize(
    "error", [CommitFailedError("Concurrent transaction failed"), DeltaError("lost"), OSError("reset by peer")]
)
def test_a_commit_whose_answer_is_lost_is_acknowledged_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    table = speeds(lake)
    table.commit({DAY: feature_rows(DAY, [0.0])})
    really = DeltaTable.create_write_transaction

    def loses_the_answer(self: DeltaTable, *given: object, **named: object) -> None:
        really(self, *given, **named)  # type: ignore[arg-type] # handed on as it came
        raise error

    monkeypatch.setattr(DeltaTable, "create_write_transaction", loses_the_answer)
    done = table.commit({DAY: feature_rows(DAY, [1.0])})
    assert (done.seq, done.written, done.delta_version) == (2, (DAY,), 2)
    assert xs(table.read_versions()) == [0.0, 1.0]


@pytest.mark.parametrize("error", [DeltaError("refused"), OSError("reset by peer")])
def test_a_commit_that_did_not_happen_raises_and_can_be_repeated(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    table = speeds(lake)
    table.commit({DAY: feature_rows(DAY, [0.0])})

    def fails(_self: DeltaTable, *_given: object, **_named: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(DeltaTable, "create_write_transaction", fails)
        with pytest.raises(OfflineError, match=f"{error}\nHint: nothing was acknowledged") as caught:
            table.commit({DAY: feature_rows(DAY, [1.0])})
    assert not isinstance(caught.value, TableDamagedError)
    assert table.head() == 1
    assert table.commit({DAY: feature_rows(DAY, [1.0])}).seq == 2


def test_who_loses_every_race_gives_up_and_leaves_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    table = speeds(lake)
    table.commit({DAY: feature_rows(DAY, [0.0])})

    def loses(_self: DeltaTable, *_given: object, **_named: object) -> None:
        raise CommitFailedError("another writer")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", loses)
    monkeypatch.setattr(commit, "ATTEMPTS", 3)
    with pytest.raises(CommitConflictError, match="3 attempts to commit each lost") as caught:
        table.commit({DAY: feature_rows(DAY, [1.0])})
    assert caught.value.retryable
    assert data_files(lake) == 1


def test_a_checkpoint_is_made_now_and_then_with_its_digest(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "CHECKPOINT_EVERY", 3)
    table = speeds(lake)
    for number in range(7):
        table.commit({DAY: feature_rows(DAY, [float(number)])})
    log = (
        lake.path(
            *PATH,
        )
        / "_delta_log"
    )
    made = sorted(int(path.name[:20]) for path in log.glob("*.checkpoint.parquet"))
    assert made == [3, 6]
    assert sorted(int(path.stem) for path in (lake.path(*PATH) / "_integrity").iterdir()) == made
    assert xs(table.read()) == [6.0]
    next(iter(log.glob("*03.checkpoint.parquet"))).unlink()
    integrity.forget_digests(lake.path(*PATH))
    assert [int(path.stem) for path in (lake.path(*PATH) / "_integrity").iterdir()] == [6]


def test_a_commit_is_found_by_those_who_ask_delta(lake: Lake) -> None:
    """Any tool that knows application transactions sees how far the table is."""
    table = speeds(lake)
    for number in range(3):
        table.commit({DAY: feature_rows(DAY, [float(number)])})
    assert lake.open(*PATH).transaction_version("feature_assets/commit_seq") == 3
