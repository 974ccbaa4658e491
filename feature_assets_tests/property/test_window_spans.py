"""The spans of windows against the rule said one record at a time."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import OPEN, to_us
from feature_assets.compute.tile_places import Spans
from feature_assets.definition.window import BEGINNING, LADDER, Window
from feature_assets_tests.oracle.window_spans import covers

FIRST, LAST = datetime(1969, 12, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
INSTANTS = st.integers(0, (LAST - FIRST) // timedelta(seconds=1)).map(
    lambda at: FIRST + timedelta(seconds=at, microseconds=at % 3)
)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    hop = draw(st.sampled_from([*LADDER, timedelta(minutes=7)]))
    size = hop * draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["sliding", "offset", "tumbling", "series", "lifetime"]))
    match kind:
        case "sliding":
            return Window.sliding(size, hop=hop)
        case "offset":
            return Window.sliding(size, hop=hop, offset=hop * draw(st.integers(1, 40)))
        case "tumbling":
            return Window.tumbling(size)
        case "series":
            return Window.series(size, draw(st.integers(2, 5)), hop=hop)
    return Window.lifetime()


@given(window=windows(), as_of=INSTANTS, data=st.data())
def test_a_span_holds_what_the_rule_says(window: Window, as_of: datetime, data: st.DataObject) -> None:
    start, end = window.spans(np.array([to_us(as_of)]))
    assert start.shape == end.shape == (1, window.count)
    for number in range(window.count):
        bounds = [int(bound) for bound in (start[0, number], end[0, number]) if abs(int(bound)) < 2**60]
        # Where it matters: a microsecond around each bound, and anywhere.
        near = [bound + step for bound in bounds for step in (-1, 0, 1)]
        instants = [*near, to_us(data.draw(INSTANTS))]
        back = timedelta(0) if window.size is None else number * window.size
        for us in instants:
            expected = covers(
                datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us),
                as_of,
                size=window.size,
                hop=window.hop,
                offset=window.offset + back,
                closed=window.closed or number > 0,
            )
            assert (int(start[0, number]) <= us < int(end[0, number])) == expected


@given(window=windows(), as_of=INSTANTS)
def test_nothing_is_further_back_than_a_window_reaches(window: Window, as_of: datetime) -> None:
    start, _ = window.spans(np.array([to_us(as_of)]))
    if window.reach is None:
        assert window.size is None
        return
    assert int(start.min()) >= to_us(as_of) - window.reach


@given(as_of=INSTANTS, count=st.integers(2, 10))
def test_the_windows_of_a_series_lie_side_by_side(as_of: datetime, count: int) -> None:
    start, end = Window.series(timedelta(days=1), count).spans(np.array([to_us(as_of)]))
    assert start[0, :-1].tolist() == end[0, 1:].tolist()


@given(several=st.lists(windows(), max_size=4), instants=st.lists(INSTANTS, min_size=1, max_size=3))
def test_spans_side_by_side_are_those_of_each_window(several: list[Window], instants: list[datetime]) -> None:
    as_of = np.array([to_us(instant) for instant in instants])
    spans = Spans.of(several)
    start, end = spans.bounds(as_of)
    assert start.shape == end.shape == (len(as_of), sum(window.count for window in several))
    for window, columns in zip(several, spans.of_window, strict=True):
        expected = window.spans(as_of)
        assert (start[:, columns].tolist(), end[:, columns].tolist()) == (expected[0].tolist(), expected[1].tolist())
    assert (start[:, spans.begun] != BEGINNING).all()
    assert (end[:, spans.ended] != OPEN).all()
