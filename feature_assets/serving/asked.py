"""One table of one request on its way through the cache of items, and what the cache knows of that table.

Invariant: what an answer says of a key is the newest that was put there for it, with when its read started.
It decides nothing, and is kept consistent by the cache's lock.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from feature_assets.errors import OnlineError, StoreRefusedError
from feature_assets.online.store import ReadFailure, ReadResult
from feature_assets.serving.flights import Flight
from feature_assets.serving.reads import TableRead

UNSEEN: Final = object()
"""Stands for the watermark of a table of which none was read yet."""


class CachedTable:
    """What is known of a table, beside its entries."""

    __slots__ = ("age", "asked_at", "flights", "generation", "name", "watermark")

    def __init__(self, name: str, age: float) -> None:
        self.name = name
        self.age = age
        self.generation = 0
        self.watermark: object = UNSEEN
        self.flights: dict[bytes, Flight] = {}
        self.asked_at = 0.0


class Asked:
    """One table of one request: what it asks for, and what it has so far.

    `open`: places without a result yet. `own`: those that this request reads now, in `flight`; `joined`: those that
    somebody else reads. `taken_in`: the generation of what came from others, `needed`: that which it must be of.
    """

    __slots__ = (
        "arrived",
        "error",
        "flight",
        "joined",
        "keys",
        "needed",
        "open",
        "own",
        "read_at",
        "results",
        "table",
        "taken",
        "taken_in",
    )

    def __init__(self, table: CachedTable, keys: Sequence[bytes], now: float) -> None:
        self.arrived = now
        self.table = table
        self.keys = keys
        self.results: list[ReadResult] = [None] * len(keys)
        self.read_at = [now] * len(keys)
        self.open: Sequence[int] = range(len(keys))
        self.own: list[int] = []
        self.joined: list[tuple[int, Flight]] = []
        self.taken: list[int] = []
        self.taken_in = self.needed = 0
        self.flight: Flight | None = None
        self.error: OnlineError | None = None

    def answer(self) -> TableRead:
        """The whole table's failure, if nothing else is known; else what is known of each key."""
        if self.error is not None:
            known = any(not isinstance(result, ReadFailure) for result in self.results)
            if not known or isinstance(self.error, StoreRefusedError):
                return TableRead([], error=self.error)
        if not self.taken:
            return TableRead(self.results)
        ages = np.maximum((self.arrived - np.array(self.read_at)) * 1e6, 0).astype(np.int64)
        return TableRead(self.results, ages)
