"""Every kind of damage to a table is an error that says what, where and what was last good; none is read as other rows.

The invariant at every byte: after any damage a table reads exactly as before, or raises. Then what can be repaired is.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from feature_assets.errors import FeatureAssetsError, OfflineError, TableDamagedError
from feature_assets.offline import commit
from feature_assets.offline.lake import Lake
from feature_assets.offline.repair import abandon, repair, repair_plan
from feature_assets.offline.rewrite import rewrite_partitioned
from feature_assets.offline.table import PartitionedTable
from feature_assets_tests.partitions import PATH, feature_rows, speeds, xs

pytestmark = pytest.mark.drill

COMMITS = 8
CHECKPOINT = 6
"""The version of the only checkpoint: one is made at every multiple of `CHECKPOINT`."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with eight commits to the same day and a checkpoint between them. Not to be touched."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(commit, "CHECKPOINT_EVERY", CHECKPOINT)
        table = speeds(Lake(str(root)))
        for number in range(COMMITS):
            table.commit({"2013-01-01": feature_rows("2013-01-01", [float(number), 0.5])})
    return root


@pytest.fixture
def table(whole: Path, tmp_path: Path) -> PartitionedTable:
    """A copy, to be damaged."""
    shutil.copytree(whole, tmp_path / "lake")
    return speeds(Lake(str(tmp_path / "lake")))


def folder(table: PartitionedTable) -> Path:
    return table.lake.path(*PATH)


def log_file(table: PartitionedTable, version: int, kind: str = "json") -> Path:
    return folder(table) / "_delta_log" / f"{version:020d}.{kind}"


def checkpoint(table: PartitionedTable) -> Path:
    return log_file(table, CHECKPOINT, "checkpoint.parquet")


def hint(table: PartitionedTable) -> Path:
    return folder(table) / "_delta_log" / "_last_checkpoint"


def data_file(table: PartitionedTable, seq: int) -> Path:
    [found] = [file for file in table.snapshot().files if file.constant("commit_seq") == seq]
    return folder(table) / found.path


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_last_line(path: Path) -> None:
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-1]))


def with_one_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().splitlines()[0])


def removed(path: Path) -> None:
    path.unlink()


def garbage(path: Path) -> None:
    path.write_bytes(b'{"version":')


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


Damage = Callable[[Path], None]


def assert_detected(table: PartitionedTable, *mentioned: str) -> None:
    """Reading, looking and writing all raise, and say the same."""
    rows = feature_rows("2013-01-02", [1.0])
    for call in (table.head, table.read, table.partition_versions, lambda: table.commit({"2013-01-02": rows})):
        with pytest.raises(TableDamagedError) as caught:
            call()
        for words in ("features/speeds/0123456789 is damaged", *mentioned, "Hint: "):
            assert words in str(caught.value)


def assert_exact(table: PartitionedTable, commits: int = COMMITS) -> None:
    assert table.head() == commits
    for upto in range(1, commits + 1):
        assert xs(table.read(upto=upto)) == [float(upto - 1), 0.5]
    assert [row["commit_seq"] for row in table.partition_versions().to_pylist()] == list(range(1, commits + 1))


def test_the_table_is_whole_before(table: PartitionedTable) -> None:
    assert_exact(table)
    assert checkpoint(table).exists()
    assert repair_plan(table.lake, *PATH) is None
    assert repair(table.lake, *PATH) == ()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (emptied, "commit 8 is empty"),
        (halved, "commit 8 is torn"),
        (without_last_line, "commit 8 is not as it was written"),
        (with_one_line, "commit 8 is not as it was written"),
    ],
)
def test_the_newest_commit(table: PartitionedTable, damage: Damage, what: str) -> None:
    damage(log_file(table, 8))
    assert_detected(table, what, f"{8:020d}.json", "last good version: 7")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (emptied, "commit 7 is empty"),
        (halved, "commit 7 is torn"),
        (with_one_line, "commit 7 is not as it was written"),
        (removed, "commit 7 is missing"),
    ],
)
def test_a_commit_in_the_middle(table: PartitionedTable, damage: Damage, what: str) -> None:
    damage(log_file(table, 7))
    assert_detected(table, what, f"{7:020d}.json", "last good version: 6", "restore that file from a backup")
    with pytest.raises(TableDamagedError, match=what):
        repair(table.lake, *PATH)


