"""Every function over every kind of window, by every way that there is to a value: all say the same, and are right.

Of the same records, late, ahead, out of order and corrected: the batch section of an item, its stream section, both
halves of it, a training set's kernel, and the oracle, which looks at each record for each question. Items are written
by the protocol, with replays, and read by the reader from their bytes. Whole numbers are exact, sums of floats are the
nearest double, percentiles within their error, and what is read is what is trained on to the last bit.

In how many steps records came, in which order, and how often some of them came again changes no byte of an item.
"""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import OPEN, duration_us
from feature_assets.compute import windows_candidates, windows_kernel, windows_newest, windows_ranges
from feature_assets.compute.aggregates import distinct_bits
from feature_assets.compute.aggregates.layout import ALL_TIME, Use
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.tiles import SKEW, appended, empty_rings, packed, ring_of_records, unpacked
from feature_assets.compute.windows import Questions, Visibility, windowed
from feature_assets.definition.view import FeatureView
from feature_assets.online.item import Row
from feature_assets.online.protocol import Record, WriteProtocol
from feature_assets.online.ring_reducer import RingReducer, payloads
from feature_assets_tests.chronicles import ENTITIES, GAP, KINDS, Chronicle, Function, chronicles, size_of, view_with
from feature_assets_tests.number_records import agrees
from feature_assets_tests.online_items import PLACE, Answers, Online, Written, micro_batches
from feature_assets_tests.oracle import functions as oracle
from feature_assets_tests.oracle.aggregates_numbers import OVERFLOW
from feature_assets_tests.oracle.windows import WindowShape, held
from feature_assets_tests.ring_records import EVERY, SECOND

VIEWS = 12
"""Of each function: with other windows, hops and parameters."""
EXAMPLES = 32
"""Of each function, with each column that it may be of."""
RULES = WriteProtocol()


def label(function: Function) -> str:
    name, column, by = function
    return "-".join(filter(None, (name, column, by and f"by_{by}")))


@lru_cache(maxsize=VIEWS)
def online(view: FeatureView) -> Online:
    return Online.of(view)


# ------------------------------------------------------------------------------------------------------------- oracle


def shape_of(use: Use) -> WindowShape:
    window = use.window
    return WindowShape(
        size_of(window), duration_us(window.hop), duration_us(window.offset), window.closed, window.count
    )


def expected(story: Chronicle, use: Use, entity: int, as_of: int) -> object:
    """One value, or a list for a series; `OVERFLOW` where any of it is."""
    aggregate, shape = use.aggregate, shape_of(use)
    names = ("k", "bound", "precision", "percentile", "accuracy", "edges", "over", "scale")
    parameters = {name: getattr(aggregate, name) for name in names}
    if aggregate.half_life is not None:
        parameters["half_life"] = duration_us(aggregate.half_life)
    asked = oracle.Asked(aggregate.function, aggregate.column, aggregate.by, shape.size, shape.hop, as_of, parameters)
    found = []
    for places in held(story.known, entity, as_of, shape):
        chosen = story.records.take(np.array(places, np.int64))
        columns = {name: column.to_pylist() for name, column in chosen.columns.items()}
        rows = [
            oracle.Row(at, sequence, {name: columns[name][place] for name in columns})
            for place, (at, sequence) in enumerate(zip(chosen.event_at.tolist(), chosen.sequence.tolist(), strict=True))
        ]
        found.append(oracle.answer(asked, rows))
    if shape.count == 1:
        return found[0]
    return OVERFLOW if any(isinstance(one, str) and one == OVERFLOW for one in found) else found


# ----------------------------------------------------------------------------------------------------------- training


