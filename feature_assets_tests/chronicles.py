"""What happens to some entities of a view of aggregates, and what is asked of it at which instants.

A source has a log. Its first records, up to the *cut*, are also in days that are computed again, so that one may have
several versions, of which each ends where the next begins; the others are never changed. Records arrive late and ahead,
also much later than windows are long, and lie on the ends of tiles and windows and beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from feature_assets.clock import OPEN, duration_us
from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.slot import Ints, Records
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import FUNCTIONS
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.definition.window import Window
from feature_assets_tests.oracle.windows import Record
from feature_assets_tests.ring_records import COLUMNS, ENTITY, EVERY, HOPS, SECOND, SOURCE, START, columns_of

ENTITIES = 2
KINDS = ("sliding", "offset", "tumbling", "series", "lifetime")
GAP = 3
"""Between the offsets of two records: a log holds those of others, too."""
MANNERS = ("prompt", "steady", "jitter", "late", "ahead", "wild")
Function = tuple[str, str | None, str | None]
"""Function, column, and the column that it is kept apart by."""

# ----------------------------------------------------------------------------------------------------- what is defined


def given_to(function: Function, random: Random) -> dict[str, Any]:
    """Parameters, with bounds so small that they are passed."""
    name, column, by = function
    some: dict[str, dict[str, Any]] = {
        "last_k": {"k": random.randint(1, 3)},
        "last_distinct_k": {"k": random.randint(1, 3)},
        "top_k": {"k": random.randint(1, 3), "bound": random.choice([2, 4, 256])},
        "count_distinct": {"bound": random.choice([2, 3, 256])},
        "approx_count_distinct": {"precision": random.choice([4, 6])},
        "approx_percentile": {"percentile": random.choice([0.0, 0.5, 0.9]), "accuracy": 0.01, "bound": 4},
        "histogram": {"edges": (0.0, 2.0)},
        "ratio": {"over": "amount"},
        "decayed_sum": {"half_life": timedelta(seconds=5)},
        "decayed_count": {"half_life": timedelta(seconds=5)},
    }
    given = some.get(name, {})
    if column == "price" and "scale" in FUNCTIONS[name].parameters and random.random() < 0.5:
        given = {**given, "scale": 2}
    return {**given, "bound": random.choice([2, 5])} if by is not None else given


def window_of(kind: str, hop: timedelta, random: Random) -> Window:
    """One of that kind."""
    size = hop * random.choice([1, 2, 3, 12, 30])
    match kind:
        case "offset":
            return Window.sliding(size, hop=hop, offset=hop * random.choice([1, 2, 7]))
        case "tumbling":
            return Window.tumbling(hop)
        case "series":
            return Window.series(size, random.choice([2, 3]), hop=hop)
        case "lifetime":
            return Window.lifetime()
    return Window.sliding(size, hop=hop)


@lru_cache(maxsize=64)
def view_with(function: Function, seed: int) -> FeatureView:
    """A view of that function over windows of each kind, or one of each, and of some other function over some."""
    random = Random(f"{function} {seed}")
    hops = [random.choice(HOPS)]
    hops += [hop for hop in HOPS if hop > hops[0] and hop % hops[0] == 0 and random.random() < 0.4]
    nested = [timedelta(seconds=hop) for place, hop in enumerate(hops) if all(hop % one == 0 for one in hops[:place])]

    def windows(of: Function, kinds: Sequence[str]) -> list[Window]:
        some = [kind for kind in kinds if kind != "lifetime" or not FUNCTIONS[of[0]].needs_size]
        found = [window_of(kind, random.choice(nested), random) for kind in some]
        # A window of one hop and a tumbling one are told apart; two of the same length are not.
        return list({window.label: window for window in found}.values())

    # Some views have no window without end, and others nothing but windows that are suffixes: their rings are smaller.
    kinds = random.choice([KINDS, KINDS[:-1], KINDS, ("sliding", "sliding"), ("sliding", "lifetime")])
    other = random.choice(EVERY)
    each = [(function, windows(function, kinds)), (other, windows(other, kinds[:1]))]
    aggregates = [
        Aggregate(of[0], of[1], several, name=f"a{number}", by=of[2], **given_to(of, random))
        for number, (of, several) in enumerate(each)
    ]
    columns = list(COLUMNS.items())
    return FeatureView("ring", ENTITY, SOURCE, Sql("SELECT * FROM sales"), columns=columns, aggregates=aggregates)


# ------------------------------------------------------------------------------------------------------ what happens


@dataclass(slots=True, repr=False)
class Chronicle:
    """Records and questions. `item`: whose each record is; `asked`: instants, ascending.

    Of each version of a record there is one row: `known` says when it could be seen. Rows of one `sequence`, its
    offset, are the versions of one record. Those before `cut` are the batch side's.
    """

    random: Random
    view: FeatureView
    layout: Layout
    asked: list[int]
    records: Records
    known: list[Record]
    cut: int
    item: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.item = np.array([int(str(one.key)) for one in self.known], np.int64)

    def __repr__(self) -> str:
        uses = [f"{use.aggregate.function} {use.window.label}/{use.window.hop}" for use in self.layout.uses]
        return f"{len(self.known)} versions, cut at {self.cut}, asked {self.asked} of {uses}"

    def visible(self, as_of: int) -> Ints:
        """The rows that can be seen, by sequence."""
        until = np.array([OPEN if one.superseded_at is None else one.superseded_at for one in self.known], np.int64)
        since = np.array([OPEN if one.available_at is None else one.available_at for one in self.known], np.int64)
        rows = np.flatnonzero((since <= as_of) & (as_of < until))
        ascending: Ints = rows[np.argsort(self.records.sequence[rows], kind="stable")]
        return ascending

    def of_entity(self, rows: Ints, entity: int) -> Ints:
        """Those of the rows that are an entity's."""
        mine: Ints = rows[self.item[rows] == entity]
        return mine

    def some(self, rows: Ints) -> tuple[Records, Ints]:
        """Records, and whose they are."""
        return self.records.take(rows), self.item[rows]


