"""Faults that DynamoDB Local never produces: what is kept from the server, and what is done to its answers.

Invariant: what is injected has the effect that it would have on AWS: a key that comes back unprocessed was not read, a
statement that was throttled was not executed, and a write whose response is lost was executed.

It says what happens to which call, of JSON; `dynamodb_proxy` does it to real requests.
"""

import base64
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

READ = "BatchGetItem"
WRITE = "BatchExecuteStatement"
DELETE = "BatchWriteItem"

Choice = Callable[[int, list[Any]], Iterable[int]]
"""From the number of the call and what it asks for to the places of what is kept from the server."""


class Mishap(Enum):
    """What befalls a call on its way."""

    NEVER_ARRIVES = "the connection ends before the server sees the request"
    RESET = "as before, by a reset"
    LOST = "the server carries it out, and the connection ends before the answer"
    HANGS = "the server carries it out, and nothing comes"
    DRIPS = "the answer comes, byte by byte, and never ends"
    TRUNCATED = "half of the answer comes, then the connection ends"
    CORRUPT = "a byte of the answer is another; the checksum is that of the true one"
    NO_JSON = "the answer is no JSON, with its right checksum"
    ANOTHER_SHAPE = "the answer is JSON, and none of DynamoDB's"
    HTML = "something on the way answers with a page and 503"
    FALLS_ASLEEP = "all is well, and the connection is closed after the answer without a word"


def never(_call: int, _asked: list[Any]) -> Iterable[int]:
    """Nothing is kept from the server."""
    return ()


def everything(_call: int, asked: list[Any]) -> Iterable[int]:
    """Nothing reaches the server."""
    return range(len(asked))


@dataclass(slots=True)
class Faults:
    """What befalls the calls of one operation.

    `answers`: by the number of the call (from 0), a status and an error code to answer with, instead of sending it.
    `held_back`: which keys, or statements, of a call do not reach the server. `mishaps` and `delays` (seconds before
    the answer), by the number of the call. `lost`: calls whose response is lost.
    `calls`: what was asked for, call by call; `requests`: the same as it came.
    """

    operation: str
    answers: Callable[[int], tuple[int, str] | None] = lambda _call: None
    held_back: Choice = never
    lost: Callable[[int], bool] = lambda _call: False
    mishaps: Callable[[int], Mishap | None] = lambda _call: None
    delays: Callable[[int], float] = lambda _call: 0.0
    code: str = "ThrottlingError"
    message: str = "injected"
    calls: list[list[Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, request: dict[str, Any]) -> "Call":
        """Number a request that came. One thread at a time."""
        self.requests.append(request)
        self.calls.append(_with_bytes(list(_asked(request))))
        number = len(self.calls) - 1
        kept = sorted(set(self.held_back(number, self.calls[number])))
        answer = self.answers(number)
        return Call(
            self, number, request, kept, None if answer is None else (answer[0], _refusal(answer[1], self.message))
        )

    def mishap(self, number: int) -> Mishap | None:
        """What befalls the call on its way."""
        return Mishap.LOST if self.lost(number) else self.mishaps(number)


@dataclass(frozen=True, slots=True)
class Call:
    """One call, which parts of it are kept from the server, and what to answer instead of carrying it out."""

    faults: Faults
    number: int
    request: dict[str, Any]
    kept: list[int]
    refusal: tuple[int, dict[str, Any]] | None

    @property
    def sent(self) -> dict[str, Any] | None:
        """What reaches the server; None: nothing."""
        asked = list(_asked(self.request))
        if asked and len(self.kept) == len(asked):
            return None
        return _without(self.request, set(self.kept))

    def answered(self, answer: dict[str, Any] | None) -> dict[str, Any]:
        """The server's answer (None: it was not asked), as it would be without what was kept from it."""
        whole = _empty(self.faults.operation) if answer is None else answer
        asked = list(_asked(self.request))
        for at in self.kept:
            if self.faults.operation == READ:
                table, key = asked[at]
                part = self.request["RequestItems"][table]
                whole["UnprocessedKeys"].setdefault(table, {**part, "Keys": []})["Keys"].append(key)
            elif self.faults.operation == DELETE:
                table, request = asked[at]
                whole["UnprocessedItems"].setdefault(table, []).append(request)
            else:
                whole["Responses"].insert(at, {"Error": {"Code": self.faults.code, "Message": self.faults.message}})
        return whole


def refusal(status: int, code: str, message: str) -> AWSResponse:
    """What DynamoDB answers to a call that it does not carry out, for an event hook of a boto3 client."""
    headers = HTTPHeaders.from_dict({"content-type": "application/x-amz-json-1.0"})
    return AWSResponse("http://injected", status, headers, _Body(json.dumps(_refusal(code, message)).encode()))


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}


def _asked(request: dict[str, Any]) -> Iterator[Any]:
    """The keys (with their table), deletions (likewise) or statements of a call."""
    if "Statements" in request:
        yield from request["Statements"]
        return
    for table, part in request.get("RequestItems", {}).items():
        for one in part["Keys"] if isinstance(part, dict) else part:
            yield table, one


def _with_bytes(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The same with bytes where JSON has Base64, as a client has it."""
    if isinstance(value, dict):
        return {
            name: base64.b64decode(one) if name == "B" and isinstance(one, str) else _with_bytes(one)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_with_bytes(one) for one in value)
    return value


def _without(request: dict[str, Any], kept: set[int]) -> dict[str, Any]:
    if not kept:
        return request
    sent = [one for at, one in enumerate(_asked(request)) if at not in kept]
    if "Statements" in request:
        return {**request, "Statements": sent}
    tables: dict[str, Any] = {}
    for table, part in request["RequestItems"].items():
        mine = [one for name, one in sent if name == table]
        if mine:
            tables[table] = {**part, "Keys": mine} if isinstance(part, dict) else mine
    return {**request, "RequestItems": tables}


def _empty(operation: str) -> dict[str, Any]:
    answers: dict[str, dict[str, Any]] = {
        READ: {"Responses": {}, "UnprocessedKeys": {}},
        WRITE: {"Responses": []},
        DELETE: {"UnprocessedItems": {}},
    }
    return answers[operation]


class _Body(io.BytesIO):
    """The raw response, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()
