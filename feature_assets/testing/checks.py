"""What is asserted about a simulated world: at every request, by wall clock after the fact, and when it has settled.

Invariant: a violation is never repaired or skipped over, only written down, with what is needed to find it again.

    cut      the answer is not the kernel over the records inside the answer's cut
    back     the seq or the cut of an item went back
    stale    the table's watermark promises more, or other, than its items hold
    clock    outside every write interval, the answer is not what the ledger says was visible at that instant
    lost     a record, a commit or a verdict never reached the store or the ledger
    final    with everything settled, the answer is not the kernel over everything
    doubled  the history holds a commit, or a row of one, twice
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.compute.kernels import NO_ROW, latest_visible
from feature_assets.offline.availability import Timeline, timeline
from feature_assets.offline.stream_availability import stream_timeline
from feature_assets.online.item import WATERMARK_KEY, Item, unpack_item, unpack_watermark
from feature_assets.online.plan import push_state
from feature_assets.online.store import ReadFailure, Stored
from feature_assets.testing.world import DAY, FIRST, VIEW, World, day_start, entity_name, unpacked_value

Kind = Literal["cut", "back", "stale", "clock", "lost", "final", "doubled"]
Ints = npt.NDArray[np.int64]
Value = tuple[int | None, int]
"""An answer: the batch row's value, if there is a row, and the window's sum."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    kind: Kind
    seed: int
    at: int
    version: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader was told about an entity, and when."""

    entity: int
    at: int
    value: Value


@dataclass(slots=True)
class Checks:
    """Watches over one world."""

    world: World
    violations: list[Violation] = field(default_factory=list)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    inside: int = 0
    unanswered: int = 0
    loading: int = 0
    _seen: dict[tuple[str, int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def answered(self) -> int:
        """How many requests got an answer from a version that serves."""
        return sum(len(answers) for answers in self.answers.values())

    def request(self) -> None:
        """Ask for an entity, and compare the answer with its cut."""
        world = self.world
        version = world.rng.choice(list(world.sides))
        entity = world.rng.randrange(world.design.entities)
        found = world.store.read(world.table_of(version), [world.keys[entity]], consistent=True)[0]
        if isinstance(found, ReadFailure):
            self.unanswered += 1
            return
        item = Item() if found is None else unpack_item(found.value, found.seq)
        value, now = self._value(item, version), world.clock.us
        if value != self._by_cut(entity, item, version):
            self._violated("cut", version, f"{entity_name(entity)} {value} at {item.cut}")
        place = version, world.lives.get(version, 0), entity
        before, seen = self._seen.get(place, (0, 0)), (item.seq, item.cut.n)
        if seen[0] < before[0] or seen[1] < before[1]:
            self._violated("back", version, f"{entity_name(entity)} (seq, n) went from {before} to {seen}")
        self._seen[place] = seen
        if version not in world.ledger.serving:
            self.loading += 1
            return
        self.answers.setdefault(version, []).append(Answer(entity, now, value))
        if world.rng.random() < 0.1:
            self._check_watermark(version, entity)

    # ---- what an answer is, and what it must be
    def _value(self, item: Item, version: str) -> Value:
        row = item.batch.row if item.batch is not None else None
        value = None if row is None else unpacked_value(row.values)
        if version != FIRST or item.streams is None:
            return value, 0
        return value, self.world.design.reducer.value(item.streams.state, self.world.clock.us)

    def _by_cut(self, entity: int, item: Item, version: str) -> Value:
        cut, reducer = item.cut, self.world.design.reducer
        row = self.world.truth.batch[version].state(cut.n).get(entity)
        start = reducer.start(self.world.clock.us)
        total = self.world.truth.window_sum(entity, cut.fences, start, reducer.hop)
        return None if row is None else row.value, total

    def _check_watermark(self, version: str, entity: int) -> None:
        world = self.world
        mark, found = world.store.inner.read(
            world.table_of(version), [WATERMARK_KEY, world.keys[entity]], consistent=True
        )
        if not isinstance(mark, Stored) or isinstance(found, ReadFailure):
            self._violated("lost", version, "a serving table has no watermark")
            return
        promised, through = unpack_watermark(mark.value).n, unpack_watermark(mark.value).complete_through
        if through != day_start(max(world.truth.batch[version].passed(promised))) + DAY:
            self._violated("stale", version, f"the watermark at {promised} promises completeness through {through}")
        n = 0 if found is None else unpack_item(found.value, found.seq).cut.n
        changed = world.truth.batch[version].last_change(entity, promised)
        if n < changed:
            self._violated(
                "stale", version, f"{entity_name(entity)} is at {n}, changed at {changed}, promised {promised}"
            )

    # ---- after the fact
    def check_clock(self) -> None:
        """Every answer outside the write intervals is what the ledger says was visible at its instant."""
        for version, answers in self.answers.items():
            entity = np.array([answer.entity for answer in answers], np.int64)
            at = np.array([answer.at for answer in answers], np.int64)
            batch, in_batch = self._batch_visible(version, entity, at)
            sums, in_stream = self._stream_visible(version, entity, at)
            self.inside += int((in_batch | in_stream).sum())
            for number, answer in enumerate(answers):
                expected = batch[number], sums[number]
                wrong = (answer.value[0] != expected[0] and not in_batch[number]) or (
                    answer.value[1] != expected[1] and not in_stream[number]
                )
                if wrong:
                    self._violated(
                        "clock", version, f"{entity_name(answer.entity)} {answer.value} not {expected}", answer.at
                    )

    def _batch_visible(self, version: str, entity: Ints, at: Ints) -> tuple[list[int | None], npt.NDArray[np.bool_]]:
        """By the loader's own means: the ledger resolved over all rows, then the point-in-time kernel."""
        side = self.world.sides[version]
        n = side.truth.settled()
        rows = side.table.read_versions(upto=n)
        visible = self._timeline(version)
        resolved = visible.resolve_batch(
            commit_seq=np.asarray(rows["commit_seq"]),
            bucket=np.asarray(rows["bucket"]),
            partition=rows["partition"],
            arrived_at=_us(rows["arrived_at"]),
        )
        matches = latest_visible(
            key=np.array([int(name[1:]) for name in rows["entity"].to_pylist()], np.int64),
            event_at=_us(rows["event_at"]),
            sequence=np.asarray(rows["sequence"]),
            partition=np.array([day_start(day) for day in rows["partition"].to_pylist()], np.int64),
            available_at=resolved.available_at,
            superseded_at=resolved.superseded_at,
            spine_key=entity,
            as_of=at,
        )
        values = rows["value"].to_pylist()
        found = [None if row == NO_ROW else values[row] for row in matches.row.tolist()]
        return found, self._inside_batch(version, visible, entity, at)

    def _timeline(self, version: str) -> Timeline:
        world, side = self.world, self.world.sides[version]
        return timeline(
            world.ledger.rows(view=VIEW, version=version, target=world.store.target),
            side.table.partition_versions(upto=side.truth.settled()),
            buckets=world.design.view.buckets,
            delay=world.design.view.delay,
            excluded=frozenset(pair for pair, passed in side.verdicts.passed.items() if not passed),
            previous=None if version == FIRST else self._timeline(FIRST),
        )

    def _inside_batch(self, version: str, visible: Timeline, entity: Ints, at: Ints) -> npt.NDArray[np.bool_]:
        """Which answers fall into a push of something that the entity had before or after it."""
        spans: dict[int, list[tuple[int, int]]] = {}
        names = visible.versions.partitions.to_pylist()
        had: set[int] = set()
        partition = None
        for number, (code, seq, passed) in enumerate(
            zip(visible.versions.code, visible.versions.commit_seq, visible.versions.passed, strict=True)
        ):
            if code != partition:
                had, partition = set(), code
            if not passed:
                continue
            has = {row.entity for row in self.world.truth.batch[version].rows(names[code], int(seq))}
            for each in has | had:
                bucket = self.world.buckets[each]
                span = int(visible.sent_at[number, bucket]), int(visible.available_at[number, bucket])
                spans.setdefault(each, []).append(span)
            had = has
        return _inside(spans, entity, at)

    def _stream_visible(self, version: str, entity: Ints, at: Ints) -> tuple[list[int], npt.NDArray[np.bool_]]:
        world = self.world
        if version != FIRST:
            return [0] * len(at), np.zeros(len(at), np.bool_)
        visible = stream_timeline(world.ledger.rows(view=VIEW, version=version, target=world.store.target))
        sums = np.zeros(len(at), np.int64)
        spans: dict[int, list[tuple[int, int]]] = {}
        for each in range(world.design.entities):
            records = world.truth.of_entity(each)
            if not records:
                continue
            resolved = visible.resolve(
                source_partition=pa.array([place for place, _ in records], pa.string()),
                offset=np.array([record.offset for _, record in records], np.int64),
                entity=[world.keys[each]] * len(records),
            )
            mine = np.flatnonzero(entity == each)
            tile = (
                np.array([record.event_at for _, record in records])
                // world.design.reducer.hop
                * world.design.reducer.hop
            )
            starts = np.array([world.design.reducer.start(instant) for instant in at[mine].tolist()], np.int64)
            seen = (resolved.available_at <= at[mine, None]) & (tile >= starts[:, None])
            sums[mine] = seen @ np.array([record.amount for _, record in records], np.int64)
            spans[each] = list(zip(resolved.sent_at.tolist(), resolved.available_at.tolist(), strict=True))
        return sums.tolist(), _inside(spans, entity, at)

    # ---- when the dust has settled
    def audit(self) -> None:
        """Nothing is lost and nothing doubled. Neither the cut nor the clock sees a write that never happened."""
        self._audit_streams()
        for version in self.world.sides:
            self._audit_history(version)
            self._audit_batch(version)

    def _audit_streams(self) -> None:
        world = self.world
        visible = stream_timeline(world.ledger.rows(view=VIEW, version=FIRST, target=world.store.target))
        for place, log in world.truth.logs.items():
            resolved = visible.resolve(
                source_partition=pa.array([place] * len(log), pa.string()),
                offset=np.arange(len(log)),
                entity=[world.keys[record.entity] for record in log],
            )
            for record, available_at in zip(log, resolved.available_at.tolist(), strict=True):
                fence = self._item(FIRST, record.entity).cut.fences.get(place, -1)
                if fence < record.offset or available_at == OPEN:
                    self._violated("lost", FIRST, f"record {record.offset} of {place}: fence {fence}, {available_at}")

    def _audit_batch(self, version: str) -> None:
        world, side = self.world, self.world.sides[version]
        state = push_state(
            world.design.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=world.ledger,
            target=world.store.target,
        )
        if state.wanted != side.truth.settled() or state.have != state.wanted:
            self._violated("lost", version, f"settled {side.truth.settled()}, wanted {state.wanted}, have {state.have}")
        everything = {place: len(log) for place, log in world.truth.logs.items()} if version == FIRST else {}
        reducer = world.design.reducer
        for entity in range(world.design.entities):
            row = side.truth.state(side.truth.settled()).get(entity)
            total = world.truth.window_sum(entity, everything, reducer.start(world.clock.us), reducer.hop)
            value = self._value(self._item(version, entity), version)
            if value != (None if row is None else row.value, total):
                self._violated("final", version, f"{entity_name(entity)} {value}, not {row} and {total}")
            self._check_watermark(version, entity)
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


def _inside(spans: dict[int, list[tuple[int, int]]], entity: Ints, at: Ints) -> npt.NDArray[np.bool_]:
    """Which (entity, instant) fall into a span of that entity, ends included; a span that starts at OPEN is none."""
    found = np.zeros(len(at), np.bool_)
    for each, mine in spans.items():
        rows = np.flatnonzero(entity == each)
        start, end = np.array(mine, np.int64).reshape(-1, 2).T
        found[rows] = ((start <= at[rows, None]) & (at[rows, None] <= end)).any(axis=1)
    return found


def _us(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.cast(pa.int64()))
