"""How good scores are, and whether one model's are surely better than another's.

Invariant: the same labels, scores and seed give the same numbers, on every machine.
It knows nothing of models: labels and scores in, numbers out.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from feature_assets.errors import RetrainingError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MIN_BLOCKS = 10
"""With fewer blocks than this, their resampling says too little: rows are resampled instead."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger's area under the ROC curve against a champion's, on the same rows.

    `lower` and `upper` are one-sided bounds of `difference` at `confidence`, by a paired bootstrap over `units`.
    """

    difference: float
    lower: float
    upper: float
    confidence: float
    champion_auc: float
    challenger_auc: float
    rows: int
    units: int
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Scores sorted once, to be weighed many times."""

    order: Integers
    starts: Integers
    positive: Floats

    def auc(self, weights: Floats) -> float:
        """The area with each row counted `weights` times; NaN if only one class is left."""
        ordered = weights[self.order]
        positives = np.add.reduceat(ordered * self.positive, self.starts)
        negatives = np.add.reduceat(ordered, self.starts) - positives
        pairs = positives.sum() * negatives.sum()
        if pairs == 0:
            return float("nan")
        below = np.cumsum(negatives) - negatives
        return float(np.sum(positives * (below + negatives / 2)) / pairs)


def auc(labels: Floats, scores: Floats) -> float:
    """The chance that a positive row has a greater score than a negative one, ties counting half.

    `labels` are 0 or 1. Raises `RetrainingError` if there is no row of one class, or a score is NaN.
    """
    value = _ranked(labels, scores).auc(np.ones(len(labels)))
    if np.isnan(value):
        raise RetrainingError(
            f"the area under the ROC curve needs both classes, and {len(labels)} rows hold only one",
            hint="take a longer period",
        )
    return value


def paired_bootstrap(
    labels: Floats,
    champion_scores: Floats,
    challenger_scores: Floats,
    *,
    blocks: Integers | None = None,
    seed: int = 0,
    resamples: int = 1_000,
    confidence: float = 0.95,
) -> Comparison:
    """The difference of the two areas, bounded by resampling the same rows for both.

    `blocks`: which block (a day) each row belongs to. With at least `MIN_BLOCKS` of them, blocks are resampled whole,
    since rows of a day resemble one another and are worth less than as many independent ones. Raises as `auc` does.
    """
    champion, challenger = _ranked(labels, champion_scores), _ranked(labels, challenger_scores)
    champion_auc, challenger_auc = auc(labels, champion_scores), auc(labels, challenger_scores)
    unit = np.arange(len(labels))
    if blocks is not None:
        distinct, inverse = np.unique(blocks, return_inverse=True)
        unit = inverse.reshape(-1) if len(distinct) >= MIN_BLOCKS else unit
    units = int(unit.max()) + 1
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for i in range(resamples):
        drawn = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)[unit]
        differences[i] = challenger.auc(drawn) - champion.auc(drawn)
    # A resample without one of the classes has no area; it says nothing about the difference.
    known = differences[~np.isnan(differences)]
    if len(known) == 0:
        raise RetrainingError("no resample holds both classes", hint="take a longer period")
    return Comparison(
        difference=challenger_auc - champion_auc,
        lower=float(np.quantile(known, 1 - confidence)),
        upper=float(np.quantile(known, confidence)),
        confidence=confidence,
        champion_auc=champion_auc,
        challenger_auc=challenger_auc,
        rows=len(labels),
        units=units,
        resamples=resamples,
        seed=seed,
    )


def _ranked(labels: Floats, scores: Floats) -> _Ranked:
    if len(labels) == 0 or len(labels) != len(scores):
        raise RetrainingError(f"{len(labels)} labels and {len(scores)} scores cannot be compared")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise RetrainingError("labels must be 0 or 1")
    if np.isnan(scores).any():
        raise RetrainingError(f"{int(np.isnan(scores).sum())} scores are NaN")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return _Ranked(order=order, starts=starts, positive=labels[order].astype(np.float64))
