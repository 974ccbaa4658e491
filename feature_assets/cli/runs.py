"""`materialize`, `backfill`, `push`, `drift`, `retrain`: what starts Dagster runs.

Invariant: a run started here is in the project's Dagster instance and so in the UI. A command that was interrupted
can be given again: everything that it launches is idempotent, and a backfill skips what is already there.
"""

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from feature_assets.cli.options import (
    DryRun,
    First,
    Json,
    Last,
    LastOrFirst,
    Views,
    days_between,
    load_project,
    open_store,
    selected_views,
)
from feature_assets.cli.output import EXIT_FAILED, EXIT_REFUSED, err, out, progress_bar, show_json, show_table
from feature_assets.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_assets.definition.project import Project
    from feature_assets.definition.source import BatchSource
    from feature_assets.definition.view import FeatureView
    from feature_assets.orchestration.launch import RunOutcome
    from feature_assets.retraining.decisions import Decision, Kind
    from feature_assets.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (materialize, backfill, push, drift, retrain):
        app.command()(command)


def materialize(
    views: Views = None,
    *,
    first: First,
    last: LastOrFirst = None,
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
    first: First,
    last: Last,
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
        with open_store(project) as store:
            days = missing_days(store, _sources(selected), selected, days)
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

    keys = asset_keys(_sources(views), views)
    assets = ["/".join(key.path) for key in keys]
    plan = [{"from": min(chunk).isoformat(), "to": max(chunk).isoformat(), "days": len(chunk)} for chunk in chunks]
    if dry_run or not plan:
        _show_plan(plan, assets, as_json=as_json)
        return
    outcomes: list[RunOutcome] = []
    with open_instance(_settings()) as instance, progress_bar("runs", len(chunks), quiet=as_json) as progress:
        launcher = Launcher(project, instance)
        for chunk in chunks:
            outcomes.append(launcher.materialize(keys, chunk))
            progress.advance(progress.task_ids[0])
            # What a check holds back is held back for its days alone; what failed would fail again.
            if outcomes[-1].failures:
                break
    ran = [{**run, **_document(outcome)} for run, outcome in zip(plan, outcomes, strict=False)]
    _finish(outcomes, {"assets": assets, "runs": ran + plan[len(ran) :]}, as_json=as_json)


def _settings() -> "Settings":
    """The settings, for a command that runs something here and now. It goes behind what serves, unless told not to."""
    from feature_assets.priority import give_way
    from feature_assets.settings import RunPriority, load_settings

    settings = load_settings()
    if settings.run_priority is RunPriority.BACKGROUND:
        give_way()
    return settings


def _show_plan(plan: "Sequence[Mapping[str, object]]", assets: list[str], *, as_json: bool) -> None:
    if as_json:
        show_json({"assets": assets, "runs": plan})
    elif not plan:
        out.print("nothing to do: every day is there, with a verdict")
    else:
        show_table("Runs that would start", ("from", "to", "days"), [tuple(run.values()) for run in plan])
        out.print("assets: " + ", ".join(assets))


def _document(outcome: "RunOutcome") -> dict[str, object]:
    return {
        "run_id": outcome.run_id,
        "success": outcome.success,
        "failures": outcome.failures,
        "failed_checks": outcome.failed_checks,
    }


def _finish(outcomes: "Sequence[RunOutcome]", document: "Mapping[str, object]", *, as_json: bool) -> None:
    """Says how runs ended, and ends the command unless all went well: 1 if one failed, 3 if a check said no."""
    if as_json:
        show_json(document)
    for outcome in outcomes:
        for failure in outcome.failures:
            err.print(f"[bold red]failed[/] run {outcome.run_id[:8]}: ", end="")
            err.print(failure, markup=False, soft_wrap=True)
        for failed in outcome.failed_checks:
            err.print(f"[bold red]refused[/] run {outcome.run_id[:8]}: check {failed}", soft_wrap=True)
    if not as_json:
        done = sum(outcome.success for outcome in outcomes)
        out.print(f"{done} of {len(outcomes)} runs succeeded")
    refused = any(outcome.failed_checks for outcome in outcomes)
    if any(outcome.failures or not (outcome.success or outcome.failed_checks) for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)
    if refused:
        raise typer.Exit(EXIT_REFUSED)


def push(
    views: Views = None,
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="The online store lost these views: load all of them again.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Publish what is committed and passed, and read a sample back. Nothing to do is success."""
    from feature_assets.orchestration.assets.keys import online_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.launch import Launcher
    from feature_assets.orchestration.sensors import PUSH_JOB

    project = load_project()
    selected = [view for view in selected_views(project, views) if view.online]
    with open_store(project) as store:
        if rebuild and not dry_run:
            for view in selected:
                store.retire(view)
        states = [(view, store.push_state(view)) for view in selected]
    documents = {view.name: {"view": view.name, "have": s.have, "wanted": s.wanted} for view, s in states}
    behind = [view for view, state in states if state.wanted > state.have]
    if dry_run or not behind:
        if as_json:
            show_json({"pushes": list(documents.values())})
        else:
            show_table("Pushes", ("view", "published", "wanted"), [(v.name, s.have, s.wanted) for v, s in states])
        return
    outcomes = {}
    with open_instance(_settings()) as instance, progress_bar("pushes", len(behind), quiet=as_json) as progress:
        launcher = Launcher(project, instance)
        for view in behind:
            outcomes[view.name] = launcher.run(PUSH_JOB, [online_key(view)])
            progress.advance(progress.task_ids[0])
    ran = {name: {**documents[name], **_document(outcome)} for name, outcome in outcomes.items()}
    _finish(list(outcomes.values()), {"pushes": list({**documents, **ran}.values())}, as_json=as_json)


def drift(views: Views = None, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Compare the newest week of each view with what the champion was trained on."""
    from feature_assets.orchestration.assets.keys import drift_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.jobs import DRIFT_JOB
    from feature_assets.orchestration.launch import Launcher

    project = load_project()
    selected = selected_views(project, views)
    if not project.models:
        raise InputError(
            f"drift: project {project.name!r} has no model", hint="drift is against what a model was trained on"
        )
    keys = [drift_key(view) for view in selected]
    assets = ["/".join(key.path) for key in keys]
    if dry_run:
        if as_json:
            show_json({"assets": assets, "runs": []})
        else:
            out.print("one run would start, of " + ", ".join(assets))
        return
    with open_instance(_settings()) as instance:
        outcome = Launcher(project, instance).run(DRIFT_JOB, keys)
    _finish([outcome], {"assets": assets, "runs": [_document(outcome)]}, as_json=as_json)


def retrain(
    model: Annotated[str, typer.Argument(help="The name of the model.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only ask the gate about the newest training set; record nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask the gate; if it agrees, build the training set, train a challenger, and promote it if it is better."""
    from feature_assets.modelling import gate_answer, newest_decisions
    from feature_assets.orchestration.assets.keys import model_key, training_set_key
    from feature_assets.orchestration.instance import open_instance
    from feature_assets.orchestration.jobs import RETRAIN_JOB
    from feature_assets.orchestration.launch import Launcher
    from feature_assets.retraining.decisions import Kind

    project = load_project()
    wanted = project.model(model)
    if dry_run:
        with open_store(project) as store:
            answer = gate_answer(store, wanted)
        if as_json:
            show_json({"model": model, "runs": [], "decisions": {Kind.RETRAIN: answer}})
        _show_decisions({Kind.RETRAIN: answer}, quiet=as_json)
        return
    with open_instance(_settings()) as instance:
        outcome = Launcher(project, instance).run(RETRAIN_JOB, [training_set_key(wanted), model_key(wanted)])
    with open_store(project) as store:
        decided = newest_decisions(store, wanted)
    _finish([outcome], {"model": model, "runs": [_document(outcome)], "decisions": decided}, as_json=as_json)
    _show_decisions(decided, quiet=as_json)


def _show_decisions(decided: "Mapping[Kind, Decision]", *, quiet: bool) -> None:
    """Prints what the gate said, with its reasons, and ends the command with 3 if it was no."""
    for kind, decision in decided.items():
        if not quiet:
            out.print(f"{kind.value}: [bold]{'yes' if decision.go else 'no'}[/]")
            for reason in decision.reasons:
                out.print(f"  {reason}", markup=False, soft_wrap=True)
    if not all(decision.go for decision in decided.values()):
        raise typer.Exit(EXIT_REFUSED)
