"""The model side of a store: which training set a model is trained on, and what drift is measured against."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_assets.clock import ManualClock
from feature_assets.definition.model import Model
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature
from feature_assets.errors import RetrainingError
from feature_assets.modelling import newest_training_set, view_drift
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.opening import OnlineAccess
from feature_assets.retraining.gate import evidence_for
from feature_assets.retraining.retrain import retrain
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets.training.loader import TrainingSet
from feature_assets_tests.delays import SERVICE, SOURCE, TARGET, UNTIL, VIEW, data_of, model_of, rows_of, weather_of

DAY = date(2026, 1, 1)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store whose one view has one day, with a verdict."""
    lake = Lake(str(tmp_path))
    store = opened(lake, model_of(), ManualClock(UNTIL))
    done = feature_table(lake, VIEW).commit({DAY.isoformat(): weather_of(1, 50, DAY)}, source_seq={DAY.isoformat(): 1})
    verdict = Verdict(
        view=VIEW.name,
        version=view_version(VIEW),
        partition=DAY.isoformat(),
        commit_seq=done.seq or 0,
        passed=True,
        checked_at=UNTIL,
    )
    store.verdicts.record([verdict])
    return store


def opened(lake: Lake, model: Model, clock: ManualClock) -> FeatureStore:
    views = model.service.views
    project = Project("flights", sources=[SOURCE], views=views, services=[model.service], models=[model])
    access = OnlineAccess(load_settings(root=lake.root))
    return FeatureStore(project, lake, DeltaLedger(lake), Verdicts(lake), clock, 2**30, access)


def made(store: FeatureStore, model: Model, mode: str = "as_served") -> TrainingSet:
    """A training set of the model, kept."""
    spine = rows_of(1, 5, UNTIL - timedelta(days=9), UNTIL, 1.0).select(["airport", "asked_at", "known_at", "late"])
    built = store.training_set(spine, service=model.service.name, timestamp="asked_at", name=model.name, mode=mode)
    built.to_delta()
    return built


def test_a_training_set_that_was_killed_before_its_manifest_is_none(store: FeatureStore) -> None:
    model = model_of()
    killed = store.lake.uri("training_sets", model.name, "0" * 32)
    write_deltalake(killed, pa.table({"late": [True]}))
    with pytest.raises(RetrainingError, match="no training set was made yet"):
        newest_training_set(store, model)
    whole = made(store, model)
    manifest, data = newest_training_set(store, model)
    assert manifest == whole.manifest
    assert data.table.num_rows == 5


def test_of_several_the_newest_as_served_counts(store: FeatureStore) -> None:
    model, clock = model_of(), ManualClock(UNTIL)
    first = made(replace(store, clock=clock), model)
    clock.advance(timedelta(hours=1))
    second = made(replace(store, clock=clock), model)
    clock.advance(timedelta(hours=1))
    made(replace(store, clock=clock), model, mode="as_of_event")
    assert first.manifest.id != second.manifest.id
    assert newest_training_set(store, model)[0].id == second.manifest.id


def test_one_that_other_code_computed_is_not_trained_on(store: FeatureStore) -> None:
    made(store, model_of())
    changed = VIEW.features[0], Feature("sky", pa.string(), default="clear"), VIEW.features[2]
    view = type(VIEW)(VIEW.name, VIEW.entity, SOURCE, VIEW.transform, changed)
    assert view_version(view) == view_version(VIEW)
    old = model_of()
    model = Model(old.name, FeatureService(SERVICE.name, [view]), old.label, old.spine, old.timestamp, old.split)
    with pytest.raises(RetrainingError, match="as the code has it now"):
        newest_training_set(opened(store.lake, model, ManualClock(UNTIL)), model)


def test_drift_of_a_version_without_days_says_so(store: FeatureStore) -> None:
    model, clock = model_of(rounds=2), ManualClock(UNTIL)
    evidence = evidence_for(model, data_of(), lake=store.lake, verdicts=store.verdicts, target=TARGET)
    complete = type(evidence)(views=(), online=())
    assert retrain(model, data_of(), evidence=complete, lake=store.lake, clock=clock).champion is not None
    view = type(VIEW)(VIEW.name, VIEW.entity, SOURCE, VIEW.transform, VIEW.features, buckets=3)
    changed = Model(
        model.name, FeatureService(SERVICE.name, [view]), model.label, model.spine, model.timestamp, model.split
    )
    with pytest.raises(RetrainingError, match="no day with a verdict"):
        view_drift(opened(store.lake, changed, clock), view)
