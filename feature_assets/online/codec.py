r"""Feature values as bytes: one packed value per entity, written and read a column at a time.

Invariant: what comes out is what went in, type by type and bit by bit, or a `CodecError`. Damaged bytes, and bytes that
were packed for other features, are told apart and never decoded.

The layout, readable from any language; the features of the view in order, integers little-endian:

    1 byte     format version, 1
    4 bytes    fingerprint: CRC-32 (ISO-HDLC, as in zlib) of the text "name:type\n" of every feature, as UTF-8
    bitmap     (features + 7) // 8 bytes; bit i, lowest first, is set where feature i is not null
    fixed      the features of fixed width, one after the other without padding; zeros where null
    variable   one MessagePack array of the other features, nil where null; absent if the view has none
    4 bytes    CRC-32 of everything before

`codec_types` says how each type stands in the last two. It knows no items, sequences or stores.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.lazy_column import PLAIN_DTYPES, Column, LazyColumn, arrow_of
from feature_assets.definition.view import Feature
from feature_assets.errors import CodecError
from feature_assets.online.codec_types import (
    Mask,
    Wire,
    fixed_array,
    fixed_bytes,
    fixed_width,
    type_text,
    valid_mask,
    wire_of,
)

FORMAT: Final = 1
_HEAD = 5
_CHECK = 4
_INTACT: Final = 0x2144DF1C
"""The CRC-32 of any bytes with their own CRC-32 (little-endian) behind them: a property of the polynomial."""

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A feature of fixed width: its place among the features, which is also what its bytes are called in the layout.

    `plain`: the type of numpy whose values are the same; None if there is none.
    """

    at: int
    part: str
    dtype: pa.DataType
    width: int
    plain: np.dtype[Any] | None


@dataclass(frozen=True, slots=True)
class _Variable:
    """A feature of any other type."""

    at: int
    name: str
    dtype: pa.DataType
    wire: Wire


