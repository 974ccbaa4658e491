"""What a DynamoDB store is made with: the environment, as boto3 uses it, its own time limits, and names that can be."""

import pytest

from feature_assets.errors import InputError, SettingsError
from feature_assets.online.dynamodb import DynamoDBStore


def test_calls_are_made_once_and_do_not_wait_for_a_minute() -> None:
    store = DynamoDBStore("tests", region="eu-central-1", access_key_id="key", secret_access_key="secret")
    reading, writing = store.reader.meta.config, store.writer.meta.config
    assert (reading.connect_timeout, reading.read_timeout) == (0.2, 1.0)
    assert (writing.connect_timeout, writing.read_timeout) == (1.0, 5.0)
    assert reading.max_pool_connections == writing.max_pool_connections == 16
    assert reading.retries["total_max_attempts"] == writing.retries["total_max_attempts"] == 1
    assert store.target == "dynamodb:eu-central-1/tests"
    store.close()


def test_without_a_region_there_is_no_store() -> None:
    with pytest.raises(SettingsError, match="no region"):
        DynamoDBStore("tests")


def test_the_environment_is_used_as_boto3_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    store = DynamoDBStore("tests")
    assert store.target == "dynamodb:eu-west-3/tests"
    assert store.reader.meta.endpoint_url == "http://127.0.0.1:1"
    store.close()


@pytest.mark.parametrize("prefix", ["", "a", "with space", "dotted.name", "slash/", 'quote"', "x" * 101])
def test_a_prefix_that_cannot_start_a_name_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="cannot start the name of a table"):
        DynamoDBStore(prefix, region="eu-central-1")


@pytest.mark.parametrize("table", ["", "Upper.0", "a.b.c", 'a"; DROP', "a b", "a" * 64 + ".0", "a.b\n"])
def test_a_name_that_is_none_reaches_no_statement(table: str) -> None:
    store = DynamoDBStore("tests", region="eu-central-1")
    for call in (lambda: store.read(table, [b"k"]), lambda: store.write(table, []), lambda: store.prepare(table)):
        with pytest.raises(InputError, match="is no name of an online table"):
            call()
    store.close()
