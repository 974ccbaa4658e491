"""The document of the interface, from what the services declare: a path for each, its request and its answer typed.

Invariant: what the document allows is taken, and what it does not is refused; what is answered is as it says.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from feature_assets.definition.service import FeatureService
from feature_assets.serving.http.bodies import JSON, MSGPACK, Ask
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.status import Status

VERSION: Final = "1"
_STATUS: Final = {"type": "string", "enum": [status.value for status in Status]}
_TEXT: Final = {"type": "string"}
_NUMBER_AS_TEXT: Final = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_ERRORS: Final = {
    400: "The body is no request.",
    401: "No valid API key.",
    404: "No such service for this key.",
    406: "What is accepted cannot be given.",
    409: "A view is staler than the caller takes.",
    413: "More is asked for than is taken at once.",
    415: "A body in another form, or compressed.",
    422: "The request is understood, and cannot be answered as it is.",
    429: "The caller is over its rate.",
    503: "Not now: overloaded, past the deadline, or nothing is known. `Retry-After` says when to ask again.",
}


def document_of(services: Sequence[FeatureService], limits: Limits, *, keys: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these services."""
    paths: dict[str, Any] = {
        f"/v1/services/{service.name}": {"post": _operation(service, limits), "get": _described(service)}
        for service in services
    }
    paths["/v1/services"] = {"get": _get("services", "What this key may ask for.", {"type": "object"}, (401,))}
    paths["/health"] = {"get": _get("health", "The process runs.", {"type": "object"}, ())}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "feature_assets", "version": VERSION, "description": "Features, with a status for each."},
        "paths": paths,
        "components": {"schemas": {"Problem": _problem()}},
    }
    if keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def schema_of(service: FeatureService) -> dict[str, Any]:
    """What a service takes and gives, for people and programs."""
    return {
        "name": service.name,
        "description": service.description,
        "needs": [{"name": one.name, "dtype": str(one.dtype)} for one in service.key_columns],
        "features": [
            {
                "name": column.name,
                "dtype": str(column.dtype),
                "view": (column.ref.view if column.ref is not None else column.on_demand).name,  # type: ignore[union-attr] # one of them is there
                "description": column.feature.description,
            }
            for column in service.output_columns
        ],
    }


def _operation(service: FeatureService, limits: Limits) -> dict[str, Any]:
    asked = _asked(service, limits)
    return {
        "operationId": f"get_{service.name}",
        "summary": service.description or f"The features of {service.name}.",
        "requestBody": {"required": True, "content": {kind: {"schema": asked} for kind in (JSON, MSGPACK)}},
        "responses": {
            "200": _response("Features; each with a status.", _answered(service)),
            **{str(status): _refused(what) for status, what in _ERRORS.items() if status != 503},  # noqa: PLR2004 - of HTTP
            # What is known of nothing looks like an answer, too.
            "503": _response(_ERRORS[503], {"anyOf": [{"$ref": "#/components/schemas/Problem"}, _answered(service)]}),
        },
    }


def _described(service: FeatureService) -> dict[str, Any]:
    return _get(f"describe_{service.name}", "What it takes and gives.", {"type": "object"}, (401, 404))


def _get(name: str, what: str, schema: dict[str, Any], errors: Sequence[int]) -> dict[str, Any]:
    responses = {"200": {"description": what, "content": {JSON: {"schema": schema}}}}
    return {
        "operationId": name,
        "summary": what,
        "responses": {**responses, **{str(status): _refused(_ERRORS[status]) for status in errors}},
    }


def _asked(service: FeatureService, limits: Limits) -> dict[str, Any]:
    (_,), parts = msgspec.json.schema_components([Ask], ref_template="#/{name}")
    properties = dict(parts["Ask"]["properties"])
    fields = {one.name: _given(one.dtype, limits) for one in service.key_columns}
    names = [one.name for one in service.key_columns]
    entity = {"type": "object", "properties": fields, "required": names}
    lists = {name: {"type": "array", "items": schema, "maxItems": limits.entities} for name, schema in fields.items()}
    properties["entities"] = {"type": "array", "items": entity, "maxItems": limits.entities}
    properties["columns"] = {
        "type": "object",
        "properties": lists,
        "required": names,
        "additionalProperties": {"type": "array"},
    }
    least, most = 1e3 * limits.shortest_deadline, 600_000
    properties["deadline_ms"] = {"anyOf": [{"type": "number", "minimum": least, "maximum": most}, {"type": "null"}]}
    outputs = [column.name for column in service.output_columns]
    properties["features"] = {
        "anyOf": [{"type": "array", "items": {"enum": outputs}, "uniqueItems": True}, {"type": "null"}]
    }
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "oneOf": [{"required": ["entities"]}, {"required": ["columns"]}],
    }


def _answered(service: FeatureService) -> dict[str, Any]:
    values = {
        column.name: {"type": "array", "items": {"anyOf": [_value(column.dtype), {"type": "null"}]}}
        for column in service.output_columns
    }
    statuses = {name: {"anyOf": [_STATUS, {"type": "array", "items": _STATUS}]} for name in values}
    return {
        "type": "object",
        "properties": {
            "request_id": _TEXT,
            "service": {"const": service.name},
            "as_of": {"type": "string", "format": "date-time"},
            "rows": {"type": "integer"},
            "values": {"type": "object", "properties": values, "additionalProperties": False},
            "status": {"type": "object", "properties": statuses, "additionalProperties": False},
            "entities": {"type": "array", "items": {"type": "object"}},
            "views": {"type": "object"},
            "failures": {"type": "object", "additionalProperties": _TEXT},
        },
        "required": ["request_id", "service", "as_of", "rows", "views", "failures"],
    }


def _response(what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": what, "content": {kind: {"schema": schema} for kind in (JSON, MSGPACK)}}


def _refused(what: str) -> dict[str, Any]:
    return {"description": what, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def _problem() -> dict[str, Any]:
    names = ("code", "message", "hint", "request_id")
    error = {"type": "object", "properties": dict.fromkeys(names, _TEXT), "required": list(names)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _given(dtype: pa.DataType, limits: Limits) -> dict[str, Any]:
    """What may stand for a key or a field."""
    return {"anyOf": [_of_request(dtype, limits), {"type": "null"}]}


def _of_request(dtype: pa.DataType, limits: Limits) -> dict[str, Any]:
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        # A character takes four bytes at most.
        return {"type": "string", "maxLength": limits.key // 4}
    if pa.types.is_integer(dtype):
        low, high = (0, 2**dtype.bit_width - 1) if pa.types.is_unsigned_integer(dtype) else _signed(dtype.bit_width)
        return {"type": "integer", "minimum": low, "maximum": high}
    if pa.types.is_floating(dtype):
        return {"type": "number"}
    if pa.types.is_boolean(dtype):
        return {"type": "boolean"}
    if pa.types.is_timestamp(dtype):
        return {"type": "string", "format": "date-time"}
    if pa.types.is_date(dtype):
        return {"type": "string", "format": "date"}
    return {}


def _signed(bits: int) -> tuple[int, int]:
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _value(dtype: pa.DataType) -> dict[str, Any]:
    """What a value of a feature looks like in JSON."""
    if pa.types.is_boolean(dtype):
        return {"type": "boolean"}
    if pa.types.is_integer(dtype):
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]}
    if pa.types.is_floating(dtype):
        return {"anyOf": [{"type": "number"}, _NUMBER_AS_TEXT]}
    if pa.types.is_duration(dtype):
        return {"type": "number"}
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_map(dtype):
        return {"type": "array"}
    if pa.types.is_struct(dtype):
        return {"type": "object"}
    return _TEXT
