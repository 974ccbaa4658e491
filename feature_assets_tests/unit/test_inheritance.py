"""What a changed view inherits from the version before it: nothing, if that one read other sources."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from feature_assets.clock import to_us
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.maintenance import compact
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.source_positions import COUNTED_IN, counted_in
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.training.loader import training_set
from feature_assets_tests.report_log import ReportLog, at, clock, day
from feature_assets_tests.weather import view

TARGET = "sqlite:test"
SERVED_AT = at(4, 5)
"""When the second day was acknowledged in the version before."""


def of_both(reports: "nw.DataFrame[Any]", _others: "nw.DataFrame[Any]") -> "nw.DataFrame[Any]":
    return reports.drop("n")


def log() -> ReportLog:
    found = ReportLog()
    for number in (1, 2):
        found.add("JFK", number, 6.0, 10.0 * number)
    return found


@dataclass
class World:
    """A lake with two sources of the same reports, and whatever versions of the view `weather` there are."""

    lake: Lake
    log: ReportLog = field(default_factory=log)

    @property
    def ledger(self) -> DeltaLedger:
        return DeltaLedger(self.lake)

    def reading(self, *names: str, **changes: object) -> FeatureView:
        """The view over those sources."""
        sources = [self.log.source(name=name) for name in names]
        transform = {} if len(names) == 1 else {"transform": of_both}
        return view(**transform, sources=sources, delay=timedelta(hours=3), **changes)  # type: ignore[arg-type] # a definition's own arguments

    def materialize(self, of: FeatureView, *numbers: int) -> int:
        days = [day(number) for number in numbers]
        for source in of.sources:
            materialize_source(source, days, lake=self.lake, clock=clock(9))
        done = materialize_view(of, days, lake=self.lake, clock=clock(9)).commit
        assert done.seq is not None
        common = {"view": of.name, "version": view_version(of), "commit_seq": done.seq, "checked_at": at(9)}
        Verdicts(self.lake).record([Verdict(**common, partition=name, passed=True) for name in done.written])  # type: ignore[arg-type] # the fields above
        return done.seq

    def push(self, of: FeatureView, n: int, acked_at: int, *, serving: bool = False) -> None:
        common = {"view": of.name, "version": view_version(of), "target": TARGET, "commit_seq": n}
        times = {"sent_at": acked_at - 5, "acked_at": acked_at}
        rows = [LedgerRow(**common, **times, kind="ack", bucket=bucket) for bucket in range(of.buckets)]  # type: ignore[arg-type] # the fields above
        if serving:
            rows.append(LedgerRow(**common, **times, kind="serving"))  # type: ignore[arg-type] # the fields above
        self.ledger.append(rows)

    def availability(self, of: FeatureView) -> tuple[object, object]:
        """Of the second day's row: how its availability is known, and, as folded, what it is."""
        project = Project("test", sources=of.sources, views=[of], services=[FeatureService("it", [of])])
        spine = pa.table({"airport": ["JFK"], "as_of": pa.array([at(8)], pa.timestamp("us", "UTC"))})
        built = training_set(
            project,
            spine,
            service="it",
            timestamp="as_of",
            lake=self.lake,
            ledger=self.ledger,
            verdicts=Verdicts(self.lake),
            target=TARGET,
            clock=clock(9),
        )
        compact(self.lake, project, ledger=self.ledger, target=TARGET)
        rows = feature_table(self.lake, of).read(partitions=[day(2).isoformat()])
        return built.table["weather__availability"][0].as_py(), rows["available_at"][0].as_py()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The version before read `reports`; its second day was recorded."""
    found = World(Lake(str(tmp_path)))
    before = found.reading("reports")
    found.push(before, found.materialize(before, 1), to_us(at(3)), serving=True)
    found.push(before, found.materialize(before, 2), to_us(SERVED_AT))
    return found


def took_over(world: World, changed: FeatureView) -> tuple[object, object]:
    world.push(changed, world.materialize(changed, 1, 2), to_us(at(7)), serving=True)
    return world.availability(changed)


SIMULATED = ("simulated", at(3, 3))


def test_a_version_over_the_same_source_inherits(world: World) -> None:
    assert took_over(world, world.reading("reports", buckets=4)) == ("inherited", SERVED_AT)


def test_a_version_over_another_source_inherits_nothing_whatever_its_positions_are(world: World) -> None:
    other = world.reading("others", buckets=4)
    found = took_over(world, other)
    # By their numbers alone the positions would do: the version before was further than this one.
    assert feature_table(world.lake, other).partition_versions()["source_seq"].to_pylist() == [1, 1]
    assert found == SIMULATED


def test_a_version_over_one_source_more_inherits_nothing(world: World) -> None:
    assert took_over(world, world.reading("others", "reports")) == SIMULATED


def test_what_a_version_over_another_source_stands_between_is_not_inherited(world: World) -> None:
    assert took_over(world, world.reading("others")) == SIMULATED
    assert took_over(world, world.reading("reports", buckets=4)) == SIMULATED


def test_of_a_table_that_does_not_say_what_it_counts_nothing_is_inherited(world: World) -> None:
    before = feature_table(world.lake, world.reading("reports"))
    world.lake.open(*before.path).alter.set_table_properties({COUNTED_IN: ""}, raise_if_not_exists=False)
    assert took_over(world, world.reading("reports", buckets=4)) == SIMULATED


def test_a_table_that_was_made_before_tables_said_it_is_told_with_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(Lake(str(tmp_path)))
    reports = world.reading("reports")
    table = feature_table(world.lake, reports)
    with monkeypatch.context() as before:
        before.setattr("feature_assets.offline.source_positions.kept", lambda _lake, _parts, handle, _said: handle)
        before.setattr("feature_assets.offline.source_positions.properties", lambda _said: {})
        world.materialize(reports, 1)
    assert table.counted_in() is None
    world.materialize(reports, 2)
    assert table.counted_in() == counted_in(reports) == "reports"
    assert (table.head(), table.read().num_rows) == (2, 2)


def test_positions_in_several_sources_are_told_apart_by_the_days_they_reach_over(world: World) -> None:
    said = [
        counted_in(of)
        for of in (
            world.reading("reports"),
            world.reading("reports", lookback=timedelta(days=1)),
            world.reading("others", "reports"),
            world.reading("reports", "others"),
            world.reading("others", "reports", lookback=timedelta(days=1)),
        )
    ]
    assert said[0] == said[1]
    assert said[2] == said[3]
    assert len(set(said)) == 3
