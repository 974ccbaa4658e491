"""The rules of versioned partitions, pure: which version counts, which sequence comes next, what is settled.

A version is a pair (partition, commit_seq). Everything that stores versions, Delta or memory, obeys these rules by
calling them. They know no table, no file and no clock.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping

Version = tuple[str, int]
"""(partition, commit_seq)."""

FIRST = 1
"""The first sequence number; 0 stands for "nothing yet"."""


def next_seq(last: int | None) -> int:
    """The sequence number of the next commit, given the last one that the table acknowledged (None or 0: none)."""
    return (last or 0) + FIRST


def is_committed(seq: int, last: int | None) -> bool:
    """Whether the commit with number `seq` is already there. A table's numbers are dense, so the last one decides."""
    return seq <= (last or 0)


def newest(
    versions: Iterable[Version], *, upto: int | None = None, excluded: Collection[Version] = frozenset()
) -> dict[str, int]:
    """The version of each partition that counts: the greatest commit_seq `<= upto` that is not excluded."""
    counts: dict[str, int] = {}
    for partition, seq in versions:
        if (upto is None or seq <= upto) and (partition, seq) not in excluded and seq > counts.get(partition, 0):
            counts[partition] = seq
    return counts


def settled(versions: Iterable[Version], judged: Collection[Version]) -> int:
    """The greatest n such that every version committed at or below n is judged; 0 if there is none.

    The state at n is then a pure function of n: no verdict that is still to come can change it.
    """
    ordered = sorted(versions, key=lambda version: version[1])
    open_seqs = [seq for partition, seq in ordered if (partition, seq) not in judged]
    if open_seqs:
        return open_seqs[0] - 1
    return ordered[-1][1] if ordered else 0


def superseded_by(versions: Iterable[Version], *, excluded: Collection[Version] = frozenset()) -> dict[Version, int]:
    """For each version that counts, the commit_seq of the next one of its partition that does; absent: none."""
    by_partition: dict[str, list[int]] = {}
    for partition, seq in versions:
        if (partition, seq) not in excluded:
            by_partition.setdefault(partition, []).append(seq)
    successors: dict[Version, int] = {}
    for partition, seqs in by_partition.items():
        ordered = sorted(set(seqs))
        successors.update({(partition, seq): later for seq, later in itertools.pairwise(ordered)})
    return successors


def to_recommit(wanted: Iterable[str], counts: Mapping[str, int], failed: Collection[Version]) -> frozenset[str]:
    """Of the wanted partitions, those whose newest version failed: committed again even if nothing changed.

    A failed verdict is final for its commit, so only a new commit can be judged anew.
    """
    return frozenset(name for name in wanted if name in counts and (name, counts[name]) in failed)
