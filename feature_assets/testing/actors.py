"""Those who work on a simulated world, each a generator: those who make data, those who keep history, those who write.

Invariant: every `yield` is a point where the actor may be killed or left asleep, and nothing is cleaned up then. The
writers are the product: they plan, push and apply by its code and add only when they do it.
"""

from collections.abc import Callable, Generator, Sequence
from random import Random

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.errors import OnlineError
from feature_assets.offline.versions import newest, to_recommit
from feature_assets.online.micro_batch import StreamPorts, micro_batch_steps
from feature_assets.online.protocol import Record
from feature_assets.online.push import PushOptions, Step, plan_push, push_steps
from feature_assets.online.winning_rows import WinningRows
from feature_assets.testing.truth import FeatureRow
from feature_assets.testing.world import (
    DAY,
    FEATURE_SCHEMA,
    FIRST,
    HOUR,
    KEY_NAMES,
    SECOND,
    VIEW,
    World,
    day_name,
    day_start,
    entity_name,
    packed_values,
)

Actor = Generator[Step, None, None]
IDLE = Step("idle")
_FAILED, _OVERTURNED, _DELIVERED_TWICE, _LOST = 0.15, 0.5, 0.3, 0.6


def actors_of(world: World) -> dict[str, Callable[[], Actor]]:
    """Who works on a world from its start, by name; each call makes a new process of that kind."""
    workers = {f"worker {name}": (lambda name=name: worker(world, name)) for name in world.truth.logs}
    return {
        "producer": lambda: producer(world),
        "corrector": lambda: corrector(world),
        **workers,
        **version_actors(world, FIRST),
    }


def version_actors(world: World, version: str) -> dict[str, Callable[[], Actor]]:
    """Who works on one view version."""
    actors: dict[str, Callable[[], Actor]] = {
        f"materializer {version}": lambda: materializer(world, version),
        f"checker {version}": lambda: checker(world, version),
        f"pusher {version}": lambda: pusher(world, version),
    }
    return actors if version == FIRST else {**actors, "accident": lambda: accident(world)}


# -------------------------------------------------------------------------------------------------- who makes data
def producer(world: World) -> Actor:
    """Appends records to the logs, a few at a time, some of them late, mostly of one hot entity."""
    rng = world.rng
    while True:
        for _ in range(rng.choice([0, 0, 0, 0, 1, 4])):
            entity = rng.randrange(world.design.entities) if rng.random() < 0.5 else 0
            late = rng.choice([0, 0, 0, 1, 7, 30, 80]) * HOUR
            world.truth.record(world.log_of(entity), entity, world.clock.us - late, rng.randint(1, 9))
        yield IDLE


def corrector(world: World) -> Actor:
    """Changes what the source says about one of the last days; entities may vanish, or an old content come back."""
    rng = world.rng
    while True:
        day = day_name(world.clock.us - DAY * rng.choice([0, 0, 0, 1, 1, 2, 4]))
        versions = world.source.setdefault(day, [])
        world.source_seq += 1
        again = len(versions) > 1 and rng.random() < 0.2
        rows = versions[-2][1] if again else _day_rows(world, day)
        versions.append((world.source_seq, rows))
        yield from pause(rng, 4, 16)


def _day_rows(world: World, day: str) -> tuple[FeatureRow, ...]:
    start, rng = day_start(day), world.rng
    rows: dict[tuple[int, int, int], FeatureRow] = {}
    for entity in range(world.design.entities):
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            # Both ends of the day: the end is the start of the next, where only the rest of the order decides.
            event_at, sequence = start + rng.choice([0, 6, 12, 18, 24]) * HOUR, rng.randrange(3)
            arrived_at = max(event_at, world.clock.us)
            rows[entity, event_at, sequence] = FeatureRow(entity, event_at, sequence, rng.randint(1, 999), arrived_at)
    return tuple(rows[key] for key in sorted(rows))


def accident(world: World) -> Actor:
    """Sometimes the store loses the second version's table."""
    while True:
        yield from pause(world.rng, 40, 100)
        if SECOND in world.ledger.serving and world.rng.random() < _LOST:
            world.lose(SECOND)


