"""A partition's verdict is the naive one, and the same whatever else is committed with it."""

from datetime import UTC, date, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import ManualClock
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Expectation, Feature, FeatureView
from feature_assets.quality.expectations import evaluated, results_of
from feature_assets_tests.oracle import expectations as naive

CLOCK = ManualClock(datetime(2026, 1, 2, tzinfo=UTC))
SCHEMA = pa.schema([("airport", pa.string()), ("x", pa.float64()), ("n", pa.int64())])
SOURCE = BatchSource(
    "events",
    pa.schema([("airport", pa.string()), ("event_at", pa.timestamp("us", tz="UTC"))]),
    lambda *_: pa.table({}),
    arrived_at=None,
    start=date(2026, 1, 1),
)
XS = st.none() | st.sampled_from([float("nan"), -1.0, 0.0, 1.0, 2.0, 3.0])
NS = st.none() | st.integers(0, 5)
PARTITIONS = st.lists(st.lists(st.tuples(XS, NS), max_size=8), min_size=1, max_size=4)


def view_of(mostly: float, least: int) -> FeatureView:
    return FeatureView(
        "weather",
        Entity("airport", {"airport": pa.string()}),
        SOURCE,
        lambda frame: frame,
        [Feature("x", pa.float64()), Feature("n", pa.int64())],
        expectations=[
            Expectation(
                "expect_column_values_to_be_between", "x", mostly=mostly, arguments={"min_value": 0, "max_value": 2}
            ),
            Expectation("expect_column_values_to_not_be_null", "n", mostly=mostly),
            Expectation("expect_column_values_to_be_in_set", "n", arguments={"value_set": [0, 1, 2, 3, 4]}),
            Expectation("expect_column_values_to_be_unique", "n"),
            Expectation("expect_table_row_count_to_be_between", arguments={"min_value": least}),
        ],
    )


@settings(max_examples=25)
@given(PARTITIONS, st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.integers(0, 2))
def test_each_partition_gets_the_naive_verdict(
    partitions: list[list[tuple[float | None, int | None]]], mostly: float, least: int
) -> None:
    view = view_of(mostly, least)
    tables = {
        f"2026-01-{day:02}": pa.table([["JFK"] * len(rows), [x for x, _ in rows], [n for _, n in rows]], schema=SCHEMA)
        for day, rows in enumerate(partitions, start=1)
    }
    together = evaluated(view, "v", tables, 1, clock=CLOCK)
    for rows, verdict in zip(partitions, together, strict=True):
        xs, ns = [x for x, _ in rows], [n for _, n in rows]
        expected = [
            naive.holds(xs, lambda value: 0 <= value <= 2, mostly),
            naive.is_filled(ns, mostly),
            naive.holds(ns, lambda value: value < 5, 1.0),
            naive.is_unique(ns),
            len(rows) >= least,
        ]
        assert [result.passed for result in results_of(verdict)] == expected
        assert verdict.passed == all(expected)
        assert verdict.error == ""
        assert [verdict] == evaluated(view, "v", {verdict.partition: tables[verdict.partition]}, 1, clock=CLOCK)
