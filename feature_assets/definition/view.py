"""Feature views: which features an entity has, from which sources, computed how and kept how.

A view of *rows* gives the newest row of an entity; its features are columns of the transform's output. A view of
*aggregates* keeps the transform's rows as records, and its features are aggregates of these over windows of time.

Invariant: what determines the values of a view is in its definition (see `version`), and everything else in it can be
changed without computing anything again.
A view is declared here and computed in `feature_assets.compute`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

import narwhals as nw
import pyarrow as pa

from feature_assets.definition import sql
from feature_assets.definition import view_rules as rules
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.dtypes import require_dtype
from feature_assets.definition.entity import Entity
from feature_assets.definition.naming import (
    ARRIVED_AT,
    EVENT_AT,
    SEPARATOR,
    SEQUENCE,
    is_legal,
    require_callable,
    require_name,
)
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.source import BatchSource
from feature_assets.definition.tags import frozen_tags
from feature_assets.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True, slots=True)
class Feature:
    """One value of an entity. `default` is what a reader answers, marked as such, where there is no value."""

    name: str
    dtype: pa.DataType
    default: object = field(default=None, hash=False)
    description: str = ""

    def __post_init__(self) -> None:
        require_name("Feature", self.name)
        require_dtype("Feature", self.name, "dtype", self.dtype)
        if self.default is not None:
            self._require_default(self.default)

    def _require_default(self, default: object) -> None:
        try:
            pa.scalar(default, self.dtype)
            fits = not pa.types.is_integer(self.dtype) or (isinstance(default, int) and not isinstance(default, bool))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            fits = False
        if not fits:
            what = f"default: {default!r} is no {self.dtype}"
            raise refusal("Feature", self.name, what, "give a value of the feature's dtype, or none")
        if isinstance(default, datetime) and default.tzinfo is None:
            raise refusal("Feature", self.name, f"default: {default!r} has no time zone", "add tzinfo=UTC")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must hold of a partition before it is published.

    `type` is the name that Great Expectations gives it, e.g. `expect_column_values_to_not_be_null`; `mostly` the share
    of rows that suffices. A failed `critical` one blocks; a failed `warning` is only shown.
    """

    type: str
    column: str | None = None
    severity: Literal["critical", "warning"] = "critical"
    mostly: float | None = None
    arguments: Mapping[str, object] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        assign(self, arguments=MappingProxyType(dict(self.arguments)))
        if not (is_legal(self.type) and self.type.startswith("expect_")):
            what = f"type: {self.type!r} is no expectation's name"
            raise refusal(
                "Expectation", self.type, what, "write it in snake case, e.g. 'expect_column_values_to_not_be_null'"
            )
        if self.severity not in {"critical", "warning"}:
            what = f"severity: {self.severity!r} is neither 'critical' nor 'warning'"
            raise refusal("Expectation", self.type, what, did_you_mean(str(self.severity), ("critical", "warning")))
        if self.mostly is not None and not 0 < self.mostly <= 1:
            what = f"mostly: {self.mostly!r} is not in (0, 1]"
            raise refusal("Expectation", self.type, what, "it is the share of rows that must pass, e.g. mostly=0.95")


@dataclass(frozen=True, slots=True)
class Sql:
    """One SELECT statement in DuckDB's dialect.

    The tables have the names of the view's sources. `$partition_start` and `$partition_end` are the bounds of the
    partition that is being computed (timestamps with time zone).
    """

    statement: str

    def __post_init__(self) -> None:
        shown = " ".join(self.statement.split())[:40]
        if sql.first_word(self.statement) not in {"select", "with", "from", "values"}:
            raise refusal(
                "Sql", shown, "it is no SELECT", "write one SELECT (or WITH ... SELECT) over the view's sources"
            )
        if not sql.is_single(self.statement):
            raise refusal("Sql", shown, "it holds more than one statement", "write one SELECT; use WITH for steps")
        for name in sql.clock_reads(self.statement):
            what = f"it calls {name}, which answers differently each time"
            raise refusal("Sql", shown, what, "a partition computed again must be the same: use $partition_end")
        known = (sql.PARTITION_START, sql.PARTITION_END)
        for name in sql.parameters(self.statement):
            if name not in known:
                raise refusal("Sql", shown, f"unknown parameter ${name}", did_you_mean(name, known))


Function = Callable[..., "nw.DataFrame[Any]"]
Transform = Function | Sql
"""A function of one narwhals frame per source, in the order of the sources, or one SQL statement.

Either yields the entity's keys, `event_at`, optionally `arrived_at`, the `order_by` column if there is one, and the
features (for aggregates, the view's columns). A function is row-local: a row of its result comes from one row of its
input.
"""

