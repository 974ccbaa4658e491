"""What a DynamoDB store has counted since it was made, for whoever shows it.

Invariant: a count only grows, and what two threads count at once is counted twice. It measures no durations.
"""

from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Literal

Counted = Literal[
    "reads",
    "writes",
    "repeats",
    "unprocessed",
    "unsent",
    "timeout",
    "lost",
    "throttled",
    "refused",
    "hedges",
    "hedges_won",
    "reconnects",
]


@dataclass(slots=True)
class CallStats:
    """Plain counts. A call is one BatchGetItem, BatchExecuteStatement or BatchWriteItem."""

    reads: int = 0
    """Calls that read; a second one for the same keys, because the first was slow, is in `hedges`."""
    writes: int = 0
    """Calls that write or delete."""
    repeats: int = 0
    """Of these, those that were made again for what was refused for load or, in a read, failed."""
    unprocessed: int = 0
    """Keys and statements that a call came back without."""
    unsent: int = 0
    """Calls that failed, by `Kind`: no connection."""
    timeout: int = 0
    lost: int = 0
    throttled: int = 0
    refused: int = 0
    hedges: int = 0
    """Reads that were asked a second time, on another connection, as the first was slow."""
    hedges_won: int = 0
    """Of these, those that the second answered first."""
    reconnects: int = 0
    """Calls that were sent again at once, as the server had closed the connection that was kept."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def numbers(self) -> dict[str, int]:
        """All counts, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}

    def count(self, what: Counted, times: int = 1) -> None:
        """Add to a count."""
        with self._lock:
            setattr(self, what, getattr(self, what) + times)
