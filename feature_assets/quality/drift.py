"""Drift: which columns no longer look as they did when the model was trained.

Invariant: a column has drifted only if the change is large enough to matter *and* larger than chance would explain.
How large is read off distances (stability index, KS, shares); chance is a tail probability, held against `ALPHA`
divided by the number of tests in the report (Bonferroni), so that more columns do not mean more false alarms. Few rows
therefore never raise an alarm by themselves, and many rows never do for a change that is real but small. (The tails
assume independent rows; where rows come in clumps, the distances hold the line.)
It compares profiles; it reads no table and decides nothing: the gate does.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from feature_assets.errors import InputError
from feature_assets.quality.distances import (
    Counts,
    chernoff_tail,
    homogeneity_tail,
    kolmogorov_tail,
    ks,
    ks_of_shift,
    psi,
    psi_noise,
)
from feature_assets.quality.profile import CategoryProfile, ColumnProfile, NumericProfile, Profile

MAX_PSI = 0.25
"""The stability index from which a change is taken to matter; the customary limit."""

ALPHA = 0.001
"""The chance of calling drift in a report when there is none: below the promised 1%, as the tails are approximate."""

MISSING_CHANGE = 0.1
"""The change of the share of missing values that matters."""

NEW_SHARE = 0.05
"""The share of rows in categories that the reference never saw that matters."""

BINS = 10
"""Bins of the stability index, of about equal share in the reference: the customary ten."""

NAMED_CATEGORIES = 50
NAMED_FROM = 5
"""Categories that are bins of their own: at most so many, each with so many rows. Rarer ones are compared together."""

SHOWN_NEW = 20
OTHER = "(other)"


class Bin(msgspec.Struct, frozen=True):
    """One bin as it is drawn: the shares of the rows with a value that fall into it."""

    label: str
    reference: float
    current: float


class FeatureDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How one column changed. Distances that do not exist for its dtype, or for want of values, are None.

    `psi_noise` is the index that these numbers of rows show with no drift; it is taken off before `psi` is held against
    the limit. `p_value` is the smallest tail probability among the tests whose change was large enough to matter, times
    the number of tests in the report; 1 if there was none.
    """

    name: str
    drifted: bool
    reason: str
    psi: float | None = None
    psi_noise: float | None = None
    ks: float | None = None
    null_share_ref: float = 0.0
    null_share_cur: float = 0.0
    new_categories: tuple[str, ...] = ()
    new_share: float = 0.0
    p_value: float = 1.0
    bins: tuple[Bin, ...] = ()


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison of two profiles found, columns in the reference's order."""

    features: tuple[FeatureDrift, ...]
    rows_ref: int
    rows_cur: int
    max_psi: float = MAX_PSI

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """The columns that drifted, in order."""
        return tuple(feature for feature in self.features if feature.drifted)


@dataclass(frozen=True, slots=True)
class _Finding:
    """A change that is large enough to matter, and the chance of seeing it without drift."""

    says: str
    tail: float


def drifted(reference: Profile, current: Profile, *, max_psi: float = MAX_PSI) -> DriftReport:
    """Compare `current`, profiled with `reference` as its reference, with `reference`.

    Columns are matched by name. One that `current` lacks, or that changed its nature (a number that became a category),
    has drifted. The limit for the KS distance follows from `max_psi` (see `ks_of_shift`). Raises `InputError` if
    `current` was not profiled with the bins of `reference`.
    """
    tests = max(1, sum(_tests(column) for column in reference.columns))
    return DriftReport(
        features=tuple(_compared(column, current.column(column.name), max_psi, tests) for column in reference.columns),
        rows_ref=reference.rows,
        rows_cur=current.rows,
        max_psi=max_psi,
    )


def _tests(column: ColumnProfile) -> int:
    # Missing values; with them PSI and KS of a number, or PSI and new categories of a category.
    return 1 if column.numeric is None and column.categories is None else 3


