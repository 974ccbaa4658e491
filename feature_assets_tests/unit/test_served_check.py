"""Logged answers against the loader: no mismatch where all is well, and each kind of mismatch under its cause."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.offline.lake import Lake
from feature_assets.quality.served import ServedCheck, check_served
from feature_assets.serving.answer import Answer
from feature_assets.serving.reader import OnlineReader
from feature_assets.serving.served_log import ServedLog
from feature_assets.serving.status import Status
from feature_assets_tests.histories import START
from feature_assets_tests.unit.test_reader_loader import PROJECT, ROUTES, WEATHER, Lakeside


class Checked(Lakeside):
    """The lake of the reader's tests, with a log of its answers."""

    def opened(self) -> "Checked":
        for view, rows in ((WEATHER, self.weather(0)), (ROUTES, self.routes(0))):
            self.commit(view, START.date(), rows)
            self.push(view)
        self.clock.advance(timedelta(hours=1))
        self.reader = OnlineReader(PROJECT, self.store, self.ledger, self.clock, lake=self.lake)
        return self

    def answer(self, rows: int = 20) -> Answer:
        return self.reader.get("it", self.questions(rows))

    def log(self, *answers: Answer, target: str | None = None) -> None:
        with ServedLog(self.lake, PROJECT, self.clock, target=target or self.store.target) as log:
            for number, answer in enumerate(answers):
                log.record(answer, f"request {number}")
        assert log.stats.last_error == ""

    def check(self, project: Project = PROJECT, **options: Any) -> ServedCheck:  # noqa: ANN401
        self.clock.advance(timedelta(hours=1))
        return check_served(
            project, "it", lake=self.lake, ledger=self.ledger, verdicts=self.verdicts, target=self.store.target,
            clock=self.clock, **options,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Checked:
    return Checked(Lake(str(tmp_path)), Random(3)).opened()


def changed(answer: Answer, column: str, values: list[object], status: Status | None = None) -> Answer:
    """The same answer with other values in a column."""
    columns = {**answer.columns, column: pa.array(values, answer.schema.field(column).type)}
    codes = dict(answer.codes)
    if status is not None:
        codes[column] = np.full(len(answer), status.code)
    return replace(answer, columns=columns, codes=codes)


def test_what_was_served_is_what_the_loader_says(world: Checked) -> None:
    world.log(world.answer(), world.answer())
    found = world.check()
    assert (found.rows, found.skipped, found.mismatches, found.examples) == (40, 0, {}, ())
    assert found.passed
    # Also after it was corrected: at their instants nothing was known of that.
    world.commit(WEATHER, START.date(), world.weather(0))
    world.push(WEATHER)
    assert world.check().mismatches == {}
    assert world.check(after=found.upto).rows == 0
    assert not world.check(after=found.upto).passed, "no rows, no evidence"


def test_a_value_that_nothing_explains_is_a_matter_of_logic(world: Checked) -> None:
    answer = world.answer(3)
    world.log(answer, changed(answer, "routes__flights", [-77, *answer.table["routes__flights"].to_pylist()[1:]]))
    found = world.check()
    assert (found.mismatches, found.passed) == ({"logic": 1}, False)
    (one,) = found.examples
    assert (one.request_id, one.request_row, one.column, one.answered) == ("request 1", 0, "routes__flights", "-77")
    assert one.expected == repr(answer.table["routes__flights"][0].as_py())


def test_what_the_store_did_not_say_is_the_stores(world: Checked) -> None:
    answer = world.answer(30)
    world.log(changed(answer, "routes__flights", [None] * 30, Status.TIMEOUT))
    found = world.check()
    known = sum(value is not None for value in answer.table["routes__flights"].to_pylist())
    assert (found.mismatches, found.passed) == ({"store": known}, True)
    assert known > 0


def test_what_another_version_answered_is_the_versions(world: Checked) -> None:
    answer = world.answer(3)
    meta = {**answer.meta, "routes": replace(answer.meta["routes"], version="an older one")}
    wrong = changed(answer, "routes__flights", [-77] * 3)
    world.log(replace(wrong, meta=meta))
    assert world.check().mismatches == {"version": 3}
    # A default that was changed since: other values are to be expected, of every view.
    view = WEATHER.alias("origin", airport="origin")
    service = FeatureService("it", [view, ROUTES])
    world.log(wrong)
    narrower = Project("test", sources=PROJECT.sources, views=service.views, services=[service])
    assert world.check(narrower).mismatches == {"version": 6}


def test_while_a_write_is_under_way_both_states_are_right(world: Checked) -> None:
    world.commit(ROUTES, START.date(), world.routes(0))
    world.push(ROUTES)
    answer = world.answer(3)
    world.log(changed(answer, "routes__flights", [-77] * 3))
    found = world.check()
    assert (found.mismatches, found.passed) == ({"write_interval": 3}, True)
    # Of the other view nothing was written at that instant.
    world.log(changed(answer, "origin__gust", [-77.0] * 3))
    assert world.check(after=found.upto).mismatches == {"logic": 3}


def test_rows_of_no_entity_or_another_store_are_skipped(world: Checked) -> None:
    answer = world.reader.get("it", [{"origin": "JFK", "dest": None, "slot": 1, "limit": 1.0}] * 2)
    world.log(answer)
    world.log(world.answer(5), target="elsewhere")
    found = world.check()
    assert (found.rows, found.skipped, found.passed) == (0, 7, False)
