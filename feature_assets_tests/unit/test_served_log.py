"""Logging of answers: every row counted once whatever happens, nothing waited for, and nothing written twice."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock, SystemClock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.errors import InputError, OfflineError, SchemaError, SettingsError, StorageFullError
from feature_assets.offline.lake import Lake
from feature_assets.offline.served_table import ServedTable
from feature_assets.serving.answer import Answer
from feature_assets.serving.served_log import ServedLog, ServedLogOptions, ServedLogStats
from feature_assets.serving.status import Status
from feature_assets_tests.answers import AS_OF, answer_of, item_of
from feature_assets_tests.histories import SOURCE, view_of

VIEW = view_of("w", {"k": pa.string()}, {"x": pa.float64()})
SERVICE, OTHER = FeatureService("it", [VIEW]), FeatureService("other", [VIEW])
PROJECT = Project("test", sources=[SOURCE], views=[VIEW], services=[SERVICE, OTHER])
# Nothing is written by itself while a test runs.
PATIENT = ServedLogOptions(flush_seconds=3600.0, flush_rows=10**6)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def answer(*keys: str | None, service: FeatureService = SERVICE) -> Answer:
    return answer_of(service, {"k": keys}, {"w__x": [0.5] * len(keys)})


def log(lake: Lake, options: ServedLogOptions = PATIENT) -> ServedLog:
    return ServedLog(lake, PROJECT, ManualClock(AS_OF), options, target="memory")


def logged(lake: Lake, service: FeatureService = SERVICE) -> list[tuple[str, int, str]]:
    table = ServedTable(lake, service).read(("request_id", "request_row", "k"))
    return [(row["request_id"], row["request_row"], row["k"]) for row in table.to_pylist()]


def is_complete(stats: ServedLogStats) -> bool:
    return stats.recorded == stats.logged + stats.sampled_out + stats.dropped + stats.failed + stats.waiting


class Gate:
    """Holds appends up until it is opened, and fails those for which there is an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        real = ServedTable.append

        def append(table: ServedTable, rows: pa.Table, *, after: int | None = None) -> int:
            self.entered.set()
            assert self.open.wait(60)
            if self.before:
                raise self.before.pop(0)
            seq = real(table, rows, after=after)
            if self.after:
                raise self.after.pop(0)
            return seq

        monkeypatch.setattr(ServedTable, "append", append)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open.set()


# --------------------------------------------------------------------------------------------------- what is written


def test_what_was_recorded_is_there_after_a_flush(lake: Lake) -> None:
    with log(lake) as served:
        served.record(answer("a", "b"), "one")
        served.record(answer("c"), "two")
        assert served.stats.recorded == 3
        assert served.flush()
        assert logged(lake) == [("one", 0, "a"), ("one", 1, "b"), ("two", 0, "c")]
        stats = served.stats
    assert stats == ServedLogStats(recorded=3, logged=3, appends=1, last_logged_at=AS_OF)
    assert served.stats == stats


def test_closing_writes_what_waits_and_later_answers_are_dropped(lake: Lake) -> None:
    served = log(lake)
    served.record(answer("a"), "one")
    served.close()
    served.close()
    served.record(answer("b", "c"), "two")
    assert served.flush()
    assert logged(lake) == [("one", 0, "a")]
    assert served.stats == ServedLogStats(recorded=3, logged=1, dropped=2, appends=1, last_logged_at=AS_OF)


def test_a_log_that_was_never_used_writes_nothing(lake: Lake) -> None:
    with log(lake) as served:
        assert served.flush()
        served.record(answer(), "nothing asked")
        assert served.flush()
    assert served.stats == ServedLogStats()
    assert not Path(lake.root).exists()


def test_each_service_has_a_log_of_its_own(lake: Lake) -> None:
    with log(lake) as served:
        served.record(answer("a"), "one")
        served.record(answer("b", service=OTHER), "two")
    assert (logged(lake), logged(lake, OTHER)) == ([("one", 0, "a")], [("two", 0, "b")])
    assert served.stats.appends == 2


@pytest.mark.parametrize(
    "options", [replace(PATIENT, flush_rows=3), replace(PATIENT, flush_seconds=0.05)], ids=["rows", "seconds"]
)
def test_it_writes_by_itself_when_it_is_time(lake: Lake, options: ServedLogOptions) -> None:
    with log(lake, options) as served:
        served.record(answer("a", "b", "c"), "one")
        _until(lambda: served.stats.logged == 3)
        served.record(answer("d", "e", "f"), "two")
        _until(lambda: served.stats.logged == 6)
    assert served.stats.appends == 2


