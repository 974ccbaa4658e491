"""An online store in memory: the protocol's meaning in its shortest form, for tests and simulations.

Invariant: a put is applied iff the stored seq is the expected one, one item at a time under a lock. Nothing expires and
nothing survives its process.
"""

from collections.abc import Sequence
from threading import Lock

from feature_assets.errors import StoreRefusedError
from feature_assets.online.store import Outcome, Put, ReadResult, Stored

DYNAMODB_ITEM_BYTES = 400_000
"""What DynamoDB takes is 400 KB with the names of the attributes; the same bound here, so that tests meet it."""


class MemoryStore:
    """An `OnlineStore` over dictionaries. Safe to share between threads."""

    def __init__(self, name: str = "memory", *, max_item_bytes: int = DYNAMODB_ITEM_BYTES) -> None:
        self.target = f"memory:{name}"
        self.max_item_bytes = max_item_bytes
        self._tables: dict[str, dict[bytes, Stored]] = {}
        self._lock = Lock()

    def prepare(self, table: str) -> None:
        with self._lock:
            self._tables.setdefault(table, {})

    def drop(self, table: str) -> None:
        with self._lock:
            self._tables.pop(table, None)

    def tables(self) -> list[str]:
        with self._lock:
            return sorted(self._tables)

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        """All reads are consistent and take no time. Raises `StoreRefusedError` for a table that was not prepared."""
        del consistent, deadline
        with self._lock:
            items = self._items(table)
            return [items.get(key) for key in keys]

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        with self._lock:
            items = self._tables.get(table)
            return [Outcome.REFUSED if items is None else self._written(items, put) for put in puts]

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        with self._lock:
            items = self._items(table)
            for key in keys:
                items.pop(key, None)

    def close(self) -> None:
        """There is nothing to release."""

    def _items(self, table: str) -> dict[bytes, Stored]:
        items = self._tables.get(table)
        if items is None:
            raise StoreRefusedError(f"{self.target} has no table {table!r}", hint="prepare the table before it is used")
        return items

    def _written(self, items: dict[bytes, Stored], put: Put) -> Outcome:
        if len(put.value) > self.max_item_bytes:
            return Outcome.REFUSED
        if not self.accepts(items.get(put.key), put):
            return Outcome.CONFLICT
        items[put.key] = Stored(put.expected + 1, put.value)
        return Outcome.APPLIED

    def accepts(self, stored: Stored | None, put: Put) -> bool:
        """The condition of every write: the stored seq is the expected one, 0 standing for no item."""
        return put.expected == (0 if stored is None else stored.seq)
