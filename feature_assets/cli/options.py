"""The options that several commands share, and what they are parsed into.

Invariant: a wrong value ends the command with exit code 2 and says which option, before anything is opened.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from feature_assets.definition.project import Project
    from feature_assets.definition.view import FeatureView
    from feature_assets.store import FeatureStore

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
First = Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="The first UTC day, YYYY-MM-DD.")]
Last = Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="The last UTC day, included.")]
LastOrFirst = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="The last UTC day, included; default: the first.")
]
Views = Annotated[list[str] | None, typer.Argument(help="Names of views; all of the project if none is given.")]


def load_project() -> "Project":
    """The project that FEATURE_ASSETS_PROJECT names."""
    from feature_assets.opening import import_project
    from feature_assets.settings import load_settings

    return import_project(load_settings().project)


def open_store(project: "Project") -> "FeatureStore":
    """The feature store of the settings."""
    from feature_assets.settings import load_settings
    from feature_assets.store import FeatureStore

    return FeatureStore.open(load_settings(), project=project)


def selected_views(project: "Project", names: Sequence[str] | None) -> "list[FeatureView]":
    """The named views, or all. Raises `UnknownNameError` with the nearest name."""
    return [project.view(name) for name in names] if names else list(project.views)


def duration(text: str | timedelta) -> timedelta:
    """A duration as one types it: 5m, 1h, 1d12h, 0s."""
    from feature_assets.clock import parse_duration

    # A default comes here, too.
    if isinstance(text, timedelta):
        return text
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def days_between(first: datetime, last: datetime) -> tuple[date, ...]:
    """All days of the range, both ends included; an empty range is wrong usage."""
    from feature_assets.orchestration.partitions import day_range

    if last < first:
        raise typer.BadParameter(f"--to {last:%Y-%m-%d} is before --from {first:%Y-%m-%d}")
    return day_range(first.date(), last.date())
