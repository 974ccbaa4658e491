"""Reading a view of aggregates online: some of its features, in two roles, of rows without a key and damaged items."""

from datetime import timedelta

import pyarrow as pa

from feature_assets.compute.keys import encoded_key
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.online.item import table_name
from feature_assets.online.store import Put, Stored
from feature_assets.serving.status import Status
from feature_assets_tests.histories import SOURCE, unchanged
from feature_assets_tests.published import Published, at

S = Status
DAY, WEEK = timedelta(days=1), timedelta(days=7)
ROWS = [
    {"shop": "a", "event_at": at(2), "amount": 3, "place": "x"},
    {"shop": "a", "event_at": at(20), "amount": 4, "place": "y"},
    {"shop": "b", "event_at": at(21), "amount": None, "place": "z"},
]


def shops() -> FeatureView:
    aggregates = [
        Aggregate("count", None, [DAY, WEEK]),
        Aggregate("mean", "amount", [DAY, WEEK]),
        Aggregate("last_k", "place", WEEK, k=2),
    ]
    columns = [("amount", pa.int64()), ("place", pa.string())]
    return FeatureView(
        "shops", Entity("shop", {"shop": pa.string()}), SOURCE, unchanged, columns=columns, aggregates=aggregates
    )


def damage(world: Published, view: FeatureView, shop: str) -> None:
    """The last byte of an item is another."""
    table, key = table_name(view.name, view_version(view)), encoded_key([shop], [pa.string()])
    (found,) = world.store.read(table, [key])
    assert isinstance(found, Stored)
    world.store.write(table, [Put(key, found.seq, found.value[:-1] + bytes([found.value[-1] ^ 1]))])


def test_some_features_in_two_roles() -> None:
    view, world = shops(), Published()
    world.publish(view, ROWS)
    one, other = view["amount_mean_1d"].alias("from", shop="from"), view["place_last_k_7d", "count_7d"]
    asked = [{"from": "b", "shop": "a"}, {"from": "a", "shop": None}, {"from": "nobody", "shop": "b"}]

    answer = world.reader(one, other).get("it", asked)

    assert answer.table.to_pydict() == {
        "from__amount_mean_1d": [None, 3.5, None],
        "shops__place_last_k_7d": [["y", "x"], None, ["z"]],
        "shops__count_7d": [2, None, 1],
    }
    assert answer.status["from__amount_mean_1d"] == [S.NULL, S.PRESENT, S.NULL]
    assert answer.status["shops__count_7d"] == [S.PRESENT, S.NOT_FOUND, S.PRESENT]
    assert [seq is None for seq in answer.meta["shops"].seq] == [False, True, False]
    assert answer.meta["shops"].event_at == [at(20), None, at(21)]
    assert answer.meta["from"].event_at == [at(21), at(20), None]


def test_rows_without_any_key_find_nothing() -> None:
    view, world = shops(), Published()
    world.publish(view, ROWS)
    answer = world.reader(view).get("it", pa.table({"shop": pa.array([None, None], pa.string())}))
    assert {status for each in answer.status.values() for status in each} == {S.NOT_FOUND}
    assert world.reader(view).get("it", pa.table({"shop": pa.array([], pa.string())})).to_pylist() == []


def test_a_damaged_item_leaves_the_others_as_they_are() -> None:
    view, world = shops(), Published()
    world.publish(view, ROWS)
    damage(world, view, "a")
    answer = world.reader(view).get("it", [{"shop": "b"}, {"shop": "a"}, {"shop": "nobody"}])
    assert answer.status["shops__count_1d"] == [S.PRESENT, S.ERROR, S.PRESENT]
    assert answer.table["shops__count_1d"].to_pylist() == [1, None, 0]
    assert "cannot be read" in answer.failures["shops"]


def test_nothing_but_damaged_items() -> None:
    view, world = shops(), Published()
    world.publish(view, ROWS)
    damage(world, view, "a")
    answer = world.reader(view).get("it", [{"shop": "a"}])
    assert {status for each in answer.status.values() for status in each} == {S.ERROR}
    assert answer.to_pylist() == [dict.fromkeys(answer.table.column_names)]
