"""Cron expressions: five fields, or a name such as `@daily`.

Invariant: what passes here has a next time; nothing is ever scheduled for the 31st of February.
It does not compute that time: the scheduler does.
"""

import re
from typing import Final, NamedTuple

NICKNAMES: Final = frozenset({"@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"})
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_ITEM: Final = re.compile(r"(?:(?P<all>\*)|(?P<low>[a-z0-9]+)(?:-(?P<high>[a-z0-9]+))?)(?:/(?P<step>[0-9]+))?")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: dict[str, int]


_FIELDS: Final = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, {name: at for at, name in enumerate(_MONTHS, 1)}),
    _Field("day of week", 0, 7, {name: at for at, name in enumerate(_DAYS)}),
)


def cron_problem(expression: object) -> str | None:
    """What is wrong with a cron expression; None if nothing is."""
    if not isinstance(expression, str):
        return "is no text"
    if expression in NICKNAMES:
        return None
    parts = expression.lower().split()
    if len(parts) != len(_FIELDS):
        return f"has {len(parts)} fields; a cron expression has 5 (minute, hour, day of month, month, day of week)"
    values: list[set[int]] = []
    for part, spec in zip(parts, _FIELDS, strict=True):
        found = _values(part, spec)
        if isinstance(found, str):
            return found
        values.append(found)
    if parts[4] == "*" and all(day > _LONGEST.get(month, 31) for day in values[2] for month in values[3]):
        return f"names a day that does not exist: day {parts[2]} of month {parts[3]}"
    return None


def _values(part: str, spec: _Field) -> set[int] | str:
    """The values that a field stands for, or what is wrong with it."""
    found: set[int] = set()
    for item in part.split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            return f"has {item!r} as {spec.name}, which is none of *, n, a-b, */n or a list of them"
        low, high = _bounds(match, spec)
        step = int(match["step"] or 1)
        if low is None or high is None or not spec.low <= low <= high <= spec.high:
            return f"has {item!r} as {spec.name}, which goes from {spec.low} to {spec.high}"
        if step == 0:
            return f"has {item!r} as {spec.name}: a step of 0"
        found.update(range(low, high + 1, step))
    return found


def _bounds(match: re.Match[str], spec: _Field) -> tuple[int | None, int | None]:
    if match["all"]:
        return spec.low, spec.high
    low = _number(match["low"], spec)
    if match["high"] is not None:
        return low, _number(match["high"], spec)
    return low, spec.high if match["step"] else low


def _number(text: str, spec: _Field) -> int | None:
    return int(text) if text.isdecimal() else spec.names.get(text)
