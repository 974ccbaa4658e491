"""What enters `events/`: every row admitted, refused with a reason, or an error that says why none is."""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.errors import InputError, NaiveTimestampError, SchemaError
from feature_assets.offline.ingest import (
    AHEAD_OF_ARRIVAL,
    AHEAD_OF_INGEST,
    DUPLICATE,
    Admitted,
    admitted,
    with_known_arrivals,
)
from feature_assets_tests.report_log import at
from feature_assets_tests.weather import INSTANT, SCHEMA, source

NOW = at(3)
TOLERANCE = timedelta(minutes=5)
US = timedelta(microseconds=1)

Row = tuple[str, datetime, datetime, float | None, int]


def read(*rows: Row) -> pa.Table:
    return pa.table([[row[column] for row in rows] for column in range(len(SCHEMA))], schema=SCHEMA)


def row(hours: float = 1.0, late: timedelta = timedelta(hours=1), airport: str = "JFK", temp: float = 1.0) -> Row:
    return (airport, at(1, hours), at(1, hours) + late, temp, 0)


def ingested(table: object, *, order_by: tuple[str, ...] = ("airport",), now: datetime = NOW) -> Admitted:
    return admitted(source(order_by=order_by, future_tolerance=TOLERANCE), table, at(1), at(2), now)


def test_what_is_in_order_enters_as_it_is() -> None:
    rows = read(row(), row(2.0))
    found = ingested(rows)
    assert found.rows.equals(rows)
    assert found.refused.num_rows == len(found.reasons) == 0


def test_an_event_ahead_of_its_arrival_enters_within_the_tolerance_and_is_refused_beyond_it() -> None:
    rows = read(row(1.0, -TOLERANCE), row(2.0, -TOLERANCE - US), row(3.0))
    found = ingested(rows)
    assert found.rows.equals(rows.take([0, 2]))
    assert found.refused.equals(rows.slice(1, 1))
    assert found.reasons.to_pylist() == [AHEAD_OF_ARRIVAL]


def test_an_arrival_after_the_ingest_enters_within_the_tolerance_and_is_refused_beyond_it() -> None:
    now = at(1, 3.0)
    rows = read(row(1.0, timedelta(hours=2) + TOLERANCE), row(1.0, timedelta(hours=2) + TOLERANCE + US, "LGA"))
    found = ingested(rows, now=now)
    assert found.rows.equals(rows.slice(0, 1))
    assert found.reasons.to_pylist() == [AHEAD_OF_INGEST]


def test_a_row_delivered_twice_enters_once_with_its_first_arrival() -> None:
    later, first, other = row(late=timedelta(hours=2)), row(late=timedelta(hours=1)), row(airport="LGA")
    found = ingested(read(later, first, other, first))
    assert found.rows.equals(read(first, other))
    assert found.refused.equals(read(later, first))
    assert found.reasons.to_pylist() == [DUPLICATE] * 2


def test_a_row_without_a_value_is_delivered_twice_as_well() -> None:
    nothing: Row = ("JFK", at(1), at(1), None, 0)
    assert ingested(read(nothing, nothing)).reasons.to_pylist() == [DUPLICATE]


def test_rows_that_order_by_does_not_tell_apart_are_an_error() -> None:
    with pytest.raises(InputError, match=r"(?s)same event_at=.*, airport=JFK differ.*Hint: .*add to order_by"):
        ingested(read(row(temp=1.0), row(temp=2.0)))


def test_without_an_order_all_rows_enter() -> None:
    rows = read(row(temp=1.0), row(temp=2.0), row(temp=2.0))
    assert ingested(rows, order_by=()).rows.equals(rows)


def test_without_a_column_of_arrival_a_row_arrives_when_it_is_read() -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("arrived_at"))
    given = source(schema=schema, arrived_at=None)
    found = admitted(given, read(row(), row(2.0)).drop_columns(["arrived_at"]), at(1), at(2), NOW)
    assert found.rows.schema == given.event_schema
    assert found.rows.column("arrived_at").to_pylist() == [NOW, NOW]