def test_commits_behind_a_checkpoint_are_not_needed(table: PartitionedTable) -> None:
    for version in range(CHECKPOINT):
        log_file(table, version).unlink()
    emptied(log_file(table, CHECKPOINT))
    assert_exact(table)


@pytest.mark.parametrize("damage", [emptied, halved, removed])
@pytest.mark.parametrize("with_digest", [True, False])
def test_the_checkpoint(table: PartitionedTable, damage: Damage, with_digest: bool) -> None:
    # One without a digest was made by another tool, or its maker was killed before it wrote the digest.
    if not with_digest:
        shutil.rmtree(folder(table) / "_integrity")
    damage(checkpoint(table))
    assert_detected(table, f"checkpoint {CHECKPOINT} is", "last good version: 8")
    done = repair(table.lake, *PATH)
    assert [plan.last_good for plan in done] == [8]
    assert_exact(table)


def test_a_checkpoint_that_nothing_makes_up_for(table: PartitionedTable) -> None:
    log_file(table, 2).unlink()
    halved(checkpoint(table))
    assert_detected(table, f"checkpoint {CHECKPOINT} is not as it was written", "restore that file from a backup")
    with pytest.raises(TableDamagedError):
        repair_plan(table.lake, *PATH)


@pytest.mark.parametrize("damage", [emptied, halved, removed, garbage])
def test_the_pointer_to_the_checkpoint_is_only_a_hint(table: PartitionedTable, damage: Damage) -> None:
    damage(hint(table))
    assert_exact(table)


@pytest.mark.parametrize(
    ("damage", "what"), [(removed, "is missing"), (halved, "cannot be read"), (emptied, "cannot be")]
)
def test_a_data_file(table: PartitionedTable, damage: Damage, what: str) -> None:
    path = data_file(table, 8)
    damage(path)
    with pytest.raises(TableDamagedError) as caught:
        table.read()
    for words in (
        f"data file month=2013-01/{path.name} {what}",
        "last good version: 7",
        "maintenance abandon features/",
    ):
        assert words in str(caught.value)
    assert xs(table.read(upto=7)) == [6.0, 0.5], "what does not need the file is still there"
    with pytest.raises(TableDamagedError, match=path.name):
        table.commit({"2013-01-01": feature_rows("2013-01-01", [7.0, 0.5])})


def assert_same_or_raises(table: PartitionedTable) -> bool:
    """Whether something was raised. Anything but the right rows or an error of the tree fails."""
    try:
        rows = [xs(table.read(upto=upto)) for upto in (8, 7, 2)]
        versions = table.partition_versions().num_rows
    except FeatureAssetsError:
        return True
    assert rows == [[7.0, 0.5], [6.0, 0.5], [1.0, 0.5]]
    assert versions == COMMITS
    return False


