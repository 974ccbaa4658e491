"""A small model of late flights with training sets made up for it: for the tests of retraining.

Invariant: the same seed gives the same rows. `strength` says how much the features tell about the label.
"""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_assets.definition.entity import Entity
from feature_assets.definition.model import Gate, Label, Model, Split
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.retraining.manifest import TrainingData

START = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
TARGET = "memory:test"
TIME = pa.timestamp("us", tz="UTC")

SOURCE = BatchSource(
    "observations",
    pa.schema([("airport", pa.string()), ("event_at", TIME), ("wind", pa.float64())]),
    lambda *_: pa.table({}),
    arrived_at=None,
    start=date(2026, 1, 1),
)
VIEW = FeatureView(
    "weather",
    Entity("airport", {"airport": pa.string()}),
    SOURCE,
    lambda frame: frame,
    [Feature("wind", pa.float64()), Feature("sky", pa.string()), Feature("runways", pa.int64())],
)
SERVICE = FeatureService("departures", [VIEW])
SPLIT = Split(history=timedelta(days=59), valid=timedelta(days=7), test=timedelta(days=14))


def spine(start: datetime, end: datetime) -> pa.Table:
    """No rows: the tests bring their own."""
    return rows_of(0, 0, start, end, 0.0)


def model_of(*, gate: Gate | None = None, rounds: int = 40, name: str = "late", **parameters: object) -> Model:
    """The model, with what a test varies of it."""
    return Model(
        name,
        SERVICE,
        Label("late", "known_at", pa.bool_()),
        spine,
        "asked_at",
        SPLIT,
        gate,
        parameters={"num_leaves": 7, "min_data_in_leaf": 10, **parameters},
        rounds=rounds,
    )


def rows_of(seed: int, rows: int, start: datetime, end: datetime, strength: float) -> pa.Table:
    """A training set's table: the spine's columns and the service's, in the order of time."""
    rng = np.random.default_rng(seed)
    wind, sky = rng.normal(size=rows), rng.integers(0, 3, rows)
    late = rng.random(rows) < 1 / (1 + np.exp(-strength * (wind + (sky == 2))))
    span = (end - start) // timedelta(microseconds=1)
    asked = np.datetime64(start.replace(tzinfo=None), "us") + np.sort(rng.integers(0, span, rows))
    return pa.table(
        {
            "airport": pa.array(["JFK"] * rows, pa.string()),
            "asked_at": pa.array(asked, pa.timestamp("us")).cast(TIME),
            "known_at": pa.array(asked + np.timedelta64(2, "h"), pa.timestamp("us")).cast(TIME),
            "late": pa.array(late, pa.bool_()),
            "weather__wind": pa.array(wind, pa.float64(), mask=rng.random(rows) < 0.05),
            "weather__sky": pa.array(np.array(["clear", "cloudy", "storm"])[sky].tolist(), pa.string()),
            "weather__runways": pa.array(rng.integers(1, 5, rows), pa.int64()),
        }
    )


def data_of(
    seed: int = 0, *, rows: int = 4_000, strength: float = 2.0, until: datetime = UNTIL, name: str | None = None
) -> TrainingData:
    """A training set over the split's history."""
    return TrainingData(
        table=rows_of(seed, rows, until - SPLIT.history, until, strength),
        manifest_id=name or f"set-{seed}-{until.date()}",
        versions={"weather": view_version(VIEW)},
        commit_seq={"weather": 3},
        until=until,
    )


def weather_of(seed: int, rows: int, day: date, *, shift: float = 0.0) -> pa.Table:
    """A day of the view's rows, as a commit takes them."""
    rng = np.random.default_rng(seed)
    at = np.datetime64(day.isoformat(), "us") + np.arange(rows) * np.timedelta64(60, "s")
    instants = pa.array(at, pa.timestamp("us")).cast(TIME)
    return pa.table(
        {
            "airport": pa.array([f"A{i % 50}" for i in range(rows)], pa.string()),
            "event_at": instants,
            "arrived_at": instants,
            "sequence": pa.array(np.arange(rows), pa.int64()),
            "wind": pa.array(rng.normal(size=rows) + shift, pa.float64()),
            "sky": pa.array([("clear", "cloudy", "storm")[i] for i in rng.integers(0, 3, rows)], pa.string()),
            "runways": pa.array(rng.integers(1, 5, rows), pa.int64()),
            "bucket": pa.array(rng.integers(0, 4, rows), pa.int32()),
        }
    )
