"""Per client and key, what was read never goes back: a bounded memory of the highest seq seen of each item.

Invariant: a read that begins after another one has ended never returns a lower seq of the same item, nor that the item
is absent, unless a consistent read says so. An eventually consistent store may: its replicas lag behind one another.

What is lower than it was before, or absent and was there, is read again, consistently. What the store then says is the
truth: absent is absent (deleted, or expired), and the item is forgotten. A seq that is lower even then is another item
under the same key, written after the store had dropped the first one, or the same one of a store that has lost writes.
The two cannot be told apart by a seq: the answer is ERROR once, counted in `went_back`, and what is there counts from
then on, as an entity that came back must not stay unknown.

The memory is bounded: of a key that was not read among the last `keys` ones nothing is known, and it may go back once,
by what replicas lag (DynamoDB: usually well under a second). Another life of a version has another table, and so
begins anew. Watermarks are items, and don't go back either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

import msgspec
from msgspec.structs import replace

from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.reads import ItemReads, ReadOptions, TableKeys, TableRead, failure_of

KEYS: Final = 200_000


@dataclass(frozen=True, slots=True)
class MonotonicStats:
    """Counts since the start. `read_again`: items read once more, consistently. `went_back`: were lower even then."""

    read_again: int
    went_back: int
    remembered: int


class _Floor(msgspec.Struct, frozen=True):
    """What was known before a read: the seq of each key, None if none was; and whether all are in the young half."""

    seqs: list[int | None]
    are_young: bool

    def is_met_by(self, answer: TableRead) -> bool:
        """Whether all items are there with just these seqs: then nothing is to be judged, and nothing to remember."""
        try:
            return self.are_young and [result.seq for result in answer.results] == self.seqs  # type: ignore[union-attr]
        except AttributeError:
            # What has no seq is no item.
            return False

    def lower(self, answer: TableRead) -> list[int]:
        """The places at which less is said than was known."""
        if answer.error is not None:
            return []
        return [
            at
            for at, (result, seq) in enumerate(zip(answer.results, self.seqs, strict=True))
            if seq and (result is None or (isinstance(result, Stored) and result.seq < seq))
        ]


class _Seqs:
    """The highest seq by table and key, of the `keys` / 2 to `keys` last written. Not safe without a lock.

    Two halves: what is written goes into the young one; when that is full it becomes the old one, which is forgotten.
    """

    def __init__(self, keys: int) -> None:
        self._half = max(1, keys // 2)
        self._young: dict[str, dict[bytes, int]] = {}
        self._old: dict[str, dict[bytes, int]] = {}
        self._in_young = 0
        self._in_old = 0

    def __len__(self) -> int:
        return self._in_young + self._in_old

    def of(self, table: str, keys: Sequence[bytes]) -> "_Floor":
        """Of each key the highest seq, None if none is known."""
        known: list[int | None] = list(map(self._young.get(table, {}).get, keys))
        if None not in known:
            return _Floor(known, are_young=True)
        old = self._old.get(table, {})
        seqs = [old.get(key) if seq is None else seq for key, seq in zip(keys, known, strict=True)]
        return _Floor(seqs, are_young=False)

    def raise_to(self, table: str, keys: Sequence[bytes], results: Sequence[ReadResult]) -> None:
        """What was read; a lower seq of a read that overlapped another one changes nothing."""
        young = self._young.setdefault(table, {})
        old = self._old.get(table, {})
        before = len(young)
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, Stored):
                seq = result.seq
                known = young.get(key)
                if known is None:
                    known = old.get(key, 0)
                    young[key] = max(seq, known)
                elif known < seq:
                    young[key] = seq
        self._in_young += len(young) - before
        if self._in_young > self._half:
            self._old, self._in_old = self._young, self._in_young
            self._young, self._in_young = {}, 0

    def forget(self, table: str, keys: Sequence[bytes]) -> None:
        """As if they had never been seen."""
        for key in keys:
            if self._young.get(table, {}).pop(key, None) is not None:
                self._in_young -= 1
            if self._old.get(table, {}).pop(key, None) is not None:
                self._in_old -= 1


class MonotonicReads:
    """`ItemReads` over others, of which nothing goes back. `keys`: how many it remembers at most."""

    def __init__(self, inner: ItemReads, keys: int = KEYS) -> None:
        self._inner = inner
        self._seqs = _Seqs(keys)
        self._lock = Lock()
        self._read_again = 0
        self._went_back = 0

    def stats(self) -> MonotonicStats:
        """What it did so far."""
        with self._lock:
            return MonotonicStats(self._read_again, self._went_back, len(self._seqs))

    def read_all(self, requests: Sequence[TableKeys], options: ReadOptions) -> list[TableRead]:
        # What others learn while this reads is not its past: only what was known before it began counts.
        with self._lock:
            floors = [self._seqs.of(table, keys) for table, keys in requests]
        answers = self._inner.read_all(requests, options)
        if all(floor.is_met_by(answer) for answer, floor in zip(answers, floors, strict=True)):
            return answers
        lower = [floor.lower(answer) for answer, floor in zip(answers, floors, strict=True)]
        if any(lower):
            answers = self._settled(requests, options, answers, floors, lower)
        with self._lock:
            for (table, keys), answer in zip(requests, answers, strict=True):
                if answer.error is None:
                    self._seqs.raise_to(table, keys, answer.results)
        return answers

    def _settled(
        self,
        requests: Sequence[TableKeys],
        options: ReadOptions,
        answers: Sequence[TableRead],
        floors: Sequence[_Floor],
        lower: Sequence[Sequence[int]],
    ) -> list[TableRead]:
        """The answers, with what a consistent read says of the places that are `lower` than they were."""
        again: list[TableKeys] = [
            (table, [keys[at] for at in places])
            for (table, keys), places in zip(requests, lower, strict=True)
            if places
        ]
        asked = sum(len(keys) for _, keys in again)
        if options.consistent:
            truth = iter(
                [
                    replace(answer, results=[answer.results[at] for at in places])
                    for answer, places in zip(answers, lower, strict=True)
                    if places
                ]
            )
        else:
            with self._lock:
                self._read_again += asked
            truth = iter(self._inner.read_all(again, replace(options, consistent=True)))
        settled = []
        for (table, keys), answer, floor, places in zip(requests, answers, floors, lower, strict=True):
            settled.append(self._judged(table, keys, answer, floor, places, next(truth)) if places else answer)
        return settled

    def _judged(
        self,
        table: str,
        keys: Sequence[bytes],
        answer: TableRead,
        floor: _Floor,
        places: Sequence[int],
        truth: TableRead,
    ) -> TableRead:
        """One answer, with what is true of `places`: what cannot be read, or is still lower, is a failure."""
        results = list(answer.results)
        true = truth.results if truth.error is None else [failure_of(truth.error)] * len(places)
        begun_anew, went_back = [], 0
        for at, result in zip(places, true, strict=True):
            results[at] = result
            if result is None:
                begun_anew.append(keys[at])
            elif isinstance(result, Stored) and result.seq < (floor.seqs[at] or 0):
                begun_anew.append(keys[at])
                results[at] = ReadFailure.ERROR
                went_back += 1
        with self._lock:
            self._seqs.forget(table, begun_anew)
            self._went_back += went_back
        return replace(answer, results=results)
