"""Push a state: put the batch section of every touched entity, state-based, and record when it was there.

Invariant: an item is never put back to an older state, whatever crashes, sleeps or races, and a bucket is acknowledged
only when every entity that its push touched is at the pushed state or a later one. In this order:

    intent rows of all buckets, in one append               a push that is killed leaves the start of its interval
    some buckets at a time:
        the sections of the touched entities, in entity-hash order, each put iff newer, conditionally on the item's seq
        the watermark, with the last buckets                before their acknowledgement: a push killed in between is
                                                            due again, so that no watermark is left behind
        ack rows of these buckets, in one append
    the serving row, at the end of a bootstrap              from here on readers are answered by this version

A bootstrap assumes that items are absent and skips the first read, but its puts are conditional like all others: an
item that is there after all (a stream has written it, an earlier loader was killed, or this loader slept while a later
one went by) is a conflict, is read, and is only put over if it is older.

It computes no features and decides no rule: see `sections` and `protocol`.
"""

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from feature_assets.clock import Clock, duration_us, from_us, to_us
from feature_assets.crash import crash_point
from feature_assets.errors import OnlineError, StoreRefusedError, StoreThrottledError, StoreUnreachableError
from feature_assets.offline.ledger import Kind, Ledger, LedgerRow, acked, is_serving, life
from feature_assets.online.item import (
    WATERMARK_KEY,
    Item,
    Watermark,
    pack_item,
    pack_watermark,
    unpack_item,
    unpack_watermark,
)
from feature_assets.online.plan import (
    RULES,
    BucketPlan,
    PushedView,
    PushPlan,
    PushState,
    VersionedTable,
    plan_push,
    push_state,
)
from feature_assets.online.protocol import WriteProtocol
from feature_assets.online.read_back import ReadBack, read_back
from feature_assets.online.sections import Contents, Entities, Sections
from feature_assets.online.settle import Change, Fault, RetryPolicy, Settling, Step, Tally
from feature_assets.online.store import OnlineStore, Outcome, ReadFailure, Stored

__all__ = [
    "PushOptions",
    "PushPlan",
    "PushResult",
    "PushState",
    "ReadBack",
    "Step",
    "plan_push",
    "push",
    "push_state",
    "push_steps",
    "read_back",
]

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""

_NEW = Item()


