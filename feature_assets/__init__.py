"""Features as Dagster assets, trained on exactly what is served.

Definitions (`Entity`, `BatchSource`, `FeatureView`, ...) say what a feature is; `FeatureStore` computes, publishes,
looks up and builds training sets. Importing this module is quick: what needs Delta, pandas or a store is imported
when it is first used.
"""

import importlib
import typing

from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.model import Gate, Label, Model, Split
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Expectation, Feature, FeatureRef, FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.errors import FeatureAssetsError

if typing.TYPE_CHECKING:
    from feature_assets.settings import Settings, load_settings
    from feature_assets.store import FeatureStore
    from feature_assets.training.modes import as_logged, what_if

__all__ = [
    "Aggregate",
    "BatchSource",
    "Entity",
    "Expectation",
    "Feature",
    "FeatureAssetsError",
    "FeatureRef",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Gate",
    "Label",
    "Model",
    "OnDemandView",
    "Project",
    "RequestField",
    "Settings",
    "Split",
    "Sql",
    "Window",
    "as_logged",
    "load_settings",
    "what_if",
]

_LATER = {
    "FeatureStore": "feature_assets.store",
    "Settings": "feature_assets.settings",
    "as_logged": "feature_assets.training.modes",
    "load_settings": "feature_assets.settings",
    "what_if": "feature_assets.training.modes",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
