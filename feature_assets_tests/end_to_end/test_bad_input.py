"""What goes wrong in the loop: one clear failure where people look, nothing half done, the last good state serves."""

import dataclasses
import socket
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from feature_assets.definition.project import Project
from feature_assets.definition.view import Expectation
from feature_assets.orchestration.launch import Launcher, asset_keys
from feature_assets.orchestration.partitions import day_range
from feature_assets.serving.status import Status
from feature_assets.settings import Settings, load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop
from feature_assets_tests.end_to_end.conftest import Cli
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

DAYS = day_range(date(2026, 1, 1), date(2026, 1, 3))
KEYS = asset_keys(shop.project.sources, shop.project.views)


def opened(launcher: Launcher) -> None:
    """Three days of orders, computed and published."""
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0), ("bob", 5.0)])
    shop.put_orders(date(2026, 1, 2), [("ada", 20.0)])
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0)])
    assert launcher.materialize(KEYS, DAYS).success
    assert [run.success for run in launcher.tick_push_sensor()] == [True, True]


def corrected() -> None:
    """The world moves on: a late order."""
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0), ("ada", 4.0)])


def served(store: FeatureStore, user_id: str = "ada") -> tuple[object, object]:
    """What a reader sees of both views."""
    row = store.get([{"user_id": user_id}], service="checkout").to_pylist()[0]
    return row["daily_spend__spend"], row["last_order__item"]


LAST_GOOD = (3.0, "item-1")
NEXT = (7.0, "item-2")


# ---- what readers and transforms do
@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            shop.UNREADABLE,
            "",
            ("source orders: ", "its reader raised ConnectionError", "the warehouse does not answer"),
        ),
        (shop.BROKEN, "", ("view last_order: ", "it raised RuntimeError", "the shop is closed")),
        (shop.BROKEN, "item", ("view last_order: ", "shop.py:", "'item'")),
        (shop.BROKEN, "user_id", ("view last_order: ", "shop.py:", "'user_id'")),
    ],
    ids=["the reader raises", "the transform raises", "a feature is missing", "a key is missing"],
)
def test_a_run_fails_with_one_clear_message_and_the_last_good_state_serves(
    file: str, content: str, says: tuple[str, ...], launcher: Launcher, shop_store: FeatureStore
) -> None:
    opened(launcher)
    corrected()
    (shop.world() / file).write_text(content, encoding="utf-8")
    outcome = launcher.materialize(KEYS, DAYS[2:])
    [failure] = outcome.failures
    for words in (*says, "Hint: "):
        assert words in failure
    assert "Traceback" not in failure
    assert "executing op" not in failure, "what Dagster wraps an error in says nothing"
    launcher.tick_push_sensor()
    assert served(shop_store)[1] == LAST_GOOD[1]
    (shop.world() / file).unlink()
    assert launcher.materialize(KEYS, DAYS[2:]).success
    launcher.tick_push_sensor()
    assert served(shop_store) == NEXT


def test_a_failure_shows_its_kind_and_the_way_out_in_the_ui(launcher: Launcher) -> None:
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0)])
    (shop.world() / shop.BROKEN).touch()
    outcome = launcher.materialize(KEYS, DAYS[:1])
    events = launcher.instance.all_logs(outcome.run_id, dg.DagsterEventType.STEP_FAILURE)
    [data] = [event.get_dagster_event().step_failure_data for event in events]
    assert data.user_failure_data is not None
    metadata = {name: value.value for name, value in data.user_failure_data.metadata.items()}
    assert metadata["error"] == "TransformError"
    assert "partition" in str(metadata["hint"])


def test_days_on_which_nothing_ever_happened_are_no_failure(launcher: Launcher, shop_store: FeatureStore) -> None:
    outcome = launcher.materialize(KEYS, DAYS)
    assert outcome.success, outcome
    pushed = launcher.tick_push_sensor()
    # An empty state is published, and a read-back that compared nothing is no success.
    assert [run.failures for run in pushed] == [(), ()]
    assert [run.failed_checks for run in pushed] == [
        ("online/daily_spend: read_back",),
        ("online/last_order: read_back",),
    ]
    answer = shop_store.get([{"user_id": "ada"}], service="checkout")
    assert answer.status["daily_spend__spend"] == [Status.NOT_FOUND]


# ---- what expectations do
@pytest.mark.parametrize(
    ("expectation", "says"),
    [
        (Expectation("expect_column_values_to_match_regex", "user_id", arguments={"regex": "("}), "missing )"),
        (Expectation("expect_column_values_to_be_between", "spend", arguments={"min_value": "ten"}), "min_value"),
    ],
    ids=["an illegal pattern", "a number that is none"],
)
def test_an_expectation_that_raises_holds_the_day_back_and_says_so(
    expectation: Expectation, says: str, launcher: Launcher, shop_store: FeatureStore
) -> None:
    opened(launcher)
    corrected()
    # The version of a view does not depend on what is expected of it: it is the same table.
    raising = dataclasses.replace(shop.daily_spend, expectations=(expectation,))
    project = Project("shop", sources=[shop.orders], views=[raising, shop.last_order], services=[])
    outcome = Launcher(project, launcher.instance).materialize(KEYS, DAYS[2:])
    assert outcome.failed_checks == ("features/daily_spend: expectations",)
    assert outcome.failures == ()
    evaluated = launcher.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(["features", "daily_spend"]), "expectations"), limit=1
    )
    event = evaluated[0].event
    assert event is not None
    assert event.dagster_event is not None
    metadata = event.dagster_event.asset_check_evaluation_data.metadata
    assert says in str(metadata["error"].value)
    launcher.tick_push_sensor()
    assert served(shop_store)[0] == LAST_GOOD[0]
    # A verdict is final: the same day passes only when it is computed again.
    assert launcher.materialize(KEYS, DAYS[2:]).success
    launcher.tick_push_sensor()
    assert served(shop_store)[0] == NEXT[0]


