"""Maintenance through the command line and as the nightly job, on a real lake: as planned, and no reader sees it."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from feature_assets import cli as package
from feature_assets.clock import ReplayClock, to_us
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.maintenance import tables
from feature_assets.orchestration.launch import Launcher
from feature_assets.orchestration.upkeep import UPKEEP_CRON, UPKEEP_JOB
from feature_assets.settings import Settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop
from feature_assets_tests.end_to_end.conftest import Cli

COMMANDS = ("run", "compact", "vacuum", "retire", "repair", "abandon", "history")
DAYS = [date(2026, 1, day) for day in (1, 2, 3)]


@pytest.fixture
def served(shop_store: FeatureStore, shop_clock: ReplayClock) -> FeatureStore:
    """Three days, each materialized and pushed by itself: several files per table."""
    for number, day in enumerate(DAYS):
        shop.put_orders(day, [("ada", 10.0 + number), ("bob", 1.0)])
        shop_store.materialize([day])
        shop_store.publish()
        shop_clock.set(shop_clock.now().replace(hour=2 + number))
    return shop_store


def parquet(lake: Lake) -> dict[str, set[str]]:
    """The data files on disk, by table."""
    return {"/".join(path): {str(one) for one in lake.path(*path).rglob("*.parquet")} for path in tables(lake)}


def bytes_of(lake: Lake) -> dict[str, bytes]:
    """Everything in the tables' folders."""
    found = (path for parts in tables(lake) for path in lake.path(*parts).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found}


def read(store: FeatureStore) -> list[pa.Table]:
    """What readers see of the history and online, without what a compaction folds in."""
    views = [store.view_table(view) for view in store.project.views]
    lives = {"available_at", "superseded_at"}
    kept = [tuple(name for name in view.stored.names if name not in {*lives, "month", "row"}) for view in views]
    rows = [view.read_versions(columns=columns) for view, columns in zip(views, kept, strict=True)]
    events = store.source_table(shop.orders).read_versions()
    return [*rows, events, store.get([{"user_id": "ada"}, {"user_id": "bob"}], service="checkout").table]


# ---- what there is
def test_every_command_of_the_group_has_help_and_json(cli: Cli) -> None:
    said = cli("maintenance", "--help")
    assert said.code == 0
    assert "    maintenance" in (package.__doc__ or "")
    for name in COMMANDS:
        assert f" {name} " in said.stdout
        options = cli("maintenance", name, "--help")
        assert (options.code, cli("maintenance", name, "-h").code) == (0, 0)
        assert "--json" in options.stdout
        assert ("--dry-run" in options.stdout) == (name != "history")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compact", "event/orders"), "did you mean 'events/orders'?"),
        (("history",), "Missing argument 'table'"),
        (("history", "availabilty"), "did you mean 'availability'?"),
        (("abandon", "features"), "unknown table 'features'"),
        (("vacuum", "--retention-days", "-1"), "--retention-days"),
        (("vacuum", "--retention-days", "0", "--orphans"), "--orphans needs a retention"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], says: str, cli: Cli, served: FeatureStore) -> None:
    before = bytes_of(served.lake)
    said = cli("maintenance", *arguments)
    assert said.code == 2
    assert says in said.stderr
    assert bytes_of(served.lake) == before


# ---- compact and vacuum
def test_compact_does_what_it_planned_and_nothing_that_is_read_changes(cli: Cli, served: FeatureStore) -> None:
    before, untouched = read(served), bytes_of(served.lake)
    planned = cli("maintenance", "compact", "--dry-run", "--json")
    assert planned.code == 0
    assert bytes_of(served.lake) == untouched

    done = cli("maintenance", "compact", "--json")

    assert done.code == 0
    assert done.document["tables"] == planned.document["tables"]
    by_table = {one["table"]: one for one in done.document["tables"]}
    assert set(by_table) == {"/".join(path) for path in tables(served.lake)}
    # The ledger and the verdicts grow with every push and are compacted like all others.
    for name in ("availability", "verdicts", "events/orders"):
        assert by_table[name]["files_before"] >= len(DAYS)
        assert by_table[name]["files_after"] == 1
    assert [one.equals(other) for one, other in zip(read(served), before, strict=True)] == [True] * len(before)
    available = served.view_table(shop.daily_spend).read(columns=("available_at",)).column("available_at")
    assert available.null_count == 0, "the availability of the online store is folded in"
    again = cli("maintenance", "compact", "--json")
    assert all(one["files_before"] == 0 for one in again.document["tables"])
    assert "need nothing" in cli("maintenance", "compact").stdout


