"""The rules that the parts of a feature view must keep together.

Invariant: a view that passes has output columns that do not collide with one another or with the system's own.
Whether its transform yields them is seen when it runs: `feature_assets.compute.transform`.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pyarrow as pa

from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.aggregate_rules import require_column
from feature_assets.definition.dtypes import KEY_DTYPES
from feature_assets.definition.duration import require_duration
from feature_assets.definition.entity import Entity
from feature_assets.definition.naming import RESERVED, SEQUENCE, require_free, require_name, require_unique
from feature_assets.definition.place import refusal
from feature_assets.definition.schedule import cron_problem
from feature_assets.definition.source import BatchSource
from feature_assets.errors import did_you_mean

MAX_BUCKETS: Final = 4096
_KIND: Final = "FeatureView"


def require_origin(name: str, entity: object, sources: Sequence[object]) -> None:
    """Refuse what is no entity, and what are no sources."""
    if not isinstance(entity, Entity):
        raise refusal(_KIND, name, f"entity: {entity!r} is no Entity", "give the Entity itself, not its name")
    if not sources:
        raise refusal(_KIND, name, "sources: there is none", "name the BatchSource that the view reads")
    for source in sources:
        if not isinstance(source, BatchSource):
            raise refusal(_KIND, name, f"sources: {source!r} is no BatchSource", "give the source itself, not its name")
    require_unique(_KIND, name, "sources", [source.name for source in sources if isinstance(source, BatchSource)])


def require_parameters(name: str, transform: Callable[..., object], sources: Sequence[str]) -> None:
    """Refuse a function that cannot take one frame per source."""
    try:
        inspect.signature(transform).bind(*sources)
    except TypeError as error:
        called = getattr(transform, "__name__", repr(transform))
        what = f"transform: {called} does not take one frame per source ({error})"
        raise refusal(_KIND, name, what, f"it is called as {called}({', '.join(sources)})") from error


def require_no_rows(name: str, features: Sequence[object], ttl: object) -> None:
    """Refuse what a view of aggregates does not have."""
    if features:
        what = "features: a view of aggregates has no features but these"
        raise refusal(
            _KIND, name, what, "declare what the transform yields as columns=..., or leave the aggregates out"
        )
    if ttl is not None:
        what = f"ttl: {ttl} is given for a view of aggregates"
        raise refusal(_KIND, name, what, "leave it out: a record leaves a window by itself, with no age of its own")


def require_no_columns(name: str, columns: object) -> None:
    """Refuse what a view of rows does not have."""
    if columns is not None:
        what = "columns: the view has no aggregates"
        raise refusal(
            _KIND, name, what, "declare aggregates=[Aggregate(...)], or the columns as features=[Feature(...)]"
        )


def require_aggregates(name: str, aggregates: Sequence[object], columns: Sequence[tuple[str, pa.DataType]]) -> None:
    """Refuse aggregates of unknown columns or wrong types, features called the same, and hops that do not nest."""
    dtypes = dict(columns)
    seen: dict[str, Aggregate] = {}
    for one in aggregates:
        if not isinstance(one, Aggregate):
            raise refusal(_KIND, name, f"aggregates: {one!r} is no Aggregate", "give Aggregate('mean', 'amount', ...)")
        for column in one.columns:
            if column not in dtypes:
                what = f"aggregate {one.name!r}: unknown column {column!r}"
                raise refusal(_KIND, name, what, did_you_mean(column, dtypes))
        for measured in filter(None, (one.column, one.over)):
            require_column(one.function, f"{name}: {one.name}", measured, dtypes[measured])
        if one.by is not None and dtypes[one.by] not in KEY_DTYPES:
            what = f"aggregate {one.name!r}: by: {one.by!r} is {dtypes[one.by]}"
            raise refusal(_KIND, name, what, "what it is kept apart by has a type that a key may have, e.g. a string")
        for window in one.windows:
            feature = one.feature_name(window)
            if feature in seen:
                what = f"aggregates: two features are called {feature!r}"
                raise refusal(_KIND, name, what, "give one of them a name of its own: Aggregate(..., name='...')")
            seen[feature] = one
    require_nested(name, {window.hop for one in seen.values() for window in one.windows if window.size is not None})


def require_nested(name: str, hops: Collection[timedelta]) -> None:
    """Refuse hops of which one does not divide the next: a tile could not be rolled up into a coarser one."""
    ordered = sorted(hops)
    for fine, coarse in pairwise(ordered):
        if coarse % fine:
            what = f"aggregates: the hops {fine} and {coarse} do not nest"
            raise refusal(_KIND, name, what, "choose hops of which each divides the next, e.g. those of the ladder")


def require_columns(
    name: str, entity: Entity, features: Sequence[tuple[str, pa.DataType]], order_by: str | None, *, some: bool = True
) -> None:
    """Refuse features that collide, and an order that is none; none at all, unless it need not be `some`."""
    dtypes: Mapping[str, pa.DataType] = dict(features)
    if some and not dtypes:
        raise refusal(_KIND, name, "features: there is none", "declare at least one Feature")
    require_unique(_KIND, name, "features", [feature for feature, _ in features])
    require_free(_KIND, name, "features", dtypes, RESERVED)
    for feature in dtypes:
        if feature in entity.key_names:
            what = f"features: {feature!r} is also a key of entity {entity.name!r}"
            raise refusal(_KIND, name, what, f"rename the feature, e.g. {feature + '_value'!r}, or leave it out")
    if order_by is None:
        return
    require_name(_KIND, order_by, f"{name}: order_by")
    require_free(_KIND, name, "order_by", [order_by], (RESERVED - {SEQUENCE}) | set(entity.key_names))
    if order_by in dtypes and not pa.types.is_integer(dtypes[order_by]):
        what = f"order_by: feature {order_by!r} has the dtype {dtypes[order_by]}"
        raise refusal(_KIND, name, what, "the order of rows is an integer column")


def require_times(name: str, *, positive: Mapping[str, timedelta | None], durations: Mapping[str, timedelta]) -> None:
    """Refuse durations that are none; `positive` may be left out (None) but not be zero."""
    for field, value in positive.items():
        if value is not None:
            require_duration(_KIND, name, field, value, positive=True)
    for field, value in durations.items():
        require_duration(_KIND, name, field, value)


def require_schedule(name: str, schedule: str) -> None:
    """Refuse a cron expression that has no next time."""
    problem = cron_problem(schedule)
    if problem is not None:
        raise refusal(_KIND, name, f"schedule: {schedule!r} {problem}", "e.g. '30 6 * * *': every day at 06:30")


def require_counts(name: str, *, revisit: object, buckets: object) -> None:
    """Refuse numbers that are none, or out of bounds."""
    for field, value, least, most in (("revisit", revisit, 0, 366), ("buckets", buckets, 1, MAX_BUCKETS)):
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            what = f"{field}: {value!r} is no whole number from {least} to {most}"
            raise refusal(_KIND, name, what, f"the default, {field}={least if field == 'revisit' else 16}, suits most")


def require_known(name: str, expectations: Sequence[tuple[str, str | None]], known: Sequence[str]) -> None:
    """Refuse an expectation about a column that the view does not have. Pairs of (type, column)."""
    for kind, column in expectations:
        if column is not None and column not in known:
            what = f"expectations: {kind} is about the unknown column {column!r}"
            raise refusal(_KIND, name, what, did_you_mean(column, known))
