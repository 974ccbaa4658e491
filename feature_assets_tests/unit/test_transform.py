"""Transforms: what comes out of a partition, by function and by SQL, and from no rows."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.compute.transform import Period, transformed, view_schema
from feature_assets.definition.entity import Entity
from feature_assets.definition.view import Feature, FeatureView, Sql
from feature_assets_tests.weather import DAY, INSTANT, PERIOD, SCHEMA, TEMP, reports, source, view

Frame = nw.DataFrame[Any]
REPORTED = reports(("jfk", 2, 21.5, 1), ("ewr", 1, None, 2), ("jfk", 0, float("nan"), 3))
HOUR = timedelta(hours=1)


def result(made: FeatureView, table: pa.Table = REPORTED) -> pa.Table:
    return transformed(made, {"reports": table}, PERIOD)


def by_sql(columns: str, tail: str = "", **changes: object) -> FeatureView:
    return view(Sql(f"SELECT {columns} FROM reports {tail}"), **changes)  # type: ignore[arg-type] # of any field


def test_the_schema_is_keys_times_order_features() -> None:
    made = view(
        entity=Entity("route", {"origin": pa.string(), "dest": pa.int32()}),
        features=[Feature("b", pa.list_(pa.float32())), Feature("a", pa.bool_())],
    )
    schema = view_schema(made)
    assert schema.names == ["origin", "dest", "event_at", "arrived_at", "sequence", "b", "a"]
    assert schema.types == [
        pa.string(), pa.int32(), INSTANT, INSTANT, pa.int64(), pa.list_(pa.float32()), pa.bool_(),
    ]  # fmt: skip
    assert [field.nullable for field in schema] == [False] * 5 + [True] * 2


def test_a_function_and_a_statement_give_the_same_rows_in_the_same_order() -> None:
    by_function = result(view())
    by_statement = result(by_sql("temp, arrived_at, event_at, airport"))
    assert by_function.schema == view_schema(view())
    assert by_function["airport"].to_pylist() == ["ewr", "jfk", "jfk"]
    assert by_function["event_at"].to_pylist() == [DAY + HOUR, DAY, DAY + 2 * HOUR]
    assert by_function["arrived_at"].to_pylist() == [DAY + 2 * HOUR, DAY + HOUR, DAY + 3 * HOUR]
    assert by_function["sequence"].to_pylist() == [0, 0, 0]
    assert by_statement.drop("temp") == by_function.drop("temp")
    for table in (by_function, by_statement):
        temp = table["temp"]
        assert (temp[0].as_py(), temp[2].as_py()) == (None, 21.5)
        assert pc.is_nan(temp[1]).as_py(), "a value that is no number is not a missing one"


def test_the_order_of_the_input_does_not_matter() -> None:
    for made in (view(), by_sql("airport, event_at, arrived_at, temp")):
        assert result(made, REPORTED.take([2, 0, 1])).drop("temp") == result(made).drop("temp")


def test_without_an_arrival_it_is_that_of_the_last_input() -> None:
    table = result(by_sql("airport, event_at, temp", "WHERE airport = 'ewr'"))
    assert table["arrived_at"].to_pylist() == [DAY + 3 * HOUR]


@pytest.mark.parametrize(
    "made",
    [
        view(), view(lambda frame: frame.select("airport", "event_at", "temp")), by_sql("airport, event_at, temp"),
        by_sql("airport, $partition_end AS event_at, sum(temp) AS temp", "GROUP BY ALL"),
        view(lambda frame: frame.drop("temp"), features=[Feature("n", pa.int64())], order_by="n"),
    ],
    ids=["whole", "no arrival", "sql", "sql groups", "ordered"],
)  # fmt: skip
def test_no_events_make_no_rows(made: FeatureView) -> None:
    table = result(made, SCHEMA.empty_table())
    assert table.num_rows == 0
    assert table.schema == view_schema(made)


def test_a_statement_without_groups_has_a_row_even_on_an_empty_day() -> None:
    made = by_sql("'all' AS airport, $partition_end AS event_at, count(*) AS n", features=[Feature("n", pa.int64())])
    [row] = result(made, SCHEMA.empty_table()).to_pylist()
    assert row == {"airport": "all", "event_at": PERIOD.end, "arrived_at": PERIOD.end, "sequence": 0, "n": 0}


def test_the_end_of_the_partition_belongs_to_what_it_covers() -> None:
    assert result(by_sql("airport, $partition_end AS event_at, max(temp) AS temp", "GROUP BY ALL")).num_rows == 2
    assert result(by_sql("airport, $partition_start AS event_at, max(temp) AS temp", "GROUP BY ALL")).num_rows == 2


def test_the_declared_order_is_the_sequence() -> None:
    def numbered(frame: Frame) -> Frame:
        return frame.select(
            "airport", "temp", nw.col("n").cast(nw.Int32), event_at=nw.lit(DAY).cast(nw.Datetime("us", "UTC"))
        )

    table = result(view(numbered, order_by="n"))
    assert table["sequence"].to_pylist() == [2, 1, 3]
    both = result(view(numbered, features=[TEMP, Feature("n", pa.int32())], order_by="n"))
    assert (both["n"].to_pylist(), both["n"].type) == ([2, 1, 3], pa.int32())
    assert both["sequence"].to_pylist() == [2, 1, 3]


def test_several_sources_come_in_their_order() -> None:
    other = source(name="others")

    def first_of(one: Frame, two: Frame) -> Frame:
        return one.filter(nw.col("n") > two["n"].max()).drop("n")

    inputs = {"others": reports(("jfk", 0, 1.0, 2)), "reports": REPORTED}
    by_function = transformed(view(first_of, sources=[source(), other]), inputs, PERIOD)
    assert by_function["event_at"].to_pylist() == [DAY]
    joined = Sql("SELECT r.airport, r.event_at, o.temp FROM reports r JOIN others o USING (airport)")
    by_statement = transformed(view(joined, sources=[source(), other]), inputs, PERIOD)
    assert by_statement["temp"].to_pylist() == [1.0, 1.0]


def test_a_transform_sees_the_columns_of_its_source_alone() -> None:
    stored = REPORTED.append_column("commit_seq", pa.array([1, 2, 3]))
    seen: list[list[str]] = []

    def spying(frame: Frame) -> Frame:
        seen.append(frame.columns)
        return frame.drop("n")

    assert result(view(spying), stored).num_rows == 3
    assert seen == [SCHEMA.names]
    assert result(by_sql("* EXCLUDE (n)"), stored).num_rows == 3


def test_a_source_without_arrivals_shows_those_of_ingest() -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("arrived_at"))
    made = view(sources=source(schema=schema, arrived_at=None))
    assert result(made, REPORTED.select([*schema.names, "arrived_at"]))["arrived_at"].to_pylist()[0] == DAY + 2 * HOUR


def test_lazy_and_chunked_frames_are_the_same() -> None:
    expected = result(view()).drop("temp")
    chunks = pa.concat_tables([REPORTED.slice(0, 1), REPORTED.slice(1, 0), REPORTED.slice(1)])
    assert result(view(), chunks).drop("temp") == expected
    assert result(view(lambda frame: frame.lazy().drop("n"))).drop("temp") == expected


TYPES: dict[str, tuple[pa.DataType, str, object]] = {
    "sum": (pa.int64(), "sum(n)", 6),
    "sum as double": (pa.float64(), "CAST(sum(n) AS DOUBLE)", 6.0),
    "count": (pa.int32(), "count(*)", 3),
    "average": (pa.float64(), "avg(n)", 2.0),
    "decimal": (pa.decimal128(10, 2), "CAST(1.5 AS DECIMAL(4, 1))", Decimal("1.50")),
    "text": (pa.string(), "'x'", "x"),
    "enum": (pa.string(), "CAST('a' AS ENUM ('a', 'b'))", "a"),
    "bytes": (pa.binary(), "'a'::BLOB", b"a"),
    "day": (pa.date32(), "max(event_at)::DATE", date(2024, 3, 10)),
    "instant": (INSTANT, "max(event_at)", DAY + 2 * HOUR),
    "flag": (pa.bool_(), "bool_or(n = 2)", True),
    "list": (pa.list_(pa.int64()), "list(n ORDER BY n)", [1, 2, 3]),
    "embedding": (pa.list_(pa.float32(), 2), "[1, 2]::FLOAT[2]", [1.0, 2.0]),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.string())]), "{'a': max(n), 'b': 'x'}", {"a": 3, "b": "x"}),
    "map": (pa.map_(pa.string(), pa.int64()), "MAP {'k': max(n)}", [("k", 3)]),
    "nothing": (pa.float64(), "NULL", None),
}


@pytest.mark.parametrize(("dtype", "expression", "expected"), TYPES.values(), ids=TYPES)
def test_what_sql_gives_fits_what_is_declared(dtype: pa.DataType, expression: str, expected: object) -> None:
    columns = f"'all' AS airport, $partition_end AS event_at, {expression} AS f"
    table = result(by_sql(columns, "LIMIT 1", features=[Feature("f", dtype)]))
    assert table.schema.field("f").type == dtype
    assert table["f"].to_pylist() == [expected]


def test_sql_knows_no_other_zone_than_utc() -> None:
    made = by_sql(
        "airport, event_at, hour(event_at) AS n", "WHERE date_trunc('day', event_at) = $partition_start",
        features=[Feature("n", pa.int64())],
    )  # fmt: skip
    assert result(made)["n"].to_pylist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (DAY, DAY),
        (DAY, DAY - HOUR),
        (datetime(2024, 1, 1), DAY),  # noqa: DTZ001 - what is refused
    ],
)
def test_a_period_goes_forward_and_has_a_zone(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError, match="period"):
        Period(start, end)


def test_the_period_of_a_day() -> None:
    assert Period.day(date(2024, 3, 10)) == PERIOD == Period(DAY, DAY + timedelta(days=1))
    assert Period(DAY.astimezone(), DAY + HOUR).start.astimezone(UTC) == DAY


def test_rows_of_every_hour_are_counted_as_by_hand() -> None:
    rows = [("jfk" if number % 3 else "ewr", number / 10, float(number), number) for number in range(200)]
    made = by_sql(
        "airport, date_trunc('hour', event_at) + INTERVAL 1 HOUR AS event_at, avg(temp) AS temp, count(*) AS n",
        "GROUP BY ALL", features=[TEMP, Feature("n", pa.int64())],
    )  # fmt: skip
    groups: dict[tuple[str, datetime], list[float]] = {}
    for airport, hours, temp, _ in rows:
        groups.setdefault((airport, DAY + int(hours) * HOUR + HOUR), []).append(temp)
    expected = [(*key, sum(temps) / len(temps), len(temps)) for key, temps in sorted(groups.items())]
    got = result(made, reports(*rows)).select(["airport", "event_at", "temp", "n"]).to_pylist()
    assert [tuple(row.values()) for row in got] == expected
