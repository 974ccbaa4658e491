"""The model side of a feature store: from its training set through drift and the gate to a champion.

Invariant: each step finds what the one before it left in the lake, so any of them can run in another process, at
another time, or again. The rules are in `training`, `quality` and `retraining`; this only says which data they are
applied to.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import pyarrow as pa

from feature_assets.definition.model import Model
from feature_assets.definition.version import service_version
from feature_assets.definition.view import FeatureView
from feature_assets.errors import RetrainingError
from feature_assets.offline.verdicts import settled_head
from feature_assets.quality.baseline import check_drift
from feature_assets.quality.history import DriftRecord, Window
from feature_assets.retraining.decisions import Decision, Decisions, Kind
from feature_assets.retraining.freshness import Freshness, baseline, served_trial, trials
from feature_assets.retraining.gate import decide_retrain, evidence_for
from feature_assets.retraining.manifest import TrainingData
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.retrain import Outcome, retrain
from feature_assets.store import FeatureStore
from feature_assets.training.answer import AVAILABILITY
from feature_assets.training.leakage import LeakageReport
from feature_assets.training.loader import Progress, TrainingSet
from feature_assets.training.manifest import Manifest
from feature_assets.training.modes import AsOfEvent, AsServed, Mode, WhatIf, mode_text
from feature_assets.training.rebuild import in_mode
from feature_assets.training.stored import FOLDER, MANIFEST, stored_manifest, stored_table

LEAKAGE = "leakage.json"
LEAKAGE_PAGE = "leakage.html"
"""The leakage report, for programs and for people, beside the training set that it is about."""

CURRENT_DAYS = 7
"""How much of the newest data is compared with the baseline: a whole week, so that weekdays weigh the same."""


def model_training_set(
    store: FeatureStore, model: Model, *, mode: str | Mode = "as_served", progress: Progress | None = None
) -> TrainingSet:
    """The training set of `model` as of the clock's now: all of the split's history whose outcome is known."""
    now = store.clock.now()
    start, _, _ = model.split.at(now)
    return store.training_set(
        model.spine(start, now),
        service=model.service.name,
        timestamp=model.timestamp,
        mode=mode,
        label=model.label,
        immature="drop",
        name=model.name,
        progress=progress,
    )


def leakage(store: FeatureStore, built: TrainingSet) -> LeakageReport:
    """How far `built` differs from a join on event time alone; kept beside the training set, if that has a name."""
    name, id_ = built.manifest.name, built.manifest.id
    kept = _kept_report(store, name, id_) if name is not None else None
    if kept is not None:
        return kept
    report = store.leakage_report(built)
    if name is not None:
        # The page first: where there are figures, there is a page.
        store.lake.write_bytes(report.to_html().encode(), FOLDER, name, id_, LEAKAGE_PAGE)
        store.lake.write_bytes(msgspec.json.encode(report), FOLDER, name, id_, LEAKAGE)
    return report


def _kept_report(store: FeatureStore, name: str, id_: str) -> LeakageReport | None:
    """The report that was made with the training set; None if there is none, or other code wrote other figures."""
    data = store.lake.read_bytes(FOLDER, name, id_, LEAKAGE)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=LeakageReport)
    except msgspec.ValidationError:
        return None


def by_event_time(store: FeatureStore, model: Model, table: pa.Table) -> TrainingSet:
    """The same rows as a training set's `table`, joined on event time alone: for comparison, it leaks."""
    columns = model.spine(_NEVER, _NEVER).column_names
    return store.training_set(
        table.select(columns), service=model.service.name, timestamp=model.timestamp, mode="as_of_event"
    )


def newest_training_set(store: FeatureStore, model: Model) -> tuple[Manifest, TrainingData]:
    """The training set that was made last of `model` as the code has it now, as served on the store.

    One that was killed before it had its manifest is none. Raises `RetrainingError` if there is none.
    """
    kept = [
        stored_manifest(store.lake, model.name, name)
        for name in store.lake.names(FOLDER, model.name)
        if store.lake.read_bytes(FOLDER, model.name, name, MANIFEST) is not None
    ]
    if not kept:
        raise RetrainingError(
            f"model {model.name}: no training set was made yet", hint="materialize training_sets first"
        )
    wanted = (model.service.name, service_version(model.service), model.timestamp, store.target, AsServed())
    fitting = [one for one in kept if (one.service, one.service_version, one.timestamp, one.target, one.mode) == wanted]
    if not fitting:
        raise RetrainingError(
            f"model {model.name}: none of its {len(kept)} training sets is of service {model.service.name!r} as the "
            f"code has it now (version {wanted[1]}), as served on {store.target}",
            hint="materialize training_sets again: a model trained on what other code computed is not what is served",
        )
    manifest = max(fitting, key=lambda one: one.created_at)
    data = TrainingData(
        table=stored_table(store.lake, manifest),
        manifest_id=manifest.id,
        versions=manifest.versions,
        commit_seq=manifest.commit_seq,
        until=manifest.created_at,
    )
    return manifest, data


