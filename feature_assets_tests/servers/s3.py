"""An S3-compatible server (moto's), in a process of its own.

Invariant: everything it is told is forgotten when it ends; each test gets a prefix of its own through `url`.
It honours conditional puts, so Delta commits on it are atomic, but under many concurrent writers it has been seen to
lose a commit that it had accepted: use it with one writer at a time.
"""

import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from feature_assets_tests.servers.process import running

REGION = "eu-central-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """How to reach the server, and a bucket on it that exists."""

    endpoint_url: str
    region: str
    access_key: str
    secret_key: str
    bucket: str

    @property
    def storage_options(self) -> dict[str, str]:
        """What deltalake needs to reach the bucket; all strings, as it wants them."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ALLOW_HTTP": "true",
        }

    def url(self, name: str = "lake") -> str:
        """An `s3://` address that nothing was ever written under."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}/{name}"

    def client(self) -> S3Client:
        """A plain client on this server, without retries."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
        )


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server with one empty bucket, until the block is left."""
    with running("the S3 server", _command, _answers) as port:
        server = S3Server(f"http://127.0.0.1:{port}", REGION, "testkey", "testsecret", "feature-assets")
        server.client().create_bucket(
            Bucket=server.bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield server


def _command(port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
