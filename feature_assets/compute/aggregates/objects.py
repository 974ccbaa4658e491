"""What all slots of kind "object" share: cells in an array of objects, `None` for an empty one, and their bytes.

Invariant: that of a slot, if a kind of state keeps its own part of it: equal states compare equal, merging is
associative and takes its states in any order, and a state is never changed once made.

The bytes of an item are one msgpack value. Code 1: an array with one element per cell, nil for an empty one. Code 2,
where less than half of the cells are filled: a map from the place of a cell, counted from 0, to its state, ascending.
Code 0: all cells are empty, and there are no bytes. What a state looks like is said where it is defined.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.canonical import Coded, coded, from_canonical, most_bytes
from feature_assets.compute.aggregates.slot import Ints, Kind, Records, Slot, segments
from feature_assets.errors import CodecError

Objects = npt.NDArray[np.object_]
Decoders = dict[int, "msgspec.msgpack.Decoder[Any]"]
"""Of each code."""
S = TypeVar("S")
"""The state of a cell that is not empty."""

EVERY: Final = 1
SOME: Final = 2
PLACE_BYTES: Final = 3
"""Of a cell, beside its state: the place of one that is filled, or a nil. The whole's head is less than a cell's."""
LONGEST: Final = most_bytes(pa.string())
"""As much as a value of any type takes."""
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DAMAGED: Final = "the stored bytes are damaged or not ours; retire the version on this store and push it again"


class ObjectSlot(Slot[Objects], Generic[S]):
    """A slot whose cells are Python objects. The hooks work on lists of states, none of them `None`.

    `form`: the type of a state as msgpack has it, for the decoder. `prunes`: whether the cells of an item that are
    `pruned` hold no more together than one may; `state_bytes`: of a state, beside what it holds.
    """

    kind: ClassVar[Kind] = "object"
    form: ClassVar[Any]
    state_bytes: ClassVar[int] = 3
    prunes: bool = False
    _decoders: ClassVar["Decoders"]

    def __init__(self, name: str, columns: tuple[str, ...], max_bytes: int) -> None:
        self.name = name
        self.columns = columns
        self.max_bytes = max_bytes

    def __init_subclass__(cls, **given: object) -> None:
        super().__init_subclass__(**given)
        if hasattr(cls, "form"):
            cls._decoders = decoders_of(cls.form)

    @abstractmethod
    def merged(self, several: Iterable[Sequence[S]]) -> Iterable[S]:
        """For each of the sequences, which have two states or more, the state of all their records."""

    @abstractmethod
    def plain(self, states: Sequence[S]) -> Iterable[object]:
        """The states as values of `form`, which msgpack encodes."""

    @abstractmethod
    def restored(self, plain: Sequence[Any]) -> Iterable[S]:
        """The states again. Raises `ValueError` for values of `form` that `plain` never makes."""

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        del endless
        if suffix and self.prunes:
            # All cells together hold what one may hold, in as many parts as there are cells at most.
            return self.max_bytes + (PLACE_BYTES + self.state_bytes) * tiles
        return (self.max_bytes + PLACE_BYTES) * tiles

    def empty(self, cells: int) -> Objects:
        return np.full(cells, None, object)

    def merge(self, states: Objects, group: Ints, groups: int) -> Objects:
        merged = self.empty(groups)
        places = filled(states)
        found, first = segments(group[places])
        end = np.append(first, len(places))[1:]
        alone = end - first == 1
        merged[found[alone]] = states[places[first[alone]]]
        if not alone.all():
            cells = states[places].tolist()
            bounds = zip(first[~alone].tolist(), end[~alone].tolist(), strict=True)
            # One list at a time: hundreds of thousands would be looked through by the garbage collector.
            put(merged, found[~alone], self.merged(cells[one:other] for one, other in bounds))
        return merged

    def take(self, states: Objects, cells: Ints) -> Objects:
        return states[cells]

    def concat(self, parts: Sequence[Objects]) -> Objects:
        return np.concatenate(parts) if parts else self.empty(0)

    def encode(self, states: Objects, counts: Ints) -> tuple[npt.NDArray[np.uint8], list[bytes]]:
        codes, blobs = np.zeros(len(counts), np.uint8), [b""] * len(counts)
        places = filled(states)
        plain = list(self.plain(states[places].tolist()))
        for item, start, end, place in _of_items(places, counts):
            if 2 * (end - start) < counts[item]:
                codes[item], blobs[item] = SOME, _ENCODE(dict(zip(place, plain[start:end], strict=True)))
            else:
                every: list[object] = [None] * int(counts[item])
                for at, state in zip(place, plain[start:end], strict=True):
                    every[at] = state
                codes[item], blobs[item] = EVERY, _ENCODE(every)
        return codes, blobs

    def decode(self, codes: npt.NDArray[np.uint8], blobs: Sequence[bytes | memoryview], counts: Ints) -> Objects:
        states = self.empty(int(counts.sum()))
        places, plain = read_cells(self.name, self._decoders, codes, blobs, counts)
        try:
            put(states, np.asarray(places, np.int64), self.restored(plain))
        except ValueError as error:
            raise CodecError(f"{self.name}: {error}", hint=_DAMAGED) from error
        return states


class ValueSlot(ObjectSlot[S]):
    """An object slot of one column's values, as bytes. Nulls are skipped."""

    def __init__(self, name: str, column: str, max_bytes: int) -> None:
        super().__init__(name, (column,), max_bytes)

    def valid(self, records: Records, cell: Ints) -> tuple[Coded, Ints, Ints]:
        """The column's values, the rows that have one, and the cells of these."""
        values = coded(records.columns[self.columns[0]])
        rows = np.flatnonzero(values.codes >= 0)
        return values, rows, cell[rows]


