"""What was read never goes back, and what happens where it must."""

from collections.abc import Sequence

import pytest

from feature_assets.errors import StoreThrottledError, StoreUnreachableError
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.monotonic import MonotonicReads
from feature_assets.serving.reads import ReadOptions, TableKeys, TableRead

T = "view.0"


class Replicas:
    """What an ordinary read and a consistent one see of each key; keeps how it was asked."""

    def __init__(self) -> None:
        self.seen: dict[bytes, int] = {}
        self.true: dict[bytes, int] = {}
        self.asked: list[tuple[list[bytes], bool]] = []
        self.failing: ReadFailure | StoreUnreachableError | StoreThrottledError | None = None

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        answers = []
        for _, keys in requests:
            self.asked.append((list(keys), options.consistent))
            held = self.true if options.consistent else self.seen
            failing = self.failing if options.consistent else None
            if isinstance(failing, ReadFailure):
                answers.append(TableRead([failing] * len(keys)))
            elif failing is not None:
                answers.append(TableRead([], error=failing))
            else:
                answers.append(TableRead([Stored(held[key], b"") if key in held else None for key in keys]))
        return answers


def seqs(reads: MonotonicReads, *keys: bytes, consistent: bool = False) -> list[ReadResult | int]:
    answer = reads.read_all([(T, keys)], ReadOptions(consistent=consistent))[0]
    assert answer.error is None
    return [one.seq if isinstance(one, Stored) else one for one in answer.results]


def test_what_lags_behind_is_read_again_consistently() -> None:
    store = Replicas()
    reads = MonotonicReads(store)
    store.seen = store.true = {b"a": 5, b"b": 1}
    assert seqs(reads, b"a", b"b") == [5, 1]
    store.seen, store.true = {b"a": 4}, {b"a": 6, b"b": 1}
    assert seqs(reads, b"a", b"b", b"c") == [6, 1, None]
    assert store.asked[1:] == [([b"a", b"b", b"c"], False), ([b"a", b"b"], True)]
    assert (reads.stats().read_again, reads.stats().went_back) == (2, 0)
    # And from then on it is no lower than that.
    assert seqs(reads, b"a") == [6]


def test_what_a_consistent_read_does_not_find_is_absent_and_may_begin_anew() -> None:
    store = Replicas()
    reads = MonotonicReads(store)
    store.seen = store.true = {b"a": 5}
    assert seqs(reads, b"a") == [5]
    store.seen = store.true = {}
    assert seqs(reads, b"a") == [None]
    store.seen = store.true = {b"a": 1}
    assert seqs(reads, b"a") == [1]


@pytest.mark.parametrize("consistent", [False, True])
def test_what_is_lower_even_then_is_an_error_once(consistent: bool) -> None:
    store = Replicas()
    reads = MonotonicReads(store)
    store.seen = store.true = {b"a": 5}
    assert seqs(reads, b"a") == [5]
    store.seen = store.true = {b"a": 2}
    assert seqs(reads, b"a", consistent=consistent) == [ReadFailure.ERROR]
    assert reads.stats().went_back == 1
    assert seqs(reads, b"a", consistent=consistent) == [2]


@pytest.mark.parametrize(
    ("failing", "reported"),
    [
        (ReadFailure.TIMEOUT, ReadFailure.TIMEOUT),
        (StoreUnreachableError("down"), ReadFailure.ERROR),
        (StoreThrottledError("slower"), ReadFailure.THROTTLED),
    ],
)
def test_what_cannot_be_read_again_is_unknown(
    failing: ReadFailure | StoreUnreachableError | StoreThrottledError, reported: ReadFailure
) -> None:
    store = Replicas()
    reads = MonotonicReads(store)
    store.seen = store.true = {b"a": 5, b"b": 2}
    assert seqs(reads, b"a", b"b") == [5, 2]
    store.seen, store.failing = {b"b": 2}, failing
    assert seqs(reads, b"a", b"b") == [reported, 2]
    # It is still known how far it was.
    store.failing = None
    assert seqs(reads, b"a") == [5]


def test_the_memory_is_bounded_and_forgets_what_was_not_read_for_longest() -> None:
    store = Replicas()
    reads = MonotonicReads(store, 100)
    store.seen = {b"%d" % n: 2 for n in range(1000)}
    store.true = dict(store.seen)
    for n in range(1000):
        seqs(reads, b"%d" % n)
        assert reads.stats().remembered <= 101
    store.seen = dict.fromkeys(store.seen, 1)
    assert seqs(reads, b"0") == [1]
    assert seqs(reads, b"999") == [2]


def test_what_is_read_again_and_again_is_never_forgotten_however_much_else_is_read() -> None:
    replicas = Replicas()
    reads = MonotonicReads(replicas, keys=4)
    replicas.seen[b"hot"] = replicas.true[b"hot"] = 9
    for number in range(40):
        key = b"%d" % number
        replicas.seen[key] = 1
        assert seqs(reads, b"hot", key) == [9, 1]
        assert seqs(reads, b"hot") == [9]
    replicas.seen[b"hot"] = 8
    assert seqs(reads, b"hot") == [9]
    assert reads.stats().read_again == 1


def test_a_table_that_fails_changes_nothing() -> None:
    store = Replicas()
    store.failing = StoreUnreachableError("down")
    answer = MonotonicReads(store).read_all([(T, [b"a"])], ReadOptions(consistent=True))
    assert answer[0].error is store.failing


def test_a_read_that_was_overtaken_lowers_nothing() -> None:
    store = Replicas()
    reads = MonotonicReads(store)
    store.seen = store.true = {b"a": 1}

    class Overtaken:
        """Reads, and before it says what, another request reads more."""

        done = False

        def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
            answers = store.read_all(requests, options)
            if not self.done:
                self.done = True
                store.seen = store.true = {b"a": 2}
                assert seqs(reads, b"a") == [2]
                store.seen = {b"a": 1}
            return answers

    reads = MonotonicReads(Overtaken())
    assert seqs(reads, b"a") == [1]
    assert seqs(reads, b"a") == [2]
