"""A function as text: what it does, whoever runs it and wherever, and whatever it is called.

Invariant: two functions with the same text compute the same, given the same libraries. The text holds the syntax trees
of the function and of the functions, classes and constants of its own top-level package that it refers to, directly or
not. White space, comments, docstrings and annotations are not in it; neither are paths, line numbers, ids or hashes.
It does not look into other packages: those stand in it by name.
"""

import ast
import dataclasses
import functools
import linecache
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from importlib.util import resolve_name
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa

from feature_assets.definition import syntax
from feature_assets.errors import DefinitionError

_AS_WRITTEN: Final = (
    type(None), bool, int, float, complex, str, bytes, date, time, timedelta, tzinfo, Decimal, PurePath,
    type(...), range, slice, pa.DataType, pa.Field,
)  # fmt: skip
"""Types whose `repr` says all of a value, the same in every process."""


_T = TypeVar("_T")


def function_text(function: Callable[..., Any], where: str) -> str:
    """The text of a function. Raises `DefinitionError`, beginning with `where`, if there is no way to know it."""
    return _Reader(package=_package_of(_innermost(function)), where=where).value(function)


def _innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """The innermost function of partials and cached functions."""
    while True:
        inner = function.func if isinstance(function, functools.partial) else getattr(function, "__wrapped__", None)
        if inner is None:
            return function
        function = inner


def _package_of(value: object) -> str:
    """The top-level package that something was defined in; a session and a script are packages of their own."""
    return str(getattr(value, "__module__", None) or "__main__").partition(".")[0]


