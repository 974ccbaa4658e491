"""Sizes and prices of items, against the items that a push really leaves in a store, counted one by one."""

import math
from datetime import date, timedelta
from statistics import quantiles

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.engine import view_schema
from feature_assets.compute.keys import encoded_keys
from feature_assets.definition.view import FeatureView
from feature_assets.online.contents import contents_of
from feature_assets.online.memory import MemoryStore
from feature_assets.online.sizing import ViewSize, sized
from feature_assets.online.store import Stored
from feature_assets.testing.lake import MemoryTable
from feature_assets_tests.histories import DAY, START, partition_table, view_of
from feature_assets_tests.published import Published

NOTES = view_of("notes", {"user": pa.string()}, {"note": pa.string(), "n": pa.int64()}, buckets=4)
FIRST = START.date()
BESIDE_THE_ITEM = 24
"""The names of three attributes, a sequence number and an expiry."""
SHORTER = 4
"""How much smaller an item is while there were few commits: their number is packed in fewer bytes."""

Days = list[dict[str, str]]
"""By day, the note of each user."""
DAYS = st.lists(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.text("xyzäß", max_size=60), min_size=0, max_size=8),
    min_size=1,
    max_size=10,
)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def rows_of(days: Days, number: int) -> list[dict[str, object]]:
    at = START + number * DAY
    return [{"user": user, "note": note, "n": len(note), "event_at": at} for user, note in days[number].items()]


def size_of(view: FeatureView, days: Days) -> ViewSize:
    table = MemoryTable(view_schema(view).append(pa.field("bucket", pa.int32())))
    for number in range(len(days)):
        table.commit({day(number).isoformat(): partition_table(view, rows_of(days, number))})
    partitions = {day(number).isoformat() for number in range(len(days))}
    return sized(view, table, partitions, contents_of(view))


def pushed_bytes(days: Days) -> list[int]:
    """The sizes of the items that a push of these days leaves in a store."""
    store = MemoryStore()
    published = Published(store)
    published.later(days=len(days))
    for number in range(len(days)):
        published.commit(NOTES, rows_of(days, number), partition=day(number))
    published.push(NOTES)
    [table] = store.tables()
    users = sorted({user for one in days for user in one})
    keys = encoded_keys(pa.table({"user": pa.array(users, pa.string())}), ["user"])
    items = [found for found in store.read(table, keys) if isinstance(found, Stored)]
    return sorted(len(key) + len(item.value) + BESIDE_THE_ITEM for key, item in zip(keys, items, strict=True))


@settings(max_examples=40)
@given(DAYS)
def test_the_sizes_are_those_of_the_items_that_a_push_leaves(days: Days) -> None:
    newest = days[-7:]
    size = size_of(NOTES, days)
    users = {user for one in newest for user in one}
    assert size.entities == len(users)
    if not users:
        return
    really = pushed_bytes(newest)
    assert len(really) == size.entities
    for share, found in ((50, size.bytes_p50), (95, size.bytes_p95)):
        exact = quantiles(really, n=100, method="inclusive")[share - 1] if len(really) > 1 else really[0]
        assert exact <= found + 1 <= exact + SHORTER + 2


@settings(max_examples=40)
@given(DAYS)
def test_units_and_prices_follow_from_the_sizes(days: Days) -> None:
    size = size_of(NOTES, days)
    if not size.entities:
        assert size == size_of(NOTES, [{}])
        return
    assert size.read_units == math.ceil(size.bytes_p95 / 4096) / 2
    assert size.write_units == math.ceil(size.bytes_p95 / 1024)
    assert size.usd_per_million_reads == pytest.approx(1e6 * size.read_units * 0.125 / 1e6)
    # All of these items fit one write unit.
    assert size.usd_per_full_push == pytest.approx(size.entities * 0.625 / 1e6)


@pytest.mark.parametrize(
    ("note_bytes", "read_units", "write_units"), [(900, 0.5, 1), (1_100, 0.5, 2), (3_950, 0.5, 4), (4_300, 1.0, 5)]
)
def test_an_item_that_outgrows_a_unit_costs_the_next(note_bytes: int, read_units: float, write_units: int) -> None:
    size = size_of(NOTES, [{"a": "x" * note_bytes, "b": "x" * note_bytes}])
    assert (size.entities, size.read_units, size.write_units) == (2, read_units, write_units)
    assert size.usd_per_full_push == pytest.approx(2 * write_units * 0.625 / 1e6)


def test_a_view_without_rows_costs_nothing() -> None:
    size = size_of(NOTES, [{}])
    assert size == ViewSize(
        entities=0,
        bytes_p50=0,
        bytes_p95=0,
        read_units=0.0,
        write_units=0,
        usd_per_million_reads=0.0,
        usd_per_full_push=0.0,
    )


def test_only_the_newest_week_is_looked_at() -> None:
    assert size_of(NOTES, [{"old": "x" * 2_000}] + [{"new": "x"}] * 7).entities == 1
    assert size_of(NOTES, [{"old": "x" * 2_000}] + [{"new": "x"}] * 6).entities == 2
