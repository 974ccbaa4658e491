"""Repair of a damaged log, and giving up data files that are lost. Files are moved aside, never deleted.

Invariant: `repair` loses nothing that was acknowledged: it moves an unacknowledged end of the log, or a checkpoint that
the commits make up for, and refuses any other damage with the way out. `abandon` loses the rows of files that cannot be
read, says of which days, and records of which commits, so that the rest can be read and written again. A table on an
object store has no torn log: its writes are atomic.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from feature_assets.errors import InputError
from feature_assets.offline import durable, files, integrity
from feature_assets.offline.lake import Lake
from feature_assets.offline.losses import lost_commits, record_lost
from feature_assets.offline.snapshot import SEQUENCE

ASIDE = "_aside"
"""Beside `_delta_log`, in the table's folder; no reader looks there."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair does: the finding, and the files that it moves to `_aside/` (relative to the table)."""

    table: str
    what: str
    last_good: int | None
    moves: tuple[str, ...]


def repair_plan(lake: Lake, *parts: str) -> Repair | None:
    """What `repair` would do to a table; None if its log is whole. Raises `TableDamagedError` if it can do nothing."""
    if lake.is_remote:
        raise InputError("only the log of a table in a local folder can be torn", hint="see docs/operations.md")
    folder = lake.path(*parts)
    damage = integrity.found(folder, deep=True)
    if damage is None:
        return None
    if not damage.aside:
        raise integrity.error("/".join(parts), damage)
    moves = tuple(str(path.relative_to(folder)) for path in damage.aside)
    return Repair("/".join(parts), damage.what, damage.last_good, moves)


def repair(lake: Lake, *parts: str) -> tuple[Repair, ...]:
    """Move aside what stands in the way, until the log is whole. Returns what was done, empty if it was whole."""
    folder = lake.path(*parts)
    done: list[Repair] = []
    while (plan := repair_plan(lake, *parts)) is not None:
        for name in plan.moves:
            _move_aside(folder, folder / name)
        done.append(plan)
    return tuple(done)


@dataclass(frozen=True, slots=True)
class Loss:
    """What was given up: data files, their months, and the commits that have no row left and had not been recorded."""

    table: str
    files: tuple[str, ...]
    months: tuple[str, ...]
    commits: tuple[int, ...]


def abandon(lake: Lake, *parts: str, dry_run: bool = False) -> Loss:
    """Give up the data files that are missing or not as they were written; what is unreadable is moved to `_aside/`.

    Every file of the table is read. The days of the months named then have an earlier version, or none: materialize
    them again. What was published of them online stays. `dry_run`: only say what would be given up.
    """
    handle = lake.open(*parts)
    found = files.listed(handle)
    bad = [file for file in found if not files.is_whole(lake, parts, file)]
    kept = [file for file in found if file not in bad]
    numbers = pa.schema([("commit_seq", pa.int64())])
    present = set(files.scan(lake, parts, kept, numbers, columns=["commit_seq"]).column(0).unique().to_pylist())
    numbered = set(range(1, (handle.transaction_version(SEQUENCE) or 0) + 1))
    lost = sorted(numbered - present - lost_commits(lake, parts))
    months = sorted({file.month for file in bad if file.month is not None})
    if not dry_run and (bad or lost):
        # First the record: whoever is interrupted after it finds the files still missing, and does the rest again.
        record_lost(lake, parts, lost)
        _set_aside(lake, parts, [file.path for file in bad])
        with lake.faults(*parts):
            handle.repair()
        lake.sync_log(*parts, after=handle.version() - 2)
    return Loss("/".join(parts), tuple(file.path for file in bad), tuple(months), tuple(lost))


def _set_aside(lake: Lake, parts: tuple[str, ...], paths: list[str]) -> None:
    """Out of the way of the table; what is not there cannot be."""
    filesystem = lake.filesystem(*parts)
    with lake.faults(*parts):
        filesystem.create_dir(ASIDE, recursive=True)
        for path in paths:
            try:
                filesystem.move(path, f"{ASIDE}/{path.split('/')[-1]}")
            except FileNotFoundError:
                continue


def _move_aside(folder: Path, path: Path) -> None:
    aside = folder / ASIDE
    durable.made_folder(aside, folder)
    target = aside / path.name
    number = 1
    while target.exists():
        target, number = aside / f"{path.name}.{number}", number + 1
    path.rename(target)
    durable.sync_file(aside)
    durable.sync_file(path.parent)
