"""The naive availability: for each row, look at every event of the ledger's story.

Invariant: it follows the rules word by word, one row at a time, and imports nothing of the product. `None` is "never".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One ledger row of one version on one target."""

    kind: Literal["intent", "ack", "serving", "retired"]
    sent_at: int
    acked_at: int = 0
    bucket: int = 0
    n: int = 0
    life: int = 0


@dataclass(frozen=True, slots=True)
class PartitionVersion:
    """One version of one partition. `end`: when the partition ends."""

    partition: str
    end: int
    seq: int
    source_seq: int
    passed: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known about one row. Times that never come are `NEVER`."""

    available_at: int
    superseded_at: int
    sent_at: int
    provenance: str


@dataclass(frozen=True, slots=True)
class Story:
    """One version's events and history; `previous`: that of the version that served before it."""

    events: Sequence[Event]
    versions: Sequence[PartitionVersion]
    buckets: int
    delay: int
    previous: "Story | None" = None

    def counted(self) -> list[tuple[int, Event]]:
        """The events that count, with their places: not what an earlier life's push says later."""
        lives = [sum(earlier.kind == "retired" for earlier in self.events[:place]) for place in range(len(self.events))]
        return [
            (place, event)
            for place, event in enumerate(self.events)
            if event.kind in {"intent", "retired"} or event.life == lives[place]
        ]

    def serves_at(self, place: int) -> bool:
        """Whether the version answered readers when the event at `place` was written down."""
        turns = [event.kind for at, event in self.counted() if at < place and event.kind in {"serving", "retired"}]
        return bool(turns) and turns[-1] == "serving"

    def visible_from(self, place: int, event: Event) -> int:
        """From when readers saw what an acknowledgement is about."""
        if self.serves_at(place):
            return event.acked_at
        for at, later in self.counted():
            if at > place and later.kind == "retired":
                return NEVER
            if at > place and later.kind == "serving":
                return later.acked_at
        return NEVER

    def serving_at(self) -> int:
        """When it was first answered from."""
        return next((event.acked_at for _, event in self.counted() if event.kind == "serving"), NEVER)

    def is_past(self, version: PartitionVersion, bucket: int) -> bool:
        """Whether the version was in the store before anybody was answered from it."""
        first = next((place for place, event in self.counted() if event.kind == "serving"), None)
        if first is None:
            return True
        return any(
            event.n >= version.seq
            for place, event in self.counted()
            if (event.kind == "ack" and event.bucket == bucket and place < first) or place == first
        )

    def successor(self, version: PartitionVersion) -> PartitionVersion | None:
        """The next version of the partition that passed."""
        later = [other for other in self.versions if other.passed and other.partition == version.partition]
        return min((other for other in later if other.seq > version.seq), key=lambda other: other.seq, default=None)

    def recorded(self, version: PartitionVersion, bucket: int) -> Seen:
        """By the ledger alone."""
        acks = [
            (self.visible_from(place, event), event.sent_at)
            for place, event in self.counted()
            if event.kind == "ack" and event.bucket == bucket and event.n >= version.seq
        ]
        if not acks:
            return Seen(NEVER, NEVER, NEVER, "recorded")
        available_at, sent_at = min(acks)
        begun = [
            event.sent_at
            for _, event in self.counted()
            if event.kind in {"intent", "ack"} and event.bucket == bucket and event.n >= version.seq
        ]
        start = min(begun)
        return Seen(available_at, NEVER, start, "recovered" if start < sent_at else "recorded")

    def past(self, version: PartitionVersion, bucket: int, arrived_at: int, buckets: int) -> Seen:
        """For what nobody was answered from at its time."""
        successor = self.successor(version)
        if successor is not None and self.is_past(successor, bucket):
            return Seen(NEVER, NEVER, NEVER, "recorded")
        inherited = None if self.previous is None else self.previous.inherited(version, bucket, buckets)
        if inherited is not None:
            available_at, sent_at = inherited
            if available_at < arrived_at:
                available_at = sent_at = arrived_at
            return Seen(min(available_at, self.serving_at()), NEVER, min(sent_at, self.serving_at()), "inherited")
        simulated = min(max(version.end, arrived_at) + self.delay, self.serving_at())
        return Seen(simulated, NEVER, simulated, "simulated")

    def inherited(self, version: PartitionVersion, bucket: int, buckets: int) -> tuple[int, int] | None:
        """The earliest availability here of at least that source position of the partition, that is not simulated."""
        candidates = [
            other
            for other in self.versions
            if other.passed and other.partition == version.partition and other.source_seq >= version.source_seq
        ]
        if buckets == self.buckets:
            return self._earliest(candidates, bucket)
        each = [self._earliest(candidates, own) for own in range(self.buckets)]
        found = [one for one in each if one is not None]
        return (max(at for at, _ in found), min(at for _, at in found)) if len(found) == len(each) else None

    def _earliest(self, candidates: Sequence[PartitionVersion], bucket: int) -> tuple[int, int] | None:
        seen = [self.seen(candidate, bucket, 0) for candidate in candidates]
        known = [(one.available_at, one.sent_at) for one in seen if one.provenance != "simulated"]
        return min((pair for pair in known if pair[0] != NEVER), key=lambda pair: pair[0], default=None)

    def seen(self, version: PartitionVersion, bucket: int, arrived_at: int) -> Seen:
        """All of it, for one row of a version."""
        if not version.passed:
            return Seen(NEVER, NEVER, NEVER, "recorded")
        if self.is_past(version, bucket):
            own = self.past(version, bucket, arrived_at, self.buckets)
        else:
            own = self.recorded(version, bucket)
        successor = self.successor(version)
        if successor is None or own.available_at == NEVER:
            return own
        # The successor is no past either if this version counts, so that its own arrival does not matter.
        until = self.seen(successor, bucket, arrived_at).available_at
        return Seen(own.available_at, until, own.sent_at, own.provenance)
