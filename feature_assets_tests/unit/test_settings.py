"""Settings: defaults that need nothing, one variable each, errors that name it, and secrets that show nowhere."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from feature_assets.errors import SettingsError
from feature_assets.settings import ClockKind, DynamoDBTransport, OnlineKind, Settings, load_settings

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"
SECRET = "canary-never-to-be-seen"
OTHERS = {"FEATURE_ASSETS_CREDENTIALS_SECRET", "DAGSTER_HOME"}
"""Variables that are read elsewhere: by the Dagster resources, and by Dagster."""
CREDENTIALS = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
"""What the Dagster resources fill in; people have boto3's own variables for it."""


def variable(name: str) -> str:
    return f"FEATURE_ASSETS_{name.upper()}"


def test_with_nothing_set_everything_is_local_and_needs_no_account() -> None:
    settings = load_settings()
    assert (settings.root, settings.online, settings.clock) == ("lake", OnlineKind.SQLITE, ClockKind.AUTO)
    assert not settings.is_remote
    assert settings.sqlite_path == Path("lake/online.sqlite")
    assert settings.replay_clock_path == Path("lake/replay_clock.json")
    assert [getattr(settings, name) for name in CREDENTIALS] == [None, None, None]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("root", "s3://bucket/lake", "s3://bucket/lake"),
        ("project", "mine:project", "mine:project"),
        ("online", "dynamodb", OnlineKind.DYNAMODB),
        ("online_path", "elsewhere/it.sqlite", Path("elsewhere/it.sqlite")),
        ("dynamodb_prefix", "shop", "shop"),
        ("dynamodb_endpoint", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("dynamodb_kms_key", "alias/shop", "alias/shop"),
        ("dynamodb_transport", "boto3", DynamoDBTransport.BOTO3),
        ("aws_region", "eu-central-1", "eu-central-1"),
        ("s3_endpoint", "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("clock", "replay", ClockKind.REPLAY),
        ("memory_limit_mb", "64", 64),
    ],
)
def test_each_setting_is_read_from_its_variable_and_overridden_by_name(
    name: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = getattr(load_settings(), name)
    assert default != value
    monkeypatch.setenv(variable(name), text)
    assert getattr(load_settings(), name) == value
    assert getattr(load_settings(**{name: None}), name) == value, "None leaves it to the environment"
    monkeypatch.setenv(variable(name), "")
    assert getattr(load_settings(), name) == default, "set to nothing is not set"
    assert getattr(load_settings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("online", "postgres", "'sqlite' or 'dynamodb'"),
        ("clock", "sundial", "'auto', 'system' or 'replay'"),
        ("memory_limit_mb", "plenty", "valid integer"),
        ("memory_limit_mb", "63", "greater than or equal to 64"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(
    name: str, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"{variable(name)}: ")
    assert says in caught.value.message
    assert caught.value.hint == "see docs/operations.md for every setting"


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_ASSETS_ONLINE", "postgres")
    monkeypatch.setenv("FEATURE_ASSETS_CLOCK", "sundial")
    with pytest.raises(SettingsError, match=r"(?s)FEATURE_ASSETS_ONLINE: .*FEATURE_ASSETS_CLOCK: "):
        load_settings()


def test_an_override_that_is_no_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"(?s)'rot' is no setting.*did you mean 'root'"):
        load_settings(rot="lake")


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.root = "elsewhere"


def test_local_state_of_a_remote_root_stays_beside_the_program() -> None:
    settings = load_settings(root="s3://bucket/lake")
    assert settings.is_remote
    assert settings.state_dir == Path(".feature_assets")
    assert settings.sqlite_path.parent == settings.replay_clock_path.parent == Path(".feature_assets")
    assert load_settings(root="s3://bucket/lake", online_path="x.sqlite").sqlite_path == Path("x.sqlite")


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_shows_in_no_form_of_the_settings_and_in_no_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(name), SECRET)
    settings = load_settings()
    assert getattr(settings, name).get_secret_value() == SECRET
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert SECRET not in text
    monkeypatch.setenv("FEATURE_ASSETS_ONLINE", "postgres")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


def test_operations_names_every_variable_with_its_default_and_no_other() -> None:
    rows = re.findall(r"\n\| `((?:FEATURE_ASSETS|DAGSTER)_\w+)` \| (.*?) \|", DOCS.read_text(encoding="utf-8"))
    documented = dict(rows)
    assert len(documented) == len(rows)
    assert documented.keys() - OTHERS == {variable(name) for name in Settings.model_fields} - {
        variable(name) for name in CREDENTIALS
    }
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, str | int) and variable(name) != "FEATURE_ASSETS_PROJECT":
            assert documented[variable(name)] == f"`{field.default}`"
