"""What an online answer is made of: rows and columns as asked, keys in roles, on-demand features, meta, documents."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import msgspec
import pandas as pd
import pyarrow as pa
import pytest

from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.errors import StoreRefusedError
from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import ReadResult
from feature_assets.serving.status import Status
from feature_assets.testing.faulty import FaultRates, FaultyStore
from feature_assets_tests.histories import DAY, START, view_of
from feature_assets_tests.published import Published, at

S = Status
AIRPORT = {"airport": pa.string()}
FLOAT = {"temp": pa.float64()}


class Counting(MemoryStore):
    """Keeps which keys were read from which table, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, list[bytes]]] = []

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.reads.append((table.partition(".")[0], list(keys)))
        return super().read(table, keys, consistent=consistent, deadline=deadline)


class Together(Counting):
    """Reads several tables in one round trip, all or nothing, as long as `refused` is not among them."""

    refused = ""

    def read_tables(
        self,
        requests: Sequence[tuple[str, Sequence[bytes]]],
        *,
        consistent: bool = False,
        deadline: float | None = None,
    ) -> list[list[ReadResult]]:
        if self.refused and any(table.startswith(self.refused) for table, _ in requests):
            raise StoreRefusedError("one of the tables is forbidden")
        return [
            MemoryStore.read(self, table, keys, consistent=consistent, deadline=deadline) for table, keys in requests
        ]

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        if self.refused and table.startswith(self.refused):
            raise StoreRefusedError("it is forbidden")
        return super().read(table, keys, consistent=consistent, deadline=deadline)


def weather() -> FeatureView:
    return view_of("weather", AIRPORT, FLOAT)


def reports(**temps: float | None) -> list[dict[str, object]]:
    return [{"airport": airport, "event_at": at(3), "temp": temp} for airport, temp in temps.items()]


# ----------------------------------------------------------------------------------------------------- rows and roles


def test_an_answer_says_what_it_was_asked_with_in_declared_types() -> None:
    world = Published()
    world.publish(view_of("weather", {"airport": pa.string(), "runway": pa.int8()}, FLOAT), [])
    reader = world.reader(view_of("weather", {"airport": pa.string(), "runway": pa.int8()}, FLOAT))
    answer = reader.get("it", [{"airport": "JFK", "runway": 4, "more": 1}, {"airport": None, "runway": 5}])
    assert pa.table(dict(answer.request)) == pa.table(
        {"airport": pa.array(["JFK", None]), "runway": pa.array([4, 5], pa.int8())}
    )


def test_rows_come_back_as_asked_and_an_entity_is_read_once() -> None:
    view, world = weather(), Published(Counting())
    world.publish(view, reports(JFK=1.0, LGA=2.0, EWR=3.0))
    reader = world.reader(view.alias("origin", airport="origin"), view.alias("destination", airport="dest"))
    assert isinstance(world.store, Counting)
    world.store.reads.clear()

    asked = [("EWR", "JFK"), ("JFK", "EWR"), ("EWR", "JFK"), ("XXX", "LGA")]
    answer = reader.get("it", [{"origin": one, "dest": other} for one, other in asked])

    assert answer.table["origin__temp"].to_pylist() == [3.0, 1.0, 3.0, None]
    assert answer.table["destination__temp"].to_pylist() == [1.0, 3.0, 1.0, 2.0]
    assert answer.meta["origin"].seq == [1, 1, 1, 0]
    [(table, keys)] = world.store.reads
    assert table == "weather"
    assert len(keys) == len(set(keys)) == 5
    assert keys[-1] == WATERMARK_KEY


