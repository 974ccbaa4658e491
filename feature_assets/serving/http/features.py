"""Features of entities, and why they are what they are.

Invariant: a body is read no further than is taken, and names are those of the service's plan or refused.
"""

from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from feature_assets.definition.service import FeatureService
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import Question
from feature_assets.serving.http.bodies import JSON, MEDIA_TYPES, MSGPACK, entities_of, parse, rows_of
from feature_assets.serving.http.call import Call, Reply, Serving
from feature_assets.serving.http.encoding import encoded
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.http.problems import ProblemError, no_such_service
from feature_assets.serving.status import unknown


async def features(serving: Serving, call: Call) -> Response:
    """The features of some entities; 503 if of all that was to be looked up nothing is known."""
    key = call.known(serving)
    serving.rates.require(key.id)
    service = serving.service(key, "read", call.path_params["service"])
    call.service = service.name
    media_type, accepted = _media_types(call.headers)
    body = await _body(call, serving.limits)
    ask = parse(body, media_type, serving.limits)
    call.id, call.entities = ask.request_id or call.id, rows_of(ask)
    columns = _columns(service, ask.features)
    serving.limits.require_size(call.entities, len(columns))
    question = Question(
        entities_of(ask, service.key_columns, serving.limits),
        service.name,
        ask.as_of,
        ask.consistent,
        serving.limits.within(ask.deadline_ms),
        ask.max_age,
        ask.on_stale,
        call.id,
        call.began,
    )

    def told(answer: Answer) -> tuple[int, bytes]:
        content = encoded(answer, columns, media_type=accepted, detail=ask.detail, layout=ask.layout)
        answer.stages.ended("encode")
        serving.metrics.encoded(answer)
        return (503 if _is_nothing_known(answer, service) else 200), content

    status, content = await serving.features.answered(question, told)
    return Reply(content, status, accepted, {} if status == 200 else {"retry-after": "1"})  # noqa: PLR2004 - of HTTP


async def explain(serving: Serving, call: Call) -> Response:
    """Why one entity's features are what they are."""
    key = call.known(serving)
    service = serving.service(key, "explain", call.path_params["service"])
    explained = serving.explain
    if explained is None:
        raise no_such_service(service.name)
    call.service = service.name
    ask = parse(await _body(call, serving.limits), JSON, serving.limits)
    columns = entities_of(ask, service.key_columns, serving.limits)
    call.entities = rows_of(ask)
    if call.entities != 1:
        raise ProblemError(422, "invalid", f"{call.entities} entities are to be explained", "ask for one at a time")
    entity = {name: values[0] for name, values in columns.items()}
    content = await serving.within(
        lambda: explained(service.name, entity, ask), serving.limits.longest_deadline, call, service.name
    )
    return Reply(content)


def _is_nothing_known(answer: Answer, service: FeatureService) -> bool:
    """Whether of all that was to be looked up nothing is known, of no entity."""
    looked_up = [answer.codes[column.name] for column in service.output_columns if column.ref is not None]
    return bool(len(answer)) and all(unknown(codes).all() for codes in looked_up)


def _columns(service: FeatureService, wanted: list[str] | None) -> list[str]:
    names = [column.name for column in service.output_columns]
    if wanted is None:
        return names
    other = next((name for name in wanted if name not in names), None)
    if other is not None:
        shown = other if len(other) <= 128 else other[:125] + "..."  # noqa: PLR2004 - of a line
        raise ProblemError(422, "unknown_feature", f"service {service.name!r} has no {shown!r}", "GET its schema")
    if len(set(wanted)) < len(wanted):
        raise ProblemError(422, "invalid", "a feature is asked for twice", "ask for each once")
    return wanted


def _media_types(headers: Mapping[str, str]) -> tuple[str, str]:
    """What the body is in, and what the answer is to be in. Raises `ProblemError`."""
    given = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if given not in MEDIA_TYPES:
        raise ProblemError(415, "media_type", f"a body in {given[:80]!r} is not read", f"send {JSON} or {MSGPACK}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(415, "encoding", "a compressed body is not read", "send it as it is")
    accepted = headers.get("accept", "*/*").lower()
    for one in (given, *MEDIA_TYPES):
        if one in accepted:
            return given, one
    if "*/*" in accepted or "application/*" in accepted:
        return given, given
    raise ProblemError(406, "media_type", "what is accepted cannot be given", f"accept {JSON} or {MSGPACK}")


async def _body(call: Call, limits: Limits) -> bytes:
    """The body, read no further than is taken. Raises `LimitError`."""
    length = call.headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        limits.require_body(int(length[:12]))
    parts, size, more = [], 0, True
    while more:
        # How long that may take is bounded by the connection.
        message = await call.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        limits.require_body(size)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
