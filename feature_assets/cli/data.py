"""`training-set` and `get`: features out, for training and for a look.

Invariant: both go through the same `FeatureStore` as any program does.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_assets.cli.options import Json, load_project, open_store
from feature_assets.cli.output import out, progress_bar, show_json, show_table
from feature_assets.errors import UnknownNameError

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_assets.definition.service import FeatureService
    from feature_assets.training.modes import AnyMode


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("training-set")(training_set)
    app.command()(get)


def training_set(
    *,
    service: Annotated[str, typer.Option(help="The feature service.")],
    spine: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Parquet: keys, timestamp, labels.")],
    timestamp: Annotated[str, typer.Option(help="The column of the spine that holds as_of.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the Parquet file is written.")],
    mode: Annotated[str, typer.Option(help="as_served, as_of_event, what_if or as_logged.")] = "as_served",
    delay_minutes: Annotated[int, typer.Option(help="With what_if: minutes from a run to servable.")] = 0,
    every_minutes: Annotated[int, typer.Option(help="With what_if: minutes between runs.")] = 60,
    request_id: Annotated[str, typer.Option(help="With as_logged: the column of request ids.")] = "request_id",
    request_row: Annotated[
        str, typer.Option(help="With as_logged: the column of the row in its request; 0 if there is none.")
    ] = "request_row",
    missing: Annotated[
        str, typer.Option(help="With as_logged, rows that are not in the log: refuse, null or as_served.")
    ] = "refuse",
    report: Annotated[
        Path | None, typer.Option(help="Write the leakage and staleness report here, one page of HTML.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join features to a spine of keys and instants: exactly what serving would have returned.

    With as_logged it is what serving did return: the spine has request ids, and the values are the served log's.
    """
    import pyarrow.parquet as pq

    from feature_assets.training.modes import as_logged

    chosen = _mode(mode, timedelta(minutes=delay_minutes), timedelta(minutes=every_minutes))
    if mode == "as_logged":
        chosen = as_logged(request_id=request_id, request_row=request_row, missing=missing)
    for option, path in (("--output", output), ("--report", report)):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"{option} {path}: there is no folder {path.absolute().parent}")
    rows = _spine(spine)
    with open_store(load_project()) as store, progress_bar("views", 1, quiet=as_json) as bar:
        task = bar.task_ids[0]

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        built = store.training_set(rows, service=service, timestamp=timestamp, mode=chosen, progress=progress)
        found = None if report is None else store.leakage_report(built, progress=progress)
    with written(output) as fresh:
        pq.write_table(built.table, fresh)
    if report is not None and found is not None:
        with written(report) as fresh:
            fresh.write_text(found.to_html(), encoding="utf-8")
    summary = {"id": built.manifest.id, "rows": built.table.num_rows, "columns": len(built.table.column_names)}
    if as_json:
        told = {} if found is None else {"report": str(report), "leakage": found}
        show_json({**summary, "output": str(output), **told})
        return
    out.print(f"{summary['rows']:,} rows, {summary['columns']} columns, id {summary['id']} -> {output}")
    for line in [] if found is None else [*found.summary(), f"report -> {report}"]:
        out.print(line, markup=False, soft_wrap=True)


def _mode(name: str, delay: timedelta, every: timedelta) -> "AnyMode":
    from feature_assets.training.modes import parse_mode, what_if

    return what_if(delay=delay, every=every) if name == "what_if" else parse_mode(name)


def _spine(path: Path) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise typer.BadParameter(f"--spine {path} is no Parquet file: {error}") from error


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end: interrupted, the old one is still there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield fresh
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def get(
    service: Annotated[str, typer.Argument(help="The feature service.")],
    values: Annotated[list[str], typer.Argument(help="key=value for every key and request field.")],
    *,
    as_json: Json = False,
) -> None:
    """Look one entity up online: values, statuses, ages, versions."""
    project = load_project()
    chosen = project.service(service)
    with open_store(project) as store:
        answer = store.get(request_of(chosen, values), service=service)
    row = answer.to_pylist()[0]
    if as_json:
        show_json(answer.to_documents()[0])
        return
    rows = []
    for name, status in answer.status.items():
        prefix = name.split("__", maxsplit=1)[0]
        meta = answer.meta.get(prefix)
        age = meta.age[0] if meta is not None else None
        rows.append((name, row[name], status[0].name, str(age) if age is not None else None))
    show_table(f"{service} at {answer.as_of.isoformat()}", ("feature", "value", "status", "age"), rows)


def request_of(service: "FeatureService", values: Sequence[str]) -> "pa.Table":
    """A request of one row from `key=value` words, each value read as its column's type."""
    import pyarrow as pa

    given = {}
    for word in values:
        name, separator, text = word.partition("=")
        if not separator:
            raise typer.BadParameter(f"{word!r} is not key=value")
        if name in given:
            raise typer.BadParameter(f"{name!r} is given twice")
        given[name] = text
    columns = {column.name: column.dtype for column in service.key_columns}
    for name in given.keys() - columns.keys():
        raise UnknownNameError("key or request field", name, columns, f"service {service.name!r}")
    try:
        return pa.table({name: pa.array([text]).cast(columns[name]) for name, text in given.items()})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise typer.BadParameter(f"a value does not fit its column: {error}") from error
