"""A server between a client and DynamoDB Local that does what networks and AWS do.

It throttles, leaves keys over, loses answers, cuts them short, damages them, hangs up and keeps one waiting.
Invariant: what it does not spoil it passes on as it is. What happened is told by `calls`: the operation of each call,
and whether it was passed on.
"""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

Fault = Literal[
    "throttle", "fail", "refuse", "leave over", "leave all over", "lose", "cut", "damage", "nonsense", "hang up", "wait"
]
Choice = Callable[[str], Fault | None]
"""What is done to a call of an operation."""


@dataclass
class Between:
    """What is in between. `choose`: asked for each call, one at a time. `waiting`: what `wait` waits for."""

    server: DynamoDBLocal
    choose: Choice = lambda _: None
    calls: list[tuple[str, Fault | None]] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    choosing: threading.Lock = field(default_factory=threading.Lock)

    def chosen(self, operation: str) -> Fault | None:
        """What is done to this call."""
        with self.choosing:
            fault = self.choose(operation)
            self.calls.append((operation, fault))
            return fault


@contextmanager
def between(server: DynamoDBLocal) -> Iterator[Between]:
    """Until the block is left. Its `server` is how to reach it."""
    state = Between(server)
    target = server.endpoint_url

    class Bound(_Handler):
        between = state
        upstream = urlsplit(target).netloc

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.server = replace(server, endpoint_url=f"http://127.0.0.1:{httpd.server_port}")
    try:
        yield state
    finally:
        state.waiting.set()
        httpd.shutdown()
        httpd.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    between: Between
    upstream: str

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        operation = self.headers["x-amz-target"].rpartition(".")[2]
        fault = self.between.chosen(operation)
        if fault == "wait":
            self.between.waiting.wait(60)
        if fault == "hang up":
            self.close_connection = True
        elif fault in REFUSALS:
            status, code = REFUSALS[fault]
            self.answer(status, json.dumps({"__type": f"com.amazonaws#{code}", "message": "no"}).encode())
        elif fault in {"leave over", "leave all over"} and operation == "BatchGetItem":
            asked, left = split(body, everything=fault == "leave all over")
            status, _, content = self.passed_on(asked)
            self.answer(status, json.dumps({**json.loads(content), "UnprocessedKeys": left}).encode())
        else:
            self.spoiled(fault, *self.passed_on(body))

    def spoiled(self, fault: Fault | None, status: int, headers: dict[str, str], content: bytes) -> None:
        """The answer, or what became of it on its way."""
        match fault:
            case "lose":
                self.close_connection = True
            case "cut":
                self.answer(status, content, headers, length=len(content) + 10)
                self.close_connection = True
            case "damage":
                self.answer(status, content.replace(b'"', b"'", 1), headers)
            case "nonsense":
                self.answer(status, b"<html>")
            case _:
                self.answer(status, content, headers)

    def passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What the real server answers."""
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            left_out = {"host", "content-length", "connection", "expect"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() == "x-amz-crc32"}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


REFUSALS: dict[str | None, tuple[int, str]] = {
    "throttle": (400, "ProvisionedThroughputExceededException"),
    "fail": (500, "InternalServerError"),
    "refuse": (400, "AccessDeniedException"),
}


def split(body: bytes, *, everything: bool) -> tuple[bytes, dict[str, object]]:
    """A BatchGetItem of some of the keys, and the others as they are left over."""
    request = json.loads(body)
    left: dict[str, object] = {}
    for table, part in list(request["RequestItems"].items()):
        keys = part["Keys"]
        over = keys if everything else keys[len(keys) // 2 :]
        left[table] = {**part, "Keys": over}
        # One key at least has to be asked for.
        part["Keys"] = [{"k": {"B": "bm9ib2R5"}}] if everything or len(keys) < 2 else keys[: len(keys) // 2]
    return json.dumps(request).encode(), left
