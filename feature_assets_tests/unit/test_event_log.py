"""The project's event log holds what Dagster's own holds, and what a run prints is kept where the UI looks for it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.utils import make_new_run_id

from feature_assets.orchestration.compute_logs import InProcessComputeLogManager
from feature_assets.orchestration.instance import open_instance
from feature_assets.orchestration.storage import (
    BATCH_SIZE,
    BATCH_VARIABLE,
    PooledSqliteEventLogStorage,
    PooledSqliteRunStorage,
)
from feature_assets.settings import load_settings

DAILY = dg.DailyPartitionsDefinition("2026-01-01")
RANGE = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-03"}
TABLES = {
    "event_logs": "dagster_event_type, step_key, asset_key, partition",
    "asset_event_tags": "asset_key, key",
    "asset_check_executions": "asset_key, check_name, partition, execution_status",
}
"""What does not differ between two runs of the same assets."""


@dg.asset(
    partitions_def=DAILY,
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version="1",
    check_specs=[dg.AssetCheckSpec("sound", asset="daily")],
)
def daily(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    for key in context.partition_keys:
        context.add_asset_metadata({"day": key}, partition_key=key)
    yield dg.MaterializeResult(metadata={"rows": 3}, data_version=dg.DataVersion("v"))
    yield dg.AssetCheckResult(check_name="sound", passed=True)


@dg.asset(deps=[daily])
def whole() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 9})


def written(folder: Path, storage: str) -> dict[str, list[tuple[object, ...]]]:
    """The rows that a run of three partitions and one of an asset without any leave in a log of that class."""
    folder.mkdir()
    where = {"module": storage.rpartition(".")[0], "class": storage.rpartition(".")[2]}
    config = {"event_log_storage": {**where, "config": {"base_dir": str(folder / "log")}}}
    with dg.instance_for_test(temp_dir=str(folder), overrides=config) as instance:
        for _ in range(2):
            assert dg.materialize([daily], instance=instance, tags=RANGE).success
        assert dg.materialize([whole], instance=instance, selection=[whole]).success
        newest = instance.get_latest_materialization_event(daily.key)
        assert newest is not None
        assert newest.asset_materialization is not None
        assert newest.asset_materialization.partition == "2026-01-03"
        assert newest.asset_materialization.metadata["day"].value == "2026-01-03"
        assert instance.get_materialized_partitions(daily.key) == {"2026-01-01", "2026-01-02", "2026-01-03"}
    with sqlite3.connect(next((folder / "log").glob("*.db"))) as connection:
        return {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=repr)
            for table, columns in TABLES.items()
        }


def test_events_written_together_are_those_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BATCH_VARIABLE, "0")
    plain = ConsolidatedSqliteEventLogStorage
    expected = written(tmp_path / "plain", f"{plain.__module__}.{plain.__name__}")
    assert len(expected["asset_event_tags"]) >= 6, "the data versions of two times three partitions"
    monkeypatch.setenv(BATCH_VARIABLE, str(BATCH_SIZE))
    ours = PooledSqliteEventLogStorage
    assert written(tmp_path / "ours", f"{ours.__module__}.{ours.__name__}") == expected


def test_the_rows_of_a_batch_are_there_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PooledSqliteEventLogStorage(str(tmp_path))
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([daily], instance=instance, tags=RANGE)
        run = instance.get_runs()[0].run_id
        wanted = dg.DagsterEventType.ASSET_MATERIALIZATION
        entries = [record.event_log_entry for record in instance.get_records_for_run(run, of_type=wanted).records]
    assert len(entries) == 3

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(PooledSqliteEventLogStorage, "_store_asset_event_tags", full)
        with pytest.raises(OSError, match="no space"):
            log.store_event_batch(entries)
    assert log.get_logs_for_run(run) == []
    log.store_event_batch(entries)
    assert len(log.get_logs_for_run(run)) == 3
    log.dispose()


def test_a_table_that_is_made_later_is_seen(tmp_path: Path) -> None:
    log = PooledSqliteEventLogStorage(str(tmp_path))
    assert log.has_table("event_logs")
    assert not log.has_table("made_later")
    with sqlite3.connect(next(tmp_path.glob("*.db"))) as connection:
        connection.execute("CREATE TABLE made_later (id INTEGER)")
    assert log.has_table("made_later")
    log.dispose()


def test_runs_are_where_dagsters_own_class_keeps_them(tmp_path: Path) -> None:
    ours = PooledSqliteRunStorage.from_local(str(tmp_path))
    theirs = SqliteRunStorage.from_local(str(tmp_path))
    run = dg.DagsterRun(job_name="push", run_id=make_new_run_id(), tags={"view": "speeds"})
    assert ours.add_run(run) == run
    assert [found.run_id for found in theirs.get_runs(dg.RunsFilter(tags={"view": "speeds"}))] == [run.run_id]
    theirs.add_run_tags(run.run_id, {"by": "another process"})
    assert ours.get_runs()[0].tags["by"] == "another process"
    ours.dispose()


@dg.asset
def talkative() -> None:
    print("to standard output")  # noqa: T201 # what is tested


def test_what_a_run_prints_is_in_its_log_and_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = load_settings(root=str(tmp_path))
    with open_instance(settings) as instance:
        assert isinstance(instance.compute_log_manager, InProcessComputeLogManager)
        with capfd.disabled():
            result = dg.materialize([talkative], instance=instance)
        captured = [event for event in result.all_events if event.event_type == dg.DagsterEventType.LOGS_CAPTURED]
        key = [result.run_id, "compute_logs", captured[0].logs_captured_data.file_key]
    # The UI is another process, with Dagster's own class.
    logs = LocalComputeLogManager(str(tmp_path / "dagster" / "storage"))
    assert logs.is_capture_complete(key)
    assert Path(logs.get_captured_local_path(key, "out")).exists()
    assert logs.get_log_data_for_type(key, ComputeIOType.STDERR, offset=0, max_bytes=None)[0] is not None


def test_output_goes_to_the_log_first_and_is_shown_afterwards(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = InProcessComputeLogManager(str(tmp_path))
    key = ["run", "compute_logs", "step"]
    with capfd.disabled():
        out = (tmp_path / "terminal").open("w+", encoding="utf-8")
    with out, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", out)
        with logs.capture_logs(key):
            out.write("said\n")
            out.flush()
            assert Path(logs.get_captured_local_path(key, "out")).read_text(encoding="utf-8") == "said\n"
            assert (tmp_path / "terminal").read_text(encoding="utf-8") == ""
            assert not logs.is_capture_complete(key)
    assert (tmp_path / "terminal").read_text(encoding="utf-8") == "said\n"
    assert logs.is_capture_complete(key)


def test_logs_that_are_kept_elsewhere_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    text = "telemetry: {enabled: false}\ncompute_logs:\n  module: dagster._core.storage.noop_compute_log_manager\n"
    (mine / "dagster.yaml").write_text(text + "  class: NoOpComputeLogManager\n", encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(mine))
    with open_instance(load_settings(root=str(tmp_path / "lake"))) as instance:
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
