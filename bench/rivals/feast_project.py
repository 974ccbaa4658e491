"""Feast's side of the comparison: three views of the same rows. Run by Feast's own Python, in a folder of its own.

    python feast_project.py DATA.parquet     # register the views, write their rows online

`DATA.parquet`: the columns `view`, `tailnum` and the features; `feature_store.yaml` is in the current folder.
"""

# mypy: ignore-errors
# Feast is not installed in this project's environment.

import sys
from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String

KEY = "tailnum"
VIEWS = ("first", "second", "third")
FEATURES = {
    "flights": Int64,
    "mean_dep_delay": Float64,
    "mean_arr_delay": Float64,
    "share_late": Float64,
    "share_cancelled": Float64,
    "cancelled": Bool,
    "bound_for": String,
}


def main(data: str) -> None:
    """Register and write."""
    entity = Entity(name=KEY, join_keys=[KEY], value_type=ValueType.STRING)
    schema = [Field(name=KEY, dtype=String), *(Field(name=name, dtype=dtype) for name, dtype in FEATURES.items())]
    source = FileSource(name="rows", path=data, timestamp_field="event_timestamp")
    views = [
        FeatureView(name=name, entities=[entity], ttl=timedelta(days=7), schema=schema, source=source) for name in VIEWS
    ]
    services = [FeatureService(name=f"rows_{count}", features=views[:count]) for count in (1, 3)]
    store = FeatureStore(".")
    store.apply([entity, *views, *services])
    rows = pd.read_parquet(data)
    rows["event_timestamp"] = pd.Timestamp.now("UTC").floor("s")
    for name in VIEWS:
        store.write_to_online_store(name, rows[rows["view"] == name].drop(columns="view"))


if __name__ == "__main__":
    main(sys.argv[1])
