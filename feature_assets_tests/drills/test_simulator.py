"""The write protocol through everything that can go wrong, and proof that the simulator would see a guard missing.

The short form is the one that CI runs; the long form takes ten times as many requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from feature_assets.compute.aggregates.layout import Layout
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.tiles import packed, unpacked
from feature_assets.offline.ledger import LedgerRow, life
from feature_assets.online.dynamodb import DynamoDBOptions, DynamoDBStore
from feature_assets.online.dynamodb_client import Timeouts
from feature_assets.online.item import BatchSection, Body, Item, Recent, Row, StreamSection
from feature_assets.online.memory import MemoryStore
from feature_assets.online.protocol import NO_CUT, Closing, Record, WriteProtocol
from feature_assets.online.ring_reducer import RingReducer
from feature_assets.online.store import Outcome, Put, ReadResult, Stored
from feature_assets.serving.lookup import Values
from feature_assets.serving.stages import Stages
from feature_assets.serving.window_values import WindowValues
from feature_assets.testing.checks import Kind, judge_of
from feature_assets.testing.faulty import FaultyStore
from feature_assets.testing.lake import MemoryTable
from feature_assets.testing.naive import OVERFLOW
from feature_assets.testing.purchases import Purchases
from feature_assets.testing.simulator import SUBJECTS, Simulation, caught, main, simulate, sqlite_stores, summary
from feature_assets.testing.subject import FIRST, HOUR, SECOND, Subject
from feature_assets.testing.world import Design, HandOver, WatchedLedger
from feature_assets_tests.servers.dynamodb_local import DynamoDBLocal

pytestmark = pytest.mark.drill

REQUESTS = {"rows": 60_000, "windows": 40_000}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("view", REQUESTS)
def test_every_answer_is_the_kernel_over_its_cut(view: str, long_drills: bool) -> None:
    wanted = REQUESTS[view] * (10 if long_drills else 1)
    totals = simulate(wanted, seed=1, design=Design(subject=SUBJECTS[view]))
    assert totals.violations == [], summary(totals)
    assert totals.answers >= wanted
    # So much of it was outside the write intervals, where the wall clock decides as well.
    assert totals.inside < 0.8 * totals.answers
    assert totals.unanswered
    assert totals.loading


@pytest.mark.slow
@pytest.mark.parametrize("view", SUBJECTS)
def test_also_over_sqlite(view: str, long_drills: bool, tmp_path: Path) -> None:
    design = Design(store=sqlite_stores(tmp_path), subject=SUBJECTS[view])
    totals = simulate(20_000 if long_drills else 2_000, seed=1, design=design)
    assert totals.violations == [], summary(totals)


@pytest.mark.slow
@pytest.mark.server
def test_also_over_dynamodb(dynamodb_local: DynamoDBLocal) -> None:
    def store() -> DynamoDBStore:
        server = dynamodb_local.apart()
        return DynamoDBStore(
            "drill",
            **server.address,
            # Time for a busy machine: nothing here is about how long a call takes.
            options=DynamoDBOptions(Timeouts(5.0, 60.0), Timeouts(5.0, 60.0), read_budget=60.0),
        )

    found = Simulation(2, Design(store=store, subject=Purchases()), turns=450).run()
    assert found.violations == []
    assert found.answered > 300
    assert {each.version for each in found.asked if each.serves} == {FIRST, SECOND}


@pytest.mark.parametrize("view", SUBJECTS)
def test_a_run_is_a_function_of_its_seed(view: str) -> None:
    runs = [Simulation(seed, Design(subject=SUBJECTS[view]), turns=300).run() for seed in (5, 5, 6)]
    answers = [run.asked for run in runs]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_everything_happens_that_could_go_wrong_with_windows() -> None:
    """What the proof is worth: every kind of answer is among those that were compared, of both versions."""
    simulation = Simulation(2, Design(subject=Purchases()))
    asked = simulation.run().asked
    judge = judge_of(simulation.world)
    values = set(chain.from_iterable(judge.told(asked)))
    assert {None, 0, OVERFLOW, ()} <= values
    assert {type(value) for value in values} == {type(None), int, float, str, tuple}
    assert {each.version for each in asked if each.serves} == {FIRST, SECOND}
    assert any(each.as_of < each.at for each in asked)
    # Both sections of one item hold records, also of the version that began with what the logs held.
    both = {each.version for each in asked if each.item.batch and each.item.batch.row and _stream_state(each.item)}
    assert both == {FIRST, SECOND}
    assert simulation.world.lives == {SECOND: 1}


def _stream_state(item: Item) -> bytes:
    return b"" if item.streams is None else item.streams.state


def test_the_command_line_sums_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--requests", "600", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    assert "rows: 1 seeds, " in told
    assert "windows: 1 seeds, " in told
    assert told.count("\n0 violations\n") == 2
    assert main(["--requests", "300", "--seed", "3", "--view", "rows"]) == 0
    assert "windows" not in capsys.readouterr().out


# ------------------------------------------------------------------------------ the guards of the protocol, removed
class ConflictIsDone(WriteProtocol):
    """A conflict is taken for somebody else's equal write, instead of being decided anew."""

    def settled(self, outcome: Outcome) -> bool:
        return outcome in {Outcome.APPLIED, Outcome.CONFLICT}


