"""How many different values there are, about: HyperLogLog.

The estimate is that of O. Ertl, New cardinality estimation algorithms for HyperLogLog sketches (2017),
arXiv:1702.01284, algorithm 6: it needs no tables and no correction. Its standard error is 1.04 / sqrt(2**precision);
with the few registers of a precision below 8 it is also too large, on average by a share of 1.1 / 2**precision.

Invariant: an estimate is a function of the registers, and the same bits on every machine.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from feature_assets.compute.aggregates.objects import Objects, filled
from feature_assets.compute.aggregates.registers import HASH_BITS, Registers
from feature_assets.compute.aggregates.slot import Asked, Computation, Finished, Ints
from feature_assets.definition.aggregate import Aggregate

_MOST: Final = float(2**62)
_ALPHA: Final = 1 / (2 * 0.6931471805599453)
"""The logarithm of 2 is written out, as a library's may differ from another's in the last bit."""


class DistinctEstimated(Computation):
    """`approx_count_distinct`: the estimate, rounded half to even; 0 if there is no value."""

    def __init__(self, aggregate: Aggregate, columns: Mapping[str, pa.DataType]) -> None:
        del columns
        (column,) = aggregate.columns
        self._slot = Registers(column, aggregate.precision or 1)
        self.slots = (self._slot,)
        self._last_rank = HASH_BITS - (aggregate.precision or 1) + 1
        self.error_bound = f"standard error {1.04 / math.sqrt(self._slot.registers):.2%} of the number"

    def finish(self, cells: Sequence[Objects], asked: Asked) -> Finished:
        (states,) = cells
        places = filled(states)
        counts = np.zeros(len(states), np.int64)
        counts[places] = self._estimated(states[places].tolist())
        return Finished(pa.array(counts), np.zeros(len(asked.as_of), np.bool_))

    def _estimated(self, states: Sequence[bytes]) -> Ints:
        """Every step is an operation that IEEE 754 rounds correctly: the same bits on every machine."""
        size, width = self._slot.registers, self._last_rank + 1
        having = self._slot.counted(states, width)
        unset = having[:, 0]
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
