"""The online reader against its oracle: any rows, keys, roles, repetitions, ages."""

from datetime import timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.definition.view import Feature
from feature_assets_tests.histories import DAY, START, view_of
from feature_assets_tests.oracle.online_answer import Row, answered
from feature_assets_tests.published import Published, at

AIRPORTS = st.sampled_from(["", "A", "B", "C"])
NUMBERS = st.integers(-2, 2)
VALUES = st.none() | st.sampled_from([-0.5, 0.0, 3.0])
FRESHNESS = timedelta(hours=30)


@st.composite
def states(draw: st.DrawFn) -> list[Row]:
    """Rows of one partition: an instant and a sequence are once per key."""
    places = draw(st.sets(st.tuples(AIRPORTS, NUMBERS, st.integers(0, 23), st.integers(0, 2)), min_size=1, max_size=25))
    return [Row((airport, number), at(hour), order, draw(VALUES)) for airport, number, hour, order in sorted(places)]


@settings(max_examples=60)
@given(
    rows=states(),
    asked=st.lists(st.tuples(st.none() | AIRPORTS, AIRPORTS, st.none() | NUMBERS), max_size=12),
    later=st.integers(0, 30),
    ttl=st.none() | st.integers(1, 40).map(lambda hours: timedelta(hours=hours)),
    default=VALUES,
)
def test_the_reader_answers_as_the_oracle(
    rows: list[Row],
    asked: list[tuple[str | None, str, int | None]],
    later: int,
    ttl: timedelta | None,
    default: float | None,
) -> None:
    keys = {"airport": pa.string(), "number": pa.int8()}
    features = [Feature("value", pa.float64(), default=default)]
    view = view_of("some", keys, features, ttl=ttl, freshness=FRESHNESS, order_by="turn", buckets=2)
    world = Published()
    world.publish(
        view,
        [
            {"airport": row.key[0], "number": row.key[1], "event_at": row.event_at, "sequence": row.sequence,
             "value": row.value}
            for row in rows
        ],
    )  # fmt: skip
    world.later(hours=later)
    reader = world.reader(view.alias("here", airport="a", number="n"), view.alias("there", airport="b", number="n"))

    answer = reader.get("it", [{"a": a, "b": b, "n": n} for a, b, n in asked])

    as_of = world.clock.now()
    stale = as_of - (START + DAY) > FRESHNESS
    for role, place in (("here", 0), ("there", 1)):
        expected = [answered(rows, (one[place], one[2]), as_of, ttl=ttl, stale=stale, default=default) for one in asked]
        found = zip(answer.table[f"{role}__value"].to_pylist(), answer.status[f"{role}__value"], strict=True)
        assert [(value, status.name) for value, status in found] == expected
