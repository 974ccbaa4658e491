"""The command line as scripts and people use it: exit codes, one JSON document, one clear error, nothing done twice."""

import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_assets import cli as package
from feature_assets.settings import Settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop
from feature_assets_tests.end_to_end.conftest import Cli, opened

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    "check plan materialize backfill push training-set drift what-if retrain get explain ui demo".split()  # noqa: SIM905 - as one types them
)
NEW_YEAR = ("--from", "2026-01-01", "--to", "2026-01-03")


def open_the_shop() -> None:
    shop.put_orders(date(2026, 1, 1), [("ada", 10.0), ("bob", 5.0)])
    shop.put_orders(date(2026, 1, 2), [("ada", 20.0)])
    shop.put_orders(date(2026, 1, 3), [("ada", 1.0), ("ada", 2.0)])


def files(root: Path) -> dict[str, float]:
    """Everything in a folder that is no Dagster home, with its time of change."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime for path in found if "dagster" not in path.relative_to(root).parts}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A shop with three days, published: not to be changed. Only what `FEATURE_ASSETS_*` say leads to it."""
    with pytest.MonkeyPatch.context() as environment:
        settings = opened(tmp_path_factory.mktemp("served"), environment)
        open_the_shop()
        with FeatureStore.open(settings, project=shop.project) as store:
            store.materialize([date(2026, 1, day) for day in (1, 2, 3)])
            store.publish()
        yield settings


# ---- what there is
def test_the_entry_point_is_the_function_that_maps_errors() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, name = scripts["feature-assets"].partition(":")
    assert getattr(importlib.import_module(module), name) is package.main


def test_help_names_every_command_and_each_has_its_own(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    assert all(f" {name} " in said.stdout for name in COMMANDS)
    for name in COMMANDS:
        assert (cli(name, "--help").code, cli(name, "-h").code) == (0, 0)
        assert f"feature-assets {name}" in cli(name, "--help").stdout
    assert all(f"    {name}" in (package.__doc__ or "") for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {"ui", "demo"}])
