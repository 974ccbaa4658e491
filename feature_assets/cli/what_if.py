"""`what-if`: what a model would gain if its features were published on another schedule.

Invariant: nothing is written: models are trained, compared and forgotten.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from feature_assets.cli.options import Json, duration, load_project, open_store
from feature_assets.cli.output import out, progress_bar, show_json, show_table
from feature_assets.errors import InputError

if TYPE_CHECKING:
    from feature_assets.definition.model import Model
    from feature_assets.definition.project import Project
    from feature_assets.retraining.freshness import Freshness, Trial


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("what-if")(what_if)


def what_if(
    *,
    model: Annotated[str | None, typer.Option(help="The model; not needed if the project has one.")] = None,
    every: Annotated[
        list[timedelta] | None,
        typer.Option(parser=duration, metavar="DURATION", help="Time between runs, e.g. 1h; 0s: a stream. Repeatable."),
    ] = None,
    delay: Annotated[
        timedelta, typer.Option(parser=duration, metavar="DURATION", show_default="5m", help="From a run to servable.")
    ] = timedelta(minutes=5),
    as_json: Json = False,
) -> None:
    """Train a model as if its features were published on a schedule, and compare it with what is served now.

    Without --every, a schedule of one hour is tried. All is trained and scored on the rows of the newest training set.
    """
    from feature_assets.modelling import freshness
    from feature_assets.training import modes

    project = load_project()
    chosen = _model(project, model)
    schedules = [modes.what_if(every=one, delay=delay) for one in every or [timedelta(hours=1)]]
    with open_store(project) as store, progress_bar("what-if", 1, quiet=as_json) as bar:
        task = bar.task_ids[0]
        found = freshness(
            store,
            chosen,
            schedules,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    if as_json:
        show_json(found)
    else:
        _show(found)


def _model(project: "Project", name: str | None) -> "Model":
    if name is not None:
        return project.model(name)
    if len(project.models) != 1:
        listed = ", ".join(model.name for model in project.models)
        raise InputError(
            f"project {project.name!r} has {len(project.models)} models, so it has to be said which",
            hint=f"--model, one of: {listed}" if listed else "a schedule is worth something to a model: define one",
        )
    return project.models[0]


def _show(found: "Freshness") -> None:
    from feature_assets.training.leakage_words import age, mode_name, origins_text, percent, schedule_text

    when = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}"
    show_table(
        f"{found.model}: AUC on {found.rows:,} rows that no model has seen, {when}",
        ("trained", "asked", "typical age", "rows that differ", "AUC", "gain", "at least (95%)"),
        [
            (mode_name(one.trained), mode_name(one.asked), age(one.age), percent(one.differing), *_figures(one))
            for one in found.trials
        ],
    )
    for one in found.trials:
        if one.gain is not None and one.trained.startswith("what_if"):
            bounds = f"{one.gain.lower:+.4f} to {one.gain.upper:+.4f}"
            out.print(f"{schedule_text(one.trained)}: AUC {one.gain.difference:+.4f}, {_sure(one)} ({bounds})")
    told = origins_text(found.availability)
    out.print(f"As served, availability is {told}. By event time nothing can be served: it knows what comes later.")


def _sure(one: "Trial") -> str:
    """Whether the bounds leave a doubt about which is better."""
    if one.gain is None or one.gain.lower <= 0 <= one.gain.upper:
        return "which may be chance"
    return "surely better" if one.gain.lower > 0 else "surely worse"


def _figures(one: "Trial") -> tuple[str, str, str]:
    if one.gain is None:
        return f"{one.auc:.4f}", "-", "-"
    return f"{one.auc:.4f}", f"{one.gain.difference:+.4f}", f"{one.gain.lower:+.4f}"
