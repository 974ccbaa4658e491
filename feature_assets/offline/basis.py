"""What a commit is made from, so that of two the one made from the older state never wins.

Whoever is slow may come to commit what others have overtaken. On the handle that it commits on it asks its basis: was
anything committed since, from a newer state than was read for this? Then it is `OutdatedError`, and the caller reads
and computes again. Invariant: what is written is never older than what it supersedes. It reads no source itself.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from deltalake import DeltaTable, Transaction

from feature_assets.errors import OutdatedError

ATTEMPTS = 5
"""How often one call reads and computes before it gives up: others commit, so the work as a whole goes on."""
READ = "feature_assets/read/"
"""With the name of a source: the application whose transaction version is the last commit of it that was read."""

T = TypeVar("T")


class Basis(Protocol):
    """What a commit asks of what it was made from."""

    def require_current(self, handle: DeltaTable, counts: Mapping[str, int], changed: Collection[str]) -> None:
        """Raise `OutdatedError` if `changed`, which the commit would supersede, was made from a newer state.

        `counts`: of each partition the number of the version that counts, as of the handle.
        """

    def notes(self, handle: DeltaTable) -> list[Transaction]:
        """What the table's log is to remember of this basis and does not know yet."""


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """Of what was read from outside, where there is no number to compare: the versions that counted before reading.

    A version that another has committed since may come from a later reading. A reading that found everything as it was
    commits nothing, and is not noticed.
    """

    where: str
    counts: Mapping[str, int]

    def require_current(self, handle: DeltaTable, counts: Mapping[str, int], changed: Collection[str]) -> None:
        del handle
        for name in sorted(changed):
            before, now = self.counts.get(name, 0), counts.get(name, 0)
            if now != before:
                raise OutdatedError(
                    f"{self.where}: partition {name} was at commit {before} when reading began and is at {now}",
                    hint="nothing was committed; read it again",
                )

    def notes(self, handle: DeltaTable) -> list[Transaction]:
        del handle
        return []


@dataclass(frozen=True, slots=True)
class ComputedFrom:
    """Of what was computed from sources: the number of each source's last commit at reading.

    `is_same(source, number)`: whether the source at that number has, for all that was computed, what was read. Others
    note what they have read even if it changed nothing, so that none who read less puts something else over it.
    """

    where: str
    heads: Mapping[str, int]
    is_same: Callable[[str, int], bool]

    def require_current(self, handle: DeltaTable, counts: Mapping[str, int], changed: Collection[str]) -> None:
        del counts
        for source, head in self.heads.items():
            seen = _seen(handle, source) if changed else 0
            if seen > head and not self.is_same(source, seen):
                raise OutdatedError(
                    f"{self.where}: computed from {source!r} up to commit {head}, and another has committed from what "
                    f"it had at {seen}, which is more",
                    hint="nothing was committed; compute it again",
                )

    def notes(self, handle: DeltaTable) -> list[Transaction]:
        return [Transaction(READ + source, head) for source, head in self.heads.items() if head > _seen(handle, source)]


def _seen(handle: DeltaTable, source: str) -> int:
    """The last commit of the source that anybody has read for this table."""
    return handle.transaction_version(READ + source) or 0


def attempted(make: Callable[[], T]) -> T:
    """`make()`; again, up to `ATTEMPTS` times, if what it made was outdated before it was committed."""
    for _ in range(ATTEMPTS - 1):
        try:
            return make()
        except OutdatedError:
            continue
    return make()