class LostIsDone(WriteProtocol):
    """An unknown outcome is assumed to be good, instead of being read back."""

    def settled(self, outcome: Outcome) -> bool:
        return outcome in {Outcome.APPLIED, Outcome.UNKNOWN}


class ThrottledIsDone(WriteProtocol):
    """What was throttled is forgotten."""

    def settled(self, outcome: Outcome) -> bool:
        return outcome in {Outcome.APPLIED, Outcome.THROTTLED}


class NoFence(WriteProtocol):
    """Records are applied again when they come again."""

    def fresh(self, records: Sequence[Record], fence: int) -> Sequence[Record]:
        del fence
        return records


class AnyBatch(WriteProtocol):
    """A batch section is put over a newer one."""

    def supersedes(self, n: int, stored: int | None) -> bool:
        del n, stored
        return True


class OffsetsFirst(WriteProtocol):
    """Offsets are committed before the ledger says when their records were visible."""

    def closing(self) -> tuple[Closing, ...]:
        return (Closing.OFFSETS, Closing.LEDGER)


class CommitAll(WriteProtocol):
    """Offsets are committed past records that could not be written."""

    def acknowledged_upto(self, last: int, unsettled: Sequence[int]) -> int:
        del unsettled
        return last + 1


class LastCommitOnly(WriteProtocol):
    """A push touches what the last commit changed, whatever became of the pushes before."""

    def touching(self, commits: Sequence[int], since: int, n: int) -> Sequence[int]:
        return super().touching(commits, max(since, n - 1), n)


class NewKeysOnly(WriteProtocol):
    """A correction forgets the entities that only the replaced version had."""

    def touching(self, commits: Sequence[int], since: int, n: int) -> Sequence[int]:
        return [commit for commit in commits if since < commit <= n]


class NewestAndReplacedOnly(WriteProtocol):
    """A push forgets the versions in between, which a killed push may have written."""

    def touching(self, commits: Sequence[int], since: int, n: int) -> Sequence[int]:
        found = super().touching(commits, since, n)
        return [found[0], found[-1]] if found else found


class NothingRecovered(WriteProtocol):
    """A replay does not ask when the write was applied."""

    def recovered(self, recent: Sequence[Recent], source_partition: str, first: int, last: int) -> tuple[Recent, ...]:
        del recent, source_partition, first, last
        return ()


class NoIntent(WriteProtocol):
    """A push does not record that it starts."""

    def intents(self, rows: Sequence[LedgerRow]) -> Sequence[LedgerRow]:
        del rows
        return ()


class Unsettled(WriteProtocol):
    """The last commit is pushed before its verdicts are known."""

    def wanted(self, head: int, settled_head: int) -> int:
        del settled_head
        return head


