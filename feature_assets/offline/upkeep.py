"""Upkeep: what a lake needs every night. Its tables compacted, and what that replaced deleted, table by table.

Invariant: a table that cannot be compacted or vacuumed is told with its error and holds up no other; nothing that a
reader sees is changed. It repairs nothing and retires nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from feature_assets.definition.project import Project
from feature_assets.errors import FeatureAssetsError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.maintenance import ORPHAN_RETENTION, RETENTION, compact_table, tables, vacuum

Path = tuple[str, ...]
Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""


class TableUpkeep(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a table, or would be. `files_before` 0: nothing was to be compacted. `error`: empty if none."""

    table: str
    months: tuple[str, ...] = ()
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    deleted: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What to do.

    `compact`; `vacuum` what was replaced longer than `retention` ago and, with `orphans`, what no commit names.
    `target`: whose availability is folded into feature rows. `dry_run`: only say what would be done.

    A vacuum after a compaction has little to delete: what that compaction replaced is younger than the retention.
    """

    project: Project
    ledger: Ledger
    target: str
    compact: bool = True
    vacuum: bool = True
    retention: timedelta = RETENTION
    orphans: bool = True
    dry_run: bool = False
    run_id: str = ""

    def of(
        self, lake: Lake, paths: Sequence[Path] | None = None, *, progress: Progress | None = None
    ) -> list[TableUpkeep]:
        """Do it to some tables, by default to all; one entry per table, in order."""
        found = list(tables(lake)) if paths is None else list(paths)
        done = []
        for number, path in enumerate(found):
            done.append(self._of_table(lake, path))
            if progress is not None:
                progress("/".join(path), number + 1, len(found))
        return done

    def _of_table(self, lake: Lake, path: Path) -> TableUpkeep:
        done = TableUpkeep(table="/".join(path))
        try:
            if self.compact:
                rewritten = compact_table(
                    lake,
                    path,
                    self.project,
                    ledger=self.ledger,
                    target=self.target,
                    dry_run=self.dry_run,
                    run_id=self.run_id,
                )
                if rewritten is not None:
                    done = msgspec.structs.replace(
                        done,
                        months=rewritten.months,
                        files_before=rewritten.files_before,
                        files_after=rewritten.files_after,
                        rows=rewritten.rows,
                    )
            if self.vacuum:
                deleted = vacuum(lake, *path, retention=self.retention, orphans=self._orphans, dry_run=self.dry_run)
                done = msgspec.structs.replace(done, deleted=deleted)
        except FeatureAssetsError as error:
            done = msgspec.structs.replace(done, error=f"{type(error).__name__}: {error.message}")
        return done

    @property
    def _orphans(self) -> bool:
        return self.orphans and self.retention >= ORPHAN_RETENTION


def table_path(lake: Lake, name: str) -> Path:
    """The path of the table of that name, as `features/<view>/<version>`; a view's only version may be left out.

    Raises `UnknownNameError` with the nearest name.
    """
    known = {"/".join(path): path for path in tables(lake)}
    name = name.strip("/")
    below = [path for path in known.values() if path[:-1] == tuple(name.split("/"))]
    if name in known:
        return known[name]
    if len(below) == 1:
        return below[0]
    raise UnknownNameError("table", name, known, f"lake {lake.root}")
