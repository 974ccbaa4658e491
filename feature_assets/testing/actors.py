"""Those who work on a simulated world, each a generator: those who make data, those who keep history, those who write.

Invariant: every `yield` is a point where the actor may be killed or left asleep, and nothing is cleaned up then. The
writers are the product: they plan, push and apply by its code and add only when they do it.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pyarrow as pa

from feature_assets.errors import OnlineError
from feature_assets.offline.versions import newest, to_recommit
from feature_assets.online.micro_batch import StreamPorts, micro_batch_steps
from feature_assets.online.protocol import Record
from feature_assets.online.push import PushOptions, Step, plan_push, push_steps
from feature_assets.testing.subject import DAY, FIRST, HOUR, SECOND, VIEW
from feature_assets.testing.truth import FeatureRow
from feature_assets.testing.world import World, day_name, day_start, entity_name

Actor = Generator[Step, None, None]
IDLE = Step("idle")
_AGAIN = 8
"""What was read before is read so much faster."""
_FAILED, _OVERTURNED, _DELIVERED_TWICE, _LOST, _FILLED, _RESTATED = 0.15, 0.5, 0.3, 0.6, 0.5, 0.4


def actors_of(world: World) -> dict[str, Callable[[], Actor]]:
    """Who works on a world from its start, by name; each call makes a new process of that kind."""
    return {
        "producer": lambda: producer(world),
        "corrector": lambda: corrector(world),
        "operator": lambda: operator(world),
        **version_actors(world, FIRST),
    }


def version_actors(world: World, version: str) -> dict[str, Callable[[], Actor]]:
    """Who works on one view version."""
    is_streamed = world.design.subject.is_streamed(version)
    places = world.truth.logs if is_streamed else ()
    actors: dict[str, Callable[[], Actor]] = {
        **{f"worker {version} {place}": partial(worker, world, version, place) for place in places},
        f"materializer {version}": lambda: materializer(world, version),
        f"checker {version}": lambda: checker(world, version),
        f"pusher {version}": lambda: pusher(world, version),
    }
    return actors if version == FIRST else {**actors, "accident": lambda: accident(world)}


# -------------------------------------------------------------------------------------------------- who makes data
def producer(world: World) -> Actor:
    """Appends records to the logs, a few at a time, some of them late, mostly of one hot entity.

    One entity is not heard of any more once there is a second version: what it had is all that it will have.
    """
    rng = world.rng
    while True:
        for _ in range(rng.choice([0, 0, 0, 0, 1, 4])):
            heard = world.design.entities - (len(world.sides) > 1)
            entity = rng.randrange(heard) if rng.random() < 0.5 else 0
            late = rng.choice([0, 0, 0, 1, 7, 30, 80]) * HOUR
            now = world.clock.us
            world.truth.record(world.log_of(entity), entity, now - late, rng.randint(1, 9), now)
        yield IDLE


def corrector(world: World) -> Actor:
    """Changes what the source says about one of the last days; entities may vanish, or an old content come back.

    The archive of the logs is corrected, too: what streams have handed over changes through the batch side alone.
    """
    rng = world.rng
    while True:
        day = day_name(world.clock.us - DAY * rng.choice([0, 0, 0, 1, 1, 2, 4]))
        versions = world.source.setdefault(day, [])
        world.source_seq += 1
        again = len(versions) > 1 and rng.random() < 0.2
        rows = versions[-2][1] if again else _day_rows(world, day)
        versions.append((world.source_seq, rows))
        if world.truth.archived(SECOND) and rng.random() < _RESTATED:
            old = rng.choice(sorted(world.covering(SECOND)))
            world.restated[old] = world.restated.get(old, 0) + 1
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
        yield from pause(world.rng, 25, 70)
        if SECOND in world.ledger.serving and world.rng.random() < _LOST:
            world.lose(SECOND)


def operator(world: World) -> Actor:
    """Sometimes has a log read again from anywhere: what streams begin with counts once, even then."""
    rng = world.rng
    while True:
        yield from pause(rng, 10, 40)
        serving = sorted(world.ledger.serving) or [FIRST]
        version = rng.choice([*serving, serving[-1]])
        if world.design.subject.is_streamed(version):
            place = rng.choice(sorted(world.truth.logs))
            position = rng.randrange(world.offsets_of(version).committed(place) + 1)
            world.rewind(version, place, position // rng.choice([1, 1, 4]))


# -------------------------------------------------------------------------------------------- who keeps the history
def materializer(world: World, version: str) -> Actor:
    """Commits a day or two as the source has them now; sometimes a commit is delivered twice."""
    side, rng = world.sides[version], world.rng
    while True:
        days = _days_due(world, version)
        counts = newest(side.table.versions())
        failed = {pair for pair, passed in side.verdicts.passed.items() if not passed}
        content = {day: world.rows_of(version, day) for day in days}
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


def _days_due(world: World, version: str) -> list[str]:
    """Mostly one or two of all; until a version may take over also what it must not be without."""
    rng, passed = world.rng, world.sides[version].verdicts.passed
    missing = sorted(world.covering(version) - {day for (day, _), good in passed.items() if good})
    if missing and (world.calm or rng.random() < _FILLED):
        return missing
    days = [] if world.calm else world.days_of(version)
    return rng.sample(days, k=min(len(days), rng.choice([1, 1, 2])))


def _feature_table(world: World, rows: Sequence[FeatureRow]) -> pa.Table:
    columns = [
        [entity_name(row.entity) for row in rows],
        np.array([row.event_at for row in rows], "datetime64[us]"),
        np.array([row.arrived_at for row in rows], "datetime64[us]"),
        [row.sequence for row in rows],
        *world.design.subject.stored(rows),
        [world.buckets[row.entity] for row in rows],
    ]
    return pa.table(columns, schema=world.design.subject.schema)


def checker(world: World, version: str) -> Actor:
    """Gives each version of a partition its verdict, in any order; sometimes a second one, which must not count."""
    side, rng = world.sides[version], world.rng
    while True:
        pending = [pair for pair in side.table.versions() if pair not in side.verdicts.passed]
        for pair in rng.sample(pending, k=min(len(pending), rng.choice([1, 1, 2, 8]))):
            for share in (_FAILED, _OVERTURNED)[: rng.choice([1, 1, 2])]:
                passed = rng.random() >= share
                side.verdicts.record(pair, passed=passed)
                side.truth.judge(pair, passed=passed)
        yield from pause(rng, 0, 4)


# ------------------------------------------------------------------------------------------------- who writes online
def pusher(world: World, version: str) -> Actor:
    """Pushes whatever is due, whenever it is due."""
    side, rng, subject = world.sides[version], world.rng, world.design.subject
    seen: tuple[int, ...] = ()
    while True:
        # Whether a push is due depends on nothing else, so that there is no need to look before this has moved.
        streams = 0 if version in world.ledger.serving else world.ledger.head()
        state = side.table.head(), len(side.verdicts.passed), world.ledger.pushes, streams
        if seen == state:
            yield IDLE
            continue
        seen = state
        plan = plan_push(
            subject.view,
            version=version,
            table=side.table,
            verdicts=side.verdicts,
            ledger=world.ledger,
            target=world.store.target,
            covering=world.covering(version),
            protocol=world.protocol,
        )
        yield IDLE
        if plan is None:
            continue
        seen = ()
        options = PushOptions(
            contents=subject.contents(rng),
            batch=rng.randint(1, 4),
            rows_at_once=rng.choice([1, 1_000_000]),
            protocol=world.protocol,
            retries=world.retries(),
        )
        try:
            yield from push_steps(
                replace(plan, upto=world.handover.upto(version, world.ends())),
                subject.view,
                table=side.table,
                ledger=world.ledger,
                store=world.store,
                clock=world.clock,
                options=options,
            )
        except OnlineError:
            # A failed run. The next tick plans again.
            yield IDLE


def worker(world: World, version: str, source_partition: str) -> Actor:
    """Reads a log from the committed position on and applies it, until the version is retired; then from the start."""
    while True:
        yield from _worker_of_one_life(world, version, source_partition)


def _worker_of_one_life(world: World, version: str, source_partition: str) -> Actor:
    life, offsets, subject = world.lives.get(version, 0), world.offsets_of(version), world.design.subject
    ports = StreamPorts(
        view=VIEW,
        version=version,
        store=world.store,
        ledger=world.ledger,
        offsets=offsets,
        clock=world.clock,
        reducer=subject.reducer,
        life=life,
        batch=world.rng.randint(1, 4),
        protocol=world.protocol,
        retries=world.retries(),
    )
    log = world.truth.logs[source_partition]
    position = offsets.committed(source_partition)
    while world.offsets_of(version) is offsets:
        again = position < offsets.furthest.get(source_partition, 0)
        part = log[position : position + world.rng.randint(1, 6) * (_AGAIN if again else 1)]
        if not part:
            yield IDLE
            continue
        records = [
            Record(each.offset, world.keys[each.entity], each.event_at, subject.payload(each.amount)) for each in part
        ]
        try:
            position = yield from micro_batch_steps(ports, source_partition, records)
        except OnlineError:
            position = offsets.committed(source_partition)
            yield IDLE


def pause(rng: Random, least: int, most: int) -> Actor:
    """Do nothing for a few turns."""
    for _ in range(rng.randint(least, most)):
        yield IDLE
