"""Items remembered for a short while, in process; many requests for one key at the same time are one read.

Invariant: no result is older than the request, the view and the options allow; nothing that failed is remembered; and a
reader that says how far a table is complete, by a watermark that it read through here, is never given an item that was
read before what that watermark covers. Why that holds: docs/decisions/0019-cached-items-and-watermarks.md.

- *Age* counts from the start of an item's read to the arrival of the request that gets it. `consistent`, and a
  `max_age` of nothing, read anew, and what they read is remembered for others.
- *One flight*: a key that is being read is not read again, but waited for, each only as long as it has time. A failed
  flight fails itself; who waited for it asks again, once and together, unless the store refused for load.
- *Generations*: watermarks are not remembered. One that differs from the last seen of its table begins a new
  generation of it, and nothing that was read in an older one answers any more.
- What is read by one request at the same time expires at different times.

It decodes nothing, and does not wait for a store longer than what it reads from does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Lock

from feature_assets.errors import StoreRefusedError
from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import ReadFailure, ReadResult
from feature_assets.serving.asked import UNSEEN, Asked, CachedTable
from feature_assets.serving.cached_items import CachedItems, Reading
from feature_assets.serving.flights import Flight
from feature_assets.serving.reads import ItemReads, ReadOptions, TableKeys, TableRead, failure_of


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """`max_age`: seconds that an item is remembered; `max_ages`: for the items of some views, by name, if shorter.

    `jitter`: by which share of it, at random, an item expires sooner. `max_bytes`, `max_entries`: the bounds.
    `idle`: seconds after which a table that nobody asks for is forgotten.
    """

    max_age: float = 1.0
    max_ages: Mapping[str, float] = field(default_factory=dict)
    jitter: float = 0.25
    max_bytes: int = 64 * 1024 * 1024
    max_entries: int = 100_000
    idle: float = 60.0

    def age_of(self, table: str) -> float:
        """How long an item of a table is remembered; its name begins with the view's, and a dot."""
        return min(self.max_age, self.max_ages.get(table.partition(".")[0], self.max_age))


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts of keys since the start; `generations` of watermarks that were new; the last three are as of now."""

    hits: int
    misses: int
    coalesced: int
    evicted: int
    rejected: int
    generations: int
    entries: int
    bytes: int
    tables: int


class CachedReads:
    """`ItemReads` over others. Safe to share between threads. `monotonic` tells seconds, `chance` is from 0 to 1."""

    def __init__(
        self,
        inner: ItemReads,
        options: CacheOptions | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._inner = inner
        self.options = options or CacheOptions()
        self._monotonic = monotonic
        self._chance = chance or Random().random  # noqa: S311 - it spreads reads, and protects nothing
        self._items = CachedItems(self.options.max_entries, self.options.max_bytes)
        self._tables: dict[str, CachedTable] = {}
        self._lock = Lock()
        self._look_at = 0.0
        self._hits = self._misses = self._coalesced = self._generations = 0

    def stats(self) -> CacheStats:
        """What it did so far, and what it holds."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                coalesced=self._coalesced,
                evicted=self._items.evicted,
                rejected=self._items.rejected,
                generations=self._generations,
                entries=len(self._items),
                bytes=self._items.bytes,
                tables=len(self._tables),
            )

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        now = self._monotonic()
        with self._lock:
            asked = [Asked(self._table(name, now), keys, now) for name, keys in requests]
            for one in asked:
                self._take(one, options, now)
        self._read(asked, options)
        for one in asked:
            self._await(one, options, last=False)
        if any(one.open for one in asked):
            again = [one for one in asked if one.open]
            began = self._monotonic()
            with self._lock:
                for one in again:
                    self._take(one, options, began)
            self._read(again, options)
            for one in again:
                self._await(one, options, last=True)
        return [one.answer() for one in asked]

    # ------------------------------------------------------------------------------------------------- under the lock
    def _table(self, name: str, now: float) -> CachedTable:
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = CachedTable(name, self.options.age_of(name))
            self._begin_generation(table)
        table.asked_at = now
        return table

    def _begin_generation(self, table: CachedTable) -> None:
        # Counted over all tables, so that one that was forgotten never begins with a number that it had.
        self._generations += 1
        table.generation = self._generations

    def _take(self, asked: Asked, options: ReadOptions, now: float) -> None:
        """Fill open places with what is remembered; join what is being read; the rest is this request's to read."""
        table, keys = asked.table, asked.keys
        asked.own, asked.joined, asked.taken_in = [], [], table.generation
        age = table.age if options.max_age is None else min(table.age, options.max_age)
        if options.consistent or age <= 0:
            asked.own = list(asked.open)
        else:
            self._take_remembered(asked, now, now - age)
        asked.open = ()
        if not asked.own:
            return
        asked.flight = Flight(now, table.generation)
        missed = [keys[at] for at in asked.own if keys[at] != WATERMARK_KEY]
        self._misses += len(missed)
        self._items.missed(table.name, missed)
        # Whatever was being read of these keys is waited for by nobody new, and not remembered.
        table.flights.update(dict.fromkeys(missed, asked.flight))

    def _take_remembered(self, asked: Asked, now: float, oldest: float) -> None:
        table, keys, results, read_at = asked.table, asked.keys, asked.results, asked.read_at
        generation, flights, entries = table.generation, table.flights, self._items.of(table.name)
        taken = len(asked.taken)
        for at in asked.open:
            key = keys[at]
            entry = entries.get(key)
            if (
                entry is not None
                and entry.expires_at > now
                and entry.generation == generation
                and entry.started >= oldest
            ):
                entry.hits += 1
                results[at], read_at[at] = entry.result, entry.started
                asked.taken.append(at)
                continue
            flight = flights.get(key)
            if flight is not None and flight.generation == generation and flight.started >= oldest:
                asked.joined.append((at, flight))
            else:
                asked.own.append(at)
        self._hits += len(asked.taken) - taken
        self._coalesced += len(asked.joined)

    def _land(self, asked: Asked, read: TableRead) -> None:
        """What this request's own read of a table said: for itself, for who waits, and to be remembered."""
        flight, table = asked.flight, asked.table
        if flight is None:
            return
        keys = [asked.keys[at] for at in asked.own]
        results = read.results
        if read.error is not None:
            asked.error = read.error
            results = [failure_of(read.error)] * len(keys)
            if isinstance(read.error, StoreRefusedError):
                self._forget(table)
        for at, result in zip(asked.own, results, strict=True):
            asked.results[at] = result
        found = dict(zip(keys, results, strict=True))
        if WATERMARK_KEY in found:
            self._see(table, flight, found.pop(WATERMARK_KEY))
            asked.needed = table.generation
        self._remember(table, flight, found)
        flight.end(found)
        asked.flight = None

    def _see(self, table: CachedTable, flight: Flight, watermark: ReadResult) -> None:
        """A watermark that is not the last seen begins a generation; what was read along with it is of that."""
        if isinstance(watermark, ReadFailure) or watermark == table.watermark:
            return
        table.watermark = watermark
        self._begin_generation(table)
        flight.generation = table.generation

    def _remember(self, table: CachedTable, flight: Flight, found: Mapping[bytes, ReadResult]) -> None:
        flights = table.flights
        keys: list[bytes] = []
        lost: list[bytes] = []
        for key in found:
            current = flights.pop(key, None)
            (keys if current is flight else lost).append(key)
        # Of a key that somebody else has begun to read since, or has read, this may not be the newest, nor what is
        # remembered of it: neither answers any more.
        self._items.expire(table.name, lost)
        if flight.generation != table.generation or self._tables.get(table.name) is not table:
            return
        kept = [key for key in keys if not isinstance(found[key], ReadFailure)]
        share, chance = self.options.jitter, self._chance
        age = table.age
        read = Reading(flight.started, flight.generation, lambda: age * (1.0 - share * chance()))
        self._items.keep(table.name, kept, [found[key] for key in kept], read)

    def _forget(self, table: CachedTable) -> None:
        """Nothing of a table answers any more; its memory is free."""
        self._items.drop(table.name)
        self._begin_generation(table)
        table.watermark = UNSEEN

    def _drop_idle(self, now: float) -> None:
        """Forget tables that nobody has asked for: most are of versions that answer no more."""
        if now < self._look_at:
            return
        self._look_at = now + self.options.idle / 4
        for name, table in list(self._tables.items()):
            if now - table.asked_at > self.options.idle and not table.flights:
                self._items.drop(name)
                del self._tables[name]

    # ---------------------------------------------------------------------------------------------- without the lock
    def _read(self, asked: Sequence[Asked], options: ReadOptions) -> None:
        """Read what is this request's to read. Whatever happens, nobody is left waiting."""
        own = [one for one in asked if one.own]
        if not own:
            return
        requests = [(one.table.name, [one.keys[at] for at in one.own]) for one in own]
        try:
            answers = self._inner.read_all(requests, options)
            with self._lock:
                for one, answer in zip(own, answers, strict=True):
                    self._land(one, answer)
                self._drop_idle(self._monotonic())
        finally:
            with self._lock:
                for one in own:
                    self._give_up(one)

    def _give_up(self, asked: Asked) -> None:
        """End a flight that has not landed."""
        if asked.flight is not None:
            for at in asked.own:
                if asked.table.flights.get(asked.keys[at]) is asked.flight:
                    del asked.table.flights[asked.keys[at]]
            asked.flight.end({})
            asked.flight = None

    def _await(self, asked: Asked, options: ReadOptions, *, last: bool) -> None:
        """What others have read for this request. What it cannot use is open again, unless this is the `last` time."""
        if asked.needed > asked.taken_in and not last:
            # Read before the watermark that this request has read: it would be said to be complete, and need not be.
            asked.open = [*asked.taken, *(at for at, _ in asked.joined)]
            for at in asked.taken:
                asked.read_at[at] = asked.arrived
            asked.taken = []
            return
        again = []
        for at, flight in asked.joined:
            if not flight.wait(options.remaining()):
                asked.results[at] = ReadFailure.TIMEOUT
                continue
            result = asked.results[at] = flight.result(asked.keys[at])
            if not last and isinstance(result, ReadFailure) and result is not ReadFailure.THROTTLED:
                again.append(at)
            else:
                asked.read_at[at] = flight.started
                asked.taken.append(at)
        asked.open = again
