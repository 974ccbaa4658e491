"""The benches run, in a very small size, and their last line is what it is said to be. How fast is not asked here."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = {"cpus", "python", "system"}

SMALL = {
    "online_read": ("--items", "120", "--rounds", "2"),
    "push": ("--rows", "150", "--dynamodb-rows", "60", "--rounds", "1"),
}
FIGURES = {
    ("online_read", "sqlite"): {f"sqlite, {size} x {views}" for size in (1, 100) for views in (1, 3)},
    ("online_read", "dynamodb"): {f"dynamodb, {size} x {views}" for size in (1, 100) for views in (1, 3)},
    ("push", "sqlite"): {"sqlite, push"},
    ("push", "dynamodb"): {"dynamodb, push"},
}


def printed(*command: str, folder: Path) -> list[str]:
    """What a bench prints, started from another folder than its own."""
    script, *arguments = command
    whole = [sys.executable, str(ROOT / "bench" / f"{script}.py"), *arguments]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=280, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def require_figure(figure: dict[str, Any]) -> None:
    assert {"name", "measured", "limit", "ratio", "unit", "within"} <= set(figure)
    assert figure["measured"] > 0
    assert figure["limit"] > 0
    assert math.isclose(figure["ratio"], figure["measured"] / figure["limit"], rel_tol=1e-4)


@pytest.mark.parametrize(
    ("bench", "store"),
    [
        pytest.param(bench, store, marks=[pytest.mark.server] if store == "dynamodb" else [], id=f"{bench}-{store}")
        for bench, store in FIGURES
    ],
)
def test_the_last_line_is_the_result(bench: str, store: str, tmp_path: Path) -> None:
    (line,) = printed(bench, *SMALL[bench], "--stores", store, "--json", folder=tmp_path)
    result = json.loads(line)
    require_figure(result)
    assert set(result["machine"]) == MACHINE
    assert {figure["name"] for figure in result["figures"]} == FIGURES[bench, store]
    assert result["name"] in FIGURES[bench, store]
    for figure in result["figures"]:
        require_figure(figure)


def test_for_people_there_is_a_table_above_it(tmp_path: Path) -> None:
    *table, line = printed("online_read", *SMALL["online_read"], "--stores", "sqlite", folder=tmp_path)
    names = [figure["name"] for figure in json.loads(line)["figures"]]
    assert [row[: len(name)] for row, name in zip(table[1:], names, strict=True)] == names


def test_windows_are_measured_against_bare_numpy(tmp_path: Path) -> None:
    (line,) = printed("windows", "--quick", "--growth", "--json", folder=tmp_path)
    result = json.loads(line)
    for figure in result["figures"]:
        require_figure(figure)
    names = [figure["name"] for figure in result["figures"]]
    assert names[:3] == [f"windows, {order}" for order in ("in order", "1% late", "20% late")]
    assert len(set(names)) == len(names) == 10


def test_windows_are_read_against_the_bare_client(tmp_path: Path) -> None:
    (line,) = printed("window_read", "--items", "120", "--rounds", "2", "--json", folder=tmp_path)
    result = json.loads(line)
    for figure in result["figures"]:
        require_figure(figure)
    expected = {f"{what}, {size} x {views}" for what in ("sqlite", "decode") for size in (1, 100) for views in (1, 3)}
    assert {figure["name"] for figure in result["figures"]} == expected
    assert result["name"] in expected


def test_items_of_windows_are_weighed(tmp_path: Path) -> None:
    (line,) = printed("item_size", "--quick", "--json", folder=tmp_path)
    result = json.loads(line)
    assert len(result["figures"]) == 8
    assert {figure["name"].split(",")[1] for figure in result["figures"]} == {" usual view", " flights"}
    for figure in result["figures"]:
        require_figure(figure)
        assert 0 < figure["p50_bytes"] <= figure["p95_bytes"] <= figure["max_bytes"]
        assert math.isclose(figure["measured"], figure["p95_bytes"], rel_tol=1e-5)
        assert figure["read_units_p95"] == -(-figure["p95_bytes"] // 4096)
