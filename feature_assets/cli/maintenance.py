"""`maintenance`: a table's files, history and damage; versions that nobody needs any more.

Invariant: what would be done is worked out by the same code that does it; `--dry-run` changes nothing. What is wrong
with one table holds up no other, and ends the command with 1 when the others are done. A repair needs no project: the
damage may be why it cannot be opened.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from feature_assets.cli.options import DryRun, Json, Views, load_project, open_store, selected_views
from feature_assets.cli.output import EXIT_FAILED, err, out, progress_bar, show_json, show_table

if TYPE_CHECKING:
    from feature_assets.offline.lake import Lake
    from feature_assets.offline.upkeep import Path, TableUpkeep

group = typer.Typer(help="Compact, vacuum, repair tables; what was done to them.", no_args_is_help=True)

Tables = Annotated[
    list[str] | None, typer.Argument(metavar="[TABLE]...", help="e.g. events/orders, availability; default: all.")
]
Table = Annotated[str, typer.Argument(help="e.g. events/orders, features/daily_spend, availability.")]
RetentionDays = Annotated[float, typer.Option(min=0.0, help="Keep what was replaced less than so many days ago.")]
Orphans = Annotated[
    bool, typer.Option("--orphans/--no-orphans", help="Also what killed writers left: files that no commit names.")
]


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    for command in (run, compact, vacuum, retire, repair, abandon, history):
        group.command()(command)
    app.add_typer(group, name="maintenance")


def run(
    tables: Tables = None,
    *,
    retention_days: RetentionDays = 7.0,
    orphans: Orphans = True,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """What the nightly job does: compact, then vacuum."""
    _keep_up(tables, timedelta(days=retention_days), compacting=True, orphans=orphans, dry_run=dry_run, as_json=as_json)


def compact(tables: Tables = None, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """One file per month and table, sorted, with the availability of the online store folded in."""
    _keep_up(tables, None, compacting=True, orphans=False, dry_run=dry_run, as_json=as_json)


def vacuum(
    tables: Tables = None,
    *,
    retention_days: RetentionDays = 7.0,
    orphans: Orphans = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Delete the files that compactions replaced."""
    _keep_up(
        tables, timedelta(days=retention_days), compacting=False, orphans=orphans, dry_run=dry_run, as_json=as_json
    )


