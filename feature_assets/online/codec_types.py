"""How the values of each Arrow type stand in packed bytes, a column at a time.

Invariant: what is read back has the declared type and equals what was packed, bit for bit; null, NaN, the empty string
and the empty list stay different, at every depth.

A type of fixed width stands as Arrow keeps it in memory: little-endian, two's complement, IEEE 754; dates, timestamps
and durations as their integers; bool as one byte, 0 or 1; decimal128 as 16 bytes. Any other type stands as MessagePack:

    string, binary        str, bin
    list of fixed width   bin: the elements one after the other; with null elements [validity, the elements] (two bin),
                          bit i of the validity (lowest first) set where element i is not null. A list of a fixed size,
                          such as an embedding, likewise
    any other list        array, nil where an element is null
    struct                array of the fields in order
    map                   array of [key, value]

and what is of fixed width inside of lists of lists, structs and maps: bool as bool, integers, dates, timestamps and
durations as integers, float64 as float64, and the rest (float32, decimal128) as bin.

It knows neither features nor rows.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.errors import CodecError

Mask = npt.NDArray[np.bool_]

_INTEGERS = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}


def fixed_width(dtype: pa.DataType) -> int | None:
    """How many bytes each value of a type takes; None if that depends on the value."""
    if pa.types.is_boolean(dtype):
        return 1
    plain = (
        pa.types.is_integer(dtype)
        or pa.types.is_floating(dtype)
        or pa.types.is_decimal128(dtype)
        or pa.types.is_fixed_size_binary(dtype)
        or _is_counted(dtype)
    )
    return int(dtype.bit_width) // 8 if plain else None


def type_text(dtype: pa.DataType) -> str:
    """The name of a type in the fingerprint of a layout: the same in every release and language.

    Raises `CodecError` for a type that cannot be packed.
    """
    if pa.types.is_map(dtype):
        return f"map<{type_text(dtype.key_type)},{type_text(dtype.item_type)}>"
    if pa.types.is_struct(dtype) and dtype.num_fields:
        fields = (dtype.field(at) for at in range(dtype.num_fields))
        return f"struct<{','.join(f'{field.name}:{type_text(field.type)}' for field in fields)}>"
    if pa.types.is_fixed_size_list(dtype):
        return f"list<{type_text(dtype.value_type)},{dtype.list_size}>"
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        return f"list<{type_text(dtype.value_type)}>"
    if pa.types.is_floating(dtype):
        return f"float{dtype.bit_width}"
    for name, (matches, _) in _TEXTS.items():
        if matches(dtype):
            return name
    if fixed_width(dtype) is None:
        raise CodecError(
            f"values of the type {dtype} cannot be packed",
            hint="use string, binary, bool, a number, date32, timestamp, decimal128, list, struct or map",
        )
    return str(dtype).replace(" ", "")


def fixed_bytes(array: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """The values of an array of fixed width as a matrix of bytes, a row each; zeros where null."""
    if pa.types.is_boolean(array.type):
        return np.asarray(array.fill_null(False).cast(pa.uint8()), np.uint8).reshape(-1, 1)  # noqa: FBT003 - a value
    data = array.buffers()[1]
    if data is None:
        return np.zeros((len(array), width), np.uint8)
    whole = np.frombuffer(data, np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    matrix = whole.reshape(len(array), width)
    if array.null_count == 0:
        return matrix
    return np.where(valid_mask(array)[:, None], matrix, np.uint8(0))


def fixed_array(dtype: pa.DataType, data: npt.NDArray[np.generic], valid: Mask | None) -> pa.Array:
    """The reverse of `fixed_bytes`. `data` is contiguous; `valid` None: nothing is null."""
    if pa.types.is_boolean(dtype):
        bits = np.packbits(data.view(np.uint8).astype(np.bool_), bitorder="little")
        return pa.Array.from_buffers(dtype, len(data), [_bitmap(valid), pa.py_buffer(bits)])
    return pa.Array.from_buffers(dtype, len(data), [_bitmap(valid), pa.py_buffer(data)])


def valid_mask(array: pa.Array) -> Mask:
    """Which values are not null."""
    return np.asarray(array.is_valid(), np.bool_)


class Wire(Protocol):
    """How one type stands as MessagePack. A null is None on both sides."""

    kind: Any
    """The type that msgspec checks it against; None stands for null beside it."""

    def wires(self, array: pa.Array) -> list[Any]:
        """What is encoded, for each value."""

    def array(self, wires: Sequence[Any]) -> pa.Array:
        """The reverse. Raises `CodecError` or one of Arrow's errors for what cannot be the work of `wires`."""


