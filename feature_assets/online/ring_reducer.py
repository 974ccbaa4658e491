"""The reducer of a view of aggregates: its state is a ring of tiles, to which records of a log are added.

Invariant: a state is a function of the records that it holds and of the latest instant for which it was rolled up; so
in how many steps they came, and how often some of them were tried before, changes no byte of it.

A record's payload is a MessagePack array: the values of the columns that the view's aggregates read, in the order of
the layout's `columns`. A value has the form it has in states (see `compute.aggregates.canonical`), a null is nil. The
record's offset is its `sequence`: of two at one instant, the one that the log holds later is the later one.

It knows no fences and no items, and computes no windows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import canonical_bytes, from_canonical
from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.tiles import appended, packed, unpacked
from feature_assets.definition.view import FeatureView
from feature_assets.errors import CodecError
from feature_assets.online.protocol import Record

_NIL = b"\xc0"
_SHORT_ARRAY = 0x90
_LONG_ARRAY = b"\xdc"
_SHORT = 15
"""So many values an array can have whose head is one byte."""
_values = msgspec.msgpack.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class RingReducer:
    """A `Reducer` over rings of `layout`. `dtypes`: of the layout's columns, in their order."""

    layout: Layout
    dtypes: tuple[pa.DataType, ...]

    @classmethod
    def of(cls, view: FeatureView) -> "RingReducer":
        """The reducer of a view of aggregates."""
        layout = layout_of(view)
        dtypes = {column.name: column.dtype for column in view.stored}
        return cls(layout, tuple(dtypes[name] for name in layout.columns))

    def empty(self) -> bytes:
        """A ring without tiles."""
        return b""

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        """The ring with more records, rolled up for `now`. Raises `CodecError` for a state or payload that is none."""
        rings = unpacked(self.layout, [state])
        (found,) = packed(appended(rings, self._records(records), np.zeros(len(records), np.int64), now))
        return found

    def _records(self, records: Sequence[Record]) -> Records:
        rows = [self._row(record) for record in records]
        columns = {
            name: from_canonical([row[place] for row in rows], dtype)
            for place, (name, dtype) in enumerate(zip(self.layout.columns, self.dtypes, strict=True))
        }
        event_at = np.array([record.event_at for record in records], np.int64)
        return Records(columns, event_at, np.array([record.offset for record in records], np.int64))

    def _row(self, record: Record) -> list[bytes | None]:
        """The bytes of each value of a payload, None for a null."""
        try:
            values = _values.decode(record.payload)
        except msgspec.MsgspecError as error:
            raise self._unreadable(record, str(error)) from error
        if len(values) != len(self.dtypes):
            raise self._unreadable(record, f"it has {len(values)} values, of {len(self.dtypes)}")
        return [None if value == _NIL else bytes(value) for value in values]

    def _unreadable(self, record: Record, what: str) -> CodecError:
        return CodecError(
            f"view {self.layout.name!r}: the payload of the record at offset {record.offset} cannot be read: {what}",
            hint=f"it is a MessagePack array of the columns {', '.join(self.layout.columns) or '(none)'}",
        )


def payloads(layout: Layout, columns: Mapping[str, pa.Array], count: int) -> list[bytes]:
    """The payloads of `count` records, as `RingReducer` reads them; `columns`: at least the layout's."""
    width = len(layout.columns)
    head = bytes([_SHORT_ARRAY + width]) if width <= _SHORT else _LONG_ARRAY + width.to_bytes(2, "big")
    each = [canonical_bytes(columns[name]) for name in layout.columns]
    rows = zip(*each, strict=True) if each else ((),) * count
    return [head + b"".join([_NIL if value is None else value for value in row]) for row in rows]
