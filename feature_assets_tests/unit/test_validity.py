"""History and training sets of a view of aggregates through the store, over Delta; and what is refused."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import Feature, FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets.errors import InputError, UnknownNameError
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.verdicts import Verdicts
from feature_assets.opening import OnlineAccess
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.histories import instants

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TIME = pa.timestamp("us", "UTC")
SALES = pa.schema([("shop", pa.string()), ("amount", pa.int64()), ("event_at", TIME), ("arrived_at", TIME)])
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = [date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 3)]
SOLD = [("a", 0, 9, 5), ("a", 0, 20, 7), ("b", 0, 12, 1), ("a", 2, 6, 11)]
"""Shop, day, hour, amount."""


def read_sales(start: datetime, end: datetime, now: datetime) -> pa.Table:
    rows = [
        {"shop": shop, "amount": amount, "event_at": at, "arrived_at": at}
        for shop, day, hour, amount in SOLD
        if start <= (at := START + day * DAY + hour * HOUR) < end
    ]
    return pa.Table.from_pylist(rows, schema=SALES)


SOURCE = BatchSource("sales", SALES, read_sales, start=DAYS[0])
SHOP = Entity("shop", {"shop": pa.string()})
WINDOWS = (Window.sliding(DAY, hop=HOUR), Window.sliding(2 * DAY, hop=6 * HOUR))
SUMS = FeatureView(
    "sums",
    SHOP,
    SOURCE,
    Sql("SELECT * FROM sales"),
    columns=[("amount", pa.int64())],
    aggregates=[Aggregate("sum", "amount", WINDOWS), Aggregate("count", None, WINDOWS[:1])],
    delay=HOUR,
)
AGES = FeatureView(
    "ages",
    SHOP,
    SOURCE,
    Sql("SELECT * FROM sales"),
    columns=[("amount", pa.int64())],
    aggregates=[Aggregate("time_since_last", None, DAY, name="age"), Aggregate("last", "amount", DAY)],
)
LAST = FeatureView("newest", SHOP, SOURCE, Sql("SELECT * FROM sales"), [Feature("amount", pa.int64())], ttl=DAY)
SERVICE = FeatureService("it", [SUMS])
PROJECT = Project("shop", sources=[SOURCE], views=[SUMS, AGES, LAST], services=[SERVICE])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Three days that were never served: each is taken to have been there an hour after it had ended."""
    root: Path = tmp_path_factory.mktemp("lake")
    lake = Lake(str(root))
    access = OnlineAccess(load_settings(root=str(root)))
    clock = ManualClock(START + 30 * DAY)
    with FeatureStore(PROJECT, lake, DeltaLedger(lake), Verdicts(lake), clock, 2**30, access) as made:
        made.materialize(DAYS)
        yield made


def at(day: int, hour: int = 0) -> datetime:
    return START + day * DAY + hour * HOUR


def shown(table: pa.Table, *features: str) -> list[tuple[object, ...]]:
    """The rows, each as its key, its interval, its features."""
    return [
        (row["shop"], row["valid_from"], row["valid_to"], *(row[name] for name in features))
        for row in table.to_pylist()
    ]


def test_records_enter_when_they_are_available_and_leave_at_hops(store: FeatureStore) -> None:
    table = store.history(SUMS, at(0), at(10))
    names = ("amount_sum_1d", "amount_sum_2d", "count_1d")
    assert table.column_names == ["shop", *SUMS.feature_names, "valid_from", "valid_to", "availability"]
    assert shown(table, *names) == [
        ("a", at(1, 1), at(1, 10), 12, 12, 2),
        ("a", at(1, 10), at(1, 21), 7, 12, 1),
        ("a", at(1, 21), at(2, 12), None, 12, 0),
        ("a", at(2, 12), at(3), None, 7, 0),
        ("a", at(3, 1), at(3, 7), 11, 11, 1),
        ("a", at(3, 7), at(4, 12), None, 11, 0),
        ("b", at(1, 1), at(1, 13), 1, 1, 1),
        ("b", at(1, 13), at(2, 18), None, 1, 0),
    ]
    assert set(table.column("availability").to_pylist()) == {"simulated"}


