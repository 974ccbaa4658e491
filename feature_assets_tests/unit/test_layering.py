"""The shape of the package, read from its syntax trees: who may import whom, and what stands nowhere.

Every import counts, also one inside a function or for types alone. The checker is proven on small trees that break one
rule each, so a rule that has stopped working is seen. It does not follow names through variables or `getattr`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import feature_assets

PACKAGE = Path(feature_assets.__file__).parent

ORDER = (
    {"errors", "clock", "settings", "priority", "crash"},
    {"definition"},
    {"compute"},
    {"offline"},
    {"online"},
    {"training"},
    {"stream"},
    {"serving"},
    {"quality"},
    {"retraining"},
    {"opening"},
    {"store"},
    {"modelling"},
    {""},  # the package's own __init__: the public surface
    {"examples", "testing"},
    {"orchestration"},
    {"definitions"},
    {
        "cli",
        "examples.flights.demo",
        "examples.flights.demo_serving",
        "examples.flights.demo_summary",
    },  # the demo is a program, not a definition
    {"__main__"},
)
"""Everything directly under the package, from the ground up: each imports its own row and the rows above it here.

A module deeper down has the place of what it is in, unless it has one of its own.
"""

RANK = {name: rank for rank, row in enumerate(ORDER) for name in row}

PLACES = {
    "dagster": ("orchestration/*", "definitions.py"),
    "dagster_aws": ("orchestration/*", "definitions.py"),
    "boto3": ("online/dynamodb*.py", "stream/kinesis.py"),
    "botocore": ("online/dynamodb*.py", "stream/kinesis.py"),
    **dict.fromkeys(("pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"), ()),
}
"""Where a foreign package may be imported; nowhere, if no place is given."""

VAGUE = {"common", "helper", "helpers", "misc", "util", "utils"}

NOW = {
    *((kind, "now") for kind in ("datetime", "Timestamp")),
    *((kind, "utcnow") for kind in ("datetime", "Timestamp")),
    *((kind, "today") for kind in ("datetime", "date", "Timestamp")),
    ("time", "time"),
    ("time", "time_ns"),
}
"""What reads the wall clock. Monotonic clocks are free: they measure how long, not when."""


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. `name` is dotted and starts with the package's; a package has the name of its folder."""

    path: Path
    name: str
    tree: ast.Module

    @property
    def below(self) -> str:
        """The name below the package; empty for the package's own `__init__`."""
        return self.name.partition(".")[2]

    @property
    def rank(self) -> int | None:
        """The row of `ORDER` that the module or the nearest package around it stands in."""
        name = self.below
        while name and name not in RANK:
            name = name.rpartition(".")[0]
        return RANK.get(name) if name or not self.below else None


