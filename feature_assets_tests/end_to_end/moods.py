"""A small project whose model needs fresh features: a machine's mood lasts a few hours, and decides whether it stalls.

Invariant: the same every time. A mood is measured five past every full hour and known at once; it changes every six
hours; what is asked half past an hour stalls if the mood is bad, but for one case in ten. So a day later a mood says
nothing, and an hour later almost everything.
"""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

import feature_assets as fa

TIME = pa.timestamp("us", "UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 34
DELAY = timedelta(hours=2)
"""From the end of a day to servable."""
MACHINES = ("drill", "lathe")
MOODS = pa.schema([("machine", pa.string()), ("mood", pa.float64()), ("event_at", TIME), ("arrived_at", TIME)])
_LASTS = 6
_HOUR = timedelta(hours=1)

_RNG = np.random.default_rng(7)
_MOODS = _RNG.integers(0, 2, (len(MACHINES), DAYS * 24 // _LASTS + 1)).astype(float)
_LUCK = _RNG.random((len(MACHINES), DAYS * 24)) < 0.1


def _hours(start: datetime, end: datetime) -> range:
    """The hours of [start, end), counted from the first day."""
    return range(max((start - START) // _HOUR, 0), min((end - START) // _HOUR, DAYS * 24))


def read_moods(start: datetime, end: datetime, now: datetime) -> pa.Table:
    """The moods that were measured in some days, as far as they are known by `now`."""
    rows = [
        {"machine": name, "mood": _MOODS[which, hour // _LASTS], "event_at": at, "arrived_at": at}
        for hour in _hours(start, end)
        for which, name in enumerate(MACHINES)
        if (at := START + hour * _HOUR + timedelta(minutes=5)) <= now
    ]
    return pa.Table.from_pylist(rows, schema=MOODS)


def spine(start: datetime, end: datetime) -> pa.Table:
    """Every machine half past every hour; whether it stalled is known an hour later."""
    rows = [
        {
            "machine": name,
            "asked_at": (at := START + hour * _HOUR + timedelta(minutes=30)),
            "stalls": bool((_MOODS[which, hour // _LASTS] > 0) != _LUCK[which, hour]),
            "known_at": at + _HOUR,
        }
        for hour in _hours(start, end)
        for which, name in enumerate(MACHINES)
    ]
    columns = [("machine", pa.string()), ("asked_at", TIME), ("stalls", pa.bool_()), ("known_at", TIME)]
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))


moods = fa.BatchSource("moods", MOODS, read_moods, start=date(2026, 1, 1))
machine = fa.Entity("machine", keys={"machine": pa.string()})
mood = fa.FeatureView(
    "mood",
    machine,
    moods,
    lambda frame: frame,
    features=[fa.Feature("mood", pa.float64())],
    delay=DELAY,
    buckets=1,
)
service = fa.FeatureService("stalling", [mood])
model = fa.Model(
    "stalls",
    service,
    fa.Label("stalls", "known_at", pa.bool_()),
    spine,
    "asked_at",
    fa.Split(history=timedelta(days=32), valid=timedelta(days=5), test=timedelta(days=12)),
    parameters={"min_data_in_leaf": 5, "num_leaves": 4},
    rounds=10,
)
project = fa.Project("factory", sources=[moods], views=[mood], services=[service], models=[model])