@pytest.mark.parametrize("kind", ["newest commit", "middle commit", "checkpoint", "data file"])
def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(
    table: PartitionedTable, kind: str, long_drills: bool
) -> None:
    path = {
        "newest commit": log_file(table, 8),
        "middle commit": log_file(table, 7),
        "checkpoint": checkpoint(table),
        "data file": data_file(table, 8),
    }[kind]
    good = path.read_bytes()
    step = 1 if long_drills else max(1, len(good) // 60)
    positions = range(0, len(good), step)
    found = 0
    for at in positions:
        flipped(path, at)
        found += assert_same_or_raises(table)
        path.write_bytes(good)
    assert_exact(table)
    # Beside a digest every flip is found; elsewhere some bytes mean nothing to a reader.
    assert found == len(positions) if kind == "checkpoint" else found > 0


# ---- repair
@pytest.mark.parametrize("damage", [emptied, halved])
def test_an_unacknowledged_end_is_moved_aside_and_writing_goes_on(table: PartitionedTable, damage: Damage) -> None:
    damage(log_file(table, 8))
    plan = repair_plan(table.lake, *PATH)
    assert plan is not None
    assert (plan.last_good, plan.moves) == (7, (f"_delta_log/{8:020d}.json",))
    assert log_file(table, 8).exists(), "a plan changes nothing"
    assert repair(table.lake, *PATH) == (plan,)
    assert (folder(table) / "_aside" / f"{8:020d}.json").exists()
    assert_exact(table, 7)
    assert table.commit({"2013-01-01": feature_rows("2013-01-01", [7.0, 0.5])}).seq == 8
    assert_exact(table)


def test_several_unacknowledged_commits_are_moved_aside(table: PartitionedTable) -> None:
    for version in (7, 8):
        emptied(log_file(table, version))
    assert_detected(table, "commit 7 is empty", "last good version: 6")
    assert repair(table.lake, *PATH)[0].moves == tuple(f"_delta_log/{version:020d}.json" for version in (7, 8))
    assert_exact(table, 6)


def test_an_altered_commit_may_have_been_acknowledged_and_is_not_touched(table: PartitionedTable) -> None:
    with_one_line(log_file(table, 8))
    with pytest.raises(TableDamagedError, match="restore that file from a backup"):
        repair(table.lake, *PATH)
    assert log_file(table, 8).exists()


def test_the_same_repair_twice_keeps_both_files(table: PartitionedTable) -> None:
    for _ in range(2):
        emptied(log_file(table, 8))
        repair(table.lake, *PATH)
        table.commit({"2013-01-01": feature_rows("2013-01-01", [7.0, 0.5])})
    names = sorted(path.name for path in (folder(table) / "_aside").iterdir())
    assert names == [f"{8:020d}.json", f"{8:020d}.json.1"]
    assert_exact(table)


# ---- giving up
@pytest.mark.parametrize("damage", [removed, halved, emptied])
def test_a_lost_data_file_is_given_up_and_its_day_written_again(table: PartitionedTable, damage: Damage) -> None:
    path = data_file(table, 8)
    damage(path)
    plan = abandon(table.lake, *PATH, dry_run=True)
    assert (plan.files, plan.months, plan.commits) == ((f"month=2013-01/{path.name}",), ("2013-01",), (8,))
    with pytest.raises(TableDamagedError):
        table.read()
    assert abandon(table.lake, *PATH) == plan
    assert xs(table.read()) == xs(table.read(upto=7)) == [6.0, 0.5], "the version before counts again"
    assert table.partition_versions().column("commit_seq").to_pylist() == list(range(1, 8))
    assert table.commit({"2013-01-01": feature_rows("2013-01-01", [7.0, 0.5])}).seq == 9
    assert xs(table.read()) == [7.0, 0.5]
    assert rewrite_partitioned(table).rows == 16
    assert xs(table.read(upto=3)) == [2.0, 0.5]
    assert abandon(table.lake, *PATH).files == ()


def test_a_gap_that_nobody_gave_up_is_damage(table: PartitionedTable) -> None:
    data_file(table, 5).unlink()
    table.lake.open(*PATH).repair()
    for call in (table.read, table.partition_versions):
        with pytest.raises(TableDamagedError, match="commits up to 4 without a gap, and its log has 8"):
            call()
    assert abandon(table.lake, *PATH).commits == (5,)
    assert xs(table.read()) == [7.0, 0.5]
    assert abandon(table.lake, *PATH).commits == ()


def test_an_interrupted_giving_up_is_done_again(table: PartitionedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    halved(data_file(table, 8))

    def interrupted(*_given: object, **_named: object) -> None:
        raise OSError("interrupted")

    with monkeypatch.context() as broken:
        broken.setattr(DeltaTable, "repair", interrupted)
        with pytest.raises(OfflineError, match="interrupted"):
            abandon(table.lake, *PATH)
    with pytest.raises(TableDamagedError):
        table.read()
    again = abandon(table.lake, *PATH)
    assert (len(again.files), again.commits) == (1, ()), "which commits are lost was recorded the first time"
    assert xs(table.read()) == [6.0, 0.5]