def _keep_up(
    names: Sequence[str] | None,
    retention: timedelta | None,
    *,
    compacting: bool,
    orphans: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from feature_assets.offline.maintenance import ORPHAN_RETENTION, RETENTION
    from feature_assets.offline.upkeep import Upkeep

    if orphans and retention is not None and retention < ORPHAN_RETENTION:
        raise typer.BadParameter(f"--orphans needs a retention of {ORPHAN_RETENTION} at least")
    with open_store(load_project()) as store, progress_bar("tables", 1, quiet=as_json) as bar:
        task = bar.task_ids[0]
        upkeep = Upkeep(
            store.project,
            store.ledger,
            store.target,
            compact=compacting,
            vacuum=retention is not None,
            retention=RETENTION if retention is None else retention,
            orphans=orphans,
            dry_run=dry_run,
        )
        done = upkeep.of(
            store.lake,
            _paths(store.lake, names),
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    _show_upkeep(done, dry_run=dry_run, as_json=as_json)


def _paths(lake: "Lake", names: Sequence[str] | None) -> "list[Path] | None":
    from feature_assets.offline.upkeep import table_path

    return [table_path(lake, name) for name in names] if names else None


def _show_upkeep(done: "Sequence[TableUpkeep]", *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        show_json({"dry_run": dry_run, "tables": msgspec.to_builtins(done)})
    else:
        touched = [one for one in done if one.files_before or one.deleted or one.error]
        show_table(
            "What would be done" if dry_run else "What was done",
            ("table", "months", "files before", "files after", "rows", "files deleted"),
            [
                (one.table, len(one.months), one.files_before, one.files_after, one.rows, len(one.deleted))
                for one in touched
            ],
        )
        out.print(f"{len(done) - len(touched)} of {len(done)} tables need nothing")
    failed = [one for one in done if one.error]
    for one in failed:
        err.print(f"[bold red]failed[/] {one.table}: ", end="")
        err.print(one.error, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def retire(
    views: Views = None,
    *,
    grace_days: Annotated[
        float, typer.Option(min=0.0, help="Only what another took over from, and nobody pushed to, for so many days.")
    ] = 7.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let versions that another has taken over from answer no more, and drop their tables in the online store."""
    from feature_assets.online.retirement import retire_superseded, retirement_plan

    project = load_project()
    grace = timedelta(days=grace_days)
    done = []
    with open_store(project) as store:
        for view in selected_views(project, views):
            if view.online:
                step = retirement_plan if dry_run else retire_superseded
                version, ledger, clock = store.version(view), store.ledger, store.clock
                done.append(step(view.name, version, ledger=ledger, store=store.online, clock=clock, grace=grace))
    if as_json:
        show_json({"dry_run": dry_run, "views": msgspec.to_builtins(done)})
        return
    rows = [(one.view, ", ".join(one.versions), ", ".join(one.tables)) for one in done if one.versions or one.tables]
    if rows:
        show_table("What would be retired" if dry_run else "What was retired", ("view", "versions", "tables"), rows)
    else:
        out.print("nothing is to be retired")


def repair(tables: Tables = None, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Move aside what stands in the way of a damaged log. Loses nothing that was acknowledged."""
    from feature_assets.errors import TableDamagedError
    from feature_assets.offline import repair as repairs
    from feature_assets.offline.maintenance import tables as all_tables

    lake = _lake()
    found: list[repairs.Repair] = []
    beyond: list[TableDamagedError] = []
    for path in _paths(lake, tables) or list(all_tables(lake)):
        try:
            if dry_run:
                plan = repairs.repair_plan(lake, *path)
                found += [] if plan is None else [plan]
            else:
                found += repairs.repair(lake, *path)
        except TableDamagedError as error:
            beyond.append(error)
    if as_json:
        show_json(
            {
                "dry_run": dry_run,
                "repairs": msgspec.to_builtins(found),
                "beyond_repair": [{"message": one.message, "hint": one.hint} for one in beyond],
            }
        )
    elif not found and not beyond:
        out.print("every log is whole")
    else:
        rows = [(plan.table, plan.what, plan.last_good, ", ".join(plan.moves)) for plan in found]
        show_table(
            "What would be moved to _aside/" if dry_run else "What was moved to _aside/",
            ("table", "found", "last good version", "files"),
            rows,
        )
    for one in beyond:
        err.print("[bold red]beyond repair[/]: ", end="")
        err.print(str(one), markup=False, soft_wrap=True)
    if beyond:
        raise typer.Exit(EXIT_FAILED)


def abandon(table: Table, *, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Give up data files that are lost, so that the rest can be read and written again. First look with --dry-run."""
    from feature_assets.offline import repair as repairs
    from feature_assets.offline.upkeep import table_path

    lake = _lake()
    loss = repairs.abandon(lake, *table_path(lake, table), dry_run=dry_run)
    if as_json:
        show_json({"dry_run": dry_run, **msgspec.to_builtins(loss)})
    elif not loss.files and not loss.commits:
        out.print(f"{loss.table} is whole: there is nothing to give up")
    else:
        for file in loss.files:
            out.print(f"{'would be given up' if dry_run else 'given up'}: {file}", markup=False, soft_wrap=True)
        out.print(f"commits without a row left: {', '.join(map(str, loss.commits)) or 'none'}")
        out.print(f"materialize the days of these months again: {', '.join(loss.months) or 'none'}")


def history(
    table: Table,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many operations, the latest first.")] = 20,
    as_json: Json = False,
) -> None:
    """What was done to a table, the latest first, and by which run."""
    from feature_assets.offline import maintenance as core
    from feature_assets.offline.upkeep import table_path

    lake = _lake()
    found = core.history(lake, *table_path(lake, table), limit=limit)
    if as_json:
        show_json(msgspec.to_builtins(found))
        return
    show_table(
        table,
        ("version", "at", "operation", "number", "rows", "run"),
        [(one.version, one.at.isoformat(), one.operation, one.number, one.rows, one.run_id or None) for one in found],
    )


def _lake() -> "Lake":
    from feature_assets.opening import lake_of
    from feature_assets.settings import load_settings

    return lake_of(load_settings())
