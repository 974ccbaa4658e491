"""The README and the operations page: their code runs and prints what it says, and what they name exists."""

import re
from pathlib import Path

import pytest
import typer
from dagster import AssetKey
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import initialize_repository_def_from_pointer

from feature_assets.cli import app, maintenance
from feature_assets_tests.end_to_end.conftest import Cli
from feature_assets_tests.end_to_end.pages import ROOT, blocks_of, promised, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = blocks_of(README)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, as a newcomer has, on the machine's clock."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_runs_and_prints_what_its_comments_say(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = promised(BLOCKS)
    run(BLOCKS, elsewhere, "readme")
    assert capsys.readouterr().out.splitlines() == expected


def test_the_definition_is_about_twenty_lines() -> None:
    tour = BLOCKS[0].split("\norders = ")[1]
    assert len(tour.splitlines()) <= 20


def test_the_definition_in_a_file_of_its_own_is_what_dagster_shows(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "FEATURE_ASSETS_PROJECT=my_features:project" in README
    (elsewhere / "my_features.py").write_text(BLOCKS[0], encoding="utf-8")
    monkeypatch.setenv("FEATURE_ASSETS_PROJECT", "my_features:project")
    monkeypatch.syspath_prepend(elsewhere)
    pointer = CodePointer.from_module("feature_assets.definitions", "defs", None)
    repository = initialize_repository_def_from_pointer(pointer)
    assert set(repository.asset_graph.get_all_asset_keys()) == {
        AssetKey(["events", "orders"]),
        AssetKey(["features", "daily_spend"]),
        AssetKey(["online", "daily_spend"]),
    }
    assert {key.name for key in repository.asset_graph.asset_check_keys} == {"expectations", "read_back"}


def commands() -> list[str]:
    return [*names_of(app), *(str(group.name) for group in app.registered_groups)]


def names_of(group: typer.Typer) -> list[str]:
    return [str(command.name or getattr(command.callback, "__name__", "")) for command in group.registered_commands]


@pytest.mark.parametrize("page", [README, OPERATIONS], ids=["README", "operations"])
def test_every_make_target_and_command_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", page, re.MULTILINE)) <= targets
    named = set(re.findall(r"\bfeature-assets ([a-z][a-z-]*)", page))
    assert named
    assert named <= set(commands())
    of_group = set(re.findall(r"\bmaintenance ([a-z]+)", page))
    assert of_group <= set(names_of(maintenance.group))


def test_the_table_of_commands_is_whole_and_its_options_exist(cli: Cli) -> None:
    section = OPERATIONS.split("## The command line")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for row in rows:
        for words in re.findall(r"`([^`]+)`", row.split(" | ")[0]):
            name, *more = words.split()
            named.add(name)
            told = cli(name, *(word for word in more[:1] if name == "maintenance"), "--help").stdout
            for option in re.findall(r"(?<![\w-])--?[a-z-]+", row):
                assert option in told, f"{name}: {option}"
    assert named == set(commands())


@pytest.mark.parametrize(
    "page",
    sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target