def test_many_threads_may_record(lake: Lake) -> None:
    with log(lake, replace(PATIENT, flush_rows=50)) as served:

        def record(number: int) -> None:
            for turn in range(100):
                served.record(answer("a"), f"{number} {turn}")

        threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(name for name, _, _ in logged(lake)) == sorted(f"{n} {i}" for n in range(4) for i in range(100))
    assert (served.stats.logged, served.stats.dropped) == (400, 0)


# -------------------------------------------------------------------------------------------------------- the sample


def test_of_a_sample_the_rest_is_counted(lake: Lake) -> None:
    keys = [str(number) for number in range(200)]
    with log(lake, replace(PATIENT, rate=0.25)) as served:
        served.record(answer(*keys), "one")
        served.record(answer(*reversed(keys)), "two")
    found = logged(lake)
    first, second = ({key for name, _, key in found if name == one} for one in ("one", "two"))
    assert first == second
    assert 20 < len(first) < 80
    assert all(keys[row] == key for name, row, key in found if name == "one"), "the place in the request stays"
    assert (served.stats.logged, served.stats.sampled_out) == (2 * len(first), 400 - 2 * len(first))


def test_what_is_said_of_a_row_stays_with_it_in_a_sample(lake: Lake) -> None:
    keys = [str(number) for number in range(100)]
    items = [item_of(seq=number, n=number + 1, event_at=number) for number in range(100)]
    given = answer_of(
        SERVICE,
        {"k": keys},
        {"w__x": [float(number) for number in range(100)]},
        statuses={"w__x": [Status.TIMEOUT if number % 3 else Status.STALE for number in range(100)]},
        items={"w": items},
    )
    with log(lake, replace(PATIENT, rate=0.3)) as served:
        served.record(answer(*keys), "before")
        served.record(given, "one")
    names = ("request_id", "request_row", "k", "failed", "w__x", "w__x__status", "w__meta__seq", "w__meta__cut_n")
    rows = [row for row in ServedTable(lake, SERVICE).read(names).to_pylist() if row["request_id"] == "one"]
    assert 10 < len(rows) < 60
    for row in rows:
        number = row["request_row"]
        status = "TIMEOUT" if number % 3 else "STALE"
        expected = ("one", number, str(number), status == "TIMEOUT", float(number), status, number, number + 1)
        assert tuple(row[name] for name in names) == expected


def test_with_a_rate_of_none_nothing_is_kept_and_no_thread_is_started(lake: Lake) -> None:
    before = threading.active_count()
    with log(lake, replace(PATIENT, rate=0.0)) as served:
        served.record(answer("a"), "one")
        assert threading.active_count() == before
    assert served.stats == ServedLogStats(recorded=1, sampled_out=1)


# --------------------------------------------------------------------------------------------------- when things fail


def test_a_full_queue_drops_and_counts_and_nobody_waits(lake: Lake, gate: Gate) -> None:
    gate.open.clear()
    with log(lake, replace(PATIENT, queue_rows=10, flush_rows=4)) as served:
        served.record(answer(*"abcd"), "written at once")
        assert gate.entered.wait(60)
        started = time.monotonic()
        for number in range(50):
            served.record(answer("x", "y"), f"later {number}")
        assert time.monotonic() - started < 5
        assert served.stats == ServedLogStats(recorded=104, waiting=10, dropped=94)
        gate.open.set()
    assert len(logged(lake)) == 10
    assert is_complete(served.stats)
    assert (served.stats.logged, served.stats.dropped) == (10, 94)


def test_an_answer_larger_than_the_queue_is_logged_when_nothing_waits(lake: Lake) -> None:
    with log(lake, replace(PATIENT, queue_rows=2)) as served:
        served.record(answer(*"abcd"), "one")
    assert served.stats.logged == 4


@pytest.mark.parametrize("error", [StorageFullError("full"), OfflineError("table served/it: not allowed")])
def test_while_the_lake_fails_rows_wait_and_are_written_once_it_does_not(
    lake: Lake, gate: Gate, error: OfflineError
) -> None:
    with log(lake, replace(PATIENT, queue_rows=3, flush_seconds=0.05)) as served:
        gate.before = [error] * 3
        served.record(answer("a", "b"), "one")
        _until(lambda: served.stats.failed_attempts == 3)
        assert served.stats.last_error == str(error)
        _until(lambda: served.stats.logged == 2)
    assert logged(lake) == [("one", 0, "a"), ("one", 1, "b")]
    assert is_complete(served.stats)


def test_a_flush_says_when_not_all_was_written(lake: Lake, gate: Gate) -> None:
    with log(lake) as served:
        gate.before = [OfflineError("away")]
        served.record(answer("a"), "one")
        assert not served.flush()
        assert served.stats.waiting == 1
        assert served.flush()
    assert logged(lake) == [("one", 0, "a")]


