"""One answer, whichever way it comes: SQLite, DynamoDB through boto3 and directly, HTTP in JSON and in MessagePack.

And what it says is what a naive kernel makes of the rows inside the answer's own cut, which is all that it goes by: the
rows of each day's newest passed version, up to the commit that the cut names. Each store is pushed when it is, so that
the two often stand at different commits.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from msgspec.structs import replace

from feature_assets.definition.view import FeatureView
from feature_assets.online.dynamodb import DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.dynamodb_options import DynamoDBOptions
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore, Outcome, Put
from feature_assets.serving.answer import Answer, plain
from feature_assets.serving.client import ClientOptions, OnlineClient
from feature_assets.settings import DynamoDBTransport
from feature_assets_tests.explained import PROFILE, PROJECT, SPEND, Rows, Shop, row
from feature_assets_tests.histories import DAY, START
from feature_assets_tests.http_serving import JSON, MSGPACK, Server, running_server, serving_of
from feature_assets_tests.oracle.windows import Record, WindowShape, held
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

USERS = ["ada", "bob", "çelik", "d", ""]
HOUR = timedelta(hours=1)
SHAPES = {
    "1d": WindowShape(86_400, 3_600),
    "3d": WindowShape(3 * 86_400, 6 * 3_600),
    "lifetime": WindowShape(None, 1),
    "1d_tumbling": WindowShape(86_400, 86_400, closed=True),
}
PATIENT = Timeouts(5.0, 60.0)


@dataclass
class Committed:
    """What was committed of each view, as the test itself remembers it."""

    versions: list[tuple[str, int, int, Rows, bool]] = field(default_factory=list)

    def inside(self, view: FeatureView, n: int) -> list[Mapping[str, Any]]:
        """The rows of each day's newest passed version up to commit `n`."""
        days = {
            day: rows for name, day, seq, rows, passed in self.versions if name == view.name and passed and seq <= n
        }
        return [one for day in sorted(days) for one in days[day]]


def seconds(instant: datetime) -> int:
    return round((instant - START).total_seconds()) + 10**9 * 86_400


def rows_of(random: Random, day: int, spending: bool) -> Rows:
    """A few rows of a day."""
    found = []
    for sequence in range(random.randrange(8)):
        values: dict[str, Any] = {
            "plan": random.choice(["free", None, "gold"]),
            "score": random.choice([0.1, None, -2.5, 1e300]),
            "visits": random.choice([None, 3, -(2**60)]),
        }
        if spending:
            values = {"amount": random.choice([0.1, 0.2, None, 1e16]), "shop": random.choice(["x", "y", "z", None])}
        found.append(row(random.choice(USERS), 24 * day + random.randrange(24), sequence=sequence, **values))
    return found


# ---------------------------------------------------------------------------------------------------------- the kernel


def expected(committed: Committed, answer: Answer, user: str, at: int) -> dict[str, object]:
    """The features of one row, from the rows inside its cut."""
    found: dict[str, object] = {"profile__plan": None, "profile__score": None, "profile__visits": 0}
    cut = answer.meta["profile"].cut[at]
    assert cut is not None
    mine = [one for one in committed.inside(PROFILE, cut.n) if one["user_id"] == user]
    winner = max(mine, key=lambda one: (one["event_at"], one["sequence"]), default=None)
    if winner is not None and winner["event_at"] >= answer.as_of - 3 * DAY:
        found |= {f"profile__{name}": winner[name] for name in ("plan", "score")}
        found["profile__visits"] = 0 if winner["visits"] is None else winner["visits"]
    cut = answer.meta["spend"].cut[at]
    assert cut is not None
    records = committed.inside(SPEND, cut.n)
    for name in answer.columns:
        if name.startswith("spend__"):
            found[name] = aggregated(name.removeprefix("spend__"), records, user, answer.as_of)
    return found


def aggregated(name: str, records: Sequence[Mapping[str, Any]], user: str, as_of: datetime) -> object:
    """One feature, from the rows in its window, one by one."""
    label = max((one for one in SHAPES if name.endswith(f"_{one}")), key=len)
    of = [Record(one["user_id"], seconds(one["event_at"]), 0, None) for one in records]
    inside = [records[place] for place in held(of, user, seconds(as_of), SHAPES[label])[0]]
    inside.sort(key=lambda one: (one["event_at"], one["sequence"]))
    column = "amount" if name.startswith("amount") else "shop"
    values = [one[column] for one in inside if one[column] is not None]
    function = name.removesuffix(f"_{label}").removeprefix(f"{column}_")
    distinct = set(values)
    return {
        "count": len(inside),
        "sum": fsum(values) if values and column == "amount" else 0.0,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "last": values[-1] if values else None,
        "count_distinct": len(distinct) if len(distinct) <= 2 else None,
    }[function]


# --------------------------------------------------------------------------------------------------------- the ways


class Kept(DynamoDBStore):
    """DynamoDB drops what has expired by its own clock, and that of the shop stands in another year."""

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        return super().write(table, [replace(put, expires_at=None) for put in puts])


@dataclass
class World:
    """A shop, pushed into a SQLite file and into DynamoDB, which is read in both ways; and a server over the file."""

    shop: Shop
    stores: Mapping[str, OnlineStore]
    clients: Mapping[str, OnlineClient]
    server: Server
    committed: Committed = field(default_factory=Committed)

    def push(self, name: str) -> None:
        """Push what is due into one of the stores."""
        self.shop.store = self.stores[name]
        for view in (PROFILE, SPEND):
            self.shop.push(view)

    def commit(self, random: Random, day: int) -> None:
        """A version of a day of both views; a verdict may say that it is no good."""
        for view in (PROFILE, SPEND):
            rows, passed = rows_of(random, day, view is SPEND), random.random() < 0.8
            seq = self.shop.commit(view, rows, day=(START + day * DAY).date(), passed=passed)
            if seq is not None:
                self.committed.versions.append((view.name, day, seq, rows, passed))


