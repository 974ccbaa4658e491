"""The loader against the naive lookup: every row of every training set, over everything that can happen to a view.

Ties, duplicates, late and corrected rows, failed and missing verdicts, backfills, killed pushes, hand-over from an
older version, composite keys, nulls, time to live, roles, all modes, memory limits; in memory, and fewer through Delta.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from math import nan
from random import Random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_assets.clock import duration_us, to_us
from feature_assets.compute.keys import buckets_of, encoded_key
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.training.answer import added_columns
from feature_assets.training.history import FeatureRows, History, state
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.memory import ROW_OVERHEAD, Part, parts
from feature_assets.training.modes import AsOfEvent, AsServed, Mode, WhatIf
from feature_assets.training.point_in_time import looked_up
from feature_assets.training.spine import parse_spine
from feature_assets_tests.histories import (
    START,
    MemoryTable,
    MemoryVerdicts,
    instants,
    partition_table,
    verdict,
    view_of,
)
from feature_assets_tests.oracle.point_in_time import Life, Push, Record, Row, Version, latest

DAY_US = duration_us(timedelta(days=1))
ORIGIN = to_us(START)
FIRST_DAY = ORIGIN // DAY_US
SIX_HOURS = DAY_US // 4
TARGET = "memory:test"
BUCKETS = 3

VIEW = view_of(
    "stock",
    {"shop": pa.string(), "shelf": pa.int32()},
    {"amount": pa.float64(), "note": pa.string()},
    buckets=BUCKETS,
    delay=timedelta(hours=2),
)
SERVICE = FeatureService("service", [VIEW, VIEW.alias("rival", shop="rival_shop")["amount"]])
VERSION = view_version(VIEW)
OLDER = "0123456789"
KEYS = [("a", 1), ("a", 2), ("b", 1), ("c", -1)]


def name_of(partition: int) -> str:
    return (START + timedelta(days=partition - FIRST_DAY)).date().isoformat()


def bucket_of(key: tuple[str, int]) -> int:
    return int(buckets_of([encoded_key(key, [one.dtype for one in VIEW.entity.keys])], BUCKETS)[0])


# ---------------------------------------------------------------------------------------------------- what can happen

# Hypothesis draws the sizes, so that failures shrink; a seeded generator fills them, as a drawn value is mostly the
# simplest one, and simple histories hide nothing.


def moment(random: Random) -> int:
    """A grid of six hours: instants coincide all the time. A microsecond beside it shows which side is meant."""
    return ORIGIN + random.randint(2, 28) * SIX_HOURS + random.choice([0, 0, 0, -1, 1])


def version_of(random: Random, partition: int, commit: int, rows: int, *, passed: bool | None) -> Version:
    """A version of a partition with about so many rows."""
    found = {}
    for _ in range(rows):
        key = random.choice(KEYS)
        # The end of the day included: a row of a whole day is dated there.
        event_at = partition * DAY_US + random.randint(0, 4) * SIX_HOURS
        sequence = random.randint(0, 2)
        late = random.choice([0, 0, 1, 5, 9]) * SIX_HOURS
        value = (random.choice([None, 0.0, -0.0, 1.5, 2.0, nan]), random.choice([None, "", "x", "y"]))
        found[key, event_at, sequence] = Row(key, bucket_of(key), event_at, sequence, event_at + late, value)
    return Version(partition, commit, passed, tuple(found.values()), source=random.randint(1, 4))


@st.composite
def lives(draw: st.DrawFn, *, older: bool = True) -> Life:
    """Commits of one to three partitions each, corrections of one another, and pushes among them in order of time."""
    random = draw(st.randoms(use_true_random=True))
    versions: list[Version] = []
    commits, rows = draw(st.sampled_from([6, 4, 2, 1])), draw(st.sampled_from([6, 3, 1]))
    # The verdicts of the last commits may still be missing.
    judged = commits - random.choice([0, 0, 0, 0, 1, 2])
    for commit in range(1, commits + 1):
        for partition in random.sample(range(FIRST_DAY, FIRST_DAY + 4), random.randint(1, 3)):
            passed = random.random() < 0.85 if commit <= judged else random.choice([None, True])
            versions.append(version_of(random, partition, commit, random.randint(rows // 2, rows), passed=passed))
    before = draw(st.none() | lives(older=False)) if older else None
    life = Life(tuple(versions), (), None, DAY_US, duration_us(VIEW.delay), before)
    pushes = draw(st.sampled_from([4, 3, 2, 1, 0]))
    if not life.settled or not pushes:
        return life
    loaded = random.randint(1, -(-life.settled // 2))
    pushed = [loaded, *sorted(random.choices(range(loaded, life.settled + 1), k=pushes - 1))]
    times = iter(sorted(moment(random) for _ in range(2 * pushes + 1)))
    sent_at, acked_at, serving_at = next(times), next(times), next(times)
    done = [Push(pushed[0], sent_at, tuple((bucket, acked_at) for bucket in range(BUCKETS)))]
    for commit in pushed[1:]:
        finished = random.choice([(0, 1, 2), (0, 1, 2), (0, 1), (2,), ()])
        sent_at, acked_at = next(times), next(times)
        done.append(Push(commit, sent_at, tuple((bucket, acked_at) for bucket in finished)))
    return replace(life, pushes=tuple(done), serving_at=serving_at)


@st.composite
def spines(draw: st.DrawFn) -> list[tuple[tuple[str, int], str, int]]:
    random = draw(st.randoms(use_true_random=True))
    rows = draw(st.sampled_from([15, 5, 1, 0]))
    asked = [
        (random.choice([*KEYS, ("z", 1)]), random.choice(["a", "b", "c", ""]), moment(random)) for _ in range(rows)
    ]
    # The same row twice is two rows.
    return asked + asked[: random.randint(0, 2)]


MODES = st.sampled_from(
    [
        AsServed(),
        AsServed(),
        AsServed(),
        AsOfEvent(),
        WhatIf(),
        WhatIf(delay=timedelta(hours=3)),
        WhatIf(delay=timedelta(minutes=1), every=timedelta(hours=12)),
    ]
)
TTLS = st.none() | st.sampled_from([timedelta(0), timedelta(hours=6), timedelta(hours=13), timedelta(days=2)])


# ------------------------------------------------------------------------------------------------ into memory or Delta


def ledger_rows(life: Life, version: str) -> Iterator[list[LedgerRow]]:
    """What a push appends, push by push."""
    about = partial(LedgerRow, view=VIEW.name, version=version, target=TARGET)
    for number, push in enumerate(life.pushes):
        begun, n = push.sent_at, push.commit
        yield [about(kind="intent", sent_at=begun, bucket=bucket, commit_seq=n) for bucket in range(BUCKETS)]
        for bucket, at in push.acked_at:
            yield [about(kind="ack", sent_at=begun, acked_at=at, bucket=bucket, commit_seq=n)]
        if number == 0 and life.serving_at is not None:
            yield [about(kind="serving", sent_at=life.serving_at, acked_at=life.serving_at, commit_seq=n)]


def tables_of(life: Life) -> Iterator[tuple[int, dict[str, pa.Table], dict[str, int]]]:
    """What each commit writes."""
    for commit in sorted({version.commit for version in life.versions}):
        mine = [version for version in life.versions if version.commit == commit]
        tables = {
            name_of(version.partition): partition_table(VIEW, [fields(row) for row in version.rows]) for version in mine
        }
        yield commit, tables, {name_of(version.partition): version.source for version in mine}


def fields(row: Row) -> dict[str, object]:
    assert isinstance(row.key, tuple)
    assert isinstance(row.value, tuple)
    return {
        "shop": row.key[0],
        "shelf": row.key[1],
        "event_at": row.event_at,
        "sequence": row.sequence,
        "arrived_at": row.arrived_at,
        "amount": row.value[0],
        "note": row.value[1],
    }


def chain(life: Life) -> list[tuple[Life, str]]:
    """The life and those before it, oldest first, with their versions; only one that served is a version before."""
    if life.before is not None:
        return [(life.before, OLDER), (life, VERSION)]
    return [(life, VERSION)]


def in_memory(life: Life) -> History:
    tables: dict[str, FeatureRows] = {}
    verdicts, ledger = MemoryVerdicts(), MemoryLedger()
    for one, version in chain(life):
        table = MemoryTable(VIEW)
        tables[version] = table
        for commit, partitions, source in tables_of(one):
            assert table.commit(partitions, source) == commit
        known = {(name_of(of.partition), of.commit): of.passed for of in one.versions if of.passed is not None}
        verdicts.judge(VIEW.name, version, known)
        for rows in ledger_rows(one, version):
            ledger.append(rows)
    return History(lambda _, version: tables[version], verdicts, ledger, TARGET)


def in_delta(life: Life, root: str) -> History:
    lake = Lake(root)
    verdicts, ledger = Verdicts(lake), DeltaLedger(lake)
    for one, version in chain(life):
        table = feature_table(lake, VIEW, version)
        for commit, partitions, source in tables_of(one):
            assert table.commit(partitions, source_seq=source, force=frozenset(partitions)).seq == commit
        judged = [of for of in one.versions if of.passed is not None]
        verdicts.record(
            [verdict(VIEW.name, version, name_of(of.partition), of.commit, passed=bool(of.passed)) for of in judged]
        )
        for rows in ledger_rows(one, version):
            ledger.append(rows)
    return History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, TARGET)


# ------------------------------------------------------------------------------------------------------- the comparison


@dataclass(frozen=True)
class Case:
    life: Life
    spine: list[tuple[tuple[str, int], str, int]]
    mode: Mode
    ttl: timedelta | None

    def table(self) -> pa.Table:
        return pa.table(
            {
                "number": pa.array(range(len(self.spine)), pa.int64()),
                "shop": pa.array([key[0] for key, _, _ in self.spine], pa.string()),
                "shelf": pa.array([key[1] for key, _, _ in self.spine], pa.int32()),
                "rival_shop": pa.array([rival for _, rival, _ in self.spine], pa.string()),
                "at": instants([at for _, _, at in self.spine]),
            }
        )

    def expected(self) -> list[dict[str, object]]:
        """The training set, row by row, from what happened."""
        if isinstance(self.mode, AsServed):
            known = self.life.served()
        elif isinstance(self.mode, AsOfEvent):
            known = self.life.modelled(0, 0, by_event=True)
        else:
            delay, every = duration_us(self.mode.delay), duration_us(self.mode.every)
            known = self.life.modelled(delay, every, by_event=False)
        return [self._row(known, number, *asked) for number, asked in enumerate(self.spine)]

    def _row(
        self, known: Sequence[tuple[Record, str]], number: int, key: tuple[str, int], rival: str, at: int
    ) -> dict[str, object]:
        row: dict[str, object] = {"number": number, "shop": key[0], "shelf": key[1], "rival_shop": rival, "at": at}
        records = [record for record, _ in known]
        names = {id(record): name for record, name in known}
        ttl = None if self.ttl is None else duration_us(self.ttl)
        origins = []
        for prefix, asked, wanted in (("stock", key, ("amount", "note")), ("rival", (rival, key[1]), ("amount",))):
            found = latest(records, asked, at, ttl)
            for place, feature in enumerate(wanted):
                usable = found is not None and not found.expired
                row[f"{prefix}__{feature}"] = value_of(found.record)[place] if found and usable else None
            row[f"{prefix}__event_at"] = None if found is None else found.record.event_at
            row[f"{prefix}__availability"] = None if found is None else names[id(found.record)]
            origins += [] if found is None else [names[id(found.record)]]
        strength = ["simulated", "inherited", "recovered", "recorded"]
        row["availability"] = min(origins, key=strength.index, default=None)
        return row


def value_of(record: Record) -> tuple[object, ...]:
    assert isinstance(record.value, tuple)
    return record.value


def shown(table: pa.Table) -> list[dict[str, object]]:
    """The rows, with instants in microseconds and floats by their bits: NaN is NaN, and -0.0 is not 0.0."""
    columns = {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return [
        {name: exact(values[number]) for name, values in sorted(columns.items())} for number in range(table.num_rows)
    ]


def exact(value: object) -> object:
    return value.hex() if isinstance(value, float) else value


def check(case: Case, history: History) -> None:
    if not case.life.settled or (case.life.before is not None and not case.life.before.settled):
        return
    pins, position = pins_now(SERVICE, history, {VIEW.name: case.ttl})
    spine = parse_spine(case.table(), timestamp="at", service=SERVICE, added=added_columns(SERVICE))
    question = Question(SERVICE, "at", case.mode)
    table = built(question, spine, pins, history, position)
    assert table.column_names == [*case.table().column_names, *added_columns(SERVICE)]
    wanted = [{name: exact(value) for name, value in sorted(row.items())} for row in case.expected()]
    assert shown(table) == wanted


CASES = st.builds(Case, lives(), spines(), MODES, TTLS)


@settings(max_examples=1_200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES)
def test_every_row_is_what_looking_at_every_record_gives(case: Case) -> None:
    check(case, in_memory(case.life))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES, st.integers(2_600, 9_000))
def test_the_parts_in_which_rows_are_looked_at_change_nothing(case: Case, budget: int) -> None:
    life = case.life
    if not life.settled or (life.before is not None and not life.before.settled):
        return
    history = in_memory(life)
    (pin,), position = pins_now(SERVICE, history, {VIEW.name: case.ttl})
    spine = parse_spine(case.table(), timestamp="at", service=SERVICE, added=added_columns(SERVICE))
    there = state(VIEW, pin, history, position=position)
    rows = there.rows_of(there.versions)
    # One bucket of the largest day must fit.
    least = -(-max(rows.values(), default=0) * (50 + ROW_OVERHEAD) // BUCKETS)
    split = parts(rows, 50, buckets=BUCKETS, budget=max(budget, least), view=VIEW.name)
    whole = looked_up(there, SERVICE.refs, spine, mode=case.mode, parts=[Part()])
    pieces = looked_up(there, SERVICE.refs, spine, mode=case.mode, parts=split)
    for one, other in zip(whole, pieces, strict=True):
        assert shown(pa.table({**one.features, "at": one.event_at})) == shown(
            pa.table({**other.features, "at": other.event_at})
        )
        assert one.provenance.tolist() == other.provenance.tolist()
        assert one.expired.tolist() == other.expired.tolist()


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES)
def test_and_so_it_is_through_delta(case: Case) -> None:
    with tempfile.TemporaryDirectory() as root:
        check(case, in_delta(case.life, root))