def test_it_says_the_same_as_a_training_set(store: FeatureStore) -> None:
    asked = [at(day, hour) for day in range(6) for hour in range(24)]
    spine = pa.table({"shop": ["a"] * len(asked), "at": instants(asked)})
    made = store.training_set(spine, service="it", timestamp="at").table.to_pylist()
    found = shown(store.history(SUMS, at(0), at(6), pa.table({"shop": ["a"]})), *SUMS.feature_names)
    for row in made:
        holding = [one for one in found if one[1] <= row["at"] and (one[2] is None or row["at"] < one[2])]
        values = [row[f"sums__{name}"] for name in SUMS.feature_names]
        assert values == (list(holding[0][3:]) if holding else [None, None, 0])


def test_a_range_cuts_intervals_at_its_start_and_leaves_them_open_at_its_end(store: FeatureStore) -> None:
    found = shown(store.history(SUMS["amount_sum_1d"], at(1, 5), at(1, 12)), "amount_sum_1d")
    assert found == [("a", at(1, 5), at(1, 10), 12), ("a", at(1, 10), None, 7), ("b", at(1, 5), None, 1)]


def test_only_the_entities_that_are_asked_for(store: FeatureStore) -> None:
    entities = pa.table({"shop": ["b", "nobody", "b"], "more": [1, 2, 3]})
    table = store.history(LAST, at(0), at(10), entities)
    assert shown(table, "amount") == [("b", at(1), at(1, 12) + timedelta(microseconds=1), 1)]
    by_event = store.history(LAST, at(0), at(10), entities, mode="as_of_event")
    assert shown(by_event, "amount") == [("b", at(0, 12), at(1, 12) + timedelta(microseconds=1), 1)]
    assert store.history(LAST, at(0), at(1), entities.slice(1, 1)).num_rows == 0


def test_what_is_refused(store: FeatureStore) -> None:
    with pytest.raises(InputError, match="more than 5 instants"):
        store.history(SUMS, at(0), at(10), max_rows=5)
    with pytest.raises(InputError, match="it would end at"):
        store.history(SUMS, at(1), at(1))
    with pytest.raises(InputError, match="'age_1d' is another value at every instant"):
        store.history(AGES, at(0), at(1))
    assert store.history(AGES["amount_last_1d"], at(0), at(9)).num_rows == 3
    with pytest.raises(UnknownNameError, match="key column 'shop'"):
        store.history(SUMS, at(0), at(1), pa.table({"shops": ["a"]}))


def test_a_training_set_refuses_a_time_to_live_for_windows(store: FeatureStore) -> None:
    spine = pa.table({"shop": ["a"], "at": instants([at(1)])})
    with pytest.raises(InputError, match="ttl of view 'sums'"):
        store.training_set(spine, service="it", timestamp="at", ttl={"sums": DAY})


def test_a_key_without_records_has_empty_windows(store: FeatureStore) -> None:
    spine = pa.table({"shop": ["nobody", "a"], "at": instants([at(2), at(0)])})
    (one, other) = store.training_set(spine, service="it", timestamp="at").table.to_pylist()
    for row in (one, other):
        assert (row["sums__amount_sum_1d"], row["sums__count_1d"], row["sums__event_at"]) == (None, 0, None)
        assert row["sums__availability"] is None


def test_the_leakage_report_computes_windows_again(store: FeatureStore) -> None:
    """By event time the sales of the first day are in a window of that day; nobody was served them then."""
    spine = pa.table({"shop": ["a", "a", "b"], "at": instants([at(0, 21), at(1, 2), at(9)])})
    report = store.leakage_report(store.training_set(spine, service="it", timestamp="at"))
    assert (report.rows, report.leaked_served, report.leaked_by_event) == (3, 0, 1)
    assert {feature.feature: feature.share for feature in report.features}["sums__count_1d"] == pytest.approx(1 / 3)
