"""How much of a view of aggregates is looked at in one go, so that a training set stays within its memory limit.

Invariant: the parts of all groups together hold every record exactly once, and a group's parts hold all records of its
buckets. States of windows merge, so the result does not depend on where the cuts are, and no window is too long for it.
It estimates and does not measure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from feature_assets.compute.windows import Wanted
from feature_assets.errors import InputError
from feature_assets.training.memory import Part, parts

SPAN_BYTES: Final = 120
"""Bytes per question and window while it is looked up: its span, and where that begins and ends among the records."""
CELL_BYTES: Final[Mapping[str, int]] = {"additive": 96, "extreme": 24, "object": 400}
"""Bytes per question, window and slot: two copies, of about four digits, of a number, or of some object."""


@dataclass(frozen=True, slots=True)
class Group:
    """Questions whose keys are in some buckets (None: all of them), and the parts in which their records are read."""

    buckets: tuple[int, ...] | None
    parts: tuple[Part, ...]


def question_bytes(wanted: Wanted) -> int:
    """About how many bytes a question takes while what is wanted is looked up."""
    spans = {window for several in wanted.values() for window in several}
    held = sum(CELL_BYTES[slot.kind] * window.count for slot, several in wanted.items() for window in several)
    return held + SPAN_BYTES * (1 + sum(window.count for window in spans))


def groups(
    rows: Mapping[str, int],
    bytes_per_row: int,
    *,
    questions: int,
    bytes_per_question: int,
    buckets: int,
    budget: int,
    view: str,
) -> tuple[Group, ...]:
    """The groups for a view that has so many `rows` in each partition, each within `budget` bytes.

    As few as possible: each reads the files again. Raises `InputError` if a single bucket is too much.
    """
    asked = questions * bytes_per_question
    for count in _divisions(buckets):
        left = budget - asked // count
        # Questions are held from a group's first part to its last: records get at least half.
        if count < buckets and left < budget // 2:
            continue
        share = {partition: -(-one // count) for partition, one in rows.items()}
        if left > 0 and _fits(share, bytes_per_row, left, view):
            slices = parts(share, bytes_per_row, buckets=1, budget=left, view=view)
            return tuple(
                Group(None if count == 1 else chosen, tuple(_of(part, chosen, count) for part in slices))
                for chosen in _chosen(buckets, count)
            )
    raise InputError(
        f"view {view!r}: one bucket of {buckets} takes about {asked // buckets:,} bytes for the questions alone, or "
        f"its largest day more than is left; the memory limit leaves {max(budget, 0):,}",
        hint="raise memory_limit, ask for fewer features or rows, or give the view more buckets",
    )


def _divisions(buckets: int) -> list[int]:
    """1, 2, 4, ... groups, up to one for each bucket."""
    return [*(1 << bit for bit in range(buckets.bit_length()) if 1 << bit < buckets), buckets]


def _fits(rows: Mapping[str, int], bytes_per_row: int, budget: int, view: str) -> bool:
    try:
        parts(rows, bytes_per_row, buckets=1, budget=budget, view=view)
    except InputError:
        return False
    return True


def _chosen(buckets: int, count: int) -> list[tuple[int, ...]]:
    """The buckets of each of `count` groups."""
    ends = [buckets * number // count for number in range(count + 1)]
    return [tuple(range(first, stop)) for first, stop in pairwise(ends)]


def _of(part: Part, buckets: tuple[int, ...], count: int) -> Part:
    return Part(None if count == 1 else buckets, part.start, part.end)
