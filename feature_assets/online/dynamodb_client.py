"""The calls that the DynamoDB store makes, through boto3, and what their failures mean.

Invariant: every failure is of one kind, and the kind says whether the call may have had an effect. Nothing is retried
here: whoever calls knows the deadline, and whether a repetition is harmless. Credentials appear in no message or repr.

`Transport` is all that reading and writing items needs of a client. `BotoTransport` is the one to compare with; the one
that is used, unless told otherwise, is in `dynamodb_direct`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoRegionError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from botocore.session import Session

from feature_assets.errors import (
    OnlineError,
    SettingsError,
    StoreRefusedError,
    StoreThrottledError,
    StoreUnreachableError,
)
from feature_assets.online.dynamodb_items import KEY, SEQ, THROTTLING, VALUE, Statement, Verdict
from feature_assets.online.store import Stored

Answer = TypeVar("Answer")


class Kind(Enum):
    """What became of a call that failed."""

    UNSENT = "unsent"
    """No connection: the call had no effect."""
    TIMEOUT = "timeout"
    """Sent, and no answer in time: it may have had its effect, or may yet."""
    LOST = "lost"
    """Sent, and the answer was lost or broken, or the server failed over it: likewise."""
    THROTTLED = "throttled"
    """Refused for load: no effect."""
    REFUSED = "refused"
    """Refused for good: no effect."""


class FaultError(Exception):
    """A call failed. `reason` is for people, and safe to show."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and as whom; what is None is found as boto3 finds it (environment, profile, role). Secrets are hidden."""

    region: str | None = None
    url: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. The defaults of botocore are sixty each, which no reader waits."""

    connect: float
    read: float


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a read: items by (table, key), the keys to be asked for again, and how large the items are."""

    items: Mapping[tuple[str, bytes], Stored]
    unprocessed: Mapping[str, Sequence[bytes]]
    size: int


class Transport(Protocol):
    """The data plane. Tables by their full names; raises `FaultError`."""

    def batch_get(self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float | None = None) -> Page:
        """One BatchGetItem: up to 100 keys, each once. `timeout`: seconds after which nobody wants the answer."""

    def batch_get_at_once(
        self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float
    ) -> Page | None:
        """The same, if all that there is to wait for is the answer, and that ends with `timeout`; else None.

        Also None if it cannot be told whether it was heard. Where calls have timeouts of their own, it always is.
        """

    def batch_execute(self, statements: Sequence[Statement]) -> Sequence[Verdict]:
        """One BatchExecuteStatement: up to 25 statements, each of another item."""

    def batch_delete(self, table: str, keys: Sequence[bytes]) -> Sequence[bytes]:
        """One BatchWriteItem: up to 25 keys. Returns those that were not processed."""

    def close(self) -> None:
        """Release the connections."""


