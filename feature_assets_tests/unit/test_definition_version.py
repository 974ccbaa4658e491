"""Versions: what changes them and what does not, across edits, machines and processes.

A small package is written to a fresh folder, imported, asked and forgotten: each folder stands for another machine.
"""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.definition import version as version_module
from feature_assets.definition.code_text import function_text
from feature_assets.definition.entity import Entity
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import service_version, view_version
from feature_assets.definition.view import Expectation, Feature, FeatureView, Function, Sql
from feature_assets.errors import DefinitionError
from feature_assets_tests.weather import REPORTS, SCHEMA, TEMP, no_events, source, view

TRANSFORM = '''
import enum
import functools
import re
from dataclasses import dataclass
from datetime import timedelta

import narwhals as nw
import numpy as np

from acme import limits
from acme.limits import SCALE, clipped
from acme.limits import COLD as FREEZING


class Unit(enum.Enum):
    C = 1.0


@dataclass(frozen=True)
class Rule:
    name: str
    weight: float = 2.0


class Table:
    """A class with a method."""

    FACTOR = 3

    @staticmethod
    def scaled(value):
        return value * Table.FACTOR


WANTED = ("a", "b")
NAMES = {"x": 1}
SEEN = frozenset({"p", "q"})
PATTERN = re.compile("a+")
WEIGHTS = np.array([1.0, 2.0])
RULE = Rule("r")
EXPRESSION = nw.col("temp") * 2
UNUSED = 1
MOST = 9


@functools.cache
def cached(n):
    return n + 1


def outer(limit):
    def inner(value):
        return value + limit
    return inner


ADDED = outer(5)


def even(n):
    return True if n == 0 else odd(n - 1)


def odd(n):
    return False if n == 0 else even(n - 1)


def weather(reports, least: float = 1.0, *, most=MOST, other=9):
    """What is reported."""
    values = (WANTED, NAMES, SEEN, PATTERN, WEIGHTS, RULE, EXPRESSION, Unit.C, SCALE, FREEZING)
    hot = clipped(limits.HOT) + limits.deep.LIMIT + Table.scaled(1) + cached(1) + ADDED(1) + even(2)
    kept = [row for row in values if (lambda one: one is not None)(row)]
    return reports.filter(nw.col("temp") > hot), kept, f"{hot:>{len(kept)}}"
'''

LIMITS = """
import narwhals as nw
from acme import deep

HOT = 30
SCALE = nw.lit(1.5)
COLD = -10


def clipped(value):
    return min(value, ceiling())


def ceiling():
    return 50


def never_called():
    return 0
"""

DEEP = "LIMIT = 7\n"

Ask = Callable[..., str]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """The text of `acme.transform.weather`, after replacing (old, new) pairs in its sources."""
    count = iter(range(1000))

    def ask(*changes: tuple[str, str]) -> str:
        folder = written(tmp_path / str(next(count)), *changes)
        for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
            del sys.modules[name]
        with monkeypatch.context() as patched:
            patched.syspath_prepend(str(folder))
            module = importlib.import_module("acme.transform")
        return function_text(module.weather, "here")

    yield ask
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """A folder with the package `acme`. Every change must have an effect on exactly one place."""
    sources = {"__init__": "", "transform": TRANSFORM, "limits": LIMITS, "deep": DEEP}
    for old, new in changes:
        found = [name for name, source in sources.items() if source.count(old) == 1]
        assert len(found) == 1, old
        sources[found[0]] = sources[found[0]].replace(old, new)
    package = folder / "acme"
    package.mkdir(parents=True)
    for name, code in sources.items():
        (package / f"{name}.py").write_text(code, encoding="utf-8")
    return folder


MEANS_ANOTHER = {
    "its body": ("> hot)", ">= hot)"),
    "a lambda in it": ("one is not None", "one is None"),
    "a default": ("least: float = 1.0", "least: float = 1.5"),
    "a keyword default": ("other=9", "other=8"),
    "a default by name": ("MOST = 9", "MOST = 8"),
    "a format": (":>{", ":<{"),
    "a tuple": ('("a", "b")', '("a", "c")'),
    "a dict": ('{"x": 1}', '{"x": 2}'),
    "a set": ('{"p", "q"}', '{"p", "r"}'),
    "a pattern": ('"a+"', '"b+"'),
    "an array": ("np.array([1.0, 2.0])", "np.array([1.0, 2.5])"),
    "an array's dtype": ("np.array([1.0, 2.0])", "np.array([1, 2])"),
    "a dataclass instance": ('RULE = Rule("r")', 'RULE = Rule("s")'),
    "a dataclass default": ("weight: float = 2.0", "weight: float = 3.0"),
    "an expression": ('nw.col("temp") * 2', 'nw.col("temp") * 3'),
    "an imported expression": ("nw.lit(1.5)", "nw.lit(2.5)"),
    "an enum": ("C = 1.0", "C = 2.0"),
    "a constant of another module": ("HOT = 30", "HOT = 31"),
    "a constant under another name": ("COLD = -10", "COLD = -11"),
    "a constant two modules away": ("LIMIT = 7", "LIMIT = 8"),
    "a helper": ("min(value", "max(value"),
    "a helper's helper": ("return 50", "return 51"),
    "a class's constant": ("FACTOR = 3", "FACTOR = 4"),
    "a method": ("value * Table", "value + Table"),
    "a cached function": ("return n + 1", "return n + 2"),
    "a closure": ("return value + limit", "return value - limit"),
    "a closed-over value": ("ADDED = outer(5)", "ADDED = outer(6)"),
    "one of two that call each other": ("return False if n == 0", "return True if n == 0"),
}  # fmt: skip

