"""The loader of views of aggregates against the naive choice of records, over everything that can happen to a view.

The same histories as for views of rows: late and corrected records, failed and missing verdicts, backfills, killed
pushes, hand-over from an older version, roles, all modes; and the parts in which records are read change nothing.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_assets.clock import duration_us
from feature_assets.compute.aggregates.layout import Use, layout_of
from feature_assets.compute.aggregates.slot import Asked, Records
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.definition.window import Window
from feature_assets.errors import InputError
from feature_assets.offline.ledger import MemoryLedger
from feature_assets.training.answer import added_columns
from feature_assets.training.history import FeatureRows, History, state
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.memory import Part
from feature_assets.training.modes import AsOfEvent, AsServed, Mode
from feature_assets.training.spine import Spine, parse_spine
from feature_assets.training.window_parts import Group
from feature_assets.training.windows import windows_looked_up
from feature_assets_tests.histories import SOURCE, START, MemoryTable, MemoryVerdicts, unchanged
from feature_assets_tests.oracle import windows as oracle
from feature_assets_tests.oracle.point_in_time import Life, Record
from feature_assets_tests.property import test_point_in_time as rows

SIX_HOURS = timedelta(hours=6)
COLUMNS = [("amount", pa.float64()), ("note", pa.string())]
HALF_DAY, TWO_DAYS = (
    Window.sliding(timedelta(hours=12), hop=SIX_HOURS),
    Window.sliding(timedelta(days=2), hop=SIX_HOURS),
)


def view(*windows: Window) -> FeatureView:
    """The view of rows of the other test, as one of aggregates."""
    aggregates = [
        Aggregate("count", None, windows),
        Aggregate("sum", "amount", windows),
        Aggregate("max", "amount", windows),
        Aggregate("last_k", "note", windows, k=3),
        Aggregate("count_distinct", "note", windows, bound=2),
        Aggregate("decayed_count", None, windows[:2], half_life=timedelta(hours=9)),
    ]
    entity = Entity("shop_shelf", {"shop": pa.string(), "shelf": pa.int32()})
    given: dict[str, Any] = {
        "columns": COLUMNS,
        "aggregates": aggregates,
        "buckets": rows.BUCKETS,
        "delay": timedelta(hours=2),
    }
    return FeatureView(rows.VIEW.name, entity, SOURCE, unchanged, **given)


def service(of: FeatureView) -> FeatureService:
    """All features, and some in a role."""
    names = tuple(feature.name for feature in of.features[::3])
    return FeatureService("service", [of, of.alias("rival", shop="rival_shop")[names]])


SHORT = view(HALF_DAY, TWO_DAYS, Window.tumbling(timedelta(days=1)), Window.series(SIX_HOURS, 3, hop=SIX_HOURS))
FOREVER = view(HALF_DAY, Window.lifetime())
SERVICES = {of: service(of) for of in (SHORT, FOREVER)}


def shape_of(window: Window) -> oracle.WindowShape:
    """The window as the oracle takes it."""
    size = None if window.size is None else duration_us(window.size)
    return oracle.WindowShape(size, duration_us(window.hop), duration_us(window.offset), window.closed, window.count)


def history_of(of: FeatureView, life: Life) -> History:
    """What happened, in memory."""
    tables: dict[str, FeatureRows] = {}
    verdicts, ledger = MemoryVerdicts(), MemoryLedger()
    lives = [(life, view_version(of))] if life.before is None else [(life.before, rows.OLDER), (life, view_version(of))]
    for one, version in lives:
        table = tables[version] = MemoryTable(of)
        for commit, partitions, source in rows.tables_of(one):
            assert table.commit(partitions, source) == commit
        known = {
            (rows.name_of(each.partition), each.commit): each.passed for each in one.versions if each.passed is not None
        }
        verdicts.judge(of.name, version, known)
        for appended in rows.ledger_rows(one, version):
            ledger.append(appended)
    return History(lambda _, version: tables[version], verdicts, ledger, rows.TARGET)


@dataclass(frozen=True)
class Case:
    of: FeatureView
    life: Life
    spine: list[tuple[tuple[str, int], str, int]]
    mode: Mode

    @property
    def is_settled(self) -> bool:
        return bool(self.life.settled) and (self.life.before is None or bool(self.life.before.settled))

    def asked(self) -> Spine:
        table = rows.Case(self.life, self.spine, self.mode, None).table()
        chosen = SERVICES[self.of]
        return parse_spine(table, timestamp="at", service=chosen, added=added_columns(chosen))

    def known(self) -> list[tuple[Record, str]]:
        if isinstance(self.mode, AsServed):
            return self.life.served()
        if isinstance(self.mode, AsOfEvent):
            return self.life.modelled(0, 0, by_event=True)
        return self.life.modelled(duration_us(self.mode.delay), duration_us(self.mode.every), by_event=False)

    def expected(self) -> dict[str, list[object]]:
        """The added columns, from what happened."""
        known = self.known()
        columns: dict[str, list[object]] = {}
        for prefix, keys in (
            (self.of.name, [key for key, _, _ in self.spine]),
            ("rival", [(rival, key[1]) for key, rival, _ in self.spine]),
        ):
            asked = [(key, at) for key, (_, _, at) in zip(keys, self.spine, strict=True)]
            for use in layout_of(self.of).uses:
                columns[f"{prefix}__{use.feature.name}"] = values_of(self.of, use, known, asked)
            origins = [origin(self.of, known, key, at) for key, at in asked]
            columns[f"{prefix}__event_at"] = [at for at, _ in origins]
            columns[f"{prefix}__availability"] = [name for _, name in origins]
        return columns


def seen(known: list[tuple[Record, str]]) -> list[oracle.Record]:
    return [oracle.Record(one.key, one.event_at, one.available_at, one.superseded_at) for one, _ in known]


def values_of(
    of: FeatureView, use: Use, known: list[tuple[Record, str]], asked: list[tuple[tuple[str, int], int]]
) -> list[object]:
    """A feature of each question: one step from the records that the oracle names."""
    shape, count = shape_of(use.window), use.window.count
    records = seen(known)
    holding = [one for key, at in asked for one in oracle.held(records, key, at, shape)]
    table = Records(
        {
            name: pa.array([rows.value_of(one)[place] for one, _ in known], dtype)
            for place, (name, dtype) in enumerate(COLUMNS)
        },
        np.array([one.event_at for one, _ in known], np.int64),
        np.array([one.sequence for one, _ in known], np.int64),
    )
    cell = np.repeat(np.arange(len(holding)), [len(one) for one in holding])
    chosen = table.take(np.array([place for one in holding for place in one], np.int64))
    slots = layout_of(of).slots
    as_of = np.array([at for _, at in asked], np.int64)
    cells = [slots[number].lift(chosen, cell, len(holding)) for number in use.slots]
    found = use.computation.finish(cells, Asked(np.repeat(as_of, count), use.window.spans(as_of)[0].ravel()))
    values: list[object] = found.values.to_pylist()
    return values if count == 1 else [values[first : first + count] for first in range(0, len(values), count)]


def origin(
    of: FeatureView, known: list[tuple[Record, str]], key: tuple[str, int], at: int
) -> tuple[int | None, str | None]:
    """Of the visible records from the earliest of the windows' starts on: the newest's time, the weakest origin."""
    starts = []
    for use in layout_of(of).uses:
        shape = shape_of(use.window)
        back = None if shape.size is None else shape.offset + shape.count * shape.size
        starts.append(None if back is None else oracle.floor(at - back, shape.hop))
    found = [
        (one, name)
        for (one, name), record in zip(known, seen(known), strict=True)
        if one.key == key
        and oracle.is_visible(record, at, strict=False)
        and (None in starts or one.event_at >= min(start for start in starts if start is not None))
    ]
    strength = ["simulated", "inherited", "recovered", "recorded"]
    return max((one.event_at for one, _ in found), default=None), min(
        (name for _, name in found), key=strength.index, default=None
    )


CASES = st.builds(Case, st.sampled_from([SHORT, FOREVER]), rows.lives(), rows.spines(), rows.MODES)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES)
def test_every_row_is_what_looking_at_every_record_gives(case: Case) -> None:
    if not case.is_settled:
        return
    history, chosen = history_of(case.of, case.life), SERVICES[case.of]
    pins, position = pins_now(chosen, history, {})
    spine = case.asked()
    table = built(Question(chosen, "at", case.mode), spine, pins, history, position)
    assert table.column_names == [*spine.table.column_names, *added_columns(chosen)]
    assert table.select(spine.table.column_names).equals(spine.table)
    expected = case.expected()
    for name in table.column_names[spine.table.num_columns : -1]:
        column = table.column(name)
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        assert list(map(repr, column.to_pylist())) == list(map(repr, expected[name])), name


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(CASES, st.sampled_from([1, 2, 3]), st.lists(st.integers(-1, 6), unique=True))
def test_the_parts_in_which_records_are_read_change_nothing(case: Case, divided: int, cuts: list[int]) -> None:
    if not case.is_settled:
        return
    history, chosen = history_of(case.of, case.life), SERVICES[case.of]
    (pin,), position = pins_now(chosen, history, {})
    there, spine = state(case.of, pin, history, position=position), case.asked()
    ends = [None, *(START + timedelta(days=cut) for cut in sorted(cuts)), None]
    groups = [
        Group(
            buckets if divided > 1 else None,
            tuple(Part(buckets if divided > 1 else None, *ends[place : place + 2]) for place in range(len(ends) - 1)),
        )
        for buckets in [tuple(range(first, rows.BUCKETS, divided)) for first in range(divided)]
    ]
    whole = windows_looked_up(there, chosen.refs, spine, mode=case.mode, groups=[Group(None, (Part(),))])
    pieces = windows_looked_up(there, chosen.refs, spine, mode=case.mode, groups=groups)
    for one, other in zip(whole, pieces, strict=True):
        for name, column in {**one.features, "event_at": one.event_at}.items():
            same = {**other.features, "event_at": other.event_at}[name]
            assert list(map(repr, column.to_pylist())) == list(map(repr, same.to_pylist())), name
        assert one.provenance.tolist() == other.provenance.tolist()
        assert not one.expired.any()
        assert not other.expired.any()


def test_a_time_to_live_is_refused() -> None:
    life = Life((), (), None, rows.DAY_US, 0)
    with pytest.raises(InputError, match=r"ttl of view 'stock': its features are aggregates"):
        pins_now(SERVICES[SHORT], history_of(SHORT, life), {"stock": timedelta(days=1)})
