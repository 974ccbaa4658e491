"""The history of a view's values against the naive answers: at every instant that matters, for every entity.

Over the same histories as the training sets, of rows and of aggregates, in every mode.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_assets.clock import from_us, to_us
from feature_assets.definition.view import FeatureView
from feature_assets.definition.window import Window
from feature_assets.training.history import History
from feature_assets.training.modes import Mode
from feature_assets.training.validity import value_history
from feature_assets_tests.histories import START, view_of
from feature_assets_tests.oracle.point_in_time import Life, Push, Row, Version
from feature_assets_tests.property import test_point_in_time as rows
from feature_assets_tests.property import test_windows_in_training as windows

Key = tuple[str, int]
TTL = timedelta(hours=13)
OF_ROWS = view_of(
    "stock",
    {"shop": pa.string(), "shelf": pa.int32()},
    {"amount": pa.float64(), "note": pa.string()},
    buckets=rows.BUCKETS,
    delay=timedelta(hours=2),
    ttl=TTL,
)


def history_of(view: FeatureView, life: Life) -> History:
    return windows.history_of(view, life)


def answers(view: FeatureView, life: Life, mode: Mode, asked: list[tuple[Key, int]]) -> list[dict[str, Any]]:
    """What each entity has at each instant, naively."""
    spine = [(key, "", at) for key, at in asked]
    if view.aggregates:
        columns = windows.Case(view, life, spine, mode).expected()
        listed = [{name: values[place] for name, values in columns.items()} for place in range(len(asked))]
    else:
        listed = rows.Case(life, spine, mode, view.ttl).expected()
    names = [*view.feature_names, "event_at", "availability"]
    return [{name: one[f"stock__{name}"] for name in names} for one in listed]


def is_answer(view: FeatureView, one: dict[str, Any], at: int) -> bool:
    """Whether there was a value: something was visible, and it had not expired."""
    if one["event_at"] is None:
        return False
    return view.aggregates != () or at - one["event_at"] <= TTL // timedelta(microseconds=1)


def instants(found: Sequence[dict[str, Any]], start: int, end: int) -> list[int]:
    """Where something may go wrong: both sides of each end, and a few between."""
    ends = {to_us(at) for row in found for at in (row["valid_from"], row["valid_to"]) if at is not None}
    beside = {at + by for at in ends for by in (-1, 0)}
    return sorted(at for at in beside | set(range(start, end, rows.SIX_HOURS * 3)) if start <= at < end)


# Its one window begins and ends at midnight only, when nothing else changes.
YESTERDAY = windows.view(Window.tumbling(timedelta(days=1)))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.sampled_from([OF_ROWS, windows.SHORT, windows.FOREVER, YESTERDAY]),
    rows.lives(),
    rows.MODES,
    st.integers(2, 12),
    st.integers(1, 16),
    st.booleans(),
)
def test_at_every_instant_it_is_what_was_answered(
    view: FeatureView, life: Life, mode: Mode, first: int, length: int, fading: bool
) -> None:
    if not windows.Case(windows.SHORT, life, [], mode).is_settled:
        return
    start = START + first * timedelta(hours=6)
    end = start + length * timedelta(hours=6)
    # What fades changes at every hop, and would hide that a record leaves at one.
    names = tuple(name for name in view.feature_names if fading or "decayed" not in name)
    table = value_history(view[names], start, end, history_of(view, life), mode=mode)
    found = table.to_pylist()
    by_key: dict[Key, list[dict[str, Any]]] = {key: [] for key in rows.KEYS}
    for row in found:
        by_key[row["shop"], row["shelf"]].append(row)
    for key, mine in by_key.items():
        for one, other in pairwise(mine):
            assert one["valid_to"] <= other["valid_from"]
            alike = all(repr(one[name]) == repr(other[name]) for name in (*names, "availability"))
            assert not (alike and one["valid_to"] == other["valid_from"])
        asked = instants(mine, to_us(start), to_us(end))
        for at, expected in zip(asked, answers(view, life, mode, [(key, at) for at in asked]), strict=True):
            holding = [
                row
                for row in mine
                if row["valid_from"] <= from_us(at) and (row["valid_to"] is None or from_us(at) < row["valid_to"])
            ]
            assert len(holding) == is_answer(view, expected, at), (key, at)
            for row in holding:
                for name in (*names, "availability"):
                    assert repr(row[name]) == repr(expected[name]), (key, at, name)


def test_a_row_that_a_correction_takes_away_was_there_until_then() -> None:
    """The corrected day is pushed at midnight on the sixth, without the second shop, which has nothing in its place."""
    day, both = rows.FIRST_DAY, (("a", 1), ("b", 1))
    there = [
        Row(key, rows.bucket_of(key), rows.ORIGIN + rows.SIX_HOURS, 0, rows.ORIGIN + rows.SIX_HOURS, (1.0, "x"))
        for key in both
    ]
    versions = (Version(day, 1, True, tuple(there)), Version(day, 2, True, tuple(there[:1])))
    pushes = tuple(
        Push(commit, at - 5, tuple((bucket, at) for bucket in range(rows.BUCKETS)))
        for commit, at in ((1, rows.ORIGIN + rows.DAY_US), (2, rows.ORIGIN + 5 * rows.DAY_US))
    )
    life = Life(versions, pushes, rows.ORIGIN + rows.DAY_US, rows.DAY_US, 0)
    view = windows.view(Window.lifetime())
    table = value_history(view["count_lifetime"], START, START + timedelta(days=9), history_of(view, life))
    ends = {row["shop"]: row["valid_to"] for row in table.to_pylist()}
    assert ends == {"a": None, "b": START + timedelta(days=5)}
