"""What a model is: what it was trained on, by which rules, and what identifies it.

Invariant: a model's id is known before it is trained, and follows from everything that determines it: the training set,
the definition, the split. So training again is recognised as the same thing, however often and by whomever it is done.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from feature_assets.clock import to_us, utc
from feature_assets.definition.model import Model
from feature_assets.errors import InputError, RetrainingError
from feature_assets.quality.profile import Profile
from feature_assets.retraining.inputs import ModelInput

FORMAT = 1
OBJECTIVE = "binary"
SEED = 20_260_101
PATIENCE = 30
"""Rounds without progress on the validation rows after which training stops, unless the definition says otherwise."""

THREADS = 1
"""Measured, 200,000 rows on two cores in use: one thread takes 3 s, two that spin for each other 50 s."""

FIXED: Mapping[str, Any] = {
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": THREADS,
    "verbosity": -1,
}
"""What makes training repeatable on every machine; a definition cannot change it."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A training set as its loader made it: all rows, the id of its manifest, and what the manifest pins.

    `versions` and `commit_seq`: for each view, which version at which state. `until`: the instant of training, from
    which the model's split is counted back; it belongs to the training set, so that a repeated training splits alike.
    """

    table: pa.Table
    manifest_id: str
    versions: Mapping[str, str]
    commit_seq: Mapping[str, int]
    until: datetime

    def __post_init__(self) -> None:
        utc(self.until, f"training set {self.manifest_id!r}: until")
        if set(self.versions) != set(self.commit_seq):
            unpinned = sorted(set(self.versions) ^ set(self.commit_seq))
            raise InputError(
                f"training set {self.manifest_id!r}: view {unpinned[0]!r} is not pinned by version and commit",
                hint="take both from the training set's manifest",
            )


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of a model to use, judge or repeat it. `checksum` is the SHA-256 of its text.

    No row at or after `seen_until` was used to train or to validate it. `baseline` is the profile of the rows that it
    was trained on. `iterations` are the rounds it has, at most `rounds`.
    """

    id: str
    name: str
    created_at: datetime
    training_set: str
    service: str
    service_version: str
    versions: dict[str, str]
    commit_seq: dict[str, int]
    label: str
    inputs: tuple[ModelInput, ...]
    trained_from: datetime
    trained_until: datetime
    seen_until: datetime
    parameters: dict[str, Any]
    rounds: int
    iterations: int
    metrics: dict[str, float]
    libraries: dict[str, str]
    baseline: Profile
    checksum: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that was trained and is not yet kept."""

    manifest: ModelManifest
    text: str


def model_id(model: Model, data: TrainingData) -> str:
    """What identifies the outcome of training `model` on `data`: 16 hex digits."""
    determined_by = [
        FORMAT,
        model.name,
        data.manifest_id,
        sorted(data.versions.items()),
        sorted(data.commit_seq.items()),
        [to_us(at) for at in (*model.split.at(data.until), data.until)],
        sorted((name, repr(value)) for name, value in parameters_of(model).items()),
        model.rounds,
        [(column.name, str(column.dtype)) for column in model.service.output_columns],
        sorted(model.categorical),
        [model.label.name, model.label.matured_at, model.timestamp],
    ]
    return hashlib.sha256(msgspec.json.encode(determined_by)).hexdigest()[:16]


def parameters_of(model: Model) -> dict[str, Any]:
    """LightGBM's parameters for `model`. Raises `RetrainingError` for one that is fixed, or for another objective."""
    fixed = sorted(set(model.parameters) & set(FIXED))
    if fixed:
        raise RetrainingError(
            f"model {model.name}: parameter {fixed[0]!r} cannot be changed",
            hint="it is fixed to make training repeatable",
        )
    objective = model.parameters.get("objective", OBJECTIVE)
    if objective != OBJECTIVE:
        raise RetrainingError(
            f"model {model.name}: objective {objective!r} is not supported", hint=f"use {OBJECTIVE!r}: two classes"
        )
    defaults = {"objective": OBJECTIVE, "seed": SEED, "early_stopping_round": PATIENCE}
    return {**defaults, **model.parameters, **FIXED}


def checksum(text: bytes) -> str:
    """The SHA-256 of a model's text, in hex."""
    return hashlib.sha256(text).hexdigest()
