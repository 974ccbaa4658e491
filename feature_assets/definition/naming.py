"""Which names are legal.

Invariant: a legal name is a legal identifier in Python, SQL, Delta, DynamoDB and on every file system, and never holds
`__`, which separates a prefix from a feature; so an output column splits in exactly one way.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from feature_assets.definition.place import refusal

LEGAL_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
SEPARATOR: Final = "__"
EVENT_AT: Final = "event_at"
ARRIVED_AT: Final = "arrived_at"
SEQUENCE: Final = "sequence"
LIFECYCLE: Final = frozenset(
    {"partition", "month", "commit_seq", "source_seq", "bucket", "row", "available_at", "superseded_at"}
)
"""Columns that the offline store adds to every table."""
RESERVED: Final = LIFECYCLE | {EVENT_AT, ARRIVED_AT, SEQUENCE, "availability"}
"""Names that no key and no feature may have: the store and the loader add columns called so."""


def is_legal(name: object) -> bool:
    """Whether `name` matches the pattern and has no `__`."""
    return isinstance(name, str) and LEGAL_NAME.fullmatch(name) is not None and SEPARATOR not in name


def require_name(kind: str, name: object, field: str = "name") -> None:
    """Refuse an illegal name; `field` says whose it is."""
    if is_legal(name):
        return
    if isinstance(name, str) and SEPARATOR in name:
        why = f"contains {SEPARATOR!r}, which separates a view from its feature"
    else:
        why = "must match ^[a-z][a-z0-9_]{0,62}$ (a lower-case letter, then letters, digits and _, 63 at most)"
    raise refusal(kind, name, f"{field} {name!r} {why}", _suggested(name))


def require_unique(kind: str, name: str, field: str, names: Iterable[str]) -> None:
    """Refuse a name that occurs twice in a field."""
    twice = sorted(found for found, times in Counter(names).items() if times > 1)
    if twice:
        raise refusal(
            kind, name, f"{field}: {twice[0]!r} occurs more than once", "names are unique: rename or remove one"
        )


def require_free(kind: str, name: str, field: str, names: Iterable[str], taken: frozenset[str]) -> None:
    """Refuse a name that the system uses itself."""
    for found in names:
        if found in taken:
            what = f"{field}: {found!r} is a column that the system adds itself"
            raise refusal(kind, name, what, f"choose another name, e.g. {found + '_value'!r}")


def require_callable(kind: str, name: str, field: str, value: object, form: str) -> None:
    """Refuse what cannot be called; `form` shows what it is called with."""
    if not callable(value):
        raise refusal(kind, name, f"{field}: {value!r} cannot be called", f"give a function {form}")


def _suggested(name: object) -> str:
    if not isinstance(name, str):
        return "a name is a string"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")
    fixed = words[:63].rstrip("_") if words[:1].isalpha() else f"x_{words}"[:63].rstrip("_")
    return f"write {fixed!r}" if words and is_legal(fixed) else "write a name such as 'mean_delay'"