def wire_of(dtype: pa.DataType) -> Wire:
    """How a type stands as MessagePack. Raises `CodecError` for a type that cannot be packed."""
    type_text(dtype)
    if pa.types.is_map(dtype):
        return _Map(dtype)
    if pa.types.is_struct(dtype):
        return _Struct(dtype)
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return _List(dtype) if fixed_width(dtype.value_type) is None else _Numbers(dtype)
    return _Plain(dtype) if _plain_kind(dtype) is not None else _Raw(dtype)


class _Plain:
    """A type that MessagePack has: through Python's own values."""

    def __init__(self, dtype: pa.DataType) -> None:
        self.kind: Any = _plain_kind(dtype)
        self._dtype = dtype
        self._stored = _INTEGERS[dtype.bit_width // 8] if _is_counted(dtype) else dtype

    def wires(self, array: pa.Array) -> list[Any]:
        stored = array if self._stored == self._dtype else array.view(self._stored)
        found: list[Any] = stored.to_pylist()
        return found

    def array(self, wires: Sequence[Any]) -> pa.Array:
        array = pa.array(wires, self._stored)
        return array if self._stored == self._dtype else array.view(self._dtype)


class _Raw:
    """A type of fixed width that MessagePack lacks, or that its libraries would round: its bytes."""

    kind: Any = bytes

    def __init__(self, dtype: pa.DataType) -> None:
        self._dtype = dtype
        self._width = fixed_width(dtype) or 0

    def wires(self, array: pa.Array) -> list[Any]:
        rows = fixed_bytes(array, self._width)
        return [row.tobytes() if valid else None for row, valid in zip(rows, valid_mask(array), strict=True)]

    def array(self, wires: Sequence[Any]) -> pa.Array:
        valid = _present(wires)
        parts = [bytes(self._width) if wire is None else wire for wire in wires]
        if any(len(part) != self._width for part in parts):
            raise CodecError(f"a value of type {self._dtype} does not have {self._width} bytes", hint=_DAMAGED)
        data = np.frombuffer(b"".join(parts), f"V{self._width}")
        return fixed_array(self._dtype, data, valid)


class _Sequences:
    """What lists of all three forms have in common: where their elements begin and end."""

    def __init__(self, dtype: pa.DataType) -> None:
        self._dtype = dtype
        self._size: int | None = dtype.list_size if pa.types.is_fixed_size_list(dtype) else None
        self._offset_type = np.int64 if pa.types.is_large_list(dtype) else np.int32

    def _bounds(self, array: pa.Array) -> list[tuple[int, int] | None]:
        """Of each list, where it lies among the elements of `array.flatten()`; None for null."""
        lengths = pc.list_value_length(array).to_pylist()
        ends = pairwise(accumulate((length or 0 for length in lengths), initial=0))
        return [None if length is None else bounds for length, bounds in zip(lengths, ends, strict=True)]

    def _assembled(self, elements: pa.Array, lengths: Sequence[int], valid: Mask) -> pa.Array:
        """The lists of these lengths over `elements`, in which a null of a fixed size has its share."""
        buffers = [_bitmap(valid)]
        if self._size is None:
            offsets = np.zeros(len(lengths) + 1, self._offset_type)
            np.cumsum(lengths, out=offsets[1:])
            buffers.append(pa.py_buffer(offsets))
        elif any(length != self._size for length in lengths):
            raise CodecError(f"a value of type {self._dtype} does not have {self._size} elements", hint=_DAMAGED)
        return pa.Array.from_buffers(self._dtype, len(lengths), buffers, children=[elements])


class _Numbers(_Sequences):
    """A list whose elements have a fixed width: their bytes, one after the other."""

    kind: Any = bytes | tuple[bytes, bytes]

    def __init__(self, dtype: pa.DataType) -> None:
        super().__init__(dtype)
        self._width = fixed_width(dtype.value_type) or 0

    def wires(self, array: pa.Array) -> list[Any]:
        elements = array.flatten()
        data = fixed_bytes(elements, self._width).tobytes()
        mask = None if elements.null_count == 0 else valid_mask(elements)
        return [None if bounds is None else self._wire(data, mask, *bounds) for bounds in self._bounds(array)]

    def array(self, wires: Sequence[Any]) -> pa.Array:
        whole = bytes(self._width * (self._size or 0))
        parts = [whole if wire is None else wire if isinstance(wire, bytes) else wire[1] for wire in wires]
        if any(len(part) % self._width for part in parts):
            raise CodecError(f"a value of type {self._dtype} has a part of an element", hint=_DAMAGED)
        lengths = [len(part) // self._width for part in parts]
        data = np.frombuffer(b"".join(parts), f"V{self._width}")
        elements = fixed_array(self._dtype.value_type, data, self._element_mask(wires, lengths))
        return self._assembled(elements, lengths, _present(wires))

    def _wire(self, data: bytes, mask: Mask | None, start: int, end: int) -> bytes | tuple[bytes, bytes]:
        part = data[start * self._width : end * self._width]
        if mask is None or mask[start:end].all():
            return part
        return np.packbits(mask[start:end], bitorder="little").tobytes(), part

    def _element_mask(self, wires: Sequence[Any], lengths: Sequence[int]) -> Mask | None:
        if not any(isinstance(wire, tuple) for wire in wires):
            return None
        masks = [
            _unpacked(wire[0], length, self._dtype) if isinstance(wire, tuple) else np.ones(length, np.bool_)
            for wire, length in zip(wires, lengths, strict=True)
        ]
        return np.concatenate(masks)


class _List(_Sequences):
    """A list of anything else."""

    def __init__(self, dtype: pa.DataType) -> None:
        super().__init__(dtype)
        self._element = wire_of(dtype.value_type)
        self.kind: Any = list[self._element.kind | None]  # type: ignore[name-defined] # made from the data type, for msgspec

    def wires(self, array: pa.Array) -> list[Any]:
        elements = self._element.wires(array.flatten())
        return [None if bounds is None else elements[slice(*bounds)] for bounds in self._bounds(array)]

    def array(self, wires: Sequence[Any]) -> pa.Array:
        parts = [[None] * (self._size or 0) if wire is None else wire for wire in wires]
        elements = self._element.array([element for part in parts for element in part])
        return self._assembled(elements, [len(part) for part in parts], _present(wires))


class _Struct:
    """A struct: its fields, in order."""

    def __init__(self, dtype: pa.DataType) -> None:
        self._fields = [dtype.field(at) for at in range(dtype.num_fields)]
        self._wires = [wire_of(field.type) for field in self._fields]
        kinds = tuple(wire.kind | None for wire in self._wires)
        self.kind: Any = tuple[kinds]  # type: ignore[valid-type] # made from the data type, for msgspec

    def wires(self, array: pa.Array) -> list[Any]:
        columns = [wire.wires(part) for wire, part in zip(self._wires, array.flatten(), strict=True)]
        rows = zip(*columns, strict=True)
        return [row if valid else None for row, valid in zip(rows, valid_mask(array).tolist(), strict=True)]

    def array(self, wires: Sequence[Any]) -> pa.Array:
        columns = [
            part.array([None if wire is None else wire[at] for wire in wires]) for at, part in enumerate(self._wires)
        ]
        return pa.StructArray.from_arrays(columns, fields=self._fields, mask=pa.array(~_present(wires)))


class _Map(_Sequences):
    """A map: its pairs, in order; a key may occur twice."""

    def __init__(self, dtype: pa.DataType) -> None:
        pair = pa.struct([dtype.key_field.with_nullable(nullable=False), dtype.item_field])
        self._pairs = pa.list_(pair)
        self._pair = wire_of(pair)
        self.kind: Any = list[self._pair.kind]  # type: ignore[name-defined] # made from the data type, for msgspec
        super().__init__(dtype)

    def wires(self, array: pa.Array) -> list[Any]:
        lists = array.cast(self._pairs)
        pairs = self._pair.wires(lists.flatten())
        return [None if bounds is None else pairs[slice(*bounds)] for bounds in self._bounds(lists)]

    def array(self, wires: Sequence[Any]) -> pa.Array:
        pairs = self._pair.array([pair for wire in wires if wire is not None for pair in wire])
        return self._assembled(pairs, [len(wire or ()) for wire in wires], _present(wires))


def _present(wires: Sequence[Any]) -> Mask:
    return np.fromiter((wire is not None for wire in wires), np.bool_, len(wires))


def _unpacked(bits: bytes, length: int, dtype: pa.DataType) -> Mask:
    if len(bits) != (length + 7) // 8:
        raise CodecError(f"the validity of a value of type {dtype} has another length than the value", hint=_DAMAGED)
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=length, bitorder="little").astype(np.bool_)


def _bitmap(valid: Mask | None) -> pa.Buffer | None:
    return None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _is_counted(dtype: pa.DataType) -> bool:
    """Dates, times and durations: integers with a unit."""
    return bool(pa.types.is_date(dtype) or pa.types.is_time(dtype) or _has_unit(dtype))


def _has_unit(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype))


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _is_binary(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def _is_whole(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_integer(dtype) or _is_counted(dtype))


_TEXTS: dict[str, tuple[Any, Any]] = {
    "string": (_is_text, str),
    "binary": (_is_binary, bytes),
    "bool": (pa.types.is_boolean, bool),
}
_KINDS = (*_TEXTS.values(), (_is_whole, int), (pa.types.is_float64, float))


def _plain_kind(dtype: pa.DataType) -> Any:  # noqa: ANN401 - a type, for msgspec
    return next((kind for matches, kind in _KINDS if matches(dtype)), None)


_DAMAGED = "the stored bytes are damaged or not ours"