def _compared(reference: ColumnProfile, current: ColumnProfile | None, max_psi: float, tests: int) -> FeatureDrift:
    if current is None:
        return FeatureDrift(name=reference.name, drifted=True, reason="the column is gone", null_share_cur=1.0)
    natures = [(c.numeric is None, c.categories is None) for c in (reference, current)]
    if natures[0] != natures[1]:
        reason = f"its type changed from {reference.dtype} to {current.dtype}"
        return FeatureDrift(name=reference.name, drifted=True, reason=reason, p_value=0.0)
    shares, missing = _missing(reference, current)
    base = FeatureDrift(
        name=reference.name, drifted=False, reason="", null_share_ref=shares[0], null_share_cur=shares[1]
    )
    if reference.numeric is not None and current.numeric is not None:
        described, found = _numeric(base, reference.numeric, current.numeric, max_psi)
    elif reference.categories is not None and current.categories is not None:
        described, found = _categorical(base, reference.categories, current.categories, max_psi)
    else:
        described, found = base, []
    return _judged(described, [*missing, *found], tests, min(reference.rows, current.rows))


def _judged(feature: FeatureDrift, found: list[_Finding], tests: int, fewest: int) -> FeatureDrift:
    adjusted = [min(1.0, finding.tail * tests) for finding in found]
    proven = [finding.says for finding, p in zip(found, adjusted, strict=True) if p <= ALPHA]
    if proven:
        reason = "; ".join(proven)
    elif fewest == 0:
        reason = "no rows to compare"
    elif found:
        reason = f"within chance for {fewest} rows: {'; '.join(finding.says for finding in found)}"
    else:
        reason = "no change that matters"
    return msgspec.structs.replace(feature, drifted=bool(proven), reason=reason, p_value=min(adjusted, default=1.0))


def _missing(reference: ColumnProfile, current: ColumnProfile) -> tuple[tuple[float, float], list[_Finding]]:
    sides = (reference, current)
    shares = tuple(side.missing / side.rows if side.rows else 0.0 for side in sides)
    if 0 in (reference.rows, current.rows) or abs(shares[1] - shares[0]) <= MISSING_CHANGE:
        return (shares[0], shares[1]), []
    pooled = sum(side.missing for side in sides) / sum(side.rows for side in sides)
    # Of all rows that lack a value, how many would the smaller side get by chance: draws without replacement.
    small = min(sides, key=lambda side: side.rows)
    tail = min(chernoff_tail(small.missing, small.rows, pooled), chernoff_tail(small.present, small.rows, 1 - pooled))
    return (shares[0], shares[1]), [_Finding(f"missing values {shares[0]:.1%} -> {shares[1]:.1%}", min(1.0, 2 * tail))]


def _numeric(
    base: FeatureDrift, reference: NumericProfile, current: NumericProfile, max_psi: float
) -> tuple[FeatureDrift, list[_Finding]]:
    fine = [np.array(side.counts, dtype=np.int64) for side in (reference, current)]
    if reference.edges != current.edges:
        raise InputError(
            f"drift: column {base.name!r} was profiled with other bins than the reference",
            hint="profiled(table, columns, reference=reference)",
        )
    if min(side.sum() for side in fine) == 0:
        return base, []
    starts = _coarse(fine[0])
    counts = [np.add.reduceat(side, starts) for side in fine]
    distance, limit = ks(*fine), ks_of_shift(max_psi)
    rows = (int(fine[0].sum()), int(fine[1].sum()))
    found = _index_findings(counts[0], counts[1], max_psi)
    if distance > limit:
        found.append(_Finding(f"KS {distance:.2f} > {limit:.2f}", kolmogorov_tail(distance, *rows)))
    ends = [*(int(start) - 1 for start in starts[1:]), len(reference.edges)]
    described = msgspec.structs.replace(
        base, **_indexed(counts[0], counts[1], _labels(reference.edges, ends)), ks=distance
    )
    return described, found


