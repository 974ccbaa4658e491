"""The port to an online store: a few calls over packed items, each item with a verdict of its own.

Invariant: no call answers for a key what it does not know. Absent, failed and unknown are different values, and a write
that may have been applied is never reported as one that was not.
It knows neither features nor sections: a value is bytes, and `seq` is all that a condition is on.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import msgspec


class Put(msgspec.Struct, frozen=True):
    """A conditional write: applied iff the stored item has `expected` as its seq (0: iff there is none).

    The stored seq becomes `expected + 1`. After `expires_at` (microseconds; None: never) the store may drop the item.
    """

    key: bytes
    expected: int
    value: bytes
    expires_at: int | None = None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What a store holds under a key. It can be in no cycle: the collector need not look at thousands of them."""

    seq: int
    value: bytes


class Outcome(Enum):
    """What became of one put."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    """The stored seq is another than expected; nothing was written."""
    UNKNOWN = "unknown"
    """No answer: it may or may not have been applied, or may yet be."""
    THROTTLED = "throttled"
    """Refused for load; nothing was written."""
    REFUSED = "refused"
    """Refused for good: permission, validation, a missing table; nothing was written."""


class ReadFailure(Enum):
    """Why a key could not be read. Nothing is known about it then."""

    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    ERROR = "error"


ReadResult = Stored | ReadFailure | None
"""None: surely absent."""


class OnlineStore(Protocol):
    """A store of items. `target` names it in the ledger; a value longer than `max_item_bytes` is refused."""

    target: str
    max_item_bytes: int

    def prepare(self, table: str) -> None:
        """Create the table if it is absent. Idempotent."""

    def drop(self, table: str) -> None:
        """Remove the table with everything in it. Idempotent."""

    def tables(self) -> list[str]:
        """The names of the tables."""

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        """One result per key, in the same order; a key may be asked for twice. `deadline`: a budget in seconds.

        `consistent`: every write that was acknowledged before the call is seen. Raises `StoreRefusedError` for what
        no key can be read of: a table that was never prepared, a permission that is missing, a damaged file.
        """

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        """One outcome per put, in the same order; each key at most once in a call.

        Faults of single items are outcomes. Raises `StoreUnreachableError` only if nothing was sent, and
        `StorageFullError` if the store has no space left; of what is not acknowledged then, some may be written.
        """

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        """Remove items, whatever their seq. For maintenance: no part of the write protocol deletes."""

    def close(self) -> None:
        """Release connections and files. Idempotent."""


@runtime_checkable
class TableReads(Protocol):
    """What a store has, beside `OnlineStore`, to which every call is a round trip: reads of several tables in one."""

    def read_tables(
        self,
        requests: Sequence[tuple[str, Sequence[bytes]]],
        *,
        consistent: bool = False,
        deadline: float | None = None,
    ) -> list[list[ReadResult]]:
        """As `read`, for each (table, keys) in turn."""


@runtime_checkable
class KeepsDeadlines(Protocol):
    """What a store declares, beside `OnlineStore`, of which a read ends by its `deadline` whatever else hangs."""

    keeps_deadlines: bool


@runtime_checkable
class CountsCalls(Protocol):
    """What a store has, beside `OnlineStore`, that counts its calls."""

    def numbers(self) -> Mapping[str, int]:
        """By name, counts since it was made."""


@runtime_checkable
class ReadsAtOnce(Protocol):
    """What a store declares, beside `OnlineStore`, of which a read waits for no network and no other process."""

    reads_at_once: bool
