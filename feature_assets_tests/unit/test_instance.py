"""The project's Dagster instance: made once, told not to call home, and never put where the user has one."""

import os
from pathlib import Path

import pytest
import yaml

from feature_assets.errors import SettingsError
from feature_assets.orchestration.instance import dagster_home, open_instance, project_home
from feature_assets.orchestration.storage import PooledSqliteEventLogStorage, PooledSqliteRunStorage
from feature_assets.settings import load_settings


@pytest.mark.parametrize("name", ["lake", "my lake #1: {a} 'b' \"c\" é"])
def test_the_home_is_beside_the_lake_and_opens_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    settings = load_settings(root=str(tmp_path / name))
    with open_instance(settings) as instance:
        assert os.environ["DAGSTER_HOME"] == str(tmp_path / name / "dagster")
        assert instance.root_directory == str(tmp_path / name / "dagster")
        assert isinstance(instance.event_log_storage, PooledSqliteEventLogStorage)
        assert isinstance(instance.run_storage, PooledSqliteRunStorage)
        assert not instance.telemetry_enabled
        assert instance.get_runs() == []
    assert "DAGSTER_HOME" not in os.environ, "another project in this process has its own"
    assert (tmp_path / name / "dagster" / "event_log").is_dir()


def test_the_configuration_is_written_once_and_then_left_alone(tmp_path: Path) -> None:
    settings = load_settings(root=str(tmp_path))
    home = dagster_home(settings)
    config = home / "dagster.yaml"
    written = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert written["telemetry"] == {"enabled": False}
    assert written["event_log_storage"]["config"]["base_dir"] == str(home / "event_log")
    config.write_text("telemetry: {enabled: false}  # mine\n", encoding="utf-8")
    assert dagster_home(settings) == home
    assert config.read_text(encoding="utf-8") == "telemetry: {enabled: false}  # mine\n"
    assert [path.name for path in home.iterdir()] == ["dagster.yaml"]


def test_a_remote_lake_keeps_it_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(root="s3://bucket/lake")
    assert dagster_home(settings) == project_home(settings) == tmp_path / ".feature_assets" / "dagster"


def test_an_instance_of_the_users_own_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(mine))
    settings = load_settings(root=str(tmp_path / "lake"))
    assert dagster_home(settings) == mine
    assert list(mine.iterdir()) == []
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "a folder that exists"),
        ("nonsense: [", "line 1"),
        ("no_such_setting: 1", "no_such_setting"),
        ("event_log_storage: {module: no_such_module, class: Log, config: {}}", "no_such_module"),
    ],
    ids=["no folder", "no YAML", "an unknown setting", "an unknown module"],
)
def test_an_instance_that_cannot_be_opened_is_one_clear_error(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "mine"
    if text is not None:
        home.mkdir()
        (home / "dagster.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with pytest.raises(SettingsError) as caught, open_instance(load_settings()):
        pass
    assert f"DAGSTER_HOME={home}: " in str(caught.value)
    assert says in str(caught.value)
    assert os.environ["DAGSTER_HOME"] == str(home)
