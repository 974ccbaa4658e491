"""A push with nothing simulated: from Delta tables, verdicts and ledger into a SQLite file, killed and taken up."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock, to_us
from feature_assets.compute.engine import view_schema
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.definition.version import view_version
from feature_assets.offline.availability import PROVENANCE_NAMES, timeline
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import retired
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import table_name, unpack_item
from feature_assets.online.plan import PushPlan, plan_push
from feature_assets.online.push import PushOptions, PushResult, push, push_steps
from feature_assets.online.read_back import ReadBack, read_back
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import Stored
from feature_assets.online.winning_rows import WinningRows
from feature_assets_tests.weather import view

VIEW = view(buckets=4, delay=timedelta(hours=1))
VERSION = view_version(VIEW)
CODEC = ValueCodec(VIEW.features)
CONTENTS = WinningRows(VIEW.entity.key_names, CODEC.pack_table, partitions_at_once=1)
START = datetime(2026, 1, 10, tzinfo=UTC)
AIRPORTS = [f"A{number}" for number in range(12)]


@dataclass(slots=True)
class Weather:
    """The lake and the store of one test. Every port is made anew for each use, as another process would."""

    folder: Path
    store: SQLiteStore
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))

    @property
    def lake(self) -> Lake:
        return Lake(str(self.folder / "lake"))

    @property
    def ledger(self) -> DeltaLedger:
        return DeltaLedger(self.lake)

    def commit(self, day: int, temps: dict[str, float], *, passed: bool = True) -> None:
        name = f"2026-01-{day:02}"
        instant = datetime(2026, 1, day, 12, tzinfo=UTC)
        rows = pa.table(
            [list(temps), [instant] * len(temps), [instant] * len(temps), [0] * len(temps), list(temps.values())],
            schema=view_schema(VIEW),
        )
        buckets = buckets_of(encoded_keys(rows, VIEW.entity.key_names), VIEW.buckets)
        done = feature_table(self.lake, VIEW).commit({name: rows.append_column("bucket", pa.array(buckets))})
        assert done.seq is not None
        verdict = Verdict(
            view=VIEW.name, version=VERSION, partition=name, commit_seq=done.seq, passed=passed, checked_at=START
        )
        Verdicts(self.lake).record([verdict])

    def plan(self) -> PushPlan | None:
        return plan_push(
            VIEW,
            version=VERSION,
            table=feature_table(self.lake, VIEW),
            verdicts=Verdicts(self.lake),
            ledger=self.ledger,
            target=self.store.target,
        )

    def push(self, *, kill_after: int | None = None) -> PushResult | None:
        """Push what is due; or only so many steps of it."""
        plan = self.plan()
        assert plan is not None
        options = PushOptions(CONTENTS, batch=3, rows_at_once=1)
        table, ledger = feature_table(self.lake, VIEW), self.ledger
        if kill_after is None:
            return push(plan, VIEW, table=table, ledger=ledger, store=self.store, clock=self.clock, options=options)
        steps = push_steps(plan, VIEW, table=table, ledger=ledger, store=self.store, clock=self.clock, options=options)
        for _ in islice(steps, kill_after):
            pass
        steps.close()
        return None

    def read_back(self) -> ReadBack:
        return read_back(
            VIEW,
            version=VERSION,
            table=feature_table(self.lake, VIEW),
            verdicts=Verdicts(self.lake),
            ledger=self.ledger,
            store=self.store,
            contents=CONTENTS,
            now=to_us(self.clock.now()),
        )

    def temps(self, life: int = 0) -> dict[str, object]:
        keys = encoded_keys(pa.table({"airport": AIRPORTS}), ("airport",))
        found = self.store.read(table_name(VIEW.name, VERSION, life), keys, consistent=True)
        temps = {}
        for airport, stored in zip(AIRPORTS, found, strict=True):
            batch = unpack_item(stored.value, stored.seq).batch if isinstance(stored, Stored) else None
            if batch is not None and batch.row is not None:
                temps[airport] = CODEC.unpack(batch.row.values)[0]
        return temps


@pytest.fixture
def weather(tmp_path: Path) -> Iterator[Weather]:
    store = SQLiteStore(tmp_path / "online.sqlite")
    yield Weather(tmp_path, store)
    store.close()


def test_states_are_pushed_corrected_and_read_back(weather: Weather) -> None:
    weather.commit(1, dict.fromkeys(AIRPORTS, 1.0))
    weather.commit(2, {"A0": 2.0, "A1": 2.0})
    done = weather.push()
    assert done is not None
    assert (done.bootstrap, done.n, done.entities, done.written) == (True, 2, 12, 12)
    assert weather.temps() == {**dict.fromkeys(AIRPORTS, 1.0), "A0": 2.0, "A1": 2.0}
    assert (weather.plan(), weather.read_back().ok) == (None, True)

    weather.commit(2, {"A1": 3.0})
    weather.commit(1, {}, passed=False)
    weather.commit(3, {})
    done = weather.push()
    assert done is not None
    assert (done.bootstrap, done.n, done.entities) == (False, 5, 2)
    assert weather.temps() == {**dict.fromkeys(AIRPORTS, 1.0), "A1": 3.0}
    weather.commit(1, {"A5": 4.0})
    weather.push()
    assert weather.temps() == {"A1": 3.0, "A5": 4.0}
    found = weather.read_back()
    assert (found.ok, found.n, found.sampled) == (True, 6, 12)


def test_a_push_that_is_killed_anywhere_is_taken_up_from_the_ledger(weather: Weather) -> None:
    weather.commit(1, dict.fromkeys(AIRPORTS, 1.0))
    for kill_after in range(0, 28, 3):
        if weather.plan() is not None:
            weather.push(kill_after=kill_after)
    weather.commit(2, dict.fromkeys(AIRPORTS[:6], 2.0))
    weather.push()
    assert weather.temps() == {**dict.fromkeys(AIRPORTS, 1.0), **dict.fromkeys(AIRPORTS[:6], 2.0)}
    assert weather.plan() is None
    assert weather.read_back().ok


def test_availability_is_what_happened(weather: Weather) -> None:
    weather.commit(1, {"A0": 1.0})
    weather.push()
    weather.clock.advance(timedelta(hours=5))
    weather.commit(1, {"A0": 2.0})
    weather.push()
    table, ledger = feature_table(weather.lake, VIEW), weather.ledger
    rows = table.read_versions()
    line = timeline(
        ledger.rows(view=VIEW.name, version=VERSION, target=weather.store.target),
        table.partition_versions(),
        buckets=VIEW.buckets,
        delay=VIEW.delay,
    )
    seen = line.resolve_batch(
        commit_seq=rows["commit_seq"].to_numpy(),
        bucket=rows["bucket"].to_numpy(),
        partition=rows["partition"],
        arrived_at=rows["arrived_at"].cast(pa.int64()).to_numpy(),
    )
    simulated, corrected = datetime(2026, 1, 2, 1, tzinfo=UTC), START + timedelta(hours=5)
    assert seen.available_at.tolist() == [to_us(simulated), to_us(corrected)]
    assert int(seen.superseded_at[0]) == to_us(corrected)
    assert [PROVENANCE_NAMES[code] for code in seen.provenance] == ["simulated", "recorded"]


def test_a_lost_table_is_seen_and_filled_anew(weather: Weather) -> None:
    weather.commit(1, dict.fromkeys(AIRPORTS, 1.0))
    weather.push()
    weather.store.drop(table_name(VIEW.name, VERSION))
    weather.store.prepare(table_name(VIEW.name, VERSION))
    found = weather.read_back()
    assert (found.ok, found.missing) == (False, 12)
    weather.ledger.append([retired(VIEW.name, VERSION, weather.store.target, weather.clock)])
    weather.push()
    assert weather.temps(life=1) == dict.fromkeys(AIRPORTS, 1.0)
    assert weather.read_back().ok
