"""The calls that the DynamoDB store makes, straight over pooled connections: what boto3 does, without its layers.

Invariant: it answers and fails as `BotoTransport` does (one contract suite, and a comparison of both). Credentials,
region, endpoint and signature are botocore's; the payloads are written and read here, into declared types, and an
answer whose checksum is not the one that was sent with it is lost, not read. Nothing is repeated here but a read that
met a connection which the server had closed meanwhile.

What it does not do: proxies. Where one is set for the endpoint, boto3 makes the calls.
"""

import http.client
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zlib import crc32

import boto3
import msgspec
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from feature_assets.online.dynamodb_client import SHOWN, Endpoint, FaultError, Kind, Page, Timeouts
from feature_assets.online.dynamodb_items import KEY, SEQ, THROTTLING, VALUE, Statement, Verdict
from feature_assets.online.store import Stored

_TARGET: Final = "DynamoDB_20120810."
_CONTENT_TYPE: Final = "application/x-amz-json-1.0"
_SERVICE: Final = "dynamodb"


# What is said and answered, as far as it is used. Binary is base64 in JSON, which msgspec writes and reads as bytes.
class _Binary(msgspec.Struct, gc=False):
    bytes_: Annotated[bytes, msgspec.Meta()] = msgspec.field(name="B")


class _Number(msgspec.Struct, gc=False):
    text: str = msgspec.field(name="N")


class _Item(msgspec.Struct, gc=False):
    key: _Binary = msgspec.field(name=KEY)
    seq: _Number = msgspec.field(name=SEQ)
    value: _Binary = msgspec.field(name=VALUE)


class _Key(msgspec.Struct, gc=False):
    key: _Binary = msgspec.field(name=KEY)


class _Keys(msgspec.Struct, rename="pascal"):
    keys: list[_Key] = []


class _Got(msgspec.Struct, rename="pascal"):
    responses: dict[str, list[_Item]] = {}
    unprocessed_keys: dict[str, _Keys] = {}


class _Error(msgspec.Struct, rename="pascal"):
    code: str
    message: str = ""


class _Executed(msgspec.Struct, rename="pascal"):
    error: _Error | None = None


class _ExecutedAll(msgspec.Struct, rename="pascal"):
    responses: list[_Executed] = []


class _Request(msgspec.Struct, rename="pascal"):
    delete_request: "_Delete"


class _Delete(msgspec.Struct, rename="pascal"):
    key: _Key


class _Written(msgspec.Struct, rename="pascal"):
    unprocessed_items: dict[str, list[_Request]] = {}


class _Refusal(msgspec.Struct):
    type_: str = msgspec.field(default="unknown", name="__type")
    message: str = ""
    message_: str = msgspec.field(default="", name="Message")


_encode = msgspec.json.Encoder().encode
_got = msgspec.json.Decoder(_Got)
_executed = msgspec.json.Decoder(_ExecutedAll)
_written = msgspec.json.Decoder(_Written)
_refusal = msgspec.json.Decoder(_Refusal)


@dataclass(frozen=True, slots=True)
class DirectAccess:
    """Where the calls go, and who makes them: found by botocore. `is_possible`: no proxy is in between."""

    url: str
    region: str
    credentials: Credentials | None = field(repr=False)
    is_possible: bool

    @classmethod
    def of(cls, endpoint: Endpoint, client: Any) -> "DirectAccess":  # noqa: ANN401 - botocore makes its clients at run time
        """As the boto3 client, which was made for the same endpoint, would go."""
        url = str(client.meta.endpoint_url)
        known: Credentials | None
        if endpoint.access_key_id is not None and endpoint.secret_access_key is not None:
            known = Credentials(endpoint.access_key_id, endpoint.secret_access_key, endpoint.session_token)
        else:
            known = boto3.session.Session().get_credentials()
        return cls(url, str(client.meta.region_name), known, not get_environ_proxies(url))


