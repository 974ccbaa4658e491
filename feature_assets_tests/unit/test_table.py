"""Versioned partitions: what a commit writes, what a read returns, which changes of schema are an evolution."""

import random
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.errors import DefinitionError, NaiveTimestampError, SchemaError
from feature_assets.offline import footer, snapshot
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import PartitionedTable
from feature_assets_tests.partitions import BUCKETS, PATH, SCHEMA, TIME, feature_rows, speeds, xs

JAN1, JAN31, FEB1 = "2013-01-01", "2013-01-31", "2013-02-01"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


@pytest.fixture
def table(lake: Lake) -> PartitionedTable:
    return speeds(lake)


def versions(table: PartitionedTable, upto: int | None = None) -> list[tuple[object, ...]]:
    rows = table.partition_versions(upto).to_pylist()
    return [(row["partition"], row["commit_seq"], row["source_seq"], row["rows"]) for row in rows]


def test_a_table_that_was_never_written_is_empty(table: PartitionedTable) -> None:
    assert table.head() == 0
    assert table.partition_versions().num_rows == 0
    assert table.read().num_rows == table.read_versions().num_rows == 0
    assert table.read().schema.names[:5] == SCHEMA.names


def test_partitions_of_one_commit_share_its_number_and_numbers_are_dense(table: PartitionedTable) -> None:
    first = table.commit({JAN1: feature_rows(JAN1, [1.0, 2.0]), FEB1: feature_rows(FEB1, [3.0])}, source_seq={JAN1: 7})
    second = table.commit({JAN1: feature_rows(JAN1, [1.0, 9.0])}, source_seq={JAN1: 8})
    assert (first.seq, first.written, first.rows) == (1, (JAN1, FEB1), 3)
    assert (second.seq, second.written, second.rows) == (2, (JAN1,), 2)
    assert second.delta_version > first.delta_version
    assert table.head() == 2
    assert versions(table) == [(JAN1, 1, 7, 2), (FEB1, 1, None, 1), (JAN1, 2, 8, 2)]
    assert versions(table, upto=1) == [(JAN1, 1, 7, 2), (FEB1, 1, None, 1)]


def test_what_has_not_changed_is_not_written(table: PartitionedTable) -> None:
    days = {JAN1: feature_rows(JAN1, [1.0, None]), FEB1: feature_rows(FEB1, [])}
    version = table.commit(days).delta_version
    again = table.commit(days, source_seq={JAN1: 99})
    assert (again.seq, again.written, again.unchanged, again.rows) == (None, (), (JAN1, FEB1), 0)
    assert again.delta_version == version
    part = table.commit({**days, FEB1: feature_rows(FEB1, [5.0])})
    assert (part.seq, part.written, part.unchanged) == (2, (FEB1,), (JAN1,))


def test_the_order_of_rows_and_the_form_of_columns_are_no_change(table: PartitionedTable) -> None:
    rows = feature_rows(JAN1, [3.0, float("nan"), None, -0.0])
    table.commit({JAN1: rows})
    shuffled = rows.take(random.Random(4).sample(range(4), 4))
    text = shuffled.column("k").dictionary_encode()
    other = shuffled.set_column(0, "k", text).set_column(3, "sequence", shuffled.column("sequence").cast(pa.int32()))
    assert table.commit({JAN1: other}).seq is None


@pytest.mark.parametrize("values", [[0.0], [None], [float("nan")], [], [-0.0, 1.0]])
def test_every_change_of_a_value_is_a_change(table: PartitionedTable, values: list[float | None]) -> None:
    table.commit({JAN1: feature_rows(JAN1, [-0.0])})
    assert table.commit({JAN1: feature_rows(JAN1, values)}).seq == 2
    assert str(xs(table.read())) == str(values)


def test_forced_partitions_are_written_again(table: PartitionedTable) -> None:
    days = {JAN1: feature_rows(JAN1, [1.0]), FEB1: feature_rows(FEB1, [1.0])}
    table.commit(days)
    assert table.commit(days, force=frozenset({FEB1})).written == (FEB1,)
    assert versions(table)[-1] == (FEB1, 2, None, 1)


