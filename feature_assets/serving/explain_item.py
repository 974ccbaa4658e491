"""The item that an answer was computed from, as it was read.

Invariant: what is told of an item is of the very bytes that the reader was given; nothing is read a second time.
It decodes no values and decides nothing.
"""

from collections.abc import Sequence

import pyarrow as pa

from feature_assets.clock import from_us
from feature_assets.errors import CodecError, StoreRefusedError
from feature_assets.online.item import Item, table_name, unpack_item
from feature_assets.online.store import OnlineStore, Outcome, Put, ReadFailure, ReadResult, Stored
from feature_assets.serving.explain_values import plain_rows
from feature_assets.serving.explanation import Section, StoredItem


class Overheard:
    """An online store that remembers what was read of it. It reads tables one by one, and writes nothing."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self.target = store.target
        self.max_item_bytes = store.max_item_bytes
        self.read_results: dict[tuple[str, bytes], ReadResult] = {}

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        """As the store reads."""
        results = self._store.read(table, keys, consistent=consistent, deadline=deadline)
        self.read_results.update({(table, key): result for key, result in zip(keys, results, strict=True)})
        return results

    def tables(self) -> list[str]:
        """As the store has them."""
        return self._store.tables()

    def close(self) -> None:
        """It is somebody else's."""

    def prepare(self, table: str) -> None:
        """Refused."""
        raise _refused(table)

    def drop(self, table: str) -> None:
        """Refused."""
        raise _refused(table)

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        """Refused."""
        del puts
        raise _refused(table)

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        """Refused."""
        del keys
        raise _refused(table)

    def table_of(self, view: str, version: str) -> str | None:
        """The table in which a version of a view was read last."""
        names = list(dict.fromkeys(table for table, _ in self.read_results))
        lives = (name for name in reversed(names) if _is_of(name, view, version))
        return next(lives, None)

    def item(self, table: str, key: bytes) -> Item | None:
        """The item as the reader had it; an empty one if the store has none, None where that is unknown."""
        result = self.read_results.get((table, key), ReadFailure.ERROR)
        if result is None:
            return Item()
        try:
            return unpack_item(result.value, result.seq) if isinstance(result, Stored) else None
        except CodecError:
            return None

    def told(self, table: str, key: bytes, keys: pa.Table) -> StoredItem:
        """What there is to tell of an item."""
        result = self.read_results.get((table, key), ReadFailure.ERROR)
        shown = plain_rows(keys)[0]
        if not isinstance(result, Stored):
            failure = "" if result is None else f"the store reported: {result.value}"
            return StoredItem(table=table, key=shown, found=False, failure=failure)
        size = len(result.value)
        try:
            item = unpack_item(result.value, result.seq)
        except CodecError as error:
            return StoredItem(table=table, key=shown, found=True, seq=result.seq, bytes=size, failure=str(error))
        cut = item.cut
        return StoredItem(
            table=table,
            key=shown,
            found=True,
            seq=item.seq,
            bytes=size,
            n=cut.n,
            fences=cut.fences,
            sections=tuple(_sections(item)),
        )


def _is_of(table: str, view: str, version: str) -> bool:
    first = table_name(view, version)
    life = table.removeprefix(f"{first}r")
    return table == first or (life != table and life.isdigit())


def _sections(item: Item) -> list[Section]:
    found = []
    if item.batch is not None:
        row, sent_at = item.batch.row, from_us(item.batch.sent_at)
        if row is None:
            found.append(Section(kind="batch", bytes=0, n=item.batch.n, sent_at=sent_at))
        else:
            found.append(
                Section(
                    kind="batch",
                    bytes=len(row.values),
                    n=item.batch.n,
                    sent_at=sent_at,
                    event_at=from_us(row.event_at),
                    sequence=row.sequence,
                    partition=row.partition,
                )
            )
    if item.streams is not None:
        streams = item.streams
        sent = max((one.sent_at for one in streams.recent), default=None)
        found.append(
            Section(
                kind="stream",
                bytes=len(streams.state),
                sent_at=None if sent is None else from_us(sent),
                fences=dict(streams.fences),
                unrecorded=len(streams.recent),
            )
        )
    return found


def _refused(table: str) -> StoreRefusedError:
    return StoreRefusedError(f"table {table!r}: an explanation writes nothing", hint="write through the store itself")
