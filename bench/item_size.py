"""How large the items of windows are, and what they cost to read and to write.

    python bench/item_size.py [--items 2000] [--quick] [--json]

The usual view (`harness.usual`: five aggregates over an hour, a day and a week, 15 features) for entities to which
something happens once a day (quiet), twenty times (usual), two thousand times (busy), and for a whole population of
them, skewed by Zipf's law; and the views of the flights example, with as many flights as its airports, routes, carriers
and aircraft have. Items are made by the product from made-up records, as a push makes them.

What is bounded is that 95% of a population's items have at most 4 KB: what DynamoDB reads for one unit (half of one if
it need not be consistent). It writes 1 KB for a unit. The key, and the names of attributes, are counted.
"""

import argparse
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from harness import Figure, finish, parser
from harness.usual import Columns, amounts, items_of, usual_view, zipf

from feature_assets.definition.view import FeatureView
from feature_assets.examples.flights.windows import (
    AIRCRAFT_WINDOWS,
    CARRIER_WINDOWS,
    ORIGIN_WINDOWS,
    ROUTE_WINDOWS,
)

UNIT = 4096
WRITE_UNIT = 1024
BESIDE = 40
"""Bytes of a key, of the names of attributes, and of the numbers beside the value."""
NULLS = 0.025
Rates = npt.NDArray[np.float64]


def flights(random: np.random.Generator, count: int) -> dict[str, pa.Array]:
    """What an outcome has; a few are cancelled."""
    cancelled = random.random(count) < NULLS
    dep = np.round(random.gamma(0.6, 40.0, count) - 8).astype(np.int64)
    arr = dep + np.round(random.normal(-6, 15, count)).astype(np.int64)
    landed = {
        "dep_delay": dep,
        "arr_delay": arr,
        "air_time": np.round(random.gamma(4.0, 38.0, count) + 20).astype(np.int64),
        "late": (arr > 15).astype(np.int64),
    }
    dest = pa.array([f"D{number:02d}" for number in range(60)]).take(pa.array(random.zipf(1.5, count) % 60))
    columns = {name: pa.array(values, mask=cancelled) for name, values in landed.items()}
    return columns | {"cancelled": pa.array(cancelled.astype(np.int64)), "dest": dest}


def populations(given: argparse.Namespace) -> list[tuple[str, FeatureView, Rates, Columns, bool]]:
    """What is measured: its name, the view, events a day of each entity, their columns; and whether it is bounded."""
    usual, items = usual_view("usual"), given.items
    some = max(items // 10, 1)
    skewed = 1.0 / np.arange(1, 250)
    return [
        ("usual view, Zipf", usual, zipf(items), amounts, True),
        ("usual view, quiet: 1 a day", usual, np.full(some, 1.0), amounts, False),
        ("usual view, usual: 20 a day", usual, np.full(some, 20.0), amounts, False),
        ("usual view, busy: 2000 a day", usual, np.full(max(some // 10, 1), 2_000.0), amounts, False),
        ("flights, origin_windows", ORIGIN_WINDOWS, np.full(3, 300.0), flights, True),
        ("flights, route_windows", ROUTE_WINDOWS, np.maximum(30 * skewed**0.5, 0.3)[:items], flights, True),
        ("flights, carrier_windows", CARRIER_WINDOWS, 165 * skewed[:16] ** 0.7, flights, True),
        ("flights, aircraft_windows", AIRCRAFT_WINDOWS, np.linspace(0.1, 2.0, items), flights, True),
    ]


def figure(name: str, view: FeatureView, rates: Rates, columns: Columns, *, bounded: bool) -> Figure:
    """The 95th percentile against 4 KB."""
    sizes = np.array([len(item) + BESIDE for item in items_of(view, rates, columns=columns)])
    p95 = float(np.percentile(sizes, 95))
    more = {
        "items": len(sizes),
        "features": len(view.features),
        "p50_bytes": float(np.percentile(sizes, 50)),
        "p95_bytes": p95,
        "max_bytes": int(sizes.max()),
        "read_units_mean": float(np.mean(np.ceil(sizes / UNIT))),
        "read_units_p95": math.ceil(p95 / UNIT),
        "write_units_mean": float(np.mean(np.ceil(sizes / WRITE_UNIT))),
        "write_units_p95": math.ceil(p95 / WRITE_UNIT),
    }
    return Figure(f"bytes, {name}", p95, UNIT, "bytes at p95", at_most=1.0 if bounded else None, more=more)


def main() -> None:
    """Make items and count their bytes."""
    made = parser(__doc__)
    made.add_argument("--items", type=int, default=2_000, help="entities in a population")
    made.add_argument("--quick", action="store_true", help="a size that shows nothing but that it runs")
    given = made.parse_args()
    if given.quick:
        given.items = 30
    found = [
        figure(name, view, rates, columns, bounded=bounded)
        for name, view, rates, columns, bounded in populations(given)
    ]
    if not given.json:
        for one in found:
            parts = ", ".join(f"{name} {value:g}" for name, value in one.more.items() if isinstance(value, int | float))
            print(f"{one.name}: {parts}")
    finish(found, given)


if __name__ == "__main__":
    main()
