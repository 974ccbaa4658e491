"""`explain`: why the features of one entity are what they are.

    explained = explain("flight_delay", {"carrier": "UA", ...}, project=project, history=..., ...)

What the online store answers is taken as it reads, with the item it was computed from; beside it stand the rows of the
entity in the durable history, each with whether it counts and why not, and what a training row of that instant holds.
An instant in the past is explained from the history alone, as the store keeps no past.

Invariant: the values are those of `OnlineReader.get`, or of the past those of the training loader; one view that cannot
be read leaves the others as they are. The work is bounded by `Limits`, of one bucket of each view.
It writes nothing, and knows neither a command line nor HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa

from feature_assets.clock import Clock, to_us
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService, OutputColumn
from feature_assets.definition.version import service_version
from feature_assets.errors import InputError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.online.store import OnlineStore
from feature_assets.serving.explain_compare import Comparison, Online
from feature_assets.serving.explain_item import Overheard
from feature_assets.serving.explain_meanings import MEANINGS
from feature_assets.serving.explain_offline import Missing, Trained, trained
from feature_assets.serving.explain_past import past_status
from feature_assets.serving.explain_values import code_of_on_demand, plain_rows, plain_values
from feature_assets.serving.explain_view import Asked, Looking
from feature_assets.serving.explain_windows import Counted, names_of, window_of
from feature_assets.serving.explain_words import origin_of
from feature_assets.serving.explanation import (
    Explanation,
    FeatureExplained,
    Limits,
    OnDemandExplained,
    WindowOf,
)
from feature_assets.serving.reader import Answer, OnlineReader
from feature_assets.serving.request import Needed, Request, parse_request
from feature_assets.serving.status import Status
from feature_assets.training.history import History
from feature_assets.training.spine import Spine

__all__ = ["Explanation", "Limits", "explain"]

_ONLINE = "The online store's answer, and the history that it rests on."
_HISTORY = (
    "The online store keeps no past: this is what it would have answered then, by the durable history and the ledger."
)
_TIMESTAMP = "\0as_of"
"""A name that no column can have: names are identifiers."""


def explain(  # noqa: PLR0913 - one call, and every part of it a choice of the caller
    service: str,
    entity: Mapping[str, object] | pa.Table,
    *,
    as_of: datetime | None = None,
    features: Sequence[str] = (),
    limits: Limits | None = None,
    project: Project,
    history: History,
    online: Callable[[], OnlineStore],
    clock: Clock,
    lake: Lake | None = None,
) -> Explanation:
    """Why the features of `entity` are what they are at `as_of` (default: now).

    `entity`: the service's keys and request fields, as a mapping or a table of one row. `features`: output columns of
    the service to explain (default: all). `history`: made for this call, as it remembers what it was told. `online`:
    opens the store; it is not called for an instant in the past.

    Raises `InputError` and what is under it for what cannot be asked: an unknown service or feature, a key that is
    missing, an instant without a time zone.
    """
    chosen = project.service(service)
    columns = _columns(chosen, features)
    request = _request(entity, chosen)
    at = None if as_of is None else _instant(as_of)
    answer, overheard = None, None
    if at is None or at >= clock.now():
        overheard = Overheard(online())
        reader = OnlineReader(project, overheard, history.ledger, clock, lake=lake)
        answer = reader.get(service, _row(request), as_of=at, consistent=True)
        at = answer.as_of
    us = to_us(at)
    spine = Spine(_row(request), _TIMESTAMP, np.array([us], np.int64))
    # After the answer: what was acknowledged before it is in the ledger by now.
    asked = Asked(request, spine, us, limits or Limits(), history, history.ledger.head(), overheard)
    return _Explained(chosen, columns, asked, at, answer).told()


def _columns(service: FeatureService, names: Sequence[str]) -> tuple[OutputColumn, ...]:
    """The output columns asked for, in the service's order."""
    known = {column.name: column for column in service.output_columns}
    for name in names:
        if name not in known:
            raise UnknownNameError("feature", name, known, f"service {service.name!r}")
    return tuple(column for column in known.values() if not names or column.name in names)


def _request(entity: Mapping[str, object] | pa.Table, service: FeatureService) -> Request:
    if not isinstance(entity, Mapping | pa.Table):
        what = f"explain: an entity is one mapping, and a {type(entity).__name__} was given"
        raise InputError(what, hint="give keys and request fields by name: {'carrier': 'UA', ...}")
    request = parse_request([entity] if isinstance(entity, Mapping) else entity, Needed.of(service))
    if request.rows != 1:
        raise InputError(f"explain: {request.rows} rows were given", hint="one entity is explained at a time")
    return request


def _instant(as_of: datetime) -> datetime:
    if as_of.tzinfo is None:
        raise InputError(
            f"as_of: {as_of.isoformat()} has no time zone", hint="write it as UTC, e.g. datetime(..., tzinfo=UTC)"
        )
    return as_of.astimezone(UTC)


