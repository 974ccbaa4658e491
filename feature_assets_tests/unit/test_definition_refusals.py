"""What a wrong definition is told: where it stands, what it is, which value is wrong, and the way out."""

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.definition.entity import Entity, Key
from feature_assets.definition.model import Gate, Label, Model, Split
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Expectation, Feature, FeatureRef, FeatureView, Sql
from feature_assets.errors import DefinitionError, UnknownNameError
from feature_assets_tests.weather import AIRPORT, INSTANT, REPORTS, SCHEMA, TEMP, source, view

HERE = Path(__file__).name
FLOAT = pa.float64()


def same(columns: Mapping[str, pa.Array], _as_of: pa.Array) -> Mapping[str, pa.Array]:
    return columns


def two(a: object, b: object) -> object:
    return a, b


def on_demand(name: str = "plan", **changes: object) -> OnDemandView:
    fields: dict[str, Any] = {"function": same, "features": [Feature("x", FLOAT)]}
    return OnDemandView(name, **{**fields, **changes})


def spine(_start: datetime, _end: datetime) -> pa.Table:
    return pa.table({})


SERVICE = FeatureService("vector", [view()])
SPLIT = Split(history=timedelta(days=30), valid=timedelta(days=5), test=timedelta(days=5))
LABEL = Label("late", "landed_at", pa.bool_())


def model(**changes: object) -> Model:
    fields: dict[str, Any] = {"name": "delay", "service": SERVICE, "label": LABEL, "spine": spine, "split": SPLIT}
    return Model(**{**fields, "timestamp": "asked_at", **changes})


def project(**changes: object) -> Project:
    fields: dict[str, Any] = {"name": "all", "sources": [REPORTS], "views": [view()], "services": [SERVICE]}
    return Project(**{**fields, **changes})


NAMES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "capital": (lambda: Entity("Airport", {"a": FLOAT}), ["Entity 'Airport'", "name 'Airport'", "write 'airport'"]),
    "camel": (lambda: source(name="dailyReports"), ["BatchSource 'dailyReports'", "write 'daily_reports'"]),
    "digit": (lambda: Feature("2nd", FLOAT), ["Feature '2nd'", "^[a-z][a-z0-9_]{0,62}$", "write 'x_2nd'"]),
    "empty": (lambda: view(name=""), ["FeatureView ''", "must match", "write a name such as"]),
    "no text": (lambda: view(name=7), ["FeatureView 7", "a name is a string"]),
    "separator": (
        lambda: view(name="a__b"),
        ["'a__b' contains '__'", "separates a view from its feature", "write 'a_b'"],
    ),
    "long": (lambda: RequestField("x" * 64, FLOAT), ["RequestField", "63 at most", f"write {'x' * 63!r}"]),
    "unicode": (lambda: FeatureService("vül", [view()]), ["FeatureService 'vül'", "write 'v_l'"]),
    "key": (lambda: Entity("a", {"Key": pa.string()}), ["Entity 'Key'", "a: key 'Key'", "write 'key'"]),
    "column": (lambda: source(schema=SCHEMA.append(pa.field("Wind", FLOAT))), ["reports: column 'Wind'", "'wind'"]),
    "role": (lambda: view().alias("To"), ["weather: role 'To'", "write 'to'"]),
    "alias column": (lambda: view().alias("to", airport="Dest"), ["column for key 'airport' 'Dest'", "write 'dest'"]),
    "label": (lambda: Label("late", "Landed", pa.bool_()), ["Label 'Landed'", "late: matured_at", "write 'landed'"]),
    "timestamp": (lambda: model(timestamp="askedAt"), ["delay: timestamp 'askedAt'", "write 'asked_at'"]),
    "expectation": (lambda: Expectation("ExpectNoNulls"), ["Expectation 'ExpectNoNulls'", "snake case"]),
    "reserved feature": (lambda: view(features=[Feature("bucket", FLOAT)]), ["features: 'bucket'", "'bucket_value'"]),
    "reserved key": (lambda: Entity("a", {"partition": pa.string()}), ["keys: 'partition'", "the system adds itself"]),
    "reserved column": (lambda: source(schema=SCHEMA.append(pa.field("row", FLOAT))), ["schema: 'row'", "'row_value'"]),
    "taken by ingest": (lambda: source(arrived_at=None), ["schema: 'arrived_at'", "the system adds itself"]),
    "request key": (lambda: on_demand(features=[Feature("event_at", INSTANT)]), ["OnDemandView 'plan'", "'event_at'"]),
    "order": (lambda: view(order_by="event_at"), ["order_by: 'event_at'", "the system adds itself"]),
}

