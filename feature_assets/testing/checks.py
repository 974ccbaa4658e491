"""What is asserted about a simulated world: at every request, by wall clock after the fact, and when it has settled.

Invariant: a violation is never repaired or skipped over, only written down, with what is needed to find it again.

    cut      the answer is not the kernel over the records inside the answer's cut
    back     the seq or the cut of an item went back
    stale    the table's watermark promises more, or other, than its items hold
    shape    an item's bytes are not those of the records inside its cut
    clock    outside every write interval, the answer is not what the ledger says was visible at that instant
    lost     a record, a commit or a verdict never reached the store or the ledger
    final    with everything settled, the answer is not the kernel over everything
    doubled  the history holds a commit, or a row of one, twice
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.offline.stream_availability import stream_timeline
from feature_assets.online.item import WATERMARK_KEY, Cut, Item, unpack_item, unpack_watermark
from feature_assets.online.plan import push_state
from feature_assets.online.store import ReadFailure, Stored
from feature_assets.testing.balances_judged import BalancesJudged
from feature_assets.testing.judging import Asked, Judge
from feature_assets.testing.purchases import Purchases
from feature_assets.testing.purchases_judged import PurchasesJudged
from feature_assets.testing.subject import DAY, VIEW, Balances
from feature_assets.testing.world import World, day_start, entity_name

Kind = Literal["cut", "back", "stale", "clock", "shape", "lost", "final", "doubled"]
_LAGGING, _SHAPES = 0.2, 0.1
"""How many readers have a clock that is behind, and of how many items the bytes are looked at."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    kind: Kind
    seed: int
    at: int
    version: str
    detail: str


