"""The routes: features, what there is, how it is, and what it has done.

    POST /v1/services/{service}           features of entities
    POST /v1/services/{service}/explain   why one entity's features are what they are (verb explain)
    GET  /v1/services                     what this key may ask for
    GET  /v1/services/{service}           what it takes and gives
    GET  /openapi.json                    the document of all that
    GET  /health                          the process runs
    GET  /ready                           it can answer: every service was answered once, and it is not going down
    GET  /metrics                         for Prometheus (verb metrics)

Invariant: the event loop waits for nobody: what may wait is answered and encoded in one of a few threads, so that
health is answered however many ask. Every request has a deadline, and is answered by then.
"""

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from feature_assets.clock import Clock
from feature_assets.definition.service import FeatureService
from feature_assets.serving.answer import Answer
from feature_assets.serving.async_client import AsyncOnlineClient
from feature_assets.serving.client import OnlineClient, Question
from feature_assets.serving.http.access import ANYBODY, Key, KeysFile, Verb
from feature_assets.serving.http.audit import Entry, record
from feature_assets.serving.http.bodies import JSON, MEDIA_TYPES, MSGPACK, REQUEST_ID, Ask, entities_of, parse, rows_of
from feature_assets.serving.http.encoding import encoded
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.http.openapi import document_of, schema_of
from feature_assets.serving.http.problems import ProblemError, no_such_service, problem_of, unauthenticated
from feature_assets.serving.http.rate import Rates
from feature_assets.serving.metrics import ServingMetrics
from feature_assets.serving.status import unknown

Explain = Callable[[str, Mapping[str, object], Ask], bytes]
"""Explains one entity of a service, as JSON."""

GRACE: Final = 0.005
"""Seconds that an answer that is ready at its deadline has to get out."""
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_AUDITED: Final = frozenset({"read", "explain"})
_GONE: Final = 499
"""Of a caller who hung up; nobody sees it."""
_LISTED: Final = "GET /openapi.json lists what there is"
_REQUEST_ID: Final = re.compile(REQUEST_ID)


@dataclass(slots=True)
class Serving:
    """What the routes work with. `keys`: None: anybody may ask. `draining`: it goes down, and is not ready any more.

    `warm`: every service could be answered once.
    """

    client: OnlineClient
    features: AsyncOnlineClient
    limits: Limits
    clock: Clock
    metrics: ServingMetrics
    keys: KeysFile | None = None
    explain: Explain | None = None
    audited: bool = True
    show_openapi: bool = True
    draining: bool = False
    warm: bool = False
    services: Mapping[str, FeatureService] = field(init=False)
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.services = self.client.services
        self.rates = Rates(self.limits.rate)

    def key(self, headers: Mapping[str, str]) -> Key:
        """Who asks. Raises `ProblemError`."""
        if self.keys is None:
            return ANYBODY
        key = self.keys.of(headers.get("authorization"))
        if key is None:
            raise unauthenticated()
        return key

    def service(self, key: Key, verb: Verb, name: str) -> FeatureService:
        """The service, if there is one and the key may ask it. Raises `ProblemError`."""
        found = self.services.get(name)
        if found is None or not key.allows(verb, name):
            raise no_such_service(name)
        return found


@dataclass(slots=True)
class _Call:
    """One request, for the audit log and the metrics. `id`: the caller's, if it brought a good one."""

    verb: str
    id: str
    headers: Mapping[str, str]
    path_params: Mapping[str, str]
    receive: Receive = field(repr=False)
    began: float = field(default_factory=time.perf_counter)
    key: str = ""
    service: str = ""
    entities: int = 0


