"""The values of all entities over a range of time, without a spine: what was served, from when until when.

Invariant: at every instant of the range an entity has the values of the row whose interval holds the instant, and they
are those that a training set has at that instant; an entity without such a row had no value (of a view of aggregates:
nothing in any window). Neighbouring intervals of an entity differ.

The instants at which an answer can change follow from the rows: they are asked of the ordinary kernels, and what came
out equal is joined. It does not write, and it does not stream: what is too long is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa

from feature_assets.clock import OPEN, duration_us, to_us
from feature_assets.compute.aggregates.layout import Use, layout_of
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureRef, FeatureView
from feature_assets.errors import InputError
from feature_assets.training.answer import AVAILABILITY, provenance_names
from feature_assets.training.differences import same_values
from feature_assets.training.history import History, ViewState, pinned, state
from feature_assets.training.loader import Question, looked_up_view, parts_of
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets.training.modes import AnyMode, joined_mode
from feature_assets.training.point_in_time import NOTHING, Looked, Seen, micros, seen_rows, versions_looked_at
from feature_assets.training.spine import Spine, as_instants, parse_entities

VALID_FROM: Final = "valid_from"
VALID_TO: Final = "valid_to"
MAX_ROWS: Final = 2_000_000
"""Instants at which something may change, of all entities together, that one call looks at."""
_AT, _EVENT, _FROM, _TO = "\0at", "\0event", "\0from", "\0to"
"""Names that no column can have: names are identifiers."""
_FADING: Final = ("decayed_sum", "decayed_count")
_AGEING: Final = ("time_since_last",)


@dataclass(frozen=True, slots=True)
class Range:
    """The range asked for, microseconds: `start <= as_of < end`."""

    start: int
    end: int


def value_history(
    of: FeatureView | FeatureRef,
    start: datetime,
    end: datetime,
    history: History,
    *,
    entities: object = None,
    mode: str | AnyMode = "as_served",
    memory_limit: int = DEFAULT_LIMIT,
    max_rows: int = MAX_ROWS,
) -> pa.Table:
    """Keys, features, `valid_from`, `valid_to`, `availability`: a row per entity and interval, ordered by these.

    `of`: a view, or some of its features. `entities`: a table or frame of the entity's keys; None: all there are.
    `valid_from` is `start` for what was there already, and `valid_to` is null for what was still there at `end`.
    Raises `InputError` if there would be more than `max_rows` instants to look at, or for a feature that never stands
    still.
    """
    ref = of.everything if isinstance(of, FeatureView) else of
    view, asked = ref.view, Range(to_us(start), to_us(end))
    ref = FeatureRef(view, ref.features, None, tuple((key, key) for key in view.entity.key_names))
    if asked.start >= asked.end:
        what = f"history of {view.name!r}: it would end at {end.isoformat()}, and start at {start.isoformat()}"
        raise InputError(what, hint="give a start that is before the end")
    joined = joined_mode(mode, f"history of {view.name!r}")
    _require_standing(ref)
    position = history.ledger.head()
    there = state(
        view, pinned(view, view_version(view), history, position=position, ttl=view.ttl), history, position=position
    )
    question = Question(FeatureService(view.name, [view]), VALID_FROM, joined, memory_limit=memory_limit)
    only = None if entities is None else parse_entities(entities, ref)
    instants = _instants(there, ref, question, asked, only, max_rows)
    spine = Spine(instants, _AT, micros(instants.column(_AT)))
    (looked,) = looked_up_view(question, there, [ref], spine, memory_limit)
    return _joined(ref, spine, looked)


def _require_standing(ref: FeatureRef) -> None:
    """Refuse what is another value every microsecond, and names that the answer needs."""
    taken = {VALID_FROM, VALID_TO, AVAILABILITY}
    for name in (*(one.name for one in ref.selected), *ref.view.entity.key_names):
        if name in taken:
            what = f"history of {ref.view.name!r}: {name!r} is a column of the answer and of the view"
            raise InputError(what, hint="leave it out: store.history(view['other_feature'], ...)")
    for use in _uses(ref):
        if use.aggregate.function in _AGEING:
            what = f"history of {ref.view.name!r}: {use.feature.name!r} is another value at every instant"
            raise InputError(what, hint="ask for the other features: store.history(view['other_feature'], ...)")


def _uses(ref: FeatureRef) -> list[Use]:
    if not ref.view.aggregates:
        return []
    names = {feature.name for feature in ref.selected}
    return [use for use in layout_of(ref.view).uses if use.feature.name in names]


# ------------------------------------------------------------------------------------------------------- the instants


def _instants(
    there: ViewState, ref: FeatureRef, question: Question, asked: Range, only: pa.Table | None, max_rows: int
) -> pa.Table:
    """Keys and instants, by these, each once: when an answer can change. The first of each entity is no change."""
    versions = versions_looked_at(there, question.mode)
    keys = [pa.field(one.name, one.dtype) for one in ref.view.entity.keys]
    found = pa.schema([*keys, (_AT, pa.int64())]).empty_table()
    for part in parts_of(there, [ref], question.mode, budget=question.memory_limit):
        for piece in _of_part(there, ref, seen_rows(there, versions, part, (), question.mode), asked, only):
            both = pa.concat_tables([found, piece.select(found.column_names).cast(found.schema)])
            found = both.group_by(found.column_names).aggregate([]).cast(found.schema)
            if found.num_rows > max_rows:
                what = f"more than {max_rows:,} instants at which something may change"
                raise InputError(
                    f"history of {ref.view.name!r}: there are {what}",
                    hint="ask for a shorter range, fewer entities, fewer windows, or longer hops; or raise max_rows",
                )
    ordered = found.sort_by([(name, "ascending") for name in found.column_names])
    return ordered.set_column(len(keys), _AT, ordered.column(_AT).cast(INSTANT))


def _of_part(there: ViewState, ref: FeatureRef, seen: Seen, asked: Range, only: pa.Table | None) -> Iterator[pa.Table]:
    """The instants that the rows of a part give."""
    keys = list(ref.view.entity.key_names)
    ttl = None if there.pin.ttl is None else duration_us(there.pin.ttl)
    last = _last(ref, micros(seen.table.column("event_at")), ttl)
    some = (seen.available_at < asked.end) & (seen.superseded_at > asked.start) & (last > asked.start)
    some &= seen.available_at < seen.superseded_at
    times = {_EVENT: micros(seen.table.column("event_at")), _FROM: np.maximum(seen.available_at, asked.start)}
    times[_TO] = seen.superseded_at
    table = seen.table.select(keys)
    for name, values in times.items():
        table = table.append_column(name, pa.array(values))
    table = table.filter(pa.array(some))
    if only is not None:
        table = table.join(only, keys=keys, join_type="left semi")
    rows = table.select(keys)
    event_at, available_at, ended = (np.asarray(table.column(name)) for name in times)
    yield rows.append_column(_AT, pa.array(available_at))
    for change in (ended, *_changes(ref, event_at, ttl, asked)):
        inside = np.flatnonzero((change > available_at) & (change < asked.end))
        yield rows.take(pa.array(inside)).append_column(_AT, pa.array(change[inside]))


def _last(ref: FeatureRef, event_at: Ints, ttl: int | None) -> Ints:
    """From when on a row counts for nothing."""
    if ref.view.aggregates:
        reach = layout_of(ref.view).reach
        return np.full(len(event_at), OPEN) if reach is None else event_at + reach
    return np.full(len(event_at), OPEN) if ttl is None else event_at + ttl + 1


def _changes(ref: FeatureRef, event_at: Ints, ttl: int | None, asked: Range) -> Iterator[Ints]:
    """When a row that stays visible changes an answer: it expires, or enters or leaves a window."""
    if not ref.view.aggregates:
        if ttl is not None:
            yield event_at + ttl + 1
        return
    shifts = set()
    # What is reported of a row's origin looks at all windows of the view, whichever are asked for.
    for window in {use.window for use in layout_of(ref.view).uses}:
        if window.size is None:
            continue
        size, hop, offset = (duration_us(one) for one in (window.size, window.hop, window.offset))
        shifts |= {(hop, offset + number * size) for number in range(window.count + 1)}
    for hop, shift in sorted(shifts):
        yield (event_at // hop + 1) * hop + shift
    for use in _uses(ref):
        if use.aggregate.function in _FADING:
            yield from _fading(use, event_at, asked)


def _fading(use: Use, event_at: Ints, asked: Range) -> Iterator[Ints]:
    """Every hop, as long as a record can be in the window: its weight is another one each time."""
    hop = duration_us(use.window.hop)
    steps = (asked.end - asked.start) // hop + 1
    reach = use.window.reach
    first = np.maximum(event_at, asked.start) // hop * hop
    for step in range(1, (steps if reach is None else min(steps, reach // hop + 1)) + 1):
        yield first + step * hop


# ------------------------------------------------------------------------------------------------------------ the rows


def _joined(ref: FeatureRef, spine: Spine, looked: Looked) -> pa.Table:
    """The intervals: an instant to its entity's next. Equal neighbours are joined, those of no value left out."""
    keys = spine.table.select(list(ref.view.entity.key_names))
    rows = spine.table.num_rows
    same_entity = np.ones(max(rows - 1, 0), np.bool_)
    for column in keys.columns:
        same_entity &= _as_before(column)
    alike = (
        same_entity & (looked.provenance[1:] == looked.provenance[:-1]) & (looked.expired[1:] == looked.expired[:-1])
    )
    for column in looked.features.values():
        alike &= _as_before(column)
    valid = (looked.provenance != NOTHING) & ~looked.expired
    first = np.flatnonzero(np.append(True, ~alike)[:rows])
    # Where the next interval of the same entity begins, if there is one.
    following = np.append(first, rows)[1:]
    goes_on = np.append(same_entity, False)[following - 1] if rows else np.zeros(0, np.bool_)
    until = pa.array(spine.as_of[np.minimum(following, max(rows - 1, 0))], mask=~goes_on).cast(INSTANT)
    kept = valid[first]
    first, until = first[kept], until.filter(pa.array(kept))
    columns = {name: keys.column(name).take(pa.array(first)) for name in keys.column_names}
    columns |= {name: column.take(pa.array(first)) for name, column in looked.features.items()}
    columns |= {VALID_FROM: as_instants(spine.as_of[first]), VALID_TO: until}
    return pa.table(columns | {AVAILABILITY: provenance_names(looked.provenance[first])})


def _as_before(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each row but the first, whether it holds what the one before it does."""
    return np.asarray(same_values(column.slice(1), column.slice(0, max(len(column) - 1, 0))))
