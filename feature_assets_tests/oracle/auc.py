"""The area under the ROC curve, naively: every positive row against every negative one."""

from collections.abc import Sequence


def auc(labels: Sequence[float], scores: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The weighted share of pairs in which the positive row has the greater score; a tie is half a pair."""
    weighed = [1.0] * len(labels) if weights is None else list(weights)
    rows = list(zip(labels, scores, weighed, strict=True))
    won = total = 0.0
    for positive, score, weight in rows:
        for negative, other, other_weight in rows:
            if positive == 1 and negative == 0:
                total += weight * other_weight
                won += weight * other_weight * (1.0 if score > other else 0.5 if score == other else 0.0)
    return won / total
