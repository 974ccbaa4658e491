"""Plan a push: what is wanted (committed, and every verdict known) minus what the store is known to have (the ledger).

Invariant: a plan is a pure function of the tables, verdicts and ledger it was made from, and executing an outdated one
is safe. Level-triggered: nothing but these tells that a push is due, so a lost event or a killed push costs only time.
It reads no feature rows and writes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any, Protocol

import pyarrow as pa

from feature_assets.clock import to_us
from feature_assets.offline.ledger import Ledger, acked, is_serving, life, streams_caught_up
from feature_assets.offline.versions import Version, settled
from feature_assets.online.item import table_name
from feature_assets.online.protocol import WriteProtocol

RULES = WriteProtocol()
"""The write protocol with every rule in force."""


History = tuple[tuple[str, tuple[int, ...]], ...]
"""By partition, in ascending order: the commits of its passed versions, ascending."""


class PushedEntity(Protocol):
    """What a push needs of an entity's definition."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key columns, in the order in which they are encoded."""


class Named(Protocol):
    """A stored column, as far as a push cares."""

    @property
    def name(self) -> str:
        """Its name."""


class PushedView(Protocol):
    """What a push needs of a view's definition; `FeatureView` has it."""

    @property
    def name(self) -> str: ...
    @property
    def online(self) -> bool: ...
    @property
    def buckets(self) -> int: ...
    @property
    def kept_for(self) -> timedelta | None:
        """How long after its `event_at` a row can count; None: for ever."""

    @property
    def entity(self) -> PushedEntity: ...
    @property
    def stored(self) -> Sequence[Named]: ...


class VersionedTable(Protocol):
    """What a push reads of the durable history of a view version."""

    def partition_versions(self, upto: int | None = None) -> pa.Table:
        """Every version ever committed: `partition`, `commit_seq`, `source_seq`, `rows`; by (commit_seq, partition)."""

    def read(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
        excluded: frozenset[Version] = frozenset(),
    ) -> pa.Table:
        """The rows of the newest version per partition, up to a commit, without `excluded` versions."""

    def read_versions(
        self,
        *,
        partitions: Collection[str] | None = None,
        upto: int | None = None,
        buckets: Collection[int] | None = None,
        columns: tuple[str, ...] | None = None,
    ) -> pa.Table:
        """The rows of all versions."""


class KnownVerdicts(Protocol):
    """What a push reads of the verdicts."""

    def of(self, view: str, version: str) -> pa.Table:
        """Every (first) verdict of a view version: `partition`, `commit_seq`, `passed`, among others."""


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """What one bucket needs: everything that changed after `since`, the last state acknowledged in it as a whole."""

    bucket: int
    since: int
    touched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PushPlan:
    """A push of the state of a view version at `commit_seq` to a target.

    `bootstrap`: the version does not answer there yet, and will when this is done. `history`: per partition the commits
    of its passed versions, ascending. `complete_through`: the end of the newest partition in the state, microseconds.
    `rows`: how many the state has. `life`: how often the version had been retired there. `reason`: why, for people.
    `upto`: the cut at which streams take over from the batch state, if they do: the highest offset per source partition
    that the state holds.
    """

    view: str
    version: str
    target: str
    commit_seq: int
    bootstrap: bool
    buckets: tuple[BucketPlan, ...]
    history: History
    excluded: frozenset[Version]
    complete_through: int
    rows: int
    life: int
    reason: str
    upto: Mapping[str, int] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The name of the version's table in the store, in its present life."""
        return table_name(self.view, self.version, self.life)

    def touched_versions(self, since: int, protocol: WriteProtocol = RULES) -> frozenset[Version]:
        """The (partition, commit_seq) whose entities a push of (since, commit_seq] touches."""
        return frozenset(
            (partition, commit)
            for partition, commits in self.history
            for commit in protocol.touching(commits, since, self.commit_seq)
        )


