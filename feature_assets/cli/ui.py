"""`ui` and `demo`.

Invariant: both listen on, and talk to, the loopback interface only.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from feature_assets.cli.output import err

WORKSPACE = """\
load_from:
  - python_module:
      module_name: feature_assets.definitions
      location_name: feature_assets
"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ui)
    app.command()(demo)


def ui(port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 3000) -> None:
    """Start Dagster's UI, daemon, sensors and schedules over this project."""
    from feature_assets.orchestration.instance import dagster_home, project_home
    from feature_assets.orchestration.storage import BATCH_SIZE, BATCH_VARIABLE
    from feature_assets.settings import load_settings

    settings = load_settings()
    home = dagster_home(settings)
    workspace = project_home(settings) / "workspace.yaml"
    workspace.write_text(WORKSPACE, encoding="utf-8")
    environment = {BATCH_VARIABLE: str(BATCH_SIZE), **os.environ}
    environment |= {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"}
    # The environment's own dagster, wherever the command was called from.
    dagster = Path(sys.executable).parent / "dagster"
    err.print(f"Dagster's UI starts on http://127.0.0.1:{port} (half a minute); Ctrl-C ends it")
    arguments = [str(dagster), "dev", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)]
    os.execve(dagster, arguments, environment)  # noqa: S606 # the process becomes dagster: signals reach it


def demo(
    root: Annotated[Path, typer.Option(help="The folder of the demo's lake and stores.")] = Path("lake"),
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete what an earlier demo left first.")] = False,
) -> None:
    """A year of flights through the whole loop: history, push, training, model, drift, gate, lookup."""
    from feature_assets.examples.flights.demo import run_demo

    run_demo(root, fresh=fresh)
