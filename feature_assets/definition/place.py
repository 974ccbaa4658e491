"""Where a definition stands in the user's code, and the errors that say so.

Invariant: a definition is refused with its file and line, its type, its name, what is wrong and the way out.
A place is never part of equality, hash or version: moving a definition to another line changes nothing.
"""

import inspect
from dataclasses import dataclass
from typing import Final

from feature_assets.errors import DefinitionError

_OURS: Final = __name__.rpartition(".")[0]
_BETWEEN: Final = frozenset({"copy", "dataclasses"})
"""Modules that may stand between the user's line and our constructor: `dataclasses.replace`, `copy.replace`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def current_place() -> Place:
    """The nearest line on the stack that is not in this package: where the user builds a definition."""
    frame = inspect.currentframe()
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module not in _BETWEEN and module != _OURS and not module.startswith(f"{_OURS}."):
            return Place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return Place("<unknown>", 0)


def refusal(kind: str, name: object, what: str, hint: str, place: Place | None = None) -> DefinitionError:
    """The error for a wrong definition. Without a `place`, it is the line that is being executed."""
    return DefinitionError(f"{place or current_place()}: {kind} {name!r}: {what}", hint=hint)


def assign(definition: object, **values: object) -> None:
    """Set the fields of a frozen definition; for its constructor alone."""
    for name, value in values.items():
        object.__setattr__(definition, name, value)
