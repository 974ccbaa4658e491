"""The HTTP server for tests: the product's own, over a world of views in memory, in a thread on a free port."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import uvicorn

from feature_assets.clock import Clock
from feature_assets.serving.admission import Admission, AdmissionOptions
from feature_assets.serving.async_client import AsyncOnlineClient
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.http.access import KeysFile
from feature_assets.serving.http.call import GRACE, Explain, Serving
from feature_assets.serving.http.limits import Limits
from feature_assets.serving.http.server import Listening, config_of
from feature_assets.serving.metrics import ServingMetrics, numbers_of
from feature_assets_tests.published import Published, project_of
from feature_assets_tests.servers.process import free_port

JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever is in it
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error."""
        return str(self.json["error"]["code"])


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    port: int
    serving: Serving

    def ask(
        self, path: str, body: object = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> Reply:
        """One request on a connection of its own. `body`: bytes, or what becomes JSON; None: a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, content, dict(headers or JSON))
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def serving_of(  # what a server is made of
    client: OnlineClient,
    clock: Clock,
    *,
    limits: Limits | None = None,
    keys: KeysFile | None = None,
    concurrency: int = 4,
    waiting: int = 16,
    explain: Explain | None = None,
    metrics: ServingMetrics | None = None,
) -> Serving:
    """What the routes work with."""
    admission = AdmissionOptions(concurrency, waiting)
    client.options = replace(client.options, admission=admission)
    client.admission = Admission(admission)
    counted = metrics or ServingMetrics()
    for layer, numbers in numbers_of(client).items():
        counted.expose(layer, numbers)
    features = AsyncOnlineClient(client, grace=GRACE, in_loop=True)
    return Serving(client, features, limits or Limits(deadline=10.0), clock, counted, keys=keys, explain=explain)


@contextmanager
def running_server(serving: Serving) -> Iterator[Server]:
    """Until the block is left."""
    port = free_port()
    server = uvicorn.Server(config_of(serving, Listening(port=port, grace=1.0)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < end, "the server did not start in time"
        time.sleep(0.005)
    try:
        yield Server(port, serving)
    finally:
        server.should_exit = True
        thread.join(30)
        asyncio.run(serving.features.close())


def client_of(world: Published, *features: Any, metrics: ServingMetrics | None = None) -> OnlineClient:  # noqa: ANN401 - as a service has it
    """A client of a project with one service, `it`, of these features."""
    observers = [] if metrics is None else [metrics]
    return OnlineClient(project_of(*features), world.reader(*features), observers=observers)
