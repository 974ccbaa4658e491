"""The table of the served log: what it takes when the service changes, several writers, months, upkeep."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature
from feature_assets.errors import SchemaError
from feature_assets.offline import served_columns
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import MemoryLedger
from feature_assets.offline.maintenance import compact, history, tables, vacuum
from feature_assets.offline.served_columns import OWN, ServedColumns, status_column
from feature_assets.offline.served_table import ServedTable
from feature_assets.offline.upkeep import table_path
from feature_assets_tests.histories import SOURCE, view_of

JAN = datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)
FEB = JAN + timedelta(seconds=1)
_BATCHES = itertools.count()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def service(**features: pa.DataType) -> FeatureService:
    return FeatureService("it", [view_of("w", {"k": pa.string()}, [Feature(*one) for one in features.items()])])


def rows_of(of: FeatureService, ids: Sequence[str], at: Sequence[datetime] | None = None, **values: Any) -> pa.Table:  # noqa: ANN401
    """Rows of a batch: values by feature, all PRESENT."""
    columns = ServedColumns.of(of)
    given: dict[str, Sequence[Any]] = {
        "request_id": ids,
        "request_row": range(len(ids)),
        "as_of": at or [JAN] * len(ids),
        "logged_at": at or [JAN] * len(ids),
        "service_version": ["v"] * len(ids),
        "target": ["memory"] * len(ids),
        "failed": [False] * len(ids),
        "batch": [f"batch {next(_BATCHES)}"] * len(ids),
        "k": ids,
    }
    for name, column in values.items():
        given[f"w__{name}"] = column
        given[status_column(f"w__{name}")] = ["PRESENT"] * len(ids)
    schema = columns.schema
    return pa.table([pa.array(given.get(field.name, [None] * len(ids)), field.type) for field in schema], schema=schema)


def project(*services: FeatureService) -> Project:
    views = {view.name: view for one in services for view in one.views}
    return Project("test", sources=[SOURCE], views=list(views.values()), services=list(services))


# ------------------------------------------------------------------------------------------------------------- schema


def test_a_table_that_was_never_written_is_empty(lake: Lake) -> None:
    table = ServedTable(lake, service(x=pa.int32()))
    assert (table.exists, table.head()) == (False, 0)
    assert table.read(("request_id", "w__x")).num_rows == 0
    assert table.read(("request_id", "w__x")).schema.types == [pa.string(), pa.int32()]


def test_the_columns_are_the_documented_ones(lake: Lake) -> None:
    one = service(x=pa.int32())
    ServedTable(lake, one).append(rows_of(one, ["a"], x=[1]))
    meta = ["version", "event_at", "available_at", "age_us", "cut_n", "cut_fences", "seq", "complete_through"]
    names = [*OWN.names, "k", "w__x", "w__x__status", *(f"w__meta__{what}" for what in meta)]
    assert pa.schema(lake.open("served", "it").schema()).names == [*names, "commit_seq", "row", "month"]
    for name in (
        *OWN.names,
        *(f"<prefix>__meta__{what}" for what in ("version", "event_at", "age_us", "cut_n", "cut_fences")),
    ):
        assert f"`{name}`" in (served_columns.__doc__ or ""), name


def test_a_key_that_is_called_like_a_column_of_the_log_has_another_name(lake: Lake) -> None:
    view = view_of("w", {"request_id": pa.string(), "k": pa.string()}, {"x": pa.int32()})
    columns = ServedColumns.of(FeatureService("it", [view]))
    assert columns.asked == {"request_id": "request_id__asked", "k": "k"}
    assert len(set(columns.schema.names)) == len(columns.schema.names)


def test_a_service_with_other_columns_writes_on_and_reads_what_there_is(lake: Lake) -> None:
    before, after = service(x=pa.int32(), gone=pa.string()), service(x=pa.int32(), new=pa.list_(pa.float32(), 2))
    ServedTable(lake, before).append(rows_of(before, ["a"], x=[1], gone=["g"]))
    ServedTable(lake, after).append(rows_of(after, ["b", "c"], x=[2, None], new=[[1, 2], None]))
    ServedTable(lake, before).append(rows_of(before, ["d"], x=[4], gone=["h"]))

    new = ServedTable(lake, after).read(("request_id", "w__x", "w__new", "w__new__status"))
    assert new.column("w__new").type == pa.list_(pa.float32(), 2)
    assert new.to_pylist() == [
        {"request_id": "a", "w__x": 1, "w__new": None, "w__new__status": None},
        {"request_id": "b", "w__x": 2, "w__new": [1.0, 2.0], "w__new__status": "PRESENT"},
        {"request_id": "c", "w__x": None, "w__new": None, "w__new__status": "PRESENT"},
        {"request_id": "d", "w__x": 4, "w__new": None, "w__new__status": None},
    ]
    assert ServedTable(lake, before).read(("w__gone",)).column(0).to_pylist() == ["g", None, None, "h"]


def test_a_column_of_another_type_is_another_column_with_its_status(lake: Lake) -> None:
    integer, number, text = service(x=pa.int32()), service(x=pa.float64()), service(x=pa.string())
    ServedTable(lake, integer).append(rows_of(integer, ["a"], x=[1]))
    ServedTable(lake, number).append(rows_of(number, ["b"], x=[0.5]))
    ServedTable(lake, text).append(rows_of(text, ["c"], x=["t"]))
    ServedTable(lake, integer).append(rows_of(integer, ["d"], x=[4]))

    names = ("w__x", "w__x__status")
    for of, dtype, expected in (
        (integer, pa.int32(), [1, None, None, 4]),
        (number, pa.float64(), [None, 0.5, None, None]),
        (text, pa.string(), [None, None, "t", None]),
    ):
        found = ServedTable(lake, of).read(names)
        assert found.column(0).type == dtype
        assert found.column(0).to_pylist() == expected
        assert [status is None for status in found.column(1).to_pylist()] == [value is None for value in expected]
    stored = pa.schema(lake.open("served", "it").schema())
    kinds = {name: stored.field(name).type for name in stored.names if name.startswith("w__x") and "status" not in name}
    assert kinds == {"w__x": pa.int32(), "w__x__2": pa.float64(), "w__x__3": pa.string()}


def test_rows_that_are_none_of_the_log_are_refused(lake: Lake) -> None:
    one = service(x=pa.int32())
    rows = rows_of(one, ["a"], x=[1])
    nameless = rows.set_column(0, rows.schema.field(0), pa.array([None], pa.string()))
    with pytest.raises(SchemaError, match="'request_id' is declared without nulls"):
        ServedTable(lake, one).append(nameless)
    assert ServedTable(lake, one).head() == 0


# ------------------------------------------------------------------------------------------------------ the log itself


def test_a_batch_that_is_tried_again_is_there_once(lake: Lake) -> None:
    one = service(x=pa.int32())
    table, batch = ServedTable(lake, one), rows_of(one, ["a", "b"], x=[1, 2])
    assert table.append(batch) == 1
    assert table.append(rows_of(one, ["c"], x=[3])) == 2
    assert table.append(batch, after=0) == 1
    # What was not there is appended.
    assert table.append(rows_of(one, ["d"], x=[4]), after=0) == 3
    assert table.read(("request_id",)).column(0).to_pylist() == ["a", "b", "c", "d"]


def test_a_read_up_to_a_number_stays_and_finds_requests(lake: Lake) -> None:
    one = service(x=pa.int32())
    table = ServedTable(lake, one)
    for number, ids in enumerate((["a", "b"], ["a"], ["c"])):
        table.append(rows_of(one, ids, x=[number] * len(ids)))
    assert table.read(("w__x",), request_ids=pa.array(["a", "never"])).column(0).to_pylist() == [0, 1]
    assert table.read(("w__x",), request_ids=pa.array(["a"]), upto=1).column(0).to_pylist() == [0]
    assert table.head() == 3


def test_rows_lie_in_the_months_in_which_they_were_logged(lake: Lake) -> None:
    one = service(x=pa.int32())
    table = ServedTable(lake, one)
    assert table.append(rows_of(one, ["a", "b", "c"], [FEB, JAN, FEB], x=[1, 2, 3])) == 1
    assert sorted(path.name for path in lake.path("served", "it").glob("month=*")) == ["month=2024-01", "month=2024-02"]
    assert (
        table.read(("request_id", "request_row")).to_pylist()
        == [{"request_id": name, "request_row": row} for row, name in enumerate("abc")]
        or table.read(("request_id",)).num_rows == 3
    )
    months = lake.open("served", "it").to_pyarrow_table(columns=["request_id", "month"]).to_pylist()
    assert {one["request_id"]: one["month"] for one in months} == {"a": "2024-02", "b": "2024-01", "c": "2024-02"}


def test_upkeep_compacts_each_month_that_needs_it_and_changes_nothing(lake: Lake) -> None:
    before, after = service(x=pa.int32()), service(x=pa.float64(), y=pa.string())
    old, new = ServedTable(lake, before), ServedTable(lake, after)
    old.append(rows_of(before, ["a"], [JAN], x=[1]))
    old.append(rows_of(before, ["b"], [FEB], x=[2]))
    new.append(rows_of(after, ["c"], [FEB], x=[0.5], y=["y"]))
    names = ("request_id", "w__x", "w__x__status")
    seen = [old.read(names), new.read(names), old.read(names, upto=2)]
    assert list(tables(lake)) == [("served", "it")]
    assert table_path(lake, "served/it") == ("served", "it")

    (done,) = compact(lake, project(after), ledger=MemoryLedger(), target="memory")
    assert (done.months, done.files_before, done.files_after, done.rows) == (("2024-02",), 2, 1, 2)
    assert len(vacuum(lake, "served", "it", retention=timedelta(0))) == 2
    assert compact(lake, project(after), ledger=MemoryLedger(), target="memory") == ()
    assert [old.read(names), new.read(names), old.read(names, upto=2)] == seen
    assert new.append(rows_of(after, ["d"], [FEB], x=[1.5], y=["z"])) == 4
    assert [one.number for one in history(lake, "served", "it") if one.operation == "commit"] == [4, 3, 2, 1]


def test_writers_of_several_definitions_at_once_lose_nothing(lake: Lake) -> None:
    kinds = [pa.int32(), pa.float64(), pa.string(), pa.int32()]
    values: list[Any] = [7, 0.5, "t", 8]

    def write(number: int) -> None:
        one = service(x=kinds[number], **{f"own_{number}": pa.int64()})
        for turn in range(4):
            rows = rows_of(one, [f"{number} {turn}"], None, x=[values[number]], **{f"own_{number}": [turn]})
            ServedTable(lake, one).append(rows)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for number, dtype in enumerate(kinds):
        one = service(x=dtype, **{f"own_{number}": pa.int64()})
        found = ServedTable(lake, one).read(("request_id", "w__x", f"w__own_{number}"))
        mine = [row for row in found.to_pylist() if row["request_id"].startswith(f"{number} ")]
        assert [(row["w__x"], row[f"w__own_{number}"]) for row in mine] == [(values[number], turn) for turn in range(4)]
    assert ServedTable(lake, service(x=pa.int32())).head() == 16
