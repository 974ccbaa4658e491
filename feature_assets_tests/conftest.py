"""What holds for every test: a known environment, no way out of this machine, real servers on demand.

Invariant: no test depends on the developer's shell, cloud account, time zone or network.
"""

import ipaddress
import os
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from feature_assets_tests.servers import dynamodb_local as dynamodb
from feature_assets_tests.servers import s3

# Before anything that reads it is imported.
for _name in [name for name in os.environ if name.startswith(("AWS_", "DAGSTER_", "FEATURE_ASSETS_"))]:
    if _name != "FEATURE_ASSETS_DRILLS":
        del os.environ[_name]
os.environ.update(
    # No profile and no instance role: a test that forgets its credentials fails instead of finding somebody's.
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
    DAGSTER_DISABLE_TELEMETRY="1",
    GX_ANALYTICS_ENABLED="False",
    DO_NOT_TRACK="1",
    MPLBACKEND="agg",
    # A zone that is never UTC and not on the hour: whatever reads the machine's zone by accident shows it.
    TZ="Asia/Kathmandu",
)
time.tzset()

# `too_slow` measures the machine, and this one is shared. A failure prints what reproduces it.
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "dev")


class LeftTheMachineError(RuntimeError):
    """A test tried to talk to something that is not on the loopback interface."""


def _only_loopback(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    address = arguments[1]
    # A Unix socket's address is a path.
    if not isinstance(address, tuple):
        return
    try:
        local = ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        local = address[0] == "localhost"
    if not local:
        raise LeftTheMachineError(f"a connection to {address!r}; tests talk to the loopback interface only")


sys.addaudithook(_only_loopback)


@pytest.fixture(scope="session")
def long_drills() -> bool:
    """Whether drills are to run in their long form: `make drills`."""
    return os.environ.get("FEATURE_ASSETS_DRILLS") == "long"


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[dynamodb.DynamoDBLocal]:
    """AWS's DynamoDB Local, one for the session; `.apart()` gives a test a database of its own."""
    with dynamodb.dynamodb_local() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    """An S3-compatible server, one for the session; `.url()` gives a test a place of its own."""
    with s3.s3_server() as server:
        yield server