class ValueCodec:
    """Packs and reads the values of these features. Raises `CodecError` for a type that cannot be packed."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.names = tuple(feature.name for feature in features)
        self.dtypes = tuple(feature.dtype for feature in features)
        self._fixed: list[_Fixed] = []
        self._variable: list[_Variable] = []
        for at, feature in enumerate(features):
            width = fixed_width(feature.dtype)
            if width is None:
                self._variable.append(_Variable(at, feature.name, feature.dtype, _wire(feature)))
            else:
                plain = PLAIN_DTYPES.get(feature.dtype)
                self._fixed.append(_Fixed(at, str(at), feature.dtype, width, plain))
        text = "".join(f"{feature.name}:{type_text(feature.dtype)}\n" for feature in features)
        self._head = bytes([FORMAT]) + crc32(text.encode()).to_bytes(4, "little")
        bitmap = (len(features) + 7) // 8
        self._whole_front = self._head + ((1 << len(features)) - 1).to_bytes(bitmap, "little")
        parts: list[tuple[Any, ...]] = [("front", f"V{_HEAD + bitmap}")]
        parts += [(one.part, one.plain or f"V{one.width}") for one in self._fixed]
        self._row = np.dtype(parts)
        self._size = None if self._variable else self._row.itemsize + _CHECK
        if self._size is not None:
            self._row = np.dtype([*parts, ("check", f"V{_CHECK}")])
        self._undamaged = frozenset({_INTACT})
        self._every = frozenset(self.names)
        kinds = tuple(one.wire.kind | None for one in self._variable)
        self._decoder = msgspec.msgpack.Decoder(list[tuple[kinds]])  # type: ignore[valid-type] # made from the data types

    def fits(self, value: bytes) -> bool:
        """Whether the bytes say that they were packed for these features, in this format."""
        return value.startswith(self._head)

    def pack_table(self, table: pa.Table) -> list[bytes]:
        """The packed values of each row; of the table's columns, those of the features.

        Raises `CodecError`, naming the feature, for a column that is missing or of another type.
        """
        columns = [self._column(table, name, dtype) for name, dtype in zip(self.names, self.dtypes, strict=True)]
        fixed = self._fixed_part(columns, len(table))
        if not self._variable:
            return [part + crc32(part).to_bytes(_CHECK, "little") for part in fixed]
        variable = zip(*(self._wires(one, columns[one.at]) for one in self._variable), strict=True)
        bodies = (part + _encoder.encode(values) for part, values in zip(fixed, variable, strict=True))
        return [body + crc32(body).to_bytes(_CHECK, "little") for body in bodies]

    def unpack_many(self, values: Sequence[bytes]) -> list[pa.Array]:
        """One array per feature, of its type, with a row per packed value. Raises `CodecError` if one is unreadable."""
        columns = self.unpack_some(values, self._every)
        return [arrow_of(columns[name]) for name in self.names]

    def unpack_some(self, values: Sequence[bytes], wanted: Collection[str]) -> dict[str, Column]:
        """The same of some features, by name, as columns that are made arrays when somebody needs them."""
        if not self._undamaged.issuperset(map(crc32, values)):
            raise self._unreadable(next(value for value in values if crc32(value) != _INTACT))
        try:
            return self._columns(values, wanted)
        except (pa.ArrowException, msgspec.DecodeError, ValueError, TypeError, OverflowError) as error:
            raise CodecError(f"packed values: {error}", hint=_DAMAGED) from error

    def pack(self, values: Sequence[object]) -> bytes:
        """The packed values of one entity, in the order of the features."""
        arrays = [self._single(name, dtype, value) for name, dtype, value in self._zipped(values)]
        return self.pack_table(pa.table(arrays, names=list(self.names)))[0]

    def unpack(self, value: bytes) -> list[Any]:
        """The values of one entity as Python's own, in the order of the features."""
        return [array[0].as_py() for array in self.unpack_many([value])]

    def _column(self, table: pa.Table, name: str, dtype: pa.DataType) -> pa.Array:
        places = table.schema.get_all_field_indices(name)
        if len(places) != 1 or table.schema.field(name).type != dtype:
            found = f"is {table.schema.field(name).type}" if len(places) == 1 else f"is there {len(places)} times"
            raise CodecError(f"feature {name!r} is to be packed as {dtype}, and {found}", hint="cast the column first")
        column = table.column(name).combine_chunks()
        return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column

    def _fixed_part(self, columns: Sequence[pa.Array], rows: int) -> Iterator[bytes]:
        """Everything before the variable part, row by row."""
        size = self._row.itemsize - (0 if self._size is None else _CHECK)
        block = np.zeros((rows, size), np.uint8)
        block[:, :_HEAD] = np.frombuffer(self._head, np.uint8)
        valid = np.array([valid_mask(column) for column in columns]).reshape(len(columns), rows)
        start = _HEAD + (len(columns) + 7) // 8
        block[:, _HEAD:start] = np.packbits(valid, axis=0, bitorder="little").T
        for one in self._fixed:
            block[:, start : start + one.width] = fixed_bytes(columns[one.at], one.width)
            start += one.width
        data = block.tobytes()
        return (data[at * size : (at + 1) * size] for at in range(rows))

    def _wires(self, one: _Variable, column: pa.Array) -> list[Any]:
        try:
            return one.wire.wires(column)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise CodecError(
                f"feature {one.name!r}: a value of type {one.dtype} cannot be packed: {error}",
                hint="look at the values of this feature in the view's newest partitions",
            ) from error

    def _columns(self, values: Sequence[bytes], wanted: Collection[str]) -> dict[str, Column]:
        rows, bits = self._rows(values)
        columns: dict[str, Column] = {}
        for one in self._fixed:
            name = self.names[one.at]
            if name not in wanted:
                continue
            if bits is None and one.plain is not None:
                columns[name] = LazyColumn(one.dtype, rows[one.part])
            else:
                valid = None if bits is None else np.ascontiguousarray(bits[:, one.at])
                columns[name] = fixed_array(one.dtype, np.ascontiguousarray(rows[one.part]), valid)
        if self._variable:
            for one_of, wires in zip(self._variable, self._variable_part(values), strict=True):
                if bits is None and one_of.wire.kind is str and None not in wires:
                    columns[one_of.name] = LazyColumn(one_of.dtype, wires)
                    continue
                array = columns[one_of.name] = one_of.wire.array(wires)
                if array.null_count or bits is not None:
                    self._require_valid(one_of, array, None if bits is None else bits[:, one_of.at])
        return columns

    def _rows(self, values: Sequence[bytes]) -> tuple[npt.NDArray[np.void], Mask | None]:
        """The fixed parts as one structured array; and of each row and feature whether it is valid, None: all are."""
        size = self._row.itemsize
        parts = values if self._size is not None else [value[:size] for value in values]
        data = b"".join(parts)
        # Values of other features may have the right length together and not one by one; their heads then do not match.
        if len(data) == size * len(values):
            rows: npt.NDArray[np.void] = np.frombuffer(data, self._row)
            front = rows["front"].tobytes()
            if front == self._whole_front * len(values):
                return rows, None
            fronts = np.frombuffer(front, np.uint8).reshape(len(values), len(self._whole_front))
            if fronts[:, :_HEAD].tobytes() == self._head * len(values):
                bits = np.unpackbits(fronts[:, _HEAD:], axis=1, count=len(self.names), bitorder="little")
                return rows, bits.view(np.bool_)
        other = next((value for value in values if not self.fits(value)), values[0])
        raise self._unreadable(other)

    def _variable_part(self, values: Sequence[bytes]) -> Sequence[tuple[Any, ...]]:
        """The values of each feature of variable width. All rows are decoded as one MessagePack array."""
        size = self._row.itemsize
        array32 = b"\xdd" + len(values).to_bytes(4, "big")
        rows = self._decoder.decode(array32 + b"".join([value[size:-_CHECK] for value in values]))
        return list(zip(*rows, strict=True)) or [()] * len(self._variable)

    def _require_valid(self, one: _Variable, array: pa.Array, valid: Mask | None) -> None:
        """`valid`: what the bitmap says; None: nothing is null."""
        if valid is None or not np.array_equal(valid_mask(array), valid):
            raise CodecError(f"feature {one.name!r}: the bitmap and the values differ on what is null", hint=_DAMAGED)

    def _unreadable(self, value: bytes) -> CodecError:
        """Why these bytes are not decoded."""
        if value[:1] and value[0] > FORMAT:
            return CodecError(
                f"packed values: written in format {value[0]}, and this release reads up to format {FORMAT}",
                hint="upgrade this reader before the writers",
            )
        if crc32(value) == _INTACT and value[:1] == self._head[:1] and not self.fits(value):
            return CodecError(
                f"packed values: packed for other features than {', '.join(self.names)}",
                hint="the version that serves has other features; push the version of this code",
            )
        return CodecError(f"packed values: {len(value)} bytes fail their checksum", hint=_DAMAGED)

    def _zipped(self, values: Sequence[object]) -> Iterator[tuple[str, pa.DataType, object]]:
        if len(values) != len(self.names):
            raise CodecError(f"{len(values)} values for {len(self.names)} features", hint="give one for each, or None")
        return zip(self.names, self.dtypes, values, strict=True)

    def _single(self, name: str, dtype: pa.DataType, value: object) -> pa.Array:
        try:
            return pa.array([value], dtype)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise CodecError(f"feature {name!r}: {value!r} is no {dtype}", hint="give a value of the dtype") from error


def _wire(feature: Feature) -> Wire:
    try:
        return wire_of(feature.dtype)
    except CodecError as error:
        raise CodecError(f"feature {feature.name!r}: {error.message}", hint=error.hint) from error


_DAMAGED = "the stored bytes are damaged or not ours; push the view again to write them anew"