# ---- what disks do
def newest_commit(store: FeatureStore) -> Path:
    """The newest log file of the table of `last_order`."""
    folder = Path(store.lake.root) / "features" / "last_order" / store.version(shop.last_order) / "_delta_log"
    return max(folder.glob("*.json"))


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_table_is_one_clear_failure_and_holds_up_nobody_else(
    launcher: Launcher, shop_store: FeatureStore, cli: Cli
) -> None:
    opened(launcher)
    whole = newest_commit(shop_store).read_bytes()
    halved(newest_commit(shop_store))
    corrected()

    outcome = launcher.materialize(KEYS, DAYS[2:])
    [failure] = outcome.failures
    assert failure.startswith("view last_order: ")
    for words in ("features/last_order/", "is damaged", "is torn", "last good version", "Hint: "):
        assert words in failure

    by_view = {run.failures[0] if run.failures else "": run for run in launcher.tick_push_sensor()}
    assert len(by_view) == 2, "the damaged view is pushed, too, so that a run says why it cannot be"
    assert by_view.pop("").success
    [told] = by_view
    assert told.startswith("push of last_order: ")
    assert "is damaged" in told
    assert served(shop_store) == (NEXT[0], LAST_GOOD[1]), "the other view moves on, this one keeps its last state"
    assert launcher.tick_push_sensor() == [], "not again at once"

    said = cli("plan", "last_order", "--json")
    assert said.code == 1
    assert said.document["error"] == "TableDamagedError"
    assert "last good version" in said.document["message"]

    newest_commit(shop_store).write_bytes(whole)
    assert launcher.materialize(KEYS, DAYS[2:]).success
    launcher.tick_push_sensor()
    assert served(shop_store) == NEXT


def test_computing_does_not_depend_on_the_online_store(launcher: Launcher, shop_settings: Settings) -> None:
    shop_settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
    shop_settings.sqlite_path.write_bytes(b"this is no database" * 1000)
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0)])
    assert launcher.materialize(KEYS, DAYS).success
    failures = [failure for run in launcher.tick_push_sensor() for failure in run.failures]
    assert len(failures) == 2
    for failure in failures:
        assert failure.startswith("push of ")
        assert "online.sqlite" in failure
        assert "Hint: " in failure


# ---- what networks do
@pytest.fixture
def nobody_listens() -> str:
    """An address on this machine at which nobody answers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def on_dynamodb(shop_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Lets the shop be served from DynamoDB at an address."""

    def at(endpoint: str) -> Settings:
        monkeypatch.setenv("FEATURE_ASSETS_ONLINE", "dynamodb")
        monkeypatch.setenv("FEATURE_ASSETS_DYNAMODB_ENDPOINT", endpoint)
        monkeypatch.setenv("FEATURE_ASSETS_AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testkey")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
        return load_settings()

    return at


def test_a_store_that_nobody_answers_at_is_one_clear_error(
    on_dynamodb: Callable[[str], Settings], nobody_listens: str, cli: Cli
) -> None:
    on_dynamodb(nobody_listens)
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0)])
    assert cli("materialize", "last_order", "--from", "2026-01-01").code == 0, "computing needs no online store"
    plan = cli("plan", "last_order", "--json")
    assert plan.code == 0
    assert plan.document[0]["state"] == "loading"
    said = cli("push", "last_order", "--json")
    assert said.code == 1
    [push] = said.document["pushes"]
    [failure] = push["failures"]
    assert failure.startswith("push of last_order: ")
    assert nobody_listens.removeprefix("http://") in failure
    assert "Traceback" not in said.stderr


@pytest.mark.server
def test_a_store_that_stops_answering_is_a_status_and_never_a_missing_value(
    on_dynamodb: Callable[[str], Settings],
    nobody_listens: str,
    dynamodb_local: DynamoDBLocal,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = dynamodb_local.apart()
    settings = on_dynamodb(database.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", database.access_key)
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0)])
    with FeatureStore.open(settings, project=shop.project) as store:
        store.materialize(DAYS[:1], [shop.last_order])
        store.publish([shop.last_order])
    known = cli("get", "checkout", "user_id=ada", "--json").document
    assert (known["values"]["last_order__item"], known["status"]["last_order__item"]) == ("item-0", "PRESENT")
    on_dynamodb(nobody_listens)
    said = cli("get", "checkout", "user_id=ada", "--json")
    assert said.code == 0
    assert said.document["status"]["last_order__item"] in {"ERROR", "TIMEOUT"}
    assert said.document["status"]["daily_spend__orders"] == "LOADING"
    assert said.document["values"]["daily_spend__orders"] is None, "what is unknown has no default"