def test_vacuum_deletes_what_a_compaction_replaced_once_it_is_old_enough(cli: Cli, served: FeatureStore) -> None:
    assert cli("maintenance", "compact").code == 0
    before, on_disk = read(served), parquet(served.lake)
    young = cli("maintenance", "vacuum", "--json")
    assert young.code == 0
    assert all(one["deleted"] == [] for one in young.document["tables"])
    planned = cli("maintenance", "vacuum", "--retention-days", "0", "--dry-run", "--json").document["tables"]
    assert parquet(served.lake) == on_disk

    done = cli("maintenance", "vacuum", "events/orders", "--retention-days", "0", "--json").document["tables"]

    assert done == [one for one in planned if one["table"] == "events/orders"]
    assert len(done[0]["deleted"]) == len(DAYS)
    assert cli("maintenance", "vacuum", "--retention-days", "0").code == 0
    left = parquet(served.lake)
    assert [len(left[name]) for name in ("events/orders", "availability", "verdicts")] == [1, 1, 1]
    assert [one.equals(other) for one, other in zip(read(served), before, strict=True)] == [True] * len(before)


def test_a_damaged_table_is_told_and_holds_up_no_other(cli: Cli, served: FeatureStore) -> None:
    lost = next(iter(parquet(served.lake)["events/orders"]))
    Path(lost).unlink()
    said = cli("maintenance", "run", "--json")
    assert said.code == 1
    errors = {one["table"]: one["error"] for one in said.document["tables"] if one["error"]}
    assert set(errors) == {"events/orders"}
    assert errors["events/orders"].startswith("TableDamagedError: ")
    assert next(one for one in said.document["tables"] if one["table"] == "verdicts")["files_after"] == 1
    assert "failed events/orders" in " ".join(said.stderr.split())


# ---- damage
def test_a_torn_log_is_repaired_from_the_command_line(cli: Cli, served: FeatureStore) -> None:
    assert cli("maintenance", "repair").stdout.strip() == "every log is whole"
    torn = served.lake.path("events", "orders") / "_delta_log" / f"{9:020d}.json"
    torn = max(torn.parent.glob("*.json"))
    torn.write_bytes(b"")
    broken = cli("maintenance", "history", "events/orders")
    assert broken.code == 1
    assert "feature-assets maintenance repair events/orders" in broken.stderr

    planned = cli("maintenance", "repair", "--dry-run", "--json")
    assert planned.code == 0
    assert torn.exists()
    done = cli("maintenance", "repair", "events/orders", "--json")
    assert done.code == 0
    assert done.document["repairs"] == planned.document["repairs"]
    assert done.document["repairs"][0]["moves"] == [f"_delta_log/{torn.name}"]
    assert not torn.exists()
    assert cli("maintenance", "history", "events/orders").code == 0


def test_what_cannot_be_repaired_says_so_and_the_others_are(cli: Cli, served: FeatureStore) -> None:
    first = served.lake.path("verdicts") / "_delta_log" / f"{0:020d}.json"
    first.unlink()
    torn = max((served.lake.path("availability") / "_delta_log").glob("*.json"))
    torn.write_bytes(b"")
    said = cli("maintenance", "repair", "--json")
    assert said.code == 1
    assert [one["table"] for one in said.document["repairs"]] == ["availability"]
    assert ["verdicts" in one["message"] for one in said.document["beyond_repair"]] == [True]
    assert "beyond repair" in said.stderr


