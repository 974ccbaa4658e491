"""Faults that DynamoDB Local never produces, injected into a real client of it by botocore's event hooks.

Invariant: what is injected has the effect that it would have on AWS: a key that comes back unprocessed was not read, a
statement that was throttled was not executed, and a write whose response is lost was executed.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ReadTimeoutError

READ = "BatchGetItem"
WRITE = "BatchExecuteStatement"
DELETE = "BatchWriteItem"

Choice = Callable[[int, list[Any]], Iterable[int]]
"""From the number of the call and what it asks for to the places of what is kept from the server."""


def never(_call: int, _asked: list[Any]) -> Iterable[int]:
    """Nothing is kept from the server."""
    return ()


def everything(_call: int, asked: list[Any]) -> Iterable[int]:
    """Nothing reaches the server."""
    return range(len(asked))


@dataclass(slots=True)
class Faults:
    """What befalls the calls of one client.

    `answers`: by the number of the call (from 0), a status and an error code to answer with, instead of sending it.
    `held_back`: which keys, or statements, of a call do not reach the server. `lost`: calls whose response is lost.
    `calls`: what was asked for, call by call.
    """

    operation: str
    answers: Callable[[int], tuple[int, str] | None] = lambda _call: None
    held_back: Choice = never
    lost: Callable[[int], bool] = lambda _call: False
    code: str = "ThrottlingError"
    calls: list[list[Any]] = field(default_factory=list)
    _kept: list[list[int]] = field(default_factory=list)

    def inject(self, client: Any) -> "Faults":  # noqa: ANN401 - botocore makes its clients at run time
        """Attach to a client. One thread at a time may use it then, so that calls can be numbered."""
        events = client.meta.events
        events.register(f"provide-client-params.dynamodb.{self.operation}", self._before)
        events.register(f"before-send.dynamodb.{self.operation}", self._send)
        events.register(f"after-call.dynamodb.{self.operation}", self._after)
        return self

    @property
    def number(self) -> int:
        """Of the call that is being made."""
        return len(self.calls) - 1

    def _before(self, params: dict[str, Any], **_: object) -> dict[str, Any]:
        asked = list(_asked(params))
        self.calls.append(asked)
        kept = sorted(set(self.held_back(self.number, asked)))
        self._kept.append(kept)
        return _without(params, set(kept))

    def _send(self, **_: object) -> AWSResponse | None:
        answer = self.answers(self.number)
        if answer is None:
            if not self._reaches_the_server():
                return _response(200, _empty(self.operation))
            return None
        status, code = answer
        return _response(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"injected: {code}"})

    def _after(self, parsed: dict[str, Any], **_: object) -> None:
        if "Error" in parsed:
            return
        asked = self.calls[self.number]
        kept = self._kept[self.number]
        if self.operation == READ:
            for table, key in (asked[at] for at in kept):
                parsed["UnprocessedKeys"].setdefault(table, {"Keys": []})["Keys"].append(key)
        elif self.operation == DELETE:
            for table, request in (asked[at] for at in kept):
                parsed["UnprocessedItems"].setdefault(table, []).append(request)
        else:
            for at in kept:
                parsed["Responses"].insert(at, {"Error": {"Code": self.code, "Message": "injected"}})
        if self.lost(self.number):
            raise ReadTimeoutError(endpoint_url="http://injected", error="the response was lost")

    def _reaches_the_server(self) -> bool:
        return len(self._kept[self.number]) < len(self.calls[self.number])


def refusal(status: int, code: str, message: str) -> AWSResponse:
    """What DynamoDB answers to a call that it does not carry out."""
    return _response(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message})


def _asked(params: dict[str, Any]) -> Iterator[Any]:
    """The keys (with their table), deletions (likewise) or statements of a call."""
    if "Statements" in params:
        yield from params["Statements"]
        return
    for table, part in params["RequestItems"].items():
        for one in part["Keys"] if isinstance(part, dict) else part:
            yield table, one


def _without(params: dict[str, Any], kept: set[int]) -> dict[str, Any]:
    """The parameters of a call, without what is kept from the server; as they are if that is all of it."""
    asked = list(_asked(params))
    if not kept or len(kept) == len(asked):
        return params
    sent = [one for at, one in enumerate(asked) if at not in kept]
    if "Statements" in params:
        return {**params, "Statements": sent}
    tables: dict[str, Any] = {}
    for table, part in params["RequestItems"].items():
        mine = [one for name, one in sent if name == table]
        if mine:
            tables[table] = {**part, "Keys": mine} if isinstance(part, dict) else mine
    return {**params, "RequestItems": tables}


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


def _response(status: int, body: dict[str, Any]) -> AWSResponse:
    headers = HTTPHeaders.from_dict({"content-type": "application/x-amz-json-1.0"})
    return AWSResponse("http://injected", status, headers, _Body(json.dumps(body).encode()))