class VanishedStays(WriteProtocol):
    """An entity that has no row any more keeps the one it had."""

    def section(self, n: int, sent_at: int, row: Row | None) -> BatchSection | None:
        return None if row is None else super().section(n, sent_at, row)


class UnchangedIsSkipped(WriteProtocol):
    """An item whose row is the same is left at the older state, which a sleeper may then write over."""

    def with_batch(
        self, item: Item, n: int, sent_at: int, row: Row | None, upto: Mapping[str, int] = NO_CUT
    ) -> Item | None:
        if item.batch is not None and item.batch.row == row:
            return None
        return super().with_batch(item, n, sent_at, row, upto)


class ServesTooSoon(WriteProtocol):
    """A version begins to serve with its first buckets."""

    def may_serve(self, unacknowledged: int) -> bool:
        del unacknowledged
        return True


# --------------------------------------------------------------- the guards of the store, the history and the ledger
class Unconditional(MemoryStore):
    """Writes are not conditional on the item's seq."""

    def accepts(self, stored: Stored | None, put: Put) -> bool:
        del stored, put
        return True


class UnconditionalInserts(MemoryStore):
    """A bulk load is let in without conditions."""

    def accepts(self, stored: Stored | None, put: Put) -> bool:
        return put.expected == 0 or super().accepts(stored, put)


class UnprocessedIsAbsent(FaultyStore):
    """Keys that the store did not get to are reported as keys that are not there."""

    def left_out(self) -> ReadResult:
        return None


class CommittedTwice(MemoryTable):
    """A commit is not looked for before it is appended."""

    def is_there(self, seq: int) -> bool:
        del seq
        return False


class LivesForgotten(WatchedLedger):
    """Whoever acknowledges something is taken to speak of the present life."""

    def append(self, rows: Sequence[LedgerRow]) -> int:
        known = {row.version: life(self.rows(view=row.view, version=row.version)) for row in rows}
        return super().append([msgspec.structs.replace(row, life=known[row.version]) for row in rows])


# -------------------------------------------------------------- the guards of windows, streams and their hand-over
class FencesStay(WriteProtocol):
    """A batch section that holds records of the log does not move the fence behind them."""

    def handed_over(self, streams: StreamSection | None, upto: Mapping[str, int]) -> StreamSection | None:
        del upto
        return streams


class FilledTooSoon(WriteProtocol):
    """A version that lost its table answers again before its streams are where they were."""

    def may_be_filled(self, *, caught_up: bool) -> bool:
        del caught_up
        return True


class MovingCut(HandOver):
    """Each push takes for the cut what the logs hold by then."""

    def upto(self, version: str, ends: Mapping[str, int]) -> Mapping[str, int]:
        return ends if super().upto(version, ends) else {}


class FromTheBeginning(HandOver):
    """The workers of a new version begin where the log does."""

    def starts(self, version: str) -> Mapping[str, int]:
        return dict.fromkeys(super().starts(version), 0)


class OneTooFar(HandOver):
    """The workers of a new version leave out a record."""

    def starts(self, version: str) -> Mapping[str, int]:
        return {place: first + 1 for place, first in super().starts(version).items()}


class NewestRead(MemoryTable):
    """A batch section is computed from what is committed by then, and not from the state that it says it is of."""

    def read(self, *, upto: int | None = None, **asked: Any) -> pa.Table:  # noqa: ANN401 - each is of its parameter's type
        del upto
        return super().read(**asked)


class TilesForgottenEarly(Purchases):
    """Tiles are rolled up, or dropped, without any to spare."""

    @property
    def layout(self) -> Layout:
        whole = super().layout
        levels = [
            level if level.reach is None else replace(level, reach=level.reach - 2 * level.hop)
            for level in whole.levels
        ]
        return replace(whole, levels=tuple(levels))


