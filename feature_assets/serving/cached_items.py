"""What a reader remembers of items: bounded in entries and bytes, and what is asked for often stays.

Invariant: never more entries, nor more bytes as they are counted here, than the bounds. With room everything is kept;
without, a new key takes the place of others only if it was asked for more often than each of them (TinyLFU's rule), or
if they have expired; so that a key asked for once never pushes out a hot one.
It reads nothing, knows no clock, and is not safe to share between threads without a lock.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from feature_assets.online.store import ReadResult, Stored
from feature_assets.serving.frequencies import Frequencies

ENTRY_BYTES: Final = 400
"""What an entry takes beside the bytes of its key and value: the objects around them, and its places in a dictionary
and the queue. Measured, and rounded up."""
_CHANCES: Final = 16
"""Entries that are passed over in one search for a victim, because they were asked for since they were looked at."""
_NOTHING: Final[Mapping[bytes, "Entry"]] = {}


@dataclass(frozen=True, slots=True)
class Reading:
    """One read of a table. Seconds of a monotonic clock.

    `started`: when it started; `generation`: that of the table, then. `lasts`: how long a result is remembered from
    `started`, asked for each.
    """

    started: float
    generation: int
    lasts: Callable[[], float]


class Entry(msgspec.Struct, gc=False):
    """One remembered result (None: surely absent). `hits`: how often it was asked for since it was read first.

    `passed`: its hits when it was last looked at as a victim; `halved`: how often all counts were halved, as of `hits`.
    It is in no cycle: the garbage collector need not look at a hundred thousand of them.
    """

    table: str
    key: bytes
    halved: int
    result: ReadResult = None
    started: float = 0.0
    expires_at: float = 0.0
    generation: int = 0
    size: int = 0
    hits: int = 0
    passed: int = 0


class CachedItems:
    """Entries by table and key. `evicted`: how many made room for others; `rejected`: how many found none."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._tables: dict[str, dict[bytes, Entry]] = {}
        # Oldest first; one that was asked for since it was last looked at goes to the end (the CLOCK rule), so that a
        # hit costs no more than to count it.
        self._queue: deque[Entry] = deque()
        self._asked = Frequencies(max_entries)
        self.bytes = 0
        self.evicted = 0
        self.rejected = 0

    def __len__(self) -> int:
        return len(self._queue)

    def of(self, table: str) -> Mapping[bytes, Entry]:
        """The entries of a table, also those that have expired."""
        return self._tables.get(table, _NOTHING)

    def missed(self, table: str, keys: Sequence[bytes]) -> None:
        """Keys were asked for and are not remembered. Counted once there is little room: before, nobody competes."""
        if len(self._queue) * 2 > self._max_entries or self.bytes * 2 > self._max_bytes:
            for key in keys:
                self._asked.add((table, key))

    def keep(self, table: str, keys: Sequence[bytes], results: Sequence[ReadResult], read: Reading) -> None:
        """Remember results, in place of older ones, as far as there is room."""
        entries = self._tables.setdefault(table, {})
        for key, result in zip(keys, results, strict=True):
            size = ENTRY_BYTES + len(key) + (len(result.value) if isinstance(result, Stored) else 0)
            entry = entries.get(key)
            if entry is None:
                crowded = len(self._queue) >= self._max_entries or self.bytes + size > self._max_bytes
                if crowded and not self._make_room(size, table, key, read.started):
                    self.rejected += 1
                    continue
                entry = entries[key] = Entry(table, key, self._asked.halved)
                self._queue.append(entry)
            self.bytes += size - entry.size
            entry.size = size
            entry.result = result
            entry.started = read.started
            entry.generation = read.generation
            entry.expires_at = read.started + read.lasts()
            # One that grew where it is takes the room of others, or has none itself.
            while self.bytes > self._max_bytes:
                self._evict(self._victim(read.started))

    def expire(self, table: str, keys: Sequence[bytes]) -> None:
        """Have keys read again; their room is free for others."""
        entries = self.of(table)
        for key in keys:
            entry = entries.get(key)
            if entry is not None:
                entry.expires_at = entry.started

    def drop(self, table: str) -> None:
        """Forget a table."""
        dropped = self._tables.pop(table, None)
        if dropped:
            self._queue = deque(entry for entry in self._queue if entry.table != table)
            self.bytes -= sum(entry.size for entry in dropped.values())

    def _make_room(self, size: int, table: str, key: bytes, now: float) -> bool:
        """Whether there is room for one more entry, after others have made it if they must."""
        if size > self._max_bytes:
            return False
        often = self._asked.of((table, key))
        while len(self._queue) >= self._max_entries or self.bytes + size > self._max_bytes:
            victim = self._victim(now)
            if victim.expires_at > now and self._frequency(victim) >= often:
                self._queue.append(victim)
                return False
            self._evict(victim)
        return True

    def _victim(self, now: float) -> Entry:
        """The next entry to go, taken out of the queue: the oldest that was not asked for lately."""
        for _ in range(_CHANCES):
            entry = self._queue.popleft()
            if entry.expires_at <= now or entry.hits == entry.passed:
                return entry
            entry.passed = entry.hits
            self._queue.append(entry)
        return self._queue.popleft()

    def _frequency(self, entry: Entry) -> int:
        """How often it was asked for: as often as it was missed, and hit since; both age alike."""
        entry.hits >>= min(self._asked.halved - entry.halved, 63)
        entry.passed, entry.halved = entry.hits, self._asked.halved
        return entry.hits + self._asked.of((entry.table, entry.key))

    def _evict(self, entry: Entry) -> None:
        """Forget an entry that is out of the queue already, but not how often it was asked for."""
        if entry.hits:
            self._asked.add((entry.table, entry.key), min(entry.hits, _CHANCES))
        del self._tables[entry.table][entry.key]
        self.bytes -= entry.size
        self.evicted += 1
