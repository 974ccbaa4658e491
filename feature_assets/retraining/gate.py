"""The gate: whether to train again, and whether what was trained may replace what is in use.

Invariant: evidence against is a refusal, and evidence that is missing is never evidence for: without it training goes
on, promotion does not. A decision follows from its evidence and the time alone, and says why in words.
It collects, judges and explains; it trains and promotes nothing.
"""

from datetime import datetime

import msgspec

from feature_assets.definition.model import Model
from feature_assets.offline.lake import Lake
from feature_assets.offline.verdicts import Verdicts
from feature_assets.quality.checked import ViewVerdicts, verdicts_at
from feature_assets.quality.consistency import ConsistencyHistory, ConsistencyRecord
from feature_assets.quality.history import DriftHistory
from feature_assets.retraining.decisions import Decision
from feature_assets.retraining.manifest import TrainingData
from feature_assets.retraining.metrics import Comparison
from feature_assets.retraining.registry import ModelRegistry


class DriftEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Which of the features that the model uses had drifted when a view was last compared with its baseline."""

    view: str
    version: str
    checked_at: datetime
    drifted: tuple[str, ...]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate looks at. What is not there is missing, and named by `missing`.

    `drift` holds only comparisons made since the champion was trained: an older one says nothing about it.
    """

    views: tuple[str, ...]
    online: tuple[str, ...]
    drift: tuple[DriftEvidence, ...] = ()
    verdicts: tuple[ViewVerdicts, ...] = ()
    consistency: tuple[ConsistencyRecord, ...] = ()
    champion: str | None = None
    champion_since: datetime | None = None

    @property
    def against(self) -> tuple[str, ...]:
        """What speaks against using the data behind this training set."""
        reasons = [
            f"view {one.view} (version {one.version}): expectations failed for {_days(one.failed)}"
            for one in self.verdicts
            if one.failed
        ]
        reasons += [
            f"view {one.view} (version {one.version}) on {one.target}: the online copy differs from Delta "
            f"({one.sampled} sampled, {one.mismatches} differ, {one.missing} missing)"
            for one in self.consistency
            if not one.passed
        ]
        return tuple(reasons)

    @property
    def missing(self) -> tuple[str, ...]:
        """Which evidence there is none of."""
        judged = {one.view for one in self.verdicts}
        consistent = {one.view for one in self.consistency}
        reasons = [f"view {view}: no verdicts" for view in self.views if view not in judged]
        reasons += [
            f"view {one.view} (version {one.version}): no verdict for {_days(one.missing)}"
            for one in self.verdicts
            if one.missing
        ]
        reasons += [
            f"view {view}: never read back from the online store" for view in self.online if view not in consistent
        ]
        return tuple(reasons)


def evidence_for(model: Model, data: TrainingData, *, lake: Lake, verdicts: Verdicts, target: str) -> Evidence:
    """All there is in the lake about the versions in the training set, and about the champion.

    `target`: the online store whose consistency counts.
    """
    registry = ModelRegistry(lake, model.name)
    champion = registry.champion()
    since = registry.manifest(champion).created_at if champion is not None else None
    views = {view.name: view for view in model.service.views}
    consistency = ConsistencyHistory(lake)
    read_back = [
        consistency.latest(name, data.versions[name], target)
        for name, view in views.items()
        if view.online and name in data.versions
    ]
    return Evidence(
        views=tuple(views),
        online=tuple(name for name, view in views.items() if view.online),
        drift=tuple(one for name in views if (one := _drift(model, name, lake, since)) is not None),
        verdicts=tuple(
            verdicts_at(view, data.versions[name], data.commit_seq[name], lake=lake, verdicts=verdicts)
            for name, view in views.items()
            if name in data.versions
        ),
        consistency=tuple(one for one in read_back if one is not None),
        champion=champion,
        champion_since=since,
    )