def test_an_empty_version_supersedes_and_is_superseded_whole(table: PartitionedTable) -> None:
    table.commit({JAN1: feature_rows(JAN1, [1.0, 2.0])})
    table.commit({JAN1: feature_rows(JAN1, [])})
    assert table.read().num_rows == 0
    assert xs(table.read(upto=1)) == [1.0, 2.0]
    assert versions(table)[-1] == (JAN1, 2, None, 0)
    assert table.commit({JAN1: feature_rows(JAN1, [])}).seq is None
    table.commit({JAN1: feature_rows(JAN1, [3.0])})
    assert xs(table.read()) == [3.0]
    assert xs(table.read(upto=2)) == []
    assert xs(table.read_versions()) == [1.0, 2.0, 3.0]


def test_a_row_is_in_the_newest_version_that_counts(table: PartitionedTable) -> None:
    for value in (1.0, 2.0, 3.0):
        table.commit({JAN1: feature_rows(JAN1, [value]), FEB1: feature_rows(FEB1, [10.0])})
    assert xs(table.read()) == [3.0, 10.0]
    assert xs(table.read(excluded=frozenset({(JAN1, 3)}))) == [2.0, 10.0]
    assert xs(table.read(excluded=frozenset({(JAN1, 3), (JAN1, 2), (FEB1, 1)}))) == [1.0]
    assert xs(table.read(upto=2, excluded=frozenset({(JAN1, 2)}))) == [1.0, 10.0]
    assert xs(table.read(upto=0)) == []
    assert xs(table.read(partitions=[JAN1])) == [3.0]
    assert xs(table.read(partitions=[])) == []
    assert xs(table.read(partitions=["1999-01-01"])) == []
    assert xs(table.read_versions(upto=2, partitions=[JAN1])) == [1.0, 2.0]


def test_rows_are_by_partition_then_bucket_then_key(table: PartitionedTable) -> None:
    table.commit({FEB1: feature_rows(FEB1, range(6))})
    table.commit({JAN1: feature_rows(JAN1, range(6))})
    rows = table.read()
    assert rows.column("partition").to_pylist() == [JAN1] * 6 + [FEB1] * 6
    assert rows.column("bucket").to_pylist() == [0, 0, 1, 1, 2, 3] * 2
    assert rows.column("k").to_pylist() == ["k0", "k4", "k1", "k5", "k2", "k3"] * 2


def test_some_buckets(table: PartitionedTable) -> None:
    table.commit({JAN1: feature_rows(JAN1, range(9)), JAN31: feature_rows(JAN31, [])})
    assert xs(table.read(buckets=[1])) == [1.0, 5.0]
    assert xs(table.read(buckets={3, 0})) == [0.0, 4.0, 8.0, 3.0, 7.0]
    assert xs(table.read(buckets=[])) == []
    assert sum(table.read(buckets=[bucket]).num_rows for bucket in range(BUCKETS)) == 9


def test_a_range_of_event_time_is_closed_and_crosses_months(table: PartitionedTable) -> None:
    # A row about the whole of 31 January is dated 1 February and belongs to the partition of January's last day.
    table.commit({JAN31: feature_rows(FEB1, [1.0]), FEB1: feature_rows(FEB1, [2.0], hour=1)})
    midnight = datetime(2013, 2, 1, tzinfo=UTC)
    one = midnight + timedelta(hours=1)
    assert xs(table.read(event_range=(midnight, midnight))) == [1.0]
    assert xs(table.read(event_range=(midnight, one))) == [1.0, 2.0]
    assert xs(table.read(event_range=(None, one - timedelta(microseconds=1)))) == [1.0]
    assert xs(table.read(event_range=(midnight + timedelta(microseconds=1), None))) == [2.0]
    assert xs(table.read_versions(event_range=(None, midnight))) == [1.0]


