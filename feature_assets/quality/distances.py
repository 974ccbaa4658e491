"""The distances and tail probabilities that drift is judged by.

Invariant: pure functions of counts; each states its formula, and none needs more than numpy and the standard library.
Distances say how large a change is, tail probabilities whether the number of rows could have produced it by chance.
"""

import math

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SMOOTHING = 0.5
"""Rows added to every bin before a ratio is taken (Jeffreys): an empty bin must not make the index infinite."""

COCHRAN = 5.0
"""The least expected count for which the chi-square distribution approximates a cell well (Cochran's rule)."""

_SERIES_FROM = 0.2
"""Below it Kolmogorov's series alternates without converging, and its sum is 1 to twelve digits."""

_TERMS = 10_000
_EPSILON = 1e-15


def psi(reference: Counts, current: Counts) -> float:
    """The population stability index: the sum of (c - r) ln(c / r) over the bins' shares; 0 if a side is empty.

    Shares are smoothed by `SMOOTHING`, which makes the ratio of a bin that one side leaves empty finite.
    """
    if reference.sum() == 0 or current.sum() == 0:
        return 0.0
    shares = [(n + SMOOTHING) / (n.sum() + SMOOTHING * len(n)) for n in (reference, current)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def psi_noise(bins: int, reference_rows: int, current_rows: int) -> float:
    """What the index is expected to be with no drift at all: (bins - 1)(1 / n_reference + 1 / n_current)."""
    if min(reference_rows, current_rows) == 0:
        return 0.0
    return (bins - 1) * (1 / reference_rows + 1 / current_rows)


def ks(reference: Counts, current: Counts) -> float:
    """The greatest distance of the two distribution functions at the bins' upper ends; 0 if a side is empty.

    Never greater than the exact statistic, and smaller by at most the greatest share of rows that one bin holds.
    """
    if reference.sum() == 0 or current.sum() == 0:
        return 0.0
    return float(np.abs(np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()).max())


def exact_ks(reference: Floats, current: Floats) -> float:
    """The two-sample Kolmogorov-Smirnov distance of two samples without NaN; 0 if one is empty."""
    if len(reference) == 0 or len(current) == 0:
        return 0.0
    at = np.concatenate([reference, current])
    below = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (reference, current)]
    return float(np.abs(below[0] - below[1]).max())


def ks_of_shift(index: float) -> float:
    """The Kolmogorov-Smirnov distance of a normal distribution from its own shift with that stability index.

    A shift by d standard deviations has the index d**2 and the distance 2 Phi(d / 2) - 1. So one limit does for both.
    """
    return math.erf(math.sqrt(max(index, 0.0)) / 2 / math.sqrt(2))


def kolmogorov_tail(distance: float, reference_rows: int, current_rows: int) -> float:
    """The chance of a KS distance this large without drift: Kolmogorov's series, corrected for few rows by Stephens."""
    if min(reference_rows, current_rows) == 0:
        return 1.0
    root = math.sqrt(reference_rows * current_rows / (reference_rows + current_rows))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < _SERIES_FROM:
        return 1.0
    total = sum((1.0 if j % 2 else -1.0) * math.exp(-2 * (j * scaled) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, 2 * total))


def homogeneity_tail(reference: Counts, current: Counts) -> float:
    """Pearson's chi-square test that both counts come from one distribution: the chance of a difference this large.

    Neighbouring bins are pooled until the smaller side expects `COCHRAN` rows in each; if only one is left there is
    nothing to test and the answer is 1.
    """
    rows = np.array([reference.sum(), current.sum()], dtype=np.float64)
    if rows.min() == 0:
        return 1.0
    cells = _pooled(reference, current, COCHRAN * rows.sum() / rows.min())
    if len(cells) <= 1:
        return 1.0
    expected = cells.sum(axis=1, keepdims=True) * rows / rows.sum()
    statistic = float(np.sum((cells - expected) ** 2 / expected))
    return upper_gamma((len(cells) - 1) / 2, statistic / 2)


def _pooled(reference: Counts, current: Counts, least: float) -> Floats:
    cells: list[Floats] = []
    open_cell = np.zeros(2)
    for pair in np.stack([reference, current], axis=1).astype(np.float64):
        open_cell = open_cell + pair
        if open_cell.sum() >= least:
            cells.append(open_cell)
            open_cell = np.zeros(2)
    if cells:
        cells[-1] = cells[-1] + open_cell
    return np.array(cells).reshape(-1, 2)


def chernoff_tail(successes: int, trials: int, probability: float) -> float:
    """An upper bound for the chance of at least `successes` in `trials`: exp(-n KL(successes / n || probability)).

    Holds for draws with and without replacement (Hoeffding 1963). 1 at or below the expectation.
    """
    if trials == 0 or successes <= trials * probability:
        return 1.0
    if probability <= 0:
        return 0.0
    share = successes / trials
    divergence = share * math.log(share / probability)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - probability))
    return math.exp(-trials * divergence)


def upper_gamma(shape: float, x: float) -> float:
    """The regularised upper incomplete gamma function Q(shape, x); a chi-square tail is Q(degrees / 2, statistic / 2).

    The series for P below shape + 1, Lentz's continued fraction for Q above (DLMF 8.11.4 and 8.9.2).
    """
    if x <= 0:
        return 1.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        for n in range(1, _TERMS):
            term *= x / (shape + n)
            total += term
            if term < total * _EPSILON:
                break
        return max(0.0, 1.0 - front * total)
    b = x + 1 - shape
    c, d = math.inf, 1 / b
    fraction = d
    for n in range(1, _TERMS):
        a = -n * (n - shape)
        b += 2
        d = 1 / (a * d + b)
        c = b + a / c
        fraction *= c * d
        if abs(c * d - 1) < _EPSILON:
            break
    return front * fraction
