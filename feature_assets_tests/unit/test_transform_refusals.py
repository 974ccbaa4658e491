"""What a transform is told that does not give what its view declares: where, which column, which value, the way out."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from feature_assets.compute.dry_run import check_transform, check_transforms
from feature_assets.compute.transform import transformed
from feature_assets.definition.project import Project
from feature_assets.definition.view import Feature, FeatureView, Sql
from feature_assets.errors import InputError, NaiveTimestampError, TransformError
from feature_assets_tests.weather import PERIOD, REPORTS, SCHEMA, TEMP, reports, source, view

Frame = nw.DataFrame[Any]
REPORTED = reports(("jfk", 2, 21.5, 1), ("ewr", 1, 20.5, 2), ("jfk", 0, 19.5, 2**53 + 1))
INTEGER = [Feature("temp", pa.int64())]


def naive(frame: Frame) -> Frame:
    return frame.drop("n").with_columns(nw.col("event_at").dt.replace_time_zone(None))


def broken(_frame: Frame) -> Frame:
    raise ZeroDivisionError("what a pity")


def unknown(frame: Frame) -> Frame:
    return frame.select("airport", "event_at", nw.col("tmp"))


def sql(columns: str, tail: str = "") -> Sql:
    return Sql(f"SELECT {columns} FROM reports {tail}")


COLUMNS: dict[str, tuple[FeatureView, list[str]]] = {
    "entity missing": (
        view(lambda frame: frame.drop("airport", "n")),
        ["no column 'airport', a key of entity 'airport'", "the output, which has: arrived_at, event_at, temp"],
    ),
    "entity misspelt": (
        view(lambda frame: frame.drop("n").rename({"airport": "aiport"})),
        ["no column 'airport', a key of entity 'airport'", "did you mean 'aiport'?"],
    ),
    "feature missing": (
        view(sql("airport, event_at")),
        ["no column 'temp', a declared feature", "add it to the output"],
    ),
    "feature misspelt": (view(sql("airport, event_at, temp AS tmp")), ["no column 'temp'", "did you mean 'tmp'?"]),
    "time missing": (view(sql("airport, temp")), ["no column 'event_at', the time that each row is about"]),
    "order missing": (view(order_by="position"), ["no column 'position', the declared order_by"]),
    "not declared": (
        view(lambda frame: frame),
        ["has a column 'n' that view 'weather' does not declare", "declare Feature('n', ...), or drop the column"],
    ),
    "twice": (view(sql("airport, event_at, temp, temp")), ["the output has 2 columns 'temp'"]),
    "unknown in a function": (view(unknown), ["transform unknown: unknown column 'tmp' at ", "did you mean 'temp'?"]),
    "unknown in sql": (
        view(sql("airport, event_at, tmp")),
        ["transform SQL: unknown column 'tmp'", "did you mean 'temp'?"],
    ),
    "unknown of a table": (
        view(sql("airport, event_at, reports.tmp")),
        ["unknown column 'tmp'", "did you mean 'temp'?"],
    ),
    "unknown table": (
        view(Sql("SELECT * FROM report")),
        ["unknown table 'report'", "the names of the view's sources", "did you mean 'reports'?"],
    ),
    "float for integer": (
        view(features=INTEGER),
        ["column 'temp' is double, declared as int64", "nw.col('temp').cast(nw.Int64)", "CAST(temp AS BIGINT)"],
    ),
    "text for float": (view(sql("airport, event_at, 'x' AS temp")), ["column 'temp' is string, declared as double"]),
    "wide for narrow float": (
        view(features=[Feature("temp", pa.float32())]),
        ["column 'temp' is double, declared as float", "declare it as double"],
    ),
    "flag for integer": (
        view(sql("airport, event_at, true AS temp"), features=INTEGER),
        ["column 'temp' is bool, declared as int64"],
    ),
    "decimal for float": (
        view(sql("airport, event_at, 1.5 AS temp")),
        ["column 'temp' is decimal128(2, 1), declared as double", "CAST(temp AS DOUBLE)"],
    ),
    "key of another type": (
        view(sql("1 AS airport, event_at, temp")),
        ["column 'airport' is int32, declared as string"],
    ),
    "date for instant": (
        view(sql("airport, event_at::DATE AS event_at, temp")),
        ["column 'event_at' is date32[day], declared as timestamp[us, tz=UTC]"],
    ),
    "no frame": (
        view(lambda frame: frame.to_native()),
        ["it returned Table, not a narwhals frame", "without .to_native()"],
    ),
    "nothing": (view(lambda _: None), ["it returned NoneType, not a narwhals frame"]),
    "raises": (view(broken), ["transform broken: it raised ZeroDivisionError at ", "what a pity", "an empty one"]),
    "not a statement": (view(Sql("SELECT airport FRM reports")), ["DuckDB refused: ", "syntax error"]),
    "wrong types in sql": (
        view(sql("airport, event_at, event_at + 1.5 AS temp")),
        ["DuckDB refused: ", "No function matches"],
    ),
    "pivots": (view(Sql("FROM (PIVOT reports ON airport USING count(*))")), ["not one SELECT"]),
}

ROWS: dict[str, tuple[FeatureView, list[str]]] = {
    "null key": (
        view(sql("nullif(airport, 'ewr') AS airport, event_at, temp")),
        [
            "column 'airport' is null in 1 of 3 rows",
            "airport=None, event_at=2024-03-10T01:00:00+00:00",
            "drop such rows",
        ],
    ),
    "null time": (view(sql("airport, NULL AS event_at, temp")), ["column 'event_at' is null in 3 of 3 rows"]),
    "null arrival": (
        view(sql("airport, event_at, temp, NULL::TIMESTAMPTZ AS arrived_at")),
        ["column 'arrived_at' is null in 3 of 3 rows"],
    ),
    "null order": (
        view(sql("airport, event_at, temp, nullif(n, 1) AS n"), order_by="n"),
        ["column 'n' is null in 1 of 3 rows", "airport='jfk'"],
    ),
    "too early": (
        view(sql("airport, event_at - INTERVAL 1 HOUR AS event_at, temp")),
        ["event_at 2024-03-09T23:00:00+00:00 is outside of the partition", "2024-03-10T00:00:00+00:00 to 2024-03-11"],
    ),
    "too late": (
        view(sql("airport, $partition_end + INTERVAL 1 MICROSECOND AS event_at, temp")),
        ["event_at 2024-03-11T00:00:00.000001+00:00 is outside", "filter on $partition_start and $partition_end"],
    ),
    "same instant": (
        view(sql("airport, $partition_end AS event_at, temp")),
        [
            "1 rows repeat the key and time",
            "airport='jfk', event_at=2024-03-11T00:00:00+00:00, sequence=0",
            "declare order_by",
        ],
    ),
    "same order": (
        view(sql("airport, $partition_end AS event_at, temp, 7 AS n"), order_by="n"),
        ["1 rows repeat the key and time", "sequence=7", "keep one row per key and instant"],
    ),
    "integer past 2**53": (
        view(sql("airport, event_at, n AS temp")),
        ["column 'temp' is int64, declared as double; the value 9007199254740993 would change"],
    ),
    "integer past 32 bits": (
        view(sql("airport, event_at, n AS temp"), features=[Feature("temp", pa.int32())]),
        ["column 'temp' is int64, declared as int32; the value 9007199254740993 would change", "CAST(temp AS INTEGER)"],
    ),
    "sum past 64 bits": (
        view(sql("airport, event_at, n::HUGEINT * 10000 AS temp"), features=INTEGER),
        ["column 'temp' is decimal128(38, 0), declared as int64; the value Decimal('90071992547409930000')"],
    ),
    "nanoseconds": (
        view(
            sql("airport, event_at, make_timestamp_ns(epoch_us(event_at) * 1000 + 1) AS temp"),
            features=[Feature("temp", pa.timestamp("us", "UTC"))],
        ),
        ["column 'temp' holds timestamps without a time zone"],
    ),
}


@pytest.mark.parametrize(("made", "parts"), [*COLUMNS.values(), *ROWS.values()], ids=[*COLUMNS, *ROWS])
def test_a_wrong_output_is_refused_with_the_way_out(made: FeatureView, parts: list[str]) -> None:
    with pytest.raises((TransformError, NaiveTimestampError)) as caught:
        transformed(made, {"reports": REPORTED}, PERIOD)
    message = str(caught.value)
    assert message.startswith(f"{made.place}: FeatureView 'weather': transform ")
    assert Path(made.place.file).name == "weather.py"
    assert caught.value.hint
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize(("made", "parts"), COLUMNS.values(), ids=COLUMNS)
def test_a_dry_run_finds_what_does_not_depend_on_values(made: FeatureView, parts: list[str]) -> None:
    with pytest.raises(TransformError) as caught:
        check_transform(made)
    assert parts[0] in str(caught.value)


@pytest.mark.parametrize("made", ROWS.values(), ids=ROWS)
def test_the_rest_needs_values(made: tuple[FeatureView, list[str]]) -> None:
    if made[0].features[0].dtype == pa.timestamp("us", "UTC"):
        with pytest.raises(NaiveTimestampError):
            check_transform(made[0])
    else:
        check_transform(made[0])


def test_a_naive_time_is_refused_by_its_column() -> None:
    with pytest.raises(
        NaiveTimestampError, match="transform naive: column 'event_at' holds timestamps without a time zone"
    ):
        transformed(view(naive), {"reports": REPORTED}, PERIOD)


def test_what_a_transform_raised_is_behind_the_one_error() -> None:
    with pytest.raises(TransformError) as caught:
        transformed(view(broken), {"reports": REPORTED}, PERIOD)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    line = str(caught.value).partition(f"{__file__}:")[2].partition(":")[0]
    assert "raise ZeroDivisionError" in Path(__file__).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_an_error_of_this_package_comes_through_as_it_is() -> None:
    wanted = InputError("from deep inside")

    def refusing(_frame: Frame) -> Frame:
        raise wanted

    with pytest.raises(InputError) as caught:
        transformed(view(refusing), {"reports": REPORTED}, PERIOD)
    assert caught.value is wanted


INPUTS: dict[str, tuple[Mapping[str, pa.Table], str]] = {
    "no table": ({"report": REPORTED}, "no events were given for source 'reports'"),
    "no column": ({"reports": REPORTED.drop("temp")}, "the events of source 'reports' have no column 'temp'"),
}


@pytest.mark.parametrize(("inputs", "message"), INPUTS.values(), ids=INPUTS)
def test_missing_events_are_refused(inputs: Mapping[str, pa.Table], message: str) -> None:
    with pytest.raises(InputError, match=message):
        transformed(view(), inputs, PERIOD)


def test_a_project_is_run_dry_as_a_whole() -> None:
    late = source(name="late", start=PERIOD.start.date() + timedelta(days=9))
    joined = view(
        Sql("SELECT * EXCLUDE (n) FROM reports UNION ALL SELECT * EXCLUDE (n) FROM late"),
        sources=[REPORTS, late],
        name="b",
    )
    check_transforms(Project("all", [REPORTS, late], [view(), joined], []))
    wrong = view(name="c", features=[TEMP, Feature("n", pa.int64())])
    with pytest.raises(TransformError, match="FeatureView 'c': transform as_reported: the output has no column 'n'"):
        check_transforms(Project("all", [REPORTS, late], [view(), joined, wrong], []))


def test_a_statement_leaves_nothing_behind() -> None:
    for _ in range(3):
        assert transformed(view(sql("airport, event_at, temp")), {"reports": REPORTED}, PERIOD).num_rows == 3
    hidden = view(Sql("SELECT * FROM others"), sources=[source(name="reports")])
    transformed(
        view(Sql("SELECT airport, event_at, temp FROM others"), sources=[source(name="others")]),
        {"others": REPORTED},
        PERIOD,
    )
    with pytest.raises(TransformError, match="unknown table 'others'"):
        transformed(hidden, {"reports": REPORTED}, PERIOD)


def test_a_statement_does_not_see_the_variables_of_the_process() -> None:
    # `table` is a variable of the very function that runs the statement, and of this one.
    table = REPORTED
    with pytest.raises(TransformError, match="unknown table 'table'"):
        transformed(view(Sql('SELECT * FROM "table"')), {"reports": table}, PERIOD)


def test_a_statement_does_not_see_files(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.csv"
    secrets.write_text("airport,temp\njfk,1\n", encoding="utf-8")
    for origin in (f"'{secrets}'", f"read_csv('{secrets}')", f"read_text('{secrets}')", f"glob('{tmp_path}/*')"):
        with pytest.raises(TransformError, match="disabled by configuration"):
            transformed(view(Sql(f"SELECT * FROM {origin}")), {"reports": REPORTED}, PERIOD)


def test_more_than_the_memory_limit_is_spilled() -> None:
    rows = 200_000
    start = SCHEMA.empty_table()
    times = pa.array([PERIOD.start] * rows, pa.timestamp("us", "UTC"))
    names = pa.array([f"airport {number:0100d}" for number in range(rows)])
    wide = pa.table(
        [names, times, times, pa.nulls(rows, pa.float64()), pa.nulls(rows, pa.int64())], schema=start.schema
    )
    statement = "SELECT airport, event_at, count(*) AS n FROM reports GROUP BY ALL ORDER BY airport"
    made = view(Sql(statement), features=[Feature("n", pa.int64())])
    assert transformed(made, {"reports": wide}, PERIOD, memory_limit=40 << 20).num_rows == rows
    with pytest.raises(TransformError, match="raise the memory limit"):
        transformed(made, {"reports": wide}, PERIOD, memory_limit=1 << 20)
