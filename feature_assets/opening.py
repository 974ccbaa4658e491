"""From settings to what they describe: the project, the lake, the clock, the way to the online store.

Invariant: nothing is read, made or sent before it is needed, and what cannot be opened is an error that names the
setting or the place.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from feature_assets.clock import Clock, ReplayClock, SystemClock
from feature_assets.compute.tiles import require_small
from feature_assets.definition.project import Project
from feature_assets.errors import FeatureAssetsError, SettingsError, did_you_mean
from feature_assets.offline.lake import Lake, s3_storage_options
from feature_assets.online.sqlite import SQLiteStore, target_of
from feature_assets.online.store import OnlineStore
from feature_assets.settings import ClockKind, OnlineKind, Settings


@dataclass(slots=True)
class OnlineAccess:
    """The way to the online store of `settings`: it is opened once, when it is first needed."""

    settings: Settings
    opened: OnlineStore | None = None

    def store(self) -> OnlineStore:
        """The store. Raises what opening it raises, each time until it can be opened."""
        if self.opened is None:
            self.opened = _online(self.settings)
        return self.opened

    def target(self) -> str:
        """The name of the store in the ledger. For that no file is made and nothing is sent."""
        if self.opened is None and self.settings.online is OnlineKind.SQLITE:
            return target_of(self.settings.sqlite_path)
        return self.store().target

    def close(self) -> None:
        """Close what was opened; it is opened again when it is needed again."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def require_storable(project: Project) -> None:
    """Refuse a project with a view whose items no store would take. Raises `DefinitionError`, naming the aggregate."""
    for view in project.views:
        require_small(view)


def import_project(address: str) -> Project:
    """The project at `module:attribute`, also in the current folder. Raises `SettingsError` naming the cause."""
    module_name, _, attribute = address.partition(":")
    where = f"FEATURE_ASSETS_PROJECT={address}"
    if not attribute:
        raise SettingsError(f"{where}: no attribute", hint="write module:attribute, e.g. my_features.project:project")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{where}: {error}", hint="install it, or start from the folder that holds it") from error
    except FeatureAssetsError:
        raise
    except Exception as error:
        raise SettingsError(
            f"{where}: importing it raised {type(error).__name__}: {error}",
            hint=f"correct the module: python -c 'import {module_name}' says where",
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Project):
        what = "is no Project" if found is not None else "does not exist"
        projects = [name for name, value in vars(module).items() if isinstance(value, Project)]
        raise SettingsError(f"{where}: {attribute!r} {what}", hint=did_you_mean(attribute, projects))
    return found


def lake_of(settings: Settings) -> Lake:
    """The lake at the root. Nothing is read or made yet."""
    if not settings.is_remote:
        return Lake(settings.root)
    options = s3_storage_options(
        region_name=settings.aws_region,
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=_plain(settings.aws_access_key_id),
        aws_secret_access_key=_plain(settings.aws_secret_access_key),
        aws_session_token=_plain(settings.aws_session_token),
    )
    return Lake(settings.root, options)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _online(settings: Settings) -> OnlineStore:
    if settings.online is OnlineKind.SQLITE:
        return SQLiteStore(settings.sqlite_path)
    from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore  # noqa: PLC0415 # boto3 takes a second; SQLite needs none of it

    return DynamoDBStore(
        settings.dynamodb_prefix,
        region=settings.aws_region,
        endpoint_url=settings.dynamodb_endpoint,
        kms_key=settings.dynamodb_kms_key,
        access_key_id=_plain(settings.aws_access_key_id),
        secret_access_key=_plain(settings.aws_secret_access_key),
        session_token=_plain(settings.aws_session_token),
        options=DynamoDBOptions(transport=settings.dynamodb_transport),
    )


def clock_of(settings: Settings) -> Clock:
    """The clock that the features live by."""
    path = settings.replay_clock_path
    if settings.clock is ClockKind.REPLAY or (settings.clock is ClockKind.AUTO and path.exists()):
        return ReplayClock(path)
    return SystemClock()
