"""Syntax trees: finding a definition in one, and writing one as text.

Invariant: the text is the same for the same code under every supported version of Python; `ast.dump` is not.
It does not know what names stand for: see `code_text`.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from types import CellType, CodeType
from typing import Final

_SILENT: Final = frozenset({"annotation", "returns", "type_comment", "type_ignores", "type_params", "kind", "ctx"})
"""Fields that do not change what code does."""
_DOCUMENTED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)

Span = tuple[int, int, int, int]


@lru_cache(maxsize=64)
def parsed(source: str) -> ast.Module:
    """The tree of a module's source."""
    return ast.parse(source)


def dumped(node: ast.AST) -> str:
    """A tree as text, without positions, comments, docstrings, annotations and the name of the outermost definition."""
    fields = [part for part in _fields(node) if not (part.startswith("name=") and isinstance(node, _DOCUMENTED))]
    return f"{type(node).__name__}({','.join(fields)})"


def _fields(node: ast.AST) -> Iterator[str]:
    for name, value in ast.iter_fields(node):
        if name in _SILENT or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            yield f"{name}={_written(value[1:])}"
        elif name == "values" and isinstance(node, ast.JoinedStr):
            # Python 3.12 has empty constants in nested format specifications; others have none.
            yield f"{name}={_written([part for part in value if not _is_empty_text(part)])}"
        else:
            yield f"{name}={_written(value)}"


def _is_empty_text(node: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _written(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(_written(item) for item in value)}]"
    if isinstance(value, ast.AST):
        return f"{type(value).__name__}({','.join(_fields(value))})"
    return repr(value)


def definitions_of(tree: ast.Module, code: CodeType) -> list[ast.AST]:
    """The definition that `code` was compiled from. Empty if none is; all lambdas of a line if they look alike."""
    if code.co_name != "<lambda>":
        return [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == code.co_name
            and min([node.lineno, *(one.lineno for one in node.decorator_list)]) == code.co_firstlineno
        ]
    lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    inside = [node for node in lambdas if _contains(node, code)]
    return [min(inside, key=_length)] if inside else list[ast.AST](lambdas)


def class_of(tree: ast.Module, qualname: str) -> ast.ClassDef | None:
    """The class with that qualified name."""
    body: list[ast.stmt] = tree.body
    found: ast.ClassDef | None = None
    for name in qualname.split("."):
        found = next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
        if found is None:
            return None
        body = found.body
    return found


def assigned_to(tree: ast.Module, name: str) -> ast.expr | None:
    """The last expression that is assigned to a name at the top of a module."""
    found: ast.expr | None = None
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            found = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else found
    return found


def imported_from(tree: ast.Module, name: str) -> tuple[str, str] | None:
    """The module (relative ones with dots) and the name there of what a module imports as `name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return "." * node.level + (node.module or ""), alias.name
    return None


def chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every name that is read in a tree, with the attributes that are taken of it: `a.b.c` is ("a", "b", "c")."""
    if isinstance(node, ast.Attribute | ast.Name):
        chain = _chain(node)
        if chain is not None:
            yield chain
            return
    for child in ast.iter_child_nodes(node):
        yield from chains(child)


def is_filled(cell: CellType) -> bool:
    """Whether a closure's cell holds a value."""
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _chain(node: ast.expr) -> tuple[str, ...] | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def _contains(node: ast.Lambda, code: CodeType) -> bool:
    """Whether all of a code object's positions lie inside a lambda."""
    start, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    spans = [span for span in code.co_positions() if None not in span and span[2:] != (0, 0)]
    return bool(spans) and all(start <= (a or 0, c or 0) and (b or 0, d or 0) <= end for a, b, c, d in spans)


def _length(node: ast.Lambda) -> tuple[int, int]:
    return (node.end_lineno or 0) - node.lineno, (node.end_col_offset or 0) - node.col_offset
