"""Training: from a table of features and labels to a LightGBM model in its native text form.

Invariant: the same rows, definition and library versions give the same model, byte for byte. A row takes part only if
its outcome was known when its part ended: what is learned could have been learned then.
It builds no training set and decides nothing: rows come from the caller, promotion is the gate's.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import OPEN, Clock, to_us
from feature_assets.definition.model import Model
from feature_assets.definition.version import service_version
from feature_assets.errors import NaiveTimestampError, RetrainingError
from feature_assets.quality.profile import profiled
from feature_assets.retraining.inputs import ModelInput, inputs_of, matrix
from feature_assets.retraining.manifest import (
    THREADS,
    ModelManifest,
    Trained,
    TrainingData,
    checksum,
    model_id,
    parameters_of,
)
from feature_assets.retraining.metrics import auc

Floats = npt.NDArray[np.float64]

_LIBRARIES = ("lightgbm", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one part of the split, as numbers."""

    rows: pa.Table
    features: Floats
    labels: Floats


def train(model: Model, data: TrainingData, *, clock: Clock) -> Trained:
    """Train on the rows that the model's split, counted back from `data.until`, gives to training; stop by validation.

    Raises `RetrainingError` if a part has no rows or only one class, a label is missing or not 0 or 1, or an input
    cannot be learned from.
    """
    trained_from, trained_until, seen_until = model.split.at(data.until)
    rows = {
        "training": between(model, data.table, to_us(trained_from), to_us(trained_until)),
        "validation": between(model, data.table, to_us(trained_until), to_us(seen_until)),
    }
    empty = [part for part, table in rows.items() if table.num_rows == 0]
    if empty:
        raise RetrainingError(
            f"model {model.name}: the {empty[0]} part of training set {data.manifest_id!r} has no rows (trained from "
            f"{trained_from.isoformat()} to {trained_until.isoformat()}, validated to {seen_until.isoformat()})",
            hint="change the model's split, or take a longer spine",
        )
    inputs = inputs_of(model, rows["training"])
    learn, check = (_part(model, table, inputs) for table in rows.values())
    text, iterations, scores = _boosted(model, inputs, learn, check)
    return Trained(
        manifest=ModelManifest(
            id=model_id(model, data),
            name=model.name,
            created_at=clock.now(),
            training_set=data.manifest_id,
            service=model.service.name,
            service_version=service_version(model.service),
            versions=dict(data.versions),
            commit_seq=dict(data.commit_seq),
            label=model.label.name,
            inputs=inputs,
            trained_from=trained_from,
            trained_until=trained_until,
            seen_until=seen_until,
            parameters=parameters_of(model),
            rounds=model.rounds,
            iterations=iterations,
            metrics={
                "auc_train": auc(learn.labels, scores[0]),
                "auc_valid": auc(check.labels, scores[1]),
                "rows_train": float(learn.rows.num_rows),
                "rows_valid": float(check.rows.num_rows),
            },
            libraries={**{name: version(name) for name in _LIBRARIES}, "python": platform.python_version()},
            baseline=profiled(learn.rows, [one.name for one in inputs]),
            checksum=checksum(text.encode()),
        ),
        text=text,
    )


def between(model: Model, table: pa.Table, start: int, end: int) -> pa.Table:
    """The rows asked for in [start, end), in microseconds, whose outcome was known by `end`."""
    at, known = instants(table, model.timestamp), instants(table, model.label.matured_at)
    return table.filter(pa.array((at >= start) & (at < end) & (known <= end)))


def labels_of(model: Model, table: pa.Table) -> Floats:
    """The labels of `table` as 0.0 and 1.0. Raises `RetrainingError` if one is missing or is something else."""
    name, where = model.label.name, f"model {model.name}"
    if name not in table.column_names:
        raise RetrainingError(f"{where}: the training set has no label column {name!r}", hint="give it in the spine")
    column = table[name]
    if column.null_count:
        raise RetrainingError(
            f"{where}: {column.null_count} of {len(column)} rows have no label {name!r}",
            hint="leave rows without an outcome out of the spine",
        )
    column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    values = np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    if not np.isin(values, (0.0, 1.0)).all():
        raise RetrainingError(f"{where}: label {name!r} holds other values than 0 and 1", hint="say what is positive")
    return values


def instants(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of instants in microseconds since the epoch; null is `OPEN`. Raises for what is no instant, or naive."""
    if name not in table.column_names:
        raise RetrainingError(f"the training set has no column {name!r}", hint="give it in the spine")
    column = table[name]
    if not pa.types.is_timestamp(column.type):
        raise RetrainingError(f"training set: column {name!r} holds {column.type}, not instants")
    if column.type.tz is None:
        raise NaiveTimestampError(name, "training set")
    whole = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    return np.asarray(pc.fill_null(whole, OPEN).to_numpy(), dtype=np.int64)


def _part(model: Model, table: pa.Table, inputs: tuple[ModelInput, ...]) -> _Part:
    return _Part(rows=table, features=matrix(table, inputs, f"model {model.name}"), labels=labels_of(model, table))


def _boosted(
    model: Model, inputs: tuple[ModelInput, ...], learn: _Part, check: _Part
) -> tuple[str, int, tuple[Floats, Floats]]:
    """The model's text, how many rounds it has, and its scores of both parts."""
    import lightgbm

    parameters = parameters_of(model)
    training = lightgbm.Dataset(
        learn.features,
        learn.labels,
        feature_name=[one.name for one in inputs],
        categorical_feature=[one.name for one in inputs if one.categories is not None],
        params=parameters,
    )
    validation = lightgbm.Dataset(check.features, check.labels, reference=training, params=parameters)
    try:
        booster = lightgbm.train(parameters, training, num_boost_round=model.rounds, valid_sets=[validation])
    except lightgbm.basic.LightGBMError as error:
        raise RetrainingError(f"model {model.name}: training failed: {error}", hint="see its parameters") from error
    text = booster.model_to_string()
    # Scored as it will be: by the model that is read back, not by the one in memory with its later rounds.
    kept = lightgbm.Booster(model_str=text)
    scores = [np.asarray(kept.predict(part.features, num_threads=THREADS), dtype=np.float64) for part in (learn, check)]
    return text, kept.current_iteration(), (scores[0], scores[1])
