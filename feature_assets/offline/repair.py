"""Repair of a damaged log, where that loses nothing that was acknowledged: files are moved aside, never deleted.

Invariant: what is moved is an unacknowledged end of the log, or a checkpoint that the commits make up for. For any
other damage `repair` refuses, with the way out. A table on an object store has none of these damages: its writes are
atomic.
"""

from dataclasses import dataclass
from pathlib import Path

from feature_assets.errors import InputError
from feature_assets.offline import durable, integrity
from feature_assets.offline.lake import Lake

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
