"""The columns of a service's log of answers, and where a table has them whose service was another once.

One row per row that was answered:

| column | type | what |
|---|---|---|
| `request_id` | string | of the request, as its caller named it |
| `request_row` | int32 | the row's place in it, from 0 |
| `as_of` | timestamp | the instant that the answer is of |
| `logged_at` | timestamp | when the answer was handed to the log; by its month rows lie in folders |
| `service_version` | string | of the service's definition in the code that answered |
| `target` | string | the online store, as the ledger calls it |
| `failed` | bool | whether the store did not say some value of this row |
| `failures` | map of string to string | by view, role or on-demand view, why; of the whole answer |
| `batch` | string | the append that the row came with; the same in all of its rows |
| `<key>`, `<field>` | as declared | what was asked with; `<name>__asked` if it is called like a column above |
| `<prefix>__<feature>` | as declared | the value that was answered |
| `<prefix>__<feature>__status` | string | its status; null in rows of a time when the service had no such column |
| `<prefix>__meta__version` | string | the version of the view that answered; null if none did |
| `<prefix>__meta__event_at`, `__available_at`, `__complete_through` | timestamp | as in an answer |
| `<prefix>__meta__age_us` | int64 | from `event_at` to `as_of`, microseconds |
| `<prefix>__meta__cut_n`, `__seq` | int64 | the item's ledger sequence, and how often it was written; null if unknown |
| `<prefix>__meta__cut_fences` | map of string to int64 | the highest applied offset by source partition |

and `commit_seq`, `row`, `month`, as every numbered table has them. Times are UTC, microseconds.

Invariant: a stored column never changes its type. One that a service declares with another type than the table has is
another column, `<name>__2` (then `__3`), together with its status; so nothing that was served is ever converted.
It reads and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.service import FeatureService
from feature_assets.offline.stored import TIME, stored_schema, stored_type

FOLDER: Final = "served"
REQUEST_ID: Final = "request_id"
REQUEST_ROW: Final = "request_row"
AS_OF: Final = "as_of"
LOGGED_AT: Final = "logged_at"
BATCH: Final = "batch"
STATUS: Final = "status"
META: Final = f"{SEPARATOR}meta{SEPARATOR}"

OWN: Final = pa.schema(
    [
        pa.field(REQUEST_ID, pa.string(), nullable=False),
        pa.field(REQUEST_ROW, pa.int32(), nullable=False),
        pa.field(AS_OF, TIME, nullable=False),
        pa.field(LOGGED_AT, TIME, nullable=False),
        pa.field("service_version", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("failed", pa.bool_(), nullable=False),
        pa.field("failures", pa.map_(pa.string(), pa.string())),
        pa.field(BATCH, pa.string(), nullable=False),
    ]
)
_OF_META: Final = pa.schema(
    [
        ("version", pa.string()),
        ("event_at", TIME),
        ("available_at", TIME),
        ("age_us", pa.int64()),
        ("cut_n", pa.int64()),
        ("cut_fences", pa.map_(pa.string(), pa.int64())),
        ("seq", pa.int64()),
        ("complete_through", TIME),
    ]
)
_TAKEN: Final = frozenset({*OWN.names, "commit_seq", "row", "month"})


@dataclass(frozen=True, slots=True)
class ServedColumns:
    """The columns of a service's log as the code declares it.

    `asked`: of a key or request field its column. `outputs` and `prefixes` are the service's. `schema`: all columns, in
    their declared types.
    """

    service: str
    asked: Mapping[str, str]
    outputs: tuple[str, ...]
    prefixes: tuple[str, ...]
    schema: pa.Schema

    @classmethod
    def of(cls, service: FeatureService) -> "ServedColumns":
        """Those of this service."""
        asked = {one.name: _asked(one.name) for one in service.key_columns}
        prefixes = tuple(ref.prefix for ref in service.refs)
        fields = [
            *OWN,
            *(pa.field(asked[one.name], one.dtype) for one in service.key_columns),
            *(
                field
                for one in service.output_columns
                for field in (pa.field(one.name, one.dtype), pa.field(status_column(one.name), pa.string()))
            ),
            *(pa.field(meta_column(prefix, one.name), one.type) for prefix in prefixes for one in _OF_META),
        ]
        outputs = tuple(one.name for one in service.output_columns)
        return cls(service.name, asked, outputs, prefixes, pa.schema(fields))

    def placed(self, there: pa.Schema | None) -> dict[str, str]:
        """For each column the one that it is in a table with the columns `there` (None: there is no table yet)."""
        where = f"{FOLDER}/{self.service}"
        stored = pa.schema([]) if there is None else stored_schema(there, where)
        place = {name: name for name in self.schema.names}
        for name in (*self.asked.values(), *self.outputs):
            dtype = stored_type(self.schema.field(name).type, name, where)
            number, column = 1, name
            while column in stored.names and stored.field(column).type != dtype:
                number += 1
                column = f"{name}{SEPARATOR}{number}"
            place[name] = column
            if name in self.outputs:
                place[status_column(name)] = status_column(column)
        return place


def status_column(output: str) -> str:
    """The column of the statuses of an output column."""
    return f"{output}{SEPARATOR}{STATUS}"


def meta_column(prefix: str, what: str) -> str:
    """The column that says `what` the values of a prefix were computed from."""
    return f"{prefix}{META}{what}"


def _asked(name: str) -> str:
    return f"{name}{SEPARATOR}asked" if name in _TAKEN else name
