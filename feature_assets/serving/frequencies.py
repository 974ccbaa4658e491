"""How often keys were asked for lately: a small count-min sketch with ageing.

Invariant: what it says is never less than what was counted since the last halving, up to its highest count; and its
size never changes, however many keys there are. The count of a key may be too high, by keys that share its places.
It keeps no keys, and is not safe to share between threads without a lock.
"""

from collections.abc import Hashable
from typing import Final

_ROWS: Final = 4
_HIGHEST: Final = 255
"""A count is a byte: beyond it, often is often."""
_SAMPLE: Final = 10
"""Counts are halved after this many times the number of keys was recorded, as in TinyLFU (Einziger, Friedman, Manes,
2017)."""
_WIDER: Final = 4
"""Places in a row for each key: with a sample of ten, few keys share a place in all rows."""
_HALVES: Final = bytes(count >> 1 for count in range(_HIGHEST + 1))


class Frequencies:
    """Counts for about `keys` keys. `halved`: how often all counts were halved."""

    def __init__(self, keys: int) -> None:
        width = 1 << (_WIDER * max(keys, 64) - 1).bit_length()
        self._rows = [bytearray(width) for _ in range(_ROWS)]
        self._mask = width - 1
        self._sample = _SAMPLE * max(keys, 64)
        self._recorded = 0
        self.halved = 0

    def add(self, key: Hashable, times: int = 1) -> None:
        """Count a key once more, or several times."""
        places = self._places(key)
        counts = [row[place] for row, place in zip(self._rows, places, strict=True)]
        raised = min(_HIGHEST, min(counts) + times)
        for row, place, count in zip(self._rows, places, counts, strict=True):
            # Only what is lower: what is higher already was raised by other keys too.
            if count < raised:
                row[place] = raised
        self._recorded += times
        if self._recorded >= self._sample:
            self._halve()

    def of(self, key: Hashable) -> int:
        """How often the key was asked for lately, or a little more."""
        return min(row[place] for row, place in zip(self._rows, self._places(key), strict=True))

    def _places(self, key: Hashable) -> list[int]:
        # Two hashes make as many as are needed (Kirsch, Mitzenmacher, 2006). Python's differs in each process, so
        # nobody can prepare keys that meet in one place.
        both = hash(key) & 0xFFFF_FFFF_FFFF_FFFF
        first, step = both & 0xFFFF_FFFF, both >> 32 | 1
        return [(first + row * step) & self._mask for row in range(_ROWS)]

    def _halve(self) -> None:
        for row in self._rows:
            row[:] = row.translate(_HALVES)
        self._recorded >>= 1
        self.halved += 1
