"""One process that serves: uvicorn, with a bound on what a connection may keep waiting, and an end without losses.

Invariant: told to end (SIGTERM, SIGINT), it says at once that it is not ready, goes on for `notice` seconds so that a
balancer notices, then takes no new connection, and ends when what it had begun is answered, or after `grace` seconds. A
connection that has not sent a request's head or body in time, or sends a head without end, is closed.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from feature_assets.errors import SettingsError
from feature_assets.serving.http.app import app_of
from feature_assets.serving.http.call import Serving
from feature_assets.serving.http.limits import Limits

_NEW_FOR: Final = 0.25
"""Seconds that a connection is new, when the server ends."""
_log = logging.getLogger("feature_assets.serving")


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how. `certificate`, `private_key`: files in PEM form, for TLS (1.2 and later)."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    private_key: Path | None = None
    notice: float = 0.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise SettingsError("TLS: only one of certificate and key is given", hint="give both, or neither")

    @property
    def address(self) -> str:
        """As one types it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{self.port}"


def serve(serving: Serving, listening: Listening, started: Callable[[], None]) -> None:
    """Serve until told to end. `started` is called when the first request can be answered.

    Raises `SettingsError` if the address cannot be listened on.
    """
    server = _Server(config_of(serving, listening), serving, listening, started)
    try:
        server.run()
    except SystemExit as error:
        # Uvicorn's way of saying that it could not start; the log has said why.
        what = f"{listening.address}: cannot be listened on"
        raise SettingsError(what, hint="is the port in use, or a file of TLS not readable?") from error
    finally:
        asyncio.run(serving.features.close())


def config_of(serving: Serving, listening: Listening) -> uvicorn.Config:
    """How uvicorn serves it."""
    return uvicorn.Config(
        app_of(serving),
        host=listening.host,
        port=listening.port,
        http=partial(_Bounded, limits=serving.limits),  # type: ignore[arg-type] # a class, but for its limits
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=serving.limits.connections,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(listening.grace)),
        ssl_certfile=listening.certificate,
        ssl_keyfile=None if listening.private_key is None else str(listening.private_key),
    )


class _Server(uvicorn.Server):
    """Notices first, then ends."""

    def __init__(
        self, config: uvicorn.Config, serving: Serving, listening: Listening, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._serving = serving
        self._listening = listening
        self._on_started = started

    async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - as uvicorn has it
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Both signals begin the end; a second one hastens it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _told(self) -> None:
        if self._serving.draining:
            self.should_exit = self.force_exit = True
            return
        _log.info("going down: not ready any more, what has begun is answered")
        self._serving.draining = True
        asyncio.get_running_loop().call_later(self._listening.notice, self._end)

    def _end(self) -> None:
        self.should_exit = True


class _Bounded(HttpToolsProtocol):
    """A connection on which the head of a request, and its body, have to come in time; a head may only be so long."""

    def __init__(self, *given: Any, limits: Limits, **named: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        super().__init__(*given, **named)
        self._limits = limits
        self._head = 0
        self._ending = False
        self._late: asyncio.TimerHandle | None = None
        self._body_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        cycle = self._begun()
        if self._late is None and (cycle is None or cycle.response_complete):
            self._wait()
        if self._late is not None:
            self._head += len(data)
            if self._head > self._limits.head + self._limits.body:
                self.transport.close()
                return
        super().data_received(data)
        cycle = self._begun()
        if self._body_late is None and cycle is not None and cycle.more_body and not cycle.response_complete:
            self._body_late = self.loop.call_later(self._limits.longest_deadline, self._give_up)

    def on_message_complete(self) -> None:
        self._body_arrived()
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._arrived()
        super().on_headers_complete()
        if self._ending and (cycle := self._begun()) is not None:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server ends. A connection that is new may have sent its request already: that is answered first."""
        self._ending = True
        if self._begun() is None:
            self.loop.call_later(_NEW_FOR, self._close_unused)
        else:
            super().shutdown()

    def _begun(self) -> RequestResponseCycle | None:
        """The last request of the connection; None before the first."""
        return self.cycle

    def _close_unused(self) -> None:
        if self._begun() is None and not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        self._body_arrived()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(self._limits.header_wait, self._give_up)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._head = 0

    def _body_arrived(self) -> None:
        if self._body_late is not None:
            self._body_late.cancel()
            self._body_late = None

    def _give_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
