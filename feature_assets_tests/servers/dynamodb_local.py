"""AWS's own DynamoDB Local, in memory: the truth for how DynamoDB behaves.

Its jars are fetched once by Maven, as `dynamodb_local.xml` names them, into the git-ignored `.cache/` of this tree.
Invariant: each (access key, region) is a database of its own, so `apart()` gives a test an empty one at no cost.
It never throttles and never returns unprocessed keys or items; those come from the faulty store of the tests.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from feature_assets_tests.servers.process import ServerNotStartedError, running

POM = Path(__file__).with_name("dynamodb_local.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "servers" / "dynamodb-local"
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
FETCH_WITHIN_S = 600


class Address(TypedDict):
    """Where a database is, and who may read it, by the names that `DynamoDBStore` has for it."""

    region: str
    endpoint_url: str
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True)
class DynamoDBLocal:
    """How to reach the server. Key and secret are letters and digits only; the server takes nothing else."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str

    def apart(self) -> "DynamoDBLocal":
        """The same server under a fresh access key: a database of its own, empty."""
        return replace(self, access_key=f"key{uuid.uuid4().hex}")

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs in its environment to reach this database."""
        return {
            "AWS_ENDPOINT_URL_DYNAMODB": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    @property
    def address(self) -> Address:
        """What a `DynamoDBStore` needs to reach this database."""
        return Address(
            region=self.region,
            endpoint_url=self.endpoint_url,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
        )

    def client(self) -> DynamoDBClient:
        """A plain client on this database, without retries: what it raises is what the server said."""
        return boto3.session.Session().client(
            "dynamodb",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
        )


@contextmanager
def dynamodb_local() -> Iterator[DynamoDBLocal]:
    """The server, until the block is left. Raises `ServerNotStartedError` if Java, Maven or the jars are missing."""
    java = _tool("java", "Java 17 or later runs DynamoDB Local")
    jars = _jars()

    def command(port: int) -> list[str]:
        options = ["-inMemory", "-disableTelemetry", "-port", str(port)]
        main = "software.amazon.dynamodb.services.local.main.ServerRunner"
        return [java, "-Xmx512m", f"-Djava.library.path={jars}", "-cp", f"{jars}/*", main, *options]

    def answers(port: int) -> bool:
        try:
            _at(port).client().list_tables(Limit=1)
        except (BotoCoreError, ClientError):
            return False
        return True

    with running("DynamoDB Local", command, answers, environment={"DDB_LOCAL_TELEMETRY": "0"}) as port:
        yield _at(port)


def _at(port: int) -> DynamoDBLocal:
    return DynamoDBLocal(f"http://127.0.0.1:{port}", "eu-central-1", "testkey", "testsecret")


def _jars() -> Path:
    """The folder of the jars, fetched if this version of the list was never fetched. Whole or absent, never half."""
    wanted = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if wanted.is_dir():
        return wanted
    CACHE.mkdir(parents=True, exist_ok=True)
    # One at a time: Maven's own repository is not made for several that fetch the same.
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.is_dir():
            _fetch(wanted)
    return wanted


def _fetch(wanted: Path) -> None:
    maven = _tool("mvn", "Maven fetches DynamoDB Local")
    with tempfile.TemporaryDirectory(dir=CACHE) as parts:
        fetched = Path(parts) / "lib"
        command = [maven, "-q", "-B", "-f", str(POM), COPY_DEPENDENCIES, f"-DoutputDirectory={fetched}"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=FETCH_WITHIN_S, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            output = (done.stdout + done.stderr)[-4_000:]
            raise ServerNotStartedError(f"Maven could not fetch what {POM.name} names:\n{output}")
        fetched.rename(wanted)


def _tool(name: str, why: str) -> str:
    found = shutil.which(name)
    if found is None:
        path = os.environ.get("PATH", "")
        raise ServerNotStartedError(f"{name} is not on PATH ({path}). {why}; install it and run the tests again")
    return found
