"""The leakage report: its figures on a lake where they can be counted by hand, and an audit that can see."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.errors import InputError
from feature_assets.offline.table import feature_table
from feature_assets.training.history import History
from feature_assets.training.leakage import LeakageReport, leakage_report, leaked_rows, same_values
from feature_assets.training.loader import TrainingSet
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets_tests.histories import DAY, START
from feature_assets_tests.trained import FLIGHTS, HOUR, PROJECT, SERVICE, TARGET, Trained, fill, spine_of

SPINE = spine_of(FLIGHTS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fill(str(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def report(trained: Trained) -> LeakageReport:
    served, by_event = trained.training_set(SPINE), trained.training_set(SPINE, mode="as_of_event")
    return leakage_report(served, by_event, project=PROJECT, **trained.stores)


def history(trained: Trained) -> History:
    return History(
        lambda view, version: feature_table(trained.lake, view, version), trained.verdicts, trained.ledger, TARGET
    )


def test_nothing_leaks_as_served_and_most_by_event_time(report: LeakageReport) -> None:
    assert report.rows == len(FLIGHTS)
    assert report.leaked_served == 0
    # All but the last row, whose day is long past.
    assert report.leaked_by_event == 6


def test_each_feature(report: LeakageReport) -> None:
    found = {feature.feature: feature for feature in report.features}
    assert list(found) == [column.name for column in SERVICE.output_columns]
    # Six of seven rows see a later day; of those, five have a temperature in both.
    assert found["here__temp"].share == pytest.approx(6 / 7)
    served = np.array([13.75, 24.75, 17.75, 17.75, 13.75])
    by_event = np.array([15.0, 25.0, 18.0, 18.0, 15.0])
    assert found["here__temp"].mean_absolute_difference == pytest.approx(float(np.abs(served - by_event).mean()))
    assert found["there__sky"].mean_absolute_difference is None
    assert found["trip__hour"].share == 0.0
    assert found["trip__hour"].staleness == ()
    ages = [
        30 * timedelta(hours=1) + timedelta(minutes=30),
        8 * HOUR,
        7 * HOUR + timedelta(minutes=30),
        9 * HOUR,
        30 * timedelta(hours=1) + timedelta(minutes=30),
        10 * DAY + 6 * HOUR,
    ]
    assert found["here__temp"].staleness == tuple(
        timedelta(seconds=float(age))
        for age in np.percentile([one.total_seconds() for one in ages], (50, 90, 99), method="nearest")
    )


def test_it_can_be_read(report: LeakageReport) -> None:
    text = report.to_markdown()
    assert "As served: 0 of 7 rows use a value that was not available." in text
    assert "By event time: 6 of 7 rows do." in text
    assert "| here__temp | 85.7% | 0.65 |" in text
    assert "| trip__hour | 0.0% | 0 | - | - | - |" in text
    page = report.to_html()
    assert page.startswith("<!doctype html>")
    assert "<td>here__temp</td><td>85.7%</td>" in page
    assert "http" not in page
    assert "<script" not in page


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


def test_training_sets_of_other_spines_are_not_compared(trained: Trained) -> None:
    served, other = trained.training_set(SPINE), trained.training_set(SPINE.slice(1), mode="as_of_event")
    with pytest.raises(InputError, match="not of the same service and spine"):
        leakage_report(served, other, project=PROJECT, **trained.stores)


def test_no_rows(trained: Trained) -> None:
    none = SPINE.slice(0, 0)
    made = leakage_report(
        trained.training_set(none), trained.training_set(none, mode="as_of_event"), project=PROJECT, **trained.stores
    )
    assert (made.rows, made.leaked_served, made.leaked_by_event) == (0, 0, 0)
    assert {feature.share for feature in made.features} == {0.0}


def test_same_values() -> None:
    nan = float("nan")
    one = pa.chunked_array([[1.0, nan, None, nan, None, 0.0]])
    other = pa.chunked_array([[1.0, nan, None, None, 1.0, -0.0]])
    assert same_values(one, other).tolist() == [True, True, True, False, False, True]
    lists = pa.chunked_array([[[1.0, nan], None, []]])
    assert same_values(lists, pa.chunked_array([[[1.0, nan], None, [None]]])).tolist() == [True, True, False]
