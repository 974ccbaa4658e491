"""A project that is served for measurements: three views of rows, three of windows, and services of one and of three.

    fill(store, ledger, items=5_000, pushed=datetime.now(UTC))

`rows_1` and `rows_3` are keyed by `tailnum` (7 features a view), `windows_1` and `windows_3` by `card` (15 a view).
A server in a process of its own loads it as `harness.served:project`.

Invariant: items are made and packed as a push makes them, and the ledger says that they serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_assets.clock import to_us
from feature_assets.compute.keys import encoded_keys
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import Ledger, LedgerRow
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import (
    WATERMARK_KEY,
    BatchSection,
    Item,
    Row,
    Watermark,
    pack_item,
    pack_watermark,
    table_name,
)
from feature_assets.online.store import OnlineStore, Outcome, Put
from feature_assets_tests.histories import SOURCE, view_of
from harness.usual import items_of, keys_of, usual_view, zipf

COUNTS = (1, 3)
"""Views in a service."""
FEATURES = {
    "flights": pa.int64(),
    "mean_dep_delay": pa.float64(),
    "mean_arr_delay": pa.float64(),
    "share_late": pa.float64(),
    "share_cancelled": pa.float64(),
    "cancelled": pa.bool_(),
    "bound_for": pa.string(),
}
_OPTIONS = {"ttl": timedelta(days=7), "freshness": timedelta(days=2)}
ROWS = tuple(view_of(name, {"tailnum": pa.string()}, FEATURES, **_OPTIONS) for name in ("first", "second", "third"))
WINDOWS = tuple(usual_view(f"w_{name}") for name in ("first", "second", "third"))
project = Project(
    "bench",
    [SOURCE],
    [*ROWS, *WINDOWS],
    [
        FeatureService(f"{kind}_{count}", views[:count])
        for kind, views in (("rows", ROWS), ("windows", WINDOWS))
        for count in COUNTS
    ],
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of views: what they are keyed by, the keys as asked for and as stored."""

    name: str
    key: str
    views: tuple[FeatureView, ...]
    names: pa.Array
    keys: Sequence[bytes]

    def service(self, count: int) -> str:
        """The service of so many of the views."""
        return f"{self.name}_{count}"

    def tables(self, count: int) -> list[str]:
        """The tables that it reads."""
        return [table_name(view.name, view_version(view)) for view in self.views[:count]]


def kinds(items: int) -> list[Kind]:
    """Both, with keys for so many entities."""
    found = []
    for name, key, views, names in (
        ("rows", "tailnum", ROWS, tails_of(items)),
        ("windows", "card", WINDOWS, keys_of(items)),
    ):
        found.append(Kind(name, key, views, names, encoded_keys(pa.table({key: names}), [key])))
    return found


def tails_of(items: int) -> pa.Array:
    """The keys of all entities of the views of rows."""
    return pa.array([f"N{number:06d}" for number in range(items)])


def fill(store: OnlineStore, ledger: Ledger, items: int, pushed: datetime) -> None:
    """Write the items of all views, as pushed at `pushed`, and say in the ledger that they serve."""
    rows, windows = kinds(items)
    for seed, view in enumerate(rows.views):
        _write(store, ledger, view, rows.keys, row_items(view, items, seed, pushed), pushed)
    for seed, view in enumerate(windows.views):
        _write(store, ledger, view, windows.keys, items_of(view, zipf(items), seed, pushed=pushed), pushed)


def row_items(view: FeatureView, items: int, seed: int, pushed: datetime) -> list[bytes]:
    """The bytes of an item for each entity."""
    columns = row_columns(items, seed)
    values = ValueCodec(view.features).pack_table(pa.table(columns))
    sent_at, day = to_us(pushed), pushed.date().isoformat()
    return [
        pack_item(Item(0, BatchSection(7, sent_at, Row(sent_at - at, 0, day, value))))
        for at, value in enumerate(values)
    ]


def row_columns(items: int, seed: int) -> dict[str, pa.Array]:
    """The features of each entity."""
    random = np.random.default_rng(seed)
    columns = {name: pa.array(random.normal(size=items)) for name, dtype in FEATURES.items() if dtype == pa.float64()}
    columns["flights"] = pa.array(random.integers(0, 500, items))
    columns["cancelled"] = pa.array(random.random(items) < 0.05)
    columns["bound_for"] = pa.array(random.choice(["JFK", "LAX", "ORD", "ATL"], items))
    return {name: columns[name] for name in FEATURES}


def _write(
    store: OnlineStore,
    ledger: Ledger,
    view: FeatureView,
    keys: Sequence[bytes],
    values: Sequence[bytes],
    pushed: datetime,
) -> None:
    version, sent_at = view_version(view), to_us(pushed)
    table = table_name(view.name, version)
    store.prepare(table)
    watermark = Put(WATERMARK_KEY, 0, pack_watermark(Watermark(7, sent_at, sent_at)))
    puts = [*(Put(key, 0, value) for key, value in zip(keys, values, strict=True)), watermark]
    for start in range(0, len(puts), 1_000):
        assert set(store.write(table, puts[start : start + 1_000])) == {Outcome.APPLIED}
    ledger.append(
        [
            LedgerRow(
                kind="serving",
                view=view.name,
                version=version,
                target=store.target,
                sent_at=0,
                acked_at=0,
                commit_seq=7,
            )
        ]
    )