class CellsForgottenEarly(Purchases):
    """Of some aggregates the tiles are emptied while a window may begin in them."""

    @property
    def layout(self) -> Layout:
        whole = super().layout
        return replace(whole, reaches=tuple(None if one is None else one - 2 * SHORT for one in whole.reaches))


SHORT = 13 * HOUR


class PrunedAlways(Purchases):
    """Lists are cut to what a suffix of time needs, although some of their windows are none."""

    @property
    def layout(self) -> Layout:
        whole = super().layout
        return replace(whole, suffixes=(True,) * len(whole.suffixes))


class EndsLeftOpen(Purchases):
    """A reader forgets that some windows end before what is newest."""

    @property
    def reading(self) -> WindowValues:
        whole = super().reading
        uses = tuple(replace(use, window=replace(use.window, closed=False)) for use in whole.layout.uses)
        return WindowValues.of(replace(whole.layout, uses=uses), whole.names)


class OneSection(WindowValues):
    """A reader looks at the batch section of an item alone."""

    def values(self, items: Sequence[Body], as_of: int | Ints, stages: Stages | None = None) -> Values:
        return super().values([Body(item.batch, None) for item in items], as_of, stages)


class OtherSection(WindowValues):
    """A reader looks at the stream section of an item alone."""

    def values(self, items: Sequence[Body], as_of: int | Ints, stages: Stages | None = None) -> Values:
        return super().values([Body(None, item.streams) for item in items], as_of, stages)


class NotRolledUp(RingReducer):
    """New records are added, and what was there stays as it was."""

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        before = unpacked(self.layout, [state]).rolled_at if state else now
        ring = unpacked(self.layout, [super().apply(state, records, int(np.min(before)))])
        return packed(replace(ring, rolled_at=np.array([now])))[0] if len(ring.starts) else b""


class ClockSetBack(RingReducer):
    """A writer whose clock is sometimes behind rolls up for an instant before that of the ring."""

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        ring, then = unpacked(self.layout, [state]), now - 2 * SHORT * (records[0].offset % 2)
        younger = packed(replace(ring, rolled_at=np.array([then])))[0] if len(ring.starts) else b""
        return super().apply(younger, records, then)


class ReadBy(Purchases):
    """Purchases that are read in another way."""

    reads: ClassVar[type[WindowValues]] = OneSection

    @property
    def reading(self) -> WindowValues:
        whole = super().reading
        return self.reads.of(whole.layout, whole.names)


class ReadByOther(ReadBy):
    """The other section."""

    reads = OtherSection


class ReducedBy(Purchases):
    """Purchases that streams put together in another way."""

    reduces: ClassVar[type[RingReducer]] = NotRolledUp

    @property
    def reducer(self) -> RingReducer:
        plain = super().reducer
        return self.reduces(plain.layout, plain.dtypes)


class ReducedBack(ReducedBy):
    """With a clock that is behind."""

    reduces = ClockSetBack


@dataclass(frozen=True, slots=True)
class Mutant:
    """A design without one guard, how it must be caught, and within how many seeds."""

    design: Design
    caught_by: set[Kind]
    seeds: int = 12


def weakened(protocol: type[WriteProtocol], subject: Subject | None = None) -> Design:
    plain = Design(protocol=lambda: protocol(write_timeout=3 * HOUR))
    return plain if subject is None else replace(plain, subject=subject)


def purchases(**weakened: Any) -> Design:  # noqa: ANN401 - each is of its field's type
    """The world of windows, with something of it replaced."""
    return replace(Design(subject=Purchases()), **weakened)