def test_a_range_does_not_bring_back_a_superseded_version(table: PartitionedTable) -> None:
    table.commit({JAN1: feature_rows(JAN1, [1.0], hour=1)})
    table.commit({JAN1: feature_rows(JAN1, [2.0], hour=5)})
    early = (None, datetime(2013, 1, 1, 2, tzinfo=UTC))
    assert xs(table.read(event_range=early)) == []
    assert xs(table.read(event_range=early, upto=1)) == [1.0]


def test_columns_are_those_asked_for_in_that_order(table: PartitionedTable) -> None:
    table.commit({JAN1: feature_rows(JAN1, [1.0])}, source_seq={JAN1: 4})
    rows = table.read(columns=("source_seq", "x", "partition", "row"))
    assert rows.to_pylist() == [{"source_seq": 4, "x": 1.0, "partition": JAN1, "row": 0}]
    lifecycle = ["partition", "commit_seq", "source_seq", "bucket", "available_at", "superseded_at"]
    assert table.read().column_names == [*SCHEMA.names, *lifecycle]
    assert table.read().schema.field("k") == SCHEMA.field("k")
    for unknown in ("y", "month"):
        with pytest.raises(SchemaError, match=f"no column {unknown!r}"):
            table.read(columns=("x", unknown))


def test_numbered_rows_are_the_rows_of_those_versions(table: PartitionedTable) -> None:
    for value in (1.0, 2.0):
        table.commit({FEB1: feature_rows(FEB1, [value] * 2), JAN1: feature_rows(JAN1, [-value])})
    wanted = [(FEB1, 2), (JAN1, 1), (FEB1, 1)]
    rows, places = table.read_numbered(wanted, columns=("x",))
    assert rows.column_names == ["x"]
    assert xs(rows) == [-1.0, 1.0, 1.0, 2.0, 2.0]
    assert places.tolist() == [0, 1, 1, 2, 2]
    some, place = table.read_numbered(wanted, columns=("x",), buckets=[1])
    assert (xs(some), place.tolist()) == ([1.0, 2.0], [1, 2])
    assert table.read_numbered([], columns=("x",))[1].tolist() == []


def test_versions_are_the_same_from_the_log_from_footers_and_from_the_rows(
    table: PartitionedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.commit({JAN1: feature_rows(JAN1, [1.0, 2.0]), JAN31: feature_rows(JAN31, [])}, source_seq={JAN1: 1, JAN31: 2})
    table.commit({JAN1: feature_rows(JAN1, [])}, source_seq={JAN1: 3})
    found = versions(table)
    assert found == [(JAN1, 1, 1, 2), (JAN31, 1, 2, 0), (JAN1, 2, 3, 0)]
    monkeypatch.setattr(snapshot, "_logged_version", lambda _file: None)
    assert versions(table) == found
    monkeypatch.setattr(snapshot, "versions_in", lambda _filesystem, _path: None)
    assert versions(table) == found
    assert versions(table, upto=1) == found[:2]


def test_a_footer_that_was_altered_is_not_believed(table: PartitionedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    table.commit({JAN1: feature_rows(JAN1, [1.0]), JAN31: feature_rows(JAN31, [2.0])})
    [file] = table.snapshot().files
    filesystem = table.lake.filesystem(*PATH)
    assert footer.versions_in(filesystem, file.path) is not None
    monkeypatch.setattr(zlib, "crc32", lambda _data: 1)
    assert footer.versions_in(filesystem, file.path) is None


def test_a_table_that_other_tools_compacted_reads_the_same(table: PartitionedTable, lake: Lake) -> None:
    for value in (1.0, 2.0, 3.0):
        table.commit({JAN1: feature_rows(JAN1, [value, 0.0]), JAN31: feature_rows(JAN31, [value])})
    before = [(table.read(upto=n), table.read_versions(upto=n), versions(table, n)) for n in range(4)]
    lake.open(*PATH).optimize.compact()
    assert [(table.read(upto=n), table.read_versions(upto=n), versions(table, n)) for n in range(4)] == before
    assert table.commit({JAN1: feature_rows(JAN1, [3.0, 0.0])}).seq is None
    assert table.commit({JAN1: feature_rows(JAN1, [4.0])}).seq == 4


def test_threads_that_commit_at_once_all_get_numbers_of_their_own(table: PartitionedTable) -> None:
    days = [f"2013-01-{day:02}" for day in range(1, 13)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda day: table.commit({day: feature_rows(day, [1.0])}), days))
    assert sorted(commit.seq or 0 for commit in done) == list(range(1, 13))
    assert {commit.written for commit in done} == {(day,) for day in days}
    assert table.head() == table.read().num_rows == 12


def test_threads_that_commit_the_same_content_write_it_once(table: PartitionedTable) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: table.commit({JAN1: feature_rows(JAN1, [1.0])}), range(4)))
    assert [commit.seq for commit in done].count(1) == 1
    assert [commit.seq for commit in done].count(None) == 3


