"""The leakage report: its figures on a lake where they can be counted by hand, and an audit that can see."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.errors import ManifestError
from feature_assets.offline.table import feature_table
from feature_assets.training.differences import AGE_BOUNDS, AGE_PERCENTILES, HALF_BINS
from feature_assets.training.history import History
from feature_assets.training.leakage import LeakageReport, leakage_report, leaked_rows
from feature_assets.training.leakage_figures import FeatureLeakage
from feature_assets.training.loader import TrainingSet
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets.training.modes import what_if
from feature_assets_tests.histories import DAY, SOURCE, START
from feature_assets_tests.oracle import differences as naive
from feature_assets_tests.trained import (
    FLIGHTS,
    HOUR,
    PROJECT,
    ROUTES,
    SERVICE,
    TARGET,
    WEATHER,
    Trained,
    fill,
    spine_of,
    weather_rows,
)

SPINE = spine_of(FLIGHTS)
HALF_HOUR = timedelta(minutes=30)
HOURLY = what_if(every=HOUR, delay=timedelta(minutes=5))
MODES: tuple[Any, ...] = ("as_served", "as_of_event", HOURLY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fill(str(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def report(trained: Trained) -> LeakageReport:
    return leakage_report(trained.training_set(SPINE), project=PROJECT, what_if=HOURLY, **trained.stores)


def history(trained: Trained) -> History:
    return History(
        lambda view, version: feature_table(trained.lake, view, version), trained.verdicts, trained.ledger, TARGET
    )


def test_nothing_leaks_as_served_and_most_by_event_time(report: LeakageReport) -> None:
    assert report.rows == len(FLIGHTS)
    assert report.leaked_served == 0
    # All but the last row, whose day is long past.
    assert report.leaked_by_event == 6
    assert report.modes == ("as_served", "as_of_event", "what_if(every=1h, delay=5m)")
    assert report.differing[:2] == (0, 6)
    assert sum(report.availability.values()) == len(FLIGHTS)
    assert (report.first, report.last) == (START + DAY, START + 20 * DAY)


def test_a_feature_by_hand(report: LeakageReport) -> None:
    found = {feature.feature: feature for feature in report.features}
    assert list(found) == [column.name for column in SERVICE.output_columns]
    # Six of seven rows see a later day; of those, five have a temperature in both.
    assert found["here__temp"].share == pytest.approx(6 / 7)
    by_event = found["here__temp"].differences[0]
    assert (by_event.kinds.value_to_other, by_event.kinds.null_to_value, by_event.kinds.value_to_null) == (5, 1, 0)
    assert by_event.size is not None
    # 1.25, 0.25, 0.25, 0.25 and 1.25 degrees.
    assert (by_event.size.median, by_event.size.p95) == (0.25, 1.25)
    served = np.array([13.75, 24.75, 17.75, 17.75, 13.75])
    assert by_event.size.spread == pytest.approx(float(np.std(served)))
    assert found["there__sky"].differences[0].size is None
    assert found["trip__hour"].share == 0.0
    assert found["trip__hour"].staleness == ()
    # Nothing was there for the sixth row, and what was there for the last had expired: neither has an age.
    assert found["here__temp"].staleness == (
        9 * HOUR,
        30 * HOUR + HALF_HOUR,
        30 * HOUR + HALF_HOUR,
        30 * HOUR + HALF_HOUR,
    )
    assert found["here__temp"].without_value[:2] == pytest.approx((2 / 7, 1 / 7))


def counted(feature: FeatureLeakage, tables: list[dict[str, list[Any]]], ttl: timedelta | None) -> None:
    """Compare a feature's figures with what counting gives on tables that the loader made."""
    columns = [table[feature.feature] for table in tables]
    for difference, other in zip(feature.differences, columns[1:], strict=True):
        kinds = naive.kinds(columns[0], other)
        assert (
            difference.kinds.null_to_value,
            difference.kinds.value_to_null,
            difference.kinds.value_to_other,
        ) == kinds
        assert difference.share == sum(kinds) / len(other)
        signed = naive.signed(columns[0], other) if feature.dtype in {"double", "int64", "int32"} else []
        assert (difference.size is None) == (not signed)
        if difference.size is not None:
            absolute = [abs(one) for one in signed]
            assert difference.size.median == naive.percentile(absolute, 50)
            assert difference.size.p95 == naive.percentile(absolute, 95)
            assert list(difference.size.counts) == naive.bars(signed, difference.size.p95, HALF_BINS)
    assert feature.without_value == tuple(sum(one is None for one in column) / len(column) for column in columns)
    for found, table in zip(feature.ages, tables, strict=True):
        event_at = table.get(f"{feature.feature.split('__')[0]}__event_at")
        ages = [] if event_at is None else naive.ages(list(zip(table["at"], event_at, strict=True)), ttl)
        assert (found is None) == (not ages)
        if found is not None:
            assert found.percentiles == tuple(naive.percentile(ages, percent) for percent in AGE_PERCENTILES)
            assert list(found.counts) == naive.steps(ages, AGE_BOUNDS)


