"""What holds of a lake in a folder holds of one on an S3-compatible server: one suite over both."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.definition.project import Project
from feature_assets.definition.version import view_version
from feature_assets.errors import InputError, OfflineError, SchemaError
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake, s3_storage_options
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.maintenance import compact, history, tables, vacuum
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.repair import repair_plan
from feature_assets.offline.table import event_table, feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets_tests.partitions import PATH, SCHEMA, feature_rows, speeds, xs
from feature_assets_tests.report_log import ReportLog, at, clock, day
from feature_assets_tests.servers.s3 import S3Server
from feature_assets_tests.weather import AIRPORT, view

pytestmark = pytest.mark.server

JAN1, FEB1 = "2013-01-01", "2013-02-01"
TARGET = "sqlite:contract"


def options(server: S3Server) -> dict[str, str]:
    """As a resource's plain fields give them."""
    return s3_storage_options(
        region_name=server.region,
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "folder":
        yield Lake(str(tmp_path))
        return
    server: S3Server = request.getfixturevalue("s3_server")
    yield Lake(server.url(), options(server))


def test_files_and_names(lake: Lake) -> None:
    assert lake.names() == ()
    assert lake.read_bytes("models", "late", "manifest.json") is None
    lake.write_bytes(b"one", "models", "late", "manifest.json")
    lake.write_bytes(b"\x00two", "models", "late", "manifest.json")
    lake.write_bytes(b"", "models", "late", "empty")
    assert lake.read_bytes("models", "late", "manifest.json") == b"\x00two"
    assert lake.read_bytes("models", "late", "empty") == b""
    assert lake.names("models") == ("late",)
    assert lake.names("models", "late") == ("empty", "manifest.json")
    assert lake.names("models", "nothing") == ()
    assert lake.read_bytes("models", "late") is None


def test_a_table_that_is_not_there(lake: Lake) -> None:
    assert not lake.exists("events", "flights")
    assert lake.tables("events") == ()
    assert speeds(lake).head() == speeds(lake).read().num_rows == 0
    with pytest.raises(OfflineError, match=r"no table events/flights.*\nHint: nothing was written"):
        lake.open("events", "flights")
    with pytest.raises(InputError):
        lake.open("events", "..")


def test_versioned_partitions(lake: Lake) -> None:
    table = speeds(lake)
    first = table.commit({JAN1: feature_rows(JAN1, [1.0, 2.0]), FEB1: feature_rows(FEB1, [])}, source_seq={JAN1: 3})
    assert (first.seq, first.written, first.rows) == (1, (JAN1, FEB1), 2)
    assert table.commit({JAN1: feature_rows(JAN1, [1.0, 2.0])}).seq is None
    assert table.commit({JAN1: feature_rows(JAN1, [5.0]), FEB1: feature_rows(FEB1, [6.0])}).seq == 2
    assert table.head() == 2
    assert xs(table.read()) == [5.0, 6.0]
    assert xs(table.read(upto=1)) == [1.0, 2.0]
    assert xs(table.read(buckets=[1], upto=1)) == [2.0]
    assert xs(table.read(event_range=(datetime(2013, 2, 1, tzinfo=UTC), None))) == [6.0]
    assert xs(table.read(excluded=frozenset({(JAN1, 2)}))) == [1.0, 2.0, 6.0]
    rows = table.partition_versions().to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (JAN1, 1, 3, 2),
        (FEB1, 1, None, 0),
        (JAN1, 2, None, 1),
        (FEB1, 2, None, 1),
    ]


def test_schema_evolution(lake: Lake) -> None:
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})
    wider = SCHEMA.append(pa.field("y", pa.int64()))
    rows = feature_rows(FEB1, [2.0])
    rows = rows.add_column(5, wider.field("y"), pa.array([7]))
    assert speeds(lake, wider).commit({FEB1: rows}).seq == 2
    assert speeds(lake, wider).read().column("y").to_pylist() == [None, 7]
    with pytest.raises(SchemaError, match=r"'y'.*is gone"):
        speeds(lake).commit({FEB1: feature_rows(FEB1, [3.0])})


def test_two_handles_on_one_version_do_not_both_win(lake: Lake) -> None:
    table = AppendTable(lake, ("drift", "speeds"), pa.schema([("x", pa.int64())]))
    assert [table.append(pa.table({"x": [number]})) for number in (1, 2)] == [1, 2]
    other = AppendTable(lake, ("drift", "speeds"), pa.schema([("x", pa.int64())]))
    assert other.append(pa.table({"x": [3, 4]})) == 3
    assert table.read().to_pylist() == [{"x": x, "commit_seq": seq} for x, seq in ((1, 1), (2, 2), (3, 3), (4, 3))]
    assert table.read(after=1, upto=2).column("x").to_pylist() == [2]
    assert table.read(equal={"x": 4}, columns=("commit_seq",)).to_pylist() == [{"commit_seq": 3}]