# ---- the schema
def rows_with(schema: pa.Schema, day: str = JAN1) -> pa.Table:
    rows = feature_rows(day, [1.0])
    fields = [*schema, pa.field("bucket", pa.int32())]
    columns = [
        rows.column(field.name).cast(field.type) if field.name in rows.column_names else pa.array([None], field.type)
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields))


def test_an_added_nullable_column_is_null_in_the_rows_that_were_there(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    wider = SCHEMA.append(pa.field("y", pa.list_(pa.float32())))
    assert speeds(lake, wider).read().column("y").to_pylist() == [None]
    rows = rows_with(wider, FEB1).set_column(5, wider.field("y"), pa.array([[1.5, None]], pa.list_(pa.float32())))
    assert speeds(lake, wider).commit({FEB1: rows}).seq == 2
    assert speeds(lake, wider).read().column("y").to_pylist() == [None, [1.5, None]]
    # A reader that does not know the column yet goes on; a writer that does not is told.
    assert xs(speeds(lake).read()) == [1.0, 1.0]
    with pytest.raises(SchemaError, match=r"'y' \(list<.*>\) of the table is gone"):
        speeds(lake).commit({FEB1: feature_rows(FEB1, [2.0])})


def test_threads_that_add_a_column_at_once_add_it_once(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    wider = SCHEMA.append(pa.field("y", pa.int64()))
    days = [f"2013-02-{day:02}" for day in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda day: speeds(lake, wider).commit({day: rows_with(wider, day)}), days))
    assert sorted(commit.seq or 0 for commit in done) == [2, 3, 4, 5]
    assert speeds(lake, wider).read().num_rows == 5


def test_an_added_column_without_nulls_is_refused(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    wider = SCHEMA.append(pa.field("y", pa.int64(), nullable=False))
    rows = rows_with(SCHEMA.append(pa.field("y", pa.int64()))).set_column(5, "y", pa.array([1]))
    with pytest.raises(SchemaError, match=r"new column 'y' is declared without nulls.*\nHint: declare it nullable"):
        speeds(lake, wider).commit({FEB1: rows})


def test_a_removed_column_is_refused(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    narrower = pa.schema([field for field in SCHEMA if field.name != "x"])
    with pytest.raises(SchemaError, match=r"column 'x' \(double\) of the table is gone\nHint: keep the column"):
        speeds(lake, narrower).commit({FEB1: rows_with(narrower)})
    assert speeds(lake).head() == 1


def test_a_renamed_column_is_refused_with_a_guess(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    renamed = pa.schema([pa.field("speed", pa.float64()) if field.name == "x" else field for field in SCHEMA])
    with pytest.raises(SchemaError, match=r"column 'x'.*\nHint: if it was renamed to 'speed'"):
        speeds(lake, renamed).commit({FEB1: rows_with(renamed)})


@pytest.mark.parametrize("dtype", [pa.int64(), pa.float32(), pa.string(), pa.decimal128(20, 2), TIME])
def test_a_retyped_column_is_refused_when_written_and_when_read(lake: Lake, dtype: pa.DataType) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    retyped = pa.schema([pa.field("x", dtype) if field.name == "x" else field for field in SCHEMA])
    rows = feature_rows(FEB1, [1.0])
    rows = rows.set_column(4, pa.field("x", dtype), pa.array([None], dtype))
    with pytest.raises(SchemaError, match=r"column 'x' is double in the table and .* here"):
        speeds(lake, retyped).commit({FEB1: rows})
    with pytest.raises(SchemaError, match=r"column 'x' is double in the table and .* here"):
        speeds(lake, retyped).read()


def test_what_does_not_fit_is_refused_before_anything_is_written(lake: Lake) -> None:
    table = speeds(lake)
    rows = feature_rows(JAN1, [1.0])
    naive = rows.set_column(1, "event_at", rows.column("event_at").cast(pa.timestamp("us")))
    # The indices are all valid; the null stands in the dictionary.
    hidden = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array([None], pa.string()))
    cases: list[tuple[pa.Table, type[Exception], str]] = [
        (rows.drop_columns(["x"]), SchemaError, "missing: 'x'"),
        (rows.append_column("z", pa.array([1])), SchemaError, "not in the schema: 'z'"),
        (rows.set_column(4, "x", pa.array(["1.0"])), SchemaError, "'x' is string and cannot become double"),
        (rows.set_column(3, "sequence", pa.array([1.5])), SchemaError, "'sequence' is double and cannot become int64"),
        (rows.set_column(0, "k", pa.array([None], pa.string())), SchemaError, "'k' is declared without nulls"),
        (rows.set_column(0, "k", hidden), SchemaError, "'k' is declared without nulls and is null in 1 rows"),
        (rows.set_column(5, "bucket", pa.array([None], pa.int32())), SchemaError, "'bucket' is declared without nulls"),
        (naive, NaiveTimestampError, "'event_at' holds timestamps without a time zone"),
    ]
    for wrong, error, message in cases:
        with pytest.raises(error, match=f"partition {JAN1}.*{message}"):
            table.commit({JAN1: wrong})
    assert not lake.exists(*PATH)


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [
        (pa.uint32(), "signed integer"),
        (pa.float16(), "float32"),
        (pa.timestamp("us"), "time zone"),
        (pa.time64("us"), "use one of"),
        (pa.struct([("a", pa.duration("us"))]), "use one of"),
    ],
)
def test_types_that_delta_has_not_are_refused_with_the_way_out(lake: Lake, dtype: pa.DataType, hint: str) -> None:
    with pytest.raises(SchemaError, match=f"(?s)'x'.*cannot store.*Hint: .*{hint}"):
        speeds(lake, SCHEMA.set(4, pa.field("x", dtype)))


@pytest.mark.parametrize("name", ["partition", "month", "commit_seq", "source_seq", "bucket", "row", "available_at"])
def test_a_column_with_a_name_of_the_tables_own_is_refused(lake: Lake, name: str) -> None:
    with pytest.raises(DefinitionError, match=f"{name!r} is a name of the table's own"):
        speeds(lake, SCHEMA.append(pa.field(name, pa.string())))


def test_nested_values_come_back_as_they_were_declared(lake: Lake) -> None:
    dtype = pa.struct(
        [
            ("vector", pa.list_(pa.float32(), 2)),
            ("tags", pa.map_(pa.string(), pa.list_(pa.int64()))),
            ("price", pa.decimal128(12, 3)),
            ("blob", pa.binary()),
        ]
    )
    schema = SCHEMA.set(4, pa.field("x", dtype))
    value = {"vector": [1.0, None], "tags": [("a", [1, None]), ("b", None)], "price": None, "blob": b"\x00\xff"}
    rows = feature_rows(JAN1, [0.0, 0.0]).set_column(4, schema.field("x"), pa.array([value, None], dtype))
    table = speeds(lake, schema)
    table.commit({JAN1: rows})
    found = table.read()
    assert found.schema.field("x").type == dtype
    assert found.column("x").to_pylist() == [value, None]
    assert table.commit({JAN1: rows}).seq is None
