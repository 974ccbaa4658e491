"""How many different values there are, about: HyperLogLog.

A value's hash is the blake2b of its bytes, 8 of them, as one big-endian number. Its first `precision` bits name a
register, which keeps the greatest *rank* of its values: one more than the number of zeros that the other bits begin
with. The estimate is that of O. Ertl, New cardinality estimation algorithms for HyperLogLog sketches (2017),
arXiv:1702.01284, algorithm 6: it needs no tables and no correction. Its standard error is 1.04 / sqrt(2**precision);
with the few registers of a precision below 8 it is also too large, on average by a share of 1.1 / 2**precision.

Invariant: a state is a function of the registers alone, and these of the set of values.

A state, in memory and as msgpack bin: where less than a quarter of the registers are set, *sparse*: for each of these,
ascending, register * 64 + rank in 3 bytes, little endian. Else *dense*: the ranks of all, 6 bits each, most significant
bit first. Dense is 3/4 of a byte for each register, sparse always less: the length tells which one it is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.compute.aggregates.objects import Objects, ValueSlot, filled, put
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints, Records, segments
from feature_assets.definition.aggregate import Aggregate

_HASH_BITS: Final = 64
_RANK_BITS: Final = 6
_RANKS: Final = 2**_RANK_BITS
_ENTRY_BITS: Final = 22
"""Of a register and its rank, at the greatest precision, 16."""
_ENTRY_BYTES: Final = 3
_MOST: Final = float(2**62)
_ALPHA: Final = 1 / (2 * 0.6931471805599453)
"""The logarithm of 2 is written out, as a library's may differ from another's in the last bit."""


class Registers(ValueSlot[bytes]):
    """The registers of the values' hashes."""

    form = bytes

    def __init__(self, column: str, precision: int) -> None:
        self.registers = 2**precision
        self._precision = precision
        self._dense = self.registers * _RANK_BITS // 8
        # Sparse is always less.
        super().__init__(f"registers({column}, {precision})", column, self.state_bytes + self._dense)

    def lift(self, records: Records, cell: Ints, cells: int) -> Objects:
        states = self.empty(cells)
        values, rows, cell = self.valid(records, cell)
        if len(rows):
            entries = self._entries_of(values.values)
            found = np.flatnonzero(np.bincount(cell, minlength=cells))
            put(states, found, self._states(cell << _ENTRY_BITS | entries[values.codes[rows]]))
        return states

    def merged(self, several: Sequence[Sequence[bytes]]) -> Iterable[bytes]:
        sizes = np.fromiter(map(len, several), np.int64, len(several))
        cell, entries = self.entries([state for states in several for state in states])
        group = np.repeat(np.arange(len(several)), sizes)
        return self._states(group[cell] << _ENTRY_BITS | entries)

    def plain(self, states: Sequence[bytes]) -> Iterable[object]:
        return states

    def restored(self, plain: Sequence[Any]) -> Iterable[bytes]:
        cell, entries = self.entries(plain)
        joined = cell << _ENTRY_BITS | entries
        most = _HASH_BITS - self._precision + 1
        rank = entries % _RANKS
        whole = not len(joined) or (
            (np.diff(joined >> _RANK_BITS) > 0).all()
            and 1 <= rank.min() <= rank.max() <= most
            and (entries // _RANKS).max() < self.registers
        )
        if not whole or self._states(joined) != list(plain):
            raise ValueError("registers that are not ours")
        return plain

    def entries(self, states: Sequence[bytes]) -> tuple[Ints, Ints]:
        """All registers that are set, state after state, each ascending: whose state, and register * 64 + rank."""
        length = np.fromiter(map(len, states), np.int64, len(states))
        is_dense = length == self._dense
        if (length[~is_dense] % _ENTRY_BYTES).any() or (length > self._dense).any() or not length.all():
            raise ValueError("registers of an odd length")
        sparse, dense = np.flatnonzero(~is_dense), np.flatnonzero(is_dense)
        raw = np.frombuffer(b"".join([states[at] for at in sparse.tolist()]), np.uint8).reshape(-1, _ENTRY_BYTES)
        cell = np.repeat(sparse, length[sparse] // _ENTRY_BYTES)
        entries = raw @ np.array([1, 2**8, 2**16])
        if not len(dense):
            return cell, entries
        ranks = _unpacked(b"".join([states[at] for at in dense.tolist()])).reshape(-1, self.registers)
        of, register = np.nonzero(ranks)
        cell = np.concatenate([cell, dense[of]])
        entries = np.concatenate([entries, register * _RANKS + ranks[of, register]])
        order = np.argsort(cell, kind="stable")
        return cell[order], entries[order]

    def _entries_of(self, values: Sequence[bytes]) -> Ints:
        """Of each value, register * 64 + rank."""
        joined = b"".join([blake2b(value, digest_size=_HASH_BITS // 8).digest() for value in values])
        hashes = np.frombuffer(joined, ">u8").astype(np.uint64)
        rest_bits = _HASH_BITS - self._precision
        rest = hashes & np.uint64(2**rest_bits - 1)
        register = (hashes >> np.uint64(rest_bits)).astype(np.int64)
        return register * _RANKS + rest_bits - _bit_length(rest) + 1

    def _states(self, joined: Ints) -> list[bytes]:
        """The states of entries, each with its cell above it, in any order: one for each cell that has some."""
        joined = np.sort(joined)
        register = joined >> _RANK_BITS
        # Of one register the greatest rank comes last.
        greatest = joined[np.append(register[1:] != register[:-1], True)] if len(joined) else joined
        cell, entries = greatest >> _ENTRY_BITS, greatest & (2**_ENTRY_BITS - 1)
        _, first = segments(cell)
        end = np.append(first, len(cell))[1:]
        raw = entries.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :_ENTRY_BYTES].tobytes()
        return [
            raw[start * _ENTRY_BYTES : stop * _ENTRY_BYTES]
            if 4 * (stop - start) < self.registers
            else self._packed(entries[start:stop])
            for start, stop in zip(first.tolist(), end.tolist(), strict=True)
        ]

    def _packed(self, entries: Ints) -> bytes:
        ranks = np.zeros(self.registers, np.uint8)
        ranks[entries >> _RANK_BITS] = entries % _RANKS
        bits: npt.NDArray[np.uint8] = np.unpackbits(ranks[:, None], axis=1)[:, 8 - _RANK_BITS :]
        return np.packbits(bits).tobytes()


class DistinctEstimated(Computation):
    """`approx_count_distinct`: the estimate, rounded half to even; 0 if there is no value."""

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        del columns
        (column,) = aggregate.columns
        self._slot = Registers(column, aggregate.precision or 1)
        self.slots = (self._slot,)
        self._last_rank = _HASH_BITS - (aggregate.precision or 1) + 1
        self.error_bound = f"standard error {1.04 / math.sqrt(self._slot.registers):.2%} of the number"

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        (states,) = cells
        places = filled(states)
        counts = np.zeros(len(states), np.int64)
        counts[places] = self._estimated(states[places].tolist())
        return Finished(pa.array(counts), np.zeros(len(asked.as_of), np.bool_))

    def _estimated(self, states: Sequence[bytes]) -> Ints:
        """Every step is an operation that IEEE 754 rounds correctly: the same bits on every machine."""
        cell, entries = self._slot.entries(states)
        size, width = self._slot.registers, self._last_rank + 1
        having = np.bincount(cell * width + entries % _RANKS, minlength=len(states) * width).reshape(-1, width)
        unset = size - having.sum(axis=1)
        total = np.array([size * _tau(1 - full / size) for full in having[:, -1].tolist()])
        for rank in range(self._last_rank - 1, 0, -1):
            total = 0.5 * (total + having[:, rank])
        total = total + np.array([size * _sigma(none / size) for none in unset.tolist()])
        estimate = np.full(len(states), _MOST)
        np.divide(_ALPHA * size * size, total, out=estimate, where=total > 0)
        rounded: Ints = np.rint(np.minimum(estimate, _MOST)).astype(np.int64)
        return rounded


@lru_cache(maxsize=2**16)
def _sigma(share: float) -> float:
    """Ertl's sigma: share + sum over k >= 1 of share**(2**k) * 2**(k - 1)."""
    if share == 1:
        return math.inf
    total, before, weight = share, -1.0, 1.0
    while total != before:
        share *= share
        before = total
        total += share * weight
        weight += weight
    return total


@lru_cache(maxsize=2**16)
def _tau(share: float) -> float:
    """Ertl's tau: (1 - share - sum over k >= 1 of (1 - share**(2**-k))**2 * 2**-k) / 3."""
    if share in {0.0, 1.0}:
        return 0.0
    total, before, weight = 1 - share, -1.0, 1.0
    while total != before:
        share = math.sqrt(share)
        before = total
        weight *= 0.5
        total -= (1 - share) ** 2 * weight
    return total / 3


def _bit_length(numbers: npt.NDArray[np.uint64]) -> Ints:
    """How many bits a number has, without the zeros that it begins with. Halves of it are exact as float64."""
    high, low = (numbers >> np.uint64(32)).astype(np.float64), (numbers & np.uint64(2**32 - 1)).astype(np.float64)
    length: Ints = np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1]).astype(np.int64)
    return length


def _unpacked(packed: bytes) -> Ints:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(-1, _RANK_BITS)
    ranks: Ints = bits @ (2 ** np.arange(_RANK_BITS - 1, -1, -1))
    return ranks