def retrain_model(store: FeatureStore, model: Model, *, force: bool = False) -> Outcome:
    """Ask the gate about the newest training set; train, compare and promote if it agrees. Idempotent."""
    _, data = newest_training_set(store, model)
    evidence = evidence_for(model, data, lake=store.lake, verdicts=store.verdicts, target=store.target)
    return retrain(model, data, evidence=evidence, lake=store.lake, clock=store.clock, force=force)


def freshness(
    store: FeatureStore, model: Model, schedules: Sequence[WhatIf], *, progress: Progress | None = None
) -> Freshness:
    """What features on other schedules would be worth to `model`, beside what was served and a join on event time.

    The rows are those of the newest training set, joined again from its pins; nothing is kept. Raises `RetrainingError`
    if there is no training set, or it cannot be trained on.
    """
    manifest, data = newest_training_set(store, model)
    modes: list[Mode] = list(dict.fromkeys([AsOfEvent(), *schedules]))
    tell = progress or (lambda _what, _done, _total: None)
    steps = 2 * len(modes) + 1
    tell("training as served", 0, steps)
    base = baseline(model, data, {pin.view: pin.ttl for pin in manifest.views}, clock=store.clock)
    found = [served_trial(model, base)]
    for done, mode in enumerate(modes):
        name = mode_text(mode)
        tell(f"joining {name}", 2 * done + 1, steps)
        table = in_mode(
            TrainingSet(data.table, manifest),
            mode,
            project=store.project,
            lake=store.lake,
            ledger=store.ledger,
            verdicts=store.verdicts,
            memory_limit=store.memory_limit,
        )
        tell(f"training {name}", 2 * done + 2, steps)
        in_its_mode, as_served = trials(model, base, mode, table, clock=store.clock)
        # Nobody would train on a schedule and serve by another; by event time everybody does who ignores availability.
        found += [in_its_mode, as_served] if isinstance(mode, AsOfEvent) else [in_its_mode]
    tell("done", steps, steps)
    _, _, first = model.split.at(data.until)
    origins = base.rows.column(AVAILABILITY).combine_chunks().value_counts().to_pylist()
    return Freshness(
        model=model.name,
        training_set=manifest.id,
        rows=base.rows.num_rows,
        first=first,
        last=data.until,
        availability={str(one["values"] or "nothing found"): one["counts"] for one in origins},
        trials=tuple(found),
    )


def gate_answer(store: FeatureStore, model: Model) -> Decision:
    """What the gate would say now about training on the newest training set. Nothing is recorded."""
    _, data = newest_training_set(store, model)
    evidence = evidence_for(model, data, lake=store.lake, verdicts=store.verdicts, target=store.target)
    return decide_retrain(model, evidence, store.clock.now())


def newest_decisions(store: FeatureStore, model: Model) -> dict[Kind, Decision]:
    """What was decided last on `model`: whether to train, and if a challenger was compared, whether to promote it."""
    rows = [row for row in Decisions(store.lake).rows(model.name) if row.kind is not Kind.CHAMPION]
    return {row.kind: row.decision for row in rows if row.candidate == rows[-1].candidate}


def view_drift(store: FeatureStore, view: FeatureView) -> DriftRecord | None:
    """The newest week of `view` against what the champion that reads it was trained on; None without a champion."""
    for model in store.project.models:
        if view.name not in {used.name for used in model.service.views}:
            continue
        registry = ModelRegistry(store.lake, model.name)
        champion = registry.champion()
        if champion is None:
            continue
        manifest = registry.manifest(champion)
        version = store.version(view)
        versions = store.view_table(view).partition_versions()
        head = settled_head(versions, store.verdicts.of(view.name, version))
        same = manifest.versions.get(view.name) == version
        baseline = Window(
            manifest.trained_from.date().isoformat(),
            (manifest.trained_until - timedelta(days=1)).date().isoformat(),
            manifest.commit_seq[view.name] if same else head,
        )
        if not head:
            raise RetrainingError(
                f"view {view.name!r} (version {version}) has no day with a verdict, so there is nothing to compare",
                hint=f"materialize it: feature-assets materialize {view.name} --from DAY",
            )
        newest = date.fromisoformat(max(versions["partition"].to_pylist()))
        current = Window((newest - timedelta(days=CURRENT_DAYS - 1)).isoformat(), newest.isoformat(), head)
        return check_drift(
            view,
            version,
            baseline=baseline,
            current=current,
            lake=store.lake,
            verdicts=store.verdicts,
            clock=store.clock,
            reference=champion,
            max_psi=model.gate.max_psi,
        )
    return None


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