def test_every_feature_is_what_counting_gives(trained: Trained) -> None:
    # The newest weather as old as it may be, and a microsecond older.
    last = START + 9 * DAY + 18 * HOUR + 3 * DAY
    edge = [("JFK", "LGA", "AA", 1, last), ("JFK", "LGA", "AA", 1, last + timedelta(microseconds=1))]
    spine = spine_of([*FLIGHTS, *edge])
    made = trained.training_set(spine)
    report = leakage_report(made, project=PROJECT, what_if=HOURLY, **trained.stores)
    assert report.rows == len(FLIGHTS) + 2
    tables = [trained.training_set(spine, mode=mode).table.to_pydict() for mode in MODES]
    ttl = {"here": WEATHER.ttl, "there": WEATHER.ttl, "routes": ROUTES.ttl}
    for feature in report.features:
        counted(feature, tables, ttl.get(feature.feature.split("__")[0]))
    names = [feature.feature for feature in report.features]
    for differing, table in zip(report.differing, tables, strict=True):
        rows = range(report.rows)
        assert differing == sum(any(naive.differs(tables[0][n][row], table[n][row]) for n in names) for row in rows)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_it_is_the_same_whatever_mode_the_training_set_was_made_in(
    trained: Trained,
    report: LeakageReport,
    mode: Any,  # noqa: ANN401 - a name or a mode
) -> None:
    made = trained.training_set(SPINE, mode=mode)
    found = leakage_report(made, project=PROJECT, what_if=None if mode == HOURLY else HOURLY, **trained.stores)
    assert found.features == report.features
    assert (found.leaked_served, found.leaked_by_event) == (report.leaked_served, report.leaked_by_event)
    assert found.modes == report.modes


def test_what_is_committed_later_does_not_change_it(tmp_path: Any) -> None:  # noqa: ANN401 - a folder
    lake = fill(str(tmp_path))
    made = lake.training_set(SPINE)
    before = leakage_report(made, project=PROJECT, **lake.stores)
    seq = lake.commit(WEATHER, {number: weather_rows(number, shift=7.0) for number in range(10)})
    lake.push(WEATHER, seq, START + 25 * DAY)
    assert leakage_report(made, project=PROJECT, **lake.stores) == before
    assert lake.training_set(SPINE, mode="as_of_event").table != lake.training_set(SPINE).table


def test_a_service_that_has_changed_is_refused(trained: Trained) -> None:
    made = trained.training_set(SPINE)
    other = FeatureService(SERVICE.name, [WEATHER.alias("here", airport="origin")["temp"]])
    project = Project("test", [SOURCE], [WEATHER, ROUTES], [other])
    with pytest.raises(ManifestError, match="has changed since"):
        leakage_report(made, project=project, **trained.stores)


def changed(made: TrainingSet, row: int, **values: object) -> TrainingSet:
    table = made.table
    for name, value in values.items():
        column = table.column(name).to_pylist()
        column[row] = value
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(column, table.schema.field(name).type)
        )
    return TrainingSet(table, made.manifest, made.lake)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        # A value that is nowhere; one of another time; one of a version that was already replaced at that instant.
        (0, {"here__temp": 13.8}),
        (0, {"here__event_at": START + 3 * DAY + 12 * HOUR}),
        (0, {"here__event_at": START + 4 * DAY, "here__temp": 14.0, "here__gusts": 0, "here__recent": [4.0, 0.0]}),
        (2, {"here__event_at": START + 4 * DAY, "here__temp": 114.0, "here__gusts": 0, "here__recent": [4.0, 0.0]}),
        (0, {"here__recent": [3.0, 19.0]}),
        (4, {"there__sky": "LGA 19"}),
        (6, {"routes__delay": 9.2}),
    ],
)
def test_the_audit_sees_a_value_that_was_not_there(trained: Trained, row: int, values: dict[str, object]) -> None:
    made = trained.training_set(SPINE)
    assert not leaked_rows(made, SERVICE, history(trained), DEFAULT_LIMIT).any()
    leaked = leaked_rows(changed(made, row, **values), SERVICE, history(trained), DEFAULT_LIMIT)
    assert np.flatnonzero(leaked).tolist() == [row]


def test_the_audit_in_parts(trained: Trained) -> None:
    made = trained.training_set(SPINE, mode="as_of_event")
    whole = leaked_rows(made, SERVICE, history(trained), DEFAULT_LIMIT)
    assert leaked_rows(made, SERVICE, history(trained), 5_000).tolist() == whole.tolist()
    assert int(whole.sum()) == 6


def test_no_rows(trained: Trained) -> None:
    made = leakage_report(trained.training_set(SPINE.slice(0, 0)), project=PROJECT, what_if=HOURLY, **trained.stores)
    assert (made.rows, made.leaked_served, made.leaked_by_event) == (0, 0, 0)
    assert {feature.share for feature in made.features} == {0.0}
    assert made.summary() == ["There are no rows, so there is nothing to compare."]
    assert "nothing to compare" in made.to_html()