def test_what_cannot_be_written_when_it_closes_has_failed(lake: Lake, gate: Gate) -> None:
    gate.before = [OfflineError("away")] * 2
    with log(lake) as served:
        served.record(answer("a"), "one")
        served.record(answer("b", service=OTHER), "two")
    assert (served.stats.failed, served.stats.waiting, served.stats.logged) == (2, 0, 0)
    assert is_complete(served.stats)


def test_an_append_whose_success_was_not_heard_of_is_not_repeated(lake: Lake, gate: Gate) -> None:
    with log(lake) as served:
        served.record(answer("z"), "before")
        assert served.flush()
        gate.after = [OfflineError("the answer was lost")]
        served.record(answer("a", "b"), "one")
        assert not served.flush()
        served.record(answer("c"), "two")
        assert served.flush()
    assert logged(lake) == [("before", 0, "z"), ("one", 0, "a"), ("one", 1, "b"), ("two", 0, "c")]
    assert served.stats.logged == 4


def test_what_no_attempt_can_write_is_given_up_and_holds_up_nothing(lake: Lake, gate: Gate) -> None:
    with log(lake) as served:
        gate.before = [SchemaError("no such type")]
        served.record(answer("a"), "one")
        served.flush()
        served.record(answer("b"), "two")
        assert served.flush()
    assert logged(lake) == [("two", 0, "b")]
    assert (served.stats.failed, served.stats.last_error) == (1, "SchemaError: no such type")


def test_an_answer_that_is_none_of_the_projects_fails_alone(lake: Lake) -> None:
    with log(lake) as served:
        served.record(replace(answer("a"), service="nobody"), "one")
        served.record(answer("b"), "two")
        assert served.flush()
    assert logged(lake) == [("two", 0, "b")]
    assert served.stats.failed == 1
    assert "nobody" in served.stats.last_error


def test_an_answer_that_cannot_be_logged_leaves_the_others_as_they_are(lake: Lake) -> None:
    with log(lake) as served:
        served.record(answer("a"), "one")
        served.record(answer("b", "c"), "half a character: \ud800")
        served.record(answer("d"), "three")
        assert served.flush()
    assert logged(lake) == [("one", 0, "a"), ("three", 0, "d")]
    assert (served.stats.failed, served.stats.logged) == (2, 2)
    assert "UnicodeEncodeError" in served.stats.last_error


def test_a_process_without_room_for_a_thread_drops_and_says_so(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    served = log(lake)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        served.record(answer("a"), "one")
    assert (served.stats.dropped, "can't start" in served.stats.last_error) == (1, True)
    served.record(answer("b"), "two")
    served.close()
    assert logged(lake) == [("two", 0, "b")]


def test_a_clock_that_fails_costs_the_log_and_not_the_answer(lake: Lake) -> None:
    class Broken:
        def now(self) -> datetime:
            raise SettingsError("the replay clock's file cannot be read")

    served = ServedLog(lake, PROJECT, Broken(), target="memory")
    served.record(answer("a"), "one")
    served.close()
    assert (served.stats.failed, served.stats.recorded) == (1, 1)


def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the lake should be", encoding="utf-8")
    with log(Lake(str(tmp_path / "lake"))) as served:
        served.record(answer("a"), "one")
        assert not served.flush()
        assert served.stats.waiting == 1
        assert "served/it" in served.stats.last_error
        (tmp_path / "lake").unlink()
        assert served.flush()
    assert logged(Lake(str(tmp_path / "lake"))) == [("one", 0, "a")]


def test_closing_does_not_wait_for_ever(lake: Lake, gate: Gate) -> None:
    gate.open.clear()
    served = log(lake, replace(PATIENT, close_seconds=0.05))
    served.record(answer("a"), "one")
    started = time.monotonic()
    served.close()
    assert time.monotonic() - started < 30
    assert served.stats.waiting == 1
    gate.open.set()
    _until(lambda: served.stats.logged == 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 1.5}, "rate=1.5"),
        ({"rate": -0.1}, "rate=-0.1"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"queue_rows": 0}, "queue_rows=0"),
        ({"flush_seconds": 0}, "flush_seconds=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ServedLogOptions(**options)


def _until(true: Any, timeout: float = 60.0) -> None:  # noqa: ANN401 - a condition
    """Wait for what another thread does."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_clock_of_the_log_dates_its_rows(lake: Lake) -> None:
    before = SystemClock().now() - timedelta(seconds=1)
    with ServedLog(lake, PROJECT, SystemClock(), target="memory") as served:
        served.record(answer("a"), "one")
    (at,) = ServedTable(lake, SERVICE).read(("logged_at",)).column(0).to_pylist()
    assert before < at <= SystemClock().now()
    assert served.stats.last_logged_at == at
