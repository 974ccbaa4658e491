"""The how-to pages: their code runs and prints what it says, and what they name exists."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from feature_assets.cli import app
from feature_assets_tests.end_to_end.conftest import Cli
from feature_assets_tests.end_to_end.pages import ROOT, blocks_of, promised, run

PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TEXTS = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
COMMANDS |= {str(group.name) for group in app.registered_groups}


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


def test_the_explanation_is_a_real_one(elsewhere: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    page = TEXTS["why_this_value"]
    (command,), (told,) = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("sh", "text"))
    setting, name, *arguments = command.replace("\\\n", " ").split()
    assert name == "feature-assets"
    run(blocks_of(page)[:1], elsewhere, "why_this_value")
    monkeypatch.setenv(*setting.split("="))
    said = cli(*arguments)
    assert said.code == 0, said.stderr
    assert told_alike(said.stdout) == told_alike(told)


def told_alike(text: str) -> list[str]:
    """The lines without what differs from run to run: how fast it ran, versions, sizes, places; and their layout."""
    # An age or a length of time, and the instants of a push and of the question.
    same = re.sub(r"(?<!\d )\b\d\d?:\d\d:\d\d", "so long", text)
    same = re.sub(r"2013-07-11 (06:3|15:0)\d:\d\d", r"2013-07-11 \1", same)
    same = re.sub(r"[\d,]+ bytes", "some bytes", re.sub(r"\b[0-9a-f]{10}\b", "VERSION", same))
    same = re.sub(r"\S*\b(feature_assets/\S+\.py):\d+", r"\1", same)
    lines = (" ".join(line.replace("─", "").split()) for line in same.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_page_names_exists(name: str) -> None:
    assert set(re.findall(r"\bfeature-assets ([a-z][a-z-]*)", TEXTS[name])) <= COMMANDS
