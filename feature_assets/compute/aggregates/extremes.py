"""The least and the greatest value of a column, and the newest record.

Invariant: cells are int64 in the order of the values, so that the least or greatest of the numbers is that of the
values. An integer, a date and an instant is itself. A float is its bits, those of a negative one but the sign turned
round; NaN is skipped, and -0.0 is 0.0. The identity, of a cell without values, is the greatest int64 for a least value
and the least for a greatest; of integers it can be a value as well, so whoever finishes looks at their number too.

Bytes: those of `packing.packed_sparse`. Of floats, the values that are there stand as integers by its codes where all
are whole and fit 4 bytes; else as float32, little endian (code 9) if that loses nothing, else as float64 (code 10).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.columns import floats_of, integers_of, valid
from feature_assets.compute.aggregates.packing import (
    EVERY,
    SOME,
    Blobs,
    Codes,
    damaged,
    marks,
    packed_integers,
    packed_sparse,
    present,
    scattered,
    unmarked,
    unpacked_integers,
    unpacked_sparse,
)
from feature_assets.compute.aggregates.slot import Ints, Kind, Records, Slot, segments
from feature_assets.compute.aggregates.stretches import Stretches

LOWEST: Final = -(2**63)
HIGHEST: Final = 2**63 - 1
_SINGLE: Final = 9
_DOUBLE: Final = 10
_WIDTHS: Final = {_SINGLE: 4, _DOUBLE: 8}
_SMALL: Final = 2.0**31


class Extreme(Slot[Ints]):
    """The least value of each cell, or the greatest."""

    kind: ClassVar[Kind] = "extreme"
    max_bytes = 9
    """A number of 64 bits, and a bit that says whether it is there."""

    def __init__(self, name: str, columns: tuple[str, ...], *, greatest: bool) -> None:
        self.name = name
        self.columns = columns
        self.is_greatest = greatest
        self.identity = LOWEST if greatest else HIGHEST

    @abstractmethod
    def ordered(self, records: Records, cell: Ints) -> tuple[Ints, Ints]:
        """The values that count, as cells have them, and where each belongs."""

    def empty(self, cells: int) -> Ints:
        return np.full(cells, self.identity, np.int64)

    def lift(self, records: Records, cell: Ints, cells: int) -> Ints:
        values, cell = self.ordered(records, cell)
        return self.merge(values, cell, cells)

    def merge(self, states: Ints, group: Ints, groups: int) -> Ints:
        merged = self.empty(groups)
        found, first = segments(group)
        if len(found):
            merged[found] = (np.maximum if self.is_greatest else np.minimum).reduceat(states, first)
        return merged

    def take(self, states: Ints, cells: Ints) -> Ints:
        return states[cells]

    def concat(self, parts: Sequence[Ints]) -> Ints:
        return np.concatenate(parts) if parts else self.empty(0)

    def encode(self, states: Ints, counts: Ints) -> tuple[Codes, list[bytes]]:
        return packed_sparse(states, self.identity, counts)

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Ints:
        return unpacked_sparse(codes, blobs, self.identity, counts)


class IntegerExtreme(Extreme):
    """Of a column of integers, dates or instants."""

    def __init__(self, column: str, *, greatest: bool) -> None:
        super().__init__(f"{'max' if greatest else 'min'}({column})", (column,), greatest=greatest)

    def ordered(self, records: Records, cell: Ints) -> tuple[Ints, Ints]:
        return integers_of(records, self.columns[0], cell)


class FloatExtreme(Extreme):
    """Of a column of floats."""

    def __init__(self, column: str, *, greatest: bool) -> None:
        super().__init__(f"{'max' if greatest else 'min'}({column})", (column,), greatest=greatest)

    def ordered(self, records: Records, cell: Ints) -> tuple[Ints, Ints]:
        values, cell = floats_of(records, self.columns[0], cell)
        some = ~np.isnan(values)
        return ordered_floats(values[some]), cell[some]

    def encode(self, states: Ints, counts: Ints) -> tuple[Codes, list[bytes]]:
        some = states != self.identity
        bits, filled = marks(some, counts)
        codes, blobs = _packed_floats(floats_of_order(states[some]), filled)
        for item in np.flatnonzero(filled).tolist():
            codes[item] |= SOME if bits[item] else EVERY
            blobs[item] = bits[item] + blobs[item]
        return codes, blobs

    def decode(self, codes: Codes, blobs: Blobs, counts: Ints) -> Ints:
        inner, rest, some = unmarked(codes, blobs, counts)
        values = _unpacked_floats(inner, rest, present(some, counts))
        if np.isnan(values).any():
            raise damaged(f"{self.name}: a NaN is no extreme")
        states = ordered_floats(values)
        return states if len(states) == len(some) else scattered(states, some, self.identity)


class Newest(Extreme):
    """The greatest `event_at` of records, of those of which a `column` is not null if one is given."""

    def __init__(self, column: str | None) -> None:
        columns = () if column is None else (column,)
        super().__init__(f"newest({column or ''})", columns, greatest=True)

    def ordered(self, records: Records, cell: Ints) -> tuple[Ints, Ints]:
        if not self.columns:
            return records.event_at, cell
        rows, cell = valid(records, self.columns[0], cell)
        return records.event_at[rows], cell


def ordered_floats(values: npt.NDArray[np.float64]) -> Ints:
    """Doubles without NaN as integers in the same order."""
    # Adding 0.0 makes 0.0 of -0.0.
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & HIGHEST)


def floats_of_order(states: Ints) -> npt.NDArray[np.float64]:
    """The doubles again. Of the identities it makes NaN."""
    return (states ^ ((states >> 63) & HIGHEST)).view(np.float64)


def _packed_floats(values: npt.NDArray[np.float64], counts: Ints) -> tuple[Codes, list[bytes]]:
    whole, single = np.ones(len(counts), np.bool_), np.ones(len(counts), np.bool_)
    filled = np.flatnonzero(counts)
    if len(filled):
        first = (np.cumsum(counts) - counts)[filled]
        small = (np.abs(values) < _SMALL) & (values == np.rint(values))
        whole[filled] = np.logical_and.reduceat(small, first)
        with np.errstate(over="ignore"):
            narrow = values.astype("<f4")
        single[filled] = np.logical_and.reduceat(narrow == values, first)
        of_value = np.repeat(whole, counts)
        codes, blobs = packed_integers(np.where(of_value, values, 0.0).astype(np.int64), counts)
        ends = np.cumsum(counts)
        for which, code, raw in ((single & ~whole, _SINGLE, narrow), (~single & ~whole, _DOUBLE, values)):
            joined, width = raw.astype(f"<f{_WIDTHS[code]}").tobytes(), _WIDTHS[code]
            for item in np.flatnonzero(which).tolist():
                codes[item] = code
                blobs[item] = joined[int(ends[item] - counts[item]) * width : int(ends[item]) * width]
        return codes, blobs
    return np.zeros(len(counts), np.uint8), [b""] * len(counts)


def _unpacked_floats(codes: Codes, stretches: Stretches, counts: Ints) -> npt.NDArray[np.float64]:
    single, double = codes == _SINGLE, codes == _DOUBLE
    wrong = np.flatnonzero((single | double) & (stretches.length != np.where(single, 4, 8) * counts))
    if len(wrong):
        item = int(wrong[0])
        raise damaged(f"item {item}: {stretches.length[item]} bytes of code {codes[item]} for {counts[item]} floats")
    # As integers of the same width they are their bits.
    widths = np.where(single, np.uint8(_WIDTHS[_SINGLE]), np.where(double, np.uint8(_WIDTHS[_DOUBLE]), codes))
    bits = unpacked_integers(widths, stretches, counts)
    values: npt.NDArray[np.float64] = bits.view(np.float64) if double.all() else bits.astype(np.float64)
    if double.any() and not double.all():
        of_value = np.repeat(double, counts)
        values[of_value] = bits.view(np.float64)[of_value]
    if single.any():
        of_value = np.repeat(single, counts)
        # Damaged bytes can be a signalling NaN; it is refused further up.
        with np.errstate(invalid="ignore"):
            values[of_value] = bits[of_value].astype(np.int32).view(np.float32)
    return values
