"""What fresher features are worth, where the answer is known; and the report that Dagster and the lake keep."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import dagster as dg
import msgspec
import pytest

from feature_assets.clock import ReplayClock, to_us
from feature_assets.errors import RetrainingError
from feature_assets.modelling import LEAKAGE, LEAKAGE_PAGE, freshness, leakage, newest_training_set
from feature_assets.orchestration.assets.keys import training_set_key
from feature_assets.orchestration.jobs import RETRAIN_JOB
from feature_assets.orchestration.launch import Launcher
from feature_assets.retraining.freshness import Freshness, Trial
from feature_assets.retraining.trainer import between
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets.training.loader import TrainingSet
from feature_assets.training.modes import what_if
from feature_assets_tests.end_to_end import moods
from feature_assets_tests.end_to_end.conftest import Cli
from feature_assets_tests.oracle.auc import auc

HOURLY = what_if(every=timedelta(hours=1), delay=timedelta(minutes=5))
NIGHTLY = what_if(every=timedelta(days=1), delay=moods.DELAY)
UNTIL = moods.START + timedelta(days=moods.DAYS)


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """The factory, all of whose days were published in the end, and its training set, made by Dagster."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FEATURE_ASSETS_ROOT", str(tmp_path_factory.mktemp("factory")))
        environment.setenv("FEATURE_ASSETS_PROJECT", "feature_assets_tests.end_to_end.moods:project")
        settings = load_settings()
        ReplayClock(settings.replay_clock_path).set(UNTIL + timedelta(hours=3))
        with FeatureStore.open(settings, project=moods.project) as store:
            store.materialize([date(2026, 1, 1) + timedelta(days=day) for day in range(moods.DAYS)])
            store.publish()
            yield store


@pytest.fixture(scope="module")
def instance(factory: FeatureStore) -> Iterator[dg.DagsterInstance]:
    """An instance in which the training set was made once."""
    with dg.DagsterInstance.ephemeral() as made:
        outcome = Launcher(moods.project, made).run(RETRAIN_JOB, [training_set_key(moods.model)])
        assert outcome.success, outcome
        yield made


@pytest.fixture(scope="module")
def found(factory: FeatureStore, instance: dg.DagsterInstance) -> Freshness:
    return freshness(factory, moods.model, [HOURLY, NIGHTLY, HOURLY])


def trial(found: Freshness, trained: str, asked: str | None = None) -> Trial:
    """The one trial of that name."""
    return next(one for one in found.trials if (one.trained, one.asked) == (trained, asked or trained))


def test_without_a_training_set_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with FeatureStore.open(load_settings(root=str(tmp_path)), project=moods.project) as store:  # noqa: SIM117 - two things
        with pytest.raises(RetrainingError, match="no training set was made yet"):
            freshness(store, moods.model, [HOURLY])


def test_fresh_moods_are_worth_a_lot(found: Freshness) -> None:
    assert [(one.trained, one.asked) for one in found.trials] == [
        ("as_served", "as_served"),
        ("as_of_event", "as_of_event"),
        ("as_of_event", "as_served"),
        ("what_if(every=1h, delay=5m)", "what_if(every=1h, delay=5m)"),
        ("what_if(every=1d, delay=2h)", "what_if(every=1d, delay=2h)"),
    ]
    hourly = trial(found, "what_if(every=1h, delay=5m)")
    assert trial(found, "as_served").auc < 0.65
    assert hourly.auc > 0.75
    assert hourly.gain is not None
    assert 0 < hourly.gain.lower < hourly.gain.difference < hourly.gain.upper
    assert hourly.gain.units == 12
    # Measured at five past, published with the next full hour's run, asked half past: the last one was not out yet.
    assert hourly.age == timedelta(minutes=85)
    assert trial(found, "as_of_event").auc > hourly.auc


def test_a_model_that_knew_the_future_is_worth_nothing_when_served(found: Freshness) -> None:
    looks, serves = trial(found, "as_of_event"), trial(found, "as_of_event", "as_served")
    assert looks.auc > 0.85
    assert serves.auc < 0.65
    assert (serves.differing, serves.age) == (0.0, trial(found, "as_served").age)