def test_verdicts_and_ledger(lake: Lake) -> None:
    verdict = Verdict(view="v", version="a", partition=JAN1, commit_seq=1, passed=False, checked_at=at(1))
    assert Verdicts(lake).record([verdict]) == 1
    assert Verdicts(lake).record([verdict]) == 0
    assert Verdicts(lake).excluded("v", "a") == {(JAN1, 1)}
    row = LedgerRow(kind="ack", view="v", version="a", target=TARGET, sent_at=1, acked_at=2, entity=b"\xff")
    assert DeltaLedger(lake).append([row]) == 1
    assert DeltaLedger(lake).rows(view="v") == [row]


def test_from_a_reader_to_features_and_through_maintenance(lake: Lake) -> None:
    log = ReportLog()
    for number in (1, 2):
        log.add("JFK", number, 6.0, 10.0)
        log.add("LGA", number, 6.0, None, late=-1.0 if number == 2 else 1.0)
    source = log.source()
    weather = view(sources=source)
    for number in (1, 2):
        assert materialize_source(source, [day(number)], lake=lake, clock=clock(9)).commit.seq == number
        assert materialize_view(weather, [day(number)], lake=lake, clock=clock(9), run_id="run").commit.seq == number
    before = event_table(lake, source).read(), feature_table(lake, weather).read()
    path = ("features", "weather", view_version(weather))
    assert list(tables(lake)) == [("dead_letter", "reports"), ("events", "reports"), path]
    project = Project("contract", sources=[source], views=[weather], services=[], entities=[AIRPORT])
    done = compact(lake, project, ledger=DeltaLedger(lake), target=TARGET)
    assert {one.table for one in done} == {"events/reports", "/".join(path)}
    assert [one.operation for one in history(lake, *path)] == ["rewrite", "commit", "commit", "create table"]
    assert len(vacuum(lake, *path, retention=timedelta(0))) == 2
    assert (event_table(lake, source).read(), feature_table(lake, weather).read()) == before
    assert materialize_view(weather, [day(1), day(2)], lake=lake, clock=clock(9)).commit.seq is None


# ---- only of an object store
def test_a_bucket_that_is_not_there_is_named(s3_server: S3Server) -> None:
    lake = Lake("s3://no-such-bucket/lake", options(s3_server))
    with pytest.raises(OfflineError, match=r"s3://no-such-bucket/lake"):
        speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0])})


def test_a_server_that_went_away_is_named_and_no_credential_is(s3_server: S3Server) -> None:
    given = {**options(s3_server), "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "max_retries": "1", "retry_timeout": "1s"}
    table = speeds(Lake(s3_server.url(), given))
    for call in (table.head, table.read, lambda: table.commit({JAN1: feature_rows(JAN1, [1.0])})):
        with pytest.raises(OfflineError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
            call()
        assert s3_server.secret_key not in str(caught.value)
        assert s3_server.access_key not in str(caught.value)


def test_a_data_file_that_is_missing_or_cut_is_an_error(s3_server: S3Server) -> None:
    lake = Lake(s3_server.url(), options(s3_server))
    table = speeds(lake)
    table.commit({JAN1: feature_rows(JAN1, [1.0])})
    [file] = table.snapshot().files
    key = f"{lake.uri(*PATH)}/{file.path}".removeprefix(f"s3://{s3_server.bucket}/")
    client = s3_server.client()
    content = client.get_object(Bucket=s3_server.bucket, Key=key)["Body"].read()
    client.put_object(Bucket=s3_server.bucket, Key=key, Body=content[: len(content) // 2])
    with pytest.raises(OfflineError, match=file.path):
        table.read()
    client.delete_object(Bucket=s3_server.bucket, Key=key)
    with pytest.raises(OfflineError, match=f"{file.path} is missing"):
        table.read()


def test_repair_is_for_local_logs(s3_server: S3Server) -> None:
    with pytest.raises(InputError, match="only the log of a table in a local folder"):
        repair_plan(Lake(s3_server.url(), options(s3_server)), *PATH)


def test_features_are_readable_without_this_project(s3_server: S3Server) -> None:
    """The table is plain Delta: any reader of the format gets the rows."""
    lake = Lake(s3_server.url(), options(s3_server))
    speeds(lake).commit({JAN1: feature_rows(JAN1, [1.0, 2.0])})
    rows = lake.open(*PATH).to_pyarrow_table()
    assert sorted(rows.column("x").to_pylist()) == [1.0, 2.0]
    assert rows.column("month").to_pylist() == ["2013-01"] * 2