def decoders_of(form: Any) -> Decoders:  # noqa: ANN401 - a type
    """Of the cells of an item, whose states are of `form`, by code."""
    forms = {EVERY: list[form | None], SOME: dict[int, form]}
    return {code: msgspec.msgpack.Decoder(one) for code, one in forms.items()}


def read_cells(
    name: str, decoders: Decoders, codes: npt.NDArray[np.uint8], blobs: Sequence[bytes | memoryview], counts: Ints
) -> tuple[list[int], list[Any]]:
    """The places of all filled cells, ascending, and what msgpack has in them. Raises `CodecError`."""
    starts = (np.cumsum(counts) - counts).tolist()
    places: list[int] = []
    plain: list[Any] = []
    item = 0
    try:
        for item, code in enumerate(codes.tolist()):
            inside, found = _read(decoders, code, blobs[item], int(counts[item]))
            start = starts[item]
            places += [start + place for place in inside]
            plain += found
    except (msgspec.MsgspecError, ValueError) as error:
        raise CodecError(f"{name}: item {item}: {error}", hint=_DAMAGED) from error
    return places, plain


def _read(decoders: Decoders, code: int, blob: bytes | memoryview, count: int) -> tuple[Sequence[int], Sequence[Any]]:
    """The places of an item's filled cells, and what is in them. Raises what `read_cells` translates."""
    if code == SOME:
        some: dict[int, Any] = decoders[SOME].decode(blob)
        places = list(some)
        if places and 2 * len(places) < count and places == sorted(places) and 0 <= places[0] <= places[-1] < count:
            return places, list(some.values())
        raise ValueError(f"a map of cells {places[:10]} of {count}")
    if code == EVERY:
        every: list[Any] = decoders[EVERY].decode(blob)
        places = [place for place, state in enumerate(every) if state is not None]
        if len(every) == count <= 2 * len(places):
            return places, every if len(places) == count else [every[place] for place in places]
        raise ValueError(f"{len(every)} cells, {len(places)} of them filled, of {count}")
    if code or len(blob):
        raise ValueError(f"{len(blob)} bytes of code {code}")
    return (), ()


def filled(states: Objects) -> Ints:
    """The places of cells that are not empty."""
    is_filled: npt.NDArray[np.bool_] = np.not_equal(states, np.array(None, object))
    return np.flatnonzero(is_filled)


def put(states: Objects, places: Ints, found: Iterable[object]) -> None:
    """Fill these places. Plain assignment would take states of equal length for a matrix."""
    states[places] = np.fromiter(found, dtype=object, count=len(places))


def slices(first: Ints, end: Ints) -> Iterator[slice]:
    """The parts of a list."""
    return map(slice, first.tolist(), end.tolist())


def of_items(states: Objects, counts: Ints) -> Iterator[list[int]]:
    """For each item with two filled cells or more: their places among all cells, ascending."""
    places = filled(states)
    listed = places.tolist()
    for _, start, end, _ in _of_items(places, counts):
        if end - start > 1:
            yield listed[start:end]


def _of_items(places: Ints, counts: Ints) -> Iterator[tuple[int, int, int, list[int]]]:
    """For each item with filled cells: its number, where they begin and end in `places`, and their places in it."""
    ends = np.cumsum(counts)
    item = np.searchsorted(ends, places, side="right")
    inside = (places - (ends - counts)[item]).tolist()
    items, first = segments(item)
    end = np.append(first, len(places))[1:]
    for number, start, stop in zip(items.tolist(), first.tolist(), end.tolist(), strict=True):
        yield number, start, stop, inside[start:stop]


def lists_of(cells: Sequence[Sequence[bytes]], dtype: pa.DataType, overflow: npt.NDArray[np.bool_]) -> pa.Array:
    """A list of values for each cell, null where `overflow`. Raises `CodecError` for bytes that are no value."""
    offsets = np.cumsum([0, *map(len, cells)]).astype(np.int32)
    values = from_canonical([value for cell in cells for value in cell], dtype)
    mask = pa.array(overflow) if overflow.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)
