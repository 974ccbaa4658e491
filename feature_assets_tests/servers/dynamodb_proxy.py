"""A faulty way to DynamoDB Local: an HTTP proxy in this process, between any client and the real server.

Invariant: without faults it changes nothing; with them it does what `Faults` says to calls of that operation, and the
rest goes through. It counts connections, so that a test sees how many a client has.
Bodies are rewritten, which breaks their signatures; DynamoDB Local does not look at those.
"""

import json
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

from feature_assets_tests.servers.dynamodb_faults import Call, Faults, Mishap
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

ENDS = {Mishap.NEVER_ARRIVES, Mishap.RESET, Mishap.LOST, Mishap.HANGS}


@dataclass(slots=True)
class FaultyDynamoDB:
    """The proxy. `server` is how clients reach it; `open` and `most`: connections now, and at most at once."""

    server: DynamoDBLocal
    upstream: DynamoDBLocal
    faults: dict[str, Faults] = field(default_factory=dict)
    open: int = 0
    most: int = 0
    made: int = 0
    lock: Lock = field(default_factory=Lock)
    over: Event = field(default_factory=Event)

    def inject(self, faults: Faults) -> Faults:
        """From now on, instead of what was injected into this operation before."""
        with self.lock:
            self.faults[faults.operation] = faults
        return faults

    def begin(self, operation: str, body: bytes) -> Call | None:
        """The call, if something may befall it."""
        with self.lock:
            faults = self.faults.get(operation)
            return None if faults is None else faults.begin(json.loads(body))

    def connected(self, change: int) -> None:
        """One more or one less."""
        with self.lock:
            self.open += change
            self.most = max(self.most, self.open)
            self.made += change > 0


@contextmanager
def faulty_dynamodb(upstream: DynamoDBLocal, tls: ssl.SSLContext | None = None) -> Iterator[FaultyDynamoDB]:
    """The proxy, until the block is left. With `tls` it is reached as https://localhost."""
    listening = _Server(("127.0.0.1", 0), _Handler)
    address = f"http://127.0.0.1:{listening.server_address[1]}"
    if tls is not None:
        listening.socket = tls.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
        address = f"https://localhost:{listening.server_address[1]}"
    listening.proxy = FaultyDynamoDB(replace(upstream, endpoint_url=address), upstream)
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, name="faulty-dynamodb")
    thread.start()
    try:
        yield listening.proxy
    finally:
        listening.proxy.over.set()
        listening.shutdown()
        listening.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    proxy: FaultyDynamoDB
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as declared
        """A client that went away is no error here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    protocol_version = "HTTP/1.1"
    server: _Server
    _upstream: HTTPConnection

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = urlsplit(self.server.proxy.upstream.endpoint_url)
        self._upstream = HTTPConnection(address.hostname or "", address.port, timeout=60)
        self.server.proxy.connected(1)

    def finish(self) -> None:
        self._upstream.close()
        with suppress(OSError):
            super().finish()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.server.proxy.connected(-1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as declared
        """Nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = self.server.proxy.begin(self.headers["X-Amz-Target"].rpartition(".")[2], body)
        if call is None:
            self._send(*self._asked(body))
            return
        mishap = call.faults.mishap(call.number)
        if mishap in {Mishap.NEVER_ARRIVES, Mishap.RESET}:
            self._end(reset=mishap is Mishap.RESET)
            return
        status, answer = self._carried_out(call)
        if mishap in ENDS:
            if mishap is Mishap.HANGS:
                self.server.proxy.over.wait(60)
            self._end()
            return
        self.server.proxy.over.wait(call.faults.delays(call.number))
        self._send(status, answer, mishap)

    def _carried_out(self, call: Call) -> tuple[int, bytes]:
        if call.refusal is not None:
            status, said = call.refusal
            return status, json.dumps(said).encode()
        if call.sent is None:
            return 200, json.dumps(call.answered(None)).encode()
        status, answer = self._asked(json.dumps(call.sent).encode())
        return status, answer if status != 200 else json.dumps(call.answered(json.loads(answer))).encode()

    def _asked(self, body: bytes) -> tuple[int, bytes]:
        """The real server."""
        hop = {"host", "content-length", "connection"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in hop}
        self._upstream.request("POST", "/", body=body, headers=headers)
        answer = self._upstream.getresponse()
        return answer.status, answer.read()

    def _send(self, status: int, answer: bytes, mishap: Mishap | None = None) -> None:
        checksum = crc32(answer)
        if mishap is Mishap.CORRUPT:
            answer = answer.replace(b"e", b"f", 1)
        elif mishap is Mishap.NO_JSON:
            answer = b"{" + answer
            checksum = crc32(answer)
        elif mishap is Mishap.ANOTHER_SHAPE:
            answer = b'{"Responses": 7}'
            checksum = crc32(answer)
        elif mishap is Mishap.HTML:
            status, answer = 503, b"<html><body>later</body></html>"
            checksum = crc32(answer)
        head = (
            f"HTTP/1.1 {status} Said\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(answer)}\r\n"
            f"x-amz-crc32: {checksum}\r\n\r\n"
        ).encode()
        if mishap is Mishap.TRUNCATED:
            self.wfile.write(head + answer[: len(answer) // 2])
            self._end()
            return
        if mishap is Mishap.DRIPS:
            for at in range(len(answer)):
                self.wfile.write(head + answer[:1] if at == 0 else answer[at : at + 1])
                if self.server.proxy.over.wait(0.02):
                    break
            self._end()
            return
        self.wfile.write(head + answer)
        if mishap is Mishap.FALLS_ASLEEP:
            self._end()

    def _end(self, *, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
