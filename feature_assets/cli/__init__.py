"""`feature-assets`: the command line.

    check         validate the project's definitions
    plan          what is committed, what is published, what it costs
    materialize   compute days of sources and views
    backfill      compute a long range, month by month; resumes where it stopped
    push          publish what is committed and passed
    training-set  join features to a spine, as they were served
    drift         compare the newest features with what the champion was trained on
    what-if       what a model would gain from fresher features
    retrain       ask the gate; train, compare, promote or refuse
    get           look features up online, with statuses and ages
    explain       why features are what they are: item, rows, windows, and what training has
    serve         features over HTTP, for programs
    keys          API keys of the server
    maintenance   compact, vacuum, repair tables; what was done to them
    ui            Dagster's UI over this project
    demo          the built-in project, end to end

Exit codes: 0 done; 1 failed; 2 wrong usage (an option, a setting, what was handed over); 3 refused by a check, a
verdict or the gate. Every command takes `--json` (one JSON document on standard output) and those that change something
take `--dry-run`.

Invariant: a command parses, calls and prints. What runs is the same Dagster job, sensor or core function as
everywhere else.
"""

import sys

import typer

from feature_assets.cli import data, explain, maintenance, project, runs, serve, ui, what_if
from feature_assets.cli.output import exit_code, show_error
from feature_assets.errors import FeatureAssetsError

app = typer.Typer(
    name="feature-assets",
    help="Features as assets: trained on what is served.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (project, runs, data, explain, serve, what_if, maintenance, ui):
    module.register(app)


def main() -> None:
    """The entry point: one line per error, never a traceback for an error of ours."""
    try:
        app()
    except FeatureAssetsError as error:
        show_error(error, as_json="--json" in sys.argv)
        raise SystemExit(exit_code(error)) from error
