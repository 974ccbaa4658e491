"""A call: one request as its handler sees it, what it works with, and what is replied.

Invariant: every reply has the headers that all have, and is sent as it is: its content is bytes already.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from feature_assets.clock import Clock
from feature_assets.definition.service import FeatureService
from feature_assets.serving.async_client import AsyncOnlineClient
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.http.access import ANYBODY, Key, KeysFile, Verb
from feature_assets.serving.http.bodies import JSON, Ask
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.http.problems import no_such_service, unauthenticated
from feature_assets.serving.http.rate import Rates
from feature_assets.serving.metrics import ServingMetrics

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

    async def within(self, work: Callable[[], bytes], seconds: float, call: "Call", what: str) -> bytes:
        """What the work gives, in a thread, in time; let in as a request is."""
        return await self.features.within(work, seconds, time.perf_counter() - call.began, what)


@dataclass(slots=True)
class Call:
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

    def known(self, serving: Serving) -> Key:
        """Who calls, noted for the audit log. Raises `ProblemError`."""
        key = serving.key(self.headers)
        self.key = key.id
        return key


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


def json_reply(document: object, status: int = 200) -> Response:
    """A document as JSON."""
    return Reply(msgspec.json.encode(document), status)


Handler = Callable[[Serving, Call], Awaitable[Response]]
"""Answers a call, or raises what is answered instead of it."""
