"""A shop of its own for each test: world, lake, clock and Dagster home in one folder."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from feature_assets.cli import main
from feature_assets.clock import ReplayClock
from feature_assets.orchestration.launch import Launcher
from feature_assets.settings import Settings, load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop


def opened(folder: Path, environment: pytest.MonkeyPatch) -> Settings:
    """The environment of a new shop in `folder`, with the simulated clock at the morning of 4 January 2026."""
    world = folder / "world"
    world.mkdir()
    environment.setenv(shop.WORLD, str(world))
    environment.setenv("FEATURE_ASSETS_ROOT", str(folder / "lake"))
    environment.setenv("FEATURE_ASSETS_PROJECT", "feature_assets_tests.end_to_end.shop:project")
    environment.delenv("DAGSTER_HOME", raising=False)
    settings = load_settings()
    ReplayClock(settings.replay_clock_path).set(datetime(2026, 1, 4, 1, tzinfo=UTC))
    return settings


@pytest.fixture
def shop_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a shop of the test's own."""
    return opened(tmp_path, monkeypatch)


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
    """Runs the shop's jobs in this process, recorded in an instance in memory: one on disk takes seconds to make."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield Launcher(shop.project, instance)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - what JSON holds
        """The one JSON document on standard output. Raises if there is more, or less."""
        return json.loads(self.stdout)


Cli = Callable[..., Ended]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`feature-assets` with the arguments given, in this process; what any library prints counts, too."""
    # Wide enough that no message is broken into lines, wherever the folders with long names are.
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["feature-assets", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int | None)
        return Ended(code or 0, said.out, said.err)

    return run
