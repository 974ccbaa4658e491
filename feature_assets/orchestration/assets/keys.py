"""Asset keys and what all assets share: owners, kinds, pools.

Invariant: a key's first part is the folder of the lake that the asset writes, its second the name of the definition.
"""

from datetime import timedelta

import dagster as dg

from feature_assets.definition.model import Model
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView

LAKE_POOL = "lake"


def source_key(source: BatchSource) -> dg.AssetKey:
    """`events/<source>`."""
    return dg.AssetKey(["events", source.name])


def view_key(view: FeatureView) -> dg.AssetKey:
    """`features/<view>`."""
    return dg.AssetKey(["features", view.name])


def online_key(view: FeatureView) -> dg.AssetKey:
    """`online/<view>`."""
    return dg.AssetKey(["online", view.name])


def drift_key(view: FeatureView) -> dg.AssetKey:
    """`drift/<view>`."""
    return dg.AssetKey(["drift", view.name])


def training_set_key(model: Model) -> dg.AssetKey:
    """`training_sets/<model>`."""
    return dg.AssetKey(["training_sets", model.name])


def model_key(model: Model) -> dg.AssetKey:
    """`models/<model>`."""
    return dg.AssetKey(["models", model.name])


def owners(owner: str) -> list[str]:
    """Dagster's form of an owner: an e-mail address, or a team."""
    if not owner:
        return []
    return [owner if "@" in owner or owner.startswith("team:") else f"team:{owner}"]


def freshness(objective: timedelta | None) -> dg.FreshnessPolicy | None:
    """The asset fails its freshness when its objective has passed, and warns at three quarters of it."""
    if objective is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=objective, warn_window=objective * 0.75)
