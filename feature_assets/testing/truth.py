"""What really happened, kept beside the product: every record, commit and verdict, and the naive kernel over them.

Invariant: it is told of an event at the moment at which it takes effect, by whoever causes it, and computes answers by
looking at everything. It uses nothing of the product but the meaning of the words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from feature_assets.offline.versions import Version


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of a log: of an entity, when, how much, and when the log took it."""

    offset: int
    entity: int
    event_at: int
    amount: int
    arrived_at: int

    def as_row(self, more: int = 0) -> "FeatureRow":
        """The same in the batch side, which an archive of the log feeds; `more`: by what it was corrected since."""
        return FeatureRow(self.entity, self.event_at, self.offset, self.amount + more, self.arrived_at)


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One row of the batch side, as it was meant to be committed."""

    entity: int
    event_at: int
    sequence: int
    value: int
    arrived_at: int


@dataclass(slots=True)
class BatchTruth:
    """The commits and verdicts of one view version. `commits`: each as (number, rows by partition), in their order."""

    commits: list[tuple[int, Mapping[str, tuple[FeatureRow, ...]]]] = field(default_factory=list)
    verdicts: dict[Version, bool] = field(default_factory=dict)
    _rows: dict[Version, tuple[FeatureRow, ...]] = field(default_factory=dict)
    _states: dict[tuple[int, int, int], dict[int, FeatureRow]] = field(default_factory=dict)
    _of_entities: dict[tuple[int, int, int], dict[int, list[FeatureRow]]] = field(default_factory=dict)

    def commit(self, seq: int, partitions: Mapping[str, tuple[FeatureRow, ...]]) -> None:
        """A commit is in the table."""
        self.commits.append((seq, partitions))
        self._rows.update({(partition, seq): rows for partition, rows in partitions.items()})

    def judge(self, version: Version, *, passed: bool) -> None:
        """The first verdict of a version counts."""
        self.verdicts.setdefault(version, passed)

    def passed(self, n: int) -> dict[str, list[int]]:
        """By partition the commits up to n that passed, ascending."""
        found: dict[str, list[int]] = {}
        for seq, partitions in sorted(self.commits, key=lambda commit: commit[0]):
            for partition in partitions:
                if seq <= n and self.verdicts.get((partition, seq), False):
                    found.setdefault(partition, []).append(seq)
        return found

    def rows(self, partition: str, seq: int) -> tuple[FeatureRow, ...]:
        """What commit `seq` put into a partition."""
        return self._rows[partition, seq]

    def state(self, n: int) -> dict[int, FeatureRow]:
        """By entity the greatest row in the state at n."""
        key = (n, len(self.commits), len(self.verdicts))
        if key not in self._states:
            best: dict[int, tuple[tuple[int, int, str], FeatureRow]] = {}
            for partition, commits in self.passed(n).items():
                for row in self.rows(partition, commits[-1]):
                    order = (row.event_at, row.sequence, partition)
                    if row.entity not in best or order > best[row.entity][0]:
                        best[row.entity] = (order, row)
            self._states[key] = {entity: row for entity, (_, row) in best.items()}
        return self._states[key]

    def records(self, n: int, entity: int) -> list[FeatureRow]:
        """Every row of an entity in the state at n."""
        key = (n, len(self.commits), len(self.verdicts))
        if key not in self._of_entities:
            found: dict[int, list[FeatureRow]] = {}
            for partition, commits in self.passed(n).items():
                for row in self.rows(partition, commits[-1]):
                    found.setdefault(row.entity, []).append(row)
            self._of_entities[key] = found
        return self._of_entities[key].get(entity, [])

    def last_change(self, entity: int, n: int) -> int:
        """The last commit up to n that changed what the entity has in some partition; 0 if there is none."""
        last = 0
        for partition, commits in self.passed(n).items():
            had = False
            for seq in commits:
                has = any(row.entity == entity for row in self.rows(partition, seq))
                last = max(last, seq if has or had else 0)
                had = has
        return last

    def settled(self) -> int:
        """The last commit at which every verdict is known."""
        for seq, partitions in sorted(self.commits, key=lambda commit: commit[0]):
            if any((partition, seq) not in self.verdicts for partition in partitions):
                return seq - 1
        return max((seq for seq, _ in self.commits), default=0)


@dataclass(slots=True)
class Truth:
    """Everything: the logs by source partition, and the batch side by view version.

    `cuts`: by version the last offset of each log that is on its batch side, and not on its stream side.
    """

    logs: dict[str, list[LogRecord]]
    batch: dict[str, BatchTruth] = field(default_factory=dict)
    cuts: dict[str, dict[str, int]] = field(default_factory=dict)
    _archived: dict[str, list[LogRecord]] = field(default_factory=dict)
    _of_entity: dict[int, list[tuple[str, LogRecord]]] = field(default_factory=dict)

    def record(self, source_partition: str, entity: int, event_at: int, amount: int, arrived_at: int) -> None:
        """A record is appended to a log."""
        log = self.logs[source_partition]
        record = LogRecord(len(log), entity, event_at, amount, arrived_at)
        log.append(record)
        self._of_entity.setdefault(entity, []).append((source_partition, record))

    def hand_over(self, version: str) -> None:
        """A version is made whose batch side begins with all that the logs hold by now."""
        self.cuts[version] = {place: len(log) - 1 for place, log in self.logs.items()}
        self._archived[version] = [record for log in self.logs.values() for record in log]

    def archived(self, version: str) -> list[LogRecord]:
        """The records of the logs that are on the batch side of a version."""
        return self._archived.get(version, [])

    def streamed(self, version: str, entity: int) -> list[tuple[str, LogRecord]]:
        """The records of an entity that are on the stream side of a version, with the log that each is in."""
        cut = self.cuts.get(version, {})
        return [(place, record) for place, record in self.of_entity(entity) if record.offset > cut.get(place, -1)]

    def of_entity(self, entity: int) -> list[tuple[str, LogRecord]]:
        """Every record of an entity, with the log it is in."""
        return self._of_entity.get(entity, [])

    def window_sum(self, entity: int, fences: Mapping[str, int], start: int, hop: int) -> int:
        """The sum over the records inside the fences whose tile is at or after `start`."""
        return sum(
            record.amount
            for place, record in self.of_entity(entity)
            if record.offset <= fences.get(place, -1) and record.event_at // hop * hop >= start
        )
