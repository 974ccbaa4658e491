"""Definitions as values: what they hold, that they cannot be changed, and that their place does not matter."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta

import pyarrow as pa
import pytest

from feature_assets.definition.entity import Entity, Key
from feature_assets.definition.model import Split
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Expectation, Feature, FeatureRef, FeatureView
from feature_assets_tests.weather import AIRPORT, DAY, INSTANT, REPORTS, SCHEMA, TEMP, source, view

ROUTE = Entity("route", {"origin": pa.string(), "dest": pa.string()})
FLOAT = pa.float64()


def nothing(columns: Mapping[str, pa.Array], _as_of: pa.Array) -> Mapping[str, pa.Array]:
    return columns


def on_demand(name: str, *inputs: str, request: tuple[RequestField, ...] = ()) -> OnDemandView:
    return OnDemandView(name, request, inputs, function=nothing, features=[Feature("x", FLOAT), Feature("y", FLOAT)])


def test_an_entity_keeps_the_order_of_its_keys() -> None:
    assert ROUTE.keys == (Key("origin", pa.string()), Key("dest", pa.string()))
    assert ROUTE.key_names == ("origin", "dest")
    assert Entity("route", ROUTE.keys) == ROUTE
    assert Entity("route", {"dest": pa.string(), "origin": pa.string()}) != ROUTE


@pytest.mark.parametrize(
    "build", [lambda: AIRPORT, source, view, lambda: view()["temp"], lambda: FeatureService("v", [view()])],
    ids=["entity", "source", "view", "ref", "service"],
)  # fmt: skip
def test_a_definition_cannot_be_changed(build: Callable[[], object]) -> None:
    definition = build()
    name = "name" if hasattr(definition, "name") else "role"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(definition, name, "other")


def test_what_was_given_can_change_without_changing_a_definition() -> None:
    tags, features, arguments = {"a": "b"}, [TEMP], {"min_value": 0}
    made = view(features=features, tags=tags, expectations=[Expectation("expect_x", arguments=arguments)])
    tags["a"] = "c"
    features.append(Feature("n", pa.int64()))
    arguments["min_value"] = 1
    assert made.tags == {"a": "b"}
    assert made.features == (TEMP,)
    assert made.expectations[0].arguments == {"min_value": 0}
    with pytest.raises(TypeError):
        made.tags["a"] = "c"  # type: ignore[index] # what must not work


def test_equal_definitions_are_equal_wherever_they_stand() -> None:
    first = view(tags={"a": "b"})
    again = view(tags={"a": "b"})
    other_line = FeatureView("weather", AIRPORT, REPORTS, first.transform, [TEMP], tags={"a": "b"})
    assert first == again == other_line
    assert hash(first) == hash(again) == hash(other_line)
    assert other_line.place != first.place
    assert "place" not in repr(first)
    assert len({AIRPORT, Entity("airport", {"airport": pa.string()})}) == 1


def test_one_source_may_be_given_bare() -> None:
    assert view(sources=REPORTS).sources == view(sources=[REPORTS]).sources == (REPORTS,)


def test_a_replaced_field_leaves_the_others() -> None:
    changed = dataclasses.replace(view(buckets=4), ttl=timedelta(days=2))
    assert changed == view(buckets=4, ttl=timedelta(days=2))
    assert changed.place.file == __file__
    assert dataclasses.replace(REPORTS, owner="b") == source(owner="b")
    assert dataclasses.replace(AIRPORT, name="port") == Entity("port", {"airport": pa.string()})


def test_a_source_without_arrivals_gets_them_from_ingest() -> None:
    schema = SCHEMA.remove(SCHEMA.get_field_index("arrived_at"))
    without = source(schema=schema, arrived_at=None)
    assert without.arrival_column == "arrived_at"
    assert without.event_schema == schema.append(pa.field("arrived_at", INSTANT))
    assert (REPORTS.arrival_column, REPORTS.event_schema) == ("arrived_at", SCHEMA)
    assert source(arrived_at="event_at").arrival_column == "event_at"


def test_a_reference_names_its_columns() -> None:
    both = view(features=[TEMP, Feature("n", pa.int64())])
    assert both["n"].selected == (Feature("n", pa.int64()),)
    assert both["n", "temp"].features == ("n", "temp")
    role = both.alias("destination", airport="dest")
    assert (role.prefix, role.key_columns, role.column("temp")) == ("destination", ("dest",), "destination__temp")
    assert role.selected == both.features
    assert role["temp"] == both["temp"].alias("destination", airport="dest")


def test_an_alias_keeps_the_keys_that_it_does_not_name() -> None:
    routes = view(entity=ROUTE)
    assert routes.alias("back", origin="dest", dest="origin").key_map == (("origin", "dest"), ("dest", "origin"))
    assert routes.alias("other", dest="via").key_map == (("origin", "origin"), ("dest", "via"))
    assert routes.alias("other", dest="via").alias("next", origin="via").key_columns == ("via", "via")


def test_a_key_may_be_called_role() -> None:
    roles = view(entity=Entity("staff", {"role": pa.string(), "self": pa.string()}))
    assert roles.alias("boss", role="boss_role").key_columns == ("boss_role", "self")


def test_a_service_tells_its_columns_in_order() -> None:
    weather = view()
    distance = RequestField("distance", FLOAT)
    plan = on_demand("plan", "to__temp", request=(distance,))
    service = FeatureService("vector", [plan, weather, weather["temp"].alias("to", airport="dest")])
    assert [column.name for column in service.output_columns] == ["plan__x", "plan__y", "weather__temp", "to__temp"]
    assert [column.dtype for column in service.output_columns] == [FLOAT] * 4
    origins = [(column.on_demand, column.ref) for column in service.output_columns]
    assert origins[0] == (plan, None)
    assert origins[3] == (None, weather["temp"].alias("to", airport="dest"))
    assert service.key_columns == (RequestField("airport", pa.string()), RequestField("dest", pa.string()), distance)
    assert service.views == (weather,)
    assert [ref.prefix for ref in service.refs] == ["weather", "to"]
    assert all(isinstance(ref, FeatureRef) for ref in service.refs)


def test_on_demand_views_come_after_what_they_need() -> None:
    last, middle, first = on_demand("a", "b__x", "c__y"), on_demand("b", "c__x"), on_demand("c")
    service = FeatureService("vector", [last, middle, first])
    assert service.on_demand == (first, middle, last)


def test_a_name_that_begins_another_is_no_dependency() -> None:
    short, long = on_demand("plan", "plan_b__x"), on_demand("plan_b")
    assert FeatureService("vector", [short, long]).on_demand == (long, short)


def test_a_project_knows_its_entities_and_on_demand_views() -> None:
    plan = on_demand("plan")
    one, two = FeatureService("one", [view(), plan]), FeatureService("two", [plan])
    routes = view(name="routes", entity=ROUTE)
    project = Project("all", [REPORTS], [view(), routes], [one, two])
    assert project.entities == (AIRPORT, ROUTE)
    assert project.on_demand == (plan,)
    assert project.entity("route") is ROUTE


def test_a_split_counts_back_from_the_instant_of_training() -> None:
    split = Split(history=timedelta(days=30), valid=timedelta(days=5), test=timedelta(days=3))
    assert split.at(DAY) == (DAY - timedelta(days=30), DAY - timedelta(days=8), DAY - timedelta(days=3))