class _Reader:
    """Writes values as text; remembers what it has written, so that recursion ends."""

    def __init__(self, package: str, where: str) -> None:
        self._package = package
        self._where = where
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []

    def value(self, value: object, assigned: Callable[[], str] | None = None) -> str:
        """The text of a value; `assigned` tells how it was made, if the value does not."""
        for written in (self._plain, self._collection, self._array, self._foreign, self._code, self._instance):
            text = written(value)
            if text is not None:
                return text
        if assigned is not None:
            return assigned()
        raise self._refused(f"refers to a value of type {type(value).__name__}, whose content cannot be told")

    def _plain(self, value: object) -> str | None:
        if isinstance(value, Enum):
            return f"{type(value).__qualname__}.{value.name}={self.value(value.value)}"
        return f"{type(value).__name__}:{value!r}" if isinstance(value, _AS_WRITTEN) else None

    def _collection(self, value: object) -> str | None:
        if isinstance(value, tuple | list):
            return f"{type(value).__name__}({','.join(self.value(item) for item in value)})"
        if isinstance(value, Mapping):
            return f"map({','.join(f'{self.value(key)}:{self.value(item)}' for key, item in value.items())})"
        if isinstance(value, set | frozenset):
            return f"set({','.join(sorted(self.value(item) for item in value))})"
        return None

    def _array(self, value: object) -> str | None:
        if isinstance(value, re.Pattern):
            return f"pattern({value.pattern!r},{int(value.flags)})"
        if isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            return f"array({value.dtype.str},{value.shape},{value.tobytes().hex()})"
        if isinstance(value, pa.Schema):
            return f"schema({','.join(f'{field.name}:{field.type}' for field in value)})"
        return None

    def _foreign(self, value: object) -> str | None:
        """What belongs to another package stands by its name."""
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        name = getattr(value, "__qualname__", None)
        if isinstance(name, str) and _package_of(value) != self._package and "<locals>" not in name:
            return f"name {getattr(value, '__module__', None)}.{name}"
        return None

    def _is_own(self, module: str) -> bool:
        return module.partition(".")[0] == self._package

    def _once(self, value: _T, write: Callable[[_T], str]) -> str:
        """The text of a function or class the first time, a number after that."""
        if id(value) in self._seen:
            return f"seen {self._seen[id(value)]}"
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        return write(value)

    def _code(self, value: object) -> str | None:
        if isinstance(value, functools.partial):
            return f"partial({self.value(value.func)},{self.value(value.args)},{self.value(value.keywords)})"
        if isinstance(value, FunctionType):
            return self._once(value, self._function)
        return self._once(value, self._class) if isinstance(value, type) else None

    def _instance(self, value: object) -> str | None:
        if hasattr(value, "__wrapped__"):
            return self.value(value.__wrapped__)
        if not dataclasses.is_dataclass(value):
            return None
        compared = (field.name for field in dataclasses.fields(value) if field.compare)
        fields = ",".join(f"{name}={self.value(getattr(value, name))}" for name in compared)
        return f"{type(value).__qualname__}({fields})"

    def _function(self, function: FunctionType) -> str:
        code = function.__code__
        tree = self._tree(code.co_filename, function.__globals__, f"function {function.__qualname__!r}")
        nodes = syntax.definitions_of(tree, code)
        if not nodes:
            raise self._refused(f"function {function.__qualname__!r} is not where it was read from, {code.co_filename}")
        closed = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        names = _global_names(code) | closed.keys()
        scope = {name: cell.cell_contents for name, cell in closed.items() if syntax.is_filled(cell)}
        defaults = self.value((function.__defaults__, function.__kwdefaults__))
        texts = [syntax.dumped(node) for node in nodes]
        found = self._references(nodes, names, scope, function.__globals__)
        return f"def({';'.join(texts)},{defaults},{','.join(found)})"

    def _class(self, owner: type) -> str:
        module = sys.modules.get(owner.__module__)
        scope = vars(module) if module is not None else {}
        tree = self._tree(str(scope.get("__file__", "")), scope, f"class {owner.__qualname__!r}")
        node = syntax.class_of(tree, owner.__qualname__)
        if node is None:
            raise self._refused(f"class {owner.__qualname__!r} is not in the source of {owner.__module__}")
        names = {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}
        return f"class({syntax.dumped(node)},{','.join(self._references([node], names, {}, scope))})"

    def _references(
        self, nodes: list[ast.AST], names: set[str], scope: Mapping[str, object], module: Mapping[str, Any]
    ) -> Iterator[str]:
        """`name=value` of what the nodes refer to, in the order of the text."""
        done: set[tuple[str, ...]] = set()
        for chain in (chain for node in nodes for chain in syntax.chains(node)):
            root = chain[0]
            if root not in names or (root not in scope and root not in module):
                continue
            value, taken, owner = scope.get(root, module.get(root)), 1, module
            while isinstance(value, ModuleType) and self._is_own(value.__name__) and taken < len(chain):
                owner, value, taken = vars(value), getattr(value, chain[taken], None), taken + 1
            path = chain[:taken]
            if path not in done:
                done.add(path)
                local = root in scope
                assigned = None if local else functools.partial(self._assignment, path[-1], owner)
                yield f"{'.'.join(path)}={self.value(value, assigned)}"

    def _assignment(self, name: str, module: Mapping[str, Any]) -> str:
        """How a module-level name was made: the expression that it was given, and what that refers to."""
        tree = self._tree(str(module.get("__file__", "")), module, f"name {name!r}")
        expression = syntax.assigned_to(tree, name)
        if expression is not None:
            names = {found.id for found in ast.walk(expression) if isinstance(found, ast.Name)} - {name}
            found = self._references([expression], names, {}, module)
            return f"as({syntax.dumped(expression)},{','.join(found)})"
        origin = syntax.imported_from(tree, name)
        if origin is not None:
            source = sys.modules.get(resolve_name(origin[0], str(module.get("__package__") or "")))
            if source is not None:
                return self._assignment(origin[1], vars(source)) if self._is_own(source.__name__) else "imported"
        kind = type(module.get(name)).__name__
        raise self._refused(f"refers to {name!r} of type {kind}, whose content cannot be told")

    def _tree(self, file: str, module: Mapping[str, Any], what: str) -> ast.Module:
        linecache.checkcache(file)
        lines = linecache.getlines(file, dict(module))
        if not lines:
            raise self._refused(f"{what} has no source; it was defined in an interactive session or by exec")
        return syntax.parsed("".join(lines))

    def _refused(self, what: str) -> DefinitionError:
        hint = (
            "put the function and what it uses into a module; constants are numbers, text, tuples, dicts, dataclasses"
        )
        return DefinitionError(f"{self._where}: {what}", hint=hint)


def _global_names(code: CodeType) -> set[str]:
    """The names that a function and the functions inside it look up outside of themselves (and those of attributes)."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return {*code.co_names, *(name for one in inner for name in _global_names(one))}
