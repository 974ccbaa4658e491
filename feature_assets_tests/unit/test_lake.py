"""The lake: addresses that cannot leave the root, whole files, errors that name the way out and no credential."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.errors import InputError, OfflineError, SettingsError
from feature_assets.offline import faults
from feature_assets.offline.lake import Lake, s3_storage_options
from feature_assets_tests.partitions import PATH, feature_rows, speeds

SCHEMA = pa.schema([("month", pa.string()), ("x", pa.int64())])
NOBODY_LISTENS = "http://127.0.0.1:1"
"""The port of tcpmux: reserved, and served by nothing since decades."""


def test_parts_are_joined_under_the_root(tmp_path: Path) -> None:
    assert Lake(f"{tmp_path}/").uri("events", "flights") == f"{tmp_path}/events/flights"
    assert Lake("s3://bucket/prefix/").uri("events", "flights") == "s3://bucket/prefix/events/flights"


def test_a_relative_root_is_the_same_folder_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lake = Lake("lake")
    monkeypatch.chdir("/")
    lake.write_bytes(b"x", "file")
    assert (tmp_path / "lake" / "file").read_bytes() == b"x"


@pytest.mark.parametrize("part", ["..", "a/b", "/etc", "", ".hidden", "a..b", "a\0", "a\n", "Ü", "-rf", "~", "a" * 200])
def test_a_part_that_could_leave_the_root_is_refused(tmp_path: Path, part: str) -> None:
    lake = Lake(str(tmp_path))
    for call in (lake.uri, lake.exists, lake.open, lake.read_bytes, lake.names):
        with pytest.raises(InputError, match="cannot be part of a path"):
            call("events", part)
    with pytest.raises(InputError, match="cannot be part of a path"):
        lake.write_bytes(b"", "events", part)


@pytest.mark.parametrize("root", ["gs://bucket", "http://host/path", "file:///tmp/lake", "abfss://x@y/z"])
def test_other_kinds_of_roots_are_refused(root: str) -> None:
    with pytest.raises(SettingsError, match="neither a folder nor an s3://"):
        Lake(root)


def test_options_do_not_show() -> None:
    lake = Lake("s3://bucket", {"AWS_SECRET_ACCESS_KEY": "sesame", "AWS_SESSION_TOKEN": "open"})
    assert "sesame" not in repr(lake)
    assert "open" not in repr(lake)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert lake.read_bytes("models", "late", "manifest.json") is None
    lake.write_bytes(b"one", "models", "late", "manifest.json")
    lake.write_bytes(b"two", "models", "late", "manifest.json")
    assert lake.read_bytes("models", "late", "manifest.json") == b"two"
    assert lake.names("models", "late") == ("manifest.json",)
    assert lake.names("models") == ("late",)
    assert lake.names("nothing") == ()


def test_a_file_whose_writing_fails_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(str(tmp_path))
    lake.write_bytes(b"old", "file")

    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OfflineError, match="no space left"):
        lake.write_bytes(b"new", "file")
    assert lake.read_bytes("file") == b"old"
    assert lake.names() == ("file",)


def test_opening_a_table_that_is_not_there_says_so(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert not lake.exists("events", "flights")
    with pytest.raises(OfflineError, match=r"no table events/flights.*\nHint: nothing was written to it yet"):
        lake.open("events", "flights")


def test_a_folder_that_a_killed_creator_left_is_no_table_and_becomes_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    (tmp_path / "events" / "flights" / "_delta_log").mkdir(parents=True)
    assert not lake.exists("events", "flights")
    assert lake.create(SCHEMA, "events", "flights", partition_by="month").version() == 0


def test_of_racing_creators_all_get_the_one_table(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda _: lake.create(SCHEMA, "events", "flights", partition_by="month"), range(8)))
    assert {handle.version() for handle in handles} == {0}
    assert len({handle.metadata().id for handle in handles}) == 1
    assert lake.tables("events") == ("flights",)


def test_a_store_that_does_not_answer_is_named_and_no_credential_is() -> None:
    options = s3_storage_options(
        endpoint_url=NOBODY_LISTENS,
        region_name="eu-central-1",
        aws_access_key_id="AKIAVISIBLE",
        aws_secret_access_key="sesame",
    )
    lake = Lake("s3://bucket/lake", {**options, "max_retries": "1", "retry_timeout": "1s"})
    for call in (lake.open, lake.exists, lake.read_bytes, lake.names):
        with pytest.raises(OfflineError, match=r"events/flights.*127\.0\.0\.1:1 cannot be reached") as caught:
            call("events", "flights")
        assert "AKIAVISIBLE" not in str(caught.value)
        assert "sesame" not in str(caught.value)


def test_credentials_that_a_message_repeats_are_masked() -> None:
    options = {"AWS_ACCESS_KEY_ID": "AKIAVISIBLE", "AWS_SECRET_ACCESS_KEY": "sesame", "AWS_REGION": "eu-central-1"}
    error = OSError("403 Forbidden <AWSAccessKeyId>AKIAVISIBLE</AWSAccessKeyId> sesame in eu-central-1")
    found = str(faults.mapped(error, "events/flights", "s3://bucket", options))
    assert "AKIAVISIBLE" not in found
    assert "sesame" not in found
    assert "refused access" in found
    assert "eu-central-1" in found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"region_name": "eu-west-1"}, {"AWS_REGION": "eu-west-1"}),
        (
            {"endpoint_url": "http://127.0.0.1:9000"},
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_ALLOW_HTTP": "true"},
        ),
        ({"endpoint_url": "https://s3.example"}, {"AWS_ENDPOINT_URL": "https://s3.example"}),
        (
            {"endpoint_url": "s3.example:9000", "use_ssl": False},
            {"AWS_ENDPOINT_URL": "http://s3.example:9000", "AWS_ALLOW_HTTP": "true"},
        ),
        ({"endpoint_url": "s3.example"}, {"AWS_ENDPOINT_URL": "https://s3.example"}),
        ({"verify": False}, {"AWS_ALLOW_INVALID_CERTIFICATES": "true"}),
        ({"verify": None}, {}),
        ({"use_unsigned_session": True}, {"AWS_SKIP_SIGNATURE": "true"}),
        (
            {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": "c", "profile_name": "d"},
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", "AWS_PROFILE": "d"},
        ),
    ],
)
def test_options_from_the_fields_of_a_resource(given: dict[str, object], expected: dict[str, str]) -> None:
    assert s3_storage_options(**given) == expected  # type: ignore[arg-type] # the parameters of this test


def test_a_certificate_bundle_is_refused_with_the_way_out() -> None:
    with pytest.raises(SettingsError, match="trust store"):
        s3_storage_options(verify="/etc/ssl/own.pem")


def test_everything_is_synced_before_a_commit_is_acknowledged_and_data_before_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    log = tmp_path.joinpath(*PATH, "_delta_log")
    really = os.fsync

    def recorded(descriptor: int) -> None:
        really(descriptor)
        commits = len(list(log.glob("*.json"))) if log.is_dir() else 0
        synced.append((os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), tmp_path), commits))

    monkeypatch.setattr(os, "fsync", recorded)
    speeds(Lake(str(tmp_path))).commit({"2013-01-01": feature_rows("2013-01-01", [1.0])})
    folder = "/".join(PATH)
    data = [at for path, at in synced if path.endswith(".parquet")]
    assert data == [1], "the data file, when the table was created and the commit was not there yet"
    assert (f"{folder}/month=2013-01", 1) in synced
    assert (f"{folder}/_delta_log/00000000000000000001.json", 2) in synced
    assert synced[-1] == (f"{folder}/_delta_log", 2)
    for parent in ("features", "features/speeds", folder, "."):
        assert parent in {path for path, _ in synced}
