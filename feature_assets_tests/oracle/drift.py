"""Drift statistics, naively: counted value by value, straight from their definitions."""

import math
from collections.abc import Sequence


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Sum of (c - r) ln(c / r) over bins, each with half a row added."""
    total = 0.0
    for r, c in zip(reference, current, strict=True):
        share_r = (r + 0.5) / (sum(reference) + 0.5 * len(reference))
        share_c = (c + 0.5) / (sum(current) + 0.5 * len(current))
        total += (share_c - share_r) * math.log(share_c / share_r)
    return total


def ks(reference: Sequence[float], current: Sequence[float]) -> float:
    """The greatest distance of the two empirical distribution functions over all values."""
    greatest = 0.0
    for at in [*reference, *current]:
        below_r = sum(value <= at for value in reference) / len(reference)
        below_c = sum(value <= at for value in current) / len(current)
        greatest = max(greatest, abs(below_r - below_c))
    return greatest


def counts(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values lie in (-inf, e0], (e0, e1], ..., (last, inf)."""
    found = [0] * (len(edges) + 1)
    for value in values:
        found[sum(edge < value for edge in edges)] += 1
    return found


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """The chance of at least `successes`."""
    return sum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(successes, trials + 1)
    )
