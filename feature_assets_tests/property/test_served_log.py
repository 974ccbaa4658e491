"""From answers through the log and back: whatever was answered, in whatever status, comes back to the bit."""

import shutil
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import ManualClock, to_us
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.served_columns import OWN
from feature_assets.offline.verdicts import Verdicts
from feature_assets.serving.answer import Answer, Meta
from feature_assets.serving.served_log import ServedLog
from feature_assets.serving.served_rows import ServedRows
from feature_assets.serving.status import Status
from feature_assets.training.digest import table_digest
from feature_assets.training.loader import TrainingSet, training_set
from feature_assets_tests.answers import AS_OF, answer_of, item_of
from feature_assets_tests.histories import SOURCE, view_of
from feature_assets_tests.property.test_codec import INSTANT, arrays, names

plain_types = st.sampled_from(
    [
        pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(),
        pa.binary(), pa.date32(), INSTANT, pa.decimal128(20, 3),
    ]
)  # fmt: skip


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    fields = st.lists(st.tuples(names, inner), min_size=1, max_size=3, unique_by=lambda one: one[0])
    return st.one_of(
        st.builds(pa.list_, inner),
        st.builds(pa.list_, inner, st.integers(1, 3)),
        fields.map(pa.struct),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int64(), pa.date32()]), inner),
    )


dtypes = st.recursive(plain_types, nested, max_leaves=3)
key_types = st.sampled_from([pa.string(), pa.int64(), pa.bool_(), pa.date32(), pa.binary()])
instants = st.integers(0, to_us(AS_OF) + 10**12)
items = st.none() | st.builds(
    item_of,
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.none() | instants,
    st.none() | st.dictionaries(st.text("p0", max_size=2), st.integers(-1, 2**40), max_size=2),
)


@st.composite
def services(draw: st.DrawFn) -> FeatureService:
    """A view in two roles, and features that are computed at the request."""
    some = [Feature(f"f{number}", dtype) for number, dtype in enumerate(draw(st.lists(dtypes, min_size=1, max_size=3)))]
    view = view_of("some", {"key": draw(key_types), "part": pa.int32()}, some)
    demand = OnDemandView(
        "demand",
        [RequestField("batch", draw(dtypes)), RequestField("limit", pa.float64())],
        function=lambda columns, _as_of: {"x": columns["limit"]},
        features=[Feature("x", draw(dtypes))],
    )
    return FeatureService("it", [view.alias("one", key="a", part="n"), demand, view.alias("two", key="b", part="n")])


@st.composite
def answers(draw: st.DrawFn, service: FeatureService) -> Answer:
    rows = draw(st.integers(0, 4))
    statuses = st.lists(st.sampled_from(Status), min_size=rows, max_size=rows)
    return answer_of(
        service,
        {one.name: draw(arrays(one.dtype, rows)) for one in service.key_columns},
        {one.name: draw(arrays(one.dtype, rows)) for one in service.output_columns},
        statuses={one.name: draw(statuses) for one in service.output_columns},
        items={ref.prefix: draw(st.lists(items, min_size=rows, max_size=rows)) for ref in service.refs},
        as_of=AS_OF + timedelta(microseconds=draw(st.integers(0, 10**13))),
        failures=draw(st.dictionaries(st.sampled_from(["one", "demand"]), st.text(max_size=5))),
        version=draw(st.sampled_from(["v1", None])),
    )


def trained(lake: Lake, service: FeatureService, spine: pa.Table, **options: Any) -> TrainingSet:  # noqa: ANN401
    project = Project("test", sources=[SOURCE], views=service.views, services=[service])
    return training_set(
        project, spine, service="it", timestamp="as_of", mode="as_logged", lake=lake, ledger=DeltaLedger(lake),
        verdicts=Verdicts(lake), target="memory", clock=ManualClock(AS_OF), **options,
    )  # fmt: skip


def log(lake: Lake, service: FeatureService, given: Sequence[Answer]) -> None:
    project = Project("test", sources=[SOURCE], views=service.views, services=[service])
    with ServedLog(lake, project, ManualClock(AS_OF), target="memory") as served:
        for number, answer in enumerate(given):
            served.record(answer, f"request {number}")
            if number == 0:
                assert served.flush()
    rows = sum(map(len, given))
    assert (served.stats.logged, served.stats.recorded, served.stats.last_error) == (rows, rows, "")


