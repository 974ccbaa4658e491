"""The loop through Dagster: materialize, check, tick, push, read; and what happens when a part of it fails."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from feature_assets.clock import ReplayClock
from feature_assets.orchestration import sensors
from feature_assets.orchestration.launch import Launcher, asset_keys, missing_days, month_chunks
from feature_assets.orchestration.partitions import day_range
from feature_assets.serving.status import Status
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop

DAYS = day_range(date(2026, 1, 1), date(2026, 1, 3))
KEYS = asset_keys(shop.project.sources, shop.project.views)


def _open_the_shop() -> None:
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0), ("bob", 5.0)])
    shop.put_orders(date(2026, 1, 2), [("ada", 20.0)])
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0)])


def _spend(store: FeatureStore, user_id: str) -> object:
    return store.get([{"user_id": user_id}], service="checkout").to_pylist()[0]["daily_spend__spend"]


def test_days_become_rows_checks_and_answers(launcher: Launcher, shop_store: FeatureStore) -> None:
    _open_the_shop()
    outcome = launcher.materialize(KEYS, DAYS)
    assert outcome.success, outcome
    pushed = launcher.tick_push_sensor()
    assert [run.success for run in pushed] == [True, True]
    assert _spend(shop_store, "ada") == 3.0
    assert _spend(shop_store, "bob") == 5.0
    answer = shop_store.get([{"user_id": "nobody"}], service="checkout")
    assert answer.status["daily_spend__spend"] == [Status.NOT_FOUND]
    assert answer.status["daily_spend__orders"] == [Status.DEFAULTED]


def test_every_partition_of_a_range_is_materialized_in_one_run(launcher: Launcher) -> None:
    _open_the_shop()
    outcome = launcher.materialize(KEYS, DAYS)
    assert outcome.success, outcome
    key = dg.AssetKey(["features", "daily_spend"])
    found = launcher.instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key), limit=10).records
    assert {record.partition_key for record in found} == {day.isoformat() for day in DAYS}
    assert {record.run_id for record in found} == {outcome.run_id}
    metadata = found[0].asset_materialization.metadata  # type: ignore[union-attr] # they are materializations
    assert metadata["dagster/row_count"].value == 4
    assert {"commit_seq", "delta_version", "preview", "nulls", "plot", "dagster/column_schema"} <= set(metadata)


def test_a_tick_executed_twice_pushes_once(launcher: Launcher, shop_store: FeatureStore) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    # Both ticks are evaluated before any push runs, as when a daemon dies between evaluating and saving its cursor.
    assert len(launcher.requested_pushes()) == 2
    assert len(launcher.tick_push_sensor()) == 2
    position = shop_store.ledger.head()
    assert launcher.tick_push_sensor() == []
    assert shop_store.ledger.head() == position


def test_a_failed_check_holds_the_partition_back_and_the_last_good_one_stays(
    launcher: Launcher, shop_store: FeatureStore
) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    launcher.tick_push_sensor()
    shop.put_orders(date(2026, 1, 3), [("ada", -7.0)])
    outcome = launcher.materialize(KEYS, DAYS[2:])
    assert outcome.failed_checks == ("features/daily_spend: expectations",)
    launcher.tick_push_sensor()
    assert _spend(shop_store, "ada") == 3.0
    shop.put_orders(date(2026, 1, 3), [("ada", 7.0)])
    assert launcher.materialize(KEYS, DAYS[2:]).success
    launcher.tick_push_sensor()
    assert _spend(shop_store, "ada") == 7.0


def test_a_transform_that_raises_is_one_clear_failure_and_the_last_good_state_serves(
    launcher: Launcher, shop_store: FeatureStore
) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    launcher.tick_push_sensor()
    (shop.world() / shop.BROKEN).touch()
    outcome = launcher.materialize(KEYS, DAYS)
    assert not outcome.success
    (failure,) = outcome.failures
    assert failure.startswith("view last_order:")
    assert "the shop is closed" in failure
    assert launcher.tick_push_sensor() == []
    row = shop_store.get([{"user_id": "ada"}], service="checkout").to_pylist()[0]
    assert row["last_order__item"] == "item-1"


def test_a_push_that_failed_because_the_store_was_down_is_retried(
    launcher: Launcher, shop_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    # A folder in the place of the file: the store cannot be opened, whatever it tries.
    path = Path(shop_store.lake.root) / "online.sqlite"
    for leftover in path.parent.glob("online.sqlite*"):
        leftover.unlink()
    path.mkdir()
    failed = launcher.tick_push_sensor()
    assert [run.success for run in failed] == [False, False]
    assert all("online.sqlite" in run.failures[0] for run in failed), failed
    assert launcher.tick_push_sensor() == []  # the pause after a failure
    shutil.rmtree(path)
    monkeypatch.setattr(sensors, "backoff", lambda _: timedelta(0))
    assert [run.success for run in launcher.tick_push_sensor()] == [True, True]
    assert _spend(FeatureStore.open(project=shop.project), "ada") == 3.0


def test_late_orders_correct_the_day_and_training_remembers_what_was_known(
    launcher: Launcher, shop_store: FeatureStore, shop_clock: ReplayClock
) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    launcher.tick_push_sensor()
    before = shop_store.clock.now()
    shop_clock.set(datetime(2026, 1, 5, 1, tzinfo=UTC))
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0), ("ada", 4.0)])
    launcher.materialize(KEYS, day_range(date(2026, 1, 3), date(2026, 1, 4)))
    launcher.tick_push_sensor()
    assert _spend(shop_store, "ada") == 7.0
    asked = pa.array([before, shop_store.clock.now()], shop.TIME)
    spine = pa.table({"user_id": ["ada", "ada"], "as_of": asked})
    built = shop_store.training_set(spine, service="checkout", timestamp="as_of").table
    assert built["daily_spend__spend"].to_pylist() == [3.0, 7.0]
    assert built["daily_spend__availability"].to_pylist()[1] == "recorded"


def test_an_empty_day_takes_back_what_was_there(launcher: Launcher, shop_store: FeatureStore) -> None:
    _open_the_shop()
    launcher.materialize(KEYS, DAYS)
    launcher.tick_push_sensor()
    shop.put_orders(date(2026, 1, 3), [])
    assert launcher.materialize(KEYS, DAYS[2:]).success
    launcher.tick_push_sensor()
    assert _spend(shop_store, "ada") == 20.0


def test_a_backfill_resumes_where_it_stopped(launcher: Launcher, shop_store: FeatureStore) -> None:
    _open_the_shop()
    wanted = day_range(date(2026, 1, 1), date(2026, 2, 2))
    sources, views = shop.project.sources, shop.project.views
    assert [len(chunk) for chunk in month_chunks(missing_days(shop_store, sources, views, wanted))] == [31, 2]
    launcher.materialize(KEYS, DAYS)
    left = missing_days(shop_store, sources, views, wanted)
    assert left[0] == date(2026, 1, 4)
    assert [len(chunk) for chunk in month_chunks(left)] == [28, 2]
