"""Items of a view of aggregates as a reader sees them: absent, in two sections, damaged, too new."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

import feature_assets as fa
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.compute.aggregates.slot import Records
from feature_assets.compute.lazy_column import arrow_of
from feature_assets.compute.tiles import packed, ring_of_records
from feature_assets.online.item import BatchSection, Body, Row, StreamSection
from feature_assets.serving.lookup import NO_ROW
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import Status
from feature_assets.serving.values import values_of
from feature_assets.serving.window_values import WindowValues

TIME = pa.timestamp("us", "UTC")
SECOND, HOUR = 1_000_000, 3_600_000_000
NOW = 1_767_225_600 * SECOND
VIEW = fa.FeatureView(
    "spend",
    fa.Entity("user", {"user_id": pa.string()}),
    fa.BatchSource(
        "orders",
        pa.schema([("user_id", pa.string()), ("amount", pa.int64()), ("event_at", TIME), ("arrived_at", TIME)]),
        lambda start, end, now: pa.table([]),  # noqa: ARG005 - never called
        start=date(2026, 1, 1),
    ),
    fa.Sql("SELECT * FROM orders"),
    columns=[("amount", pa.int64())],
    aggregates=[
        fa.Aggregate("sum", "amount", [timedelta(hours=1), timedelta(days=1)]),
        fa.Aggregate("count", windows=timedelta(hours=1)),
    ],
)
LAYOUT = layout_of(VIEW)
READING = WindowValues.of(LAYOUT, VIEW.feature_names)


def ring(*records: tuple[int, int], now: int = NOW) -> bytes:
    """The ring of records (how long ago, amount)."""
    at = np.array([NOW - ago for ago, _ in records], np.int64)
    columns = {"amount": pa.array([amount for _, amount in records], pa.int64())}
    rows = Records(columns, at, np.arange(len(records)))
    return packed(ring_of_records(LAYOUT, rows, np.zeros(len(records), np.int64), 1, now))[0]


def item(batch: bytes | None = None, stream: bytes | None = None) -> Body:
    section = None if batch is None else BatchSection(1, NOW, Row(NOW, 0, "2026-01-01", batch))
    return Body(section, None if stream is None else StreamSection({"log": 3}, (), stream))


def values(*items: Body, as_of: int = NOW) -> list[tuple[object, object, object] | Status]:
    """Sums over an hour and a day and the count over an hour, or what is known instead."""
    found = READING.values(items, as_of)
    rows = list(zip(*(arrow_of(column).to_pylist() for column in found.columns.values()), strict=True))
    statuses = list(Status)
    return [
        statuses[code] if place == NO_ROW else rows[place]
        for code, place in zip(found.codes.tolist(), found.row.tolist(), strict=True)
    ]


def test_an_item_that_is_not_there_has_empty_windows() -> None:
    assert values(Body(), item(ring((2 * HOUR, 5)))) == [(None, None, 0), (None, 5, 0)]


def test_both_sections_are_one_set_of_records() -> None:
    batch, stream = ring((2 * HOUR, 5), (SECOND, 1)), ring((3 * HOUR, 10), (2 * SECOND, 2))
    assert values(item(batch, stream), item(stream=stream), item(batch)) == [(3, 18, 2), (2, 12, 1), (1, 6, 1)]


def test_windows_go_on_while_nothing_is_written() -> None:
    one = item(ring((0, 7)))
    assert values(one, as_of=NOW + 2 * HOUR) == [(None, 7, 0)]
    assert values(one, as_of=NOW + 48 * HOUR) == [(None, None, 0)]


def test_a_damaged_ring_is_an_error_of_its_own_item() -> None:
    whole = ring((SECOND, 7))
    damaged = whole[:-1] + bytes([whole[-1] ^ 1])
    assert values(item(whole), item(damaged), Body()) == [(7, 7, 1), Status.ERROR, (None, None, 0)]
    found = READING.values([item(damaged)], NOW)
    assert (found.unreadable, found.fitting) == (1, 1)
    assert "spend" in found.reason


def test_a_clock_that_is_a_little_behind_is_answered_and_one_that_is_far_behind_is_not() -> None:
    one = item(ring((SECOND, 7), now=NOW))
    assert values(one, Body(), as_of=NOW - 5 * SECOND) == [(7, 7, 1), (None, None, 0)]
    assert values(one, Body(), as_of=NOW - 2 * HOUR) == [Status.ERROR, (None, None, 0)]
    assert "clock" in READING.values([one], NOW - 2 * HOUR).reason


def test_nothing_may_be_known_of_any_item() -> None:
    found = READING.values([], NOW)
    assert {name: len(column) for name, column in found.columns.items()} == dict.fromkeys(VIEW.feature_names, 0)


def renamed(name: str, column: str, dtype: pa.DataType | None = None) -> WindowValues:
    """As `READING`, of another view whose names are others."""
    view = fa.FeatureView(
        name,
        VIEW.entity,
        VIEW.sources[0],
        fa.Sql("SELECT * FROM orders"),
        columns=[(column, dtype or pa.int64())],
        aggregates=[
            fa.Aggregate("sum", column, [timedelta(hours=1), timedelta(days=1)]),
            fa.Aggregate("count", windows=timedelta(hours=1)),
        ],
    )
    return WindowValues.of(layout_of(view), view.feature_names)


def ring_of(reading: WindowValues, column: str, *records: tuple[int, int], now: int = NOW) -> bytes:
    at = np.array([NOW - ago for ago, _ in records], np.int64)
    rows = Records({column: pa.array([amount for _, amount in records], pa.int64())}, at, np.arange(len(records)))
    return packed(ring_of_records(reading.layout, rows, np.zeros(len(records), np.int64), 1, now))[0]


def test_views_that_differ_in_names_alone_are_read_as_one_and_answer_as_by_themselves() -> None:
    other = renamed("refunds", "price")
    assert other.alike == READING.alike
    assert other.layout.fingerprint != LAYOUT.fingerprint
    assert renamed("refunds", "price", pa.float64()).alike != READING.alike
    one, two = ring((SECOND, 7), (2 * HOUR, 5)), ring_of(other, "price", (3 * SECOND, 2))
    late = ring_of(other, "price", (0, 1), now=NOW + 2 * HOUR)
    spoiled = two[:-1] + bytes([two[-1] ^ 1])
    sets: list[list[Body]] = [[item(one), Body()], [item(two), item(one), item(late)], [item(two), item(spoiled)], []]
    for mine in sets:
        for others in sets:
            together = values_of([(READING, mine), (other, others)], NOW, Stages())
            apart = [READING.values(mine, NOW), other.values(others, NOW)]
            for found, alone in zip(together, apart, strict=True):
                assert found.row.tolist() == alone.row.tolist()
                assert found.codes.tolist() == alone.codes.tolist()
                assert found.columns == alone.columns
                assert (found.unreadable, found.fitting) == (alone.unreadable, alone.fitting)
                assert found.reason == alone.reason
