"""How the reader gets at items: several tables in one call, each table answering or failing by itself.

Invariant: a table that fails leaves the others as they are; and of what a store did not say, nothing is said. What
stands between the reader and the store (a cache, a breaker, a limit) is an `ItemReads` over another one.
It decodes nothing.
"""

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from feature_assets.errors import OnlineError, StoreThrottledError
from feature_assets.online.store import OnlineStore, ReadFailure, ReadResult, TableReads

TableKeys = tuple[str, Sequence[bytes]]
"""A table, and the distinct keys that are asked of it."""


class ReadOptions(msgspec.Struct, frozen=True, eq=False):
    """How one request reads.

    `consistent`: every write acknowledged before the call is seen. `ends_at`: what is not read by then (of
    `time.monotonic`, seconds) is `TIMEOUT`; None: no limit. `max_age`: how long ago, in seconds, an item may have been
    read from the store; None: as long as whoever remembers items sees fit.
    """

    consistent: bool = False
    ends_at: float | None = None
    max_age: float | None = None

    @classmethod
    def within(
        cls, deadline: float | None = None, *, consistent: bool = False, max_age: float | None = None
    ) -> "ReadOptions":
        """A read that has `deadline` seconds from now."""
        return cls(consistent, None if deadline is None else time.monotonic() + deadline, max_age)

    def remaining(self) -> float | None:
        """Seconds left, never negative; None without a limit."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.monotonic())


class TableRead(msgspec.Struct, frozen=True, eq=False):
    """What one table answered: one result per key, in order; or `error`, and then nothing is known of any key.

    `ages`: how long ago each result was read from the store, in microseconds; None: all just now.
    """

    results: Sequence[ReadResult]
    ages: npt.NDArray[np.int64] | None = None
    error: OnlineError | None = None


def failure_of(error: OnlineError) -> ReadFailure:
    """What is reported for each key of a table that could not be read, where others of it are known."""
    return ReadFailure.THROTTLED if isinstance(error, StoreThrottledError) else ReadFailure.ERROR


class ItemReads(Protocol):
    """Reads items. Safe to share between threads."""

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        """One answer per table, in order. Raises nothing that a store reports: that is in the answers."""


class StoreReads:
    """Straight from the store: in one call where it can, else one for each table."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._several = store if isinstance(store, TableReads) else None

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        several = len(requests) > 1 and all(keys for _, keys in requests)
        together = self._together(requests, options) if several else None
        if together is not None:
            return [TableRead(results) for results in together]
        return [self._one(table, keys, options) for table, keys in requests]

    def _together(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[list[ReadResult]] | None:
        """None if the store cannot, or refuses: then each table is read by itself, so that each fails by itself."""
        remaining = options.remaining()
        if self._several is None or remaining == 0:
            return None
        try:
            return self._several.read_tables(requests, consistent=options.consistent, deadline=remaining)
        except OnlineError:
            return None

    def _one(self, table: str, keys: Sequence[bytes], options: ReadOptions) -> TableRead:
        if not keys:
            return TableRead([])
        remaining = options.remaining()
        if remaining == 0:
            return TableRead([ReadFailure.TIMEOUT] * len(keys))
        try:
            return TableRead(self._store.read(table, keys, consistent=options.consistent, deadline=remaining))
        except OnlineError as error:
            return TableRead([], error=error)