def test_every_command_that_answers_takes_json_and_every_one_that_changes_takes_dry_run(name: str, cli: Cli) -> None:
    options = cli(name, "--help").stdout
    assert "--json" in options
    assert ("--dry-run" in options) == (name in {"materialize", "backfill", "push", "drift", "retrain"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("materialize", "daily_spend"),
        ("materialize", "--from", "yesterday"),
        ("materialize", "--from", "2026-01-03", "--to", "2026-01-01"),
        ("backfill", "--from", "2026-01-03"),
        ("get", "checkout", "ada"),
        ("get", "checkout", "user_id=ada", "user_id=bob"),
        ("explain", "checkout", "ada"),
        ("explain", "checkout", "user_id=ada", "--as-of", "yesterday"),
        ("explain", "checkout", "user_id=ada", "--as-of", "2026-01-03T12:00:00"),
        ("explain", "checkout"),
        ("training-set", "--service", "checkout"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_opens_nothing(
    arguments: tuple[str, ...], cli: Cli, shop_settings: Settings
) -> None:
    before = files(Path(shop_settings.root))
    said = cli(*arguments)
    assert said.code == 2
    assert said.stdout == ""
    assert "Traceback" not in said.stderr
    assert files(Path(shop_settings.root)) == before


# ---- check and plan
def test_check_shows_what_the_project_holds(cli: Cli, shop_settings: Settings) -> None:
    said = cli("check", "--json")
    assert said.code == 0
    assert [view["name"] for view in said.document["views"]] == ["daily_spend", "last_order"]
    assert [service["name"] for service in said.document["services"]] == ["checkout"]
    table = cli("check")
    assert table.code == 0
    assert "project shop is valid" in table.stdout


def test_check_and_plan_write_nothing(cli: Cli, shop_settings: Settings) -> None:
    before = files(Path(shop_settings.root))
    assert cli("check").code == 0
    said = cli("plan", "--json")
    assert said.code == 0
    assert [(view["state"], view["committed"], view["published"]) for view in said.document] == [("loading", 0, 0)] * 2
    assert files(Path(shop_settings.root)) == before


def test_plan_says_where_every_view_stands_and_what_it_costs(cli: Cli, served: Settings) -> None:
    said = cli("plan", "--json")
    assert said.code == 0
    plans = {view["view"]: view for view in said.document}
    assert set(plans) == {"daily_spend", "last_order"}
    for plan in plans.values():
        assert (plan["state"], plan["committed"], plan["published"], plan["pending"]) == ("serving", 1, 1, 0)
        assert plan["size"]["entities"] == 2
        assert plan["size"]["write_units"] == 1
    [only] = cli("plan", "last_order", "--json").document
    assert only == plans["last_order"]
    assert "daily_spend" in cli("plan").stdout


# ---- errors
@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (("plan", "daly_spend"), "unknown view 'daly_spend'", "did you mean 'daily_spend'?"),
        (("push", "daly_spend"), "unknown view 'daly_spend'", "did you mean 'daily_spend'?"),
        (("drift", "daly_spend"), "unknown view 'daly_spend'", "did you mean 'daily_spend'?"),
        (("drift",), "project 'shop' has no model", "trained on"),
        (("retrain", "m"), "unknown model 'm'", "none is defined"),
        (("get", "chekout", "user_id=ada"), "unknown service 'chekout'", "did you mean 'checkout'?"),
        (("explain", "chekout", "user_id=ada"), "unknown service 'chekout'", "did you mean 'checkout'?"),
        (
            ("explain", "checkout", "user_id=ada", "--feature", "daily_spend__spent"),
            "unknown feature 'daily_spend__spent'",
            "did you mean 'daily_spend__spend'?",
        ),
        (("get", "checkout", "userid=ada"), "unknown key or request field 'userid'", "did you mean 'user_id'?"),
        (("materialize", "--from", "2025-12-31"), "has the days 2026-01-01 to 2026-02-28", "a day is there when"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_error_says_what_and_the_way_out_for_people_and_for_programs(
    arguments: tuple[str, ...], says: str, hint: str, cli: Cli, shop_settings: Settings
) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert said.stdout == ""
    assert says in said.stderr
    assert "hint: " in said.stderr
    assert hint in said.stderr
    assert "Traceback" not in said.stderr
    told = cli(*arguments, "--json")
    assert told.code == 2
    assert says in told.document["message"]
    assert hint in told.document["hint"]
    assert told.stderr == ""


def test_a_wrong_setting_is_named_and_ends_with_2(
    cli: Cli, shop_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_ASSETS_ONLINE", "postgres")
    said = cli("plan", "--json")
    assert said.code == 2
    assert said.document["message"].startswith("FEATURE_ASSETS_ONLINE: ")


@pytest.mark.parametrize(
    ("project", "says"),
    [
        ("feature_assets_tests.end_to_end.shop", "no attribute"),
        ("feature_assets_tests.end_to_end.shop:projet", "'projet' does not exist"),
        ("feature_assets_tests.end_to_end.shop:orders", "'orders' is no Project"),
        ("no_such_module:project", "No module named 'no_such_module'"),
        ("broken_project:project", "ZeroDivisionError: division by zero"),
        ("unbalanced_project:project", "SyntaxError"),
    ],
)
def test_a_project_that_cannot_be_loaded_is_one_clear_error(
    project: str, says: str, cli: Cli, shop_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_project.py").write_text("project = 1 / 0\n", encoding="utf-8")
    (tmp_path / "unbalanced_project.py").write_text("project = (\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FEATURE_ASSETS_PROJECT", project)
    said = cli("check", "--json")
    assert said.code == 2
    assert f"FEATURE_ASSETS_PROJECT={project}" in said.document["message"]
    assert says in said.document["message"]


def test_a_wrong_definition_is_found_by_check(
    cli: Cli, shop_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import dataclasses, feature_assets as fa\n"
        "from feature_assets_tests.end_to_end import shop\n"
        "given = (shop.user, shop.orders, shop.last_orders, shop.last_order.features[:1])\n"
        "view = fa.FeatureView('amounts', *given)\n"
        "project = fa.Project('wrong', sources=[shop.orders], views=[view], services=[])\n"
    )
    (tmp_path / "wrong_project.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FEATURE_ASSETS_PROJECT", "wrong_project:project")
    said = cli("check", "--json")
    assert said.code == 1
    assert "wrong_project.py:4: FeatureView 'amounts'" in said.document["message"]
    assert "'item'" in said.document["message"]
    assert "drop the column" in said.document["hint"]


# ---- computing and publishing
def test_from_days_to_answers(cli: Cli, shop_settings: Settings) -> None:
    open_the_shop()
    planned = cli("backfill", *NEW_YEAR, "--dry-run", "--json")
    assert planned.code == 0
    assert planned.document == {
        "assets": ["events/orders", "features/daily_spend", "features/last_order"],
        "runs": [{"from": "2026-01-01", "to": "2026-01-03", "days": 3}],
    }
    assert not (Path(shop_settings.root) / "features").exists(), "a dry run does nothing"

    first = cli("materialize", "--from", "2026-01-02", "--json")
    assert first.code == 0
    [run] = first.document["runs"]
    assert (run["from"], run["to"], run["days"], run["success"]) == ("2026-01-02", "2026-01-02", 1, True)

    resumed = cli("backfill", *NEW_YEAR, "--json")
    assert resumed.code == 0
    assert [(run["from"], run["to"], run["success"]) for run in resumed.document["runs"]] == [
        ("2026-01-01", "2026-01-01", True),
        ("2026-01-03", "2026-01-03", True),
    ]
    again = cli("backfill", *NEW_YEAR)
    assert again.code == 0
    assert "nothing to do" in again.stdout
    forced = cli("backfill", *NEW_YEAR, "--force", "--dry-run", "--json")
    assert [run["days"] for run in forced.document["runs"]] == [3]

    due = cli("push", "--dry-run", "--json")
    assert due.document == {
        "pushes": [{"view": "daily_spend", "have": 0, "wanted": 3}, {"view": "last_order", "have": 0, "wanted": 3}]
    }
    one = cli("push", "daily_spend", "--json")
    assert one.code == 0
    assert [(push["view"], push["success"]) for push in one.document["pushes"]] == [("daily_spend", True)]
    rest = cli("push")
    assert rest.code == 0
    assert "1 of 1 runs succeeded" in rest.stdout
    assert cli("push", "--json").document["pushes"][0] == {"view": "daily_spend", "have": 3, "wanted": 3}

    got = cli("get", "checkout", "user_id=ada", "--json")
    assert got.code == 0
    assert got.document["values"]["daily_spend__spend"] == 3.0
    assert got.document["status"]["daily_spend__spend"] == "PRESENT"
    assert got.document["meta"]["daily_spend"]["cut"]["n"] == 3


def test_what_a_check_refuses_is_exit_code_3_and_not_published(cli: Cli, shop_settings: Settings) -> None:
    open_the_shop()
    shop.put_orders(date(2026, 1, 2), [("ada", -20.0)])
    said = cli("materialize", *NEW_YEAR, "--json")
    assert said.code == 3
    [run] = said.document["runs"]
    assert (run["failures"], run["failed_checks"]) == ([], ["features/daily_spend: expectations"])
    assert "refused" in said.stderr
    assert cli("push").code == 0
    assert cli("get", "checkout", "user_id=ada", "--json").document["values"]["daily_spend__spend"] == 3.0
    days = cli("backfill", *NEW_YEAR, "--dry-run", "--json").document["runs"]
    assert days == [], "a verdict was given: the same day again would fail again"


def test_a_run_that_fails_is_exit_code_1_and_stops_a_backfill(cli: Cli, shop_settings: Settings) -> None:
    open_the_shop()
    (shop.world() / shop.BROKEN).touch()
    said = cli("backfill", "--from", "2026-01-01", "--to", "2026-02-02", "--json")
    assert said.code == 1
    first, second = said.document["runs"]
    assert first["success"] is False
    assert "the shop is closed" in first["failures"][0]
    assert "run_id" not in second, "the next month would fail as well"
    assert "Traceback" not in said.stderr
    assert "the shop is closed" in said.stderr


# ---- features out
def test_get_shows_values_statuses_and_ages(cli: Cli, served: Settings) -> None:
    said = cli("get", "checkout", "user_id=nobody")
    assert said.code == 0
    assert "NOT_FOUND" in said.stdout
    assert "DEFAULTED" in said.stdout
    known = cli("get", "checkout", "user_id=bob", "--json").document
    assert (known["values"]["daily_spend__spend"], known["status"]["daily_spend__spend"]) == (5.0, "PRESENT")
    assert known["meta"]["daily_spend"]["age_seconds"] >= 2 * 86_400
    lacking = cli("get", "checkout", "--json")
    assert lacking.code == 2


def test_explain_says_why_for_people_and_for_programs(cli: Cli, served: Settings) -> None:
    said = cli("explain", "checkout", "user_id=ada")
    assert said.code == 0, said.stderr
    lines = [" ".join(line.split()) for line in said.stdout.splitlines()]
    assert lines[0].startswith("checkout of user_id=ada at 2026-01-04 01:")
    assert any(line.startswith("daily_spend__spend 3 PRESENT 1:") for line in lines)
    assert any("the row of 2026-01-04 00:00 (day 2026-01-03, commit 1) the same" in line for line in lines)
    assert "last_order: view last_order of user_id=ada" in lines
    assert any(line.startswith("item last_order.") and "written once" in line for line in lines)
    assert any("older than the row that answers" in line for line in lines)
    one = cli("explain", "checkout", "user_id=bob", "--feature", "last_order__item", "--json").document
    assert [(each["name"], each["value"], each["status"]) for each in one["features"]] == [
        ("last_order__item", "item-1", "PRESENT")
    ]
    assert one["features"][0]["offline"]["agrees"] is True
    assert list(one["views"]) == ["last_order"]
    nobody = cli("explain", "checkout", "user_id=nobody")
    assert nobody.code == 0
    assert "none in the history" in nobody.stdout
    past = cli("explain", "checkout", "user_id=ada", "--as-of", "2026-01-02T13:00:00+00:00")
    assert past.code == 0
    assert "keeps no past" in past.stdout


def spine(path: Path, times: pa.DataType) -> Path:
    instants = [datetime(2026, 1, 2, 2), datetime(2026, 1, 4, 1)]  # noqa: DTZ001 - the zone is the column's
    pq.write_table(pa.table({"user_id": ["ada", "bob"], "as_of": pa.array(instants, times)}), path)
    return path


def test_a_training_set_is_written_whole_and_counted(cli: Cli, served: Settings, tmp_path: Path) -> None:
    given, out = spine(tmp_path / "spine.parquet", shop.TIME), tmp_path / "out.parquet"
    arguments = ("training-set", "--service", "checkout", "--spine", given, "--timestamp", "as_of", "-o", out)
    said = cli(*arguments, "--json")
    assert said.code == 0, said
    written = pq.read_table(out)
    assert said.document["rows"] == written.num_rows == 2
    assert said.document["columns"] == len(written.column_names)
    assert written["user_id"].to_pylist() == ["ada", "bob"]
    assert written["daily_spend__spend"].to_pylist() == [10.0, 5.0]
    assert set(tmp_path.iterdir()) == {given, out}
    by_event = cli(*arguments, "--mode", "as_of_event")
    assert by_event.code == 0
    assert "2 rows" in by_event.stdout
    later = cli(*arguments, "--mode", "what_if", "--delay-minutes", "200")
    assert later.code == 0
    assert pq.read_table(out)["daily_spend__spend"].to_pylist() == [None, 5.0]


def test_the_report_is_one_page_beside_the_training_set(cli: Cli, served: Settings, tmp_path: Path) -> None:
    given, out, page = spine(tmp_path / "spine.parquet", shop.TIME), tmp_path / "out.parquet", tmp_path / "report.html"
    arguments = ("training-set", "--service", "checkout", "--spine", given, "--timestamp", "as_of", "-o", out)
    said = cli(*arguments, "--report", page)
    assert said.code == 0, said
    assert "none of 2 rows uses a value that was not available" in said.stdout
    root = ET.fromstring(page.read_text(encoding="utf-8"))  # noqa: S314 - our own page
    names = [one.text for one in root.iter("a")]
    assert sorted(map(str, names)) == sorted(column.name for column in shop.checkout.output_columns)
    as_json = cli(*arguments, "--report", page, "--mode", "what_if", "--delay-minutes", "5", "--json").document
    assert as_json["report"] == str(page)
    assert as_json["leakage"]["modes"] == ["as_served", "as_of_event", "what_if(every=1h, delay=5m)"]
    assert as_json["leakage"]["leaked_served"] == 0
    assert set(tmp_path.iterdir()) == {given, out, page}
    absent = cli(*arguments, "--report", tmp_path / "absent" / "report.html")
    assert absent.code == 2
    assert "--report" in absent.stderr


def test_what_if_needs_a_model_and_a_duration(cli: Cli, served: Settings) -> None:
    assert "has 0 models" in cli("what-if").stderr
    assert "unknown model 'late'" in cli("what-if", "--model", "late").stderr
    wrong = cli("what-if", "--every", "1x")
    assert wrong.code == 2
    assert "is no duration" in wrong.stderr


def test_a_training_set_that_cannot_be_is_refused_before_anything_is_written(
    cli: Cli, served: Settings, tmp_path: Path
) -> None:
    naive, out = spine(tmp_path / "naive.parquet", pa.timestamp("us")), tmp_path / "out.parquet"
    good = spine(tmp_path / "spine.parquet", shop.TIME)
    (tmp_path / "text.parquet").write_text("no parquet", encoding="utf-8")

    def refused(given: Path, column: str = "as_of", target: Path = out, *more: str) -> str:
        said = cli(
            "training-set", "--service", "checkout", "--spine", given, "--timestamp", column, "-o", target, *more
        )
        assert said.code == 2
        assert said.stdout == ""
        assert "Traceback" not in said.stderr
        return said.stderr

    assert "column 'as_of' holds timestamps without a time zone" in refused(naive)
    assert "tz_localize('UTC')" in refused(naive)
    assert "did you mean 'as_of'" in refused(good, "asof")
    assert "is no Parquet file" in refused(tmp_path / "text.parquet")
    assert "there is no folder" in refused(good, "as_of", tmp_path / "absent" / "out.parquet")
    assert "what_iff" in refused(good, "as_of", out, "--mode", "what_iff")
    assert not out.exists()


# ---- as a process
def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "feature_assets.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )


def test_a_process_ends_with_the_code_and_prints_nothing_but_the_document(served: Settings) -> None:
    done = run("get", "checkout", "user_id=ada", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["values"]["daily_spend__spend"] == 3.0
    wrong = run("get", "chekout", "user_id=ada")
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.splitlines() == [
        "error (UnknownNameError): project 'shop': unknown service 'chekout'",
        "hint: did you mean 'checkout'?",
    ]