@settings(max_examples=20)
@given(st.data())
def test_what_was_answered_comes_back_to_the_bit(data: st.DataObject) -> None:
    service = data.draw(services())
    given = data.draw(st.lists(answers(service), min_size=1, max_size=3))
    if not sum(map(len, given)):
        return
    root = mkdtemp()
    try:
        lake = Lake(root)
        log(lake, service, given)
        rows = [(number, row) for number, answer in enumerate(given) for row in range(len(answer))]
        rows += data.draw(st.lists(st.sampled_from(rows), max_size=3))
        Random(7).shuffle(rows)
        spine = pa.table(
            {
                "request_id": pa.array([f"request {number}" for number, _ in rows]),
                "request_row": pa.array([row for _, row in rows], pa.int64()),
            }
        )
        made = trained(lake, service, spine)
    finally:
        shutil.rmtree(root)
    assert made.table.select(spine.column_names).equals(spine)
    expected = pa.concat_tables([given[number].table.slice(row, 1) for number, row in rows])
    assert table_digest(made.table.select(expected.column_names)) == table_digest(expected)
    for name in expected.column_names:
        assert made.table[f"{name}__status"].to_pylist() == [given[n].status[name][row] for n, row in rows]
    assert made.table["as_of"].to_pylist() == [given[number].as_of for number, _ in rows]
    for prefix in ("one", "two"):
        assert made.table[f"{prefix}__event_at"].to_pylist() == [given[n].meta[prefix].event_at[r] for n, r in rows]
    assert set(made.table["availability"].to_pylist()) == {"logged"}


@settings(max_examples=10)
@given(st.data())
def test_the_table_says_of_each_row_what_its_answer_says(data: st.DataObject) -> None:
    service = data.draw(services())
    given = data.draw(st.lists(answers(service), min_size=1, max_size=2))
    if not sum(map(len, given)):
        return
    root = mkdtemp()
    try:
        log(Lake(root), service, given)
        # As any reader of Delta has it.
        table = Lake(root).open("served", "it").to_pyarrow_table()
    finally:
        shutil.rmtree(root)
    table = table.sort_by([("commit_seq", "ascending"), ("row", "ascending")])
    for one in service.key_columns:
        logged = table["batch__asked" if one.name == "batch" else one.name].cast(one.dtype)
        chunks = [chunk for answer in given for chunk in answer.request[one.name].chunks]
        asked = pa.table({"x": pa.chunked_array(chunks, one.dtype)})
        assert table_digest(pa.table({"x": logged})) == table_digest(asked)
    own = [name for name in table.column_names if name in OWN.names or "__meta__" in name]
    found = iter(table.select(own).to_pylist())
    for number, answer in enumerate(given):
        for row in range(len(answer)):
            one = next(found)
            assert (one["request_id"], one["request_row"]) == (f"request {number}", row)
            assert (one["as_of"], one["logged_at"], one["target"]) == (answer.as_of, AS_OF, "memory")
            assert one["failed"] == any(status[row].is_unknown for status in answer.status.values())
            assert dict(one["failures"]) == dict(answer.failures)
            for prefix, meta in answer.meta.items():
                _require_said(prefix, meta, row, one)


def _require_said(prefix: str, meta: Meta, row: int, one: dict[str, Any]) -> None:
    age, cut, fences = meta.age[row], meta.cut[row], one[f"{prefix}__meta__cut_fences"]
    expected = {
        "version": meta.version,
        "event_at": meta.event_at[row],
        "available_at": meta.available_at[row],
        "age_us": None if age is None else age // timedelta(microseconds=1),
        "cut_n": None if cut is None else cut.n,
        "seq": meta.seq[row],
        "complete_through": meta.complete_through,
    }
    assert {what: one[f"{prefix}__meta__{what}"] for what in expected} == expected
    assert (fences if fences is None else dict(fences)) == (None if cut is None else cut.fences)


keys = st.tuples(st.none() | st.text(max_size=2), st.none() | st.integers(-2, 2))


@settings(max_examples=40)
@given(st.lists(keys, min_size=1, max_size=30), st.floats(0, 1), st.floats(0, 1), st.randoms())
def test_an_entity_is_in_the_sample_always_or_never(
    asked: list[tuple[str | None, int | None]], rate: float, other: float, chance: Random
) -> None:
    view = view_of("some", {"key": pa.string(), "part": pa.int32()}, {"x": pa.float64()})
    service = FeatureService("it", [view])

    def sampled(pairs: Sequence[tuple[str | None, int | None]], share: float) -> list[bool]:
        columns = {
            "key": pa.chunked_array([pa.array([key for key, _ in pairs], pa.string())]),
            "part": pa.chunked_array([pa.array([part for _, part in pairs], pa.int32())]),
        }
        kept: list[bool] = ServedRows(service, "memory", share).sampled(columns).tolist()
        return kept

    alone = {pair: sampled([pair], rate)[0] for pair in asked}
    shuffled = asked * 2
    chance.shuffle(shuffled)
    assert sampled(shuffled, rate) == [alone[pair] for pair in shuffled]
    low, high = sorted([rate, other])
    assert all(b for a, b in zip(sampled(asked, low), sampled(asked, high), strict=True) if a)
    assert not any(sampled(asked, 0.0))
    assert all(sampled(asked, 1.0))
