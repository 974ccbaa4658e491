"""What is SQLite's own in the embedded store: files, rights, processes, full disks, damage."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from feature_assets.clock import to_us
from feature_assets.errors import InputError, StorageFullError, StoreRefusedError, StoreThrottledError
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import Outcome, Put, ReadFailure, Stored

TABLE = "carrier_hourly.0123456789"
APPLIED, CONFLICT, THROTTLED = Outcome.APPLIED, Outcome.CONFLICT, Outcome.THROTTLED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "online.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(path)
    made.prepare(TABLE)
    yield made
    made.close()


def in_a_process(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, cwd=Path(__file__).parents[2]
    )


# ------------------------------------------------------------------------------------------------------------ the file
def test_only_the_owner_can_read_and_write_the_files(store: SQLiteStore, path: Path) -> None:
    store.write(TABLE, [Put(b"k", 0, b"v")])
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["online.sqlite", "online.sqlite-shm", "online.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_with_wide_rights_is_narrowed(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    SQLiteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_written_is_there_when_it_is_opened_again(path: Path) -> None:
    first = SQLiteStore(path)
    first.prepare(TABLE)
    first.write(TABLE, [Put(b"k", 0, b"v")])
    first.close()
    again = SQLiteStore(path)
    assert again.tables() == [TABLE]
    assert again.read(TABLE, [b"k"]) == [Stored(1, b"v")]
    again.close()


def test_the_file_is_made_for_the_reads_it_gets(store: SQLiteStore, path: Path) -> None:
    """Read with another connection, as these are properties of the file and not of ours."""
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA page_size").fetchone() == (16_384,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    (created,) = other.execute("SELECT sql FROM sqlite_schema WHERE type = 'table'").fetchone()
    assert "WITHOUT ROWID" not in created
    other.close()


def test_a_commit_is_flushed_before_it_is_acknowledged(store: SQLiteStore) -> None:
    full = 2
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)  # noqa: SLF001 - it is the connection's


def test_the_target_is_named_after_the_file_or_as_told(path: Path) -> None:
    for name, target in ((None, "sqlite:online"), ("demo", "sqlite:demo")):
        store = SQLiteStore(path, name=name)
        assert store.target == target
        store.close()


@pytest.mark.parametrize("table", ["", "Upper.0", "a.b.c", 'x" (y); DROP TABLE z; --', "a b", "sqlite_schema ", "a\n"])
def test_a_name_that_is_none_reaches_no_statement(store: SQLiteStore, table: str) -> None:
    calls = (
        lambda: store.prepare(table),
        lambda: store.drop(table),
        lambda: store.read(table, [b"k"]),
        lambda: store.write(table, [Put(b"k", 0, b"v")]),
        lambda: store.delete(table, [b"k"]),
    )
    for call in calls:
        with pytest.raises(InputError, match="is no name of an online table"):
            call()
    assert store.tables() == [TABLE]


def test_a_name_that_sqlite_keeps_for_itself_is_one_all_the_same(store: SQLiteStore) -> None:
    store.prepare("sqlite_stat1.0123456789")
    assert store.write("sqlite_stat1.0123456789", [Put(b"k", 0, b"v")]) == [APPLIED]
    assert "sqlite_stat1.0123456789" in store.tables()


def test_tables_of_others_in_the_file_are_not_ours(store: SQLiteStore, path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    assert store.tables() == [TABLE]


def test_more_keys_than_one_statement_takes_within_a_deadline(store: SQLiteStore) -> None:
    keys = [b"%d" % number for number in range(2_100)]
    store.write(TABLE, [Put(key, 0, key) for key in keys])
    assert store.read(TABLE, keys, deadline=60.0) == [Stored(1, key) for key in keys]
    assert set(store.read(TABLE, keys, deadline=0.0)) == {ReadFailure.TIMEOUT}


# ------------------------------------------------------------------------------------------------------------- garbage
def test_purging_drops_what_is_due_and_nothing_else(store: SQLiteStore) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    due = {
        b"past": to_us(now) - 1,
        b"now": to_us(now),
        b"soon": to_us(now) + 1,
        b"never": None,
    }
    other = "route_hourly.0123456789"
    store.prepare(other)
    for table in (TABLE, other):
        store.write(table, [Put(key, 0, key, expires_at) for key, expires_at in due.items()])
    # What is due is still read: it is the reader who says what is expired.
    assert None not in store.read(TABLE, list(due))
    assert store.purge(now) == 4
    assert store.read(TABLE, list(due)) == [None, None, Stored(1, b"soon"), Stored(1, b"never")]
    assert store.purge(now + timedelta(days=1)) == 2
    assert store.purge(now + timedelta(days=1)) == 0


# -------------------------------------------------------------------------------------------------- threads, processes
COUNT_UP = """
    import sys
    from feature_assets.online.sqlite import SQLiteStore
    from feature_assets.online.store import Outcome, Put

    path, table, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    store = SQLiteStore(path, busy_timeout=60.0)
    store.prepare(table)
    won = 0
    while True:
        (found,) = store.read(table, [b"counter"])
        seq = 0 if found is None else found.seq
        if seq >= rounds:
            break
        (outcome,) = store.write(table, [Put(b"counter", seq, b"%d" % (seq + 1))])
        won += outcome is Outcome.APPLIED
    store.close()
    print(won)
