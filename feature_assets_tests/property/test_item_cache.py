"""Cached reads against a store of which every past state is kept: pushes, reads, expiry and flights in any order.

What is asked of every answer: no older than it may be, nothing before what the reader says is complete, nothing absent
that was there, and nothing lower than an answer that had ended when the request began.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import ReadFailure, ReadResult, Stored
from feature_assets.serving.item_cache import CachedReads, CacheOptions
from feature_assets.serving.monotonic import MonotonicReads
from feature_assets.serving.reads import ItemReads, ReadOptions, TableRead
from feature_assets_tests.stepped import LONG, Asked, Call, Stepped

TABLE = "view.0"
KEYS = (b"a", b"b")
AGE = 10.0
SOME_KEYS = st.sampled_from([[b"a"], [b"b"], [b"a", b"b"]])
Versions = dict[bytes, int]


@dataclass
class History:
    """What one table held, and when: by key the time at which each version (1, 2, ...; 0 is none) ended.

    `complete`: by version of the watermark, what was there when it was written: what it says that everybody sees.
    """

    versions: Versions = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    ended: dict[tuple[bytes, int], float] = field(default_factory=dict)
    complete: list[Versions] = field(default_factory=lambda: [dict.fromkeys(KEYS, 0)])

    def put(self, key: bytes, now: float) -> None:
        self.ended[key, self.versions[key]] = now
        self.versions[key] += 1

    def end_push(self) -> None:
        self.complete.append(dict(self.versions))

    def result(self, key: bytes, *, lag: int = 0) -> ReadResult:
        version = len(self.complete) - 1 if key == WATERMARK_KEY else max(0, self.versions[key] - lag)
        return Stored(version, b"%d" % version) if version else None


@dataclass
class Question:
    """A request, with what the reader said and knew when it began."""

    asked: Asked
    keys: list[bytes]
    began: float
    oldest: float
    known: int | None
    floor: Versions
    judged: bool = False


class Cached(RuleBasedStateMachine):
    """`lags`: the store's ordinary reads may lag behind; then a reader's claim is worth what it is without a cache."""

    lags = False

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.history = History()
        self.now = 100.0
        self.lag = 0
        self.questions: list[Question] = []
        # What the reader remembers of the watermark, and what was answered so far.
        self.known: int | None = None
        self.answered: Versions = dict.fromkeys(KEYS, 0)
        self.store = Stepped(self.held)
        self.store.flights(self.patch)

    @initialize(room=st.sampled_from([1, 100, 100]), chance=st.sampled_from([0.0, 0.5, 1.0]))
    def begin(self, room: int, chance: float) -> None:
        options = CacheOptions(max_age=AGE, max_entries=room)
        inner: ItemReads = MonotonicReads(self.store, 100)
        self.reads = CachedReads(inner, options, monotonic=lambda: self.now, chance=lambda: chance)

    def held(self, table: str, key: bytes, consistent: bool) -> ReadResult:
        assert table == TABLE
        return self.history.result(key, lag=0 if consistent else self.lag)

    # ---------------------------------------------------------------------------------------------------- the world
    @rule(keys=SOME_KEYS, ends=st.booleans())
    def push(self, keys: list[bytes], ends: bool) -> None:
        for key in keys:
            self.history.put(key, self.now)
        if ends:
            self.history.end_push()

    @rule()
    def push_ends(self) -> None:
        self.history.end_push()

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.lags)
    @rule(by=st.sampled_from([0, 1, 2]))
    def replicas_lag(self, by: int) -> None:
        self.lag = by

    # ----------------------------------------------------------------------------------------------------- requests
    @rule(
        keys=SOME_KEYS,
        max_age=st.sampled_from([None, None, 0.0, 2.0, 60.0]),
        consistent=st.sampled_from([False, False, False, True]),
        forgets=st.booleans(),
        answered=st.booleans(),
    )
    def ask(self, keys: list[bytes], max_age: float | None, consistent: bool, forgets: bool, answered: bool) -> None:
        known = None if forgets else self.known
        asked = [*keys, WATERMARK_KEY] if known is None else keys
        allowed = 0.0 if consistent else min(AGE, AGE if max_age is None else max_age)
        options = ReadOptions(consistent=consistent, max_age=max_age)
        # Before it begins: while it does, others may end.
        began, floor = self.now, dict(self.answered)
        question = Question(
            self.store.ask(self.reads, [(TABLE, asked)], options), keys, began, began - allowed, known, floor
        )
        self.questions.append(question)
        self.judge()
        while answered and self.store.calls and not question.asked.done:
            self.store_answered(self.store.calls[-1])

    @precondition(lambda self: self.store.calls)
    @rule(data=st.data())
    def store_looks(self, data: st.DataObject) -> None:
        self.store.look(data.draw(st.sampled_from(self.store.calls)))

    @precondition(lambda self: self.store.calls)
    @rule(data=st.data())
    def store_answers(self, data: st.DataObject) -> None:
        self.store_answered(data.draw(st.sampled_from(self.store.calls)))

    def store_answered(self, call: Call) -> None:
        self.store.deliver(call)
        self.judge()

    @precondition(lambda self: self.store.calls)
    @rule(data=st.data(), failure=st.sampled_from([*ReadFailure, None]))
    def store_fails(self, data: st.DataObject, failure: ReadFailure | None) -> None:
        call = data.draw(st.sampled_from(self.store.calls))
        self.store.fail(call, failure)
        self.store_answered(call)

    # ------------------------------------------------------------------------------------------------------- judging
    def judge(self) -> None:
        """What has been answered since the last time; all of it at once, as it ended at once."""
        ended = [one for one in self.questions if one.asked.done and not one.judged]
        for one in ended:
            one.judged = True
            assert one.asked.error is None, one.asked.error
            assert one.asked.answer is not None
            self.judge_answer(one, one.asked.answer[0])

    def judge_answer(self, question: Question, answer: TableRead) -> None:
        if answer.error is not None:
            return
        assert len(answer.results) == len(question.keys) + (question.known is None)
        claimed = question.known
        if claimed is None:
            watermark = answer.results[-1]
            if not isinstance(watermark, ReadFailure):
                claimed = 0 if watermark is None else watermark.seq
                self.known = claimed
        for at, key in enumerate(question.keys):
            result = answer.results[at]
            if isinstance(result, ReadFailure):
                continue
            version = 0 if result is None else result.seq
            assert result is None or result.value == b"%d" % version
            self.judge_version(question, key, version, claimed)
            if answer.ages is not None:
                age = answer.ages[at] / 1e6
                assert 0 <= age <= question.began - question.oldest
                assert self.lag or self.lags or self.ended(key, version) >= question.began - age
            self.answered[key] = max(self.answered[key], version)

    def judge_version(self, question: Question, key: bytes, version: int, claimed: int | None) -> None:
        assert version >= question.floor[key], "it went back"
        if not self.lags:
            assert self.ended(key, version) >= question.oldest, "it is older than it may be"
            if claimed is not None:
                assert version >= self.history.complete[claimed][key], "it is said to be complete, and is not"

    def ended(self, key: bytes, version: int) -> float:
        return self.history.ended.get((key, version), self.now)

    def teardown(self) -> None:
        self.store.finish()
        try:
            self.judge()
            assert all(one.asked.done for one in self.questions), "somebody is left waiting"
            for one in self.questions:
                one.asked.thread.join(LONG)
        finally:
            self.patch.undo()


class Lagging(Cached):
    """Over a store that is only eventually consistent."""

    lags = True


Cached.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
Lagging.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestCached = Cached.TestCase
TestLagging = Lagging.TestCase
