"""Slots: what is kept of records to finish aggregates from, many cells at a time.

A *cell* is any set of records: a tile of an entity, a window of a training row. A *slot* is one kind of state, e.g. the
exact sum of a column; aggregates that need the same share it. *Cells* are the states of a slot for many cells.

Invariant, for every slot: `merge(lift(a), lift(b)) == lift(a + b)`, bit for bit, whatever the split and the order of
records; `decode(encode(cells)) == cells`; and equal cells have equal bytes. So a state is a function of the set of
records alone, and nothing downstream can tell in how many steps it was reached.

It knows no windows, tiles, entities or visibility.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Kind = Literal["additive", "extreme", "object"]

COUNT_BYTES: Final = 4
"""Of a number of records: they are fewer than 2**31."""
TEXT_BYTES: Final = 32
"""As long as texts and binaries are taken to be, where it is said beforehand how large an item may become."""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of a view. `columns`: those that are asked for, as stored; `event_at`, `sequence`: int64, their order."""

    columns: Mapping[str, pa.Array]
    event_at: Ints
    sequence: Ints

    def __len__(self) -> int:
        return len(self.event_at)

    def take(self, rows: Ints) -> "Records":
        """Some of them, in that order."""
        index = pa.array(rows)
        columns = {name: column.take(index) for name, column in self.columns.items()}
        return Records(columns, self.event_at[rows], self.sequence[rows])


@dataclass(frozen=True, slots=True)
class Additive:
    """Cells whose merge is addition, exactly: `values` is int64 of shape (cells, width).

    Column `i` counts multiples of 2**(32 * (base + i)) where a slot keeps digits of numbers; where it keeps plain
    counts, `base` is 0 and means nothing. Digits may be any int64, also negative: two cells that stand for the same
    number may differ in them until they are `canonical` (see `exact`). Records are fewer than 2**31, so none overflows.

    `known`: what was worked out from them, by the function that did, for aggregates of the same cells. The values are
    not changed once they have been given to anyone.
    """

    base: int
    values: Ints
    known: dict[Callable[..., Any], Any] = field(default_factory=dict, compare=False, repr=False)


C = TypeVar("C")
"""Cells: `Additive`, an array of one number per cell (kind "extreme"), or of one object per cell (kind "object")
or whatever else a slot of that kind keeps for itself; `len` says how many cells it is."""


class Slot(ABC, Generic[C]):
    """One kind of state. Instances are immutable and compare by `name`.

    `name`: canonical, unique in a layout, e.g. "sum(amount)"; part of what identifies stored bytes, so it never changes
    its meaning. `columns`: the columns that it lifts from. `kind` says what its cells are, for kernels that are faster
    for some: `Additive`; an int64 or float64 array with an identity element for empty cells (merge is `np.minimum` or
    `np.maximum`, see `is_greatest`); or an array of objects, `None` for an empty cell, or other cells
    that only the slot's own methods look into. `max_bytes`: how many bytes a cell takes at most; see `most_bytes` for
    what is taken for granted. `integers`: how many integers a cell is, of a slot whose bytes are nothing but these by
    `packing.packed_integers`: it need not be asked to decode them, as the columns of several are read in one go.
    """

    kind: ClassVar[Kind]
    name: str
    columns: tuple[str, ...]
    is_greatest: bool = False
    max_bytes: int
    newest: int | None = None
    """If the state is that of so many newest records that have a value, by the slot's order: how many."""
    since: ClassVar[int] = 1
    """The first format of rings whose readers know the bytes that it writes (see `tile_codec`)."""
    integers: ClassVar[int] = 0

    @abstractmethod
    def empty(self, cells: int) -> C:
        """Cells without records."""

    @abstractmethod
    def lift(self, records: Records, cell: Ints, cells: int) -> C:
        """The cells 0 to `cells` - 1 of records, of which `cell` says where each belongs. `cell` ascends."""

    def lift_rows(self, records: Records, rows: Ints, cell: Ints, cells: int) -> C:
        """The cells of some rows, of which one may be in several cells; `cell` says for each row where, and ascends."""
        return self.lift(records.take(rows), cell, cells)

    @abstractmethod
    def merge(self, states: C, group: Ints, groups: int) -> C:
        """Merge cells into groups 0 to `groups` - 1; `group` says where each cell belongs, and ascends."""

    @abstractmethod
    def take(self, states: C, cells: Ints) -> C:
        """Some cells, in that order; a cell may be taken more than once."""

    @abstractmethod
    def concat(self, parts: Sequence[C]) -> C:
        """All cells of the parts, one part after the other."""

    @abstractmethod
    def encode(self, states: C, counts: Ints) -> tuple[npt.NDArray[np.uint8], list[bytes]]:
        """The bytes of cells that stand item after item, `counts[i]` of them in item `i`: a code and a blob per item.

        The code says how the blob is to be read; it is 0, and the blob empty, where all cells of an item are.
        """

    @abstractmethod
    def decode(self, codes: npt.NDArray[np.uint8], blobs: Sequence[bytes | memoryview], counts: Ints) -> C:
        """The cells of these items. Raises `CodecError` for a code or a blob that is none."""

    def of_integers(self, values: Ints) -> C:
        """The cells of their integers, of a slot that has `integers`."""
        raise NotImplementedError

    def pruned(self, states: C, counts: Ints) -> C:
        """The cells without what no window that is a suffix of time can need: what later tiles of their item repeat.

        `states` stand item after item (`counts` of each), within an item by ascending time. For slots whose state is a
        list of which a suffix needs only the end. The default keeps everything.
        """
        del counts
        return states

    def most_bytes(self, tiles: int, *, suffix: bool, endless: bool) -> int:
        """How many bytes an item of so many tiles takes at most, from the slot's parameters alone.

        `suffix`: the cells are `pruned`; `endless`: one of the tiles is for all time. What no parameter bounds is taken
        for granted, and met otherwise when an item is written (`ItemTooLargeError`): texts have `TEXT_BYTES` at most,
        and the sums of doubles in an item lie within a factor of 2**64 of each other.
        """
        del suffix, endless
        return self.max_bytes * tiles

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slot) and (type(self), self.name) == (type(other), other.name)

    def __hash__(self) -> int:
        return hash((type(self), self.name))

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Finished:
    """The values of a feature for some cells: null where there is none; `overflow` where a bound was passed."""

    values: pa.Array
    overflow: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Asked:
    """What cells are windows of, for functions that need to know: `as_of` and `start` of each, int64 microseconds."""

    as_of: Ints
    start: Ints


class Computation(ABC):
    """How one aggregate is computed: from which slots, and how these are finished. Immutable.

    `slots`: in the order in which `finish` takes their cells. `error_bound`: of what is answered against the true value
    over the same records, for people and for the feature's metadata; empty if it is exact. `is_of_any_window`: whether
    it is the same for each window of its aggregate, so that the cells of all of them can be finished at once.
    """

    slots: tuple[Slot[Any], ...]
    error_bound: str = ""
    is_of_any_window: bool = True

    @abstractmethod
    def finish(self, cells: Sequence[Any], asked: Asked) -> Finished:
        """The values of as many cells as `asked` has."""


def segments(cell: Ints) -> tuple[Ints, Ints]:
    """For ascending cell numbers: the cells that have records, and the place of the first record of each."""
    if not len(cell):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    return cell[first], first
