"""What a request's body may be: JSON or MessagePack, read into one declared type.

Invariant: what is not declared is refused; and what JSON cannot say (times, decimals, binary, large integers) is read
from the one text that stands for it, by the type that the service declares.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

import msgspec
import pyarrow as pa

from feature_assets.definition.on_demand import RequestField
from feature_assets.errors import InputError
from feature_assets.serving.freshness import OnStale
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.request import Columns

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
MEDIA_TYPES: Final = (JSON, MSGPACK)
REQUEST_ID: Final = r"^[A-Za-z0-9._:-]{1,128}$"

Seconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]


class Ask(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Features of entities. Exactly one of `entities` (a map for each) and `columns` (a list for each key or field).

    `as_of`: the instant that ages and on-demand features are of (default: now). `consistent`: every write acknowledged
    before is seen. `deadline_ms`: what is not known by then is `TIMEOUT`. `max_age_seconds`, `on_stale`: how stale a
    view may be, and what becomes of one that is. `features`: of the service's columns those wanted (default: all).
    `detail`: `status`, or `full` with times, ages, cuts and seqs. `layout`: of the answer.
    """

    entities: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    columns: dict[str, list[Any]] | msgspec.UnsetType = msgspec.UNSET
    as_of: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    consistent: bool = False
    deadline_ms: Annotated[float, msgspec.Meta(ge=1, le=600_000)] | None = None
    max_age_seconds: Seconds | None = None
    on_stale: OnStale = "serve"
    features: list[str] | None = None
    detail: Literal["status", "full"] = "status"
    layout: Literal["columns", "rows"] = "columns"
    request_id: Annotated[str, msgspec.Meta(pattern=REQUEST_ID)] | None = None

    @property
    def max_age(self) -> timedelta | None:
        """`max_age_seconds` as a duration."""
        return None if self.max_age_seconds is None else timedelta(seconds=self.max_age_seconds)


class MalformedError(InputError):
    """A body that is not what it says it is, or not what a request may be."""


_json = msgspec.json.Decoder(Ask)
_msgpack = msgspec.msgpack.Decoder(Ask)


def parse(body: bytes, media_type: str, limits: Limits) -> Ask:
    """The request in a body. Raises `MalformedError` and `LimitError`."""
    limits.require_body(len(body))
    try:
        ask = _json.decode(body) if media_type == JSON else _msgpack.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedError(f"the body is no request: {what}", hint="GET /openapi.json says what one is") from error
    if isinstance(ask.entities, msgspec.UnsetType) == isinstance(ask.columns, msgspec.UnsetType):
        raise MalformedError("the body is no request: exactly one of entities and columns is needed", hint=_EXAMPLE)
    # A request has two brackets of its own, and one for each entity or column: the others might be in one another.
    others = body.count(b"[") + body.count(b"{") - 2 - len(ask.entities or ask.columns or ())
    if media_type != JSON or 2 + others > limits.depth:
        limits.require_depth(ask.entities or ask.columns)
    return ask


def entities_of(ask: Ask, fields: Sequence[RequestField], limits: Limits) -> Columns:
    """What is asked for as columns in the types of Python that the service's types stand for.

    Raises `InputError` and `LimitError`.
    """
    if ask.columns:
        columns: Mapping[str, list[Any]] = ask.columns
    else:
        columns = {} if ask.columns == {} else _columns_of(ask.entities or [], fields)
    found = Columns()
    for field in fields:
        if field.name not in columns:
            continue
        values = columns[field.name]
        limits.require_keys(field.name, values)
        convert = _converter(field.dtype)
        found[field.name] = values if convert is None else _converted(values, convert, field)
    # What is missing is told by the reader, with all columns that there are.
    if len(found) < len(fields):
        found.update({name: values for name, values in columns.items() if name not in found})
    return found


def rows_of(ask: Ask) -> int:
    """How many entities are asked for."""
    if ask.columns:
        return max(map(len, ask.columns.values()), default=0)
    return len(ask.entities or ())


def _columns_of(entities: list[dict[str, Any]], fields: Sequence[RequestField]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for field in fields:
        try:
            columns[field.name] = [entity[field.name] for entity in entities]
        except KeyError:
            row = next(row for row, entity in enumerate(entities) if field.name not in entity)
            given = ", ".join(sorted(map(str, entities[row]))[:12]) or "none"
            raise InputError(
                f"request: entity {row} has no {field.name!r}, which the service needs", hint=f"it has: {given}"
            ) from None
    return columns


_EXAMPLE: Final = 'e.g. {"entities": [{"carrier": "UA"}]} or {"columns": {"carrier": ["UA", "AA"]}}'


def _converted(values: Sequence[Any], convert: Callable[[Any], Any], field: RequestField) -> list[Any]:
    found = []
    for row, value in enumerate(values):
        try:
            found.append(convert(value) if isinstance(value, str) else value)
        except (ValueError, InvalidOperation, binascii.Error, OverflowError) as error:
            shown = value if len(value) <= 40 else value[:40] + "..."  # noqa: PLR2004 - of a line
            raise InputError(
                f"request: column {field.name!r} of entity {row}: {shown!r} is no {field.dtype}",
                hint="times are ISO 8601 with a zone, decimals and large integers text, binary is base64",
            ) from error
    return found


def _converter(dtype: pa.DataType) -> Callable[[Any], Any] | None:
    """How a text in JSON stands for a value of this type; None: as itself."""
    if pa.types.is_timestamp(dtype):
        return datetime.fromisoformat
    if pa.types.is_date(dtype):
        return date.fromisoformat
    if pa.types.is_decimal(dtype):
        return Decimal
    if pa.types.is_integer(dtype):
        return int
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return lambda text: base64.b64decode(text, validate=True)
    if pa.types.is_floating(dtype):
        return float
    return None
