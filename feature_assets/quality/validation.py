"""Validation: the one place that runs Great Expectations.

Invariant: there is an answer for every expectation asked about, and one that raised or was not evaluated has failed.
No network, no files, no progress bars: the library's context lives in memory and is dropped afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.quality.suite import POSITION

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation as BuiltExpectation

EXACT_INTEGERS = 2**53
"""The greatest magnitude up to which every whole number is a float."""

MAX_ERROR = 500
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the library said about one expectation over one table.

    `rows` are the failing ones as numbered in the table, `failing` their count, `considered` how many could have
    failed; all None where the expectation is not about rows. `observed` is what it saw instead, as text.
    """

    passed: bool
    failing: int | None = None
    rows: npt.NDArray[np.int64] | None = None
    considered: int | None = None
    observed: str = ""
    error: str = ""


class Validation:
    """The library, ready to evaluate tables one after another. Made once per commit: setting it up takes its time."""

    def __init__(self) -> None:
        import great_expectations as gx

        context = gx.get_context(mode="ephemeral")
        variables: Any = context.variables  # its declared type is not what it accepts
        variables.progress_bars = {"globally": False, "metric_calculations": False}
        asset = context.data_sources.add_pandas("partitions").add_dataframe_asset("rows")
        self._batch = asset.add_batch_definition_whole_dataframe("all")

    def answers(self, table: pa.Table, objects: Mapping[int, "BuiltExpectation"]) -> dict[int, Answer]:
        """What is said about each expectation over `table`, in which failing rows are numbered from 0."""
        if not objects:
            return {}
        frame = _frame(table)
        unanswered = Answer(passed=False, error="it was not evaluated")
        try:
            return dict.fromkeys(objects, unanswered) | self._validated(frame, list(objects.values()))
        except Exception as error:  # noqa: BLE001 - whatever an expectation raises becomes its failed verdict
            if len(objects) == 1:
                return {position: Answer(passed=False, error=_shortened(error)) for position in objects}
        answers: dict[int, Answer] = {}
        for position, item in objects.items():
            answers |= self.answers(table, {position: item})
        return answers

    def _validated(self, frame: pd.DataFrame, objects: list["BuiltExpectation"]) -> dict[int, Answer]:
        import great_expectations as gx

        outcome = self._batch.get_batch({"dataframe": frame}).validate(
            gx.ExpectationSuite(name="declared", expectations=objects), result_format={"result_format": "COMPLETE"}
        )
        answers: dict[int, Answer] = {}
        for found in outcome.results:
            config: Any = found.expectation_config
            answers[config.meta[POSITION]] = _answer(found)
        return answers


def _answer(found: "ExpectationValidationResult") -> Answer:
    error = _raised(found.exception_info)
    if error:
        return Answer(passed=False, error=error[:MAX_ERROR])
    detail = found.result
    rows, count = detail.get("unexpected_index_list"), detail.get("unexpected_count")
    observed = detail.get("observed_value")
    if rows is None or len(rows) != count:
        # numpy's bool is no bool, and not every expectation casts its own.
        return Answer(passed=bool(found.success), observed="" if observed is None else str(observed)[:MAX_ERROR])
    return Answer(
        passed=bool(found.success),
        failing=len(rows),
        rows=np.asarray(rows, dtype=np.int64),
        considered=int(detail["element_count"]) - int(detail.get("missing_count") or 0),
    )


def _raised(info: object) -> str:
    """The message of what an expectation raised: the library keeps one, or one for each of its metrics; "" if none."""
    if not isinstance(info, Mapping):
        return ""
    if info.get("raised_exception") is True:
        return str(info.get("exception_message") or "it raised without a message")
    return next((message for value in info.values() if (message := _raised(value))), "")


def _shortened(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_ERROR]


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table in pandas, rows numbered from 0. Whole numbers with nulls become floats only if none loses digits."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for name, values in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(values.type) and values.null_count:
            bounds = pc.min_max(values).as_py()
            magnitude = max(abs(bounds["min"] or 0), abs(bounds["max"] or 0))
            if magnitude > EXACT_INTEGERS:
                frame[name] = values.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
    return frame
