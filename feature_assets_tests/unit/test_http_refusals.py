"""What is refused over HTTP: how, how soon, and that nothing of it reaches a store."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import ReadResult
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.http.limits import Limits
from feature_assets_tests.histories import view_of
from feature_assets_tests.http_serving import JSON, MSGPACK, Server, client_of, running_server, serving_of
from feature_assets_tests.published import Published, at, project_of

PATH = "/v1/services/it"
ONE = {"entities": [{"airport": "JFK"}]}
LIMITS = Limits(body=600, entities=5, features=3, values=6, key=40, depth=3, deadline=10.0)
NAMES = (
    "it'",
    'it"',
    "it;--",
    "it' OR '1'='1",
    "../it",
    "..%2f..%2fetc%2fpasswd",
    "it%00",
    "%E2%80%AEti",
    "__proto__",
    "constructor",
    "${jndi}",
    "{{7*7}}",
    "it" * 5_000,
    "%c0%ae%c0%ae",
    "IT",
    "it ",
)
"""What no service is called, and some parsers are fooled by."""


class Watched(MemoryStore):
    """Keeps what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, list[bytes]]] = []

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.asked.append((table, list(keys)))
        return super().read(table, keys, consistent=consistent, deadline=deadline)


def world_of() -> tuple[OnlineClient, Published, Watched]:
    view, store = view_of("odd", {"airport": pa.string()}, {"a": pa.int64(), "b": pa.int64()}), Watched()
    world = Published(store)
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1, "b": 2}])
    return client_of(world, view), world, store


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    client, world, _ = world_of()
    with running_server(serving_of(client, world.clock, limits=LIMITS)) as running:
        yield running


def assert_is_problem(body: bytes) -> dict[str, str]:
    document = json.loads(body)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message", "hint", "request_id"}
    assert "Traceback" not in document["error"]["message"]
    found: dict[str, str] = document["error"]
    return found


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "truncated"),
        (b"{", 400, "truncated"),
        (b"[]", 400, "Expected `object`"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"entities": []}x', 400, "trailing"),
        (b"{}", 400, "exactly one of entities and columns"),
        (b'{"entities": [], "columns": {}}', 400, "exactly one"),
        (b'{"entities": [{"airport": "JFK"}], "entity": 1}', 400, "unknown field `entity`"),
        (b'{"entities": "JFK"}', 400, "Expected `array"),
        (b'{"entities": ["JFK"]}', 400, "Expected `object`"),
        (b'{"entities": [{"airport": "JFK"}], "as_of": "2024-03-02T00:00:00"}', 400, "timezone"),
        (b'{"entities": [{"airport": "JFK"}], "deadline_ms": 0}', 400, ">= 1"),
        (b'{"entities": [{"airport": "JFK"}], "max_age_seconds": -1}', 400, ">= 0"),
        (b'{"entities": [{"airport": "JFK"}], "on_stale": "skip"}', 400, "Invalid enum"),
        (b'{"entities": [{"airport": "JFK"}], "request_id": "a b"}', 400, "regex"),
        (b'{"entities": [{"airport": "JFK"}], "consistent": "yes"}', 400, "Expected `bool`"),
        (b'{"entities": [{"airport": NaN}]}', 400, "malformed"),
        (b'{"entities": [{"airport": "\xed\xa0\x80"}]}', 400, "utf-8"),
        (b'{"entities": [{}]}', 422, "entity 0 has no 'airport'"),
        (b'{"entities": [{"airport": 3}]}', 422, "'airport'"),
        (b'{"entities": [{"airport": "JFK"}, {"airport": 3}]}', 422, "'airport'"),
        (b'{"columns": {}}', 422, "'airport'"),
        (b'{"columns": {"airport": ["JFK"], "other": [1, 2]}, "features": []}', 200, ""),
        (b'{"entities": [{"airport": "JFK"}], "features": ["odd__a", "odd__a"]}', 422, "twice"),
        (b'{"entities": [{"airport": "JFK"}], "features": ["a"]}', 422, "has no 'a'"),
    ],
)
def test_what_is_no_request(server: Server, body: bytes, status: int, said: str) -> None:
    reply = server.ask(PATH, body)
    assert reply.status == status, reply.body
    if status != 200:
        assert said in assert_is_problem(reply.body)["message"]


