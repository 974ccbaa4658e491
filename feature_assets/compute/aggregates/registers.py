"""The registers of HyperLogLog: what is kept of many values to say how many different ones they are.

A value's hash is the blake2b of its bytes, 8 of them, as one big-endian number. Its first `precision` bits name a
register, which keeps the greatest *rank* of its values: one more than the number of zeros that the other bits begin
with.

Invariant: a state is a function of the registers alone, and these of the set of values.

A state, in memory and as msgpack bin: where less than a quarter of the registers are set, *sparse*: for each of these,
ascending, register * 64 + rank in 3 bytes, little endian. Else *dense*: the ranks of all, 6 bits each, most significant
bit first. Dense is 3/4 of a byte for each register, sparse always less: the length tells which one it is.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.objects import Objects, ValueSlot, filled, put
from feature_assets.compute.aggregates.slot import Ints, Records, segments

HASH_BITS: Final = 64
_RANK_BITS: Final = 6
_RANKS: Final = 2**_RANK_BITS
_ENTRY_BITS: Final = 22
"""Of a register and its rank, at the greatest precision, 16."""
_ENTRY_BYTES: Final = 3
_TABLE: Final = 1 << 24
"""How many registers are looked at at once."""


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

    def merge(self, states: Objects, group: Ints, groups: int) -> Objects:
        """See `Slot`. Of all groups at once: states are looked at, not their cells."""
        merged = self.empty(groups)
        places = filled(states)
        found, first = segments(group[places])
        size = np.diff(np.append(first, len(places)))
        merged[found[size == 1]] = states[places[first[size == 1]]]
        several = np.flatnonzero(size > 1)
        if len(several):
            mine = places[np.repeat(size > 1, size)]
            put(merged, found[several], self._merged(states[mine].tolist(), size[several]))
        return merged

    def merged(self, several: Iterable[Sequence[bytes]]) -> Iterable[bytes]:
        each = list(several)
        sizes = np.fromiter(map(len, each), np.int64, len(each))
        return self._merged([state for states in each for state in states], sizes)

    def _merged(self, states: Sequence[bytes], sizes: Ints) -> list[bytes]:
        """The states of so many, one after the other, taken together."""
        found: list[bytes] = []
        # No more registers at once than a table of them is small.
        ends, done = np.cumsum(sizes), 0
        while done < len(sizes):
            stop = min(done + max(_TABLE // self.registers, 1), len(sizes))
            first = int(ends[done] - sizes[done])
            group = np.repeat(np.arange(stop - done), sizes[done:stop])
            found += self._together(states[first : int(ends[stop - 1])], group, stop - done)
            done = stop
        return found

    def _together(self, states: Sequence[bytes], group: Ints, groups: int) -> list[bytes]:
        length = _lengths(states)
        total = np.bincount(group, weights=length, minlength=groups)
        if (length < self._dense).all() and int(total.max()) < self._dense:
            # Few registers, however they lie: cheaper to sort than to look at all that are not set.
            cell, entries = self.entries(states)
            return self._states(group[cell] << _ENTRY_BITS | entries)
        ranks = np.zeros((groups, self.registers), np.uint8)
        is_dense = length == self._dense
        dense = np.flatnonzero(is_dense)
        if len(dense):
            of, first = segments(group[dense])
            ranks[of] = np.maximum.reduceat(self._unpacked(states, dense), first, axis=0)
        sparse = np.flatnonzero(~is_dense)
        cell, entries = self._sparse(states, sparse, length[sparse])
        place = group[cell] * self.registers + (entries >> _RANK_BITS)
        np.maximum.at(ranks.reshape(-1), place, (entries & (_RANKS - 1)).astype(np.uint8))
        return self._of_ranks(ranks)

    def plain(self, states: Sequence[bytes]) -> Iterable[object]:
        return states

    def restored(self, plain: Sequence[Any]) -> Iterable[bytes]:
        length = self._require_lengths(plain)
        is_dense = length == self._dense
        sparse, dense = np.flatnonzero(~is_dense), np.flatnonzero(is_dense)
        cell, entries = self._sparse(plain, sparse, length[sparse])
        register, rank = entries >> _RANK_BITS, entries & (_RANKS - 1)
        most = HASH_BITS - self._precision + 1
        whole = not len(entries) or (
            bool(((register[1:] > register[:-1]) | (cell[1:] > cell[:-1])).all())
            and 1 <= rank.min() <= rank.max() <= most
            and register.max() < self.registers
        )
        # As many as make a state dense are never in a sparse one, nor fewer in a dense one.
        whole = whole and not (4 * (length[sparse] // _ENTRY_BYTES) >= self.registers).any()
        for some in np.array_split(dense, max(len(dense) * self.registers // _TABLE, 1)):
            ranks = self._unpacked(plain, some)
            whole = whole and (not len(some) or ranks.max() <= most)
            whole = whole and not (4 * np.count_nonzero(ranks, axis=1) < self.registers).any()
        if not whole:
            raise ValueError("registers that are not ours")
        return plain

    def entries(self, states: Sequence[bytes]) -> tuple[Ints, Ints]:
        """All registers that are set, state after state, each ascending: whose state, and register * 64 + rank."""
        length = self._require_lengths(states)
        is_dense = length == self._dense
        sparse, dense = np.flatnonzero(~is_dense), np.flatnonzero(is_dense)
        cell, entries = self._sparse(states, sparse, length[sparse])
        if not len(dense):
            return cell, entries
        ranks = self._unpacked(states, dense)
        of, register = np.nonzero(ranks)
        cell = np.concatenate([cell, dense[of]])
        entries = np.concatenate([entries, register * _RANKS + ranks[of, register]])
        order = np.argsort(cell, kind="stable")
        return cell[order], entries[order]

    def counted(self, states: Sequence[bytes], ranks: int) -> Ints:
        """How many registers of each state have each rank, of shape (states, ranks); those that are not set have 0."""
        length = self._require_lengths(states)
        found = np.zeros((len(states), ranks), np.int64)
        is_dense = length == self._dense
        sparse, dense = np.flatnonzero(~is_dense), np.flatnonzero(is_dense)
        cell, entries = self._sparse(states, sparse, length[sparse])
        found += np.bincount(cell * ranks + (entries & (_RANKS - 1)), minlength=found.size).reshape(found.shape)
        for some in np.array_split(dense, max(len(dense) * self.registers // _TABLE, 1)) if len(dense) else ():
            place = self._unpacked(states, some) + np.arange(len(some))[:, None] * ranks
            found[some] = np.bincount(place.ravel(), minlength=len(some) * ranks).reshape(-1, ranks)
        found[:, 0] = self.registers - found[:, 1:].sum(axis=1)
        return found

    def _require_lengths(self, states: Sequence[bytes]) -> Ints:
        """Raises `ValueError`."""
        length = _lengths(states)
        odd = (length % _ENTRY_BYTES > 0) & (length != self._dense)
        if odd.any() or (length > self._dense).any() or not length.all():
            raise ValueError("registers of an odd length")
        return length

    def _sparse(self, states: Sequence[bytes], chosen: Ints, length: Ints) -> tuple[Ints, Ints]:
        """The entries of some states, which are sparse and so long: whose, and register * 64 + rank."""
        raw = np.frombuffer(b"".join([states[at] for at in chosen.tolist()]), np.uint8).reshape(-1, _ENTRY_BYTES)
        entries = raw[:, 0] | raw[:, 1].astype(np.int64) << 8 | raw[:, 2].astype(np.int64) << 16
        return np.repeat(chosen, length // _ENTRY_BYTES), entries

    def _unpacked(self, states: Sequence[bytes], dense: Ints) -> npt.NDArray[np.uint8]:
        """The ranks of some states, which are dense: of shape (states, registers)."""
        raw = np.frombuffer(b"".join([states[at] for at in dense.tolist()]), np.uint8).reshape(-1, 3)
        one, two, three = raw.T
        # Four ranks to three bytes.
        ranks = np.empty((len(raw), 4), np.uint8)
        ranks[:, 0] = one >> 2
        ranks[:, 1] = (one & 3) << 4 | two >> 4
        ranks[:, 2] = (two & 15) << 2 | three >> 6
        ranks[:, 3] = three & 63
        return ranks.reshape(-1, self.registers)

    def _of_ranks(self, ranks: npt.NDArray[np.uint8]) -> list[bytes]:
        """The states of ranks of shape (states, registers), of which each has some."""
        one, two, three, four = ranks.reshape(-1, 4).T
        raw = np.empty((len(one), 3), np.uint8)
        raw[:, 0] = one << 2 | two >> 4
        raw[:, 1] = (two & 15) << 4 | three >> 2
        raw[:, 2] = (three & 3) << 6 | four
        packed = raw.tobytes()
        found = [packed[at : at + self._dense] for at in range(0, len(packed), self._dense)]
        few = np.flatnonzero(4 * np.count_nonzero(ranks, axis=1) < self.registers)
        of, register = np.nonzero(ranks[few])
        entries = register * _RANKS + ranks[few[of], register]
        for at, state in zip(few.tolist(), self._states(of << _ENTRY_BITS | entries), strict=True):
            found[at] = state
        return found

    def _entries_of(self, values: Sequence[bytes]) -> Ints:
        """Of each value, register * 64 + rank."""
        joined = b"".join([blake2b(value, digest_size=HASH_BITS // 8).digest() for value in values])
        hashes = np.frombuffer(joined, ">u8").astype(np.uint64)
        rest_bits = HASH_BITS - self._precision
        rest = hashes & np.uint64(2**rest_bits - 1)
        register = (hashes >> np.uint64(rest_bits)).astype(np.int64)
        return register * _RANKS + rest_bits - _bit_length(rest) + 1

    def _states(self, joined: Ints) -> list[bytes]:
        """The states of entries, each with its cell above it, in any order: one for each cell that has some."""
        joined = np.sort(joined, kind="stable")
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


def _bit_length(numbers: npt.NDArray[np.uint64]) -> Ints:
    """How many bits a number has, without the zeros that it begins with. Halves of it are exact as float64."""
    high, low = (numbers >> np.uint64(32)).astype(np.float64), (numbers & np.uint64(2**32 - 1)).astype(np.float64)
    length: Ints = np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(low)[1]).astype(np.int64)
    return length


def _lengths(states: Sequence[bytes]) -> Ints:
    return np.fromiter(map(len, states), np.int64, len(states))