def test_composite_keys_in_their_order() -> None:
    view = view_of("routes", {"origin": pa.string(), "number": pa.int32(), "day": pa.date32()}, FLOAT)
    world, day = Published(), date(2024, 3, 1)
    rows: list[dict[str, object]] = [
        {"origin": "JFK", "number": 1, "day": day, "event_at": at(3), "temp": 1.0},
        {"origin": "JFK", "number": 2, "day": day, "event_at": at(3), "temp": 2.0},
        {"origin": "1", "number": 1, "day": day, "event_at": at(3), "temp": 3.0},
    ]
    world.publish(view, rows)
    ref = view.alias("leg", origin="from_airport")
    asked = [{"day": day, "number": row["number"], "from_airport": row["origin"], "x": object()} for row in rows]
    answer = world.reader(ref).get("it", [*asked, {"day": None, "number": 1, "from_airport": "JFK"}])
    assert answer.table["leg__temp"].to_pylist() == [1.0, 2.0, 3.0, None]


def test_columns_are_the_services_in_order_and_type() -> None:
    dtypes = {
        "flag": pa.bool_(),
        "small": pa.int8(),
        "amount": pa.decimal128(12, 2),
        "at": pa.timestamp("us", "UTC"),
        "vector": pa.list_(pa.float32()),
        "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
        "counts": pa.map_(pa.string(), pa.int64()),
    }
    view, world = view_of("all_types", AIRPORT, dtypes), Published()
    values: dict[str, object] = {
        "flag": True,
        "small": -3,
        "amount": Decimal("1.25"),
        "at": datetime(2024, 1, 1, 12, tzinfo=UTC),
        "vector": [1.5, None],
        "pair": {"a": 2**60, "b": None},
        "counts": [("x", 1)],
    }
    world.publish(view, [{"airport": "JFK", "event_at": at(3), **values}])
    names = list(reversed(dtypes))

    asked = [{"airport": "JFK"}, {"airport": "ZZZ"}]
    answer = world.reader(view[tuple(names)]).get("it", asked)

    assert answer.table.schema == pa.schema([(f"all_types__{name}", dtypes[name]) for name in names])
    assert answer.to_pylist() == [{f"all_types__{name}": value for name, value in row.items()} for row in (
        {name: values[name] for name in names}, dict.fromkeys(names)
    )]  # fmt: skip
    assert len(answer) == 2
    assert answer.to_pandas()["all_types__small"][0] == -3
    assert len(world.reader(view).get("it", [])) == 0


@pytest.mark.parametrize(
    "nothing",
    [[], pa.table({"airport": pa.array([], pa.string())}), pd.DataFrame({"airport": []}, dtype="string")],
    ids=["list", "arrow", "pandas"],
)
def test_no_rows_are_an_answer(nothing: list[dict[str, object]] | pa.Table | pd.DataFrame) -> None:
    view, world = weather(), Published()
    world.publish(view, reports(JFK=1.0))
    x = Feature("x", pa.timestamp("us", "UTC"))
    plan = OnDemandView("plan", function=lambda _, as_of: {"x": as_of}, features=[x])
    answer = world.reader(view, plan).get("it", nothing)
    assert answer.table.schema.names == ["weather__temp", "plan__x"]
    assert (len(answer), answer.status, answer.to_documents()) == (0, {"weather__temp": [], "plan__x": []}, [])


def test_tables_are_read_together_where_the_store_can() -> None:
    world, view, other = Published(Together()), weather(), view_of("wind", AIRPORT, FLOAT)
    world.publish(view, reports(JFK=1.0))
    world.publish(other, reports(JFK=2.0))
    store = world.store
    assert isinstance(store, Together)
    reader = world.reader(view, other)
    store.reads.clear()

    answer = reader.get("it", [{"airport": "JFK"}])
    assert (answer.to_pylist(), store.reads) == ([{"weather__temp": 1.0, "wind__temp": 2.0}], [])

    store.refused = "wind"
    answer = reader.get("it", [{"airport": "JFK"}])
    assert answer.to_pylist() == [{"weather__temp": 1.0, "wind__temp": None}]
    assert answer.status == {"weather__temp": [S.PRESENT], "wind__temp": [S.ERROR]}


# --------------------------------------------------------------------------------------------------------------- meta


