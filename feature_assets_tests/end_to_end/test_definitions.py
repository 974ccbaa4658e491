"""What Dagster loads: everything a project declares is there, as it was declared, and loading touches nothing."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import initialize_repository_def_from_pointer

import feature_assets as fa
from feature_assets.definition.project import Project
from feature_assets.definition.version import view_version
from feature_assets.errors import FeatureAssetsError
from feature_assets.examples.flights.project import project as flights
from feature_assets.orchestration.assets.keys import (
    drift_key,
    model_key,
    online_key,
    source_key,
    training_set_key,
    view_key,
)
from feature_assets.orchestration.build import definitions_of
from feature_assets.orchestration.launch import Launcher, asset_keys, missing_days
from feature_assets.settings import Settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop

ROOT = Path(__file__).parents[2]
SHOP = "feature_assets_tests.end_to_end.shop:project"
PROJECTS = [shop.project, flights]


def loaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> dg.RepositoryDefinition:
    """The project's repository as a code location of Dagster makes it from `workspace.yaml`."""
    monkeypatch.setenv(shop.WORLD, "nowhere")
    if project is shop.project:
        monkeypatch.setenv("FEATURE_ASSETS_PROJECT", SHOP)
    return initialize_repository_def_from_pointer(CodePointer.from_module("feature_assets.definitions", "defs", None))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_everything_that_the_project_declares_is_an_asset(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = loaded(project, monkeypatch).asset_graph
    models = project.models
    expected = {source_key(source) for source in project.sources} | {view_key(view) for view in project.views}
    expected |= {online_key(view) for view in project.views if view.online}
    expected |= {drift_key(view) for view in project.views if models}
    expected |= {key for model in models for key in (training_set_key(model), model_key(model))}
    assert set(graph.get_all_asset_keys()) == expected
    for key in expected:
        node = graph.get(key)
        assert node.description
        assert node.kinds
        assert node.group_name != "default"


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_every_view_is_as_it_was_declared(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = loaded(project, monkeypatch).asset_graph
    for view in project.views:
        node, online = graph.get(view_key(view)), graph.get(online_key(view))
        assert node.code_version == view_version(view)
        assert node.parent_keys == {source_key(source) for source in view.sources}
        assert online.parent_keys == {view_key(view)}
        assert node.owners == ([f"team:{view.owner}"] if view.owner else [])
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        assert isinstance(node.partitions_def, dg.DailyPartitionsDefinition)
        assert online.partitions_def is None
        for one in (node, online):
            window = one.freshness_policy
            assert (window is None) == (view.freshness is None)
            assert view.freshness is None or window == dg.FreshnessPolicy.time_window(
                fail_window=view.freshness, warn_window=view.freshness * 0.75
            )


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_what_must_hold_blocks_and_what_should_hold_does_not(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = loaded(project, monkeypatch).asset_graph
    blocking = {(key.asset_key, key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    expected: dict[tuple[dg.AssetKey, str], bool] = {}
    for view in project.views:
        severities = {expectation.severity for expectation in view.expectations}
        if "critical" in severities:
            expected[view_key(view), "expectations"] = True
        if "warning" in severities:
            expected[view_key(view), "warnings"] = False
        if view.online:
            expected[online_key(view), "read_back"] = True
    expected |= {(training_set_key(model), "no_leak"): True for model in project.models}
    assert blocking == expected


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_jobs_schedules_and_the_sensor_are_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = loaded(project, monkeypatch)
    jobs = {job.name for job in repository.get_all_jobs()}
    crons = {schedule.name: schedule.cron_schedule for schedule in repository.schedule_defs}
    assert jobs >= {"materialize", "push"}
    assert ({"drift", "retrain"} <= jobs) == bool(project.models)
    assert crons["daily"] == min(view.schedule for view in project.views)
    assert {schedule.execution_timezone for schedule in repository.schedule_defs} == {"UTC"}
    assert ({"drift_daily", "retrain_weekly"} <= set(crons)) == bool(project.models)
    [sensor] = [sensor for sensor in repository.sensor_defs if sensor.name == "push_sensor"]
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == "push"


def test_a_model_follows_its_training_set_which_follows_what_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = loaded(flights, monkeypatch).asset_graph
    [model] = flights.models
    views = model.service.views
    assert graph.get(training_set_key(model)).parent_keys == {online_key(view) for view in views}
    assert graph.get(model_key(model)).parent_keys == {training_set_key(model), *(drift_key(view) for view in views)}


def test_the_project_is_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dg.AssetKey(["features", "carrier_windows"]) in loaded(flights, monkeypatch).asset_graph.get_all_asset_keys()
    assert dg.AssetKey(["features", "last_order"]) in loaded(shop.project, monkeypatch).asset_graph.get_all_asset_keys()


WRONG = """
import feature_assets as fa
from feature_assets_tests.end_to_end import shop

view = fa.FeatureView("amounts", shop.user, shop.orders, shop.last_orders, {features}{more})
project = fa.Project("wrong", sources=[shop.orders], views=[view], services=[])
"""


@pytest.mark.parametrize(
    ("features", "more", "says"),
    [
        ("shop.last_order.features[:1]", "", ("declare Feature('item', ...)",)),
        ("[fa.Feature('amount', shop.TIME), shop.last_order.features[1]]", "", ("'amount'", "double")),
        ("shop.last_order.features", ", expectations=[fa.Expectation('expect_love', 'item')]", ("expect_love",)),
        ("shop.last_order.features", ", expectations=[fa.Expectation('expect_column_to_exist', 'itm')]", ("'item'",)),
        ("[]", "", ("amounts",)),
    ],
    ids=["a column too many", "another dtype", "an unknown expectation", "an unknown column", "no features"],
)
def test_a_wrong_definition_stops_loading_with_file_view_and_the_way_out(
    features: str, more: str, says: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"wrong_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(WRONG.format(features=features, more=more), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(shop.WORLD, str(tmp_path))
    monkeypatch.setenv("FEATURE_ASSETS_PROJECT", f"{module}:project")
    with pytest.raises(FeatureAssetsError) as caught:
        initialize_repository_def_from_pointer(CodePointer.from_module("feature_assets.definitions", "defs", None))
    for words in (f"{module}.py:5: FeatureView 'amounts'", *says, "Hint: "):
        assert words in str(caught.value)


WATCHED = """
import json, os, sys
opened, written = [], []

def watch(event, arguments):
    if event in {"socket.connect", "sqlite3.connect", "subprocess.Popen"}:
        opened.append([event, str(arguments[:2])])
    if event == "os.mkdir":
        written.append(str(arguments[0]))
    if event == "open" and isinstance(arguments[0], str) and set(str(arguments[1])) & set("wax+"):
        written.append(arguments[0])

import dagster, boto3, duckdb, matplotlib.figure, narwhals, pandas  # what importing them touches is their own affair
import feature_assets.orchestration.build
sys.addaudithook(watch)
sys.dont_write_bytecode = True
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import initialize_repository_def_from_pointer
pointer = CodePointer.from_module("feature_assets.definitions", "defs", None)
repository = initialize_repository_def_from_pointer(pointer)
assets = len(list(repository.asset_graph.get_all_asset_keys()))
sys.stdout.write(json.dumps({"assets": assets, "opened": opened, "written": written}))
"""


@pytest.mark.parametrize("online", ["sqlite", "dynamodb"])
def test_loading_opens_and_writes_nothing(online: str, tmp_path: Path) -> None:
    secret = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_REGION": "eu-central-1"}
    environment = {**os.environ, **secret, "PYTHONPATH": str(ROOT), "FEATURE_ASSETS_ONLINE": online}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["assets"], found["opened"]) == (25, [])
    # What transforms may spill to is made, and gone with the process.
    assert [path for path in found["written"] if Path(path).exists() and path != os.devnull] == []
    assert list(tmp_path.iterdir()) == []


def test_sources_may_begin_and_end_on_days_of_their_own(
    shop_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run over all days: what has no data on a day does nothing for it, and nothing of it is missing."""
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0)])
    shop.put_orders(date(2026, 1, 3), [("ada", 30.0)])
    later = fa.BatchSource("later", shop.ORDERS, shop.read_orders, start=date(2026, 1, 3), end=date(2026, 1, 4))
    since = dataclasses.replace(shop.last_order, name="since", sources=(later,))
    project = fa.Project("two", sources=[shop.orders, later], views=[shop.last_order, since], services=[])
    days = [date(2026, 1, day) for day in (1, 2, 3)]
    with dg.DagsterInstance.ephemeral() as instance, FeatureStore.open(shop_settings, project=project) as store:
        launcher = Launcher(project, instance)
        for chosen in (days[:1], days):
            outcome = launcher.materialize(asset_keys(project.sources, project.views), chosen)
            assert outcome.success, outcome
        assert missing_days(store, project.sources, project.views, days) == ()
        assert store.source_table(later).partition_versions()["partition"].to_pylist() == ["2026-01-03"]
        assert store.view_table(since).partition_versions()["partition"].to_pylist() == ["2026-01-03"]
        assert store.view_table(shop.last_order).partition_versions().num_rows == 3


def test_a_view_that_is_not_served_has_no_online_asset() -> None:
    offline = dataclasses.replace(shop.last_order, online=False)
    project = fa.Project("half", sources=[shop.orders], views=[shop.daily_spend, offline], services=[])
    graph = definitions_of(project).resolve_asset_graph()
    assert online_key(offline) not in graph.get_all_asset_keys()
    assert view_key(offline) in graph.get_all_asset_keys()
