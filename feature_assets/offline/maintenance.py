"""Maintenance: compaction, vacuum, and what was done to a table.

Invariant: every manifest stays rebuildable: rows are only rewritten as they are, with the availability of the default
target folded in, and only files that no version within the retention needs are deleted. All of it is idempotent and may
run beside writers and readers. Damage is `repair.py`'s concern.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from feature_assets.clock import from_us
from feature_assets.definition.naming import EVENT_AT
from feature_assets.definition.project import Project
from feature_assets.errors import InputError
from feature_assets.offline import integrity
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.folding import FOLDED, folding
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.rewrite import Rewrite, rewrite_appended, rewrite_partitioned
from feature_assets.offline.served_columns import FOLDER as SERVED
from feature_assets.offline.served_columns import LOGGED_AT
from feature_assets.offline.table import table_as_stored

RETENTION = timedelta(days=7)
"""How long a replaced file is kept: longer than any reader that began before the rewrite."""
ORPHAN_RETENTION = timedelta(hours=1)
"""At least so old is a file that no commit names before it is taken for garbage: a writer may be about to name it."""

_DEEPEST = 3
_OPERATION = "feature_assets_operation"

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One version of a table.

    `operation`: commit, rewrite, note (of what was read and changed nothing), or what delta-rs calls it. `number`: the
    commit_seq as of then; of a rewrite, how many there were.
    """

    version: int
    at: datetime
    operation: str
    number: int | None
    rows: int | None
    run_id: str


def tables(lake: Lake, *parts: str) -> Iterator[tuple[str, ...]]:
    """The paths of all Delta tables under a path, in order."""
    if parts and lake.exists(*parts):
        yield parts
    elif len(parts) < _DEEPEST:
        for name in lake.names(*parts):
            if not name.startswith((".", "_")) and "=" not in name:
                yield from tables(lake, *parts, name)


def compact(
    lake: Lake,
    project: Project,
    *,
    ledger: Ledger,
    target: str,
    run_id: str = "",
    progress: Progress | None = None,
) -> tuple[Rewrite, ...]:
    """Compact every numbered table of the lake; returns what was rewritten.

    Feature rows get `available_at` and `superseded_at` as the ledger resolves them on `target` now. Tables without
    numbers (training sets) are written once and left alone. Raises `CommitConflictError` if other rewrites are always
    faster.
    """
    found = list(tables(lake))
    done = []
    for number, path in enumerate(found):
        rewritten = compact_table(lake, path, project, ledger=ledger, target=target, run_id=run_id)
        if rewritten is not None and rewritten.files_before:
            done.append(rewritten)
        if progress is not None:
            progress("/".join(path), number + 1, len(found))
    return tuple(done)


def compact_table(
    lake: Lake,
    path: tuple[str, ...],
    project: Project,
    *,
    ledger: Ledger,
    target: str,
    dry_run: bool = False,
    run_id: str = "",
) -> Rewrite | None:
    """Compact one table; None if it is none of the numbered ones. `dry_run`: only say what would be rewritten."""
    found = pa.schema(lake.open(*path).schema())
    if "commit_seq" not in found.names or "row" not in found.names:
        return None
    is_log = path[0] == SERVED
    if is_log or "month" not in found.names:
        own = ("commit_seq", "row", "month") if is_log else ("commit_seq", "row")
        schema = pa.schema([field for field in found if field.name not in own])
        monthly = LOGGED_AT if is_log else ""
        return rewrite_appended(AppendTable(lake, path, schema, monthly=monthly), dry_run=dry_run, run_id=run_id)
    source = next((one for one in project.sources if path[1:] == (one.name,)), None)
    table = table_as_stored(lake, path, event_at=EVENT_AT if source is None else source.event_at)
    view = next((one for one in project.views if path[:2] == ("features", one.name)), None)
    if view is None or not table.has_features:
        return rewrite_partitioned(table, dry_run=dry_run, run_id=run_id)
    fold = folding(lake, view, path[-1], ledger=ledger, target=target)
    return rewrite_partitioned(table, change=fold, changed_columns=FOLDED, dry_run=dry_run, run_id=run_id)


def vacuum(
    lake: Lake, *parts: str, retention: timedelta = RETENTION, orphans: bool = False, dry_run: bool = False
) -> tuple[str, ...]:
    """Delete the files that rewrites replaced longer than `retention` ago; returns their paths.

    `orphans`: also files that no commit ever named, as a killed writer leaves them; then `retention` is at least an
    hour (`InputError`), as a writer names its file only when it commits. `dry_run`: delete nothing.
    """
    if retention < timedelta(0) or (orphans and retention < ORPHAN_RETENTION):
        least = ORPHAN_RETENTION if orphans else timedelta(0)
        raise InputError(f"vacuum of {'/'.join(parts)}: a retention of {retention}", hint=f"at least {least}")
    handle = lake.open(*parts)
    before = handle.version()
    with lake.faults(*parts):
        removed = handle.vacuum(
            retention_hours=int(retention / timedelta(hours=1)),
            dry_run=dry_run,
            enforce_retention_duration=False,
            full=orphans,
        )
        if not dry_run:
            # Commits and checkpoints that a later checkpoint makes up for, past the log's own retention of 30 days.
            lake.open(*parts).cleanup_metadata()
    if not dry_run:
        lake.sync_log(*parts, after=before - 1)
        if not lake.is_remote:
            integrity.forget_digests(lake.path(*parts))
    return tuple(sorted(removed))


def history(lake: Lake, *parts: str, limit: int | None = None) -> tuple[Operation, ...]:
    """What was done to a table, the latest first. Raises `OfflineError` if there is no table."""
    handle = lake.open(*parts)
    with lake.faults(*parts):
        entries = handle.history(limit)
    return tuple(
        Operation(
            version=int(entry["version"]),
            at=from_us(int(entry["timestamp"]) * 1000),
            operation=str(entry.get(_OPERATION) or entry["operation"]).lower(),
            number=_number(entry.get("feature_assets_number")),
            rows=_number(entry.get("feature_assets_rows")),
            run_id=str(entry.get("feature_assets_run_id") or ""),
        )
        for entry in entries
    )


def _number(text: object) -> int | None:
    return int(str(text)) if text is not None else None