@dataclass(slots=True)
class Checks:
    """Watches over one world."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    inside: int = 0
    unanswered: int = 0
    _seen: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many requests got an answer from a version that serves."""
        return sum(each.serves for each in self.asked)

    @property
    def loading(self) -> int:
        """How many requests were of a version that did not serve yet."""
        return len(self.asked) - self.answered

    def request(self) -> None:
        """Ask for an entity; what is answered is judged when the run is over."""
        world, rng = self.world, self.world.rng
        version = rng.choice(list(world.sides))
        entity = rng.randrange(world.design.entities)
        found = world.store.read(world.table_of(version), [world.keys[entity]], consistent=True)[0]
        if isinstance(found, ReadFailure):
            self.unanswered += 1
            return
        item = Item() if found is None else unpack_item(found.value, found.seq)
        life, now = world.lives.get(version, 0), world.clock.us
        before, seen = self._seen.get((version, life, entity), (0, 0)), (item.seq, item.cut.n)
        if seen[0] < before[0] or seen[1] < before[1]:
            self._violated("back", version, f"{entity_name(entity)} (seq, n) went from {before} to {seen}")
        self._seen[version, life, entity] = seen
        serves, lag = version in world.ledger.serving, world.design.subject.lag
        as_of = now - rng.randrange(lag + 1) if lag and rng.random() < _LAGGING else now
        self.asked.append(Asked(version, life, entity, now, as_of, item, serves))
        if serves and rng.random() < 0.1:
            self._check_watermark(version, entity)

    def _check_watermark(self, version: str, entity: int) -> None:
        world = self.world
        mark, found = world.store.inner.read(
            world.table_of(version), [WATERMARK_KEY, world.keys[entity]], consistent=True
        )
        if not isinstance(mark, Stored) or isinstance(found, ReadFailure):
            self._violated("lost", version, "a serving table has no watermark")
            return
        promised, through = unpack_watermark(mark.value).n, unpack_watermark(mark.value).complete_through
        newest = max(world.truth.batch[version].passed(promised), default=None)
        if through != (0 if newest is None else day_start(newest) + DAY):
            self._violated("stale", version, f"the watermark at {promised} promises completeness through {through}")
        n = 0 if found is None else unpack_item(found.value, found.seq).cut.n
        changed = world.truth.batch[version].last_change(entity, promised)
        if n < changed:
            self._violated(
                "stale", version, f"{entity_name(entity)} is at {n}, changed at {changed}, promised {promised}"
            )

    # ---- after the fact
    def check_answers(self) -> None:
        """Every answer is the kernel over its cut, and outside the write intervals what the ledger says was visible."""
        asked, judge = self.asked, judge_of(self.world)
        told = judge.told(asked)
        for each, value, expected in zip(
            asked, told, judge.kernel(asked, [one.item.cut for one in asked]), strict=True
        ):
            if value != expected:
                detail = f"{entity_name(each.entity)} {value} not {expected} at {each.item.cut}"
                self._violated("cut", each.version, detail, each.at)
        for version in self.world.sides:
            rows = [
                place
                for place, each in enumerate(asked)
                if each.version == version and each.serves and each.as_of == each.at
            ]
            found = judge.by_clock(version, [asked[place] for place in rows], [told[place] for place in rows])
            self.inside += found.inside
            self._all_violated("clock", found.wrong)
        rng = self.world.rng
        self._all_violated("shape", judge.misshapen([each for each in asked if rng.random() < _SHAPES]))

    def _all_violated(self, kind: Kind, found: Sequence[tuple[Asked, str]]) -> None:
        for each, detail in found:
            self._violated(kind, each.version, f"{entity_name(each.entity)} {detail}", each.at)

    # ---- when the dust has settled
    def audit(self) -> None:
        """Nothing is lost and nothing doubled. Neither the cut nor the clock sees a write that never happened."""
        for version in self.world.sides:
            if self.world.design.subject.is_streamed(version):
                self._audit_streams(version)
            self._audit_history(version)
            self._audit_batch(version)

    def _audit_streams(self, version: str) -> None:
        world = self.world
        visible = stream_timeline(world.ledger.rows(view=VIEW, version=version, target=world.store.target))
        for place, log in world.truth.logs.items():
            resolved = visible.resolve(
                source_partition=pa.array([place] * len(log), pa.string()),
                offset=np.arange(len(log)),
                entity=[world.keys[record.entity] for record in log],
            )
            cut = world.truth.cuts[version].get(place, -1)
            for record, available_at in zip(log[cut + 1 :], resolved.available_at.tolist()[cut + 1 :], strict=True):
                fence = self._item(version, record.entity).cut.fences.get(place, -1)
                if fence < record.offset or available_at == OPEN:
                    self._violated("lost", version, f"record {record.offset} of {place}: fence {fence}, {available_at}")

    def _audit_batch(self, version: str) -> None:
        world, side = self.world, self.world.sides[version]
        state = push_state(
            world.design.subject.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=world.ledger,
            target=world.store.target,
            covering=world.covering(version),
        )
        if state.wanted != side.truth.settled() or state.have != state.wanted:
            self._violated("lost", version, f"settled {side.truth.settled()}, wanted {state.wanted}, have {state.have}")
        everything = Cut(side.truth.settled(), {place: len(log) for place, log in world.truth.logs.items()})
        now, life = world.clock.us, world.lives.get(version, 0)
        asked = [
            Asked(version, life, entity, now, now, self._item(version, entity), serves=True)
            for entity in range(world.design.entities)
        ]
        judge = judge_of(world)
        for each, value, expected in zip(
            asked, judge.told(asked), judge.kernel(asked, [everything] * len(asked)), strict=True
        ):
            if value != expected:
                self._violated("final", version, f"{entity_name(each.entity)} {value}, not {expected}")
            self._check_watermark(version, each.entity)
        self._all_violated("shape", judge.misshapen(asked))
        mark = world.store.inner.read(world.table_of(version), [WATERMARK_KEY], consistent=True)[0]
        if isinstance(mark, Stored) and unpack_watermark(mark.value).n != state.wanted:
            self._violated("lost", version, f"the watermark is at {unpack_watermark(mark.value).n} of {state.wanted}")

    def _audit_history(self, version: str) -> None:
        side = self.world.sides[version]
        for seq, times in Counter(seq for seq, _ in side.truth.commits).items():
            if times > 1:
                self._violated("doubled", version, f"{times} commits have the number {seq}")
        rows = side.table.read_versions(columns=("partition", "commit_seq"))
        held = Counter(zip(rows["partition"].to_pylist(), rows["commit_seq"].to_pylist(), strict=True))
        for seq, partitions in side.truth.commits:
            for partition, meant in partitions.items():
                if held[partition, seq] != len(meant):
                    self._violated(
                        "doubled", version, f"{partition} at {seq}: {held[partition, seq]} of {len(meant)} rows"
                    )

    def _item(self, version: str, entity: int) -> Item:
        found = self.world.store.inner.read(self.world.table_of(version), [self.world.keys[entity]], consistent=True)[0]
        return unpack_item(found.value, found.seq) if isinstance(found, Stored) else Item()

    def _violated(self, kind: Kind, version: str, detail: str, at: int | None = None) -> None:
        instant = self.world.clock.us if at is None else at
        self.violations.append(Violation(kind, self.world.seed, instant, version, detail))


def judge_of(world: World) -> Judge:
    """Who judges the answers about a world's subject."""
    match world.design.subject:
        case Balances() as subject:
            return BalancesJudged(world, subject)
        case Purchases() as subject:
            return PurchasesJudged(world, subject)
        case other:
            raise TypeError(f"nobody judges {other!r}")
