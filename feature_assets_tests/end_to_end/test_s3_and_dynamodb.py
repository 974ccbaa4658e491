"""The loop on an object store and DynamoDB, with credentials from a secret that nothing ever shows."""

import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import boto3
import dagster as dg
import pyarrow as pa
import pytest
from dagster_aws.s3 import S3Resource
from dagster_aws.secretsmanager import SecretsManagerResource
from dagster_shared.serdes import serialize_value

from feature_assets.clock import ReplayClock
from feature_assets.errors import SettingsError
from feature_assets.online.dynamodb_items import EXPIRES
from feature_assets.orchestration.launch import Launcher, RunOutcome, asset_keys
from feature_assets.orchestration.partitions import day_range
from feature_assets.orchestration.resources import Credentials, Platform
from feature_assets.serving.status import Status
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal
from feature_assets_tests.servers.s3 import S3Server

pytestmark = pytest.mark.server

KEYS = asset_keys(shop.project.sources, shop.project.views)
DAYS = day_range(date(2026, 1, 1), date(2026, 1, 3))


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where the shop is, and what must not be seen of it."""

    lake: str
    s3: S3Server
    dynamodb: DynamoDBLocal
    secret_name: str

    @property
    def canary(self) -> str:
        """The secret key that the secret holds."""
        return self.dynamodb.secret_key

    def open(self) -> FeatureStore:
        """The shop's feature store, with the credentials given outright: what a program does that has them."""
        settings = load_settings(
            aws_access_key_id=self.dynamodb.access_key, aws_secret_access_key=self.dynamodb.secret_key
        )
        return FeatureStore.open(settings, project=shop.project)

    def put_secret(self, content: str) -> None:
        """Write what the secret holds."""
        client = boto3.session.Session().client(
            "secretsmanager",
            endpoint_url=self.s3.endpoint_url,
            region_name=self.s3.region,
            aws_access_key_id="anybody",
            aws_secret_access_key="anything",
        )
        if self.secret_name not in {one["Name"] for one in client.list_secrets()["SecretList"]}:
            client.create_secret(Name=self.secret_name, SecretString=content)
        else:
            client.put_secret_value(SecretId=self.secret_name, SecretString=content)