TYPES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "key": (lambda: Entity("a", {"b": FLOAT}), ["Entity 'a'", "keys: 'b'", "double", "a key is one of: binary, bool"]),
    "naive": (lambda: Feature("t", pa.timestamp("us")), ["timestamp[us] cannot be stored", "it has no time zone"]),
    "seconds": (lambda: Feature("t", pa.timestamp("s", "UTC")), ["timestamp[s, tz=UTC]", "pa.timestamp('us', 'UTC')"]),
    "unsigned": (lambda: RequestField("n", pa.uint64()), ["uint64 cannot be stored", "decimal128(20, 0)"]),
    "large": (lambda: Feature("s", pa.large_string()), ["large_string cannot be stored", "use pa.string()"]),
    "large list": (lambda: Feature("s", pa.large_list(FLOAT)), ["large_list", "use pa.list_(...)"]),
    "coded": (
        lambda: Feature("s", pa.dictionary(pa.int32(), pa.string())),
        ["dictionary", "use its value type, string"],
    ),
    "duration": (lambda: Feature("d", pa.duration("us")), ["duration[us]", "say the unit in the name"]),
    "month": (lambda: Feature("d", pa.month_day_nano_interval()), ["month_day_nano_interval", "use string, bool"]),
    "inside": (lambda: Feature("l", pa.list_(pa.uint8())), ["uint8 (inside list<", "use pa.int16()"]),
    "inside map": (lambda: Feature("m", pa.map_(pa.string(), pa.null())), ["null (inside map<", "would have"]),
    "inside struct": (
        lambda: Feature("m", pa.struct([("a", pa.float16())])),
        ["halffloat (inside", "use pa.float32()"],
    ),
    "empty struct": (lambda: Feature("m", pa.struct([])), ["struct<> cannot be stored"]),
    "no type": (lambda: Feature("f", "float"), ["Feature 'f'", "dtype: 'float' is no dtype", "e.g. pa.float64()"]),
    "source": (
        lambda: source(schema=SCHEMA.append(pa.field("at", pa.timestamp("us")))),
        ["BatchSource 'reports'", "schema: column 'at'", "timestamp[us]", "it has no time zone"],
    ),
    "no schema": (lambda: source(schema={"a": FLOAT}), ["schema: {'a'", "give a pa.schema"]),
    "no time": (lambda: source(event_at="temp"), ["event_at: column 'temp' has the dtype double", "pa.timestamp('us'"]),
    "default": (lambda: Feature("f", pa.int64(), 1.5), ["default: 1.5 is no int64", "a value of the feature's dtype"]),
    "true is no number": (lambda: Feature("f", pa.int64(), True), ["default: True is no int64"]),
    "default text": (lambda: Feature("f", FLOAT, "a"), ["default: 'a' is no double"]),
    "naive default": (
        lambda: Feature("f", INSTANT, datetime(2024, 1, 1)),  # noqa: DTZ001 - what is refused
        ["default: datetime.datetime(2024, 1, 1, 0, 0) has no time zone", "add tzinfo=UTC"],
    ),
    "text order": (
        lambda: view(features=[TEMP], order_by="temp"),
        ["order_by: feature 'temp' has the dtype double", "integer column"],
    ),
    "label": (
        lambda: Label("late", "at", pa.string()),
        ["Label 'late'", "string cannot be learned", "number the classes"],
    ),
    "entity": (lambda: view(entity="airport"), ["entity: 'airport' is no Entity", "not its name"]),
    "sources": (lambda: view(sources=["reports"]), ["sources: 'reports' is no BatchSource", "not its name"]),
    "reader": (lambda: source(reader=None), ["reader: None cannot be called", "(start, end, now) -> pa.Table"]),
    "transform": (
        lambda: view(transform="SELECT 1"),
        ["transform: 'SELECT 1' cannot be called", "Sql('SELECT ...')"],
    ),
    "function": (lambda: on_demand(function=3), ["function: 3 cannot be called", "(columns, as_of)"]),
    "spine": (lambda: model(spine=[]), ["spine: [] cannot be called", "(start, end) -> pa.Table"]),
    "tags": (lambda: view(tags={"n": 1}), ["tags: 'n': 1 is not text", "write 'n': '1'"]),
}

