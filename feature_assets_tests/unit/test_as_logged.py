"""The mode `as_logged`: what was answered comes back by request id, and what is not in the log is said or filled."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_assets.definition.model import Label
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature
from feature_assets.errors import ImmatureLabelError, InputError, ManifestError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.offline.maintenance import compact, vacuum
from feature_assets.offline.served_table import ServedTable
from feature_assets.serving.served_log import ServedLog
from feature_assets.serving.status import Status
from feature_assets.training.digest import table_digest
from feature_assets.training.leakage import leakage_report
from feature_assets.training.loader import TrainingSet, training_set
from feature_assets.training.manifest import LogPin, parse_manifest
from feature_assets.training.modes import as_logged, parse_mode
from feature_assets.training.rebuild import rebuild
from feature_assets.training.stored import stored_manifest
from feature_assets.training.validity import value_history
from feature_assets_tests.answers import AS_OF, answer_of, item_of
from feature_assets_tests.histories import DAY, SOURCE, START, instants, view_of
from feature_assets_tests.trained import HOUR, PROJECT, TARGET, WEATHER, Trained, fill

AIRPORTS = ["JFK", "LGA", "JFK", "XXX"]
TEMPS = [1.5, float("nan"), None, -0.0]
S = Status


def log(trained: Trained, answers: Mapping[str, Sequence[float | None]], project: Project = PROJECT) -> None:
    """Answers of `weather_only` to these requests, for the first of `AIRPORTS`."""
    service = project.service("weather_only")
    with ServedLog(trained.lake, project, trained.clock, target=TARGET) as served:
        for request_id, temps in answers.items():
            rows = len(temps)
            given: dict[str, Sequence[Any]] = {one.name: [None] * rows for one in service.output_columns}
            answer = answer_of(
                service,
                {"airport": AIRPORTS[:rows]},
                {**given, "weather__temp": temps, "weather__gusts": [7] * rows},
                statuses={"weather__gusts": [S.STALE] * rows, "weather__sky": [S.TIMEOUT] * rows},
                items={"weather": [item_of(event_at=number) for number in range(rows)]},
            )
            served.record(answer, request_id)
            served.flush()
    assert served.stats.logged == sum(map(len, answers.values()))


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return fill(str(tmp_path / "lake"))


@pytest.fixture
def logged(trained: Trained) -> Trained:
    log(trained, {"one": TEMPS, "two": [20.5]})
    return trained


def spine(*rows: tuple[str, int]) -> pa.Table:
    return pa.table(
        {
            "request_id": pa.array([name for name, _ in rows], pa.string()),
            "label": pa.array([number % 2 == 0 for number in range(len(rows))]),
            "request_row": pa.array([row for _, row in rows], pa.int64()),
        }
    )


def asked(trained: Trained, given: object, mode: object = "as_logged", **options: Any) -> TrainingSet:  # noqa: ANN401
    return trained.training_set(given, service="weather_only", mode=mode, **options)


def shown(table: pa.Table, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


# ------------------------------------------------------------------------------------------------- what comes back


def test_what_was_answered_comes_back_in_the_order_of_the_spine(logged: Trained) -> None:
    given = spine(("two", 0), ("one", 3), ("one", 1), ("one", 0), ("two", 0))
    table = asked(logged, given).table
    assert table.select(given.column_names).equals(given)
    assert table.column_names[len(given.column_names) :] == [
        "at",
        "weather__temp",
        "weather__gusts",
        "weather__sky",
        "weather__recent",
        "weather__event_at",
        "weather__availability",
        "availability",
        "weather__temp__status",
        "weather__gusts__status",
        "weather__sky__status",
        "weather__recent__status",
    ]
    assert repr(table["weather__temp"].to_pylist()) == repr([20.5, -0.0, float("nan"), 1.5, 20.5])
    assert shown(table, "weather__gusts", "weather__gusts__status", "weather__sky__status")[0] == (
        7,
        "STALE",
        "TIMEOUT",
    )
    assert table["weather__recent"].to_pylist() == [None] * 5, "no default stands in where none was served"
    assert table["weather__temp__status"].to_pylist() == ["PRESENT"] * 5
    assert set(table["availability"].to_pylist()) == set(table["weather__availability"].to_pylist()) == {"logged"}
    assert set(table["at"].to_pylist()) == {AS_OF}


def test_without_a_column_of_rows_each_is_the_first_of_its_request(logged: Trained) -> None:
    given = pa.table({"rid": ["one", "two"]})
    table = asked(logged, given, as_logged(request_id="rid")).table
    assert table["weather__temp"].to_pylist() == [1.5, 20.5]
    renamed = pa.table({"rid": ["one"], "place": pa.array([3], pa.int16())})
    table = asked(logged, renamed, as_logged(request_id="rid", request_row="place")).table
    assert table["weather__temp"].to_pylist() == [-0.0]


def test_an_instant_of_the_spine_stays_its_own(logged: Trained) -> None:
    given = spine(("one", 0)).append_column("at", instants([START]))
    assert asked(logged, given).table["at"].to_pylist() == [START]


def test_a_spine_without_rows(logged: Trained) -> None:
    table = asked(logged, spine()).table
    assert (table.num_rows, table.schema.field("weather__temp").type) == (0, pa.float64())


def test_the_manifest_says_how_far_the_log_was_read(logged: Trained) -> None:
    manifest = asked(logged, spine(("one", 0), ("never", 0)), as_logged(missing="null")).manifest
    assert isinstance(manifest.log, LogPin)
    assert (manifest.log.commit_seq, manifest.log.logged, manifest.log.missing) == (2, 1, 1)
    assert (manifest.views, manifest.mode) == ((), as_logged(missing="null"))
    assert parse_manifest(manifest.encoded()) == manifest


def test_a_label_that_is_not_known_yet_is_refused_or_dropped(logged: Trained) -> None:
    at = [logged.clock.now() + HOUR, START]
    given = spine(("never", 0), ("one", 0)).append_column("known_at", instants(at))
    label = Label("label", "known_at", pa.bool_())
    with pytest.raises(ImmatureLabelError, match="1 of 2 rows"):
        asked(logged, given, label=label)
    table = asked(logged, given, label=label, immature="drop").table
    assert shown(table, "request_id", "weather__temp") == [("one", 1.5)]


# ---------------------------------------------------------------------------------------------------- what is missing


def test_what_is_not_in_the_log_is_refused_counted_and_named(logged: Trained) -> None:
    given = spine(("one", 0), ("nobody", 0), ("one", 4), ("two", 1), ("x", 0))
    with pytest.raises(InputError) as refused:
        asked(logged, given)
    assert "served log of service 'weather_only': of 5 rows of the spine, 4 are not in it" in str(refused.value)
    assert "row 1 ('nobody', 0), row 2 ('one', 4), row 3 ('two', 1)\n" in str(refused.value)
    assert "as_logged(missing='null')" in (refused.value.hint or "")


def test_what_is_missing_can_be_left_null(logged: Trained) -> None:
    table = asked(logged, spine(("nobody", 0), ("one", 0)), as_logged(missing="null")).table
    names = ("weather__temp", "weather__gusts", "weather__temp__status", "weather__availability", "availability", "at")
    assert shown(table, *names) == [
        (None, None, None, None, None, None),
        (1.5, 7, "PRESENT", "logged", "logged", AS_OF),
    ]


def test_what_is_missing_can_be_joined_as_served(logged: Trained) -> None:
    at = START + 5 * DAY + 2 * HOUR
    given = spine(("one", 0), ("nobody", 0), ("two", 0)).append_column("at", instants([at] * 3))
    given = given.append_column("airport", pa.array(["JFK", "LGA", "JFK"]))
    made = asked(logged, given, as_logged(missing="as_served"))
    served = asked(logged, given, "as_served").table
    names = ("weather__temp", "weather__gusts", "weather__event_at", "availability")
    assert shown(made.table, *names)[1] == shown(served, *names)[1]
    assert shown(made.table, *names)[1][3] == "recorded"
    assert made.table["weather__temp"].to_pylist()[::2] == [1.5, 20.5]
    assert made.table["availability"].to_pylist() == ["logged", "recorded", "logged"]
    assert made.table["weather__temp__status"].to_pylist() == ["PRESENT", None, "PRESENT"]
    assert [pin.view for pin in made.manifest.views] == ["weather"]
    assert rebuild(made.manifest, project=PROJECT, spine=given, **logged.stores).table.equals(made.table)


def test_to_join_needs_what_a_join_needs(logged: Trained) -> None:
    with pytest.raises(UnknownNameError, match="unknown timestamp column 'at'"):
        asked(logged, spine(("nobody", 0)), as_logged(missing="as_served"))
    # If nothing is missing, nothing is joined.
    assert len(asked(logged, spine(("one", 0)), as_logged(missing="as_served")).table) == 1


def test_a_request_that_was_answered_twice_is_known_if_both_say_the_same(logged: Trained) -> None:
    log(logged, {"one": TEMPS})
    assert asked(logged, spine(("one", 0))).table["weather__temp"].to_pylist() == [1.5]
    log(logged, {"one": [1.5, 99.0, None, 0.0]})
    with pytest.raises(InputError, match=r"2 were answered more than once, with other values. .* row 1 .'one', 1."):
        asked(logged, spine(("one", 0), ("one", 1), ("one", 3), ("two", 0)))
    table = asked(logged, spine(("one", 0), ("one", 1)), as_logged(missing="null")).table
    assert table["weather__temp"].to_pylist() == [1.5, None]


def test_rows_of_a_time_without_a_column_are_incomplete(logged: Trained) -> None:
    view = view_of("weather", {"airport": pa.string()}, [*WEATHER.features, Feature("rain", pa.float64(), default=1.0)])
    project = Project("test", [SOURCE], [view], [FeatureService("weather_only", [view])])
    log(logged, {"three": [3.5]}, project)

    def of(mode: object) -> pa.Table:
        given = spine(("two", 0), ("three", 0))
        return training_set(
            project, given, service="weather_only", timestamp="at", target=TARGET, clock=logged.clock, mode=mode,  # type: ignore[arg-type] # one of them is a name
            **logged.stores,
        ).table  # fmt: skip

    with pytest.raises(InputError, match="1 were answered when the service had not all of its columns"):
        of("as_logged")
    names = ("weather__temp", "weather__rain", "weather__rain__status", "availability")
    assert shown(of(as_logged(missing="null")), *names) == [
        (20.5, None, None, "logged"),
        (3.5, None, "NULL", "logged"),
    ]
    # Who still has the old service is not disturbed.
    assert asked(logged, spine(("two", 0), ("three", 0))).table["weather__temp"].to_pylist() == [20.5, 3.5]


# --------------------------------------------------------------------------------------------------- what is refused


def test_a_service_that_was_never_logged(trained: Trained) -> None:
    with pytest.raises(
        InputError, match=r"'weather_only': none of its answers was ever logged.*served/weather_only"
    ) as e:
        asked(trained, spine(("one", 0)))
    assert "mode='as_served'" in (e.value.hint or "")


def test_keys_of_the_spine_must_be_those_that_were_asked_with(logged: Trained) -> None:
    given = spine(("one", 0), ("one", 1), ("two", 0))
    right = given.append_column("airport", pa.array(["JFK", "LGA", "JFK"]))
    assert len(asked(logged, right).table) == 3
    for wrong, says in ((["JFK", "JFK", "JFK"], "'JFK', and the served log has 'LGA'"), (["JFK", None, "JFK"], "None")):
        other = given.append_column("airport", pa.array(wrong, pa.string()))
        with pytest.raises(InputError, match=f"1 rows have another 'airport' .* row 1, {says}"):
            asked(logged, other)


@pytest.mark.parametrize(
    ("given", "mode", "says"),
    [
        (pa.table({"x": [1]}), "as_logged", "unknown column of request ids 'request_id'"),
        (pa.table({"request_id": ["one", None]}), "as_logged", "'request_id' is null in 1 rows, the first is row 1"),
        (pa.table({"request_id": [1]}), "as_logged", "'request_id' is int64, and the served log has string"),
        (pa.table({"request_id": ["one"], "request_row": [0.0]}), "as_logged", "'request_row' is double"),
        (pa.table({"request_id": ["one"], "request_row": [2**40]}), "as_logged", "value 1099511627776 would"),
        (pa.table({"request_id": ["one"], "weather__temp__status": ["x"]}), "as_logged", "would be overwritten"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(logged: Trained, given: pa.Table, mode: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        asked(logged, given, mode)


def test_what_the_mode_does_not_have(logged: Trained) -> None:
    with pytest.raises(InputError, match="missing='drop'"):
        as_logged(missing="drop")
    with pytest.raises(InputError, match="taken as they were answered"):
        asked(logged, spine(("one", 0)), ttl={"weather": timedelta(days=1)})
    with pytest.raises(InputError, match="more than memory_limit=1"):
        asked(logged, spine(("one", 0)), memory_limit=1)
    assert parse_mode("as_logged") == as_logged()


def test_what_joins_features_does_not_take_the_mode(logged: Trained) -> None:
    made = asked(logged, spine(("one", 0)))
    with pytest.raises(InputError, match="as_logged takes values by request id"):
        leakage_report(made, project=PROJECT, **logged.stores)
    with pytest.raises(InputError, match="history of 'weather': as_logged takes values by request id"):
        value_history(WEATHER, START, START + DAY, None, mode="as_logged")  # type: ignore[arg-type] # it is not asked


# ------------------------------------------------------------------------------------------------- made again


def test_it_is_made_again_to_the_byte_whatever_was_logged_since(logged: Trained) -> None:
    given = spine(("one", 0), ("late", 0), ("one", 1))
    made = asked(logged, given, as_logged(missing="null"), name="kept")
    made.to_delta()
    log(logged, {"late": [5.0], "one": [9.0, 9.0, 9.0, 9.0]})
    compact(logged.lake, PROJECT, ledger=logged.ledger, target=TARGET)
    vacuum(logged.lake, "served", "weather_only", retention=timedelta(0))
    manifest = stored_manifest(logged.lake, "kept", made.manifest.id)
    again = rebuild(manifest, project=PROJECT, **logged.stores)
    assert table_digest(again.table) == table_digest(made.table)
    assert repr(again.table["weather__temp"].to_pylist()) == repr([1.5, None, float("nan")])
    # What was logged meanwhile does change what is asked for now.
    now = asked(logged, given, as_logged(missing="null")).table
    assert now["weather__temp"].to_pylist() == [None, 5.0, None]


def test_a_manifest_whose_rows_are_gone_is_refused(logged: Trained) -> None:
    made = asked(logged, spine(("one", 0)), as_logged(missing="null"))
    root = logged.lake.path("served", "weather_only")
    root.rename(root.with_name("elsewhere"))
    log(logged, {"one": [3.0]})
    with pytest.raises(ManifestError, match="came out with other values"):
        rebuild(made.manifest, project=PROJECT, spine=spine(("one", 0)), **logged.stores)


def test_the_code_of_the_views_may_change_but_not_the_columns(logged: Trained) -> None:
    made = asked(logged, spine(("one", 0)))

    def again(*features: Feature) -> TrainingSet:
        view = view_of("weather", {"airport": pa.string()}, features, order_by="sequence")
        project = Project("test", [SOURCE], [view], [FeatureService("weather_only", [view])])
        return rebuild(made.manifest, project=project, spine=spine(("one", 0)), **logged.stores)

    assert again(*WEATHER.features).table.equals(made.table)
    with pytest.raises(ManifestError, match="service 'weather_only' has changed"):
        again(*WEATHER.features[1:])


def test_the_log_of_a_service_is_read_as_it_is(logged: Trained) -> None:
    assert ServedTable(Lake(logged.lake.root), PROJECT.service("weather_only")).head() == 2
