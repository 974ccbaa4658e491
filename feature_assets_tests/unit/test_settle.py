"""The loop through which items are changed: what it retries, how long it waits, and that it ends."""

from collections.abc import Callable, Sequence

import pytest

from feature_assets.online.memory import MemoryStore
from feature_assets.online.protocol import WriteProtocol
from feature_assets.online.settle import Change, Fault, RetryPolicy, Settling, Tally
from feature_assets.online.store import Outcome, Put, ReadFailure, ReadResult, Stored

Answer = Callable[[int, Put], Outcome | None]
KEYS = [bytes([number]) for number in range(10)]


class Scripted(MemoryStore):
    """`answers(round, put)` replaces the outcome of a put; None lets it through. `unread` keys cannot be read."""

    def __init__(self, answers: Answer = lambda _, __: None) -> None:
        super().__init__()
        self.prepare("t")
        self.answers = answers
        self.unread: set[bytes] = set()
        self.rounds: list[list[bytes]] = []

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        assert consistent, "a writer reads what was acknowledged"
        found = super().read(table, keys, consistent=consistent, deadline=deadline)
        return [
            ReadFailure.THROTTLED if key in self.unread else result for key, result in zip(keys, found, strict=True)
        ]

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        self.rounds.append([put.key for put in puts])
        outcomes = []
        for put in puts:
            answer = self.answers(len(self.rounds), put)
            outcomes.append(super().write(table, [put])[0] if answer is None else answer)
        return outcomes


def once(key: bytes, stored: Stored | None) -> Change | None:
    """Every item is to say `done`."""
    del key
    return Change(b"done") if stored is None or stored.value != b"done" else None


def settled(
    store: Scripted, *, batch: int = 4, rounds: int = 3, assume_absent: bool = False
) -> tuple[tuple[Fault, ...], list[float], Tally]:
    tally = Tally()
    retries = RetryPolicy(jitter=lambda: 1.0, rounds=rounds, first=1.0, longest=8.0)
    settling = Settling(store, "t", "test", WriteProtocol(), retries, tally)
    steps = settling.settle(KEYS, once, batch=batch, assume_absent=assume_absent)
    pauses: list[float] = []
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            faults: tuple[Fault, ...] = end.value
            return faults, pauses, tally
        if step.name == "test.backoff":
            pauses.append(step.pause)


@pytest.mark.parametrize("assume_absent", [True, False])
def test_every_key_is_written_once_in_order(assume_absent: bool) -> None:
    store = Scripted()
    faults, pauses, tally = settled(store, assume_absent=assume_absent)
    assert (faults, pauses) == ((), [])
    assert store.rounds == [KEYS[:4], KEYS[4:8], KEYS[8:]]
    assert (tally.settled, tally.written, tally.conflicts, tally.retried, tally.sent_bytes) == (10, 10, 0, 0, 40)


def test_what_was_refused_goes_along_with_what_comes_next() -> None:
    store = Scripted(lambda turn, put: Outcome.THROTTLED if turn == 1 and put.key in KEYS[1:3] else None)
    faults, pauses, tally = settled(store)
    assert faults == ()
    assert store.rounds == [KEYS[:4], [KEYS[1], KEYS[2], KEYS[4], KEYS[5]], KEYS[6:]]
    assert pauses == [1.0]
    assert (tally.settled, tally.retried) == (10, 2)


def test_a_wrong_assumption_is_a_conflict_and_costs_a_read_and_no_pause() -> None:
    store = Scripted()
    MemoryStore.write(store, "t", [Put(KEYS[0], 0, b"old"), Put(KEYS[1], 0, b"done")])
    faults, pauses, tally = settled(store, batch=10, assume_absent=True)
    assert (faults, pauses) == ((), [0.0])
    assert (tally.settled, tally.conflicts, tally.written) == (10, 2, 9)
    assert store.read("t", KEYS[:2], consistent=True) == [Stored(2, b"done"), Stored(1, b"done")]


def test_what_cannot_be_read_is_not_written() -> None:
    store = Scripted()
    store.unread = {KEYS[0]}
    faults, pauses, tally = settled(store, batch=10)
    assert faults == (Fault(KEYS[0], ReadFailure.THROTTLED),)
    assert (tally.written, len(pauses)) == (9, 3)


def test_pauses_grow_while_most_is_refused_and_stay_short_while_little_is() -> None:
    most = Scripted(lambda turn, put: Outcome.THROTTLED if turn < 6 and put.key != KEYS[turn] else None)
    assert settled(most, batch=10, rounds=20)[1] == [1.0, 2.0, 4.0, 8.0, 8.0]
    little = Scripted(lambda turn, put: Outcome.UNKNOWN if turn < 6 and put.key == KEYS[0] else None)
    assert settled(little, batch=4, rounds=20)[1] == [1.0, 1.0, 1.0, 2.0, 4.0]


def test_it_ends_when_nothing_moves_and_names_all_that_is_left() -> None:
    store = Scripted(lambda _, __: Outcome.UNKNOWN)
    faults, pauses, tally = settled(store, batch=4, rounds=3)
    assert [fault.key for fault in faults] == KEYS
    assert {fault.cause for fault in faults} == {Outcome.UNKNOWN}
    assert (len(store.rounds), len(pauses), tally.settled) == (3, 2, 0)


def test_it_ends_also_when_there_are_conflicts_alone_and_waits_before() -> None:
    store = Scripted(lambda _, __: Outcome.CONFLICT)
    faults, pauses, _ = settled(store, batch=10, rounds=3)
    assert len(faults) == 10
    assert len(store.rounds) == 30
    assert pauses[:3] == [0.0, 0.0, 0.0]
    assert all(pause > 0.0 for pause in pauses[3:])


def test_a_very_long_refusal_has_a_longest_pause() -> None:
    policy = RetryPolicy(jitter=lambda: 1.0, first=0.5, longest=7.0)
    assert policy.pause(1) == 0.5
    assert policy.pause(10_000) == 7.0