def _row(request: Request) -> pa.Table:
    return pa.table(dict(request.columns)) if request.columns else pa.table({_TIMESTAMP: [None]})


@dataclass(frozen=True)
class _Explained:
    """An explanation in the making."""

    service: FeatureService
    columns: tuple[OutputColumn, ...]
    asked: Asked
    at: datetime
    answer: Answer | None

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The output columns that are explained: what was asked for, and what that is computed from."""
        wanted = {column.name for column in self.columns}
        # An on-demand view comes after those that it reads.
        for view in reversed(self.service.on_demand):
            if wanted.intersection(map(view.column, view.feature_names)):
                wanted |= set(view.inputs)
        return frozenset(wanted)

    @cached_property
    def needed(self) -> frozenset[str]:
        """The roles, views and on-demand views that these are of."""
        return frozenset(_prefix(column) for column in self.service.output_columns if column.name in self.wanted)

    @cached_property
    def looking(self) -> dict[str, Looking]:
        """The references, by prefix."""
        answer = self.answer
        return {
            ref.prefix: Looking(
                self.asked,
                ref,
                self.wanted,
                None if answer is None else answer.meta[ref.prefix],
                "" if answer is None else answer.failures.get(ref.prefix, ""),
            )
            for ref in self.service.refs
            if ref.prefix in self.needed
        }

    @cached_property
    def trained(self) -> Trained:
        """The training row."""
        found = {prefix: one.trained for prefix, one in self.looking.items()}
        return trained(self.service, self.asked.spine, found, keyless=self.answer is None)

    @cached_property
    def values(self) -> dict[str, object]:
        """What was answered; of the past, what would have been."""
        if self.answer is not None:
            return plain_rows(self.answer.table)[0]
        return {name: plain_values(column)[0] for name, column in self.trained.values.items()}

    @cached_property
    def status(self) -> dict[str, Status]:
        """The same, of statuses."""
        if self.answer is not None:
            return {name: found[0] for name, found in self.answer.status.items()}
        return {column.name: past_status(column, self.trained, self.looking) for column in self.service.output_columns}

    def told(self) -> Explanation:
        """All of it."""
        answer = self.answer
        online = None if answer is None else Online(answer.table, self.status, answer.failures)
        comparison = Comparison(online, self.trained, self.looking)
        return Explanation(
            service=self.service.name,
            service_version=service_version(self.service),
            target=self.asked.history.target,
            as_of=self.at,
            source="history" if answer is None else "online",
            note=_HISTORY if answer is None else _ONLINE,
            asked=plain_rows(self.asked.spine.table)[0],
            features=tuple(self._feature(column, comparison) for column in self.columns),
            views={prefix: one.told() for prefix, one in self.looking.items()},
            on_demand={view.name: self._on_demand(view) for view in self.service.on_demand if view.name in self.needed},
        )

    def _feature(self, column: OutputColumn, comparison: Comparison) -> FeatureExplained:
        looking = self.looking.get(_prefix(column))
        status = self.status[column.name]
        event_at = None
        if looking is not None:
            event_at = self.trained.event_at(_prefix(column)) if looking.meta is None else looking.meta.event_at[0]
        default = column.feature.default
        window = None if looking is None else _window(column, looking)
        value = self.values.get(column.name)
        return FeatureExplained(
            name=column.name,
            of=_prefix(column),
            dtype=str(column.dtype),
            value=value,
            status=status,
            meaning=MEANINGS[status],
            default=None if default is None else plain_values(pa.array([default], column.dtype))[0],
            defaulted=default is not None and status in {Status.DEFAULTED, Status.OVERFLOW},
            event_at=event_at,
            age=None if event_at is None else max(0.0, (self.at - event_at).total_seconds()),
            origin=origin_of(status, looking, window),
            window=window,
            offline=comparison.of(column),
        )

    def _on_demand(self, view: OnDemandView) -> OnDemandExplained:
        fields = plain_rows(self.asked.spine.table)[0]
        failures = self.trained.failures if self.answer is None else self.answer.failures
        return OnDemandExplained(
            code=code_of_on_demand(view, self.service),
            request={one.name: fields[one.name] for one in view.request},
            inputs={name: self.values.get(name) for name in view.inputs},
            as_of=self.at,
            failure=failures.get(view.name, ""),
        )


def _window(column: OutputColumn, looking: Looking) -> WindowOf | None:
    """What a feature is over, if it is an aggregate."""
    use = next((one for one in looking.uses if one.feature.name == column.feature.name), None)
    if use is None:
        return None
    rows = None if isinstance(looking.rows, Missing) else looking.rows
    name = names_of(looking.uses)[use.window]
    return window_of(use, name, looking.standing, looking.tiled, Counted(looking.found, rows))


def _prefix(column: OutputColumn) -> str:
    """The role or view that a column is of."""
    return column.name.partition("__")[0]