def test_rows_outside_of_the_period_are_an_error() -> None:
    assert ingested(read(row(0.0), ("LGA", at(2) - US, NOW, 0.0, 0))).rows.num_rows == 2
    for hours in (24.0, -0.001):
        with pytest.raises(InputError, match=r"(?s)1 rows are outside the period.*start <= event_at < end"):
            ingested(read(row(), row(hours)))


@pytest.mark.parametrize("column", ["event_at", "arrived_at"])
def test_a_row_without_a_time_is_an_error(column: str) -> None:
    rows = read(row(), row(2.0))
    index = SCHEMA.get_field_index(column)
    with pytest.raises(InputError, match=f"'reports': column {column!r} is null in 1 of 2 rows"):
        ingested(rows.set_column(index, column, pa.array([None, at(1)], INSTANT)))


def test_what_the_source_did_not_declare_is_an_error() -> None:
    rows = read(row())
    naive = rows.set_column(1, "event_at", rows.column("event_at").cast(pa.timestamp("us")))
    cases: list[tuple[object, type[Exception], str]] = [
        (rows.to_pandas(), InputError, "its reader returned DataFrame"),
        (None, InputError, "its reader returned NoneType"),
        (rows.drop_columns(["n"]), SchemaError, "missing: 'n'"),
        (rows.append_column("gust", pa.array([1.0])), SchemaError, "not in the schema: 'gust'"),
        (rows.set_column(4, "n", pa.array(["1"])), SchemaError, "'n' is string and cannot become int64"),
        (rows.set_column(4, "n", pa.array([1.0])), SchemaError, "'n' is double and cannot become int64"),
        (naive, NaiveTimestampError, "'event_at' holds timestamps without a time zone"),
    ]
    for table, error, message in cases:
        with pytest.raises(error, match=f"(?s)'reports'.*{message}"):
            ingested(table)


def test_forms_of_the_same_values_are_taken() -> None:
    rows = read(row())
    other = rows.set_column(4, "n", rows.column("n").cast(pa.int8()))
    other = other.set_column(0, "airport", other.column("airport").dictionary_encode())
    other = other.set_column(1, "event_at", other.column("event_at").cast(pa.timestamp("ms", tz="America/New_York")))
    assert ingested(other).rows.equals(rows)


# ---- arrivals of rows that are read again
PLAIN = source(schema=SCHEMA.remove(SCHEMA.get_field_index("arrived_at")), arrived_at=None, order_by=())
readings = st.lists(st.tuples(st.sampled_from(["JFK", None]), st.sampled_from([0.0, float("nan"), None])), max_size=6)


def as_events(values: list[tuple[str | None, float | None]], arrivals: list[datetime]) -> pa.Table:
    columns = {
        "airport": pa.array([airport for airport, _ in values], pa.string()),
        "event_at": pa.array([at(1)] * len(values), INSTANT),
        "temp": pa.array([temp for _, temp in values], pa.float64()),
        "n": pa.array([0] * len(values), pa.int64()),
        "arrived_at": pa.array(arrivals, INSTANT),
    }
    return pa.table(columns, schema=PLAIN.event_schema)


@given(readings, readings, st.data())
def test_each_row_that_was_there_keeps_its_arrival_and_no_arrival_is_given_twice(
    before: list[tuple[str | None, float | None]], now: list[tuple[str | None, float | None]], data: st.DataObject
) -> None:
    arrivals = data.draw(st.lists(st.sampled_from([at(1, 5), at(1, 6)]), min_size=len(before), max_size=len(before)))
    found = with_known_arrivals(PLAIN, as_events(now, [NOW] * len(now)), as_events(before, arrivals))
    left: dict[str, list[datetime]] = {}
    for value, arrival in zip(before, arrivals, strict=True):
        left.setdefault(repr(value), []).append(arrival)
    expected = []
    for value in now:
        known = sorted(left.get(repr(value), []))
        expected.append(known[0] if known else NOW)
        left[repr(value)] = known[1:]
    assert found.column("arrived_at").to_pylist() == expected
    assert (
        found.drop_columns(["arrived_at"]).schema
        == as_events(now, [NOW] * len(now)).drop_columns(["arrived_at"]).schema
    )
