"""What a view's asset says of its aggregates: each feature once, with its window and how exact it is."""

import re
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pytest

import feature_assets as fa
from feature_assets.examples.flights.project import project as flights
from feature_assets.orchestration.assets.keys import view_key
from feature_assets.orchestration.build import definitions_of
from feature_assets.orchestration.metadata import aggregates_metadata
from feature_assets_tests.end_to_end import shop

DAY = timedelta(days=1)
BETWEEN = re.compile(r"(?<!\\)\|")
"""Between cells; what is escaped is in one."""


def records(orders: object) -> object:
    return orders


def table_of(*aggregates: fa.Aggregate) -> list[dict[str, str]]:
    """The rows of the table, by its header."""
    columns = [("amount", pa.float64()), ("weight", pa.int64()), ("shop", pa.string())]
    view = fa.FeatureView(
        "spend",
        shop.user,
        shop.orders,
        records,  # type: ignore[arg-type] # it is not called
        columns=columns,
        aggregates=aggregates,
    )
    value = aggregates_metadata(view)["aggregates"].value
    assert isinstance(value, str)
    header, rule, *rows = [[cell.strip() for cell in BETWEEN.split(line)[1:-1]] for line in value.splitlines()]
    assert rule == ["---"] * len(header)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("window", "shown", "hop"),
    [
        (DAY, "1d", "1h"),
        (fa.Window.sliding(DAY, hop=timedelta(minutes=5), offset=6 * DAY), "1d, 6d ago", "5m"),
        (fa.Window.tumbling(DAY), "the last whole 1d", "1d"),
        (fa.Window.series(DAY, 7), "7 x 1d", "1h"),
        (fa.Window.lifetime(), "lifetime", ""),
    ],
)
def test_a_window_is_told_as_it_is_declared(window: timedelta | fa.Window, shown: str, hop: str) -> None:
    [row] = table_of(fa.Aggregate("sum", "weight", window))
    assert (row["window"], row["hop"]) == (shown, hop)


def test_a_feature_says_its_function_columns_type_and_how_exact_it_is() -> None:
    rows = table_of(
        fa.Aggregate("count", windows=(DAY, 7 * DAY), description="orders | all"),
        fa.Aggregate("approx_percentile", "amount", DAY, percentile=0.9, accuracy=0.05),
        fa.Aggregate("ratio", "amount", DAY, over="weight", by="shop"),
        fa.Aggregate("decayed_sum", "amount", DAY, half_life=timedelta(hours=6)),
    )
    told = [(row["feature"], row["type"], row["function"], row["column"]) for row in rows]
    assert told == [
        ("count_1d", "int64", "count", ""),
        ("count_7d", "int64", "count", ""),
        ("amount_p90_1d", "double", "approx_percentile(bound=2048, percentile=0.9, accuracy=0.05)", "amount"),
        ("amount_ratio_by_shop_1d", "map<string, double>", "ratio(by=shop, bound=64)", "amount / weight"),
        ("amount_decayed_sum_1d", "double", "decayed_sum(half_life=6h)", "amount"),
    ]
    assert rows[0]["description"] == r"orders \| all"
    assert [row["error bound"] for row in rows[:3]] == ["exact", "exact", "within 0.05 of the value, relatively"]


def test_every_aggregate_of_the_flights_is_in_the_table_of_its_asset() -> None:
    graph = definitions_of(flights).resolve_asset_graph()
    for view in flights.views:
        metadata = graph.get(view_key(view)).metadata
        assert ("aggregates" in metadata) == bool(view.aggregates)
        if view.aggregates:
            shown = metadata["aggregates"]
            assert isinstance(shown, dg.MarkdownMetadataValue)
            lines = (shown.md_str or "").splitlines()[2:]
            assert [line.split("|")[1].strip() for line in lines] == list(view.feature_names)