def _coarse(counts: Counts) -> Counts:
    """Where each of about `BINS` bins starts among the fine ones; one that is large by itself stays by itself."""
    target = counts.sum() / BINS
    starts, held = [0], 0
    for i, count in enumerate(counts):
        if held > 0 and (held >= target or count >= target):
            starts.append(i)
            held = 0
        held += int(count)
    if len(starts) > 1:
        # A small rest joins its neighbour, unless that is a single large value; beyond the reference's last row always.
        rest, neighbour = counts[starts[-1] :], counts[starts[-2] : starts[-1]]
        if rest.sum() < target / 2 and (rest.sum() == 0 or neighbour.max() < target):
            starts.pop()
    return np.array(starts, dtype=np.int64)


def _labels(edges: tuple[float, ...], ends: list[int]) -> list[str]:
    bounds = [f"{edges[end]:.4g}" if end < len(edges) else "" for end in ends]
    labels = []
    for i, upper in enumerate(bounds):
        lower = bounds[i - 1] if i else ""
        labels.append(f"<= {upper}" if not lower and upper else f"({lower}, {upper}]" if upper else f"> {lower}")
    return labels if len(labels) > 1 else ["all"]


def _categorical(
    base: FeatureDrift, reference: CategoryProfile, current: CategoryProfile, max_psi: float
) -> tuple[FeatureDrift, list[_Finding]]:
    rows = [sum(count for _, count in side.counts) + side.rest_rows for side in (reference, current)]
    if min(rows) == 0:
        return base, []
    known, seen = dict(reference.counts), dict(current.counts)
    named = [name for name, count in reference.counts[:NAMED_CATEGORIES] if count >= NAMED_FROM]
    counts = [np.array([side.get(name, 0) for name in named], dtype=np.int64) for side in (known, seen)]
    counts = [np.append(side, total - side.sum()) for side, total in zip(counts, rows, strict=True)]
    found = _index_findings(counts[0], counts[1], max_psi)
    fresh = {name: count for name, count in seen.items() if name not in known} if reference.rest_rows == 0 else {}
    share = sum(fresh.values()) / rows[1]
    if share > NEW_SHARE:
        found.append(
            _Finding(f"{share:.1%} of rows in {len(fresh)} new categories", _unseen_tail(share, reference, rows))
        )
    described = msgspec.structs.replace(
        base,
        **_indexed(counts[0], counts[1], [*named, OTHER]),
        new_categories=tuple(list(fresh)[:SHOWN_NEW]),
        new_share=share,
    )
    return described, found


def _unseen_tail(share: float, reference: CategoryProfile, rows: list[int]) -> float:
    """The chance that so large a share of rows falls into categories that the reference happened not to see."""
    # Good and Turing's estimate of the unseen categories' share, two standard errors up; and as many rows as a
    # comparison with a known share would need for the same certainty, since this one is estimated from the reference.
    unseen = min(1.0, (reference.singletons + 1 + 2 * math.sqrt(reference.singletons + 1)) / rows[0])
    effective = rows[0] * rows[1] // (rows[0] + rows[1])
    return chernoff_tail(math.floor(share * effective), effective, unseen)


def _indexed(reference: Counts, current: Counts, labels: list[str]) -> dict[str, object]:
    shares = [side / side.sum() for side in (reference, current)]
    return {
        "psi": psi(reference, current),
        "psi_noise": psi_noise(len(reference), int(reference.sum()), int(current.sum())),
        "bins": tuple(Bin(label, float(r), float(c)) for label, r, c in zip(labels, *shares, strict=True)),
    }


def _index_findings(reference: Counts, current: Counts, max_psi: float) -> list[_Finding]:
    index = psi(reference, current)
    beyond = index - psi_noise(len(reference), int(reference.sum()), int(current.sum()))
    if beyond <= max_psi:
        return []
    return [_Finding(f"PSI {index:.2f} > {max_psi:g}", homogeneity_tail(reference, current))]