def trained(story: Chronicle, random: Random) -> dict[int, Answers]:
    """By instant, the answers for the entities. All is asked at once, along any of the kernel's ways."""
    entities = [entity for _ in story.asked for entity in range(ENTITIES)]
    asked = Questions(ints(entities), np.repeat(ints(story.asked), ENTITIES))
    known = story.known
    seen = Visibility(
        story.item,
        ints([OPEN if one.available_at is None else one.available_at for one in known]),
        ints([OPEN if one.superseded_at is None else one.superseded_at for one in known]),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_candidates, "ONE_BY_ONE", random.choice([0, 2, 64]))
        patch.setattr(windows_ranges, "PAIRS_AT_ONCE", random.choice([16, 1 << 21]))
        patch.setattr(windows_ranges, "RANGES_AT_ONCE", random.choice([5, 1 << 14]))
        patch.setattr(windows_newest, "STEPS", random.choice([0, 3, 4096]))
        patch.setattr(distinct_bits, "MOST", random.choice([0, 2048]))
        patch.setattr(windows_kernel, "TOGETHER", random.choice([2, 1 << 14]))
        patch.setattr(windows_kernel, "LABORIOUS", random.choice([0, 4]))
        found = windowed(story.layout.uses, story.layout.slots, story.records, seen, asked)
    answers: dict[int, Answers] = {}
    for number, as_of in enumerate(story.asked):
        mine = slice(number * ENTITIES, (number + 1) * ENTITIES)
        answers[as_of] = {
            use.feature.name: list(zip(one.values.to_pylist()[mine], one.overflow[mine].tolist(), strict=True))
            for use, one in zip(story.layout.uses, found, strict=True)
        }
    return answers


# ------------------------------------------------------------------------------------------------------------- online


class Items:
    """The items of a chronicle's entities, brought from one instant to the next: three of each entity.

    *batch*: all in the batch section, computed anew. *stream*: all in the stream section, from nothing. *both*: the
    records behind the cut in the batch section, the others in the stream section, which only grows.
    """

    def __init__(self, story: Chronicle) -> None:
        self.story = story
        self.random = story.random
        self.reducer = RingReducer.of(story.view)
        self.both = [Written(self.reducer, RULES) for _ in range(ENTITIES)]
        self.done = [0] * ENTITIES
        self.pushes = 0

    def at(self, as_of: int) -> dict[str, bytes | None]:
        """The items that hold what is visible then. They were last rolled up some time before, or a little later."""
        finest = self.story.layout.levels[0].hop
        spare = SKEW if finest == ALL_TIME else max(finest, SKEW)
        rows = self.story.visible(as_of)
        behind = rows[self.story.records.sequence[rows] < self.story.cut]
        now = [as_of + self.random.choice([0, 0, spare, -SECOND, -90 * SECOND]) for _ in range(ENTITIES)]
        found: dict[str, bytes | None] = {}
        self.pushes += 1
        both = zip(now, self.rings(rows, now), self.rings(behind, now), strict=True)
        for entity, (rolled_at, whole, ring) in enumerate(both):
            mine = self.story.of_entity(rows, entity)
            batch, stream = Written(self.reducer, RULES), Written(self.reducer, RULES)
            batch.put(whole, 1, rolled_at, {})
            self.stream(stream, mine, rolled_at)
            state = stream.item.streams.state if stream.item.streams is not None else b""
            assert state == (whole.values if whole is not None else b""), "both sections are the same bytes"
            self.bring(entity, mine, ring, rolled_at)
            for name, one in (("batch", batch), ("stream", stream), ("both", self.both[entity])):
                found[f"{name}{entity}"] = one.value
        return found

    def rings(self, rows: Ints, now: Sequence[int]) -> list[Row | None]:
        """The batch section of each entity, of some records."""
        records, item = self.story.some(rows)
        rings = packed(ring_of_records(self.story.layout, records, item, ENTITIES, ints(now)))
        return [Row(at, 0, "2026-01-01", values) if values else None for at, values in zip(now, rings, strict=True)]

    def stream(self, written: Written, rows: Ints, now: int) -> None:
        log = self.log(rows)
        for start, end in micro_batches(self.random, len(log)):
            written.apply(log[start:end], now if end == len(log) else now - self.random.randint(0, 500) * SECOND)

    def bring(self, entity: int, rows: Ints, ring: Row | None, now: int) -> None:
        """The item of both sections. `ring`: of the records behind the cut."""
        cut, written = self.story.cut, self.both[entity]
        log = self.log(rows[self.story.records.sequence[rows] >= cut])

        def push() -> None:
            written.put(ring, self.pushes, now, {PLACE: cut - GAP} if cut else {})

        is_first = self.random.random() < 0.5
        if is_first:
            push()
        for start, end in micro_batches(self.random, len(log), self.done[entity]):
            written.apply(log[start:end], now)
        self.done[entity] = len(log)
        if not is_first:
            push()
        # Somebody replays from before the cut.
        whole = self.log(rows)
        if whole:
            written.apply(whole[self.random.randrange(len(whole)) :], now)

    def log(self, rows: Ints) -> list[Record]:
        records, _ = self.story.some(rows)
        each = payloads(self.reducer.layout, records.columns, len(records))
        parts = zip(records.sequence.tolist(), records.event_at.tolist(), each, strict=True)
        return [Record(offset, b"k", at, payload) for offset, at, payload in parts]


