"""The in-process client: what it adds to the reader."""

import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta

import pyarrow as pa
import pytest

from feature_assets.errors import FeatureAssetsError, InputError, StaleFeaturesError, UnknownNameError
from feature_assets.serving.answer import Answer
from feature_assets.serving.client import ClientOptions, OnlineClient
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at, project_of

UA = [{"carrier": "UA"}]


@dataclass
class Listening:
    """Keeps what it is told."""

    answers: list[Answer] = field(default_factory=list)
    errors: list[tuple[str, FeatureAssetsError]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def answered(self, answer: Answer, seconds: float) -> None:
        self.answers.append(answer)
        self.seconds.append(seconds)

    def failed(self, service: str, error: FeatureAssetsError, seconds: float) -> None:
        self.errors.append((service, error))
        self.seconds.append(seconds)


def opened(listening: Listening, options: ClientOptions | None = None) -> tuple[OnlineClient, Published]:
    view = view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()}, freshness=timedelta(days=2))
    world = Published()
    world.publish(view, [{"carrier": "UA", "event_at": at(3), "delay": 1.5}])
    return OnlineClient(project_of(view), world.reader(view), options, observers=[listening]), world


def test_an_answer_has_a_name_and_is_told_to_observers() -> None:
    listening = Listening()
    client, _ = opened(listening)
    named, unnamed = client.get(UA, service="it", request_id="mine"), client.get(UA, service="it")
    assert named.to_pylist() == unnamed.to_pylist() == [{"carriers__delay": 1.5}]
    assert named.request_id == "mine"
    assert len(unnamed.request_id) == 32
    assert listening.answers == [named, unnamed]
    assert listening.seconds[0] >= sum(named.stages.seconds.values())


def test_what_cannot_be_answered_is_told_too_and_raised() -> None:
    listening = Listening()
    client, world = opened(listening)
    world.later(days=3)
    with pytest.raises(UnknownNameError):
        client.get(UA, service="its")
    with pytest.raises(StaleFeaturesError):
        client.get(UA, service="it", on_stale="error")
    assert [(service, type(error)) for service, error in listening.errors] == [
        ("its", UnknownNameError),
        ("it", StaleFeaturesError),
    ]


@pytest.mark.parametrize("deadline", [0.0, -1.0, float("nan")])
def test_no_time_is_no_deadline(deadline: float) -> None:
    client, _ = opened(Listening())
    with pytest.raises(InputError, match="deadline"):
        client.get(UA, service="it", deadline=deadline)


def test_a_serving_process_loads_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, feature_assets.cli.serve, feature_assets.store, feature_assets.serving.http.server\n"
        "wrong = {'dagster', 'great_expectations', 'matplotlib', 'lightgbm', 'boto3', 'scipy'} & set(sys.modules)\n"
        "assert not wrong, wrong"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