def test_the_schedule_that_is_there_already_gains_exactly_nothing(found: Freshness) -> None:
    # Nothing was served at its time, so it counts as servable two hours after its day: that is this schedule.
    nightly = trial(found, "what_if(every=1d, delay=2h)")
    served = trial(found, "as_served")
    assert found.availability == {"simulated": found.rows}
    assert (nightly.auc, nightly.differing, nightly.age) == (served.auc, 0.0, served.age)
    assert nightly.gain is not None
    assert (nightly.gain.lower, nightly.gain.difference, nightly.gain.upper) == (0.0, 0.0, 0.0)


def test_all_are_scored_on_the_same_rows_which_nobody_was_trained_on(factory: FeatureStore, found: Freshness) -> None:
    _, data = newest_training_set(factory, moods.model)
    _, _, start = moods.model.split.at(data.until)
    rows = between(moods.model, data.table, to_us(start), to_us(data.until))
    assert (found.first, found.last, found.rows) == (start, data.until, rows.num_rows)
    assert {one.gain.rows for one in found.trials if one.gain is not None} == {rows.num_rows}
    # As served a mood is one of two, and so is its score: it can be counted whichever way round it was learned.
    labels, scores = ([float(one) for one in rows[name].to_pylist()] for name in ("stalls", "mood__mood"))
    counted = auc(labels, scores)
    assert trial(found, "as_served").auc in (pytest.approx(counted), pytest.approx(1 - counted))


def test_nothing_is_kept(factory: FeatureStore, found: Freshness) -> None:
    assert factory.lake.names("models") == ()
    assert factory.lake.names("training_sets", moods.model.name) == (found.training_set,)


def test_the_page_is_beside_the_training_set_and_dagster_says_where(
    factory: FeatureStore, instance: dg.DagsterInstance
) -> None:
    manifest, data = newest_training_set(factory, moods.model)
    event = instance.get_latest_materialization_event(training_set_key(moods.model))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    page = factory.lake.path("training_sets", moods.model.name, manifest.id, LEAKAGE_PAGE)
    assert metadata["leakage_page"].value == str(page)
    assert {"leakage", "leakage_plot", "preview", "dagster/row_count"} <= set(metadata)
    assert [one.text for one in ET.fromstring(page.read_text(encoding="utf-8")).iter("a")] == ["mood__mood"]  # noqa: S314
    # Not made again: what is kept is what is told, until its form is another one.
    written = page.stat().st_mtime_ns
    report = leakage(factory, TrainingSet(data.table, manifest))
    assert page.stat().st_mtime_ns == written
    assert (report.leaked_served, report.rows) == (0, data.table.num_rows)
    factory.lake.write_bytes(b'{"rows": 1}', "training_sets", moods.model.name, manifest.id, LEAKAGE)
    assert leakage(factory, TrainingSet(data.table, manifest)) == report
    kept = factory.lake.read_bytes("training_sets", moods.model.name, manifest.id, LEAKAGE)
    assert kept is not None
    assert msgspec.json.decode(kept)["rows"] == report.rows


def test_the_command(factory: FeatureStore, instance: dg.DagsterInstance, found: Freshness, cli: Cli) -> None:
    said = cli("what-if", "--every", "1h", "--every", "1d", "--delay", "5m", "--json")
    assert said.code == 0, said
    trained = [one["trained"] for one in said.document["trials"]]
    assert trained[-2:] == ["what_if(every=1h, delay=5m)", "what_if(every=1d, delay=5m)"]
    hourly = trial(found, "what_if(every=1h, delay=5m)")
    assert said.document["trials"][-2]["auc"] == hourly.auc
    told = cli("what-if", "--model", "stalls")
    assert told.code == 0, told
    assert f"{hourly.auc:.4f}" in told.stdout
    assert "Published every 1h with a delay of 5m: AUC +" in told.stdout
    assert "surely better" in told.stdout


def test_the_report_agrees_that_this_schedule_is_there_already(
    factory: FeatureStore, instance: dg.DagsterInstance
) -> None:
    manifest, data = newest_training_set(factory, moods.model)
    report = factory.leakage_report(TrainingSet(data.table, manifest), what_if=NIGHTLY)
    assert report.differing[2] == 0