TIMES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "negative": (lambda: view(ttl=timedelta(days=-1)), ["ttl: -1 day", "negative", "ttl=datetime.timedelta(days=1)"]),
    "zero": (lambda: view(ttl=timedelta(0)), ["ttl: it is zero", "leave ttl out"]),
    "number": (lambda: view(delay=3600), ["delay: 3600 is no duration", "datetime.timedelta"]),
    "lookback": (lambda: view(lookback=timedelta(hours=-2)), ["lookback: ", "is negative"]),
    "freshness": (lambda: view(freshness=timedelta(0)), ["freshness: it is zero"]),
    "tolerance": (
        lambda: source(future_tolerance=timedelta(seconds=-1)),
        ["BatchSource 'reports'", "future_tolerance"],
    ),
    "start": (
        lambda: source(start=datetime(2024, 1, 1, tzinfo=UTC)),
        ["start: datetime.datetime(", "give a datetime.date"],
    ),
    "end": (lambda: source(end="2024-01-01"), ["end: '2024-01-01' is no day"]),
    "end first": (lambda: source(end=date(2024, 1, 1)), ["end: 2024-01-01 is not after the start", "exclusive"]),
    "schedule": (lambda: view(schedule="0 25 * * *"), ["schedule: '0 25 * * *'", "hour, which goes from 0 to 23"]),
    "revisit": (lambda: view(revisit=-1), ["revisit: -1 is no whole number from 0 to 366"]),
    "buckets": (lambda: view(buckets=0), ["buckets: 0 is no whole number from 1 to 4096", "buckets=16"]),
    "split": (
        lambda: Split(history=timedelta(days=2), valid=timedelta(days=1), test=timedelta(days=1)),
        ["Split 'split'", "history: 2 days, 0:00:00 leaves nothing to train on"],
    ),
    "age": (lambda: Gate(max_age=timedelta(0)), ["Gate 'gate'", "max_age: it is zero"]),
}

REFERENCES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "feature": (lambda: view()["tmp"], ["FeatureView 'weather'", "unknown feature 'tmp'", "did you mean 'temp'?"]),
    "twice": (lambda: view()["temp", "temp"], ["features ('temp', 'temp')", "name each once"]),
    "none": (lambda: view()[()], ["features ()", "name each once"]),
    "alias key": (
        lambda: view().alias("to", arport="dest"),
        ["alias 'to': entity 'airport' has no key 'arport'", "did you mean 'airport'?"],
    ),
    "source column": (lambda: source(event_at="event_t"), ["event_at: unknown column 'event_t'", "'event_at'?"]),
    "source order": (lambda: source(order_by=["tmp"]), ["order_by: unknown column 'tmp'", "did you mean 'temp'?"]),
    "expectation": (
        lambda: view(expectations=[Expectation("expect_column_values_to_not_be_null", "tmp")]),
        ["expect_column_values_to_not_be_null is about the unknown column 'tmp'", "did you mean 'temp'?"],
    ),
    "severity": (lambda: Expectation("expect_x", severity="warn"), ["severity: 'warn'", "did you mean 'warning'?"]),  # type: ignore[arg-type] # what is refused
    "mostly": (lambda: Expectation("expect_x", mostly=95), ["mostly: 95 is not in (0, 1]", "mostly=0.95"]),
    "input form": (lambda: on_demand(inputs=["distance"]), ["inputs: 'distance'", "request=[RequestField(...)]"]),
    "input": (
        lambda: FeatureService("vector", [view(), on_demand(inputs=["weather__tmp"])]),
        ["FeatureService 'vector'", "'plan' has the input 'weather__tmp'", "did you mean 'weather__temp'?"],
    ),
    "category": (
        lambda: model(categorical=["weather__tmp"]),
        ["Model 'delay'", "'vector' has no column 'weather__tmp'", "did you mean 'weather__temp'?"],
    ),
    "sql parameter": (lambda: Sql("SELECT $partition_ends"), ["$partition_ends", "did you mean 'partition_end'?"]),
    "sql clock": (lambda: Sql("SELECT now()"), ["Sql 'SELECT now()'", "it calls now", "use $partition_end"]),
    "sql kind": (lambda: Sql("DELETE FROM a"), ["Sql 'DELETE FROM a'", "it is no SELECT"]),
    "sql empty": (lambda: Sql(" -- nothing"), ["it is no SELECT", "over the view's sources"]),
    "sql two": (lambda: Sql("SELECT 1; SELECT 2"), ["more than one statement", "use WITH"]),
    "too few": (
        lambda: view(transform=two),
        ["transform: two does not take one frame", "it is called as two(reports)"],
    ),
}