class DirectTransport:
    """The data plane over one pool of `connections`, none of them waited for longer than `timeouts` say."""

    def __init__(self, access: DirectAccess, timeouts: Timeouts, connections: int) -> None:
        self._access = access
        self._timeouts = timeouts
        address = urlsplit(access.url)
        options: dict[str, Any] = {"maxsize": connections, "block": True, "retries": False}
        self._pool: urllib3.HTTPConnectionPool
        if address.scheme == "https":
            certificates = os.environ.get("AWS_CA_BUNDLE") or get_cert_path(True)  # noqa: FBT003 - of botocore
            self._pool = urllib3.HTTPSConnectionPool(
                str(address.hostname), address.port or 443, ca_certs=certificates, cert_reqs="CERT_REQUIRED", **options
            )
        else:
            self._pool = urllib3.HTTPConnectionPool(str(address.hostname), address.port or 80, **options)

    def batch_get(self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float | None = None) -> Page:
        request = {
            table: {
                "Keys": [{KEY: {"B": key}} for key in wanted],
                "ProjectionExpression": f"{KEY},{SEQ},{VALUE}",
                "ConsistentRead": consistent,
            }
            for table, wanted in keys.items()
        }
        body = _encode({"RequestItems": request})
        try:
            content = self._call("BatchGetItem", body, timeout)
        except _ClosedError:
            content = self._call("BatchGetItem", body, timeout)
        answer = _read(_got, content)
        items: dict[tuple[str, bytes], Stored] = {}
        size = 0
        for table, found in answer.responses.items():
            for item in found:
                value = item.value.bytes_
                size += len(value)
                items[table, item.key.bytes_] = Stored(int(item.seq.text), value)
        left = {table: [one.key.bytes_ for one in part.keys] for table, part in answer.unprocessed_keys.items()}
        return Page(items, left, size)

    def batch_execute(self, statements: Sequence[Statement]) -> Sequence[Verdict]:
        request = [{"Statement": one.text, "Parameters": one.parameters} for one in statements]
        content = self._call("BatchExecuteStatement", _encode({"Statements": request}))
        answers = _read(_executed, content).responses
        if len(answers) != len(statements):
            raise FaultError(Kind.LOST, f"{len(answers)} verdicts for {len(statements)} statements")
        return [Verdict() if one.error is None else Verdict(one.error.code, one.error.message) for one in answers]

    def batch_delete(self, table: str, keys: Sequence[bytes]) -> Sequence[bytes]:
        request = [{"DeleteRequest": {"Key": {KEY: {"B": key}}}} for key in keys]
        answer = _read(_written, self._call("BatchWriteItem", _encode({"RequestItems": {table: request}})))
        return [one.delete_request.key.key.bytes_ for one in answer.unprocessed_items.get(table, ())]

    def close(self) -> None:
        self._pool.close()

    def _call(self, operation: str, body: bytes, timeout: float | None = None) -> bytes:
        """The body of a good answer. Raises `FaultError`."""
        wait = self._timeouts.read if timeout is None else max(0.001, min(timeout, self._timeouts.read))
        headers = self._signed(operation, body)
        try:
            answer = self._pool.request(
                "POST",
                "/",
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=self._timeouts.connect, read=wait),
                redirect=False,
            )
            content = answer.data
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise FaultError(Kind.UNSENT, f"no connection to {self._access.url}") from error
        except ReadTimeoutError as error:
            raise FaultError(Kind.TIMEOUT, f"no answer within {wait:g} s from {self._access.url}") from error
        except ProtocolError as error:
            if any(isinstance(one, http.client.IncompleteRead) for one in (error, *error.args)):
                raise FaultError(Kind.LOST, f"an answer of {self._access.url} broke off") from error
            raise _ClosedError(Kind.LOST, f"{self._access.url} closed the connection") from error
        except (HTTPError, OSError) as error:
            raise FaultError(Kind.LOST, f"the call to {self._access.url} failed: {type(error).__name__}") from error
        checksum = answer.headers.get("x-amz-crc32")
        if checksum is not None and checksum != str(crc32(content)):
            raise FaultError(Kind.LOST, f"an answer of {self._access.url} is damaged")
        if answer.status != HTTPStatus.OK:
            raise _of_refusal(answer.status, content)
        return content

    def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        request = AWSRequest(
            "POST",
            self._access.url,
            headers={"X-Amz-Target": _TARGET + operation, "Content-Type": _CONTENT_TYPE},
            data=body,
        )
        try:
            known = self._access.credentials
            if known is None:
                raise FaultError(Kind.REFUSED, "Unable to locate credentials")
            SigV4Auth(known.get_frozen_credentials(), _SERVICE, self._access.region).add_auth(request)
        except BotoCoreError as error:
            raise FaultError(Kind.REFUSED, str(error)) from error
        return {name: _text(value) for name, value in request.headers.items()}


class _ClosedError(FaultError):
    """The server had closed the connection: perhaps before it got anything."""


def _read(decoder: "msgspec.json.Decoder[Any]", content: bytes) -> Any:  # noqa: ANN401 - what the decoder is of
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FaultError(Kind.LOST, "an answer that cannot be read") from error


def _of_refusal(status: int, content: bytes) -> FaultError:
    try:
        found = _refusal.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = _Refusal(type_=str(status))
    code = found.type_.rpartition("#")[2]
    message = (found.message or found.message_) if code in SHOWN else ""
    reason = f"{code}: {message}" if message else code
    if code in THROTTLING:
        return FaultError(Kind.THROTTLED, reason)
    failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return FaultError(Kind.LOST if failed else Kind.REFUSED, reason)


def _text(value: str | bytes) -> str:
    # Signed headers are bytes, whatever the annotation says.
    return value if isinstance(value, str) else value.decode()
