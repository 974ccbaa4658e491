"""Training and predicting: the same model every time, the same reading of every column, no changed file used."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.model import Model
from feature_assets.errors import InputError, NaiveTimestampError, RetrainingError
from feature_assets.retraining.inputs import ModelInput, matrix
from feature_assets.retraining.manifest import ModelManifest, Trained, TrainingData, model_id
from feature_assets.retraining.predictor import Predictor, load
from feature_assets.retraining.trainer import train
from feature_assets_tests.delays import SPLIT, UNTIL, data_of, model_of

CLOCK = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(model_of(), data_of(), clock=CLOCK)


@pytest.fixture(scope="module")
def predictor(trained: Trained) -> Predictor:
    return load(trained.manifest, trained.text.encode())


def with_column(data: TrainingData, name: str, values: pa.Array | pa.ChunkedArray) -> TrainingData:
    at = data.table.column_names.index(name)
    return TrainingData(
        table=data.table.set_column(at, name, values),
        manifest_id=data.manifest_id,
        versions=data.versions,
        commit_seq=data.commit_seq,
        until=data.until,
    )


def test_the_same_rows_give_the_same_bytes(trained: Trained) -> None:
    again = train(model_of(), data_of(), clock=CLOCK)
    assert again == trained
    assert again.manifest.checksum == trained.manifest.checksum


def test_it_learns_what_there_is_to_learn(trained: Trained) -> None:
    assert trained.manifest.metrics["auc_valid"] > 0.8
    nothing = train(model_of(), data_of(strength=0.0), clock=CLOCK)
    assert 0.4 < nothing.manifest.metrics["auc_valid"] < 0.6


def test_the_manifest_says_what_was_done(trained: Trained) -> None:
    manifest, data = trained.manifest, data_of()
    assert (manifest.training_set, manifest.versions, manifest.commit_seq) == (
        data.manifest_id,
        data.versions,
        data.commit_seq,
    )
    assert [one.name for one in manifest.inputs] == ["weather__wind", "weather__sky", "weather__runways"]
    assert [one.categories for one in manifest.inputs] == [None, ("clear", "cloudy", "storm"), None]
    assert manifest.created_at == CLOCK.now()
    assert manifest.seen_until == UNTIL - SPLIT.test
    assert manifest.baseline.rows == manifest.metrics["rows_train"]
    assert {"lightgbm", "numpy", "pyarrow", "python"} == set(manifest.libraries)
    assert manifest.parameters["deterministic"] is True
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=ModelManifest) == manifest


def test_a_model_read_back_scores_the_same(trained: Trained, predictor: Predictor) -> None:
    rows = data_of(9).table
    scores = predictor.predict(rows)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.array_equal(scores, load(trained.manifest, trained.text.encode()).predict(rows))
    assert predictor.predict(rows.slice(0, 0)).tolist() == []


def test_columns_are_found_by_name_and_read_whatever_their_width(predictor: Predictor) -> None:
    """An online answer has other columns around, in another order, and a column of nulls has no type of its own."""
    rows = data_of(9).table.select(["weather__runways", "weather__sky", "weather__wind"])
    expected = predictor.predict(rows)
    narrow = rows.set_column(0, "weather__runways", rows["weather__runways"].cast(pa.int8()))
    narrow = narrow.set_column(1, "weather__sky", narrow["weather__sky"].dictionary_encode())
    assert np.array_equal(predictor.predict(narrow), expected)
    untyped = rows.set_column(2, "weather__wind", pa.nulls(rows.num_rows))
    typed = rows.set_column(2, "weather__wind", pa.nulls(rows.num_rows, pa.float64()))
    assert np.array_equal(predictor.predict(untyped), predictor.predict(typed))


def test_an_unknown_category_is_missing(predictor: Predictor) -> None:
    rows = data_of(9).table.slice(0, 50)
    fog = rows.set_column(rows.column_names.index("weather__sky"), "weather__sky", pa.array(["fog"] * 50))
    null = rows.set_column(rows.column_names.index("weather__sky"), "weather__sky", pa.nulls(50, pa.string()))
    assert np.array_equal(predictor.predict(fog), predictor.predict(null))
    assert not np.array_equal(predictor.predict(fog), predictor.predict(rows))


def test_inputs_become_numbers_by_the_manifests_rule() -> None:
    table = pa.table(
        {
            "flag": pa.array([True, False, None]),
            "big": pa.array([2**60, None, -1], pa.int64()),
            "price": pa.array([Decimal("1.5"), None, Decimal("0.0")], pa.decimal128(5, 2)),
            "grade": pa.array([3, 1, None], pa.int32()),
            "sky": pa.array(["b", "a", "?"]),
        }
    )
    inputs = [
        ModelInput(name="flag", dtype="bool"),
        ModelInput(name="big", dtype="int64"),
        ModelInput(name="price", dtype="decimal128(5, 2)"),
        ModelInput(name="grade", dtype="int32", categories=("1", "3")),
        ModelInput(name="sky", dtype="string", categories=("a", "b")),
    ]
    found = matrix(table, inputs, "here")
    nan = float("nan")
    expected = [[1.0, 2.0**60, 1.5, 1.0, 1.0], [0.0, nan, nan, 0.0, 0.0], [nan, -1.0, 0.0, nan, nan]]
    assert np.array_equal(found, np.array(expected), equal_nan=True)


def test_a_changed_text_is_refused(trained: Trained) -> None:
    text = trained.text.encode()
    for changed in (text.replace(b"leaf_value=", b"leaf_value=1", 1), text[:-1], b""):
        assert changed != text
        with pytest.raises(RetrainingError, match="it was changed"):
            load(trained.manifest, changed)


def test_an_input_that_is_not_there_or_of_another_kind_is_named(predictor: Predictor) -> None:
    rows = data_of(9).table
    with pytest.raises(RetrainingError, match="no column 'weather__wind'"):
        predictor.predict(rows.drop_columns(["weather__wind"]))
    words = rows.set_column(rows.column_names.index("weather__wind"), "weather__wind", pa.array(["x"] * rows.num_rows))
    with pytest.raises(RetrainingError, match="'weather__wind' is string, and was trained as double"):
        predictor.predict(words)


def test_a_row_trains_only_if_its_outcome_was_known_when_its_part_ended() -> None:
    data = data_of(rows=2_000)
    _, valid_from, test_from = SPLIT.at(UNTIL)
    late = pc.add(data.table["asked_at"], pa.scalar(timedelta(days=3)))
    shifted = train(model_of(), with_column(data, "known_at", late), clock=CLOCK).manifest
    asked = data.table["asked_at"].to_pylist()
    wait = timedelta(days=3)
    assert shifted.metrics["rows_train"] == sum(at < valid_from and at + wait <= valid_from for at in asked)
    assert shifted.metrics["rows_valid"] == sum(valid_from <= at < test_from and at + wait <= test_from for at in asked)


def test_training_never_looks_at_the_rows_that_compare(trained: Trained) -> None:
    """Turning every label of the test period round changes nothing."""
    data = data_of()
    tested = pc.greater_equal(data.table["asked_at"], pa.scalar(UNTIL - SPLIT.test, pa.timestamp("us", tz="UTC")))
    turned = pc.xor(data.table["late"], tested)
    assert not turned.equals(data.table["late"])
    assert train(model_of(), with_column(data, "late", turned), clock=CLOCK).text == trained.text


def test_the_id_is_known_before_and_follows_from_what_determines_the_model(trained: Trained) -> None:
    model, data = model_of(), data_of()
    assert model_id(model, data) == trained.manifest.id
    others = [
        model_id(model, data_of(1)),
        model_id(model, data_of(name="another")),
        model_id(model, data_of(until=UNTIL + timedelta(days=1), name=data.manifest_id)),
        model_id(model_of(rounds=41), data),
        model_id(model_of(num_leaves=8), data),
        model_id(model_of(name="later"), data),
    ]
    assert len({model_id(model, data), *others}) == 7


def _emptied(data: TrainingData) -> TrainingData:
    return with_column(data, "asked_at", pc.add(data.table["asked_at"], pa.scalar(timedelta(days=400))))


def _one_class(data: TrainingData) -> TrainingData:
    return with_column(data, "late", pa.array([True] * data.table.num_rows))


def _unlabelled(data: TrainingData) -> TrainingData:
    return with_column(data, "late", pa.nulls(data.table.num_rows, pa.bool_()))


def _graded(data: TrainingData) -> TrainingData:
    return with_column(data, "late", pa.array([2] * data.table.num_rows, pa.int64()))


def _nested(data: TrainingData) -> TrainingData:
    return with_column(data, "weather__wind", pa.array([[1.0]] * data.table.num_rows))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_emptied, "the training part of training set 'set-0-2026-03-01' has no rows"),
        (_one_class, "hold only one"),
        (_unlabelled, "rows have no label 'late'"),
        (_graded, "other values than 0 and 1"),
        (_nested, "'weather__wind' is list<item: double>, which a model cannot learn from"),
    ],
    ids=["empty", "one class", "unlabelled", "graded", "nested"],
)
def test_what_cannot_be_learned_from_is_refused(spoil: object, says: str) -> None:
    assert callable(spoil)
    with pytest.raises(RetrainingError, match=says):
        train(model_of(), spoil(data_of(rows=500)), clock=CLOCK)


def test_naive_instants_are_refused_by_column() -> None:
    data = data_of(rows=500)
    naive = data.table["asked_at"].cast(pa.timestamp("us"))
    with pytest.raises(NaiveTimestampError, match="'asked_at'"):
        train(model_of(), with_column(data, "asked_at", naive), clock=CLOCK)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (model_of(num_threads=8), "'num_threads' cannot be changed"),
        (model_of(objective="multiclass"), "'multiclass' is not supported"),
        (model_of(bagging_fraction=7.0), "training failed"),
    ],
    ids=["fixed", "objective", "wrong"],
)
def test_parameters_that_cannot_be_are_refused(model: Model, says: str) -> None:
    with pytest.raises(RetrainingError, match=says):
        train(model, data_of(rows=500), clock=CLOCK)


def test_a_training_set_pins_every_view_by_version_and_commit() -> None:
    data = data_of(rows=1)
    with pytest.raises(InputError, match="'other' is not pinned"):
        TrainingData(data.table, "x", data.versions, {**data.commit_seq, "other": 1}, UNTIL)
    with pytest.raises(ValueError, match="no time zone"):
        TrainingData(data.table, "x", data.versions, data.commit_seq, UNTIL.replace(tzinfo=None))
