"""`materialize`, `backfill`, `push`, `drift`, `retrain`: what starts Dagster runs.

Invariant: a run started here is in the project's Dagster instance and so in the UI. A command that was interrupted
can be given again: everything that it launches is idempotent, and a backfill skips what is already there.
"""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from feature_assets.cli.options import (
    Day,
    DryRun,
    Json,
    Views,
    days_between,
    load_project,
    open_store,
    selected_views,
)
from feature_assets.cli.output import EXIT_FAILED, EXIT_REFUSED, err, out, progress_bar, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_assets.definition.project import Project
    from feature_assets.definition.source import BatchSource
    from feature_assets.definition.view import FeatureView
    from feature_assets.orchestration.launch import RunOutcome


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (materialize, backfill, push, drift, retrain):
        app.command()(command)


def materialize(
    views: Views = None,
    *,
    first: Annotated[Day, typer.Option("--from")],
    last: Annotated[Day | None, typer.Option("--to", help="The last day, included; default: the first.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compute days of views and of the sources they read, in one run, also where they exist already."""
    project = load_project()
    selected = selected_views(project, views)
    days = days_between(first, last or first)
    _launch(project, selected, [days], dry_run=dry_run, as_json=as_json)


def backfill(
    views: Views = None,
    *,
    first: Annotated[Day, typer.Option("--from")],
    last: Annotated[Day, typer.Option("--to")],
    force: Annotated[bool, typer.Option("--force", help="Compute days that exist already, too.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compute a long range, one run per month. It skips days that are there, so it resumes where it stopped."""
    from feature_assets.orchestration.launch import missing_days, month_chunks

    project = load_project()
    selected = selected_views(project, views)
    days = days_between(first, last)
    if not force:
        days = missing_days(open_store(project), _sources(selected), selected, days)
    _launch(project, selected, month_chunks(days), dry_run=dry_run, as_json=as_json)


def _sources(views: "Sequence[FeatureView]") -> "list[BatchSource]":
    return list({source.name: source for view in views for source in view.sources}.values())


def _launch(
    project: "Project",
    views: "Sequence[FeatureView]",
    chunks: "Sequence[tuple[date, ...]]",
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.launch import Launcher, asset_keys
    from feature_assets.settings import load_settings

    keys = asset_keys(_sources(views), views)
    plan = [{"from": min(chunk).isoformat(), "to": max(chunk).isoformat(), "days": len(chunk)} for chunk in chunks]
    if dry_run or not plan:
        _show_plan(plan, ["/".join(key.path) for key in keys], as_json=as_json)
        return
    outcomes = []
    with open_instance(load_settings()) as instance, progress_bar("runs", len(chunks), quiet=as_json) as progress:
        launcher = Launcher(project, instance)
        for chunk in chunks:
            outcomes.append(launcher.materialize(keys, chunk))
            progress.advance(progress.task_ids[0])
            if not outcomes[-1].success:
                break
    _show_outcomes(outcomes, as_json=as_json)


def _show_plan(plan: list[dict[str, object]], assets: list[str], *, as_json: bool) -> None:
    if as_json:
        show_json({"assets": assets, "runs": plan})
    elif not plan:
        out.print("nothing to do: every day is there, with a verdict")
    else:
        show_table("Runs that would start", ("from", "to", "days"), [tuple(run.values()) for run in plan])
        out.print("assets: " + ", ".join(assets))


def _show_outcomes(outcomes: "Sequence[RunOutcome]", *, as_json: bool) -> None:
    """Prints how runs ended, and ends the command: 1 if one failed, 3 if a check said no."""
    if as_json:
        show_json(
            [
                {"run_id": o.run_id, "success": o.success, "failures": o.failures, "failed_checks": o.failed_checks}
                for o in outcomes
            ]
        )
    for outcome in outcomes:
        for failure in outcome.failures:
            err.print(f"[bold red]failed[/] run {outcome.run_id[:8]}: ", end="")
            err.print(failure, markup=False)
        for failed in outcome.failed_checks:
            err.print(f"[bold red]refused[/] run {outcome.run_id[:8]}: {failed}")
    if not as_json:
        done = sum(outcome.success for outcome in outcomes)
        out.print(f"{done} of {len(outcomes)} runs succeeded")
    if any(outcome.failed_checks for outcome in outcomes):
        raise typer.Exit(EXIT_REFUSED)
    if not all(outcome.success for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


def push(views: Views = None, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Publish what is committed and passed, and read a sample back. Nothing to do is success."""
    from feature_assets.orchestration.assets.keys import online_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.launch import Launcher
    from feature_assets.orchestration.sensors import PUSH_JOB
    from feature_assets.settings import load_settings

    project = load_project()
    store = open_store(project)
    selected = [view for view in selected_views(project, views) if view.online]
    states = [(view, store.push_state(view)) for view in selected]
    behind = [(view, state) for view, state in states if state.wanted > state.have]
    if dry_run or not behind:
        if as_json:
            show_json([{"view": v.name, "have": s.have, "wanted": s.wanted} for v, s in states])
        else:
            show_table("Pushes", ("view", "published", "wanted"), [(v.name, s.have, s.wanted) for v, s in states])
        return
    with open_instance(load_settings()) as instance, progress_bar("pushes", len(behind), quiet=as_json) as progress:
        launcher = Launcher(project, instance)
        outcomes = []
        for view, _ in behind:
            outcomes.append(launcher.run(PUSH_JOB, [online_key(view)]))
            progress.advance(progress.task_ids[0])
    _show_outcomes(outcomes, as_json=as_json)


def drift(views: Views = None, *, as_json: Json = False) -> None:
    """Compare the newest week of each view with what the champion was trained on."""
    from feature_assets.orchestration.assets.keys import drift_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.jobs import DRIFT_JOB
    from feature_assets.orchestration.launch import Launcher
    from feature_assets.settings import load_settings

    project = load_project()
    keys = [drift_key(view) for view in selected_views(project, views)]
    with open_instance(load_settings()) as instance:
        outcome = Launcher(project, instance).run(DRIFT_JOB, keys)
    _show_outcomes([outcome], as_json=as_json)


def retrain(model: Annotated[str, typer.Argument(help="The name of the model.")], *, as_json: Json = False) -> None:
    """Ask the gate; if it agrees, build the training set, train a challenger, and promote it if it is better."""
    from feature_assets.orchestration.assets.keys import model_key, training_set_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.jobs import RETRAIN_JOB
    from feature_assets.orchestration.launch import Launcher
    from feature_assets.settings import load_settings

    project = load_project()
    wanted = project.model(model)
    with open_instance(load_settings()) as instance:
        outcome = Launcher(project, instance).run(RETRAIN_JOB, [training_set_key(wanted), model_key(wanted)])
    _show_outcomes([outcome], as_json=as_json)
