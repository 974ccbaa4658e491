"""Every aggregate function over some records, by name: what `aggregates_numbers` and `aggregates_objects` say together.

It imports nothing of the product. What may be missed by a known error is a `Within`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_assets_tests.oracle import aggregates_numbers as numbers
from feature_assets_tests.oracle import aggregates_objects as objects


@dataclass(frozen=True, slots=True)
class Row:
    """A record, with all of its columns; None for a null."""

    event_at: int
    sequence: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Within:
    """A number that is not further off than a share of `value` and `off` beside it."""

    value: float
    share: float = 0.0
    off: float = 0.0

    def is_met(self, answer: object) -> bool:
        """Whether an answer is one of these numbers."""
        if not isinstance(answer, int | float):
            return False
        return answer == self.value or abs(answer - self.value) <= abs(self.value) * self.share + self.off


@dataclass(frozen=True, slots=True)
class Asked:
    """A function and its parameters; `size` and `hop` of the window, and the instant that it is of: microseconds."""

    function: str
    column: str | None
    by: str | None
    size: int | None
    hop: int
    as_of: int
    given: Mapping[str, Any]


def answer(asked: Asked, rows: Sequence[Row]) -> object:
    """The value of the records in one window; None, or `OVERFLOW`, or a number that has to be met."""
    if asked.function in _OF_OBJECTS:
        column = asked.column or ""
        return _of_objects(asked, [objects.Record(row.event_at, row.sequence, row.values[column]) for row in rows])
    over = asked.given.get("over", "")
    records = [
        numbers.Record(
            row.event_at, row.values.get(asked.column or ""), row.values.get(over), row.values.get(asked.by or "")
        )
        for row in rows
    ]
    if asked.by is None:
        return _of_numbers(asked, records)
    return numbers.keyed(records, lambda some: _of_numbers(asked, list(some)), asked.given["bound"])


_OF_OBJECTS = {
    "first",
    "last",
    "last_k",
    "last_distinct_k",
    "count_distinct",
    "top_k",
    "approx_count_distinct",
    "approx_percentile",
}


def _of_objects(asked: Asked, records: Sequence[objects.Record]) -> object:
    given = asked.given
    match asked.function:
        case "first" | "last":
            return getattr(objects, asked.function)(records)
        case "last_k" | "last_distinct_k":
            return getattr(objects, asked.function)(records, given["k"])
        case "count_distinct":
            return objects.count_distinct(records, given["bound"])
        case "top_k":
            return objects.top_k(records, given["k"], given["bound"])
        case "approx_count_distinct":
            registers = objects.registers(records, given["precision"])
            # It is rounded to a whole number.
            return Within(objects.estimate(registers, given["precision"]), 1e-9, 0.5) if registers else 0
    # Each of the numbers that are given here has a bucket of its own.
    if len(set(objects.numbers(records))) > given["bound"]:
        return objects.OVERFLOW
    value = objects.percentile(records, given["percentile"])
    return None if value is None else Within(value, given["accuracy"] * (1 + 1e-9))


def _of_numbers(asked: Asked, records: Sequence[numbers.Record]) -> object:
    given = asked.given
    column = None if asked.column is None else "x"
    match asked.function:
        case "count":
            return numbers.count(records, column)
        case "rate":
            return numbers.rate(records, asked.size or 0, column)
        case "min" | "max":
            return numbers.extreme(records, greatest=asked.function == "max")
        case "sum":
            return numbers.sum_(records, scale=given.get("scale"))
        case "mean":
            return numbers.mean(records, scale=given.get("scale"))
        case "var" | "stddev":
            return numbers.variance(records, is_root=asked.function == "stddev")
        case "ratio":
            return numbers.ratio(records, scale=given.get("scale"))
        case "time_since_last":
            return numbers.since_last(records, asked.as_of, column)
        case "histogram":
            return numbers.histogram(records, given["edges"])
    counts = asked.function == "decayed_count"
    return numbers.decayed(records, asked.as_of, asked.hop, given["half_life"], column=column, counts=counts)
