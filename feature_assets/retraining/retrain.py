"""Retraining: decide, train, keep, compare, promote or refuse.

Invariant: every step is recorded before the next one builds on it, and is recognised when it is met again. So a
retraining that was killed anywhere is finished by running it again with the same training set, with the same outcome,
and until the last step the old champion is the champion.
It gathers no evidence and builds no training set.
"""

from dataclasses import dataclass
from datetime import timedelta

import msgspec
import numpy as np

from feature_assets.clock import Clock, duration_us, to_us
from feature_assets.crash import crash_point
from feature_assets.definition.model import Model
from feature_assets.errors import RetrainingError
from feature_assets.offline.lake import Lake
from feature_assets.retraining.decisions import Decision, DecisionRow, Decisions, Kind
from feature_assets.retraining.gate import Evidence, decide_promotion, decide_retrain
from feature_assets.retraining.manifest import TrainingData, model_id
from feature_assets.retraining.metrics import Comparison, paired_bootstrap
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.trainer import between, instants, labels_of, train

_DAY = duration_us(timedelta(days=1))
SEED = 20_260_102
"""Of the bootstrap that compares challenger and champion."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. `model_id` is the trained model, `champion` the one in use now; None where there is none."""

    retrain: Decision
    model_id: str | None
    promotion: Decision | None
    champion: str | None
    comparison: Comparison | None


def retrain(
    model: Model, data: TrainingData, *, evidence: Evidence, lake: Lake, clock: Clock, force: bool = False
) -> Outcome:
    """Take `model` from its training set to a decision, and to a new champion if it is surely better.

    Idempotent per model and training set. `evidence`: what `evidence_for` found for it; `force`: somebody asks for it.
    Raises `RetrainingError` if the model cannot be trained, or if the champion changed in the meantime.
    """
    log, registry, candidate = Decisions(lake), ModelRegistry(lake, model.name), model_id(model, data)
    if evidence.champion == candidate:
        return _finished(log, model, candidate)
    steps = _Steps(model, data, evidence, candidate, log, clock)
    decided = decide_retrain(model, evidence, clock.now(), force=force)
    steps.record(Kind.RETRAIN, decided)
    if not decided.go:
        return Outcome(decided, None, None, evidence.champion, None)
    if not registry.has(candidate):
        trained = train(model, data, clock=clock)
        crash_point("retrain.after_train")
        registry.save(trained)
    crash_point("retrain.after_model")
    comparison = compared(model, data, registry, candidate, evidence.champion)
    promotion = decide_promotion(model, evidence, comparison)
    found = None if isinstance(comparison, str) else comparison
    row = steps.record(Kind.PROMOTION, promotion, found)
    crash_point("retrain.after_decision")
    if promotion.go:
        log.promote(msgspec.structs.replace(row, kind=Kind.CHAMPION, decided_at=clock.now()))
        crash_point("retrain.after_promote")
    return Outcome(decided, candidate, promotion, log.champion(model.name), found)


def compared(
    model: Model, data: TrainingData, registry: ModelRegistry, candidate: str, champion: str | None
) -> Comparison | str:
    """The candidate against the champion, or against guessing, on rows that neither has seen; or why there is none."""
    challenger = registry.load(candidate)
    rival = registry.load(champion) if champion is not None else None
    start = to_us(challenger.manifest.seen_until)
    if rival is not None:
        start = max(start, to_us(rival.manifest.seen_until))
    rows = between(model, data.table, start, to_us(data.until))
    if rows.num_rows == 0:
        return "there are no rows that neither has seen"
    labels = labels_of(model, rows)
    days = instants(rows, model.timestamp) // _DAY
    try:
        scores = rival.predict(rows) if rival is not None else np.zeros(rows.num_rows)
    except RetrainingError as error:
        return f"the champion cannot be asked about this training set: {error.message}"
    try:
        return paired_bootstrap(labels, scores, challenger.predict(rows), blocks=days, seed=SEED)
    except RetrainingError as error:
        return error.message


@dataclass(frozen=True, slots=True)
class _Steps:
    """Records decisions on one candidate, each once."""

    model: Model
    data: TrainingData
    evidence: Evidence
    candidate: str
    log: Decisions
    clock: Clock

    def record(self, kind: Kind, decision: Decision, comparison: Comparison | None = None) -> DecisionRow:
        """Record what was decided, unless the same was decided on the same evidence last; returns the row."""
        row = DecisionRow(
            model=self.model.name,
            kind=kind,
            candidate=self.candidate,
            champion=self.evidence.champion,
            training_set=self.data.manifest_id,
            go=decision.go,
            complete=decision.complete,
            reasons=decision.reasons,
            evidence=msgspec.json.encode(self.evidence).decode(),
            comparison="" if comparison is None else msgspec.json.encode(comparison).decode(),
            decided_at=self.clock.now(),
        )
        last = self.log.last(self.model.name, kind, self.candidate)
        if last is not None and msgspec.structs.replace(last, decided_at=row.decided_at) == row:
            return last
        self.log.append(row)
        return row


def _finished(log: Decisions, model: Model, candidate: str) -> Outcome:
    """The outcome of a retraining whose candidate is the champion already."""
    asked = log.last(model.name, Kind.RETRAIN, candidate)
    promoted = log.last(model.name, Kind.PROMOTION, candidate)
    here = Decision(go=False, complete=True, reasons=("this training set's model is the champion already",))
    comparison = None
    if promoted is not None and promoted.comparison:
        comparison = msgspec.json.decode(promoted.comparison, type=Comparison)
    return Outcome(
        retrain=asked.decision if asked is not None else here,
        model_id=candidate,
        promotion=promoted.decision if promoted is not None else None,
        champion=candidate,
        comparison=comparison,
    )
