"""The Dagster instance of a project: its home folder, written once, the same for the CLI, the demo and the UI.

Invariant: telemetry is off before Dagster is asked anything. It never touches an instance that the user configured
through DAGSTER_HOME.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._check import CheckError
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError

from feature_assets.errors import SettingsError
from feature_assets.orchestration.compute_logs import InProcessComputeLogManager
from feature_assets.orchestration.storage import BATCH_SIZE, BATCH_VARIABLE
from feature_assets.settings import Settings

_CONFIG = """\
# Written by feature_assets; delete the folder to start afresh, point DAGSTER_HOME elsewhere to use your own.
nux:
  enabled: false
telemetry:
  enabled: false
event_log_storage:
  module: feature_assets.orchestration.storage
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {event_log}
run_storage:
  module: feature_assets.orchestration.storage
  class: PooledSqliteRunStorage
  config:
    base_dir: {runs}
# A run whose process was killed would be "in flight" for ever, and hold back the pushes of its view.
run_monitoring:
  enabled: true
  max_runtime_seconds: 7200
  free_slots_after_run_end_seconds: 60
concurrency:
  runs:
    max_concurrent_runs: 2
  pools:
    granularity: run
    default_limit: 1
"""


def dagster_home(settings: Settings) -> Path:
    """The home folder: DAGSTER_HOME if set, else one beside the project's other state, with its dagster.yaml."""
    given = os.environ.get("DAGSTER_HOME")
    if given:
        return Path(given)
    home = project_home(settings)
    config = home / "dagster.yaml"
    if not config.exists():
        # Whatever the folder is called: a JSON string is a YAML one. Whole or absent: an interrupted write leaves none.
        text = _CONFIG.format(event_log=json.dumps(str(home / "event_log")), runs=json.dumps(str(home / "history")))
        fresh = home / f"dagster.yaml.{os.getpid()}"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(config)
    return home


def project_home(settings: Settings) -> Path:
    """The folder beside the project's other state in which everything about Dagster is that the project keeps."""
    home = (settings.state_dir / "dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of `settings`; its storages are closed at the end.

    Raises `SettingsError` if the home folder holds no instance that Dagster can open.
    """
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    os.environ.setdefault(BATCH_VARIABLE, str(BATCH_SIZE))
    home = dagster_home(settings)
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        with _opened(home) as instance:
            yield instance
    finally:
        del os.environ["DAGSTER_HOME"]
        if before is not None:
            os.environ["DAGSTER_HOME"] = before


def _opened(home: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_ref(_in_process(InstanceRef.from_dir(str(home))))
    except (dg.DagsterError, CheckError, SQLAlchemyError, OSError, YAMLError) as error:
        raise SettingsError(
            f"DAGSTER_HOME={home}: Dagster cannot open its instance: {error}",
            hint="it must be a folder that exists, with a dagster.yaml; unset it to use the project's own",
        ) from error


def _in_process(instance: InstanceRef) -> InstanceRef:
    """The same instance for runs in this process. Logs that the user keeps elsewhere stay there."""
    logs, ours = instance.compute_logs_data, InProcessComputeLogManager
    if logs.class_name != LocalComputeLogManager.__name__:
        return instance
    same = ConfigurableClassData(ours.__module__, ours.__name__, logs.config_yaml)
    return instance._replace(compute_logs_data=same)