class BotoTransport:
    """The data plane through one boto3 client. Its calls have the client's timeouts, whatever a caller has left."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - botocore makes its clients at run time
        self._client = client

    def batch_get(
        self,
        keys: Mapping[str, Sequence[bytes]],
        *,
        consistent: bool,
        timeout: float | None = None,  # noqa: ARG002 - see the class
    ) -> Page:
        request = {
            table: {
                "Keys": [{KEY: {"B": key}} for key in wanted],
                "ProjectionExpression": f"{KEY},{SEQ},{VALUE}",
                "ConsistentRead": consistent,
            }
            for table, wanted in keys.items()
        }
        with faults():
            answer = self._client.batch_get_item(RequestItems=request)
        items: dict[tuple[str, bytes], Stored] = {}
        size = 0
        with _shaped():
            for table, found in answer["Responses"].items():
                for item in found:
                    value = item[VALUE]["B"]
                    size += len(value)
                    items[table, item[KEY]["B"]] = Stored(int(item[SEQ]["N"]), value)
            left = {table: [key[KEY]["B"] for key in part["Keys"]] for table, part in answer["UnprocessedKeys"].items()}
        return Page(items, left, size)

    def batch_get_at_once(
        self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float
    ) -> Page | None:
        del keys, consistent, timeout
        return None

    def batch_execute(self, statements: Sequence[Statement]) -> Sequence[Verdict]:
        request = [{"Statement": one.text, "Parameters": one.parameters} for one in statements]
        with faults():
            answer = self._client.batch_execute_statement(Statements=request)
        with _shaped():
            errors = [one.get("Error") for _, one in zip(statements, answer["Responses"], strict=True)]
            return [Verdict() if one is None else Verdict(one["Code"], one.get("Message", "")) for one in errors]

    def batch_delete(self, table: str, keys: Sequence[bytes]) -> Sequence[bytes]:
        request = [{"DeleteRequest": {"Key": {KEY: {"B": key}}}} for key in keys]
        with faults():
            answer = self._client.batch_write_item(RequestItems={table: request})
        with _shaped():
            return [one["DeleteRequest"]["Key"][KEY]["B"] for one in answer["UnprocessedItems"].get(table, ())]

    def close(self) -> None:
        self._client.close()


def made_clients(core: Session, endpoint: Endpoint, *timeouts: Timeouts, connections: int) -> list[Any]:
    """A boto3 client, which makes a call once, for each pair of timeouts. Raises `SettingsError` without a region."""
    session = boto3.session.Session(botocore_session=core)
    try:
        return [
            session.client(
                "dynamodb",
                region_name=endpoint.region,
                endpoint_url=endpoint.url,
                aws_access_key_id=endpoint.access_key_id,
                aws_secret_access_key=endpoint.secret_access_key,
                aws_session_token=endpoint.session_token,
                config=_config(one, connections),
            )
            for one in timeouts
        ]
    except NoRegionError as error:
        raise SettingsError(
            "DynamoDB: no region is given, and boto3 finds none",
            hint="set FEATURE_ASSETS_AWS_REGION or AWS_REGION",
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"DynamoDB: no client can be made: {error}", hint="look at the region, the endpoint and the AWS profile"
        ) from error


def _config(timeouts: Timeouts, connections: int) -> Config:
    return Config(
        connect_timeout=timeouts.connect,
        read_timeout=timeouts.read,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 1},
        tcp_keepalive=True,
    )


@contextmanager
def faults() -> Iterator[None]:
    """What botocore raises, as `FaultError`."""
    try:
        yield
    except ClientError as error:
        # The answer is not chained: botocore keeps the headers of the request with it.
        raise _of_answer(error) from None
    except (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError) as error:
        raise FaultError(Kind.UNSENT, str(error)) from error
    except ReadTimeoutError as error:
        raise FaultError(Kind.TIMEOUT, str(error)) from error
    except (HTTPClientError, SSLError, IncompleteReadError, ResponseParserError) as error:
        raise FaultError(Kind.LOST, str(error)) from error
    except BotoCoreError as error:
        # Before anything is sent: no credentials, or parameters that botocore refuses.
        raise FaultError(Kind.REFUSED, str(error)) from error


@contextmanager
def _shaped() -> Iterator[None]:
    """What botocore let pass, and is not what DynamoDB answers, is LOST."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FaultError(Kind.LOST, f"the answer cannot be read: {type(error).__name__}") from error


def checked(what: str, call: Callable[[], Answer]) -> Answer:
    """The answer of a call to which a failure is an error of ours, by its kind."""
    try:
        with faults():
            return call()
    except FaultError as fault:
        raise as_error(what, fault) from fault


def as_error(what: str, fault: FaultError) -> OnlineError:
    """The error of ours for a failed call."""
    message = f"DynamoDB: cannot {what}: {fault.reason}"
    if fault.kind is Kind.THROTTLED:
        return StoreThrottledError(message, hint="try again later, or with fewer writers")
    if fault.kind is Kind.REFUSED:
        return StoreRefusedError(message, hint="look at the table's name, the region, the credentials and their rights")
    return StoreUnreachableError(message, hint="look at the endpoint, the region and the network; then try again")


_SHOWN: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})
"""Codes whose messages are shown. A signature's error may quote the request with its session token."""
_SERVER_FAILED = 500


def _of_answer(error: ClientError) -> FaultError:
    said = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_FAILED)
    return fault_of(said.get("Code", "unknown"), said.get("Message", ""), status)


def fault_of(code: str, message: str, status: int) -> FaultError:
    """What an answer with an error means."""
    reason = f"{code}: {message}" if message and code in _SHOWN else code
    if code in THROTTLING:
        return FaultError(Kind.THROTTLED, reason)
    return FaultError(Kind.LOST if status >= _SERVER_FAILED else Kind.REFUSED, reason)