def test_a_request_in_another_form_is_told_which_ones_there_are(server: Server) -> None:
    for headers, status in (
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json", "accept": "text/html"}, 406),
        ({"content-type": "application/json; charset=utf-8", "accept": "application/json"}, 200),
        ({"content-type": "application/json", "accept": "text/html, */*;q=0.1"}, 200),
    ):
        reply = server.ask(PATH, ONE, headers)
        assert reply.status == status, headers
    packed = server.ask(PATH, ONE, {**JSON, "accept": "application/msgpack"})
    assert packed.headers["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(packed.body)["values"] == {"odd__a": [1], "odd__b": [2]}
    assert server.ask(PATH, msgspec.msgpack.encode(ONE), {**MSGPACK, "accept": "application/json"}).json["rows"] == 1
    assert server.ask(PATH, b"\xc1", MSGPACK).status == 400


def test_paths_and_methods_that_do_not_exist(server: Server) -> None:
    assert (server.ask("/v2").status, server.ask("/docs").status) == (404, 404)
    wrong = server.ask(PATH, ONE, method="PUT")
    assert (wrong.status, wrong.code) == (405, "unknown_method")
    assert server.ask("/v1/services/it/explain", ONE).status == 404, "nobody gave it anything to explain with"
    for reply in (wrong, server.ask(PATH, ONE), server.ask("/health")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.parametrize("name", NAMES)
def test_no_other_name_reaches_anything(name: str) -> None:
    client, world, store = world_of()
    with running_server(serving_of(client, world.clock)) as server:
        store.asked.clear()
        replies = [server.ask(f"/v1/services/{name.replace(' ', '%20').replace(chr(34), '%22')}", ONE)]
        replies.append(server.ask(PATH, {**ONE, "features": [name]}))
        assert [reply.status for reply in replies] in ([404, 422], [400, 422])
        assert store.asked == []
        # As the value of a key it is only one: looked up as it is, and not found.
        found = server.ask(PATH, {"entities": [{"airport": name[:500]}]})
        assert found.json["status"] == {"odd__a": "NOT_FOUND", "odd__b": "NOT_FOUND"}
        extra = server.ask(PATH, {"entities": [{"airport": "JFK", name: name}]})
        assert extra.json["values"]["odd__a"] == [1]


def sized(size: int) -> bytes:
    """A good body of so many bytes."""
    body = json.dumps(ONE).encode()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_limits_at_their_very_ends(server: Server, over: int) -> None:
    def entities(count: int, features: Sequence[str]) -> int:
        return server.ask(PATH, {"entities": [{"airport": "JFK"}] * count, "features": list(features)}).status

    body = server.ask(PATH, sized(LIMITS.body + over))
    assert body.status == (413 if over > 0 else 200)
    count = entities(LIMITS.entities + over, ["odd__a"])
    assert count == (413 if over > 0 else 200)
    assert entities(3 + over, ["odd__a", "odd__b"]) == (413 if over > 0 else 200), "values: 6"
    key = server.ask(PATH, {"entities": [{"airport": "é" * ((LIMITS.key + 2 * over) // 2)}]})
    assert key.status == (422 if over > 0 else 200)
    # What the body holds is one level; each list another.
    nested: Any = "x"
    for _ in range(LIMITS.depth + over - 2):
        nested = [nested]
    deep = server.ask(PATH, {"entities": [{"airport": "JFK", "other": nested}]})
    assert deep.status == (400 if over > 0 else 200), deep.body


def test_too_many_features() -> None:
    client, world, _ = world_of()
    for most, status in ((1, 413), (2, 200), (3, 200)):
        with running_server(serving_of(client, world.clock, limits=replace(LIMITS, features=most))) as server:
            assert server.ask(PATH, ONE).status == status


def test_a_body_without_a_length_is_read_no_further_than_is_taken(server: Server) -> None:
    import http.client

    def chunks() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b" " * 1_000

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("POST", PATH, chunks(), {**JSON, "transfer-encoding": "chunked"}, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413
    finally:
        connection.close()
    assert status == 413


def test_json_that_is_nested_without_end(server: Server) -> None:
    deep = b'{"entities": [{"airport": "JFK", "other": ' + b"[" * 200 + b"]" * 200 + b"}]}"
    assert server.ask(PATH, deep).status == 400


def test_a_caller_over_its_rate_is_told_when_to_come_back() -> None:
    client, world, _ = world_of()
    with running_server(serving_of(client, world.clock, limits=replace(LIMITS, rate=2.0))) as server:
        replies = [server.ask(PATH, ONE) for _ in range(6)]
    assert [reply.status for reply in replies[:2]] == [200, 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert refused
    assert {(reply.code, reply.headers["retry-after"]) for reply in refused} == {("rate", "1")}


def test_what_goes_wrong_inside_is_told_by_its_id_alone() -> None:
    class Broken(OnlineClient):
        def answer(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
            raise RuntimeError("the password is hunter2")

    client, world, _ = world_of()
    view = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()})
    with running_server(serving_of(Broken(project_of(view), world.reader(view)), world.clock)) as server:
        reply = server.ask(PATH, ONE, {**JSON, "x-request-id": "abc"})
        assert reply.status == 500
        problem = assert_is_problem(reply.body)
        assert problem["request_id"] == reply.headers["x-request-id"] == "abc"
        assert "hunter2" not in reply.body.decode() + server.ask("/metrics").body.decode()
    del client
