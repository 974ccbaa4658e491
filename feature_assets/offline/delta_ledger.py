"""The ledger in Delta: the table `availability/`.

Invariant: a position is the number of a commit, so a pinned one reads the same for ever, also after compaction, and
whatever was appended is durable. Several processes may append at once; each sees what the others have acknowledged. It
interprets nothing (`availability.py` does).
"""

from collections.abc import Sequence
from threading import Lock
from typing import get_args

import msgspec
import pyarrow as pa

from feature_assets.errors import OfflineError, StorageFullError
from feature_assets.offline.append_table import AppendTable, Seen
from feature_assets.offline.lake import Lake, PerLake
from feature_assets.offline.ledger import Kind, LedgerRow
from feature_assets.offline.stored import TIME

PATH = ("availability",)
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("view", pa.string()),
        ("version", pa.string()),
        ("target", pa.string()),
        ("bucket", pa.int32()),
        ("pushed_seq", pa.int64()),
        ("source_partition", pa.string()),
        ("first", pa.int64()),
        ("last", pa.int64()),
        ("entity", pa.binary()),
        ("sent_at", TIME),
        ("acked_at", TIME),
        ("provenance", pa.string()),
        ("bootstrap", pa.bool_()),
        ("life", pa.int32()),
        ("run_id", pa.string()),
    ]
)
"""As stored: `pushed_seq` is the row's `commit_seq`; the table's own `commit_seq` is the position. Times in UTC."""

_ATTRIBUTES = ["commit_seq" if name == "pushed_seq" else name for name in SCHEMA.names]
_TIMES = ("sent_at", "acked_at")


class DeltaLedger:
    """The `Ledger` of a lake. Keeps what it has read: rows never change, so each is read once."""

    def __init__(self, lake: Lake) -> None:
        self._table = AppendTable(lake, PATH, SCHEMA)
        self._position = 0
        self._seen = Seen()
        self._reading = Lock()
        self._rows: dict[str, list[tuple[int, LedgerRow]]] = {}

    def append(self, rows: Sequence[LedgerRow]) -> int:
        """Append all of `rows`, or none of them; durable when this returns. Returns the position that includes them.

        After an error whose outcome is unknown the table is asked: if the rows are there, that is an acknowledgement.
        Raises `StorageFullError`, `OfflineError`, `CommitConflictError`.
        """
        if not rows:
            return self.head()
        try:
            return self._table.append(_table(rows), run_id=rows[0].run_id)
        except StorageFullError:
            raise
        except OfflineError:
            position = self._position_of(rows)
            if position is None:
                raise
            return position

    def rows(
        self, *, view: str, version: str | None = None, target: str | None = None, upto: int | None = None
    ) -> list[LedgerRow]:
        head = self._refreshed()
        limit = head if upto is None else upto
        return [
            row
            for position, row in self._rows.get(view, ())
            if position <= limit and version in {None, row.version} and target in {None, row.target}
        ]

    def head(self) -> int:
        return self._table.head()

    def _refreshed(self) -> int:
        """Read what was appended since, one thread at a time; returns the position read up to."""
        with self._reading:
            newer = self._table.newer(self._seen)
            if not newer.continues:
                self._rows, self._position = {}, 0
            for position, row in _rows(newer.rows):
                self._rows.setdefault(row.view, []).append((position, row))
                self._position = max(self._position, position)
            self._seen = newer.seen
            return self._position

    def _position_of(self, rows: Sequence[LedgerRow]) -> int | None:
        """The last position at which exactly `rows` were appended, if any: they say the same whoever did it."""
        appended: dict[int, list[LedgerRow]] = {}
        for position, row in _rows(self._table.read(after=self._position)):
            appended.setdefault(position, []).append(row)
        return max((position for position, found in appended.items() if found == list(rows)), default=None)


_SHARED = PerLake(DeltaLedger)


def ledger_of(lake: Lake) -> DeltaLedger:
    """The ledger of a lake: the same object for the whole process, so that it reads each row once."""
    return _SHARED.of(lake)


def _table(rows: Sequence[LedgerRow]) -> pa.Table:
    columns = []
    for field, attribute in zip(SCHEMA, _ATTRIBUTES, strict=True):
        values = [getattr(row, attribute) for row in rows]
        columns.append(
            pa.array(values, pa.int64()).cast(TIME) if field.name in _TIMES else pa.array(values, field.type)
        )
    return pa.table(columns, schema=SCHEMA)


def _rows(table: pa.Table) -> list[tuple[int, LedgerRow]]:
    """Each row with its position. Raises `OfflineError` for a kind of row that this release does not know."""
    positions = table.column("commit_seq").to_pylist()
    for name in _TIMES:
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.int64()))
    plain = table.select(SCHEMA.names).rename_columns(_ATTRIBUTES).to_pylist()
    try:
        return list(zip(positions, msgspec.convert(plain, list[LedgerRow]), strict=True))
    except msgspec.ValidationError as error:
        raise OfflineError(
            f"table availability: a row is none that this release knows: {error}",
            hint=f"kinds are: {', '.join(get_args(Kind))}; a newer release may have written it: update",
        ) from error
