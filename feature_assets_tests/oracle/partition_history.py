"""The oracle of versioned partitions: everything that was ever committed, in a list, looked through from the start.

It imports nothing of the product.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

Values = tuple[tuple[str, float | None], ...]
"""The rows of a version: (key, value), in the order of the keys."""


@dataclass
class PartitionHistory:
    """Commits in order: each the partitions that it wrote."""

    commits: list[dict[str, Values]] = field(default_factory=list)

    def commit(self, partitions: Mapping[str, Values]) -> int | None:
        """The number of the commit, or None if it had nothing to write."""
        now = self.state(len(self.commits))
        changed = {name: values for name, values in partitions.items() if name not in now or now[name] != values}
        if not changed:
            return None
        self.commits.append(changed)
        return len(self.commits)

    def state(self, upto: int, excluded: Collection[tuple[str, int]] = ()) -> dict[str, Values]:
        """What each partition holds: its last version up to a number that is not excluded."""
        held: dict[str, Values] = {}
        for seq, written in enumerate(self.commits[:upto], start=1):
            held.update({name: values for name, values in written.items() if (name, seq) not in excluded})
        return held

    def versions(self, upto: int) -> list[tuple[str, int, int]]:
        """(partition, number, rows) of every version, in order."""
        return [
            (name, seq, len(values))
            for seq, written in enumerate(self.commits[:upto], start=1)
            for name, values in sorted(written.items())
        ]