def ints(numbers: Sequence[int]) -> Ints:
    return np.array(numbers, np.int64)


# -------------------------------------------------------------------------------------------------------------- proofs


@pytest.mark.parametrize("function", EVERY, ids=label)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_every_way_leads_to_the_same_value(function: Function, data: st.DataObject) -> None:
    story = data.draw(chronicles(function, VIEWS))
    training, items = trained(story, story.random), Items(story)
    for as_of in story.asked:
        served = online(story.view).answers(items.at(as_of), as_of)
        for use in story.layout.uses:
            name = use.feature.name
            values = served[name]
            for entity in range(ENTITIES):
                ways = [*values[3 * entity : 3 * entity + 3], training[as_of][name][entity]]
                where = (use.aggregate.function, use.window, entity, as_of)
                # As text, so that NaN is NaN, and 0.0 is not -0.0.
                assert len(set(map(repr, ways))) == 1, (where, ways)
                value, overflow = ways[0]
                answer = OVERFLOW if overflow else value
                right = expected(story, use, entity, as_of)
                assert agrees(answer, right), (where, answer, right)


@pytest.mark.parametrize("function", EVERY, ids=label)
@settings(max_examples=EXAMPLES // 4)
@given(data=st.data())
def test_splits_duplicates_and_replays_change_no_byte(function: Function, data: st.DataObject) -> None:
    story = data.draw(chronicles(function, VIEWS))
    random, now, items = story.random, story.asked[-1], Items(story)
    for entity in range(ENTITIES):
        rows = story.of_entity(story.visible(now), entity)
        log, once, often = items.log(rows), Written(items.reducer, RULES), Written(items.reducer, RULES)
        if not log:
            continue
        once.apply(log, now)
        for start, end in micro_batches(random, len(log)):
            often.apply(log[start:end], now if end == len(log) else now - random.randint(0, 500) * SECOND)
            if random.random() < 0.3:
                often.apply(log[start:end], now + 3600 * SECOND)
        one, other = once.item.streams, often.item.streams
        assert one is not None
        assert other is not None
        assert (one.fences, one.state) == (other.fences, other.state)
        found = empty_rings(story.layout, 1)
        shuffled = np.array(random.sample(rows.tolist(), len(rows)), np.int64)
        for part in np.split(shuffled, sorted(random.choices(range(len(rows) + 1), k=random.randint(0, 4)))):
            records, item = story.some(part)
            found = appended(found, records, item * 0, now - random.randint(0, 2) * 300 * SECOND)
            found = unpacked(story.layout, packed(found)) if random.random() < 0.3 else found
        (state,) = packed(appended(found, *story.some(rows[:0]), now))
        assert state == one.state


def test_every_function_is_asked_over_every_kind_of_window() -> None:
    needed = {(function, kind) for function in EVERY for kind in KINDS if kind != "lifetime" or function[0] != "rate"}
    seen, hops = set(), set()
    for function in EVERY:
        for number in range(VIEWS):
            for window in view_with(function, number).aggregates[0].windows:
                series, closed = window.count > 1, window.closed and not window.offset
                names = {
                    "lifetime": window.size is None,
                    "series": series,
                    "offset": bool(window.offset),
                    "tumbling": closed,
                }
                seen.add((function, next((name for name, holds in names.items() if holds), "sliding")))
                hops.add(window.hop)
    assert needed <= seen
    assert len(hops) == 7
    assert len(EVERY) * EXAMPLES >= 2000
