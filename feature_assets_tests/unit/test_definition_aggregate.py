"""Views of aggregates as they are declared: names, types, defaults, and what is refused with which words."""

import dataclasses
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import feature_assets as fa
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.version import view_version
from feature_assets.definition.window import default_hop, duration_label
from feature_assets.errors import DefinitionError

TIME = pa.timestamp("us", "UTC")
HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(days=7)
COLUMNS = [("amount", pa.float64()), ("items", pa.int32()), ("shop", pa.string())]
USER = fa.Entity("user", {"user_id": pa.string()})
ORDERS = fa.BatchSource(
    "orders",
    pa.schema([("user_id", pa.string()), *COLUMNS, ("event_at", TIME), ("arrived_at", TIME)]),
    lambda start, end, now: pa.table([]),  # noqa: ARG005 - never called
    start=date(2026, 1, 1),
)


def view(*aggregates: fa.Aggregate, **changes: object) -> fa.FeatureView:
    given: dict[str, object] = {"columns": COLUMNS, "aggregates": aggregates, **changes}
    return fa.FeatureView("spend", USER, ORDERS, fa.Sql("SELECT * FROM orders"), **given)  # type: ignore[arg-type] # as each test says


def test_a_feature_per_aggregate_and_window() -> None:
    declared = view(
        fa.Aggregate("mean", "amount", [HOUR, DAY]),
        fa.Aggregate("count", windows=fa.Window.tumbling(DAY)),
        fa.Aggregate("max", "items", fa.Window.sliding(DAY, offset=WEEK)),
        fa.Aggregate("sum", "amount", fa.Window.series(DAY, 7)),
        fa.Aggregate("last_k", "shop", fa.Window.lifetime(), k=3),
        fa.Aggregate("sum", "items", DAY, by="shop"),
        fa.Aggregate("approx_percentile", "amount", WEEK, percentile=0.95),
        fa.Aggregate("approx_percentile", "amount", WEEK, percentile=0.999),
    )
    assert {one.name: one.dtype for one in declared.features} == {
        "amount_mean_1h": pa.float64(),
        "amount_mean_1d": pa.float64(),
        "count_1d_tumbling": pa.int64(),
        "items_max_1d_offset_7d": pa.int32(),
        "amount_sum_7x1d": pa.list_(pa.float64()),
        "shop_last_k_lifetime": pa.list_(pa.string()),
        "items_sum_by_shop_1d": pa.map_(pa.string(), pa.int64()),
        "amount_p95_7d": pa.float64(),
        "amount_p99_9_7d": pa.float64(),
    }
    assert declared.stored_names == ("amount", "items", "shop")
    assert declared.kept_for is None, "a lifetime is kept for ever"
    assert view(fa.Aggregate("count", windows=[HOUR, WEEK])).kept_for == WEEK + timedelta(hours=6)


def test_every_function_has_a_legal_default_name_and_a_type() -> None:
    needed: dict[str, dict[str, object]] = {
        "last_k": {"k": 2},
        "last_distinct_k": {"k": 2},
        "top_k": {"k": 2},
        "approx_percentile": {"percentile": 0.5},
        "ratio": {"over": "amount"},
        "histogram": {"edges": (0, 1)},
        "decayed_sum": {"half_life": HOUR},
        "decayed_count": {"half_life": HOUR},
    }
    for function in FUNCTIONS:
        one = fa.Aggregate(function, "items", DAY, **needed.get(function, {}))  # type: ignore[arg-type] # by name
        assert view(one).features[0].dtype is not None


def test_the_version_depends_on_what_determines_values_and_on_nothing_else() -> None:
    plain = view_version(view(fa.Aggregate("sum", "amount", DAY)))
    assert plain == view_version(view(fa.Aggregate("sum", "amount", DAY, default=0.0, description="how much")))
    others = [
        view(fa.Aggregate("sum", "amount", WEEK)),
        view(fa.Aggregate("sum", "amount", fa.Window.sliding(DAY, hop=timedelta(minutes=5)))),
        view(fa.Aggregate("sum", "amount", DAY, scale=2)),
        view(fa.Aggregate("mean", "amount", DAY)),
    ]
    versions = {plain, *(view_version(one) for one in others)}
    assert len(versions) == len(others) + 1


@pytest.mark.parametrize(
    ("size", "hop"),
    [
        (timedelta(seconds=5), timedelta(seconds=1)),
        (timedelta(minutes=10), timedelta(seconds=10)),
        (HOUR, timedelta(minutes=5)),
        (DAY, HOUR),
        (WEEK, timedelta(hours=6)),
        (timedelta(days=30), DAY),
        (timedelta(hours=13), HOUR),
        (timedelta(minutes=90), timedelta(minutes=5)),
    ],
)
def test_the_default_hop_is_the_largest_that_goes_twelve_times_into_a_window(size: timedelta, hop: timedelta) -> None:
    assert default_hop(size) == hop


