"""On-demand features online: computed by the loader's own lines, and no better known than their inputs."""

from collections.abc import Mapping
from random import Random

import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.serving.status import Status
from feature_assets.testing.faulty import FaultRates, FaultyStore
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at

S = Status


def weather() -> FeatureView:
    return view_of("weather", {"airport": pa.string()}, {"temp": pa.float64()})


def reports(**temps: float | None) -> list[dict[str, object]]:
    return [{"airport": airport, "event_at": at(3), "temp": temp} for airport, temp in temps.items()]


def above(columns: Mapping[str, pa.Array], as_of: pa.Array) -> Mapping[str, pa.Array]:
    """How much warmer it is than asked for; and the hour of the request."""
    return {"above": pc.subtract(columns["weather__temp"], columns["limit"]), "hour": pc.hour(as_of)}


def on_demand(name: str = "plan", *, default: float | None = None) -> OnDemandView:
    return OnDemandView(
        name,
        request=[RequestField("limit", pa.float64())],
        inputs=["weather__temp"],
        function=above,
        features=[Feature("above", pa.float64(), default=default), Feature("hour", pa.int64())],
    )


def asked_for(*airports: str, limit: float | None = 0.5) -> list[dict[str, object]]:
    return [{"airport": airport, "limit": limit} for airport in airports]


def test_on_demand_features_are_computed_from_the_answer() -> None:
    view, world = weather(), Published()
    world.publish(view, reports(JFK=1.0))
    answer = world.reader(on_demand(), view).get("it", asked_for("JFK", "ZZZ"), as_of=at(30))
    assert answer.table.to_pydict() == {
        "plan__above": [0.5, None],
        "plan__hour": [6, 6],
        "weather__temp": [1.0, None],
    }
    assert answer.status["plan__above"] == [S.PRESENT, S.NULL]
    answer = world.reader(on_demand(default=-9.0), view).get("it", asked_for("JFK", "ZZZ"))
    assert answer.table["plan__above"].to_pylist() == [0.5, -9.0]
    assert answer.status["plan__above"] == [S.PRESENT, S.DEFAULTED]


def test_what_is_computed_from_something_unknown_is_as_unknown() -> None:
    view, world = weather(), Published()
    names = [f"A{number}" for number in range(50)]
    world.publish(view, reports(**{name: float(number) for number, name in enumerate(names)}))
    double = OnDemandView(
        "double",
        inputs=["plan__above"],
        function=lambda columns, _: {"it": pc.multiply(columns["plan__above"], 2.0)},
        features=[Feature("it", pa.float64(), default=0.0)],
    )
    store = FaultyStore(world.store, Random(3), FaultRates(unread=0.5))

    answer = world.reader(double, view, on_demand(default=0.0), store=store).get("it", asked_for(*names))

    for column in ("plan__above", "plan__hour", "double__it"):
        for status, value, source in zip(
            answer.status[column], answer.table[column].to_pylist(), answer.status["weather__temp"], strict=True
        ):
            assert status == source
            assert (value is None) == source.is_unknown
    assert {S.PRESENT, S.TIMEOUT} <= set(answer.status["double__it"])
    assert answer.table["double__it"][30:].to_pylist() == [
        None if status.is_unknown else (number - 0.5) * 2
        for number, status in enumerate(answer.status["double__it"])
    ][30:]  # fmt: skip


def test_a_function_that_fails_is_an_error_of_its_own() -> None:
    def failing(columns: Mapping[str, pa.Array], as_of: pa.Array) -> Mapping[str, pa.Array]:
        raise ZeroDivisionError(f"{len(columns)} columns, {len(as_of)} rows")

    broken = OnDemandView("broken", function=failing, features=[Feature("x", pa.float64(), default=1.0)])
    view, world = weather(), Published()
    world.publish(view, reports(JFK=1.0))
    answer = world.reader(view, broken).get("it", [{"airport": "JFK"}])
    assert answer.status == {"weather__temp": [S.PRESENT], "broken__x": [S.ERROR]}
    assert answer.table["broken__x"].to_pylist() == [None]
    assert "ZeroDivisionError: 0 columns, 1 rows" in answer.failures["broken"]
