"""A store that fails the way real ones do: item by item, in the middle of a batch, and without saying what it did.

Invariant: whatever it answers is allowed by `OnlineStore`: it withholds answers and refuses, and never lies. The faults
are drawn from a seeded generator, so that a failure can be run again.
It wraps any store, and injects nothing into deletes or the making of tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from feature_assets.errors import StoreUnreachableError
from feature_assets.online.store import OnlineStore, Outcome, Put, ReadFailure, ReadResult, Stored
from feature_assets.testing.clock import SimulatedClock


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How often, from 0 to 1. All but `unreachable` (a whole call, nothing sent) are per item.

    `throttled`: refused. `lost`: not applied, no answer. `unanswered`: applied, no answer. `late`: no answer, and
    applied up to `late_by` after. `raced`: another writer puts the item again, unchanged, just before. `unread`: a key
    of a read that the store left out.
    """

    unreachable: float = 0.01
    throttled: float = 0.03
    lost: float = 0.04
    unanswered: float = 0.06
    late: float = 0.03
    raced: float = 0.02
    unread: float = 0.04


SOME_FAULTS = FaultRates()
NO_FAULTS = FaultRates(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class FaultyStore:
    """An `OnlineStore` over another one. `between` is called before each item: here a simulation runs somebody else.

    With a `clock`, every item takes up to `latency` microseconds of simulated time, and what is late is applied by
    `deliver`, at most `late_by` microseconds after it was sent.
    """

    def __init__(
        self,
        inner: OnlineStore,
        rng: Random,
        rates: FaultRates = SOME_FAULTS,
        *,
        clock: SimulatedClock | None = None,
        latency: int = 0,
        late_by: int = 0,
        between: Callable[[], None] | None = None,
    ) -> None:
        self.inner = inner
        self.target = inner.target
        self.max_item_bytes = inner.max_item_bytes
        self.rates = rates
        self.calls = 0
        self._rng = rng
        self._clock = clock
        self._latency = latency
        self._late_by = late_by
        self._between = between
        self._late: list[tuple[int, str, Put]] = []

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.calls += 1
        results = self.inner.read(table, keys, consistent=consistent, deadline=deadline)
        rng, unread = self._rng, self.rates.unread
        return [self.left_out() if rng.random() < unread else result for result in results]

    def left_out(self) -> ReadResult:
        """What is reported for a key that the store did not get to."""
        return self._rng.choice(_READ_FAILURES)

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        self.calls += 1
        if self._rng.random() < self.rates.unreachable:
            raise StoreUnreachableError(f"{self.target} does not answer", hint="a fault of the test: try again")
        return [self._write_one(table, put) for put in puts]

    def deliver(self, *, everything: bool = False) -> None:
        """Apply the late writes that are due by now (or all of them), whose senders gave up on them long ago."""
        if not self._late:
            return
        now = self._clock.us if self._clock is not None else 0
        due = [late for late in self._late if everything or late[0] <= now]
        self._late = [late for late in self._late if late not in due]
        for _, table, put in due:
            self.inner.write(table, [put])

    def prepare(self, table: str) -> None:
        self.inner.prepare(table)

    def drop(self, table: str) -> None:
        self.inner.drop(table)

    def tables(self) -> list[str]:
        return self.inner.tables()

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        self.inner.delete(table, keys)

    def close(self) -> None:
        self.inner.close()

    def _write_one(self, table: str, put: Put) -> Outcome:
        if self._between is not None:
            self._between()
        if self._clock is not None and self._latency:
            self._clock.tick(self._rng.randrange(self._latency))
        draw = self._rng.random()
        for rate, fault in (
            (self.rates.throttled, self._throttle),
            (self.rates.lost, self._lose),
            (self.rates.unanswered, self._apply_silently),
            (self.rates.late, self._delay),
            (self.rates.raced, self._race),
        ):
            if draw < rate:
                return fault(table, put)
            draw -= rate
        return self._apply(table, put)

    def _apply(self, table: str, put: Put) -> Outcome:
        return self.inner.write(table, [put])[0]

    def _throttle(self, table: str, put: Put) -> Outcome:
        del table, put
        return Outcome.THROTTLED

    def _lose(self, table: str, put: Put) -> Outcome:
        del table, put
        return Outcome.UNKNOWN

    def _apply_silently(self, table: str, put: Put) -> Outcome:
        self._apply(table, put)
        return Outcome.UNKNOWN

    def _delay(self, table: str, put: Put) -> Outcome:
        now = self._clock.us if self._clock is not None else 0
        self._late.append((now + self._rng.randrange(self._late_by + 1), table, put))
        return Outcome.UNKNOWN

    def _race(self, table: str, put: Put) -> Outcome:
        stored = self.inner.read(table, [put.key], consistent=True)[0]
        if isinstance(stored, Stored):
            self.inner.write(table, [Put(put.key, stored.seq, stored.value, put.expires_at)])
        return self._apply(table, put)


_READ_FAILURES = (ReadFailure.THROTTLED, ReadFailure.TIMEOUT, ReadFailure.ERROR)
