"""The log of what a service answered: the Delta table `served/<service>`, one row per row answered.

Its columns are in `served_columns.py`. Invariant: what was logged stays as it was served, to the bit, whatever becomes
of the service; a batch is there once or not at all, also if its append is tried again; a read up to a number is the
same for ever. Any number of processes may append at once.
It asks no online store and converts no answers: `serving/served_log.py` does.
"""

import pyarrow as pa
import pyarrow.dataset as pds

from feature_assets.definition.service import FeatureService
from feature_assets.errors import SchemaError
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.lake import Lake
from feature_assets.offline.served_columns import BATCH, FOLDER, LOGGED_AT, OWN, REQUEST_ID, ServedColumns

_ATTEMPTS = 5
"""Services whose columns changed in other processes at the same time, before one of them gives up."""


class ServedTable:
    """The log of one service. Holds no state."""

    def __init__(self, lake: Lake, service: FeatureService) -> None:
        self.lake = lake
        self.path = (FOLDER, service.name)
        self.name = "/".join(self.path)
        self.columns = ServedColumns.of(service)

    @property
    def exists(self) -> bool:
        """Whether anything of the service was ever logged."""
        return self.lake.exists(*self.path)

    def head(self) -> int:
        """The number of the last append; 0 if there is none."""
        return AppendTable(self.lake, self.path, OWN, monthly=LOGGED_AT, partial=True).head()

    def append(self, rows: pa.Table, *, after: int | None = None) -> int:
        """Append one batch, with the columns of `ServedColumns.schema`; durable when this returns. Returns its number.

        `after`: an earlier attempt of the same batch raised, and this number is of an append before that; if the batch
        is there after all, it is left as it is. Raises what `AppendTable.append` does.
        """
        if after is not None:
            batch = rows.column(BATCH)[0].as_py()
            found = self._of(OWN).read(after=after, equal={BATCH: batch}, columns=("commit_seq",))
            if found.num_rows:
                return int(found.column(0)[0].as_py())
        for attempt in range(_ATTEMPTS):
            schema = self._renamed(self.columns.schema)
            try:
                return self._of(schema).append(rows.rename_columns(schema.names))
            except SchemaError:
                # Between the look at the table's columns and the append another process may have added some.
                if attempt == _ATTEMPTS - 1 or schema == self._renamed(self.columns.schema):
                    raise
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def read(
        self,
        columns: tuple[str, ...],
        *,
        request_ids: pa.Array | pa.ChunkedArray | None = None,
        after: int = 0,
        upto: int | None = None,
    ) -> pa.Table:
        """Some columns of what was logged in the appends `after < number <= upto`, in their order and declared types.

        `request_ids`: only the rows of these requests. A column that the service did not have yet, or had in another
        type, when a row was logged is null there. Empty if nothing was logged.
        """
        schema = self._renamed(self.columns.schema)
        place = dict(zip(self.columns.schema.names, schema.names, strict=True))
        names = tuple(place[name] for name in columns)
        wanted = pa.schema([schema.field(name) for name in names])
        matching = None if request_ids is None else pds.field(REQUEST_ID).isin(request_ids)
        found = self._of(_with(wanted, REQUEST_ID)).read(after=after, upto=upto, matching=matching, columns=names)
        return found.rename_columns(list(columns))

    def _of(self, schema: pa.Schema) -> AppendTable:
        return AppendTable(self.lake, self.path, schema, monthly=LOGGED_AT, partial=True)

    def _renamed(self, schema: pa.Schema) -> pa.Schema:
        """The same columns as the table has, or would have, them."""
        there = pa.schema(self.lake.open(*self.path).schema()) if self.exists else None
        place = self.columns.placed(there)
        return pa.schema([field.with_name(place[field.name]) for field in schema])


def _with(schema: pa.Schema, name: str) -> pa.Schema:
    return schema if name in schema.names else schema.append(OWN.field(name))
