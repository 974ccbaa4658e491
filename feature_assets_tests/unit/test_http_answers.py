"""Answers over HTTP: JSON, MessagePack and the client in process say the same."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature
from feature_assets.serving.answer import Answer, plain
from feature_assets.serving.client import OnlineClient
from feature_assets.testing.faulty import FaultRates, FaultyStore
from feature_assets_tests.histories import view_of
from feature_assets_tests.http_serving import JSON, MSGPACK, Server, client_of, running_server, serving_of
from feature_assets_tests.published import Published, at, project_of

AIRPORT = {"airport": pa.string()}
DTYPES = {
    "flag": pa.bool_(),
    "small": pa.int8(),
    "whole": pa.int64(),
    "share": pa.float64(),
    "single": pa.float32(),
    "text": pa.string(),
    "at": pa.timestamp("us", "UTC"),
    "day": pa.date32(),
    "amount": pa.decimal128(12, 2),
    "raw": pa.binary(),
    "vector": pa.list_(pa.float64()),
    "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
    "counts": pa.map_(pa.string(), pa.int64()),
}
FIELDS = [Feature("at", pa.timestamp("us", "UTC")), Feature("amount", pa.decimal128(12, 2))]
ROWS: list[dict[str, Any]] = [
    {
        "airport": "JFK",
        "flag": True,
        "small": -3,
        "whole": 2**53 + 1,
        "share": float("nan"),
        "single": 0.5,
        "text": 'ü "x"\n',
        "at": datetime(2024, 1, 1, 12, tzinfo=UTC),
        "day": date(2024, 3, 1),
        "amount": Decimal("1.25"),
        "raw": b"\x00\xff",
        "vector": [1.5, None, float("inf")],
        "pair": {"a": 2**60, "b": None},
        "counts": [("x", 1)],
    },
    {"airport": "LGA", "share": float("-inf"), "whole": -5, "text": ""},
    {"airport": "EWR", "share": 1e-320, "whole": None, "single": None, "vector": []},
]
ASKED = [{"airport": one} for one in ("LGA", "JFK", "ZZZ", None, "JFK", "EWR")]


def naive(value: object) -> object:
    """A value as JSON has it, by the words of the documentation."""
    return json.loads(json.dumps(plain(value), allow_nan=False))


def documents(server: Server, body: dict[str, object], headers: dict[str, str]) -> Any:  # noqa: ANN401 - JSON
    is_json = headers is JSON
    content = json.dumps(body).encode() if is_json else msgspec.msgpack.encode(body)
    reply = server.ask("/v1/services/it", content, headers)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == headers["content-type"]
    return json.loads(reply.body) if is_json else msgspec.msgpack.decode(reply.body)


def expected_statuses(answer: Answer) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, statuses in answer.status.items():
        texts = [one.value for one in statuses]
        found[name] = texts[0] if texts and len(set(texts)) == 1 else texts
    return found


def test_every_type_is_told_alike_in_every_way() -> None:
    view, world = view_of("odd", AIRPORT, DTYPES), Published()
    world.publish(view, [{"event_at": at(3), **row} for row in ROWS])
    client = client_of(world, view)
    answer = client.get(ASKED, service="it")
    values = answer.table.to_pydict()
    with running_server(serving_of(client, world.clock)) as server:
        for body in ({"entities": ASKED}, {"columns": {"airport": [one["airport"] for one in ASKED]}}):
            told = documents(server, {**body, "request_id": "mine"}, JSON)
            assert told["values"] == {name: [naive(value) for value in column] for name, column in values.items()}
            assert told["status"] == expected_statuses(answer)
            assert (told["request_id"], told["service"], told["rows"]) == ("mine", "it", 6)
            packed = documents(server, {**body, "request_id": "mine"}, MSGPACK)
            assert repr(packed["values"]) == repr(
                {name: [plain(value, exact=True) for value in column] for name, column in values.items()}
            )
            assert {**packed, "values": 0} == {**told, "values": 0}
        rows = documents(server, {"entities": ASKED, "layout": "rows"}, JSON)["entities"]
        assert [row["values"] for row in rows] == [
            {name: naive(column[at]) for name, column in values.items()} for at in range(len(ASKED))
        ]
        assert [row["status"] for row in rows] == [
            {name: statuses[at].value for name, statuses in answer.status.items()} for at in range(len(ASKED))
        ]


def test_times_and_cuts_are_told_to_who_asks_for_them() -> None:
    view, world = view_of("odd", AIRPORT, {"share": pa.float64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "share": 0.5}])
    client = client_of(world, view)
    with running_server(serving_of(client, world.clock)) as server:
        short = documents(server, {"entities": ASKED[1:3]}, JSON)["views"]["odd"]
        full = documents(server, {"entities": ASKED[1:3], "detail": "full"}, JSON)["views"]["odd"]
    assert set(short) == {"version", "complete_through"}
    assert full["event_at"] == [at(3).isoformat(), None]
    assert full["age_seconds"] == [75600.0, None]
    assert full["cut"] == [{"n": 1, "fences": {}}, {"n": 0, "fences": {}}]
    assert full["seq"] == [1, 0]
    assert full["cached_seconds"] == [0.0, 0.0]


def test_a_part_of_the_features_in_the_order_asked_for() -> None:
    view, world = view_of("odd", AIRPORT, DTYPES), Published()
    world.publish(view, [{"event_at": at(3), **row} for row in ROWS])
    with running_server(serving_of(client_of(world, view), world.clock)) as server:
        told = documents(server, {"entities": ASKED, "features": ["odd__text", "odd__flag"]}, JSON)
        assert list(told["values"]) == list(told["status"]) == ["odd__text", "odd__flag"]
        wrong = server.ask("/v1/services/it", {"entities": ASKED, "features": ["odd__texts"]})
        assert (wrong.status, wrong.code) == (422, "unknown_feature")


def test_keys_and_fields_that_json_cannot_say() -> None:
    keys = {"day": pa.date32(), "raw": pa.binary(), "number": pa.int64()}
    view, world = view_of("odd", keys, {"share": pa.float64()}), Published()
    row = {"day": date(2024, 3, 1), "raw": b"\x00\xff", "number": 2**60}
    world.publish(view, [{"event_at": at(3), "share": 0.5, **row}])
    needs = [RequestField("at", pa.timestamp("us", "UTC")), RequestField("amount", pa.decimal128(12, 2))]
    plan = OnDemandView("plan", request=needs, function=lambda columns, _: dict(columns), features=FIELDS)
    asked = {"day": "2024-03-01", "raw": "AP8=", "number": str(2**60), "amount": "1.25"}
    asked |= {"at": "2024-01-01T13:00:00+01:00"}
    due = {"odd__share": [0.5], "plan__at": ["2024-01-01T12:00:00+00:00"], "plan__amount": ["1.25"]}
    with running_server(serving_of(client_of(world, view, plan), world.clock)) as server:
        assert documents(server, {"entities": [asked]}, JSON)["values"] == due
        packed = {**asked, "raw": b"\x00\xff", "number": 2**60}
        assert documents(server, {"entities": [packed]}, MSGPACK)["values"] == due
        wrong = {"day": "yesterday", "raw": "%%%", "number": "1.5", "amount": "much", "at": "2024-01-01T13:00:00"}
        for name, value in wrong.items():
            reply = server.ask("/v1/services/it", {"entities": [{**asked, name: value}]})
            assert (reply.status, reply.code) == (422, "invalid")
            assert repr(name) in reply.json["error"]["message"]


def test_what_the_store_did_not_say_is_a_status_and_nothing_at_all_is_503() -> None:
    view, other, world = (
        view_of("odd", AIRPORT, {"share": pa.float64()}),
        view_of("even", AIRPORT, {"x": pa.int64()}),
        Published(),
    )
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "share": 0.5}])
    silent = FaultyStore(world.store, Random(2), FaultRates(unread=1.0, unreachable=0.0))
    with running_server(serving_of(client_of(world, view, other), world.clock)) as server:
        told = documents(server, {"entities": ASKED[1:2]}, JSON)
        assert told["status"] == {"odd__share": "PRESENT", "even__x": "LOADING"}
        assert "even" in told["failures"]
    client = OnlineClient(project_of(view), world.reader(view, store=silent))
    with running_server(serving_of(client, world.clock)) as server:
        reply = server.ask("/v1/services/it", {"entities": ASKED[1:2]})
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.json["status"]["odd__share"] in {"TIMEOUT", "THROTTLED", "ERROR"}
        assert reply.json["values"] == {"odd__share": [None]}


def test_a_view_that_is_staler_than_the_caller_takes() -> None:
    view, world = view_of("odd", AIRPORT, {"share": pa.float64()}, freshness=timedelta(days=9)), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "share": 0.5}])
    world.later(hours=2)
    with running_server(serving_of(client_of(world, view), world.clock)) as server:
        asked: dict[str, object] = {"entities": ASKED[1:2], "max_age_seconds": 3600}
        assert documents(server, asked, JSON)["status"] == {"odd__share": "STALE"}
        told = documents(server, {**asked, "on_stale": "null"}, JSON)
        assert (told["values"], told["status"]) == ({"odd__share": [None]}, {"odd__share": "STALE"})
        reply = server.ask("/v1/services/it", {**asked, "on_stale": "error"})
        assert (reply.status, reply.code) == (409, "stale")
        assert documents(server, {**asked, "max_age_seconds": 7200}, JSON)["status"] == {"odd__share": "PRESENT"}


def test_a_function_of_the_request_and_its_instant() -> None:
    view, world = view_of("odd", AIRPORT, {"share": pa.float64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "share": 0.5}])
    plan = OnDemandView(
        "plan", function=lambda _, as_of: {"x": as_of}, features=[Feature("x", pa.timestamp("us", "UTC"))]
    )
    later = (world.clock.now() + timedelta(hours=1)).isoformat()
    with running_server(serving_of(client_of(world, view, plan), world.clock)) as server:
        told = documents(server, {"entities": ASKED[1:2], "as_of": later}, JSON)
        assert told["values"]["plan__x"] == [later] == [told["as_of"]]
        for beyond in ("0001-01-01T00:00:00+22:16", "9999-12-31T23:59:59-10:00"):
            reply = server.ask("/v1/services/it", {"entities": ASKED[1:2], "as_of": beyond})
            assert (reply.status, reply.code) == (422, "invalid")
            assert "no UTC in the calendar" in reply.json["error"]["message"]
        reply = server.ask("/v1/services/it", {"entities": ASKED[1:2], "as_of": "2024-03-01T00:00:00Z"})
        assert reply.status == 422
        assert "the online store keeps no past" in reply.json["error"]["hint"]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_any_number_of_entities(rows: int) -> None:
    view, world = view_of("odd", AIRPORT, {"share": pa.float64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "share": 0.5}])
    with running_server(serving_of(client_of(world, view), world.clock)) as server:
        told = documents(server, {"entities": ASKED[1:2] * rows}, JSON)
    assert told["values"] == {"odd__share": [0.5] * rows}
    assert told["rows"] == rows