def modules(package: Path) -> dict[str, Module]:
    """Every module under the folder `package`, by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(path.relative_to(package), name, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported; `from a import b` gives `a.b`."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=source, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parents, *([source] if source else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def violations(package: Path) -> list[str]:
    """Everything in the tree that breaks a rule, as `path:line: what`."""
    tree = modules(package)
    found: list[str] = []
    edges: dict[str, set[str]] = {}
    for module in tree.values():
        found += _shape(module)
        found += _words(module)
        for line, name in imports(module):
            target = _module_of(name, tree)
            if name.partition(".")[0] != package.name:
                found += _foreign(module, line, name)
            elif target is None:
                found.append(f"{module.path}:{line}: imports {name}, which does not exist")
            else:
                found += _order(module, line, target)
                edges.setdefault(module.name, set()).add(target.name)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as cycle:
        found.append(f"modules import one another in a circle: {' -> '.join(cycle.args[1])}")
    return list(dict.fromkeys(found))


def _module_of(name: str, tree: dict[str, Module]) -> Module | None:
    """The module that importing `name` reads from: the one of that name, or the one that has its last part in it."""
    return tree.get(name) or tree.get(name.rpartition(".")[0])


def _shape(module: Module) -> Iterator[str]:
    if ast.get_docstring(module.tree) is None:
        yield f"{module.path}:1: no docstring"
    if VAGUE & set(module.name.split(".")):
        yield f"{module.path}:1: a name that says nothing"
    if module.rank is None:
        yield f"{module.path}:1: {module.below!r} has no place in the order of the stages; give it one"


def _foreign(module: Module, line: int, name: str) -> Iterator[str]:
    places = PLACES.get(name.partition(".")[0])
    if places is not None and not any(fnmatch(module.path.as_posix(), place) for place in places):
        yield f"{module.path}:{line}: imports {name}, allowed in {', '.join(places) or 'no place'}"


def _order(module: Module, line: int, target: Module) -> Iterator[str]:
    if module.rank is not None and target.rank is not None and target.rank > module.rank:
        yield f"{module.path}:{line}: imports {target.name}, which comes later"
    if target.below.startswith("testing") and not module.below.startswith("testing"):
        yield f"{module.path}:{line}: imports {target.name}, a tool for tests"


def _words(module: Module) -> Iterator[str]:
    """Calls and names that stand nowhere, or in one place only."""
    at_clock = module.path.as_posix() == "clock.py"
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "eval" | "exec" as word)):
                yield f"{module.path}:{node.lineno}: calls {word}"
            case ast.Call(keywords=keywords) if any(word.arg == "allow_pickle" for word in keywords):
                yield f"{module.path}:{node.lineno}: allows pickle"
            case ast.Attribute(attr="to_pickle" | "read_pickle" as word):
                yield f"{module.path}:{node.lineno}: uses {word}"
            case ast.Attribute(value=ast.Name(id=kind) | ast.Attribute(attr=kind), attr=word):
                if (kind, word) in NOW and not at_clock:
                    yield f"{module.path}:{node.lineno}: {kind}.{word} reads the clock outside clock.py"
            case ast.ImportFrom(module="time", names=names) if not at_clock:
                for alias in names:
                    if ("time", alias.name) in NOW:
                        yield f"{module.path}:{node.lineno}: time.{alias.name} reads the clock outside clock.py"


def test_the_package_keeps_its_shape() -> None:
    found = violations(PACKAGE)
    assert not found, "\n" + "\n".join(found)


SOUND = {
    "__init__.py": "from pkg.store import Store",
    "clock.py": "from datetime import UTC, datetime\ndef now(): return datetime.now(tz=UTC)",
    "errors.py": "",
    "definition/__init__.py": "from pkg.definition.view import View",
    "definition/view.py": "from pkg.errors import Oops",
    "offline/__init__.py": "",
    "offline/table.py": "import time\nfrom ..definition import View\nstarted = time.monotonic()",
    "online/__init__.py": "",
    "online/dynamodb_read.py": "import boto3\nfrom botocore.config import Config",
    "store.py": "from pkg.offline import table",
    "orchestration/__init__.py": "",
    "orchestration/assets.py": "import dagster as dg\nimport pkg",
    "testing/__init__.py": "",
    "testing/faulty.py": "from pkg.online import dynamodb_read",
    "examples/__init__.py": "",
    "examples/flights/__init__.py": "import pkg",
    "examples/flights/demo.py": "from pkg.orchestration import assets",
    "cli.py": "def ui():\n    from pkg.orchestration import assets\n    from pkg.examples.flights import demo",
}

BROKEN = {
    "a later stage": (
        {"definition/view.py": "from pkg.offline.table import read"},
        "view.py:2: imports pkg.offline.table",
    ),
    "a later stage, inside a function": (
        {"offline/table.py": "def f():\n    from pkg import orchestration"},
        "table.py:3: imports pkg.orchestration, which comes later",
    ),
    "a later stage, relative": ({"definition/view.py": "from ..offline import table"}, "imports pkg.offline.table"),
    "a later stage, by name": (
        {"offline/table.py": "import importlib\nimportlib.import_module('pkg.online.dynamodb_read')"},
        "table.py:3: imports pkg.online.dynamodb_read",
    ),
    "the public surface from within": ({"offline/table.py": "from pkg import Store"}, "table.py:2: imports pkg, which"),
    "the ground floor looking up": ({"errors.py": "import pkg.definition"}, "errors.py:2: imports pkg.definition"),
    "an example looking up": (
        {"examples/flights/view.py": "from pkg.examples.flights import demo"},
        "view.py:2: imports pkg.examples.flights.demo, which comes later",
    ),
    "a test tool in the product": ({"cli.py": "from pkg.testing import faulty"}, "imports pkg.testing.faulty, a tool"),
    "dagster in the core": ({"offline/table.py": "from dagster import asset"}, "imports dagster.asset, allowed in"),
    "dagster in the command line": (
        {"cli.py": "def f():\n    import dagster._core"},
        "cli.py:3: imports dagster._core",
    ),
    "boto3 beside its file": ({"online/item.py": "import boto3"}, "online/item.py:2: imports boto3"),
    "boto3 in orchestration": ({"orchestration/assets.py": "import boto3"}, "assets.py:2: imports boto3"),
    "a module that is gone": (
        {"store.py": "from pkg.offline.gone import f"},
        "pkg.offline.gone.f, which does not exist",
    ),
    "pickle": ({"orchestration/assets.py": "import pickle"}, "imports pickle, allowed in no place"),
    "pickle through numpy": ({"offline/table.py": "np.load(f, allow_pickle=True)"}, "table.py:2: allows pickle"),
    "pickle through pandas": ({"offline/table.py": "df.to_pickle(f)"}, "table.py:2: uses to_pickle"),
    "a circle": (
        {"offline/a.py": "from pkg.offline import b", "offline/b.py": "from pkg.offline.a import f"},
        "in a circle: pkg.offline.",
    ),
    "a circle through the package": (
        {"offline/__init__.py": "from pkg.offline.a import f", "offline/a.py": "from pkg.offline import f"},
        "in a circle: pkg.offline",
    ),
    "a vague name": ({"offline/utils.py": ""}, "offline/utils.py:1: a name that says nothing"),
    "a vague package": ({"offline/common/__init__.py": ""}, "a name that says nothing"),
    "a newcomer without a place": ({"extra.py": ""}, "extra.py:1: 'extra' has no place"),
    "print": ({"cli.py": "print(1)"}, "cli.py:2: calls print"),
    "eval": ({"cli.py": "x = eval('1')"}, "cli.py:2: calls eval"),
    "the wall clock": ({"errors.py": "import datetime\ndatetime.datetime.now()"}, "errors.py:3: datetime.now reads"),
    "the wall clock, handed on": ({"errors.py": "field(default_factory=datetime.utcnow)"}, "datetime.utcnow reads"),
    "the wall clock, through pandas": ({"errors.py": "pd.Timestamp.now()"}, "Timestamp.now reads the clock"),
    "the wall clock, as a number": ({"errors.py": "import time\ntime.time()"}, "errors.py:3: time.time reads"),
    "the wall clock, renamed": ({"errors.py": "from time import time as t"}, "errors.py:2: time.time reads"),
    "a second clock": ({"offline/clock.py": "from datetime import datetime\ndatetime.now()"}, "offline/clock.py:3"),
}


def _written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""{name}."""\n{text}\n', encoding="utf-8")
    return folder / "pkg"


def test_a_sound_tree_has_no_violations(tmp_path: Path) -> None:
    assert violations(_written(tmp_path, SOUND)) == []


@pytest.mark.parametrize(("changes", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_found(changes: dict[str, str], expected: str, tmp_path: Path) -> None:
    found = violations(_written(tmp_path, SOUND | changes))
    assert any(expected in line for line in found), found


def test_a_missing_docstring_is_found(tmp_path: Path) -> None:
    package = _written(tmp_path, SOUND)
    (package / "errors.py").write_text("# nothing said\n", encoding="utf-8")
    assert violations(package) == ["errors.py:1: no docstring"]
