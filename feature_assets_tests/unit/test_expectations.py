"""Expectations: verdicts per partition, whatever is committed together, and no silent pass."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.entity import Entity
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Expectation, Feature, FeatureView
from feature_assets.errors import DefinitionError
from feature_assets.offline.verdicts import Verdict
from feature_assets.quality.expectations import evaluated, expectation_rows, results_of
from feature_assets.quality.suite import check_suite, known_types, suite_hash, validated_suite

CLOCK = ManualClock(datetime(2026, 1, 2, tzinfo=UTC))
SCHEMA = pa.schema([("airport", pa.string()), ("x", pa.float64()), ("n", pa.int64()), ("ok", pa.bool_())])
NOT_NULL = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
PAIR = "expect_column_pair_values_to_be_equal"
ROWS = "expect_table_row_count_to_be_between"


def view_of(*expectations: Expectation) -> FeatureView:
    events = BatchSource(
        "events",
        pa.schema([("airport", pa.string()), ("event_at", pa.timestamp("us", tz="UTC"))]),
        lambda *_: pa.table({}),
        arrived_at=None,
        start=date(2026, 1, 1),
    )
    return FeatureView(
        "weather",
        Entity("airport", {"airport": pa.string()}),
        events,
        lambda frame: frame,
        [Feature("x", pa.float64()), Feature("n", pa.int64()), Feature("ok", pa.bool_())],
        expectations=expectations,
    )


def table(
    x: Sequence[float | None], n: Sequence[int | None] | None = None, airport: Sequence[str | None] | None = None
) -> pa.Table:
    rows = len(x)
    return pa.table(
        {
            "airport": ["JFK"] * rows if airport is None else airport,
            "x": x,
            "n": list(range(rows)) if n is None else n,
            "ok": [True] * rows,
        },
        schema=SCHEMA,
    )


def verdicts_of(view: FeatureView, tables: Mapping[str, pa.Table]) -> dict[str, Verdict]:
    return {verdict.partition: verdict for verdict in evaluated(view, "v", tables, 7, clock=CLOCK)}


def passed(view: FeatureView, tables: Mapping[str, pa.Table]) -> dict[str, bool]:
    return {partition: verdict.passed for partition, verdict in verdicts_of(view, tables).items()}


def test_failing_rows_fail_their_own_partition_only() -> None:
    view = view_of(Expectation(NOT_NULL, "x"), Expectation(BETWEEN, "n", arguments={"min_value": 0, "max_value": 10}))
    found = verdicts_of(
        view, {"d1": table([1.0, 2.0]), "d2": table([1.0, None]), "d3": table([1.0], n=[11]), "d4": table([3.0])}
    )
    assert {day: verdict.passed for day, verdict in found.items()} == {"d1": True, "d2": False, "d3": False, "d4": True}
    null, between = results_of(found["d2"])
    assert (null.passed, null.failing_rows, null.considered, null.share) == (False, 1, 2, 0.5)
    assert (between.passed, between.failing_rows, between.share) == (True, 0, 0.0)
    assert found["d2"].commit_seq == 7
    assert found["d2"].blocking_failures == 1
    assert found["d2"].checked_at == CLOCK.now()
    assert found["d2"].suite == suite_hash(view)


def test_the_share_that_suffices_is_taken_per_partition() -> None:
    """Two of four rows fail over all: over both partitions as over one frame, `mostly` would fail or pass both."""
    view = view_of(Expectation(BETWEEN, "x", mostly=0.5, arguments={"max_value": 1}))
    assert passed(view, {"d1": table([0.0, 0.0, 5.0]), "d2": table([5.0, 5.0, 0.0])}) == {"d1": True, "d2": False}


def test_the_share_is_of_the_rows_with_a_value() -> None:
    view = view_of(Expectation(BETWEEN, "x", mostly=0.6, arguments={"max_value": 1}))
    tables = {"d1": table([0.0, 5.0, None, None, float("nan")]), "d2": table([0.0, 0.0, 5.0, None, None])}
    assert passed(view, tables) == {"d1": False, "d2": True}
    assert [results_of(v)[0].considered for v in verdicts_of(view, tables).values()] == [2, 3]


def test_the_share_of_nulls_is_of_all_rows_and_nan_counts_as_null() -> None:
    view = view_of(Expectation(NOT_NULL, "x", mostly=0.5))
    tables = {"d1": table([1.0, None]), "d2": table([1.0, None, float("nan")])}
    assert passed(view, tables) == {"d1": True, "d2": False}


def test_rows_are_held_against_rows_of_their_own_partition_only() -> None:
    view = view_of(Expectation("expect_column_values_to_be_unique", "n"))
    tables = {"d1": table([1.0, 1.0]), "d2": table([1.0, 1.0]), "d3": table([1.0, 1.0], n=[4, 4])}
    assert passed(view, tables) == {"d1": True, "d2": True, "d3": False}


def test_what_is_about_the_table_is_evaluated_for_each_partition() -> None:
    view = view_of(
        Expectation(ROWS, arguments={"min_value": 2}),
        Expectation("expect_column_mean_to_be_between", "x", arguments={"max_value": 2}),
    )
    found = verdicts_of(view, {"d1": table([1.0, 2.0]), "d2": table([1.0]), "d3": table([9.0, 9.0])})
    assert {day: verdict.passed for day, verdict in found.items()} == {"d1": True, "d2": False, "d3": False}
    assert [result.observed for result in results_of(found["d3"])] == ["2", "9.0"]
    assert [result.failing_rows for result in results_of(found["d3"])] == [None, None]


@pytest.mark.parametrize("others", [{}, {"d0": table([1.0]), "d2": table([2.0, None])}])
def test_an_empty_partition_passes_what_is_about_rows_and_is_held_to_what_is_about_the_table(
    others: dict[str, pa.Table],
) -> None:
    rows = [
        Expectation(NOT_NULL, "x"),
        Expectation("expect_column_values_to_be_unique", "n"),
        Expectation(
            "expect_column_value_z_scores_to_be_less_than", "x", arguments={"threshold": 3, "double_sided": True}
        ),
        Expectation(BETWEEN, "x", mostly=0.9, arguments={"min_value": 0}),
    ]
    tables = {**others, "d1": table([])}
    assert passed(view_of(*rows), tables)["d1"]
    assert not passed(view_of(*rows, Expectation(ROWS, arguments={"min_value": 1})), tables)["d1"]
    assert passed(view_of(*rows, Expectation(ROWS, arguments={"max_value": 9})), tables)["d1"]


def test_a_warning_is_reported_and_does_not_block() -> None:
    view = view_of(Expectation(NOT_NULL, "x", severity="warning"), Expectation(NOT_NULL, "n"))
    verdict = verdicts_of(view, {"d1": table([None])})["d1"]
    assert (verdict.passed, verdict.blocking_failures, verdict.warnings) == (True, 0, 1)
    assert [row["passed"] for row in expectation_rows([verdict])] == [False, True]


def test_no_expectations_pass_without_anything_to_show() -> None:
    verdict = verdicts_of(view_of(), {"d1": table([None])})["d1"]
    assert (verdict.passed, results_of(verdict), verdict.error) == (True, (), "")
    assert evaluated(view_of(Expectation(NOT_NULL, "x")), "v", {}, 7, clock=CLOCK) == []


@pytest.mark.parametrize(
    ("expectation", "says"),
    [
        (Expectation("expect_nothing_known", "x"), "not found"),
        (Expectation(BETWEEN, "x"), "cannot both be None"),
        (Expectation(BETWEEN, "x", arguments={"max_value": 1, "colour": "red"}), "extra fields"),
        (Expectation(PAIR, arguments={"column_A": "x", "column_B": "nowhere"}), "nowhere"),
        (Expectation("expect_column_mean_to_be_between", "airport", arguments={"max_value": 1}), "mean"),
        (
            Expectation("expect_column_values_to_match_like_pattern", "airport", arguments={"like_pattern": "a"}),
            "Pandas",
        ),
        (Expectation(BETWEEN, "airport", arguments={"max_value": 1}), "TypeError|not supported|type"),
    ],
    ids=["unknown", "incomplete", "extra", "column", "reduction", "engine", "type"],
)
def test_what_cannot_be_evaluated_fails_with_its_error(expectation: Expectation, says: str) -> None:
    found = verdicts_of(view_of(expectation, Expectation(NOT_NULL, "n")), {"d1": table([1.0]), "d2": table([2.0])})
    for verdict in found.values():
        broken, fine = results_of(verdict)
        assert not verdict.passed
        assert not broken.passed
        assert any(part in verdict.error for part in says.split("|")), verdict.error
        assert expectation.type in verdict.error
        assert fine.passed, "one that raises must not take the others with it"


def test_a_warning_that_raises_is_shown_with_its_error_and_does_not_block() -> None:
    broken = Expectation(PAIR, severity="warning", arguments={"column_A": "x", "column_B": "nowhere"})
    verdict = verdicts_of(view_of(broken), {"d1": table([1.0])})["d1"]
    assert verdict.passed
    assert verdict.warnings == 1
    assert "nowhere" in verdict.error


def test_an_unknown_expectation_fails_an_empty_partition_too() -> None:
    assert passed(view_of(Expectation("expect_nothing_known", "x")), {"d1": table([])}) == {"d1": False}


def _raising(column: str, when: Callable[[Any], bool]) -> str:
    """Register an expectation that raises if any value of `column` fulfils `when`; returns its type."""
    from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
        column_condition_partial,
    )
    from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
        ColumnMapMetricProvider,
    )

    def condition(cls: type, column: "pd.Series[float]", **_: object) -> "pd.Series[bool]":
        if column.map(when).any():
            raise RuntimeError("this one cannot be judged")
        return column.notna()

    provider = {
        "condition_metric_name": f"column_values.judged_{column}",
        "_pandas": column_condition_partial(engine=PandasExecutionEngine)(condition),
    }
    type("Judged", (ColumnMapMetricProvider,), provider)
    name = f"ExpectColumnValuesToBeJudged{column.title()}"
    body = {"map_metric": f"column_values.judged_{column}", "__module__": __name__, "__doc__": "Raises."}
    made: Any = type(name, (ColumnMapExpectation,), body)
    return str(made.expectation_type)


def test_one_that_raises_for_the_rows_of_one_partition_fails_that_partition_alone() -> None:
    raising = _raising("x", lambda value: value == 13.0)
    view = view_of(Expectation(raising, "x"), Expectation(NOT_NULL, "n"))
    found = verdicts_of(view, {"d1": table([1.0]), "d2": table([13.0]), "d3": table([2.0])})
    assert {day: verdict.passed for day, verdict in found.items()} == {"d1": True, "d2": False, "d3": True}
    assert "this one cannot be judged" in found["d2"].error
    assert found["d1"].error == ""


def test_a_condition_restricts_the_rows_and_their_share() -> None:
    from great_expectations.expectations.row_conditions import Column

    condition = Column("airport") == "JFK"
    strict = Expectation(BETWEEN, "x", arguments={"max_value": 1, "row_condition": condition})
    lax = Expectation(BETWEEN, "x", mostly=0.5, arguments={"max_value": 1, "row_condition": condition})
    tables = {
        "d1": table([5.0, 0.0], airport=["EWR", "JFK"]),
        "d2": table([5.0, 0.0, 0.0, 0.0], airport=["JFK", "JFK", "EWR", "EWR"]),
        "d3": table([5.0, 5.0, 0.0, 0.0], airport=["JFK", "JFK", "JFK", "EWR"]),
    }
    assert passed(view_of(strict), tables) == {"d1": True, "d2": False, "d3": False}
    assert passed(view_of(lax), tables) == {"d1": True, "d2": True, "d3": False}


def test_great_integers_beside_nulls_keep_their_last_digit() -> None:
    view = view_of(Expectation("expect_column_values_to_be_in_set", "n", arguments={"value_set": [2**60 + 1]}))
    tables = {"d1": table([1.0, 1.0], n=[2**60 + 1, None]), "d2": table([1.0, 1.0], n=[2**60, None])}
    assert passed(view, tables) == {"d1": True, "d2": False}


def test_the_suite_is_identified_by_what_can_change_a_verdict() -> None:
    one = view_of(Expectation(BETWEEN, "x", arguments={"max_value": 1}))
    same = view_of(Expectation(BETWEEN, "x", arguments={"max_value": 1}))
    other = view_of(Expectation(BETWEEN, "x", arguments={"max_value": 2}))
    assert suite_hash(one) == suite_hash(same) != suite_hash(other)


def test_a_suite_is_checked_by_name_and_column_without_evaluating() -> None:
    assert NOT_NULL in known_types()
    check_suite(view_of(Expectation(NOT_NULL, "x"), Expectation(NOT_NULL, "airport")))
    with pytest.raises(DefinitionError, match="expect_column_values_to_not_be_null"):
        check_suite(view_of(Expectation("expect_column_values_to_not_be_nul", "x")))
    with pytest.raises(DefinitionError, match="unknown column 'y'"):
        check_suite(view_of(Expectation(PAIR, arguments={"column_A": "x", "column_B": "y"})))
    with pytest.raises(DefinitionError, match="unknown column 'z'"):
        check_suite(view_of(Expectation("expect_compound_columns_to_be_unique", arguments={"column_list": ["x", "z"]})))


def test_a_suite_is_validated_with_its_arguments() -> None:
    validated_suite(view_of(Expectation(BETWEEN, "x", arguments={"max_value": 1})))
    with pytest.raises(DefinitionError, match="weather") as caught:
        validated_suite(view_of(Expectation(BETWEEN, "x", arguments={"max_value": 1, "colour": "red"})))
    assert "colour" in str(caught.value)