@pytest.fixture
def cloud(s3_server: S3Server, dynamodb_local: DynamoDBLocal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A shop in the cloud: an empty prefix, an empty database, a secret. Its local state is in a folder of its own."""
    # Every access key of DynamoDB Local is a database of its own: who comes with another one finds nothing.
    database = replace(dynamodb_local.apart(), secret_key=f"canary{uuid.uuid4().hex}")
    cloud = Cloud(s3_server.url(), s3_server, database, f"shop/{uuid.uuid4().hex}")
    cloud.put_secret(
        json.dumps({"aws_access_key_id": database.access_key, "aws_secret_access_key": database.secret_key})
    )
    (tmp_path / "world").mkdir()
    monkeypatch.chdir(tmp_path)
    environment = {
        shop.WORLD: str(tmp_path / "world"),
        "FEATURE_ASSETS_ROOT": cloud.lake,
        "FEATURE_ASSETS_S3_ENDPOINT": s3_server.endpoint_url,
        "FEATURE_ASSETS_AWS_REGION": s3_server.region,
        "FEATURE_ASSETS_ONLINE": "dynamodb",
        "FEATURE_ASSETS_DYNAMODB_ENDPOINT": database.endpoint_url,
        "FEATURE_ASSETS_CREDENTIALS_SECRET": cloud.secret_name,
        # What the run itself has: enough to read the secret, and another database than the one in it.
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": s3_server.endpoint_url,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": "therun",
        "AWS_SECRET_ACCESS_KEY": "therunssecret",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ReplayClock(load_settings().replay_clock_path).set(datetime(2026, 1, 4, 1, tzinfo=UTC))
    return cloud


@pytest.fixture
def launcher(cloud: Cloud) -> Iterator[Launcher]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Launcher(shop.project, instance)


def open_the_shop() -> None:
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0), ("bob", 5.0)])
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0)])


def told(launcher: Launcher, records: list[logging.LogRecord]) -> str:
    """Everything that Dagster keeps of all runs, and everything that was logged."""
    events = [
        serialize_value(entry)
        for run in launcher.instance.get_runs()
        for entry in launcher.instance.all_logs(run.run_id)
    ]
    runs = [serialize_value(run) for run in launcher.instance.get_runs()]
    logged = [f"{record.getMessage()} {record.args} {record.exc_info} {record.exc_text}" for record in records]
    assert events
    return "\n".join([*events, *runs, *logged])


def test_the_loop_runs_on_an_object_store_and_dynamodb_and_shows_no_secret(
    cloud: Cloud, launcher: Launcher, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="feature_assets")
    caplog.set_level(logging.DEBUG, logger="dagster")
    open_the_shop()
    outcome = launcher.materialize(KEYS, DAYS)
    assert outcome.success, outcome
    assert [run.failures for run in launcher.tick_push_sensor()] == [(), ()]
    assert launcher.tick_push_sensor() == []

    with cloud.open() as store:
        assert store.target == f"dynamodb:{cloud.s3.region}/feature_assets"
        answer = store.get([{"user_id": "ada"}, {"user_id": "nobody"}], service="checkout")
        assert [row["daily_spend__spend"] for row in answer.to_pylist()] == [3.0, None]
        assert answer.status["last_order__item"] == [Status.PRESENT, Status.NOT_FOUND]
        asked = pa.array([datetime(2026, 1, 2, 2, tzinfo=UTC), store.clock.now()], shop.TIME)
        spine = pa.table({"user_id": ["ada", "ada"], "as_of": asked})
        built = store.training_set(spine, service="checkout", timestamp="as_of")
        assert built.table["daily_spend__spend"].to_pylist() == [10.0, 3.0]
        shown = [repr(store), str(store), repr(store.lake), repr(store.online), repr(store.access), repr(store.ledger)]
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0), ("ada", 4.0)])
    assert launcher.materialize(KEYS, DAYS[2:]).success
    assert [run.failures for run in launcher.tick_push_sensor()] == [(), ()]
    with cloud.open() as store:
        assert store.get([{"user_id": "ada"}], service="checkout").to_pylist()[0]["daily_spend__spend"] == 7.0

    said = capfd.readouterr()
    for text in (told(launcher, caplog.records), *shown, said.out, said.err):
        assert cloud.canary not in text
    objects = cloud.s3.client().list_objects_v2(Bucket=cloud.s3.bucket, Prefix=cloud.lake.split("/", 3)[3])
    assert objects["KeyCount"] > 0
    assert {path.name for path in Path.cwd().iterdir()} == {"world", ".feature_assets"}


def test_by_a_simulated_clock_nothing_is_dropped_that_the_real_one_would_call_old(
    cloud: Cloud, launcher: Launcher
) -> None:
    """DynamoDB deletes by the time of its own: what was published in January 2026, simulated, is old by that."""
    open_the_shop()
    assert launcher.materialize(KEYS, DAYS).success
    assert [run.failures for run in launcher.tick_push_sensor()] == [(), ()]
    client = cloud.dynamodb.client()
    [table] = [name for name in client.list_tables()["TableNames"] if ".last_order." in name]
    expiries = [int(item[EXPIRES]["N"]) for item in client.scan(TableName=table)["Items"] if EXPIRES in item]
    assert len(expiries) == 2
    assert min(expiries) > datetime.now(tz=UTC).timestamp()


def failed(outcomes: list[RunOutcome]) -> str:
    assert outcomes
    assert not any(outcome.success for outcome in outcomes)
    return "\n".join(failure for outcome in outcomes for failure in outcome.failures)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FEATURE_ASSETS_CREDENTIALS_SECRET", "shop/absent", "the secret 'shop/absent' cannot be read"),
        ("FEATURE_ASSETS_S3_ENDPOINT", "http://127.0.0.1:9", "s3://"),
    ],
)
def test_what_cannot_be_reached_is_one_clear_failure_without_the_secret(
    variable: str,
    value: str,
    says: str,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)
    open_the_shop()
    with dg.DagsterInstance.ephemeral() as instance:
        launcher = Launcher(shop.project, instance)
        text = failed([launcher.materialize(KEYS, DAYS)])
        assert says in text
        assert "source orders: " in text
        assert cloud.canary not in told(launcher, caplog.records)


@pytest.mark.parametrize("content", ["CANARY", '["CANARY"]', '{"aws_access_key_id": "CANARY"}', '{"CANARY": 1'])
def test_a_secret_that_cannot_be_read_is_told_by_its_name_alone(
    content: str, cloud: Cloud, launcher: Launcher, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.put_secret(content.replace("CANARY", cloud.canary))
    text = failed([launcher.materialize(KEYS, DAYS)])
    assert f"the secret {cloud.secret_name!r} is not the JSON that is expected" in text
    assert 'store {"aws_access_key_id": "..."' in text
    assert cloud.canary not in told(launcher, caplog.records)


def test_the_fields_of_the_s3_resource_lead_to_the_lake_and_the_store(cloud: Cloud) -> None:
    """Without a secret what the resource holds is used, temporary credentials too; nothing of it is in a repr."""
    s3 = S3Resource(
        region_name="us-west-2",
        endpoint_url=cloud.s3.endpoint_url,
        aws_access_key_id="somekey",
        aws_secret_access_key=cloud.canary,
        aws_session_token=f"token-{cloud.canary}",
    )
    with Platform(root="s3://bucket/there", s3=s3, secrets=SecretsManagerResource()).open(shop.project) as store:
        options = dict(store.lake.storage_options)
        assert options["AWS_REGION"] == "us-west-2"
        assert options["AWS_ENDPOINT_URL"] == cloud.s3.endpoint_url
        assert options["AWS_ALLOW_HTTP"] == "true"
        assert options["AWS_ACCESS_KEY_ID"] == "somekey"
        assert options["AWS_SECRET_ACCESS_KEY"] == cloud.canary
        assert options["AWS_SESSION_TOKEN"] == f"token-{cloud.canary}"
        assert store.target == "dynamodb:us-west-2/feature_assets"
        for shown in (repr(store), repr(store.lake), repr(store.access), repr(store.online)):
            assert cloud.canary not in shown


def test_credentials_show_nothing() -> None:
    assert "key" not in repr(Credentials("somekey", "somesecretkey", "sometokenkey"))


def test_another_secret_is_another_store(cloud: Cloud, launcher: Launcher) -> None:
    """The credentials that count are those of the secret, not those that the run happens to have."""
    open_the_shop()
    assert launcher.materialize(KEYS, DAYS).success
    assert [run.failures for run in launcher.tick_push_sensor()] == [(), ()]
    assert cloud.dynamodb.client().list_tables()["TableNames"]
    own = replace(cloud.dynamodb, access_key="therun", secret_key="therunssecret")
    assert own.client().list_tables()["TableNames"] == []


def test_a_root_that_is_no_place_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_ASSETS_ROOT", "gs://bucket/lake")
    with pytest.raises(SettingsError, match="neither a folder nor an s3:// address"):
        cloud.open()