CONFLICTS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "no key": (lambda: Entity("a", {}), ["Entity 'a'", "keys: there is none"]),
    "keys": (lambda: Entity("a", [Key("b", pa.string()), Key("b", pa.string())]), ["keys: 'b' occurs more than once"]),
    "columns": (lambda: source(schema=pa.schema([*SCHEMA, *SCHEMA])), ["schema: 'airport' occurs more than once"]),
    "features": (
        lambda: view(features=[TEMP, TEMP]),
        ["FeatureView 'weather'", "features: 'temp' occurs more than once"],
    ),
    "no feature": (lambda: view(features=[]), ["features: there is none", "at least one Feature"]),
    "no source": (lambda: view(sources=[]), ["sources: there is none", "name the BatchSource"]),
    "sources": (lambda: view(transform=two, sources=[REPORTS, REPORTS]), ["sources: 'reports' occurs more than once"]),
    "feature and key": (
        lambda: view(features=[Feature("airport", pa.string())]),
        ["features: 'airport' is also a key of entity 'airport'", "'airport_value'"],
    ),
    "no on-demand feature": (lambda: on_demand(features=[]), ["OnDemandView 'plan'", "features: there is none"]),
    "request": (
        lambda: on_demand(request=[RequestField("a", FLOAT), RequestField("a", FLOAT)]),
        ["request: 'a' occurs more than once"],
    ),
    "inputs": (lambda: on_demand(inputs=["a__b", "a__b"]), ["inputs: 'a__b' occurs more than once"]),
    "nothing served": (lambda: FeatureService("vector", []), ["features: there is none", "name at least one view"]),
    "view twice": (
        lambda: FeatureService("vector", [view(), view()["temp"]]),
        ["two of them give columns weather__...", ".alias('other_weather')"],
    ),
    "role is a view": (
        lambda: FeatureService("vector", [view(), on_demand("weather")]),
        ["two of them give columns weather__..."],
    ),
    "two of one name": (
        lambda: FeatureService("vector", [view(), view(buckets=8).alias("to")]),
        ["two different views are called 'weather'", HERE],
    ),
    "request types": (
        lambda: FeatureService("vector", [view(), on_demand(request=[RequestField("airport", pa.int64())])]),
        ["column 'airport' of the request is needed as string and as int64", "view.alias"],
    ),
    "circle": (
        lambda: FeatureService(
            "vector",
            [on_demand("a", inputs=["b__x"]), on_demand("b", inputs=["c__x"]), on_demand("c", inputs=["a__x"])],
        ),
        ["FeatureService 'vector'", "in a circle: a -> b -> c -> a", "in one on-demand view"],
    ),
    "needs itself": (
        lambda: FeatureService("vector", [on_demand("a", inputs=["a__x"])]),
        ["in a circle: a -> a"],
    ),
    "label is input": (
        lambda: model(label=Label("airport", "landed_at", pa.int64())),
        ["label: column 'airport' is also an input of service 'vector'", "what is known only later is no input"],
    ),
    "outcome is input": (
        lambda: model(label=Label("late", "airport", pa.int64())),
        ["label's matured_at: column 'airport' is also an input"],
    ),
    "label is time": (lambda: model(timestamp="late"), ["label: 'late' is the timestamp"]),
    "label matures itself": (lambda: Label("late", "late", pa.int64()), ["matured_at: it is the label itself"]),
    "categories": (
        lambda: model(categorical=["weather__temp", "weather__temp"]),
        ["categorical: 'weather__temp' occurs more than once"],
    ),
    "rounds": (lambda: model(rounds=0), ["rounds: 0 is less than 1"]),
    "psi": (lambda: Gate(max_psi=0), ["max_psi: 0 is not positive"]),
    "psi nan": (lambda: Gate(max_psi=float("nan")), ["max_psi: nan is not positive"]),
    "drifted": (lambda: Gate(min_drifted_features=0), ["min_drifted_features: 0 is less than 1"]),
    "margin": (lambda: Gate(margin=-0.1), ["margin: -0.1 is negative"]),
}