"""


def test_processes_share_a_file_and_lose_nothing(path: Path) -> None:
    """Also the first moment: the file is not there yet when all of them open it."""
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: in_a_process(COUNT_UP, path, TABLE, 60), range(4)))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    # Each step was taken by exactly one of them.
    assert sum(int(one.stdout) for one in done) == 60
    store = SQLiteStore(path)
    assert store.read(TABLE, [b"counter"]) == [Stored(60, b"60")]
    store.close()


def test_opening_a_second_time_keeps_the_locks_of_the_first(path: Path) -> None:
    """A process that comes and goes must not clear the log away beneath two stores of this one."""
    first = SQLiteStore(path)
    first.prepare(TABLE)
    first.write(TABLE, [Put(b"a", 0, b"1")])
    second = SQLiteStore(path)
    come_and_go = """
        import sys
        from pathlib import Path
        from feature_assets.online.sqlite import SQLiteStore
        store = SQLiteStore(Path(sys.argv[1]))
        store.read(sys.argv[2], [b"a"])
        store.close()
    """
    done = in_a_process(come_and_go, path, TABLE)
    assert done.returncode == 0, done.stderr
    assert first.write(TABLE, [Put(b"b", 0, b"2")]) == [Outcome.APPLIED]
    assert second.read(TABLE, [b"a", b"b"]) == [Stored(1, b"1"), Stored(1, b"2")]
    first.close()
    second.close()


def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    code = """
        import os, signal, sys
        from feature_assets.online.sqlite import SQLiteStore
        from feature_assets.online.store import Put

        store = SQLiteStore(sys.argv[1])
        store.prepare(sys.argv[2])
        print(store.write(sys.argv[2], [Put(b"%d" % at, 0, b"v") for at in range(250)]).count(None), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = in_a_process(code, path, TABLE)
    assert done.returncode == -signal.SIGKILL
    store = SQLiteStore(path)
    assert None not in store.read(TABLE, [b"%d" % at for at in range(250)])
    store.close()


@pytest.fixture
def blocker(store: SQLiteStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's write transaction that does not end."""
    store.write(TABLE, [Put(b"k", 0, b"v")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def test_a_writer_that_does_not_get_its_turn_is_throttled(path: Path, blocker: sqlite3.Connection) -> None:
    impatient = SQLiteStore(path, busy_timeout=0.01)
    puts = [Put(b"%d" % at, 0, b"v") for at in range(150)]
    assert impatient.write(TABLE, puts) == [THROTTLED] * 150
    with pytest.raises(StoreThrottledError, match="another process writes"):
        impatient.delete(TABLE, [b"k"])
    with pytest.raises(StoreThrottledError, match="another process writes"):
        impatient.prepare("another.0123456789")
    # Readers do not wait for writers.
    assert impatient.read(TABLE, [b"k", b"0"]) == [Stored(1, b"v"), None]
    blocker.execute("ROLLBACK")
    assert impatient.write(TABLE, puts) == [APPLIED] * 150
    impatient.close()


def test_readers_see_whole_transactions_only(store: SQLiteStore) -> None:
    """A writer moves a hundred items from one value to the next, in a transaction; no reader sees a mixture."""
    keys = [b"%d" % at for at in range(100)]
    store.write(TABLE, [Put(key, 0, b"0") for key in keys])
    readers = 2
    started = Barrier(readers + 1)

    def read() -> set[frozenset[int]]:
        started.wait(timeout=60)
        seen: set[frozenset[int]] = set()
        while not seen or max(map(max, seen)) < 30:
            found = store.read(TABLE, keys)
            seen.add(frozenset(one.seq for one in found if isinstance(one, Stored)))
        return seen

    with ThreadPoolExecutor(readers) as threads:
        work = [threads.submit(read) for _ in range(readers)]
        started.wait(timeout=60)
        for seq in range(1, 30):
            assert set(store.write(TABLE, [Put(key, seq, b"%d" % seq) for key in keys])) == {APPLIED}
        for one in work:
            assert {len(values) for values in one.result(timeout=120)} == {1}


def test_opening_it_twice_in_a_process_leaves_its_locks_to_it(store: SQLiteStore, path: Path) -> None:
    """POSIX drops a process's locks on a file with any descriptor that it closes; then another one removes the log."""
    store.write(TABLE, [Put(b"k", 0, b"v")])
    log = path.with_name("online.sqlite-wal")
    before = log.stat().st_ino
    SQLiteStore(path).close()
    done = in_a_process(COUNT_UP, path, TABLE, 1)
    assert done.returncode == 0, done.stderr
    assert log.stat().st_ino == before
    assert store.read(TABLE, [b"k", b"counter"]) == [Stored(1, b"v"), Stored(1, b"1")]


def test_a_fork_must_open_its_own(store: SQLiteStore, path: Path) -> None:
    code = """
        import os, sys
        from feature_assets.errors import StoreRefusedError
        from feature_assets.online.sqlite import SQLiteStore
        from feature_assets.online.store import Put

        store = SQLiteStore(sys.argv[1])
        child = os.fork()
        if child == 0:
            refused = 0
            puts = [Put(b"k", 0, b"v")]
            for call in (lambda: store.read(sys.argv[2], [b"k"]), lambda: store.write(sys.argv[2], puts)):
                try:
                    call()
                except StoreRefusedError as error:
                    refused += "is a fork of it" in str(error)
            os._exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = in_a_process(code, path, TABLE)
    assert done.stdout == "2\n", done.stderr


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    for call in (lambda: store.read(TABLE, [b"k"]), lambda: store.write(TABLE, []), store.tables):
        with pytest.raises(StoreRefusedError, match="the store is closed"):
            call()


# -------------------------------------------------------------------------------------------------------- full, broken
def test_a_full_disk_is_said_and_nothing_is_half_written(store: SQLiteStore, path: Path) -> None:
    store.write(TABLE, [Put(b"%d" % at, 0, bytes(1_000)) for at in range(50)])
    code = """
        import resource, signal, sys
        from feature_assets.online.sqlite import SQLiteStore
        from feature_assets.online.store import Put
        from feature_assets.errors import FeatureAssetsError

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = SQLiteStore(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        try:
            store.write(sys.argv[2], [Put(b"large%d" % at, 0, bytes(100_000)) for at in range(20)])
        except FeatureAssetsError as error:
            print(type(error).__name__, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(store.write(sys.argv[2], [Put(b"after", 0, b"v")]))
        store.close()
    """
    done = in_a_process(code, path, TABLE)
    assert done.returncode == 0, done.stderr
    first, *hint, last = done.stdout.splitlines()
    assert "cannot write carrier_hourly.0123456789" in first
    assert "space" in hint[0]
    assert last == "[<Outcome.APPLIED: 'applied'>]"
    assert store.read(TABLE, [b"large%d" % at for at in range(20)]) == [None] * 20
    assert None not in store.read(TABLE, [b"%d" % at for at in range(50)])


def test_no_space_left_is_a_storage_full_error(path: Path) -> None:
    made = SQLiteStore(path)
    made.prepare(TABLE)
    made.close()
    store = SQLiteStore(path)
    # SQLite's own bound on the size of a file gives the very error that a full device does.
    store._connection.execute("PRAGMA max_page_count = 18")  # noqa: SLF001 - no other way to one full file
    puts = [Put(b"%d" % at, 0, bytes(1_500)) for at in range(250)]
    with pytest.raises(StorageFullError, match="full"):
        store.write(TABLE, puts)
    found = store.read(TABLE, [put.key for put in puts])
    # What came before is whole, and of the transaction that met the end there is nothing.
    assert [one is not None for one in found] == [True] * 100 + [False] * 150
    assert store.write(TABLE, [Put(b"0", 1, b"small")]) == [APPLIED]
    store.close()


def test_a_commit_that_fails_is_unknown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that fails to flush: whether the transaction is in the file can then not be said."""
    store = SQLiteStore(path)
    store.prepare(TABLE)

    class Failing:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def execute(self, statement: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                raise error
            return self._connection.execute(statement, parameters)

        def __getattr__(self, name: str) -> object:
            return getattr(self._connection, name)

    monkeypatch.setattr(store, "_connection", Failing(store._connection))  # noqa: SLF001 - no device fails on demand
    assert store.write(TABLE, [Put(b"k", 0, b"v")]) == [Outcome.UNKNOWN]
    monkeypatch.undo()
    assert store.write(TABLE, [Put(b"k", 0, b"v")]) == [APPLIED]
    store.close()


def test_no_sqlite_file_at_all(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is a letter, and has been one from the beginning\n" * 100)
    with pytest.raises(StoreRefusedError, match="no SQLite file") as raised:
        SQLiteStore(path)
    assert str(path) in raised.value.message


def test_a_damaged_file_is_an_error_and_never_an_empty_answer(path: Path) -> None:
    store = SQLiteStore(path)
    store.prepare(TABLE)
    keys = [b"%05d" % at for at in range(3_000)]
    store.write(TABLE, [Put(key, 0, key * 20) for key in keys])
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:16_384] + os.urandom(len(whole) - 16_384))
    damaged = SQLiteStore(path)
    with pytest.raises(StoreRefusedError, match="the file is damaged"):
        damaged.read(TABLE, keys)
    with pytest.raises(StoreRefusedError, match="the file is damaged"):
        damaged.write(TABLE, [Put(keys[0], 1, b"v")])
    damaged.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreRefusedError, match="cannot open"):
        SQLiteStore(tmp_path / "file" / "online.sqlite")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="cannot open it"):
        SQLiteStore(tmp_path)