# -------------------------------------------------------------------------------------------- who keeps the history
def materializer(world: World, version: str) -> Actor:
    """Commits a day or two as the source has them now; sometimes a commit is delivered twice."""
    side, rng = world.sides[version], world.rng
    while True:
        days = rng.sample(sorted(world.source), k=min(len(world.source), rng.choice([1, 1, 2])))
        counts = newest(side.table.versions())
        failed = {pair for pair, passed in side.verdicts.passed.items() if not passed}
        content = {day: world.source[day][-1] for day in days}
        prepared = side.table.prepared(
            {day: _feature_table(world, rows) for day, (_, rows) in content.items()},
            source_seq={day: seq for day, (seq, _) in content.items()},
            force=to_recommit(days, counts, failed),
        )
        yield IDLE
        if prepared is not None:
            if side.table.append(prepared):
                side.truth.commit(prepared.seq, {day: content[day][1] for day in prepared.partitions})
            yield IDLE
            if rng.random() < _DELIVERED_TWICE:
                side.table.append(prepared)
        yield from pause(rng, 3, 14)


def _feature_table(world: World, rows: Sequence[FeatureRow]) -> pa.Table:
    columns = [
        [entity_name(row.entity) for row in rows],
        np.array([row.event_at for row in rows], "datetime64[us]"),
        np.array([row.arrived_at for row in rows], "datetime64[us]"),
        [row.sequence for row in rows],
        [row.value for row in rows],
        [world.buckets[row.entity] for row in rows],
    ]
    return pa.table(columns, schema=FEATURE_SCHEMA)


def checker(world: World, version: str) -> Actor:
    """Gives each version of a partition its verdict, in any order; sometimes a second one, which must not count."""
    side, rng = world.sides[version], world.rng
    while True:
        pending = [pair for pair in side.table.versions() if pair not in side.verdicts.passed]
        if pending:
            pair = rng.choice(pending)
            for share in (_FAILED, _OVERTURNED)[: rng.choice([1, 1, 2])]:
                passed = rng.random() >= share
                side.verdicts.record(pair, passed=passed)
                side.truth.judge(pair, passed=passed)
        yield from pause(rng, 0, 4)


# ------------------------------------------------------------------------------------------------- who writes online
def pusher(world: World, version: str) -> Actor:
    """Pushes whatever is due, whenever it is due."""
    side, rng = world.sides[version], world.rng
    seen: tuple[int, ...] = ()
    while True:
        # Whether a push is due depends on nothing else, so that there is no need to look before this has moved.
        state = side.table.head(), len(side.verdicts.passed), world.ledger.pushes
        if seen == state:
            yield IDLE
            continue
        seen = state
        plan = plan_push(
            world.design.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=world.ledger,
            target=world.store.target,
            protocol=world.protocol,
        )
        yield IDLE
        if plan is None:
            continue
        seen = ()
        options = PushOptions(
            contents=WinningRows(KEY_NAMES, packed_values, partitions_at_once=rng.choice([1, 2, 8])),
            batch=rng.randint(1, 4),
            rows_at_once=rng.choice([1, 1_000_000]),
            protocol=world.protocol,
            retries=world.retries(),
        )
        try:
            yield from push_steps(
                plan,
                world.design.view,
                table=side.table,
                ledger=world.ledger,
                store=world.store,
                clock=world.clock,
                options=options,
            )
        except OnlineError:
            # A failed run. The next tick plans again.
            yield IDLE


def worker(world: World, source_partition: str) -> Actor:
    """Reads a log from the committed position on and applies it, a micro-batch at a time."""
    ports = StreamPorts(
        view=VIEW,
        version=FIRST,
        store=world.store,
        ledger=world.ledger,
        offsets=world.offsets,
        clock=world.clock,
        reducer=world.design.reducer,
        batch=world.rng.randint(1, 4),
        protocol=world.protocol,
        retries=world.retries(),
    )
    log = world.truth.logs[source_partition]
    position = world.offsets.committed(source_partition)
    while True:
        part = log[position : position + world.rng.randint(1, 6)]
        if not part:
            yield IDLE
            continue
        records = [
            Record(each.offset, world.keys[each.entity], each.event_at, msgspec.msgpack.encode(each.amount))
            for each in part
        ]
        try:
            position = yield from micro_batch_steps(ports, source_partition, records)
        except OnlineError:
            position = world.offsets.committed(source_partition)
            yield IDLE


def pause(rng: Random, least: int, most: int) -> Actor:
    """Do nothing for a few turns."""
    for _ in range(rng.randint(least, most)):
        yield IDLE
