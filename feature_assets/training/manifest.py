"""The manifest of a training set: all that its bytes depend on, small enough to keep for ever.

Invariant: `id` is the digest of everything else in it, so that a manifest that was changed is recognised; and what it
pins never changes under it, so that `rebuild` gives the same bytes after any later commit, compaction or vacuum.
It proves no authorship: whoever may write it may write another.
"""

import hashlib
from datetime import datetime
from importlib.metadata import version
from typing import Final

import msgspec

from feature_assets.errors import ManifestError
from feature_assets.training.history import ViewPin
from feature_assets.training.modes import AnyMode

FORMAT: Final = 1
_LIBRARIES = ("feature-assets", "numpy", "pyarrow")
_ID_DIGITS = 32


class SpinePin(msgspec.Struct, frozen=True):
    """The spine: its rows, its digest, and its Arrow schema (serialised, base64) to read it back with."""

    rows: int
    digest: str
    arrow_schema: bytes


class LabelPin(msgspec.Struct, frozen=True):
    """The label whose maturity was checked at `created_at`, and what was done with rows whose label was not known."""

    name: str
    matured_at: str
    immature: str


class LogPin(msgspec.Struct, frozen=True):
    """The served log: the append up to which it was read, and how many rows were taken from it, and how many not."""

    commit_seq: int
    logged: int
    missing: int


class ResultPin(msgspec.Struct, frozen=True):
    """The training set: its columns, and the digest of its content."""

    columns: tuple[str, ...]
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training set was made from. Made by `training_set`; `sealed` gives it its id.

    `log`: only of one that was taken from the served log; `views` are then pinned only for rows that were joined.
    """

    id: str = ""
    format: int = FORMAT
    name: str | None
    service: str
    service_version: str
    timestamp: str
    mode: AnyMode
    target: str
    ledger_position: int
    views: tuple[ViewPin, ...]
    label: LabelPin | None
    spine: SpinePin
    result: ResultPin
    libraries: dict[str, str]
    created_at: datetime
    log: LogPin | msgspec.UnsetType = msgspec.UNSET

    @property
    def versions(self) -> dict[str, str]:
        """The version of each view."""
        return {pin.view: pin.version for pin in self.views}

    @property
    def commit_seq(self) -> dict[str, int]:
        """The commit of each view up to which it was read."""
        return {pin.view: pin.commit_seq for pin in self.views}

    def pin(self, view: str) -> ViewPin:
        """The pin of a view. Raises `ManifestError` if it has none."""
        for pin in self.views:
            if pin.view == view:
                return pin
        raise ManifestError(f"manifest {self.id} pins no view {view!r}", hint="its service has changed since")

    def encoded(self) -> bytes:
        """As JSON, indented."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its id."""
    return msgspec.structs.replace(manifest, id=_id(manifest))


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from its JSON. Raises `ManifestError` if it cannot be read, or is not as it was sealed."""
    try:
        found = msgspec.json.decode(data, type=_Head)
        if found.format > FORMAT:
            raise ManifestError(
                f"the manifest has format {found.format}, and this version reads up to {FORMAT}",
                hint="upgrade feature-assets",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestError(f"the manifest cannot be read: {error}", hint="restore the file from a backup") from error
    verify_seal(manifest)
    return manifest


def verify_seal(manifest: Manifest) -> None:
    """Raise `ManifestError` if anything in the manifest was changed after it was made."""
    if _id(manifest) != manifest.id:
        raise ManifestError(
            f"manifest {manifest.id} was changed after it was made: its content has the id {_id(manifest)}",
            hint="use the manifest.json that stands beside the training set, or make the training set again",
        )


def library_versions() -> dict[str, str]:
    """The versions of what computed a training set."""
    return {name: version(name) for name in _LIBRARIES}


class _Head(msgspec.Struct):
    format: int


def _id(manifest: Manifest) -> str:
    rest = msgspec.json.encode(msgspec.structs.replace(manifest, id=""), order="sorted")
    return hashlib.sha256(rest).hexdigest()[:_ID_DIGITS]
