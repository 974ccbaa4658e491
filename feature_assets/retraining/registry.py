"""The registry: models kept as files, `models/<name>/<id>/model.txt` and, last, `manifest.json`.

Invariant: a model exists if and only if its manifest does, and its manifest is written after its text is durable: a
killed save leaves no model. A model is never changed: saving the same one again changes nothing.
Which one is in use is not here: see `decisions`.
"""

import re

import msgspec

from feature_assets.definition.naming import is_legal
from feature_assets.errors import InputError, RetrainingError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.retraining.decisions import Decisions
from feature_assets.retraining.manifest import FORMAT, ModelManifest, Trained
from feature_assets.retraining.predictor import Predictor, load

FOLDER = "models"
TEXT = "model.txt"
MANIFEST = "manifest.json"

_ID = re.compile(r"[0-9a-f]{16}")


class _Form(msgspec.Struct):
    format: int


class ModelRegistry:
    """The models of one name. Holds no state."""

    def __init__(self, lake: Lake, name: str) -> None:
        if not is_legal(name):
            raise InputError(f"{name!r} is no model's name", hint="names match ^[a-z][a-z0-9_]{0,62}$")
        self._lake = lake
        self._name = name
        self._decisions = Decisions(lake)

    def save(self, trained: Trained) -> str:
        """Keep a model, durable when this returns; returns its id. One that is there already stays as it is."""
        manifest = trained.manifest
        if manifest.name != self._name:
            raise InputError(f"model {manifest.name!r} does not belong among the models called {self._name!r}")
        if not self.has(manifest.id):
            self._lake.write_bytes(trained.text.encode(), *self._path(manifest.id, TEXT))
            self._lake.write_bytes(
                msgspec.json.format(msgspec.json.encode(manifest)), *self._path(manifest.id, MANIFEST)
            )
        return manifest.id

    def has(self, id_: str) -> bool:
        """Whether there is a model with that id."""
        return self._lake.read_bytes(*self._path(id_, MANIFEST)) is not None

    def ids(self) -> tuple[str, ...]:
        """The ids of all models, sorted."""
        return tuple(name for name in self._lake.names(FOLDER, self._name) if _ID.fullmatch(name) and self.has(name))

    def manifest(self, id_: str) -> ModelManifest:
        """A model's manifest. Raises `UnknownNameError`, or `RetrainingError` if it is damaged."""
        kept = self._lake.read_bytes(*self._path(id_, MANIFEST))
        if kept is None:
            raise UnknownNameError("model", id_, self.ids(), f"the models called {self._name!r}")
        where = f"model {self._name}/{id_}"
        try:
            # The format first: a newer one may have other fields, and that is not damage.
            form = msgspec.json.decode(kept, type=_Form)
            if form.format > FORMAT:
                raise RetrainingError(
                    f"{where}: format {form.format}, this version reads up to {FORMAT}", hint="upgrade feature_assets"
                )
            manifest = msgspec.json.decode(kept, type=ModelManifest)
        except msgspec.DecodeError as error:
            raise RetrainingError(f"{where}: its manifest cannot be read: {error}", hint="train again") from error
        if (manifest.name, manifest.id) != (self._name, id_):
            raise RetrainingError(f"{where}: the manifest is that of {manifest.name}/{manifest.id}", hint="restore it")
        return manifest

    def load(self, id_: str) -> Predictor:
        """A model, ready to predict. Raises as `manifest` does, and `RetrainingError` if its text was changed."""
        manifest = self.manifest(id_)
        text = self._lake.read_bytes(*self._path(id_, TEXT))
        if text is None:
            raise RetrainingError(f"model {self._name}/{id_}: its text is gone", hint="restore it, or train again")
        return load(manifest, text)

    def champion(self) -> str | None:
        """The id of the model in use; None before the first promotion."""
        return self._decisions.champion(self._name)

    def _path(self, id_: str, file: str) -> tuple[str, ...]:
        if not _ID.fullmatch(id_):
            raise InputError(f"{id_!r} is no model's id", hint="an id is 16 hex digits")
        return (FOLDER, self._name, id_, file)
