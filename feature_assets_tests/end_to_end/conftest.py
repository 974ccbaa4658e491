"""A shop of its own for each test: world, lake, clock and Dagster home in one folder."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from feature_assets.clock import ReplayClock
from feature_assets.orchestration.launch import Launcher
from feature_assets.settings import Settings, load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop


@pytest.fixture
def shop_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of a shop, with the simulated clock at the morning of 4 January 2026."""
    world = tmp_path / "world"
    world.mkdir()
    monkeypatch.setenv(shop.WORLD, str(world))
    monkeypatch.setenv("FEATURE_ASSETS_ROOT", str(tmp_path / "lake"))
    monkeypatch.setenv("FEATURE_ASSETS_PROJECT", "feature_assets_tests.end_to_end.shop:project")
    monkeypatch.setenv("DAGSTER_HOME", "")
    settings = load_settings()
    ReplayClock(settings.replay_clock_path).set(datetime(2026, 1, 4, 1, tzinfo=UTC))
    return settings


@pytest.fixture
def shop_clock(shop_settings: Settings) -> ReplayClock:
    """The shop's clock, to be set by the test."""
    return ReplayClock(shop_settings.replay_clock_path)


@pytest.fixture
def shop_store(shop_settings: Settings) -> Iterator[FeatureStore]:
    """The shop's feature store."""
    with FeatureStore.open(shop_settings, project=shop.project) as store:
        yield store


@pytest.fixture
def launcher(shop_settings: Settings) -> Iterator[Launcher]:
    """Runs the shop's jobs in this process, recorded in an instance of its own, in memory: one on disk costs seconds."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Launcher(shop.project, instance)