def test_lost_data_is_given_up_and_its_days_are_named(cli: Cli, served: FeatureStore) -> None:
    lost = next(iter(parquet(served.lake)["events/orders"]))
    Path(lost).unlink()
    planned = cli("maintenance", "abandon", "events/orders", "--dry-run", "--json")
    assert planned.code == 0
    assert cli("maintenance", "abandon", "events/orders", "--dry-run", "--json").document == planned.document
    done = cli("maintenance", "abandon", "events/orders", "--json")
    assert done.code == 0
    assert done.document == {**planned.document, "dry_run": False}
    assert done.document["months"] == ["2026-01"]
    assert len(done.document["files"]) == len(done.document["commits"]) == 1
    assert "nothing to give up" in cli("maintenance", "abandon", "events/orders").stdout
    assert served.materialize(DAYS)
    assert served.source_table(shop.orders).read().num_rows == 2 * len(DAYS)


# ---- versions that another has taken over from
def test_retire_lets_a_superseded_version_answer_no_more_and_drops_its_table(cli: Cli, served: FeatureStore) -> None:
    long_ago = to_us(served.clock.now() - timedelta(days=30))
    common = {"view": "daily_spend", "version": "0123456789", "target": served.target, "commit_seq": 1}
    served.ledger.append([LedgerRow(**common, kind="serving", sent_at=long_ago, acked_at=long_ago)])  # type: ignore[arg-type] # the fields above
    served.online.prepare("daily_spend.0123456789")
    kept = set(served.online.tables()) - {"daily_spend.0123456789"}
    before = read(served)

    early = cli("maintenance", "retire", "--json")
    assert (early.code, [one["versions"] for one in early.document["views"]]) == (0, [[], []]), (
        "the other just took over"
    )
    planned = cli("maintenance", "retire", "--grace-days", "0", "--dry-run", "--json")
    assert "daily_spend.0123456789" in served.online.tables()
    done = cli("maintenance", "retire", "--grace-days", "0", "--json")

    assert (planned.code, done.code) == (0, 0)
    assert done.document["views"] == planned.document["views"]
    of_spend = done.document["views"][0]
    assert (of_spend["versions"], of_spend["tables"]) == (["0123456789"], ["daily_spend.0123456789"])
    assert set(served.online.tables()) == kept
    assert cli("maintenance", "retire", "--grace-days", "0").stdout.strip() == "nothing is to be retired"
    assert [one.equals(other) for one, other in zip(read(served), before, strict=True)] == [True] * len(before)


# ---- history
def test_history_tells_what_was_done_the_latest_first(cli: Cli, served: FeatureStore) -> None:
    assert cli("maintenance", "compact", "events/orders").code == 0
    found = cli("maintenance", "history", "events/orders", "--limit", "3", "--json").document
    assert [one["operation"] for one in found] == ["rewrite", "commit", "commit"]
    assert [one["number"] for one in found[1:]] == [3, 2]
    assert [one["rows"] for one in found] == [6, 2, 2]
    shown = cli("maintenance", "history", "daily_spend")
    assert shown.code == 2
    by_view = cli("maintenance", "history", "features/daily_spend")
    assert by_view.code == 0, "a view's only version need not be named"
    assert "commit" in by_view.stdout


# ---- the nightly job
def test_the_nightly_job_compacts_every_table_and_is_scheduled(launcher: Launcher, served: FeatureStore) -> None:
    before = read(served)
    result = launcher.definitions.resolve_job_def(UPKEEP_JOB).execute_in_process(instance=launcher.instance)
    assert result.success
    for path in (("availability",), ("verdicts",), ("events", "orders")):
        assert len(served.lake.open(*path).file_uris()) == 1
    assert [one.equals(other) for one, other in zip(read(served), before, strict=True)] == [True] * len(before)
    schedule = launcher.definitions.resolve_schedule_def("maintenance_nightly")
    assert (schedule.job_name, schedule.cron_schedule) == (UPKEEP_JOB, UPKEEP_CRON)


def test_the_nightly_job_fails_by_name_when_a_table_does(
    launcher: Launcher, served: FeatureStore, shop_settings: Settings
) -> None:
    Path(next(iter(parquet(served.lake)["events/orders"]))).unlink()
    job = launcher.definitions.resolve_job_def(UPKEEP_JOB)
    with pytest.raises(dg.Failure, match=r"1 of \d+ tables could not be maintained: events/orders: TableDamagedError"):
        job.execute_in_process(instance=launcher.instance)
    assert len(Lake(shop_settings.root).open("availability").file_uris()) == 1