MEANS_THE_SAME = {
    "a comment": ("HOT = 30", "HOT = 30  # degrees"),
    "white space": ('reports.filter(nw.col("temp") > hot)', 'reports.filter(\n        nw.col("temp")   > hot\n    )'),
    "quotes": ('nw.col("temp") > hot', "nw.col('temp') > hot"),
    "a docstring": ('"""What is reported."""', '"""What was reported."""'),
    "no docstring": ('    """What is reported."""\n', ""),
    "a class's docstring": ('"""A class with a method."""', '"""A class."""'),
    "an annotation": ("least: float", "least: int"),
    "a return annotation": ("def ceiling():", "def ceiling() -> int:"),
    "lines before": ("import enum", "'''Text.'''\n\n\nimport enum"),
    "what is not used": ("UNUSED = 1", "UNUSED = 2"),
    "a function that is not used": ("return 0", "return 1"),
    "how a number is written": ("HOT = 30", "HOT = 0b11110"),
    "how a constant comes about": ("HOT = 30", "HOT = sum([10, 20])"),
}


@pytest.mark.parametrize("change", MEANS_ANOTHER.values(), ids=MEANS_ANOTHER)
def test_a_change_of_meaning_changes_the_text(text: Ask, change: tuple[str, str]) -> None:
    assert text(change) != text()


@pytest.mark.parametrize("change", MEANS_THE_SAME.values(), ids=MEANS_THE_SAME)
def test_a_change_of_form_does_not(text: Ask, change: tuple[str, str]) -> None:
    assert text(change) == text()


def test_its_own_name_does_not_matter(text: Ask) -> None:
    last = 'f"{hot:>{len(kept)}}"'
    assert text(("def weather(", "def climate("), (last, f"{last}\n\n\nweather = climate")) == text()


def test_the_text_has_nothing_of_the_machine(text: Ask, tmp_path: Path) -> None:
    found = text()
    assert str(tmp_path) not in found
    assert "0x" not in found
    assert "acme" not in found.replace("attr='deep'", "")


def test_the_same_in_every_process(tmp_path: Path) -> None:
    program = (
        "from acme.transform import weather\n"
        "from feature_assets.definition.version import view_version\n"
        "from feature_assets_tests.weather import view\n"
        "print(view_version(view(weather)))\n"
    )
    here = Path(version_module.__file__).parents[2]
    found = set()
    for seed in ("1", "2"):
        folder = written(tmp_path / seed)
        path = os.pathsep.join([str(folder), str(here)])
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path, "TZ": f"UTC+{seed}"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert len(found.pop()) == 10


def test_a_function_of_a_session_is_refused() -> None:
    scope: dict[str, Function] = {}
    exec("def weather(reports):\n    return reports", scope)  # noqa: S102 - what a session does
    made = view(scope["weather"])
    with pytest.raises(
        DefinitionError, match="FeatureView 'weather': transform: function 'weather' has no source"
    ) as caught:
        view_version(made)
    assert str(made.place) in str(caught.value)
    assert "put the function and what it uses into a module" in str(caught.value)


class Opaque:
    """Says nothing of what it holds."""


def test_a_closed_over_value_that_cannot_be_told_is_refused() -> None:
    secret = Opaque()

    def weather(reports: Function) -> object:
        return reports, secret

    with pytest.raises(DefinitionError, match="refers to a value of type Opaque, whose content cannot be told"):
        view_version(view(weather))


def test_two_lambdas_of_one_line_are_told_apart() -> None:
    one, other = (lambda reports: reports.drop("n")), (lambda reports: reports.drop("m"))
    assert function_text(one, "") != function_text(other, "")
    assert "'n'" in function_text(one, "")
    assert "'m'" not in function_text(one, "")


SELECT = "SELECT airport, event_at, temp FROM reports"

