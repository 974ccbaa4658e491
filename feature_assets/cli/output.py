"""What the command line prints: tables for people, one JSON document for programs, errors with their way out.

Invariant: with `--json`, standard output holds exactly one JSON document and nothing else; everything for people goes
to standard error then. Nothing here computes.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from feature_assets.errors import FeatureAssetsError, InputError, SettingsError, VerdictError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
"""A check, a gate or a verdict said no: nothing is broken, and nothing was published."""

_PIPE_WIDTH = 160
"""Columns where there is no terminal to ask: in a log or a file, wide tables are better than broken words."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPE_WIDTH)


@contextmanager
def terminal() -> Iterator[Console]:
    """Standard error as it is now, also while a run has it going to a log of its own: for progress bars."""
    try:
        copied = os.dup(sys.stderr.fileno())
    except OSError:
        # It is no file, but somebody's buffer: nothing that a run could redirect.
        yield err
        return
    with os.fdopen(copied, "w", encoding="utf-8") as stream:
        yield Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPE_WIDTH)


def exit_code(error: FeatureAssetsError) -> int:
    """What an error ends the command with: wrong usage is what was typed, handed over or set; a verdict refuses."""
    if isinstance(error, InputError | SettingsError):
        return EXIT_USAGE
    return EXIT_REFUSED if isinstance(error, VerdictError) else EXIT_FAILED


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table for people. Numbers are right-aligned."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    out.print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_json(document: Mapping[str, object] | Sequence[object] | msgspec.Struct) -> None:
    """The one JSON document on standard output."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def show_error(error: FeatureAssetsError, *, as_json: bool) -> None:
    """What, where, which value on one line; the way out on the next."""
    if as_json:
        show_json({"error": type(error).__name__, "message": error.message, "hint": error.hint})
        return
    err.print(f"[bold red]error[/] ({type(error).__name__}): ", end="")
    err.print(error.message, markup=False, soft_wrap=True)
    if error.hint is not None:
        err.print("[bold]hint[/]: ", end="")
        err.print(error.hint, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Progress]:
    """A progress bar on standard error with one task, which the caller advances: it is `progress.task_ids[0]`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # What is printed meanwhile goes where it would without a bar: to the log of the run that prints it.
    plain = partial(Progress, *columns, disable=quiet, redirect_stdout=False, redirect_stderr=False)
    with terminal() as console, plain(console=console, transient=not console.is_terminal) as progress:
        progress.add_task(what, total=total)
        yield progress
