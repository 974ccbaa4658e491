"""The how-to pages: their code runs and prints what it says, and what they name exists."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from feature_assets.cli import app
from feature_assets_tests.end_to_end.pages import ROOT, blocks_of, promised, run

PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
COMMANDS |= {
    group.name or (group.typer_instance.info.name if group.typer_instance else "") for group in app.registered_groups
}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, as a newcomer has, on the machine's clock."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if blocks_of(text)])
def test_the_code_runs_and_prints_what_its_comments_say(
    name: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = blocks_of(TEXTS[name])
    expected = promised(blocks)
    run(blocks, elsewhere, name)
    assert capsys.readouterr().out.splitlines() == expected


def test_the_report_of_the_midnight_job_is_a_page(elsewhere: Path) -> None:
    run(blocks_of(TEXTS["midnight_job"]), elsewhere, "midnight_job")
    root = ET.fromstring((elsewhere / "leakage.html").read_text(encoding="utf-8"))  # noqa: S314 - our own page
    assert [one.text for one in root.iter("a")] == ["daily_orders__orders"]


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_page_names_exists(name: str) -> None:
    assert set(re.findall(r"\bfeature-assets ([a-z][a-z-]*)", TEXTS[name])) <= COMMANDS
