"""Versions: a short hash of what determines the values of a view, or the answer of a service.

Invariant: the same definition has the same version in every process, on every machine and under every supported Python;
a change that can change a value changes it. What only says when, how often or how well a view is kept is not in it.
"""

import dataclasses
import hashlib
import json
from functools import lru_cache
from importlib import metadata
from typing import Final

from feature_assets.clock import duration_us
from feature_assets.definition import sql
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.code_text import function_text
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureRef, FeatureView, Sql

STATE_FORMAT: Final = 1
"""Counts up when the same definition would be stored differently."""
_LENGTH: Final = 10


@lru_cache(maxsize=1024)
def view_version(view: FeatureView) -> str:
    """10 hexadecimal digits, lower case, over what determines the view's values.

    In it: the transform (see `code_text`; of SQL the text without comments and white space), the entity's keys, names
    and dtypes of what is stored, the aggregates and their windows, `order_by`, `lookback`, `buckets` (what is stored
    depends on them), names, schemas and times of the sources, and the minor versions of the libraries that compute.
    Not in it: ttl, delay, schedule, revisit, freshness, expectations, defaults, descriptions, owners, tags.
    """
    return _digest(
        {
            "format": STATE_FORMAT,
            "name": view.name,
            "keys": [(key.name, str(key.dtype)) for key in view.entity.keys],
            "features": [_column(feature) for feature in view.stored],
            **_aggregates(view),
            "order_by": view.order_by,
            "lookback": duration_us(view.lookback),
            "buckets": view.buckets,
            "sources": [_source(source) for source in view.sources],
            "transform": _transform(view),
        }
    )


@lru_cache(maxsize=1024)
def service_version(service: FeatureService) -> str:
    """10 hexadecimal digits, lower case, over what determines the service's answer, given the rows of its views.

    In it, beyond the versions of its views: which features, in which roles and order, with which keys, defaults and
    times to live, and the on-demand views with their functions.
    """
    items = [_ref(item) if isinstance(item, FeatureRef) else _on_demand(item) for item in service.features]
    return _digest({"format": STATE_FORMAT, "name": service.name, "features": items})


def _aggregates(view: FeatureView) -> dict[str, object]:
    """Nothing for a view of rows, whose version is what it was before there were others."""
    if not view.aggregates:
        return {}
    parts = [field.name for field in dataclasses.fields(Aggregate) if field.name not in {"default", "description"}]
    return {"aggregates": [{part: repr(getattr(one, part)) for part in parts} for one in view.aggregates]}


def _transform(view: FeatureView) -> dict[str, object]:
    if isinstance(view.transform, Sql):
        return {"sql": sql.normalised(view.transform.statement), "by": _libraries("duckdb", "pyarrow")}
    text = function_text(view.transform, f"{view.place}: FeatureView {view.name!r}: transform")
    return {"function": text, "by": _libraries("narwhals", "pyarrow")}


def _ref(ref: FeatureRef) -> dict[str, object]:
    return {
        "view": view_version(ref.view),
        "prefix": ref.prefix,
        "features": [(*_column(feature), repr(feature.default)) for feature in ref.selected],
        "keys": ref.key_map,
        "ttl": None if ref.view.ttl is None else duration_us(ref.view.ttl),
    }


def _on_demand(view: OnDemandView) -> dict[str, object]:
    return {
        "name": view.name,
        "request": [(one.name, str(one.dtype)) for one in view.request],
        "inputs": view.inputs,
        "features": [(*_column(feature), repr(feature.default)) for feature in view.features],
        "function": function_text(view.function, f"{view.place}: OnDemandView {view.name!r}: function"),
        "by": _libraries("numpy", "pyarrow"),
    }


def _source(source: BatchSource) -> dict[str, object]:
    return {
        "name": source.name,
        "schema": [(column.name, str(column.type)) for column in source.schema],
        "times": (source.event_at, source.arrived_at),
        "order_by": source.order_by,
    }


def _column(feature: Feature) -> tuple[str, str]:
    return feature.name, str(feature.dtype)


def _libraries(*names: str) -> list[str]:
    return [f"{name} {'.'.join(metadata.version(name).split('.')[:2])}" for name in names]


def _digest(parts: dict[str, object]) -> str:
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