@st.composite
def chronicles(draw: st.DrawFn, function: Function, views: int) -> Chronicle:
    """Of one of `views` views that have the function."""
    view = view_with(function, draw(st.integers(0, views - 1)))
    count = draw(st.sampled_from([16, 30, 8, 3, 1, 0]))
    manner, instants = draw(st.sampled_from(MANNERS)), draw(st.sampled_from([2, 1]))
    random = draw(st.randoms(use_true_random=True))
    layout = layout_of(view)
    reach = max([level.reach for level in layout.levels if level.reach is not None], default=60 * SECOND)
    hops = [level.hop for level in layout.levels if level.hop <= 3600 * SECOND] or [SECOND]
    asked = [START + random.randint(0, 1200) * SECOND + random.choice([0, 1, -1])]
    while len(asked) < instants:
        later = random.choice([0, 1, SECOND, random.choice(hops), reach // 3, 2 * reach])
        asked.append(_beside(random, asked[-1] + later, hops, not_before=asked[-1]))

    def moment() -> int:
        back = random.choice([reach, reach // 4, 3 * random.choice(hops), 2 * reach + 10 * random.choice(hops)])
        return _beside(random, random.choice(asked) - int(back * random.random()), hops)

    moments = [moment() for _ in range(count)]
    drawn = [(_available(random, at, manner, reach, asked), at, random.choice([0, 0, 1])) for at in moments]
    # A log has its records in the order in which they arrive.
    drawn.sort(key=lambda one: one[0])
    cut = random.choice([0, count, random.randint(0, count)])
    known, places, sequences = [], [], []
    for place, (available_at, event_at, entity) in enumerate(drawn):
        is_batch = place < cut
        for version in _versions(random, available_at, reach, asked) if is_batch else [(available_at, None)]:
            # A version that says what the one before it says has its values, too.
            places.append(place if random.random() < 0.5 else count + random.randrange(count))
            known.append(Record(entity, event_at, *version))
            sequences.append(GAP * place)
    values = columns_of(random, 2 * count)
    columns = {name: values[name].take(pa.array(places, pa.int64())) for name in COLUMNS}
    table = Records(columns, np.array([one.event_at for one in known], np.int64), np.array(sequences, np.int64))
    return Chronicle(random, view, layout, asked, table, known, GAP * cut)


def _beside(random: Random, at: int, hops: Sequence[int], not_before: int = -OPEN) -> int:
    """That instant, or mostly one on the edge of a tile near it, or one microsecond from there."""
    if random.random() < 0.6:
        hop = random.choice(hops)
        at = at // hop * hop + random.choice([0, 0, -1, 1])
    return max(at, not_before)


def _available(random: Random, event_at: int, manner: str, reach: int, asked: Sequence[int]) -> int:
    """When a record is available: now and then at an instant that is asked for, or just after it."""
    exactly = random.choice(asked) + random.choice([0, 0, 1])
    return exactly if manner != "prompt" and random.random() < 0.1 else event_at + _delay(random, manner, reach)


def _delay(random: Random, manner: str, reach: int) -> int:
    """How long after it happened a record is available; negative if it was dated ahead."""
    match manner:
        case "steady":
            return 3 * SECOND
        case "jitter":
            return random.randint(0, 3 * SECOND)
        case "late":
            return random.choice([0, 0, 0, reach // 2, 2 * reach]) + random.randint(0, 1)
        case "ahead":
            return random.choice([0, 0, -SECOND, -30 * SECOND])
        case "wild":
            return random.choice([-9 * SECOND, 0, 1, SECOND, 30 * SECOND, reach, 3 * reach])
    return 0


def _versions(
    random: Random, available_at: int, reach: int, asked: Sequence[int]
) -> list[tuple[int | None, int | None]]:
    """From when until when each version of a record could be seen; perhaps it was never there, or is gone at last."""
    if random.random() < 0.05:
        return [(None, None)]
    found: list[tuple[int | None, int | None]] = []
    since = available_at
    while random.random() < 0.35:
        lasting = random.choice([0, 1, SECOND, reach // 5, reach])
        # Of one that ends at the very instant asked for nothing is seen any more.
        until = max(since, random.choice([since + lasting, random.choice(asked)]))
        found.append((since, until))
        # Between two versions it may be missing for a while.
        since = until + (SECOND if random.random() < 0.1 else 0)
    if random.random() < 0.9 or not found:
        found.append((since, None))
    return found


def size_of(window: Window) -> int | None:
    """Microseconds; None for all time."""
    return None if window.size is None else duration_us(window.size)
