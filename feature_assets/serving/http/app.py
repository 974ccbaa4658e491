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
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from feature_assets.serving.http.about import health, metrics, openapi, ready, service, services
from feature_assets.serving.http.audit import Entry, record
from feature_assets.serving.http.bodies import REQUEST_ID
from feature_assets.serving.http.call import Call, Handler, Reply, Serving
from feature_assets.serving.http.features import explain, features
from feature_assets.serving.http.problems import ProblemError, problem_of

_AUDITED: Final = frozenset({"read", "explain"})
_GONE: Final = 499
"""Of a caller who hung up; nobody sees it."""
_LISTED: Final = "GET /openapi.json lists what there is"
_REQUEST_ID: Final = re.compile(REQUEST_ID)


def app_of(serving: Serving) -> Router:
    """The application, over what it works with."""
    table: list[tuple[str, str, str, Handler]] = [
        ("POST", "/v1/services/{service}", "read", features),
        ("GET", "/v1/services/{service}", "schema", service),
        ("GET", "/v1/services", "schema", services),
        ("GET", "/health", "health", health),
        ("GET", "/ready", "health", ready),
        ("GET", "/metrics", "metrics", metrics),
    ]
    if serving.explain is not None:
        table.append(("POST", "/v1/services/{service}/explain", "explain", explain))
    if serving.show_openapi:
        table.append(("GET", "/openapi.json", "schema", openapi))
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
        call = Call(verb, request_id, headers, scope["path_params"], receive)
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


def _audit(serving: Serving, call: Call, status: int, code: str, seconds: float) -> None:
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