CHANGES = {
    "name": view(name="climate"),
    "key": view(entity=Entity("airport", {"code": pa.string()})),
    "key dtype": view(entity=Entity("airport", {"airport": pa.binary()})),
    "feature": view(features=[Feature("temperature", pa.float64())]),
    "dtype": view(features=[Feature("temp", pa.float32())]),
    "more": view(features=[TEMP, Feature("n", pa.int64())]),
    "order": view(order_by="n"),
    "lookback": view(lookback=timedelta(days=1)),
    "buckets": view(buckets=32),
    "source": view(sources=source(name="observations")),
    "schema": view(sources=source(schema=SCHEMA.append(pa.field("wind", pa.float64())))),
    "arrival": view(sources=source(arrived_at="event_at")),
    "sql": view(Sql(SELECT)),
}

KEEPS = {
    "ttl": view(ttl=timedelta(days=1)),
    "delay": view(delay=timedelta(hours=1)),
    "schedule": view(schedule="@hourly"),
    "revisit": view(revisit=3),
    "freshness": view(freshness=timedelta(days=1)),
    "expectations": view(expectations=[Expectation("expect_column_values_to_not_be_null", "temp")]),
    "online": view(online=False),
    "words": view(description="a", owner="b", tags={"c": "d"}),
    "feature words": view(features=[Feature("temp", pa.float64(), 0.0, "degrees")]),
    "entity words": view(entity=Entity("place", {"airport": pa.string()}, "IATA")),
    "reader": view(sources=source(reader=lambda *period: no_events(*period).slice(0))),
    "days": view(sources=source(start=date(2020, 1, 1), end=date(2030, 1, 1), future_tolerance=timedelta(0))),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_what_determines_values_changes_the_version(changed: FeatureView) -> None:
    assert view_version(changed) != view_version(view())


@pytest.mark.parametrize("changed", KEEPS.values(), ids=KEEPS)
def test_what_does_not_keeps_it(changed: FeatureView) -> None:
    assert view_version(changed) == view_version(view())


def test_versions_differ_from_one_another() -> None:
    versions = [view_version(changed) for changed in CHANGES.values()]
    assert len(set(versions)) == len(CHANGES)
    assert all(len(version) == 10 and set(version) <= set("0123456789abcdef") for version in versions)


def test_sql_in_another_form_has_the_same_version() -> None:
    assert view_version(view(Sql(SELECT))) == view_version(
        view(Sql("  SELECT airport,\n event_at, temp FROM reports -- x\n;"))
    )
    assert view_version(view(Sql(SELECT))) != view_version(view(Sql(SELECT.replace("temp", "n AS temp"))))


def test_another_minor_version_of_a_library_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_libraries(**versions: str) -> tuple[str, str]:
        monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name, "1.2.3"))
        view_version.cache_clear()
        return view_version(view()), view_version(view(Sql(SELECT)))

    base = with_libraries()
    assert with_libraries(narwhals="1.2.9", pyarrow="1.2.9", duckdb="1.2.9") == base
    assert with_libraries(pyarrow="1.3.0") != base
    assert with_libraries(narwhals="1.3.0")[0] != base[0]
    assert with_libraries(narwhals="1.3.0")[1] == base[1]
    assert with_libraries(duckdb="1.3.0") == (base[0], with_libraries(duckdb="1.3.0")[1])
    assert with_libraries(duckdb="1.3.0")[1] != base[1]
    monkeypatch.undo()
    view_version.cache_clear()


def plus(columns: Mapping[str, pa.Array], _as_of: pa.Array) -> Mapping[str, pa.Array]:
    return columns


def minus(columns: Mapping[str, pa.Array], as_of: pa.Array) -> Mapping[str, pa.Array]:
    return {**columns, "as_of": as_of}


def test_a_service_has_the_version_of_its_vector() -> None:
    field = RequestField("n", pa.int64())
    plan = OnDemandView("plan", [field], ["weather__temp"], function=plus, features=[Feature("x", pa.float64())])

    def version(*features: object, name: str = "vector") -> str:
        return service_version(FeatureService(name, features))  # type: ignore[arg-type] # mixed on purpose

    base = version(view(), plan)
    assert version(view(), plan) == base
    assert version(view(delay=timedelta(hours=1)), dataclasses.replace(plan, description="x")) == base
    others = [
        version(view(), plan, name="other"),
        version(plan, view()),
        version(view()),
        version(view(), view().alias("to"), plan),
        version(view(), view().alias("to", airport="dest"), plan),
        version(view(buckets=4), plan),
        version(view(ttl=timedelta(days=1)), plan),
        version(view(features=[Feature("temp", pa.float64(), 0.0)]), plan),
        version(view(), dataclasses.replace(plan, function=minus)),
        version(view(), dataclasses.replace(plan, request=())),
        version(view(), dataclasses.replace(plan, features=(Feature("x", pa.float32()),))),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_the_example_has_stable_versions() -> None:
    assert view_version(view()) == view_version(view(sources=[REPORTS]))