def decide_retrain(model: Model, evidence: Evidence, now: datetime, *, force: bool = False) -> Decision:
    """Go ahead iff something asks for a new model and nothing speaks against the data it would be trained on.

    `force`: somebody asks for it. It is a reason to train, and overrules no evidence.
    """
    asks = _asks(model, evidence, now, force=force)
    against, missing = evidence.against, evidence.missing
    go = bool(asks) and not against
    quiet = () if asks else (f"nothing asks for it: {_calm(model, evidence, now)}",)
    held = tuple(f"missing, so nothing will be promoted: {reason}" for reason in missing)
    return Decision(go=go, complete=not missing, reasons=(*asks, *quiet, *(f"against: {a}" for a in against), *held))


def decide_promotion(model: Model, evidence: Evidence, comparison: Comparison | str) -> Decision:
    """Promote iff the evidence is complete, nothing speaks against, and the challenger is surely better by the margin.

    `comparison`: on rows that neither model has seen, or why there is none.
    """
    refusals = [f"against: {reason}" for reason in evidence.against]
    refusals += [f"missing: {reason}" for reason in evidence.missing]
    margin = model.gate.margin
    if isinstance(comparison, str):
        refusals.append(f"not compared: {comparison}")
        return Decision(go=False, complete=not evidence.missing, reasons=tuple(refusals))
    rival = "the champion's" if evidence.champion is not None else "guessing's (there is no champion)"
    aucs = f"AUC {comparison.challenger_auc:.4f} against {rival} {comparison.champion_auc:.4f}"
    bound = f"at least {comparison.lower:+.4f} with {comparison.confidence:.0%} confidence (margin {margin:g})"
    rows = f"{comparison.rows:,} rows that neither has seen"
    measured = f"{aucs} on {rows}: better by {comparison.difference:+.4f}, {bound}"
    if comparison.lower <= margin:
        refusals.append("not surely better")
    return Decision(go=not refusals, complete=not evidence.missing, reasons=(measured, *refusals))


def _drift(model: Model, view: str, lake: Lake, since: datetime | None) -> DriftEvidence | None:
    latest = DriftHistory(lake, view).latest()
    if latest is None or (since is not None and latest.checked_at < since):
        return None
    refs = [ref for ref in model.service.refs if ref.view.name == view]
    used = {feature.name for ref in refs for feature in ref.selected}
    drifted = tuple(feature.name for feature in latest.report.drifted if feature.name in used)
    return DriftEvidence(view=view, version=latest.version, checked_at=latest.checked_at, drifted=drifted)


def _asks(model: Model, evidence: Evidence, now: datetime, *, force: bool) -> tuple[str, ...]:
    reasons = ["it was asked for"] if force else []
    if evidence.champion is None:
        return (*reasons, "there is no champion")
    age = model.gate.max_age
    if age is not None and evidence.champion_since is not None and now - evidence.champion_since > age:
        reasons.append(f"the champion is {(now - evidence.champion_since).days} days old, more than {age.days}")
    drifted = _drifted(evidence)
    if len(drifted) >= model.gate.min_drifted_features:
        reasons.append(f"drift: {', '.join(drifted)}")
    return tuple(reasons)


def _calm(model: Model, evidence: Evidence, now: datetime) -> str:
    parts = [f"{len(_drifted(evidence))} drifted features, {model.gate.min_drifted_features} would matter"]
    unchecked = sorted(set(evidence.views) - {one.view for one in evidence.drift})
    if unchecked:
        parts.append(f"drift not looked at since: {', '.join(unchecked)}")
    if evidence.champion_since is not None:
        limit = f" of {model.gate.max_age.days}" if model.gate.max_age is not None else ""
        parts.append(f"the champion is {(now - evidence.champion_since).days}{limit} days old")
    return "; ".join(parts)


def _drifted(evidence: Evidence) -> list[str]:
    return [f"{one.view}.{name}" for one in evidence.drift for name in one.drifted]


def _days(days: tuple[str, ...]) -> str:
    shown = ", ".join(days[:3])
    return f"{shown} and {len(days) - 3} more" if len(days) > 3 else shown  # noqa: PLR2004