WHOLE: dict[str, tuple[Callable[[], object], list[str]]] = {
    "source twice": (
        lambda: project(sources=[REPORTS, source(owner="b")]),
        ["Project 'all'", "two definitions are the source 'reports'", "weather.py:"],
    ),
    "view twice": (lambda: project(views=[view(), view(buckets=2)]), ["the view 'weather'", "rename one of them"]),
    "service twice": (lambda: project(services=[SERVICE, SERVICE]), ["two definitions are the service 'vector'"]),
    "model twice": (lambda: project(models=[model(), model()]), ["two definitions are the model 'delay'"]),
    "entity twice": (
        lambda: project(entities=[AIRPORT, Entity("airport", {"a": pa.int8()})]),
        ["two definitions are the entity 'airport'"],
    ),
    "entities differ": (
        lambda: project(views=[view(), view(name="b", entity=Entity("airport", {"code": pa.int8()}))]),
        ["two definitions are the entity 'airport'"],
    ),
    "on demand is a view": (
        lambda: project(services=[FeatureService("vector", [view().alias("to"), on_demand("weather")])]),
        ["two definitions are the view 'weather'"],
    ),
    "unknown source": (
        lambda: project(sources=[source(name="report")]),
        ["FeatureView 'weather'", "its source 'reports' is not in project 'all'", "did you mean 'report'?"],
    ),
    "no source": (
        lambda: project(sources=[]),
        ["its source 'reports' is not in project 'all'", "add it to the project"],
    ),
    "another source": (
        lambda: project(sources=[source(owner="b")]),
        ["its source 'reports'", "is not the one that project 'all' has by that name"],
    ),
    "unknown view": (
        lambda: project(views=[]),
        ["FeatureService 'vector'", "its view 'weather' is not in project 'all'"],
    ),
    "unknown service": (lambda: project(services=[], models=[model()]), ["Model 'delay'", "its service 'vector'"]),
    "unknown entity": (
        lambda: project(entities=[Entity("port", {"a": pa.int8()})]),
        ["FeatureView 'weather'", "its entity 'airport' is not in project 'all'"],
    ),
    "name": (lambda: project(name="All"), ["Project 'All'", "write 'all'"]),
}

CASES = {
    f"{group}: {case}": value
    for group, cases in {
        "name": NAMES, "type": TYPES, "time": TIMES, "reference": REFERENCES, "conflict": CONFLICTS, "project": WHOLE
    }.items()
    for case, value in cases.items()
}  # fmt: skip


@pytest.mark.parametrize(("build", "parts"), CASES.values(), ids=CASES)
def test_a_wrong_definition_is_told_where_what_and_the_way_out(build: Callable[[], object], parts: list[str]) -> None:
    with pytest.raises(DefinitionError) as caught:
        build()
    message = str(caught.value)
    assert caught.value.hint
    for part in parts:
        assert part in message, message


LOCAL = {case: build for case, (build, _) in CASES.items() if not case.startswith("project")}


@pytest.mark.parametrize("build", LOCAL.values(), ids=LOCAL)
def test_the_message_begins_with_a_line_of_the_users_code(build: Callable[[], object]) -> None:
    with pytest.raises(DefinitionError) as caught:
        build()
    place = str(caught.value).partition(": ")[0]
    file, _, line = place.rpartition(":")
    assert Path(file).name in {HERE, "weather.py"}
    assert int(line) > 0


def test_the_place_is_the_line_that_builds() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    built = Entity("airport", {"airport": pa.string()})
    assert (built.place.file, built.place.line) == (__file__, frame.f_lineno - 1)
    assert str(built.place) == f"{__file__}:{built.place.line}"


def test_unknown_names_of_a_project_have_their_nearest() -> None:
    whole = project(models=[model()])
    lookups: list[tuple[Callable[[str], object], str, str]] = [
        (whole.source, "report", "did you mean 'reports'?"),
        (whole.view, "wether", "did you mean 'weather'?"),
        (whole.service, "vektor", "did you mean 'vector'?"),
        (whole.model, "zzz", "known: delay"),
        (whole.entity, "aiport", "did you mean 'airport'?"),
    ]
    for find, wrong, hint in lookups:
        with pytest.raises(UnknownNameError, match=rf"project 'all': unknown \w+ '{wrong}'") as caught:
            find(wrong)
        assert caught.value.hint == hint
    with pytest.raises(UnknownNameError, match="view 'weather': unknown feature 'tmp'"):
        whole.view("weather").feature("tmp")


def test_what_is_right_is_not_refused() -> None:
    whole = project(models=[model(categorical=["weather__temp"], gate=Gate(max_age=timedelta(days=1)))])
    assert (whole.source("reports"), whole.view("weather"), whole.service("vector")) == (REPORTS, view(), SERVICE)
    assert whole.model("delay").gate.max_age == timedelta(days=1)
    assert whole.entities == (AIRPORT,)
    assert isinstance(view()["temp"], FeatureRef)
    assert isinstance(view(features=[Feature("emb", pa.list_(pa.float32(), 3), default=np.zeros(3))]), FeatureView)
