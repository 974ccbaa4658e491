"""The naive point-in-time lookup: for each question, look at every record.

Invariant: it follows the visibility, order and snapshot rules word by word and imports nothing of the product.
It is slow on purpose and knows no tables: its caller says what was available when.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One feature row, or one version of it. Times are integers; `None` stands for "never"."""

    key: Hashable
    event_at: int
    sequence: int
    partition: int
    available_at: int | None
    superseded_at: int | None = None
    value: object = None


@dataclass(frozen=True, slots=True)
class Found:
    """The greatest visible record, and whether it had outlived its time to live."""

    record: Record
    expired: bool


def visible(record: Record, as_of: int, boundary: str = "closed") -> bool:
    """Whether a reader at `as_of` could see the record."""
    if record.available_at is None:
        return False
    if boundary == "open":
        return record.available_at < as_of and (record.superseded_at is None or as_of <= record.superseded_at)
    return record.available_at <= as_of and (record.superseded_at is None or as_of < record.superseded_at)


def latest(
    records: Sequence[Record], key: Hashable, as_of: int, ttl: int | None = None, boundary: str = "closed"
) -> Found | None:
    """The answer to one question."""
    best: Record | None = None
    for record in records:
        if record.key != key or not visible(record, as_of, boundary):
            continue
        if best is None or order(record) >= order(best):
            best = record
    if best is None:
        return None
    return Found(best, expired=ttl is not None and as_of - best.event_at > ttl)


def order(record: Record) -> tuple[int, int, int]:
    """The order in which the greatest wins."""
    return (record.event_at, record.sequence, record.partition)


# ---------------------------------------------------------------- what was available when, from what happened to a view


@dataclass(frozen=True, slots=True)
class Row:
    """A feature row as it was computed. `bucket`: where its key hashes to."""

    key: Hashable
    bucket: int
    event_at: int
    sequence: int
    arrived_at: int
    value: object


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a partition. `passed` None: no verdict yet."""

    partition: int
    commit: int
    passed: bool | None
    rows: tuple[Row, ...]
    source: int = 0


@dataclass(frozen=True, slots=True)
class Push:
    """A push of the state at `commit`: when it began, and for each bucket that it finished, when that was acked."""

    commit: int
    sent_at: int
    acked_at: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Life:
    """One version of a view on one store: what was committed, what was pushed, and since when it answers.

    The first push, if there is one, is the load after which it answers. `day`: the length of a partition; partition p
    is [p, p+1) days. `delay`: how long after its end a partition is taken to have been there, where nobody looked.
    """

    versions: tuple[Version, ...]
    pushes: tuple[Push, ...]
    serving_at: int | None
    day: int
    delay: int
    before: "Life | None" = None

    @property
    def settled(self) -> int:
        """The greatest commit at or below which everything has a verdict."""
        unknown = [version.commit for version in self.versions if version.passed is None]
        return min(unknown) - 1 if unknown else max((version.commit for version in self.versions), default=0)

    @property
    def counting(self) -> list[Version]:
        """What passed and is settled."""
        return [version for version in self.versions if version.passed and version.commit <= self.settled]

    def latest(self, upto: int) -> dict[int, Version]:
        """Of each partition the version that counts in the state at a commit."""
        found: dict[int, Version] = {}
        for version in self.counting:
            if version.commit <= upto and version.commit >= found.get(version.partition, version).commit:
                found[version.partition] = version
        return found

    def acknowledged(self, version: Version, bucket: int) -> tuple[int, str] | None:
        """When a version that was pushed while the view answered could be seen, and how that is known."""
        acks = [
            (at, push.sent_at)
            for push in self.pushes
            for acked, at in push.acked_at
            if acked == bucket and push.commit >= version.commit
        ]
        if not acks:
            return None
        at, sent_at = min(acks)
        begun = min(push.sent_at for push in self.pushes if push.commit >= version.commit)
        return at, "recovered" if begun < sent_at else "recorded"

    def available(self, version: Version, row: Row) -> tuple[int, str] | None:
        """When a row could be seen, and how that is known; None: never."""
        loaded = self.settled if self.serving_at is None else self.pushes[0].commit
        if version.commit > loaded:
            return self.acknowledged(version, row.bucket)
        if self.latest(loaded).get(version.partition) != version:
            return None
        at = max((version.partition + 1) * self.day, row.arrived_at) + self.delay
        name = "simulated"
        inherited = None if self.before is None else self.before.recorded(version, row.bucket)
        if inherited is not None:
            at, name = max(inherited, row.arrived_at), "inherited"
        return (at if self.serving_at is None else min(at, self.serving_at)), name

    def recorded(self, wanted: Version, bucket: int) -> int | None:
        """When this life showed a partition made from at least the same source, if that was recorded."""
        instants = []
        for version in self.counting:
            if version.partition != wanted.partition or version.source < wanted.source:
                continue
            if self.serving_at is not None and version.commit > self.pushes[0].commit:
                known = self.acknowledged(version, bucket)
                instants += [] if known is None else [known[0]]
        return min(instants, default=None)

    def superseded(self, version: Version, bucket: int) -> int | None:
        """When the next version that counts of the same partition could be seen."""
        later = [one for one in self.counting if one.partition == version.partition and one.commit > version.commit]
        if not later:
            return None
        following = min(later, key=lambda one: one.commit)
        loaded = self.settled if self.serving_at is None else self.pushes[0].commit
        if following.commit <= loaded:
            return None
        known = self.acknowledged(following, bucket)
        return None if known is None else known[0]

    def served(self) -> list[tuple[Record, str]]:
        """Every row with the interval in which it could be seen."""
        found = []
        for version in self.counting:
            for row in version.rows:
                known = self.available(version, row)
                if known is not None:
                    end = self.superseded(version, row.bucket)
                    record = Record(row.key, row.event_at, row.sequence, version.partition, known[0], end, row.value)
                    found.append((record, known[1]))
        return found

    def modelled(self, delay: int, every: int, *, by_event: bool) -> list[tuple[Record, str]]:
        """The rows that count at the settled commit, as if visible by a rule: at the event, or by a schedule."""
        found = []
        for version in self.latest(self.settled).values():
            for row in version.rows:
                known = max(row.event_at, row.arrived_at)
                scheduled = (-(-known // every) * every if every else known) + delay
                at = row.event_at if by_event else scheduled
                record = Record(row.key, row.event_at, row.sequence, version.partition, at, None, row.value)
                found.append((record, "simulated"))
        return found