@dataclass(frozen=True, slots=True)
class PushOptions:
    """How a push goes about it. `contents`: what the view's items hold.

    `batch`: items per round trip. `rows_at_once`: about how many rows of the state are held in memory. An item of a
    view that forgets may be dropped `expiry_margin` after its row has expired, and never sooner than that after
    it was last written, so that no writer that slept for less than the margin finds it gone.
    """

    contents: Contents
    run_id: str = ""
    batch: int = 100
    rows_at_once: int = 1_000_000
    expiry_margin: timedelta = timedelta(days=7)
    protocol: WriteProtocol = RULES
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(jitter=secrets.SystemRandom().random))
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did. `entities`: touched; `written`: items put; the others were at that state or a later one."""

    entities: int
    written: int
    conflicts: int
    retried: int
    bytes: int
    n: int
    sent_at: datetime
    acked_at: datetime
    bootstrap: bool


def push(
    plan: PushPlan,
    view: PushedView,
    *,
    table: VersionedTable,
    ledger: Ledger,
    store: OnlineStore,
    clock: Clock,
    options: PushOptions,
    progress: Progress | None = None,
) -> PushResult:
    """Carry out a plan. Idempotent: carried out again, it writes nothing.

    Raises `StoreThrottledError` or `StoreUnreachableError` when the retries are used up, and `StoreRefusedError`,
    `ItemTooLargeError` or `CodecError` where none would help. The buckets not finished by then are not acknowledged,
    and the next plan has them.
    """
    steps = push_steps(plan, view, table=table, ledger=ledger, store=store, clock=clock, options=options)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: PushResult = end.value
            return result
        crash_point(step.name)
        if step.pause > 0:
            options.sleep(step.pause)
        if progress is not None and step.total:
            progress(f"push {plan.view}", step.done, step.total)


def push_steps(
    plan: PushPlan,
    view: PushedView,
    *,
    table: VersionedTable,
    ledger: Ledger,
    store: OnlineStore,
    clock: Clock,
    options: PushOptions,
) -> Generator[Step, None, PushResult]:
    """Carry out a plan step by step; each step yielded is a point where the process may die or sleep.

    Their names: push.after_plan, push.after_intent, push.after_read, push.after_write, push.backoff, push.after_batch,
    push.after_watermark, push.before_ack, push.after_ack, push.after_serving. Raises as `push` does.
    """
    return _Run(plan, view, table, ledger, store, clock, options).steps()


@dataclass(slots=True)
class _Run:
    """One carrying out of a plan."""

    plan: PushPlan
    view: PushedView
    table: VersionedTable
    ledger: Ledger
    store: OnlineStore
    clock: Clock
    options: PushOptions
    tally: Tally = field(default_factory=Tally)
    entities: int = 0
    buckets: int = 0

    def steps(self) -> Generator[Step, None, PushResult]:
        yield Step("push.after_plan")
        self.store.prepare(self.plan.table)
        sent_at = self._now()
        rows = self.ledger.rows(view=self.plan.view, version=self.plan.version, target=self.plan.target)
        if life(rows) != self.plan.life:
            # The version was retired since: the plan is void.
            return self._result(sent_at)
        pending, serving = self._not_acknowledged(rows), not self.plan.bootstrap or is_serving(rows)
        if pending and serving:
            self._require_table()
        if pending:
            intents = [self._ledger_row("intent", sent_at, bucket.bucket) for bucket in pending]
            self.ledger.append(self.options.protocol.intents(intents))
            yield Step("push.after_intent")
        while pending or not serving:
            group = pending[: self._buckets_at_once()]
            pending = pending[len(group) :]
            if group:
                yield from self._bucket_steps(group, sent_at, last=not pending)
            if not serving and self.options.protocol.may_serve(len(pending)):
                self.ledger.append([self._ledger_row("serving", sent_at, None)])
                serving = True
                yield Step("push.after_serving")
        return self._result(sent_at)

    def _require_table(self) -> None:
        """Refuse a store that lost a version that serves: a push of what changed would make the rest look absent."""
        (found,) = self.store.read(self.plan.table, [WATERMARK_KEY], consistent=True)
        if found is None:
            raise StoreRefusedError(
                f"{self.plan.target} has lost {self.plan.table}: by the ledger it serves, and it has no watermark",
                hint="load all of it again: feature-assets push --rebuild " + self.plan.view,
            )

    def _bucket_steps(self, group: Sequence[BucketPlan], sent_at: int, *, last: bool) -> Iterator[Step]:
        """Bring some buckets to the plan's state, and acknowledge them."""
        sections = Sections(self.plan, self.view, self.table, self.options.contents, self.options.protocol)
        entities = sections.of(group, self._now())
        self.buckets += len(group)
        yield from self._entity_steps(entities)
        if last:
            yield from self._watermark_steps()
            yield Step("push.after_watermark")
        yield Step("push.before_ack")
        self.ledger.append([self._ledger_row("ack", sent_at, bucket.bucket) for bucket in group])
        yield Step("push.after_ack")

    def _entity_steps(self, entities: Entities) -> Iterator[Step]:
        rows = dict(zip(entities.keys, entities.rows, strict=True))

        def decide(key: bytes, stored: Stored | None) -> Change | None:
            item = _NEW if stored is None else unpack_item(stored.value, stored.seq)
            now = self._now()
            changed = self.options.protocol.with_batch(item, self.plan.commit_seq, now, rows[key], self.plan.upto)
            return None if changed is None else Change(pack_item(changed), self._expires_at(changed, now))

        settling = self._settling(self.tally).settle(
            entities.keys, decide, batch=self.options.batch, assume_absent=self.plan.bootstrap
        )
        faults = yield from self._with_totals(settling, len(entities.keys))
        if faults:
            raise self._failed(faults)
        self.entities += len(entities.keys)

    def _with_totals(
        self, steps: Generator[Step, None, tuple[Fault, ...]], entities: int
    ) -> Generator[Step, None, tuple[Fault, ...]]:
        """The same steps, counting all entities of the push: those of buckets not looked at yet are estimated."""
        total = (self.entities + entities) * len(self.plan.buckets) // self.buckets
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                faults: tuple[Fault, ...] = end.value
                return faults
            reports = step.name == "push.after_batch"
            yield Step(step.name, done=self.tally.settled, total=total) if reports else step

    def _watermark_steps(self) -> Iterator[Step]:
        def decide(_: bytes, stored: Stored | None) -> Change | None:
            known = None if stored is None else unpack_watermark(stored.value).n
            if not self.options.protocol.supersedes(self.plan.commit_seq, known):
                return None
            return Change(pack_watermark(Watermark(self.plan.commit_seq, self.plan.complete_through, self._now())))

        # Counted apart: the result is about entities.
        faults = yield from self._settling(Tally()).settle([WATERMARK_KEY], decide, batch=1)
        if faults:
            raise self._failed(faults)

    def _settling(self, tally: Tally) -> Settling:
        options = self.options
        return Settling(self.store, self.plan.table, "push", options.protocol, options.retries, tally)

    def _not_acknowledged(self, rows: Sequence[LedgerRow]) -> Sequence[BucketPlan]:
        """The plan's buckets, without those acknowledged since: by another push, or an earlier run of this one."""
        done = acked(rows)
        n = self.plan.commit_seq
        return [bucket for bucket in self.plan.buckets if max(done.get(bucket.bucket, ()), default=0) < n]

    def _buckets_at_once(self) -> int:
        per_bucket = max(1, self.plan.rows // self.view.buckets)
        return max(1, self.options.rows_at_once // per_bucket)

    def _expires_at(self, item: Item, now: int) -> int | None:
        """When the store may drop the item: with a stream section, or if what it holds counts for ever, never."""
        if self.view.kept_for is None or item.streams is not None:
            return None
        row = item.batch.row if item.batch is not None else None
        expired = now if row is None else max(now, row.event_at + duration_us(self.view.kept_for))
        return expired + duration_us(self.options.expiry_margin)

    def _ledger_row(self, kind: Kind, sent_at: int, bucket: int | None) -> LedgerRow:
        return LedgerRow(
            kind=kind,
            view=self.plan.view,
            version=self.plan.version,
            target=self.plan.target,
            sent_at=sent_at,
            bucket=bucket,
            commit_seq=self.plan.commit_seq,
            # A clock that is set back must not make a write visible before it was sent.
            acked_at=None if kind == "intent" else max(sent_at, self._now()),
            bootstrap=self.plan.bootstrap,
            life=self.plan.life,
            run_id=self.options.run_id,
        )

    def _result(self, sent_at: int) -> PushResult:
        return PushResult(
            entities=self.entities,
            written=self.tally.written,
            conflicts=self.tally.conflicts,
            retried=self.tally.retried,
            bytes=self.tally.sent_bytes,
            n=self.plan.commit_seq,
            sent_at=from_us(sent_at),
            acked_at=self.clock.now(),
            bootstrap=self.plan.bootstrap,
        )

    def _failed(self, faults: Sequence[Fault]) -> OnlineError:
        causes = ", ".join(sorted({fault.cause.value for fault in faults}))
        message = (
            f"push of {self.plan.table} at {self.plan.commit_seq} to {self.plan.target}: {len(faults)} items are not "
            f"written after {self.options.retries.rounds} rounds without progress ({causes})"
        )
        hint = "nothing is lost: the buckets that are not acknowledged are in the next plan"
        refused = all(fault.cause in _LOAD for fault in faults)
        return StoreThrottledError(message, hint=hint) if refused else StoreUnreachableError(message, hint=hint)

    def _now(self) -> int:
        return to_us(self.clock.now())


_LOAD = {Outcome.THROTTLED, Outcome.CONFLICT, ReadFailure.THROTTLED}
"""Causes that mean a store that answers, and is busy."""