def test_durations_are_named_by_their_largest_whole_unit() -> None:
    named = {duration_label(each) for each in (DAY, WEEK, HOUR, timedelta(minutes=90), timedelta(seconds=61))}
    assert named == {"1d", "7d", "1h", "90m", "61s"}
    assert duration_label(timedelta(milliseconds=1500)) == "1500ms"
    assert duration_label(timedelta(microseconds=7)) == "7us"


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (lambda: fa.Aggregate("meen", "amount", DAY), ("'meen'", "did you mean 'mean'")),
        (lambda: fa.Aggregate("sum", windows=DAY), ("column: there is none",)),
        (lambda: fa.Aggregate("sum", "amount"), ("windows: there is none",)),
        (lambda: fa.Aggregate("sum", "amount", "1d"), ("windows: '1' is no window",)),  # type: ignore[arg-type] # wrong
        (lambda: fa.Aggregate("sum", "amount", [DAY, DAY]), ("windows: two of them", "'1d'")),
        (lambda: fa.Aggregate("last_k", "amount", DAY), ("k: there is none",)),
        (lambda: fa.Aggregate("last_k", "amount", DAY, k=0), ("k: 0 is no whole number from 1 to",)),
        (lambda: fa.Aggregate("sum", "amount", DAY, k=3), ("k: sum has no such parameter",)),
        (lambda: fa.Aggregate("histogram", "amount", DAY, edges=(2, 1)), ("do not ascend",)),
        (lambda: fa.Aggregate("histogram", "amount", DAY, edges=(float("nan"),)), ("no finite numbers",)),
        (lambda: fa.Aggregate("approx_percentile", "amount", DAY, percentile=95), ("not from 0.0 to 1.0",)),
        (lambda: fa.Aggregate("decayed_sum", "amount", DAY, half_life=timedelta(0)), ("half_life: it is zero",)),
        (lambda: fa.Aggregate("rate", windows=fa.Window.lifetime()), ("no length to be divided by",)),
        (lambda: fa.Aggregate("last", "amount", DAY, by="shop"), ("last is not kept by a column", "count, sum")),
        (lambda: fa.Window.sliding(HOUR, hop=timedelta(minutes=7)), ("size: 1:00:00 is no multiple of the hop",)),
        (lambda: fa.Window.sliding(HOUR, offset=timedelta(minutes=7)), ("offset: 0:07:00 is no multiple",)),
        (lambda: fa.Window.sliding(timedelta(0)), ("size: it is zero",)),
        (lambda: fa.Window.series(DAY, 1), ("count: 1 is no whole number from 2",)),
        (lambda: view(fa.Aggregate("sum", "amout", DAY)), ("unknown column 'amout'", "did you mean 'amount'")),
        (lambda: view(fa.Aggregate("sum", "shop", DAY)), ("sum of 'shop', which is string", "count_distinct")),
        (lambda: view(fa.Aggregate("ratio", "amount", DAY, over="shop")), ("ratio of 'shop'",)),
        (lambda: view(fa.Aggregate("count", windows=DAY, by="amount")), ("by: 'amount' is double",)),
        (
            lambda: view(fa.Aggregate("sum", "amount", DAY), fa.Aggregate("sum", "amount", DAY, scale=2)),
            ("two features are called 'amount_sum_1d'",),
        ),
        (
            lambda: view(fa.Aggregate("count", windows=[DAY, fa.Window.sliding(HOUR, hop=timedelta(minutes=12))])),
            (),
        ),
        (
            lambda: view(
                fa.Aggregate("count", windows=[timedelta(hours=2), fa.Window.sliding(DAY, hop=timedelta(minutes=8))])
            ),
            ("the hops 0:05:00 and 0:08:00 do not nest",),
        ),
        (lambda: view(fa.Aggregate("count", windows=DAY), ttl=WEEK), ("ttl: 7 days",)),
        (
            lambda: view(fa.Aggregate("count", windows=DAY), features=[fa.Feature("x", pa.int64())]),
            ("no features but these",),
        ),
        (lambda: view(fa.Aggregate("count", windows=DAY), columns=[("partition", pa.string())]), ("'partition'",)),
        (view, ("columns: the view has no aggregates",)),
        (lambda: view("count"), ("'count' is no Aggregate",)),  # type: ignore[arg-type] # wrong
        (lambda: view(fa.Aggregate("sum", "amount", DAY, default="none")), ("default: 'none' is no double",)),
    ],
)
def test_what_cannot_be_computed_is_refused(declared: Callable[[], object], says: tuple[str, ...]) -> None:
    if not says:
        declared()
        return
    with pytest.raises(DefinitionError) as refused:
        declared()
    for words in says:
        assert words in str(refused.value)


def test_a_view_whose_items_no_store_takes_is_refused_when_the_project_is_opened(tmp_path: Path) -> None:
    large = view(
        fa.Aggregate("count_distinct", "shop", fa.Window.sliding(30 * DAY, hop=HOUR, offset=HOUR), bound=10_000)
    )
    with pytest.raises(DefinitionError, match=r"FeatureView 'spend': an item could have .* 'shop_count_distinct'"):
        fa.FeatureStore.open(
            fa.load_settings(root=str(tmp_path)),
            project=fa.Project("shop", sources=[ORDERS], views=[large], services=[]),
        )


def test_a_copy_with_another_part_is_a_view_of_its_own() -> None:
    declared = view(fa.Aggregate("mean", "amount", [HOUR, DAY]), fa.Aggregate("count", windows=DAY))
    copy = dataclasses.replace(declared, delay=HOUR)
    assert (copy.features, copy.stored, copy.delay) == (declared.features, declared.stored, HOUR)
    fewer = dataclasses.replace(declared, features=(), aggregates=declared.aggregates[:1])
    assert fewer.feature_names == ("amount_mean_1h", "amount_mean_1d")
