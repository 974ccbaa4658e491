"""Where a project keeps its things, read once from the environment.

Invariant: every setting has an embedded default that needs no server and no account, and an error names the variable.
It opens nothing: `feature_assets.store` does.
"""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from feature_assets.errors import SettingsError, did_you_mean


class OnlineKind(StrEnum):
    """Which online store answers requests."""

    SQLITE = "sqlite"
    DYNAMODB = "dynamodb"


class DynamoDBTransport(StrEnum):
    """How items in DynamoDB are read and written: over connections of our own, or through boto3."""

    DIRECT = "direct"
    BOTO3 = "boto3"


class ClockKind(StrEnum):
    """Which clock tells the time: `auto` is the replay clock if the project's root has one, else the machine's."""

    AUTO = "auto"
    SYSTEM = "system"
    REPLAY = "replay"


class RunPriority(StrEnum):
    """How runs share the machine with what serves on it: behind it, or as its equals."""

    BACKGROUND = "background"
    NORMAL = "normal"


class Settings(BaseSettings):
    """All settings; each is read from `FEATURE_ASSETS_<NAME>` in the environment.

    `root` is a folder or an `s3://bucket/prefix`. Credentials for S3 and DynamoDB are boto3's own (environment,
    profile, instance role) unless the `aws_*` fields are given, as the Dagster resource does with secrets that it
    looked up.
    """

    # A variable that is set to nothing is one that is not set, as shells and compose files leave it.
    model_config = SettingsConfigDict(
        env_prefix="FEATURE_ASSETS_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    root: str = Field(default="lake", description="the offline store: a folder, or s3://bucket/prefix")
    project: str = Field(
        default="feature_assets.examples.flights.project:project",
        description="module:attribute of the Project to load",
    )
    online: OnlineKind = Field(default=OnlineKind.SQLITE, description="the online store: sqlite or dynamodb")
    online_path: Path | None = Field(default=None, description="the SQLite file; default: online.sqlite in the root")
    dynamodb_prefix: str = Field(default="feature_assets", description="what the names of the tables start with")
    dynamodb_endpoint: str | None = Field(default=None, description="another endpoint than AWS's own")
    dynamodb_kms_key: str | None = Field(default=None, description="a KMS key to encrypt the tables with")
    dynamodb_transport: DynamoDBTransport = Field(
        default=DynamoDBTransport.DIRECT, description="how its items are read and written: direct or boto3"
    )
    aws_region: str | None = Field(default=None, description="the region; default: as boto3 finds it")
    aws_access_key_id: SecretStr | None = Field(default=None)
    aws_secret_access_key: SecretStr | None = Field(default=None)
    aws_session_token: SecretStr | None = Field(default=None)
    s3_endpoint: str | None = Field(default=None, description="another S3 endpoint than AWS's own")
    clock: ClockKind = Field(default=ClockKind.AUTO, description="auto, system or replay")
    run_priority: RunPriority = Field(
        default=RunPriority.BACKGROUND, description="background: runs leave the processors to what else there is to do"
    )
    memory_limit_mb: int = Field(default=4096, ge=64, description="what a training set may take while it is built")

    @property
    def is_remote(self) -> bool:
        """Whether the root is an object store."""
        return self.root.startswith("s3://")

    @property
    def state_dir(self) -> Path:
        """The folder for what must be local (the replay clock, the SQLite file): the root, if that is a folder."""
        return Path(".feature_assets") if self.is_remote else Path(self.root)

    @property
    def replay_clock_path(self) -> Path:
        """The file of the replay clock."""
        return self.state_dir / "replay_clock.json"

    @property
    def sqlite_path(self) -> Path:
        """The file of the SQLite store."""
        return self.online_path or self.state_dir / "online.sqlite"


def load_settings(**overrides: object) -> Settings:
    """The settings from the environment, with `overrides` on top; one that is None is left to the environment.

    Raises `SettingsError` naming each wrong variable, or an override that is no setting.
    """
    for name in overrides.keys() - Settings.model_fields.keys():
        raise SettingsError(f"load_settings: {name!r} is no setting", hint=did_you_mean(name, Settings.model_fields))
    try:
        return Settings(**{k: v for k, v in overrides.items() if v is not None})  # type: ignore[arg-type] # checked by pydantic
    except ValidationError as error:
        lines = [f"FEATURE_ASSETS_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("; ".join(lines), hint="see docs/operations.md for every setting") from error
