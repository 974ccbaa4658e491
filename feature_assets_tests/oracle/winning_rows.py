"""The naive state of a view: of each entity the greatest row among the newest passed versions.

It imports nothing of the product and looks at everything for everybody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """A row in its order. `value` is last: it decides nothing as long as the order is total."""

    event_at: int
    sequence: int
    partition: str
    entity: str
    value: int


Commit = Mapping[str, Sequence[Row]]
"""The rows of each partition that a commit wrote."""


def state(commits: Sequence[Commit], failed: Iterable[tuple[str, int]], n: int) -> dict[str, Row]:
    """By entity its winning row after the first n commits; commit i has the number i + 1."""
    bad = set(failed)
    partitions: dict[str, Sequence[Row]] = {}
    for number, commit in enumerate(commits[:n], start=1):
        partitions.update({name: rows for name, rows in commit.items() if (name, number) not in bad})
    best: dict[str, Row] = {}
    for rows in partitions.values():
        for row in rows:
            if row.entity not in best or row > best[row.entity]:
                best[row.entity] = row
    return best


def touched(commits: Sequence[Commit], failed: Iterable[tuple[str, int]], since: int, n: int) -> set[str]:
    """Every entity whose winning row may have been another at some state from `since` to n."""
    bad = set(failed)
    found: set[str] = set()
    for name in {name for commit in commits for name in commit}:
        versions = [
            (number, commit[name])
            for number, commit in enumerate(commits[:n], start=1)
            if name in commit and (name, number) not in bad
        ]
        for place, (number, rows) in enumerate(versions):
            if number > since:
                before = versions[place - 1][1] if place else ()
                found |= {row.entity for row in (*rows, *before)}
    return found