@dataclass(frozen=True, slots=True)
class PushState:
    """`wanted`: the commit to be pushed, 0 if none may be. `have`: what every bucket has; 0 while not serving."""

    version: str
    wanted: int
    have: int


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a plan is made from, read once. `settled`: the last commit at which every verdict is known."""

    view: PushedView
    version: str
    target: str
    committed: Sequence[tuple[str, int, int]]
    excluded: frozenset[Version]
    settled: int
    serving: bool
    caught_up: bool
    life: int
    done: Mapping[int, Sequence[int]]

    @property
    def head(self) -> int:
        """The last commit."""
        return max((commit for _, commit, _ in self.committed), default=0)

    @property
    def have(self) -> int:
        """The state that every bucket has."""
        return min((max(done, default=0) for done in self.done.values()), default=0)

    def may_be_pushed(self, n: int, covering: frozenset[str], protocol: WriteProtocol = RULES) -> bool:
        """Whether the state at n may go out: to a version that does not serve yet, only if it is fit to take over."""
        present = {partition for partition, _ in self.history(n)}
        is_fit = bool(present) and covering <= present and protocol.may_be_filled(caught_up=self.caught_up)
        return self.view.online and n > 0 and (self.serving or is_fit)

    def history(self, n: int) -> History:
        """By partition the commits up to n that passed."""
        found: dict[str, list[int]] = {}
        for partition, commit, _ in self.committed:
            if commit <= n and (partition, commit) not in self.excluded:
                found.setdefault(partition, []).append(commit)
        return tuple((partition, tuple(sorted(found[partition]))) for partition in sorted(found))

    def plan(self, n: int, since: Mapping[int, int], protocol: WriteProtocol) -> PushPlan:
        """The push of the state at n to some buckets, each since an earlier state."""
        history = self.history(n)
        newest = {(partition, commits[-1]) for partition, commits in history}
        touched = {start: _touched(history, start, n, protocol) for start in set(since.values())}
        return PushPlan(
            view=self.view.name,
            version=self.version,
            target=self.target,
            commit_seq=n,
            bootstrap=not self.serving,
            buckets=tuple(BucketPlan(bucket, start, touched[start]) for bucket, start in since.items()),
            history=history,
            excluded=self.excluded,
            complete_through=to_us(_end_of(history[-1][0])) if history else 0,
            rows=sum(rows for partition, commit, rows in self.committed if (partition, commit) in newest),
            life=self.life,
            reason=self._reason(n, since, touched),
        )

    def _reason(self, n: int, since: Mapping[int, int], touched: Mapping[int, tuple[str, ...]]) -> str:
        if not self.serving:
            return f"bootstrap: the version does not serve yet; the state at {n} goes to {len(since)} buckets"
        partitions = len(set(chain.from_iterable(touched.values())))
        return f"commits {min(since.values())} to {n} changed {partitions} partitions in {len(since)} buckets"


def plan_push(
    view: PushedView,
    *,
    version: str,
    table: VersionedTable,
    verdicts: KnownVerdicts,
    ledger: Ledger,
    target: str,
    covering: frozenset[str] = frozenset(),
    protocol: WriteProtocol = RULES,
) -> PushPlan | None:
    """The push that is due for a view version on a target; None if none is.

    A version that does not serve yet is not pushed before something of it has passed, nor before each partition in
    `covering` has: those of the version serving now, so that a half-filled one does not take over. One that is filled
    anew waits for its streams, too: what they had made visible before must be there again when it answers.
    """
    now = _situation(view, version, table, verdicts, ledger, target)
    n = protocol.wanted(now.head, now.settled)
    behind = {bucket: protocol.since(done) for bucket, done in now.done.items() if max(done, default=0) < n}
    if not now.may_be_pushed(n, covering, protocol) or (now.serving and not behind):
        return None
    return now.plan(n, behind, protocol)


def push_state(
    view: PushedView,
    *,
    version: str,
    table: VersionedTable,
    verdicts: KnownVerdicts,
    ledger: Ledger,
    target: str,
    covering: frozenset[str] = frozenset(),
) -> PushState:
    """What is wanted and what is there; a push is due iff `wanted > have`. The arguments are those of `plan_push`."""
    now = _situation(view, version, table, verdicts, ledger, target)
    wanted = RULES.wanted(now.head, now.settled)
    return PushState(version, wanted if now.may_be_pushed(wanted, covering) else 0, now.have if now.serving else 0)


def whole_state(
    view: PushedView, *, version: str, table: VersionedTable, verdicts: KnownVerdicts, ledger: Ledger, target: str
) -> PushPlan:
    """The plan of everything that the ledger says is in the store: all buckets, from nothing to what every one has."""
    now = _situation(view, version, table, verdicts, ledger, target)
    return now.plan(now.have, dict.fromkeys(range(view.buckets), 0), RULES)


def _situation(
    view: PushedView, version: str, table: VersionedTable, verdicts: KnownVerdicts, ledger: Ledger, target: str
) -> _Situation:
    # Versions before verdicts: a version committed in between has no verdict here, and is not wanted yet.
    committed = _columns(table.partition_versions(), "partition", "commit_seq", "rows")
    judged = {
        (partition, commit): passed
        for partition, commit, passed in _columns(verdicts.of(view.name, version), "partition", "commit_seq", "passed")
    }
    rows = ledger.rows(view=view.name, version=version, target=target)
    acknowledged = acked(rows)
    return _Situation(
        view=view,
        version=version,
        target=target,
        committed=committed,
        excluded=frozenset(pair for pair, passed in judged.items() if not passed),
        settled=settled([(partition, commit) for partition, commit, _ in committed], judged),
        serving=is_serving(rows),
        caught_up=streams_caught_up(rows),
        life=life(rows),
        done={bucket: acknowledged.get(bucket, ()) for bucket in range(view.buckets)},
    )


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """The rows of some columns, as tuples."""
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _touched(history: History, since: int, n: int, protocol: WriteProtocol) -> tuple[str, ...]:
    return tuple(partition for partition, commits in history if protocol.touching(commits, since, n))


def _end_of(partition: str) -> datetime:
    """The end of a partition, which is a UTC day."""
    return datetime.combine(date.fromisoformat(partition) + timedelta(days=1), time(), tzinfo=UTC)