MUTANTS = {
    "seq": Mutant(Design(store=Unconditional), {"cut"}),
    "seq: a conflict is done": Mutant(weakened(ConflictIsDone), {"cut"}),
    "fence": Mutant(weakened(NoFence), {"cut"}),
    "batch_seq": Mutant(weakened(AnyBatch), {"back"}),
    "commit_after_ledger": Mutant(weakened(OffsetsFirst), {"lost", "clock"}),
    "commit_lowest": Mutant(weakened(CommitAll), {"cut"}),
    "since_acked": Mutant(weakened(LastCommitOnly), {"clock", "stale"}),
    "old_keys": Mutant(weakened(NewKeysOnly), {"clock", "stale"}),
    "old_keys: versions in between": Mutant(weakened(NewestAndReplacedOnly), {"clock", "stale"}, seeds=150),
    "retry_lost": Mutant(weakened(LostIsDone), {"cut", "clock"}),
    "retry_lost: throttled": Mutant(weakened(ThrottledIsDone), {"cut", "clock"}),
    "recent": Mutant(weakened(NothingRecovered), {"clock"}),
    "intent": Mutant(weakened(NoIntent), {"clock"}),
    "verdict": Mutant(weakened(Unsettled), {"cut"}),
    "vanished": Mutant(weakened(VanishedStays), {"clock", "stale"}, seeds=30),
    "unchanged": Mutant(weakened(UnchangedIsSkipped), {"stale"}),
    "serving": Mutant(weakened(ServesTooSoon), {"lost", "clock"}),
    "bootstrap": Mutant(Design(store=UnconditionalInserts), {"cut", "back"}),
    "unprocessed keys": Mutant(Design(faulty=UnprocessedIsAbsent), {"back", "clock"}),
    "transaction check": Mutant(Design(table=CommittedTwice), {"doubled"}),
    "life": Mutant(Design(ledger=LivesForgotten), {"clock", "stale", "final", "lost"}, seeds=150),
}
"""What the model calls its ten guards, by its names; then what the product adds."""

MUTANTS |= {
    f"windows, {name}": replace(MUTANTS[name], design=replace(MUTANTS[name].design, subject=Purchases()))
    for name in ("seq", "fence", "since_acked", "retry_lost", "recent", "verdict", "unprocessed keys")
}
MUTANTS |= {
    "hand-over: fences": Mutant(weakened(FencesStay, Purchases()), {"cut"}),
    "hand-over: a moving cut": Mutant(purchases(handover=MovingCut), {"cut", "lost"}),
    "hand-over: from the beginning": Mutant(purchases(handover=FromTheBeginning), {"cut"}),
    "hand-over: one left out": Mutant(purchases(handover=OneTooFar), {"cut"}),
    "hand-over: filled too soon": Mutant(weakened(FilledTooSoon, Purchases()), {"clock"}, seeds=30),
    "hand-over: life": Mutant(purchases(ledger=LivesForgotten), {"clock", "stale", "final", "lost"}, seeds=150),
    "batch section of another commit": Mutant(purchases(table=NewestRead), {"cut", "shape"}),
    "rows of another commit": Mutant(Design(table=NewestRead), {"cut"}),
    "windows: tiles forgotten early": Mutant(purchases(subject=TilesForgottenEarly()), {"cut"}),
    "windows: cells forgotten early": Mutant(purchases(subject=CellsForgottenEarly()), {"cut"}),
    "windows: pruned always": Mutant(purchases(subject=PrunedAlways()), {"cut"}),
    "windows: ends left open": Mutant(purchases(subject=EndsLeftOpen()), {"cut"}),
    "windows: batch section alone": Mutant(purchases(subject=ReadBy()), {"cut"}),
    "windows: stream section alone": Mutant(purchases(subject=ReadByOther()), {"cut"}),
    "windows: not rolled up": Mutant(purchases(subject=ReducedBy()), {"shape", "cut"}),
    "windows: a clock set back": Mutant(purchases(subject=ReducedBack()), {"shape", "cut"}),
}
"""The same over windows; then what windows and a second streamed version add."""


@pytest.mark.parametrize("name", MUTANTS)
def test_without_a_guard_the_simulator_objects(name: str) -> None:
    mutant = MUTANTS[name]
    found = caught(mutant.design, seeds=range(1, mutant.seeds + 1))
    assert found.violations, f"survived {found.seeds} seeds"
    assert mutant.caught_by & set(found.kinds()), f"caught, but by {found.kinds()}"
