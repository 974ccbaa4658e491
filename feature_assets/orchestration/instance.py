"""The Dagster instance of a project: its home folder, written once, the same for the CLI, the demo and the UI.

Invariant: telemetry is off before Dagster is asked anything. It never touches an instance that the user configured
through DAGSTER_HOME.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from feature_assets.settings import Settings

_CONFIG = """\
# Written by feature_assets; delete the folder to start afresh, point DAGSTER_HOME elsewhere to use your own.
telemetry:
  enabled: false
event_log_storage:
  module: feature_assets.orchestration.storage
  class: PooledSqliteEventLogStorage
  config:
    base_dir: {home}/event_log
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
    home = (settings.state_dir / "dagster").resolve()
    config = home / "dagster.yaml"
    if not config.exists():
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG.format(home=home), encoding="utf-8")
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of `settings`; its storages are closed at the end."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    home = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