class Reply(Response):
    """An answer with the headers that all have. Its content is bytes already."""

    def __init__(
        self, content: bytes, status: int = 200, media_type: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status_code = status
        self.body = content
        self.background = None
        length = (b"content-length", str(len(content)).encode())
        more = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        self.raw_headers = [*_HEADERS, length, (b"content-type", media_type.encode()), *more]


Handler = Callable[[Serving, _Call], Awaitable[Response]]


def app_of(serving: Serving) -> Router:
    """The application, over what it works with."""
    table: list[tuple[str, str, str, Handler]] = [
        ("POST", "/v1/services/{service}", "read", _features),
        ("GET", "/v1/services/{service}", "schema", _service),
        ("GET", "/v1/services", "schema", _services),
        ("GET", "/health", "health", _health),
        ("GET", "/ready", "health", _ready),
        ("GET", "/metrics", "metrics", _metrics),
    ]
    if serving.explain is not None:
        table.append(("POST", "/v1/services/{service}/explain", "explain", _explain))
    if serving.show_openapi:
        table.append(("GET", "/openapi.json", "schema", _openapi))
    paths: dict[str, dict[str, tuple[str, Handler]]] = {}
    for method, path, verb, handler in table:
        paths.setdefault(path, {})[method] = verb, handler
    routes = [Route(path, _Endpoint(serving, methods)) for path, methods in paths.items()]
    return Router(routes, redirect_slashes=False, default=_no_such_path)


class _Endpoint:
    """A path: by method, a handler of which every outcome is an answer, is counted and, if features, audited.

    It is an application of its own, so that nothing stands between it and the server.
    """

    def __init__(self, serving: Serving, methods: Mapping[str, tuple[str, Handler]]) -> None:
        self._serving = serving
        self._methods = methods
        self._allowed = ", ".join(sorted([*methods, *(["HEAD"] if "GET" in methods else [])]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        found = self._methods.get("GET" if method == "HEAD" else method)
        if found is None:
            problem = ProblemError(405, "unknown_method", "this path takes another method", _LISTED)
            response = _unrouted(problem, {"allow": self._allowed})
        else:
            response = await self._answered(scope, receive, *found)
        await response(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, verb: str, handler: Handler) -> Response:
        serving, headers = self._serving, _headers(scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        call = _Call(verb, request_id, headers, scope["path_params"], receive)
        code = ""
        try:
            response = await handler(serving, call)
        except ClientDisconnect:
            serving.metrics.answered_http(verb, _GONE, time.perf_counter() - call.began)
            return Response(status_code=_GONE)
        except Exception as error:  # noqa: BLE001 # every error is answered, and none in detail that is ours
            problem = problem_of(error, call.id)
            code = problem.code
            response = Reply(problem.body(call.id), problem.status, headers=problem.headers)
        response.raw_headers.append((b"x-request-id", call.id.encode()))
        if serving.draining:
            # Who keeps a connection does not see that a balancer has gone elsewhere.
            response.raw_headers.append((b"connection", b"close"))
        seconds = time.perf_counter() - call.began
        serving.metrics.answered_http(verb, response.status_code, seconds)
        if serving.audited and verb in _AUDITED:
            _audit(serving, call, response.status_code, code, seconds)
        return response


def _headers(scope: Scope) -> dict[str, str]:
    """The headers, by name in lower case. The first counts, of one that is there more than once."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


async def _no_such_path(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        response = _unrouted(ProblemError(404, "unknown_path", "there is no such path", _LISTED))
        await response(scope, receive, send)


def _unrouted(problem: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    call_id = secrets.token_hex(16)
    return Reply(problem.body(call_id), problem.status, headers={**(headers or {}), "x-request-id": call_id})


# ------------------------------------------------------------------------------------------------------------ features


async def _features(serving: Serving, call: _Call) -> Response:
    key = _known(serving, call)
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


def _is_nothing_known(answer: Answer, service: FeatureService) -> bool:
    """Whether of all that was to be looked up nothing is known, of no entity."""
    looked_up = [answer.codes[column.name] for column in service.output_columns if column.ref is not None]
    return bool(len(answer)) and all(unknown(codes).all() for codes in looked_up)


async def _within(serving: Serving, work: Callable[[], bytes], seconds: float, call: _Call, what: str) -> bytes:
    """What the work gives, in a thread, in time."""
    return await serving.features.within(work, seconds, time.perf_counter() - call.began, what)


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


async def _body(call: _Call, limits: Limits) -> bytes:
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


# ------------------------------------------------------------------------------------------------------------- others


async def _services(serving: Serving, call: _Call) -> Response:
    key = _known(serving, call)
    return _json({"services": [_listed(one) for name, one in serving.services.items() if key.allows("read", name)]})


async def _service(serving: Serving, call: _Call) -> Response:
    key = _known(serving, call)
    return _json(schema_of(serving.service(key, "read", call.path_params["service"])))


async def _openapi(serving: Serving, call: _Call) -> Response:
    key = _known(serving, call)
    allowed = [one for name, one in serving.services.items() if key.allows("read", name)]
    return _json(document_of(allowed, serving.limits, keys=serving.keys is not None))


async def _metrics(serving: Serving, call: _Call) -> Response:
    if not _known(serving, call).allows("metrics", None):
        raise ProblemError(403, "forbidden", "this key may not read metrics", "use one with the verb metrics")
    return Reply(serving.metrics.exposed(), media_type=serving.metrics.MEDIA_TYPE)


async def _health(serving: Serving, call: _Call) -> Response:
    del serving, call
    return _json({"status": "alive"})


async def _explain(serving: Serving, call: _Call) -> Response:
    key = _known(serving, call)
    service = serving.service(key, "explain", call.path_params["service"])
    explain = serving.explain
    if explain is None:
        raise no_such_service(service.name)
    call.service = service.name
    ask = parse(await _body(call, serving.limits), JSON, serving.limits)
    columns = entities_of(ask, service.key_columns, serving.limits)
    call.entities = rows_of(ask)
    if call.entities != 1:
        raise ProblemError(422, "invalid", f"{call.entities} entities are to be explained", "ask for one at a time")
    entity = {name: values[0] for name, values in columns.items()}
    content = await _within(
        serving, lambda: explain(service.name, entity, ask), serving.limits.longest_deadline, call, service.name
    )
    return Reply(content)


async def _ready(serving: Serving, call: _Call) -> Response:
    if serving.draining:
        return _json({"status": "draining"}, 503)
    if serving.warm:
        # A store that fails later fails all replicas alike: one that is not asked any more helps nobody, and each can
        # still say what it knows. That is told by statuses, and shown by the metrics.
        return _is_ready(serving)
    try:
        content = await _within(serving, lambda: _standing(serving), serving.limits.deadline, call, "ready")
    except Exception as error:  # noqa: BLE001 # whatever it is, it is not ready, and says why
        problem = problem_of(error, call.id)
        return _json({"status": "not ready", "reasons": {"server": problem.message}}, 503)
    reasons = msgspec.json.decode(content, type=dict[str, str])
    if reasons:
        return _json({"status": "not ready", "reasons": reasons}, 503)
    serving.warm = True
    return _is_ready(serving)


def _is_ready(serving: Serving) -> Response:
    return _json({"status": "ready", "services": list(serving.services)})


def _standing(serving: Serving) -> bytes:
    return msgspec.json.encode(serving.client.warmed())


def _known(serving: Serving, call: _Call) -> Key:
    key = serving.key(call.headers)
    call.key = key.id
    return key


def _listed(service: FeatureService) -> dict[str, object]:
    return {
        "name": service.name,
        "description": service.description,
        "needs": [one.name for one in service.key_columns],
        "features": len(service.output_columns),
    }


def _json(document: object, status: int = 200) -> Response:
    return Reply(msgspec.json.encode(document), status)


def _audit(serving: Serving, call: _Call, status: int, code: str, seconds: float) -> None:
    record(
        Entry(
            at=serving.clock.now().isoformat(),
            key=call.key,
            verb=call.verb,
            status=status,
            milliseconds=round(1e3 * seconds, 3),
            request_id=call.id,
            service=call.service,
            entities=call.entities,
            code=code,
        )
    )
