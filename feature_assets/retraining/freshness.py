"""What fresher features would be worth: the same model, trained and asked on values that were available otherwise.

Invariant: every trial is scored on the same rows, which no model was trained on or stopped by; and a model is asked in
the mode that it was trained in, except where a trial says that it is not. So a gain is one of freshness, not of
knowing the future: only joins on event time know that, and they are marked by their name.
Nothing here is kept or promoted, and nothing is looked up: who calls joins the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import Clock, duration_us, to_us
from feature_assets.definition.model import Model
from feature_assets.errors import RetrainingError
from feature_assets.retraining.manifest import TrainingData
from feature_assets.retraining.metrics import Comparison, auc, paired_bootstrap
from feature_assets.retraining.predictor import Predictor, load
from feature_assets.retraining.retrain import SEED
from feature_assets.retraining.trainer import between, instants, labels_of, train
from feature_assets.training.leakage_figures import feature_figures
from feature_assets.training.modes import AsServed, Mode, mode_text

Floats = npt.NDArray[np.float64]

_DAY = duration_us(timedelta(days=1))
SERVED = mode_text(AsServed())


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The model trained on rows joined in mode `trained`, given rows joined in mode `asked`.

    `gain`: its AUC less that of the model trained and asked as served, on the same rows, with bounds; None of that one
    itself. `differing`: the share of rows in which some feature is another than was served. `age`: how old the value of
    a typical feature typically is, the median of medians; None if no feature has an age.
    """

    trained: str
    asked: str
    auc: float
    gain: Comparison | None
    differing: float
    age: timedelta | None


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """The trials of a model, on `rows` asked for in [`first`, `last`); the one as served is the first."""

    model: str
    training_set: str
    rows: int
    first: datetime
    last: datetime
    availability: dict[str, int]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The model trained on what was served, and what it makes of the rows that are compared."""

    data: TrainingData
    predictor: Predictor
    rows: pa.Table
    labels: Floats
    scores: Floats
    ttl: Mapping[str, timedelta | None]


def baseline(model: Model, data: TrainingData, ttl: Mapping[str, timedelta | None], *, clock: Clock) -> Baseline:
    """Train on a training set as served. `ttl`: by view, as the training set was made with.

    Raises `RetrainingError` if the newest part of the split has no rows or one class only, or as `train` does.
    """
    predictor = _trained(model, data, clock)
    rows = _compared(model, data, data.table)
    if rows.num_rows == 0:
        raise RetrainingError(
            f"model {model.name}: the test part of training set {data.manifest_id!r} has no rows",
            hint="change the model's split, or take a longer spine",
        )
    return Baseline(data, predictor, rows, labels_of(model, rows), predictor.predict(rows), ttl)


def served_trial(model: Model, base: Baseline) -> Trial:
    """The trial that others are measured by."""
    return _trial(model, base, SERVED, SERVED, base.rows, base.scores)


def trials(model: Model, base: Baseline, mode: Mode, table: pa.Table, *, clock: Clock) -> tuple[Trial, ...]:
    """The model trained on `table`, the same rows joined in `mode`: asked in that mode; and then as served.

    The second says what a model is worth that learned from values which it is not given.
    """
    name = mode_text(mode)
    predictor = _trained(model, replace(base.data, table=table), clock)
    rows = _compared(model, base.data, table)
    return (
        _trial(model, base, name, name, rows, predictor.predict(rows)),
        _trial(model, base, name, SERVED, base.rows, predictor.predict(base.rows)),
    )


def _trained(model: Model, data: TrainingData, clock: Clock) -> Predictor:
    found = train(model, data, clock=clock)
    # As it would be used: read back from its text.
    return load(found.manifest, found.text.encode())


def _compared(model: Model, data: TrainingData, table: pa.Table) -> pa.Table:
    _, _, start = model.split.at(data.until)
    return between(model, table, to_us(start), to_us(data.until))


def _trial(model: Model, base: Baseline, trained: str, asked: str, rows: pa.Table, scores: Floats) -> Trial:
    at = instants(rows, model.timestamp)
    features, differing = feature_figures(model.service, [base.rows, rows], at, base.ttl)
    medians = sorted(found.percentiles[0] for feature in features if (found := feature.ages[1]) is not None)
    is_base = (trained, asked) == (SERVED, SERVED)
    return Trial(
        trained=trained,
        asked=asked,
        auc=auc(base.labels, scores),
        gain=None if is_base else paired_bootstrap(base.labels, base.scores, scores, blocks=at // _DAY, seed=SEED),
        differing=differing[1] / len(at),
        age=medians[len(medians) // 2] if medians else None,
    )
