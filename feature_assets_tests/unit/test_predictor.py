"""Predicting from an online answer: what is missing is as in training, what is unknown is refused unless asked for."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.compute.keys import encoded_key
from feature_assets.errors import UnknownFeaturesError
from feature_assets.online.memory import MemoryStore
from feature_assets.online.store import ReadFailure, ReadResult
from feature_assets.retraining.predictor import Predictor, load
from feature_assets.retraining.trainer import train
from feature_assets.serving.answer import Answer
from feature_assets.serving.status import Status
from feature_assets_tests.delays import UNTIL, VIEW, data_of, model_of
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at

AIRPORTS = [f"A{number}" for number in range(8)]
REQUEST = [{"airport": airport} for airport in AIRPORTS]
# The same names and types as the model was trained on, over the source that the published tables have.
WEATHER = view_of("weather", {"airport": pa.string()}, list(VIEW.features))


class PartlyFailing(MemoryStore):
    """Reads of some keys fail."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[bytes, ReadFailure] = {}

    def fail(self, airport: str, how: ReadFailure) -> None:
        self.failing[encoded_key([airport], [pa.string()])] = how

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        found = super().read(table, keys, consistent=consistent, deadline=deadline)
        return [self.failing.get(key, one) for key, one in zip(keys, found, strict=True)]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    trained = train(model_of(), data_of(), clock=ManualClock(UNTIL))
    return load(trained.manifest, trained.text.encode())


@pytest.fixture
def store() -> PartlyFailing:
    return PartlyFailing()


@pytest.fixture
def world(store: PartlyFailing) -> Published:
    found = Published(store)
    # The last airport has no row, and one has a null: both are missing, and known to be.
    rows = [
        {"airport": name, "event_at": at(3), "wind": None if name == "A1" else 0.5, "sky": "clear", "runways": 2}
        for name in AIRPORTS[:-1]
    ]
    found.publish(WEATHER, rows)
    return found


def asked(world: Published) -> Answer:
    return world.reader(WEATHER).get("it", REQUEST)


def test_an_answer_that_knows_everything_is_predicted_from_like_its_values(
    predictor: Predictor, world: Published
) -> None:
    answer = asked(world)
    assert {one for found in answer.status.values() for one in found} == {
        Status.PRESENT,
        Status.NULL,
        Status.NOT_FOUND,
    }
    assert np.array_equal(predictor.predict(answer), predictor.predict(answer.table))


def test_unknown_features_are_refused_with_their_names_statuses_and_rows(
    predictor: Predictor, world: Published, store: PartlyFailing
) -> None:
    store.fail("A2", ReadFailure.TIMEOUT)
    store.fail("A5", ReadFailure.THROTTLED)
    with pytest.raises(UnknownFeaturesError) as caught:
        predictor.predict(asked(world))
    message = caught.value.message
    assert message.startswith(f"model late/{predictor.manifest.id}: in 2 of 8 rows of 'it'")
    for name in ("wind", "sky", "runways"):
        assert f"'weather__{name}' is THROTTLED/TIMEOUT in rows 2, 5" in message
    assert caught.value.retryable
    assert caught.value.hint is not None
    assert 'unknown="null"' in caught.value.hint


def test_a_view_that_does_not_serve_yet_is_refused_with_the_reason(predictor: Predictor) -> None:
    empty = Published()
    with pytest.raises(UnknownFeaturesError, match=r"LOADING in rows 0, 1, 2, 3, 4, \.\.\..*; weather: no version of"):
        predictor.predict(asked(empty))


def test_whoever_says_so_gets_a_guess(predictor: Predictor, world: Published, store: PartlyFailing) -> None:
    known = predictor.predict(asked(world))
    store.fail("A2", ReadFailure.ERROR)
    guessed = predictor.predict(asked(world), unknown="null")
    assert guessed[2] == known[-1], "as if there were no row"
    assert np.array_equal(np.delete(guessed, 2), np.delete(known, 2))


def test_what_the_model_does_not_read_may_be_unknown(
    predictor: Predictor, world: Published, store: PartlyFailing
) -> None:
    other = view_of("other", {"airport": pa.string()}, {"x": pa.float64()})
    answer = world.reader(WEATHER, other).get("it", REQUEST)
    assert answer.status["other__x"] == [Status.LOADING] * len(AIRPORTS)
    assert len(predictor.predict(answer)) == len(AIRPORTS)
