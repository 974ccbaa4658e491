"""Expectations: a verdict for each partition of a commit.

Invariant: the verdict of a partition is a function of that partition's rows and of the suite alone, whatever else was
committed with it. Hence three ways to evaluate:

- where a row passes or fails by itself (`ROW_LOCAL`), once over all partitions, failing rows traced back to theirs;
- where rows are held against other rows or the table as a whole is, partition by partition;
- what could not be evaluated over all of them at once is evaluated again partition by partition, so that an error stays
  with the partition that causes it.

An expectation that cannot be built, or that raises, has failed; its error is in the verdict. One with the severity
"warning" is reported and never blocks. A partition without rows passes what is about rows, as there is none to fail,
while what is about the table (its row count, a mean) is held against nothing and may fail. NaN counts as missing, as it
does in pandas, which evaluates.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import Clock
from feature_assets.definition.view import Expectation, FeatureView
from feature_assets.offline.verdicts import Verdict
from feature_assets.quality.suite import built, named_columns, suite_hash
from feature_assets.quality.validation import MAX_ERROR, Answer, Validation

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation as BuiltExpectation

ROW_LOCAL = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_null",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)
"""A row passes or fails by itself."""

ALL_ROWS_COUNT = frozenset({"expect_column_values_to_be_null", "expect_column_values_to_not_be_null"})
"""Here the share is of all rows; everywhere else of those with a value."""


class ExpectationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one expectation said about one partition.

    `failing_rows` and `share` (of the `considered` rows) are None where the expectation is not about rows; `observed`
    is what it saw instead, as text.
    """

    expectation: str
    column: str | None
    severity: str
    passed: bool
    failing_rows: int | None = None
    considered: int | None = None
    observed: str = ""
    error: str = ""

    @property
    def share(self) -> float | None:
        """Failing rows as a share of those considered."""
        if self.failing_rows is None or self.considered is None:
            return None
        return self.failing_rows / self.considered if self.considered else 0.0


def evaluated(
    view: FeatureView, version: str, tables: Mapping[str, pa.Table], commit_seq: int, *, clock: Clock
) -> list[Verdict]:
    """A verdict for each partition in `tables` (partition -> its rows, all of one schema), in their order.

    Great Expectations is imported only if the view declares expectations and there is a partition. Nothing is recorded.
    """
    results: dict[str, dict[int, ExpectationResult]] = {partition: {} for partition in tables}
    if view.expectations and tables:
        _evaluate(view.expectations, tables, results)
    suite, at = suite_hash(view), clock.now()
    verdicts = []
    for partition, found in results.items():
        ordered = [found[position] for position in sorted(found)]
        failed = [result for result in ordered if not result.passed]
        blocking = [result for result in failed if result.severity != "warning"]
        verdicts.append(
            Verdict(
                view=view.name,
                version=version,
                partition=partition,
                commit_seq=commit_seq,
                passed=not blocking,
                blocking_failures=len(blocking),
                warnings=len(failed) - len(blocking),
                error="; ".join(f"{result.expectation}: {result.error}" for result in failed if result.error),
                suite=suite,
                results=msgspec.json.encode(ordered).decode(),
                checked_at=at,
            )
        )
    return verdicts


def results_of(verdict: Verdict) -> tuple[ExpectationResult, ...]:
    """The results of each expectation behind a verdict, in the order of the view's declaration."""
    return msgspec.json.decode(verdict.results, type=tuple[ExpectationResult, ...])


def expectation_rows(verdicts: Sequence[Verdict]) -> list[dict[str, str | int | float | bool]]:
    """One flat record per partition and expectation, failed ones first: for a table in a report or a user interface."""
    rows: list[dict[str, str | int | float | bool]] = [
        {
            "partition": verdict.partition,
            "expectation": result.expectation,
            "column": result.column or "",
            "severity": result.severity,
            "passed": result.passed,
            "failing_rows": result.failing_rows or 0,
            "share": round(result.share or 0.0, 6),
            "detail": result.error or result.observed,
        }
        for verdict in verdicts
        for result in results_of(verdict)
    ]
    return sorted(rows, key=lambda row: bool(row["passed"]))


def _evaluate(
    expectations: Sequence[Expectation],
    tables: Mapping[str, pa.Table],
    results: Mapping[str, dict[int, ExpectationResult]],
) -> None:
    made = {position: built(expectation, position) for position, expectation in enumerate(expectations)}
    objects = {position: item for position, item in made.items() if not isinstance(item, str)}
    for position, item in made.items():
        if isinstance(item, str):
            for found in results.values():
                found[position] = _result(expectations[position], Answer(passed=False, error=item[:MAX_ERROR]))
    validation = Validation()
    together = {position for position in objects if _is_shared(expectations[position])}
    together -= _evaluate_together(
        validation, expectations, {position: objects[position] for position in together}, tables, results
    )
    for partition, table in tables.items():
        apart = {position: objects[position] for position in objects if position not in together}
        for position, answer in validation.answers(table, apart).items():
            results[partition][position] = _result(expectations[position], answer)


def _is_shared(expectation: Expectation) -> bool:
    """Whether the verdict of each partition follows from the failing rows of all of them."""
    if expectation.type not in ROW_LOCAL:
        return False
    if expectation.mostly is None or expectation.mostly == 1:
        return True
    # The share needs the rows considered, per partition: known where it is about one column and no condition.
    return expectation.column is not None and "row_condition" not in expectation.arguments


def _evaluate_together(
    validation: Validation,
    expectations: Sequence[Expectation],
    objects: Mapping[int, "BuiltExpectation"],
    tables: Mapping[str, pa.Table],
    results: Mapping[str, dict[int, ExpectationResult]],
) -> set[int]:
    """Evaluate over the rows of all partitions; returns the positions that have to be evaluated apart."""
    whole = pa.concat_tables(list(tables.values()))
    ends = np.cumsum([table.num_rows for table in tables.values()])
    answers = validation.answers(whole, objects)
    failed = {position for position, answer in answers.items() if answer.error or answer.rows is None}
    for position, answer in answers.items():
        if position in failed or answer.rows is None:
            continue
        failing = np.bincount(np.searchsorted(ends, answer.rows, side="right"), minlength=len(ends))
        for (partition, table), count in zip(tables.items(), failing, strict=True):
            expectation, considered = expectations[position], _considered(expectations[position], table)
            enough = count == 0 or (considered - int(count)) / max(considered, 1) >= (expectation.mostly or 1.0)
            results[partition][position] = _result(
                expectation, Answer(passed=bool(enough), failing=int(count), considered=considered)
            )
    return failed


def _considered(expectation: Expectation, table: pa.Table) -> int:
    if expectation.column is None or expectation.type in ALL_ROWS_COUNT:
        return int(table.num_rows)
    values = table[expectation.column]
    nans = pc.sum(pc.is_nan(values)).as_py() or 0 if pa.types.is_floating(values.type) else 0
    return int(table.num_rows - values.null_count - nans)


def _result(expectation: Expectation, answer: Answer) -> ExpectationResult:
    return ExpectationResult(
        expectation=expectation.type,
        column=expectation.column or ", ".join(named_columns(expectation)) or None,
        severity=expectation.severity,
        passed=answer.passed,
        failing_rows=answer.failing,
        considered=answer.considered,
        observed=answer.observed,
        error=answer.error,
    )
