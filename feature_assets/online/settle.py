"""Read, decide, write, until every key of a batch is settled: the one loop through which items are changed.

Invariant: what is written was decided from the item that the write is conditional on, and a key counts as settled only
by an acknowledgement or by a decision, on a fresh read, that nothing is to be done. Nothing that failed is retried
without a pause, and nothing for ever.
It does not know what is decided, and it never sleeps: it yields its pauses.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from feature_assets.errors import ItemTooLargeError, StoreRefusedError, StoreUnreachableError
from feature_assets.online.protocol import WriteProtocol
from feature_assets.online.store import OnlineStore, Outcome, Put, ReadFailure, Stored

_CONTENDED = 10
"""How many times more rounds in a row may end in conflicts alone: in each of them some other writer got on."""


_MOST_DOUBLINGS = 30
"""More would be no longer pause, and some day no number."""


class Step(msgspec.Struct, frozen=True):
    """A point between two effects: here a process may die or sleep, and a simulator may run another.

    `pause`: seconds to wait before going on. `done` of `total`: how far the work is, where that is known.
    """

    name: str
    pause: float = 0.0
    done: int = 0
    total: int = 0


class Change(msgspec.Struct, frozen=True):
    """What is to be stored under a key."""

    value: bytes
    expires_at: int | None = None


Decide = Callable[[bytes, Stored | None], Change | None]
"""From a key and what is stored under it to the change; None: there is nothing to do."""


class Fault(msgspec.Struct, frozen=True):
    """Why a key is not settled after the last round."""

    key: bytes
    cause: Outcome | ReadFailure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep at it: `rounds` in a row that settle nothing, with pauses that double from `first` to `longest`.

    A round that ends in conflicts alone counts for little, as every conflict is another writer's progress.
    While less than half of a round trip is refused, pauses stay short. `jitter` draws from [0, 1): a pause is uniform
    between nothing and its full length, so that writers spread out.
    """

    jitter: Callable[[], float]
    rounds: int = 10
    first: float = 0.05
    longest: float = 5.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th round in a row that mostly failed."""
        return self.jitter() * min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


@dataclass(slots=True)
class Tally:
    """What a batch, or a whole push, has done so far. `settled`: keys, written or found to need nothing."""

    settled: int = 0
    written: int = 0
    conflicts: int = 0
    retried: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Settling:
    """Where and how to settle. `steps` is the prefix of the names of the steps."""

    store: OnlineStore
    table: str
    steps: str
    protocol: WriteProtocol
    retries: RetryPolicy
    tally: Tally

    def settle(
        self, keys: Sequence[bytes], decide: Decide, *, batch: int, assume_absent: bool = False
    ) -> Generator[Step, None, tuple[Fault, ...]]:
        """Settle distinct keys, `batch` at a time; returns those that are not settled when the retries are used up.

        What was not settled in one round trip goes along in the next one, beside keys whose turn it is, so that a busy
        store costs few more calls. `assume_absent` skips the first read; the write is still conditional, so that a
        wrong assumption is a conflict. Raises `StoreRefusedError` and `ItemTooLargeError`, after which other keys may
        have been written.
        """
        waiting = iter(keys)
        pending: list[bytes] = []
        known: dict[bytes, Stored | None] = {}
        stalled = refusals = failures = 0
        while True:
            fresh = list(islice(waiting, batch - len(pending)))
            if assume_absent:
                known.update(dict.fromkeys(fresh))
            pending += fresh
            if not pending:
                return ()
            causes = self._read(pending, known)
            yield Step(f"{self.steps}.after_read")
            tried, pending = pending, (yield from self._write(pending, known, decide, causes))
            known = {key: known[key] for key in pending if key in known}
            self.tally.settled += len(tried) - len(pending)
            yield Step(f"{self.steps}.after_batch")
            if not pending:
                continue
            refused = sum(cause is not Outcome.CONFLICT for cause in causes.values())
            stuck = len(pending) == len(tried)
            stalled, refusals = (stalled + 1, refusals + bool(refused)) if stuck else (0, 0)
            if refusals >= self.retries.rounds or stalled >= _CONTENDED * self.retries.rounds:
                return tuple(Fault(key, causes.get(key, causes[pending[0]])) for key in (*pending, *waiting))
            self.tally.retried += len(pending)
            failures = failures + 1 if 2 * refused >= len(tried) else min(refused, 1)
            # After a conflict alone somebody else has moved on, and the item is read again at once.
            crowded = max(failures, stalled - self.retries.rounds)
            yield Step(f"{self.steps}.backoff", self.retries.pause(crowded) if crowded > 0 else 0.0)

    def _read(self, pending: Sequence[bytes], known: dict[bytes, Stored | None]) -> dict[bytes, Outcome | ReadFailure]:
        """Read what is not known; returns why that failed, by key."""
        causes: dict[bytes, Outcome | ReadFailure] = {}
        wanted = [key for key in pending if key not in known]
        if not wanted:
            return causes
        for key, result in zip(wanted, self.store.read(self.table, wanted, consistent=True), strict=True):
            if isinstance(result, ReadFailure):
                causes[key] = result
            else:
                known[key] = result
        return causes

    def _write(
        self,
        pending: Sequence[bytes],
        known: dict[bytes, Stored | None],
        decide: Decide,
        causes: dict[bytes, Outcome | ReadFailure],
    ) -> Generator[Step, None, list[bytes]]:
        """Write what is decided; returns the keys that are not settled, and leaves their causes behind."""
        puts = [
            self._put(key, known[key], change)
            for key in pending
            if key in known and (change := decide(key, known[key])) is not None
        ]
        if not puts:
            return [key for key in pending if key in causes]
        outcomes = self._outcomes(puts)
        yield Step(f"{self.steps}.after_write")
        for put, outcome in zip(puts, outcomes, strict=True):
            self._count(put, outcome)
            if not self.protocol.settled(outcome):
                causes[put.key] = outcome
                # What is stored now is not what was read: the next round looks again.
                del known[put.key]
        return [key for key in pending if key in causes]

    def _put(self, key: bytes, stored: Stored | None, change: Change) -> Put:
        if len(change.value) > self.store.max_item_bytes:
            raise ItemTooLargeError(
                f"table {self.table!r}: the item of key {key.hex()} would have {len(change.value)} bytes, "
                f"and {self.store.target} takes {self.store.max_item_bytes}",
                hint="serve fewer or smaller features in one view: split it into two views of the same entity",
            )
        return Put(key, self.protocol.expected(stored), change.value, change.expires_at)

    def _outcomes(self, puts: Sequence[Put]) -> list[Outcome]:
        try:
            return self.store.write(self.table, puts)
        except StoreUnreachableError:
            # Nothing was sent; the cautious reading of that costs one more look at the items.
            return [Outcome.UNKNOWN] * len(puts)

    def _count(self, put: Put, outcome: Outcome) -> None:
        if outcome is Outcome.REFUSED:
            raise StoreRefusedError(
                f"table {self.table!r}: {self.store.target} refused the item of key {put.key.hex()}",
                hint="the store's own message is in its log: permissions, a missing table, or an item it does not take",
            )
        self.tally.conflicts += outcome is Outcome.CONFLICT
        if outcome is Outcome.APPLIED:
            self.tally.written += 1
            self.tally.sent_bytes += len(put.value)
