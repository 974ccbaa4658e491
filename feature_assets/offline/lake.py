"""The lake: one root, a folder or an `s3://` prefix, and the one place where Delta tables are opened and made.

Invariant: a handle that `open` returns was checked (local log: `integrity.py`), and whatever fails below comes out as
an error of the tree. A path consists of checked names, so nothing outside the root is ever touched. It knows neither
schemas nor commits.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import Schema
from pyarrow import fs

from feature_assets.errors import InputError, OfflineError, SettingsError, StorageFullError, TableDamagedError
from feature_assets.offline import durable, faults, integrity

REMOTE = "s3://"
PATIENCE = {"max_retries": "3", "retry_timeout": "20s", "connect_timeout": "5s", "timeout": "60s"}
"""How long an unreachable object store is waited for, unless the options say otherwise; the default is minutes."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,127}")
_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://")
_SLICE = 1 << 20
_Kept = TypeVar("_Kept")
_BELOW = (OSError, DeltaError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Lake:
    """A root and how to reach it.

    `root` is a folder (made when first written to) or `s3://bucket/prefix`. `storage_options` are deltalake's, all
    strings; they show in no repr and no message.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.root.startswith(REMOTE):
            object.__setattr__(self, "root", self.root.rstrip("/"))
            object.__setattr__(self, "storage_options", {**PATIENCE, **self.storage_options})
        elif _SCHEME.match(self.root):
            raise SettingsError(f"the lake's root {self.root!r} is neither a folder nor an s3:// address")
        else:
            object.__setattr__(self, "root", str(Path(self.root).absolute()))

    @property
    def is_remote(self) -> bool:
        """Whether the root is an object store."""
        return self.root.startswith(REMOTE)

    def uri(self, *parts: str) -> str:
        """The address of a table or file under the root. Raises `InputError` for a name that could leave it."""
        for part in parts:
            if not _PART.fullmatch(part) or ".." in part:
                raise InputError(f"{part!r} cannot be part of a path in the lake", hint="letters, digits, . _ = - only")
        return "/".join((self.root, *parts))

    def path(self, *parts: str) -> Path:
        """The same as a local path; only for a root that is a folder."""
        return Path(self.uri(*parts))

    @contextmanager
    def faults(self, *parts: str, reading: bool = False) -> Iterator[None]:
        """Map what is raised inside to the error tree. A lost race (`CommitFailedError`) passes: it is retried."""
        try:
            yield
        except CommitFailedError:
            raise
        except _BELOW as error:
            name = "/".join(parts)
            raise faults.mapped(error, name, self.root, self.storage_options, reading=reading) from error
        except BaseException as error:
            # What delta-rs raises when it gives up on a file derives from BaseException and cannot be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise faults.damaged("/".join(parts), f"delta-rs gave up on it: {error}") from error

    # ---- tables
    def exists(self, *parts: str) -> bool:
        """Whether a Delta table is there (readable or not)."""
        if not self.is_remote:
            return integrity.has_log(self.path(*parts))
        with self.faults(*parts):
            return DeltaTable.is_deltatable(self.uri(*parts), storage_options=dict(self.storage_options))

    def open(self, *parts: str) -> DeltaTable:
        """A handle on the newest version. Raises `TableDamagedError`, or `OfflineError` (absent, unreachable)."""
        table = "/".join(parts)
        uri = self.uri(*parts)
        if not self.is_remote:
            integrity.check(Path(uri), table)
        try:
            with self.faults(*parts, reading=True):
                return DeltaTable(uri, storage_options=dict(self.storage_options))
        except TableDamagedError as error:
            if isinstance(error.__cause__, TableNotFoundError):
                hint = "nothing was written to it yet: materialize it first"
                raise OfflineError(f"there is no table {table} under {self.root}", hint=hint) from error
            if self.is_remote:
                raise
            what = faults.cleaned(str(error.__cause__), self.storage_options)
            raise integrity.explained(Path(uri), table, what) from error

    def create(
        self,
        schema: pa.Schema,
        *parts: str,
        partition_by: str | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> DeltaTable:
        """A handle on a table, made with `schema` if it is not there; who loses that race gets the winner's table."""
        if self.exists(*parts):
            return self.open(*parts)
        if not self.is_remote:
            with self.faults(*parts):
                durable.made_folder(self.path(*parts), Path(self.root).parent)
        try:
            with self.faults(*parts):
                DeltaTable.create(
                    self.uri(*parts),
                    schema=Schema.from_arrow(schema),
                    mode="error",
                    partition_by=[partition_by] if partition_by else None,
                    configuration=properties,
                    # Properties of our own are none that Delta knows.
                    raise_if_key_not_exists=False,
                    storage_options=dict(self.storage_options),
                    # A retry would commit this schema over the winner's, as the table's second version.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
        except (CommitFailedError, OfflineError) as error:
            if isinstance(error, StorageFullError) or not self.exists(*parts):
                raise
        self.sync_log(*parts, after=-1)
        return self.open(*parts)

    def sync_log(self, *parts: str, after: int) -> None:
        """Make every commit of a table later than version `after` durable. An object store's are."""
        if not self.is_remote:
            with self.faults(*parts):
                integrity.sync_log(self.path(*parts), after)

    def tables(self, *parts: str) -> tuple[str, ...]:
        """The names of the Delta tables directly under a path, sorted."""
        return tuple(name for name in self.names(*parts) if _PART.fullmatch(name) and self.exists(*parts, name))

    # ---- files
    def filesystem(self, *parts: str) -> fs.FileSystem:
        """An Arrow file system whose root is that path."""
        if not self.is_remote:
            return fs.SubTreeFileSystem(str(self.path(*parts)), fs.LocalFileSystem())
        return fs.PyFileSystem(DeltaStorageHandler(self.uri(*parts), dict(self.storage_options)))

    def write_bytes(self, data: bytes, *parts: str) -> None:
        """Write a file whole or not at all, durable when this returns; one that is there is replaced."""
        with self.faults(*parts):
            if not self.is_remote:
                durable.replace_file(self.path(*parts), data, Path(self.root).parent)
                return
            self.uri(*parts)
            # In slices that the buffer copies: what it would pass on uncopied, delta-rs's stream does not take.
            with self.filesystem(*parts[:-1]).open_output_stream(parts[-1], buffer_size=2 * _SLICE) as stream:
                for start in range(0, len(data), _SLICE):
                    stream.write(data[start : start + _SLICE])

    def read_bytes(self, *parts: str) -> bytes | None:
        """A file's content, or None if there is none."""
        with self.faults(*parts):
            if not self.is_remote:
                path = self.path(*parts)
                return path.read_bytes() if path.is_file() else None
            self.uri(*parts)
            try:
                with self.filesystem(*parts[:-1]).open_input_file(parts[-1]) as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError:
                return None

    def names(self, *parts: str) -> tuple[str, ...]:
        """The names directly under a path (files and folders), sorted; empty if there is nothing."""
        with self.faults(*parts):
            if not self.is_remote:
                folder = self.path(*parts)
                return tuple(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ()
            selector = fs.FileSelector("", allow_not_found=True)
            infos = self.filesystem(*parts).get_file_info(selector)
            return tuple(sorted({info.path.strip("/").split("/")[0] for info in infos if info.path.strip("/")}))


class PerLake(Generic[_Kept]):
    """One object for each of the last few lakes that this process used, for what keeps what it has read.

    What is made must be safe between threads, and find out by itself what other processes have written.
    """

    def __init__(self, make: Callable[[Lake], _Kept], *, lakes: int = 8) -> None:
        self._make = make
        self._lakes = lakes
        self._lock = Lock()
        self._kept: dict[tuple[str, frozenset[tuple[str, str]]], _Kept] = {}

    def of(self, lake: Lake) -> _Kept:
        """The object of `lake`: of the same root, reached in the same way."""
        key = (lake.root, frozenset(lake.storage_options.items()))
        with self._lock:
            found = self._kept.pop(key, None)
            self._kept[key] = self._make(lake) if found is None else found
            while len(self._kept) > self._lakes:
                del self._kept[next(iter(self._kept))]
            return self._kept[key]


def s3_storage_options(  # noqa: PLR0913 - the plain fields of an S3 resource, under their own names
    *,
    region_name: str | None = None,
    endpoint_url: str | None = None,
    aws_access_key_id: str | None = None,
    aws_secret_access_key: str | None = None,
    aws_session_token: str | None = None,
    profile_name: str | None = None,
    use_ssl: bool = True,
    verify: bool | str | None = True,
    use_unsigned_session: bool = False,
) -> dict[str, str]:
    """Storage options for deltalake from the plain fields of an S3 resource (the names are boto3's).

    What is not given is found as AWS clients find it (environment, profile, instance role). Plain HTTP is allowed for
    an endpoint that says so. Raises `SettingsError` for a certificate bundle, which delta-rs takes from the system
    only.
    """
    if isinstance(verify, str):
        hint = "add the certificate to the system's trust store (SSL_CERT_FILE) and set verify to true"
        raise SettingsError(f"verify={verify!r}: a certificate bundle cannot be handed to the Delta side", hint=hint)
    if endpoint_url and "://" not in endpoint_url:
        endpoint_url = f"{'https' if use_ssl else 'http'}://{endpoint_url}"
    plain = endpoint_url is not None and endpoint_url.startswith("http://")
    options = {
        "AWS_REGION": region_name,
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": aws_secret_access_key,
        "AWS_SESSION_TOKEN": aws_session_token,
        "AWS_PROFILE": profile_name,
        "AWS_ALLOW_HTTP": "true" if plain or (endpoint_url is None and not use_ssl) else None,
        "AWS_ALLOW_INVALID_CERTIFICATES": "true" if verify is False else None,
        "AWS_SKIP_SIGNATURE": "true" if use_unsigned_session else None,
    }
    return {name: value for name, value in options.items() if value}