DEFAULT_SCHEDULE: Final = "0 1 * * *"
DEFAULT_BUCKETS: Final = 16


@dataclass(frozen=True, slots=True, init=False)
class FeatureView:
    """Features of one entity, computed from sources, a UTC day at a time.

    Either `features`, which are columns of the transform's output, or `columns` (name and type of each) that hold what
    its `aggregates` are of, which give a feature per window.
    `order_by`: an integer column of the transform's output that orders rows of one entity and instant.
    `ttl`: a value older than this is expired. `delay`: how long after the end of a day it is usually published; used
    only where history was never served. `revisit`: how many earlier days each scheduled run computes again, for late
    data. `lookback`: how far before the day's start the transform sees its sources. `freshness`: how old the newest
    partition may become before somebody is told. `buckets`: into how many hash buckets entities are divided.
    """

    name: str
    entity: Entity
    sources: tuple[BatchSource, ...]
    transform: Transform
    features: tuple[Feature, ...]
    order_by: str | None
    columns: tuple[tuple[str, pa.DataType], ...] | None
    aggregates: tuple[Aggregate, ...]
    ttl: timedelta | None
    delay: timedelta
    schedule: str
    revisit: int
    lookback: timedelta
    freshness: timedelta | None
    expectations: tuple[Expectation, ...]
    online: bool
    buckets: int
    description: str
    owner: str
    tags: Mapping[str, str] = field(hash=False)
    stored: tuple[Feature, ...] = field(init=False, compare=False, repr=False)
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(  # noqa: PLR0913 - a definition is one call
        self,
        name: str,
        entity: Entity,
        sources: BatchSource | Sequence[BatchSource],
        transform: Transform,
        features: Sequence[Feature] = (),
        order_by: str | None = None,
        *,
        columns: pa.Schema | Sequence[tuple[str, pa.DataType]] | None = None,
        aggregates: Sequence[Aggregate] = (),
        ttl: timedelta | None = None,
        delay: timedelta = timedelta(0),
        schedule: str = DEFAULT_SCHEDULE,
        revisit: int = 0,
        lookback: timedelta = timedelta(0),
        freshness: timedelta | None = None,
        expectations: Sequence[Expectation] = (),
        online: bool = True,
        buckets: int = DEFAULT_BUCKETS,
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        read = (sources,) if isinstance(sources, BatchSource) else tuple(sources)
        assign(self, name=name, entity=entity, sources=read, transform=transform, aggregates=tuple(aggregates))
        assign(self, order_by=order_by, ttl=ttl, delay=delay, schedule=schedule, revisit=revisit, lookback=lookback)
        assign(self, freshness=freshness, expectations=tuple(expectations), online=online, buckets=buckets)
        assign(self, description=description, owner=owner, tags=frozen_tags("FeatureView", name, tags))
        assign(self, place=current_place())
        self._assign_features(tuple(features), columns)
        self._require_consistent()

    def _assign_features(
        self, features: tuple[Feature, ...], columns: pa.Schema | Sequence[tuple[str, pa.DataType]] | None
    ) -> None:
        if not self.aggregates:
            rules.require_no_columns(self.name, columns)
            assign(self, features=features, columns=None, stored=features)
            return
        given = () if columns is None else tuple((one.name, one.type) for one in pa.schema(list(columns)))
        rules.require_aggregates(self.name, self.aggregates, given)
        windowed = tuple(_windowed(self.aggregates, dict(given)))
        # A copy that `dataclasses.replace` makes is given what follows from the rest.
        rules.require_no_rows(self.name, () if features == windowed else features, self.ttl)
        stored = tuple(Feature(column, dtype) for column, dtype in given)
        assign(self, features=windowed, columns=given, stored=stored)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def stored_names(self) -> tuple[str, ...]:
        """The columns that the transform yields beside keys and times, in order."""
        return tuple(column.name for column in self.stored)

    @property
    def kept_for(self) -> timedelta | None:
        """How long after its `event_at` a row can count in what is answered; None: for ever."""
        if not self.aggregates:
            return self.ttl
        reaches = [window.reach for one in self.aggregates for window in one.windows]
        known = [reach for reach in reaches if reach is not None]
        return timedelta(microseconds=max(known)) if len(known) == len(reaches) else None

    def feature(self, name: str) -> Feature:
        """The feature called `name`. Raises `UnknownNameError`."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise UnknownNameError("feature", name, self.feature_names, f"view {self.name!r}")

    def __getitem__(self, names: str | tuple[str, ...]) -> "FeatureRef":
        """Some of the features: `view["mean_delay", "flights"]`."""
        return self.everything[names]

    def alias(self, role: str, /, **keys: str) -> "FeatureRef":
        """The view in a role: its columns are called `<role>__<feature>`; `keys`: which column a key is read from.

        `airport_weather.alias("destination", airport="dest")`: the weather where column `dest` says. Keys that are not
        named keep their name.
        """
        return self.everything.alias(role, **keys)

    def _require_consistent(self) -> None:
        require_name("FeatureView", self.name)
        rules.require_origin(self.name, self.entity, self.sources)
        if not isinstance(self.transform, Sql):
            form = "of one narwhals frame per source, or Sql('SELECT ...')"
            require_callable("FeatureView", self.name, "transform", self.transform, form)
            rules.require_parameters(self.name, self.transform, [source.name for source in self.sources])
        stored = [(feature.name, feature.dtype) for feature in self.stored]
        rules.require_columns(self.name, self.entity, stored, self.order_by, some=not self.aggregates)
        if self.aggregates:
            rules.require_columns(self.name, self.entity, [(one.name, one.dtype) for one in self.features], None)
        positive = {"ttl": self.ttl, "freshness": self.freshness}
        rules.require_times(self.name, positive=positive, durations={"delay": self.delay, "lookback": self.lookback})
        rules.require_schedule(self.name, self.schedule)
        rules.require_counts(self.name, revisit=self.revisit, buckets=self.buckets)
        known = (*self.entity.key_names, EVENT_AT, ARRIVED_AT, SEQUENCE, *self.stored_names)
        rules.require_known(self.name, [(one.type, one.column) for one in self.expectations], known)

    @property
    def everything(self) -> "FeatureRef":
        """All features, under the view's own name, with the keys' own names."""
        return FeatureRef(self, None, None, tuple((key, key) for key in self.entity.key_names))


def _windowed(aggregates: Sequence[Aggregate], columns: Mapping[str, pa.DataType]) -> Iterator[Feature]:
    """A feature per aggregate and window, in the order in which they are declared."""
    for one in aggregates:
        for window in one.windows:
            name, dtype = one.feature_name(window), one.dtype(window, columns)
            yield Feature(name, dtype, default=one.default, description=one.description)


@dataclass(frozen=True, slots=True)
class FeatureRef:
    """Features of a view as a service uses them: which ones, in which role, with the keys read from which columns.

    `key_map` pairs every key of the entity, in order, with a column of the spine or request. `features` None: all.
    """

    view: FeatureView
    features: tuple[str, ...] | None
    role: str | None
    key_map: tuple[tuple[str, str], ...]

    @property
    def prefix(self) -> str:
        """What the output columns begin with: the role, or the view's name."""
        return self.role or self.view.name

    @property
    def selected(self) -> tuple[Feature, ...]:
        """The features, in the order in which they were asked for."""
        if self.features is None:
            return self.view.features
        return tuple(self.view.feature(name) for name in self.features)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the spine or request that the keys are read from, in the order of the entity's keys."""
        return tuple(column for _, column in self.key_map)

    def column(self, feature: str) -> str:
        """The output column of a feature."""
        return f"{self.prefix}{SEPARATOR}{feature}"

    def __getitem__(self, names: str | tuple[str, ...]) -> "FeatureRef":
        wanted = (names,) if isinstance(names, str) else tuple(names)
        for name in wanted:
            if name not in self.view.feature_names:
                what = f"unknown feature {name!r}"
                raise refusal("FeatureView", self.view.name, what, did_you_mean(str(name), self.view.feature_names))
        if len(set(wanted)) < len(wanted) or not wanted:
            raise refusal(
                "FeatureView", self.view.name, f"features {wanted!r}: name each once", "remove the repeated one"
            )
        return FeatureRef(self.view, wanted, self.role, self.key_map)

    def alias(self, role: str, /, **keys: str) -> "FeatureRef":
        """The same features in a role; see `FeatureView.alias`."""
        require_name("FeatureView", role, f"{self.view.name}: role")
        known = self.view.entity.key_names
        for key, column in keys.items():
            if key not in known:
                what = f"alias {role!r}: entity {self.view.entity.name!r} has no key {key!r}"
                raise refusal("FeatureView", self.view.name, what, did_you_mean(key, known))
            require_name("FeatureView", column, f"{self.view.name}: alias {role!r}: column for key {key!r}")
        return FeatureRef(
            self.view, self.features, role, tuple((key, keys.get(key, column)) for key, column in self.key_map)
        )
