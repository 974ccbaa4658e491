"""The servers and the guards that the other tests lean on."""

import socket
import sys

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_assets_tests.conftest import LeftTheMachineError
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal
from feature_assets_tests.servers.process import ServerNotStartedError, running
from feature_assets_tests.servers.s3 import S3Server


@pytest.mark.server
def test_dynamodb_local_keeps_databases_apart(dynamodb_local: DynamoDBLocal) -> None:
    one, other = dynamodb_local.apart(), dynamodb_local.apart()
    one.client().create_table(
        TableName="items",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert one.client().list_tables()["TableNames"] == ["items"]
    assert other.client().list_tables()["TableNames"] == []


@pytest.mark.server
def test_delta_tables_live_on_the_s3_server(s3_server: S3Server) -> None:
    url = s3_server.url()
    for n in (1, 2):
        write_deltalake(url, pa.table({"n": [n]}), mode="append", storage_options=s3_server.storage_options)
    table = DeltaTable(url, storage_options=s3_server.storage_options)
    assert table.version() == 1
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == [1, 2]


def test_a_server_that_ends_at_once_is_an_error_with_its_output() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with (
        pytest.raises(ServerNotStartedError, match="no such thing"),
        running("a server", lambda _: command, lambda _: False),
    ):
        pytest.fail("the block must not be entered")


def test_nothing_leaves_the_machine() -> None:
    # 192.0.2.0/24 is reserved for documentation: nobody is there, should the guard fail.
    with socket.socket() as outward, pytest.raises(LeftTheMachineError, match=r"192\.0\.2\.1"):
        outward.connect(("192.0.2.1", 80))
