"""The resources: the platform (lake, ledger, online store, clock) and what it needs from AWS.

Invariant: credentials live in resources and secrets only; none reaches metadata, logs or run configuration (the
fields that may hold one are pydantic secrets or come from the environment). It opens things; it computes nothing.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import msgspec
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource
from pydantic import PrivateAttr

from feature_assets.definition.project import Project
from feature_assets.errors import FeatureAssetsError, SettingsError
from feature_assets.priority import give_way
from feature_assets.settings import RunPriority, Settings, load_settings
from feature_assets.store import FeatureStore


class Credentials(msgspec.Struct, frozen=True):
    """What the secret holds, as JSON. It shows none of it."""

    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


class Platform(dg.ConfigurableResource[FeatureStore]):
    """Opens the feature store that `FEATURE_ASSETS_*` describe; the fields here override single settings.

    `credentials_secret` names a secret in AWS Secrets Manager with the keys `aws_access_key_id`,
    `aws_secret_access_key` and, for temporary ones, `aws_session_token`. They are used for the lake and the online
    store; without a secret those of the resource `s3`, and without them what boto3 finds itself.
    """

    root: str | None = None
    online: str | None = None
    credentials_secret: str | None = None
    s3: dg.ResourceDependency[S3Resource]
    secrets: dg.ResourceDependency[SecretsManagerResource]
    _opened: list[FeatureStore] = PrivateAttr(default_factory=list)

    def open(self, project: Project) -> FeatureStore:
        """The store of `project`; it is closed with the run or tick. Raises `SettingsError` for what is unusable."""
        overrides: dict[str, object] = {"root": self.root, "online": self.online}
        overrides["s3_endpoint"] = self.s3.endpoint_url
        overrides["aws_region"] = self.s3.region_name
        found = self.s3 if self.credentials_secret is None else self._credentials(self.credentials_secret)
        overrides["aws_access_key_id"] = found.aws_access_key_id
        overrides["aws_secret_access_key"] = found.aws_secret_access_key
        overrides["aws_session_token"] = found.aws_session_token
        settings = load_settings(**overrides)
        _give_way(settings)
        store = FeatureStore.open(settings, project=project)
        self._opened.append(store)
        return store

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close what was opened."""
        del context
        while self._opened:
            self._opened.pop().close()

    def _credentials(self, name: str) -> Credentials:
        try:
            text = self.secrets.get_client().get_secret_value(SecretId=name)["SecretString"]
        except Exception as error:
            raise SettingsError(
                f"the secret {name!r} cannot be read: {type(error).__name__}: {error}",
                hint="FEATURE_ASSETS_CREDENTIALS_SECRET names it; who runs this must be allowed to read it",
            ) from error
        try:
            return msgspec.json.decode(text, type=Credentials)
        except msgspec.DecodeError:
            # The decoder's own message may quote the secret, so it is not passed on.
            raise SettingsError(
                f"the secret {name!r} is not the JSON that is expected",
                hint='store {"aws_access_key_id": "...", "aws_secret_access_key": "..."}',
            ) from None


def _give_way(settings: Settings) -> None:
    """A run that has a process of its own goes behind what serves. A tick has not, nor has a run in somebody's own."""
    if settings.run_priority is RunPriority.BACKGROUND and multiprocessing.parent_process() is not None:
        give_way()


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turns an error of ours into one clear failure in the UI, which Dagster retries only if the error allows it."""
    try:
        yield
    except FeatureAssetsError as error:
        metadata = {"error": dg.MetadataValue.text(type(error).__name__)}
        if error.hint is not None:
            metadata["hint"] = dg.MetadataValue.text(error.hint)
        raise dg.Failure(description=f"{what}: {error}", metadata=metadata, allow_retries=error.retryable) from error
