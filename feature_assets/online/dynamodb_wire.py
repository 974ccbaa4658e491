"""DynamoDB's JSON, of the three calls that read and write items: requests made, answers read.

Invariant: an answer is read as what DynamoDB documents, or it is `BrokenAnswerError`; a part that is missing or of
another kind is never taken for nothing. It sends nothing, and knows no HTTP.

Bytes stand in Base64, numbers as text. msgspec does both while it reads and writes the JSON.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from feature_assets.online.dynamodb_client import Page
from feature_assets.online.dynamodb_items import KEY, SEQ, VALUE, Statement, Verdict
from feature_assets.online.store import Stored

Answer = TypeVar("Answer")


class BrokenAnswerError(Exception):
    """What came is not what DynamoDB answers to this call."""


class _Binary(msgspec.Struct, gc=False):
    value: bytes = msgspec.field(name="B")


class _Number(msgspec.Struct, gc=False):
    value: int = msgspec.field(name="N")


class _Key(msgspec.Struct, gc=False):
    key: _Binary = msgspec.field(name=KEY)


class _Item(msgspec.Struct, gc=False):
    key: _Binary = msgspec.field(name=KEY)
    seq: _Number = msgspec.field(name=SEQ)
    value: _Binary = msgspec.field(name=VALUE)


class _Keys(msgspec.Struct, gc=False):
    keys: list[_Key] = msgspec.field(name="Keys")


class _Got(msgspec.Struct):
    found: dict[str, list[_Item]] = msgspec.field(name="Responses")
    left: dict[str, _Keys] = msgspec.field(name="UnprocessedKeys")


class _Error(msgspec.Struct):
    code: str = msgspec.field(name="Code")
    message: str = msgspec.field(name="Message", default="")


class _Executed(msgspec.Struct):
    error: _Error | None = msgspec.field(name="Error", default=None)


class _AllExecuted(msgspec.Struct):
    each: list[_Executed] = msgspec.field(name="Responses")


class _Deletion(msgspec.Struct):
    item: _Key = msgspec.field(name="Key")


class _Write(msgspec.Struct):
    deletion: _Deletion = msgspec.field(name="DeleteRequest")


class _Written(msgspec.Struct):
    left: dict[str, list[_Write]] = msgspec.field(name="UnprocessedItems")


class _Refusal(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="")
    message: str = ""
    capital_message: str = msgspec.field(name="Message", default="")


_ENCODER: Final = msgspec.json.Encoder()
# Not strict, so that the text of a number is read as the number.
_GOT: Final = msgspec.json.Decoder(_Got, strict=False)
_EXECUTED: Final = msgspec.json.Decoder(_AllExecuted)
_WRITTEN: Final = msgspec.json.Decoder(_Written)
_REFUSAL: Final = msgspec.json.Decoder(_Refusal)


def get_request(keys: Mapping[str, Sequence[bytes]], *, consistent: bool) -> bytes:
    """The body of a BatchGetItem."""
    tables = {
        table: {
            "Keys": [{KEY: {"B": key}} for key in wanted],
            "ProjectionExpression": f"{KEY},{SEQ},{VALUE}",
            "ConsistentRead": consistent,
        }
        for table, wanted in keys.items()
    }
    return _ENCODER.encode({"RequestItems": tables})


def got(body: bytes) -> Page:
    """What a BatchGetItem was answered."""
    answer = _read(_GOT, body)
    items = {
        (table, one.key.value): Stored(one.seq.value, one.value.value)
        for table, found in answer.found.items()
        for one in found
    }
    left = {table: [one.key.value for one in part.keys] for table, part in answer.left.items() if part.keys}
    return Page(items, left, sum(len(one.value) for one in items.values()))


def execute_request(statements: Sequence[Statement]) -> bytes:
    """The body of a BatchExecuteStatement."""
    return _ENCODER.encode(
        {"Statements": [{"Statement": one.text, "Parameters": one.parameters} for one in statements]}
    )


def executed(body: bytes, count: int) -> Sequence[Verdict]:
    """What a BatchExecuteStatement of `count` statements was answered."""
    each = _read(_EXECUTED, body).each
    if len(each) != count:
        raise BrokenAnswerError(f"{len(each)} verdicts on {count} statements")
    return [Verdict() if one.error is None else Verdict(one.error.code, one.error.message) for one in each]


def delete_request(table: str, keys: Sequence[bytes]) -> bytes:
    """The body of a BatchWriteItem that deletes."""
    return _ENCODER.encode({"RequestItems": {table: [{"DeleteRequest": {"Key": {KEY: {"B": key}}}} for key in keys]}})


def undeleted(body: bytes, table: str) -> Sequence[bytes]:
    """The keys that a BatchWriteItem came back without."""
    return [one.deletion.item.key.value for one in _read(_WRITTEN, body).left.get(table, ())]


def refusal(body: bytes, status: int) -> tuple[str, str]:
    """The code and message of an answer that is an error; what is none of DynamoDB's has its status for a code."""
    try:
        found = _REFUSAL.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return str(status), ""
    code = found.type.partition(":")[0].rpartition("#")[2]
    return code or str(status), found.message or found.capital_message


def _read(decoder: msgspec.json.Decoder[Answer], body: bytes) -> Answer:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The error says where and of what kind it is, not what is there.
        raise BrokenAnswerError(str(error)) from error