@pytest.fixture
def world(tmp_path: Path, dynamodb_local: DynamoDBLocal) -> Iterator[World]:
    shop, apart = Shop.in_memory(), dynamodb_local.apart()
    with ExitStack() as closing:

        def dynamodb(transport: DynamoDBTransport) -> Kept:
            store = Kept(
                "same",
                **apart.address,
                options=DynamoDBOptions(PATIENT, PATIENT, read_budget=60.0, transport=transport),
            )
            closing.callback(store.close)
            return store

        sqlite = SQLiteStore(tmp_path / "online.sqlite")
        closing.callback(sqlite.close)
        direct = dynamodb(DynamoDBTransport.DIRECT)
        ways: dict[str, OnlineStore] = {"sqlite": sqlite, "direct": direct, "boto3": dynamodb(DynamoDBTransport.BOTO3)}
        options = ClientOptions(deadline=60.0, cache=None)
        clients = {
            name: closing.enter_context(OnlineClient.over(PROJECT, store, shop.ledger, shop.clock, options=options))
            for name, store in ways.items()
        }
        served = OnlineClient.over(PROJECT, sqlite, shop.ledger, shop.clock, options=options)
        closing.callback(served.close)
        server = closing.enter_context(running_server(serving_of(served, shop.clock)))
        yield World(shop, {"sqlite": sqlite, "dynamodb": direct}, clients, server)


@pytest.mark.parametrize("seed", range(3))
def test_every_way_gives_the_same_answer_which_follows_from_its_cut(world: World, seed: int) -> None:
    random = Random(seed)
    compared = differed = known = 0
    for day in range(4):
        for _ in range(3):
            world.commit(random, random.randrange(max(0, day - 1), day + 1))
            for store in ("sqlite", "dynamodb"):
                if random.random() < 0.85:
                    world.push(store)
            world.shop.later(hours=random.randrange(1, 10), minutes=random.randrange(60))
            users = [random.choice([*USERS, "nobody", None]) for _ in range(random.randrange(1, 12))]
            asked = {"user_id": users, "budget": [float(random.randrange(10**6))] * len(users)}
            answers = {
                name: client.get(pa.table(asked), service="checkout", consistent=True)
                for name, client in world.clients.items()
            }
            for answer in answers.values():
                if answer.meta["profile"].version and answer.meta["spend"].version:
                    require_from_cut(world.committed, answer, users)
                    known += 1
            require_same(answers["boto3"], answers["direct"])
            if cuts(answers["sqlite"]) == cuts(answers["direct"]):
                require_same(answers["sqlite"], answers["direct"])
                compared += 1
            else:
                differed += 1
            require_told(world.server, asked, answers["sqlite"])
    assert min(compared, differed) > 0, "both were seen"
    assert known > 20


def require_from_cut(committed: Committed, answer: Answer, users: Sequence[str | None]) -> None:
    """Its values are those of the kernel."""
    for at, (user, values) in enumerate(zip(users, answer.to_pylist(), strict=True)):
        if user is None:
            # No key, no item, and so no cut.
            continue
        wanted = expected(committed, answer, user, at)
        assert {name: value for name, value in values.items() if name in wanted} == wanted


def cuts(answer: Answer) -> list[object]:
    return [(meta.version, meta.cut) for meta in answer.meta.values()]


def require_same(one: Answer, other: Answer) -> None:
    """Bit by bit, and with the same to say of it."""
    assert one.table.equals(other.table)
    assert one.status == other.status
    assert one.failures.keys() == other.failures.keys()
    for prefix, meta in one.meta.items():
        beside = other.meta[prefix]
        assert (meta.version, meta.event_at, meta.cut) == (beside.version, beside.event_at, beside.cut)


def require_told(server: Server, asked: Mapping[str, Any], answer: Answer) -> None:
    """Over HTTP, in both forms, the same is told."""
    body = {"columns": asked, "as_of": answer.as_of.isoformat(), "consistent": True, "detail": "full"}
    for headers in (JSON, MSGPACK):
        is_json = headers is JSON
        content = json.dumps(body).encode() if is_json else msgspec.msgpack.encode(body)
        reply = server.ask("/v1/services/checkout", content, headers)
        told = json.loads(reply.body) if is_json else msgspec.msgpack.decode(reply.body)
        looked_up = [found for name, found in answer.status.items() if not name.startswith("left__")]
        lost = all(one.is_unknown for found in looked_up for one in found)
        assert reply.status == (503 if lost else 200)
        assert told["values"] == {
            name: [plain(value, exact=not is_json) for value in column]
            for name, column in answer.table.to_pydict().items()
        }
        for name, statuses in answer.status.items():
            texts = [one.value for one in statuses]
            assert told["status"][name] in (texts, texts[0] if len(set(texts)) == 1 else texts)
        for prefix, meta in answer.meta.items():
            view = told["views"][prefix]
            cut = [None if one is None else {"n": one.n, "fences": one.fences} for one in meta.cut]
            assert (view["version"], view["cut"], view["seq"]) == (meta.version, cut, meta.seq)