def test_meta_says_what_the_values_were_computed_from() -> None:
    view, world = weather(), Published()
    world.publish(view, reports(JFK=1.0, LGA=2.0))
    world.later(hours=1)
    world.publish(view, reports(JFK=1.5, LGA=2.0, EWR=3.0))
    world.later(hours=2)

    answer = world.reader(view).get("it", [{"airport": name} for name in ("JFK", "EWR", "ZZZ")])
    meta = answer.meta["weather"]

    assert answer.as_of == START + DAY + timedelta(hours=3)
    assert meta.version == view_version(view)
    assert meta.complete_through == START + DAY
    assert meta.event_at == [at(3), at(3), None]
    assert meta.available_at == [START + DAY + timedelta(hours=1)] * 2 + [None]
    assert meta.age == [timedelta(hours=24)] * 2 + [None]
    assert meta.seq == [2, 1, 0]
    assert [(cut.n, cut.fences) for cut in meta.cut if cut is not None] == [(2, {}), (2, {}), (0, {})]


def test_an_age_is_never_negative() -> None:
    view, world = weather(), Published()
    world.clock.at = at(1)
    world.publish(view, reports(JFK=1.0))
    answer = world.reader(view).get("it", [{"airport": "JFK"}])
    assert answer.meta["weather"].age == [timedelta(0)]


def test_documents_hold_what_json_has() -> None:
    dtypes = {
        "at": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "raw": pa.binary(),
        "amount": pa.decimal128(5, 2),
        "whole": pa.list_(pa.int64()),
        "share": pa.list_(pa.float64()),
        "counts": pa.map_(pa.string(), pa.int64()),
        "pair": pa.struct([("flag", pa.bool_()), ("raw", pa.binary())]),
    }
    view, world = view_of("odd", AIRPORT, dtypes), Published()
    row = {
        "airport": "JFK",
        "event_at": at(3),
        "at": at(1),
        "day": date(2024, 3, 1),
        "raw": b"\x00\xff",
        "amount": Decimal("1.25"),
        "whole": [2**53, 2**53 + 1, -3],
        "share": [0.5, float("nan"), float("inf"), float("-inf"), None],
        "counts": [("x", 1)],
        "pair": {"flag": True, "raw": b"a"},
    }
    world.publish(view, [row])
    answer = world.reader(view).get("it", [{"airport": "JFK"}, {"airport": "ZZZ"}])

    documents = answer.to_documents()

    assert json.loads(json.dumps(documents, allow_nan=False)) == documents
    assert msgspec.json.decode(msgspec.json.encode(documents)) == documents
    assert documents[0] == {
        "as_of": "2024-03-02T00:00:00+00:00",
        "values": {
            "odd__at": "2024-03-01T01:00:00+00:00",
            "odd__day": "2024-03-01",
            "odd__raw": "AP8=",
            "odd__amount": "1.25",
            "odd__whole": [2**53, str(2**53 + 1), -3],
            "odd__share": [0.5, "NaN", "Infinity", "-Infinity", None],
            "odd__counts": [["x", 1]],
            "odd__pair": {"flag": True, "raw": "YQ=="},
        },
        "status": dict.fromkeys(answer.status, "PRESENT"),
        "meta": {
            "odd": {
                "version": view_version(view),
                "complete_through": "2024-03-02T00:00:00+00:00",
                "event_at": "2024-03-01T03:00:00+00:00",
                "available_at": "2024-03-02T00:00:00+00:00",
                "age_seconds": 75600.0,
                "cut": {"n": 1, "fences": {}},
                "seq": 1,
                "cached_seconds": 0.0,
            }
        },
    }
    assert documents[1]["status"] == dict.fromkeys(answer.status, "NOT_FOUND")


def test_what_is_unknown_has_no_meta() -> None:
    view, world = weather(), Published()
    world.publish(view, reports(JFK=1.0))
    silent = FaultyStore(world.store, Random(2), FaultRates(unread=1.0))
    meta = world.reader(view, store=silent).get("it", [{"airport": "JFK"}]).meta["weather"]
    assert (meta.seq, meta.cut, meta.age, meta.available_at) == ([None], [None], [None], [None])
    assert meta.complete_through is None
    assert meta.version == view_version(view)
