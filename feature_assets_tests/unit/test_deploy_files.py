"""The files for operations name only what exists: metrics, labels, options, settings."""

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from feature_assets.cli import app
from feature_assets.errors import InputError
from feature_assets.online.dynamodb import DynamoDBStore
from feature_assets.online.store import CountsCalls
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.metrics import ServingMetrics
from feature_assets.serving.stages import STAGES
from feature_assets.serving.status import Status
from feature_assets.settings import Settings
from feature_assets_tests.histories import view_of
from feature_assets_tests.http_serving import client_of, running_server, serving_of
from feature_assets_tests.published import Published, at, project_of
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "serving.json"
ONE = {"entities": [{"airport": "JFK"}]}


@pytest.fixture(scope="module")
def exposed() -> str:
    """What a server exposes that has answered, refused and failed."""
    view, world = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1}])
    metrics = ServingMetrics()
    project = project_of(view)
    client = OnlineClient.over(project, world.store, world.ledger, world.clock, observers=[metrics])
    serving = serving_of(client, world.clock, metrics=metrics)
    metrics.failed("it", InputError("x"), 0.1)
    with running_server(serving) as server:
        assert server.ask("/v1/services/it", ONE).status == 200
        assert server.ask("/v1/services/it", {}).status == 400
        return server.ask("/metrics").body.decode()


def expressions() -> dict[str, str]:
    """Every PromQL expression, by where it stands."""
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    found = {one["alert"]: one["expr"] for group in rules["groups"] for one in group["rules"]}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    return found


def test_every_metric_that_is_asked_for_is_exposed(exposed: str) -> None:
    names = set(re.findall(r"^([a-z_]+)(?:\{| )", exposed, re.MULTILINE))
    for where, expression in expressions().items():
        for name in re.findall(r"feature_assets_[a-z_]+", expression):
            assert name in names, f"{where}: there is no {name}"
    assert all("feature_assets_" in one or "up{" in one for one in expressions().values())


def test_every_label_that_is_asked_for_is_there(exposed: str) -> None:
    labels = {"le", "instance", "job"} | set(re.findall(r'[{,]([a-z]+)="', exposed))
    for where, expression in expressions().items():
        grouped = [name for found in re.findall(r"by \(([^)]*)\)", expression) for name in re.split(r",\s*", found)]
        matched = re.findall(r'[{,]\s*([a-z_]+)(?:=~|=|!=)"', expression)
        assert set(grouped) | set(matched) <= labels, where
        for status in re.findall(r'status=~?"([A-Z|]+)"', expression):
            assert set(status.split("|")) <= {one.value for one in Status}, where
        assert expression.count("(") == expression.count(")"), where
        assert expression.count("{") == expression.count("}"), where


def test_every_stage_is_measured(exposed: str) -> None:
    stages = set(re.findall(r'feature_assets_stage_seconds_count\{service="it",stage="([a-z]+)"\}', exposed))
    assert stages == set(STAGES) - {"merge"}, "of rows there is nothing to merge"
    assert 'feature_assets_values_total{service="it",status="PRESENT",view="odd"} 1.0' in exposed
    assert 'feature_assets_failures_total{error="InputError",service="it"} 1.0' in exposed
    assert 'feature_assets_http_request_seconds_count{status="400",verb="read"} 1.0' in exposed
    assert "feature_assets_admission_admitted_total 1.0" in exposed
    assert "feature_assets_cache_misses_total 1.0" in exposed
    assert "feature_assets_guard_is_open_now 0.0" in exposed
    assert 'feature_assets_staleness_seconds{service="it",view="odd"} 0.0' in exposed


def test_names_that_callers_make_up_are_no_labels() -> None:
    metrics = ServingMetrics()
    view, world = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), Published()
    client = client_of(world, view, metrics=metrics)
    for name in ("x1", "x2", "x3"):
        with pytest.raises(InputError):
            client.get([{"airport": "JFK"}], service=name)
    assert b"x1" not in metrics.exposed()
    assert b'feature_assets_failures_total{error="UnknownNameError",service=""} 3.0' in metrics.exposed()


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def options_of_serve() -> str:
    return CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "300"}).stdout


def test_options_and_settings_exist() -> None:
    known = options_of_serve()
    container = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # names are kept as they are
    unit.read(DEPLOY / "systemd" / "feature-assets@.service", encoding="utf-8")
    started = unit["Service"]["ExecStart"] + " ".join(re.findall(r'"(--[a-z-]+)"', container))
    for option in re.findall(r"--[a-z-]+", started):
        assert option in known, option
    settings = {f"FEATURE_ASSETS_{name.upper()}" for name in Settings.model_fields} | {"FEATURE_ASSETS_KEYS"}
    compose = (DEPLOY / "compose.yml").read_text(encoding="utf-8")
    for name in re.findall(r"FEATURE_ASSETS_[A-Z_]+", container + compose):
        assert name in settings, name


def test_two_replicas_that_start_again() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
    assert len(compose["services"]) == 2
    ports = [port for one in compose["services"].values() for port in one["ports"]]
    assert len(set(ports)) == 2
    for one in compose["services"].values():
        assert one["restart"] == "always"
        assert one["read_only"]
        assert one["cap_drop"] == ["ALL"]


def test_what_a_store_counts_is_exposed(dynamodb_local: DynamoDBLocal) -> None:
    view, apart = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), dynamodb_local.apart()
    store = DynamoDBStore(
        "counted",
        **apart.address,
    )
    world = Published(store)
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1}])
    assert isinstance(store, CountsCalls)
    metrics, before = ServingMetrics({"store": store.numbers}), store.numbers()["reads"]
    client = OnlineClient.over(project_of(view), store, world.ledger, world.clock)
    client.get([{"airport": "JFK"}], service="it", deadline=30.0)
    client.close()
    store.close()
    shown = metrics.exposed().decode()
    assert f"feature_assets_store_reads_total {before + 1}.0" in shown
    assert {f"feature_assets_store_{name}_total" for name in store.numbers()} <= set(shown.split())
