"""`training_set`: features for a spine of keys and instants, exactly as they could be seen then.

Invariant: rows out equal rows in, in the same order, duplicates kept, the spine's columns untouched; by default no
value was invisible at its row's instant. What is read is pinned in the manifest before it is read.
It trains nothing, and it does not ask the online store: what that showed is in the ledger, and what it answered in the
served log.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa

from feature_assets.clock import Clock, to_us
from feature_assets.compute.kernels import Boundary
from feature_assets.definition.dtypes import INSTANT
from feature_assets.definition.model import Label
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import service_version, view_version
from feature_assets.definition.view import FeatureRef
from feature_assets.errors import InputError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.served_table import ServedTable
from feature_assets.offline.table import feature_table
from feature_assets.training import memory, window_parts
from feature_assets.training.answer import added_columns, assembled
from feature_assets.training.digest import table_digest
from feature_assets.training.history import History, KnownVerdicts, ViewPin, ViewState, pinned, state
from feature_assets.training.logged import Fill, logged_upto, parse_requests, taken_from_log
from feature_assets.training.manifest import LabelPin, LogPin, Manifest, ResultPin, SpinePin, library_versions, sealed
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets.training.modes import AnyMode, AsLogged, AsServed, Mode, parse_mode
from feature_assets.training.point_in_time import Looked, looked_up, versions_looked_at
from feature_assets.training.spine import Immature, Spine, mature, mature_rows, parse_spine
from feature_assets.training.stored import write_training_set
from feature_assets.training.windows import Windowed, windows_looked_up

if TYPE_CHECKING:
    # A second to import, and only who asks for a frame needs it.
    import pandas as pd

Progress = Callable[[str, int, int], None]
"""Called as (what, done, total)."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A training set and what it was made from."""

    table: pa.Table
    manifest: Manifest
    lake: Lake | None = field(default=None, repr=False)

    def to_arrow(self) -> pa.Table:
        """The spine's columns, the features, and where they come from."""
        return self.table

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a frame with a fresh index. Integers and booleans stay what they are where some are null."""
        # pandas would make floats (and objects) of these where a value is missing, and lose large ones.
        nullable = {
            pa.bool_(): "boolean",
            pa.int8(): "Int8",
            pa.int16(): "Int16",
            pa.int32(): "Int32",
            pa.int64(): "Int64",
        }
        frame: pd.DataFrame = self.table.to_pandas()
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            if column.null_count and column.type in nullable:
                # By way of objects: numpy's integers have no null.
                frame[name] = column.to_pandas(integer_object_nulls=True).astype(nullable[column.type])
        return frame

    def to_delta(self) -> str:
        """Write `training_sets/<name>/<id>` and its `manifest.json`; returns the table's address.

        The same training set written again is left as it is. Raises `InputError` if it has no name.
        """
        if self.lake is None:
            raise InputError("this training set was not made from a lake", hint="write its table where you want it")
        return write_training_set(self.lake, self.table, self.manifest)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, apart from the spine: a service, how visibility is meant, and within which memory."""

    service: FeatureService
    timestamp: str
    mode: Mode
    boundary: Boundary = "closed"
    memory_limit: int = DEFAULT_LIMIT


def training_set(  # noqa: PLR0913 - one call, and every part of it a choice of the caller
    project: Project,
    spine: object,
    *,
    service: str | FeatureService,
    timestamp: str,
    mode: str | AnyMode = "as_served",
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    target: str,
    clock: Clock,
    ttl: Mapping[str, timedelta | None] | None = None,
    memory_limit: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
    name: str | None = None,
    label: Label | None = None,
    immature: Immature = "refuse",
) -> TrainingSet:
    """Join the service's features to the spine, each as it was visible on `target` at the row's `timestamp`.

    `spine`: an Arrow table or a frame with the service's key columns, the timestamp, and whatever else; it comes back
    untouched, followed by the features (`<view or role>__<feature>`), then per view `__event_at` and `__availability`
    of the row that was used, then `availability`, the weakest of the row's. `ttl` overrides views' time to live.
    `memory_limit` in bytes does not change the result. With `label`, rows whose outcome is not known at the clock's now
    are refused, or dropped. `name` is where `to_delta` writes. In the mode `as_logged` the spine's rows are rows of
    requests: what was answered comes back, by the served log, with a column of statuses for each output; keys and the
    timestamp may be left out, unless rows that are not in the log are to be joined.

    Raises `InputError` and what is under it for what cannot be asked, `OfflineError` for what cannot be read.
    """
    chosen = project.service(service) if isinstance(service, str) else service
    parsed, now = parse_mode(mode), clock.now()
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, target)
    asked = _Asked(chosen, timestamp, history, ttl or {}, label, immature, to_us(now), memory_limit, progress)
    made = asked.logged(spine, parsed, lake) if isinstance(parsed, AsLogged) else asked.joined(spine, parsed)
    manifest = Manifest(
        name=name,
        service=chosen.name,
        service_version=service_version(chosen),
        timestamp=timestamp,
        mode=parsed,
        target=target,
        ledger_position=made.position,
        views=made.pins,
        label=None if label is None else LabelPin(label.name, label.matured_at, immature),
        spine=SpinePin(made.spine.num_rows, table_digest(made.spine), made.spine.schema.serialize().to_pybytes()),
        result=ResultPin(tuple(made.table.column_names), table_digest(made.table)),
        libraries=library_versions(),
        created_at=now,
        log=made.log,
    )
    return TrainingSet(made.table, sealed(manifest), lake)


@dataclass(frozen=True, slots=True)
class _Made:
    """A training set's table, the spine that it was made for, and what it was made from."""

    table: pa.Table
    spine: pa.Table
    pins: tuple[ViewPin, ...]
    position: int
    log: LogPin | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked, apart from the spine and the mode. `now` in microseconds."""

    service: FeatureService
    timestamp: str
    history: History
    ttl: Mapping[str, timedelta | None]
    label: Label | None
    immature: Immature
    now: int
    memory_limit: int
    progress: Progress | None

    def joined(self, given: object, mode: Mode) -> _Made:
        """The features joined to the spine."""
        spine = parse_spine(given, timestamp=self.timestamp, service=self.service, added=added_columns(self.service))
        if self.label is not None:
            spine = mature(spine, self.label.name, self.label.matured_at, self.now, self.immature)
        pins, position = pins_now(self.service, self.history, self.ttl)
        question = Question(self.service, self.timestamp, mode, memory_limit=self.memory_limit)
        table = built(question, spine, pins, self.history, position, self.progress)
        return _Made(table, spine.table, pins, position)

    def logged(self, given: object, mode: AsLogged, lake: Lake) -> _Made:
        """What was answered to the requests whose rows the spine has."""
        requests = parse_requests(given, mode, timestamp=self.timestamp, service=self.service)
        if self.label is not None:
            label = self.label
            requests = requests.kept(mature_rows(requests.table, label.name, label.matured_at, self.now, self.immature))
        pins: tuple[ViewPin, ...] = ()
        position = 0
        if mode.missing == "as_served":
            pins, position = pins_now(self.service, self.history, self.ttl)
        elif self.ttl:
            what = "ttl: values are taken as they were answered, whatever the time to live"
            raise InputError(what, hint="leave ttl out, or join the features: mode='as_served'")
        question = Question(self.service, self.timestamp, AsServed(), memory_limit=self.memory_limit)
        _fixed_bytes(question, requests.table)
        fill = joining(question, pins, self.history, position, self.progress)
        upto = logged_upto(self.service, lake)
        taken = taken_from_log(self.service, requests, ServedTable(lake, self.service), mode, upto=upto, fill=fill)
        return _Made(taken.table, requests.table, pins, position, LogPin(upto, taken.logged, taken.missing))


def joining(
    question: Question, pins: tuple[ViewPin, ...], history: History, position: int, progress: Progress | None = None
) -> Fill:
    """What joins the features to rows that are not in the served log."""

    def joined(rows: pa.Table) -> pa.Table:
        added = added_columns(question.service)
        spine = parse_spine(rows, timestamp=question.timestamp, service=question.service, added=added)
        return built(question, spine, pins, history, position, progress)

    return joined


def pins_now(
    service: FeatureService, history: History, ttl: Mapping[str, timedelta | None]
) -> tuple[tuple[ViewPin, ...], int]:
    """The pins of the service's views as they are now, and the ledger's position."""
    views = {view.name: view for view in service.views}
    for name, override in ttl.items():
        if name not in views:
            raise UnknownNameError("view", name, views, f"ttl of service {service.name!r}")
        if views[name].aggregates:
            what = (
                f"ttl of view {name!r}: its features are aggregates, and what they forget is what its windows leave out"
            )
            raise InputError(what, hint="leave it out; declare an aggregate over another window to look less far back")
        if override is not None and override < timedelta(0):
            raise InputError(f"ttl of view {name!r} is negative: {override}", hint="None stands for 'never expires'")
    # The ledger first: what it acknowledges is committed by then, so no version is missing that supersedes another.
    position = history.ledger.head()
    pins = tuple(
        pinned(view, view_version(view), history, position=position, ttl=ttl.get(view.name, view.ttl))
        for view in views.values()
    )
    return pins, position


def built(
    question: Question,
    spine: Spine,
    pins: tuple[ViewPin, ...],
    history: History,
    position: int,
    progress: Progress | None = None,
) -> pa.Table:
    """The training set's table: a pure function of its arguments and of what they pin."""
    by_view = {pin.view: pin for pin in pins}
    answers: dict[str, Looked] = {}
    fixed = _fixed_bytes(question, spine.table)
    for view in question.service.views:
        refs = [ref for ref in question.service.refs if ref.view.name == view.name]
        pinned_state = state(view, by_view[view.name], history, position=position)
        looked = looked_up_view(question, pinned_state, refs, spine, question.memory_limit - fixed, progress)
        answers.update({one.ref.prefix: one for one in looked})
    return assembled(question.service, spine, answers)


def looked_up_view(
    question: Question,
    of: ViewState,
    refs: Sequence[FeatureRef],
    spine: Spine,
    budget: int,
    progress: Progress | None = None,
) -> list[Looked]:
    """The answers of one view to its references, within about `budget` bytes."""
    find = _windows if of.view.aggregates else _rows
    return find(question, of, refs, spine, budget, progress)


def _rows(
    question: Question, of: ViewState, refs: Sequence[FeatureRef], spine: Spine, budget: int, progress: Progress | None
) -> list[Looked]:
    """The answers of a view of rows."""
    parts = parts_of(of, refs, question.mode, budget=budget)
    tick = _Ticks(progress, of.view.name, len(parts)).one
    return looked_up(of, refs, spine, mode=question.mode, parts=parts, boundary=question.boundary, tick=tick)


def _windows(
    question: Question, of: ViewState, refs: Sequence[FeatureRef], spine: Spine, budget: int, progress: Progress | None
) -> list[Looked]:
    """The answers of a view of aggregates."""
    groups = groups_of(of, refs, question.mode, questions=len(refs) * len(spine.as_of), budget=budget)
    tick = _Ticks(progress, of.view.name, sum(len(group.parts) for group in groups)).one
    return windows_looked_up(of, refs, spine, mode=question.mode, groups=groups, boundary=question.boundary, tick=tick)


def groups_of(
    of: ViewState, refs: Sequence[FeatureRef], mode: Mode, *, questions: int, budget: int
) -> tuple[window_parts.Group, ...]:
    """The parts in which a view of aggregates is looked at for these references, each within `budget` bytes."""
    windowed = Windowed.of(refs)
    columns = {column.name: column.dtype for column in of.view.stored}
    read = [*(key.dtype for key in of.view.entity.keys), *(columns[name] for name in windowed.columns)]
    return window_parts.groups(
        of.rows_of(versions_looked_at(of, mode)),
        memory.row_bytes(read),
        questions=questions,
        bytes_per_question=window_parts.question_bytes(windowed.wanted),
        buckets=of.pin.buckets,
        budget=budget,
        view=of.view.name,
    )


def parts_of(of: ViewState, refs: Sequence[FeatureRef], mode: Mode, *, budget: int) -> tuple[memory.Part, ...]:
    """The parts in which a view is looked at for these references, each within `budget` bytes."""
    features = {feature.name: feature.dtype for ref in refs for feature in ref.selected}
    read = memory.row_bytes([*(key.dtype for key in of.view.entity.keys), *features.values()])
    rows = of.rows_of(versions_looked_at(of, mode))
    return memory.parts(rows, read, buckets=of.pin.buckets, budget=budget, view=of.view.name)


def _fixed_bytes(question: Question, spine: pa.Table) -> int:
    """About what is held whatever the parts are: the spine, the questions, and the answer. Refused if that is much."""
    answer = memory.row_bytes(column.dtype for column in question.service.output_columns)
    origins = len(question.service.refs) * (memory.row_bytes([INSTANT, pa.string()]) + memory.QUESTION_OVERHEAD)
    fixed = memory.READ_OVERHEAD + int(spine.nbytes) + int(spine.num_rows) * (answer + origins)
    if fixed > question.memory_limit:
        raise InputError(
            f"the spine and the answer take about {fixed:,} bytes, more than memory_limit={question.memory_limit:,}",
            hint="raise memory_limit, or ask for the training set in several parts",
        )
    return fixed


@dataclass(slots=True)
class _Ticks:
    """Progress through the parts of one view."""

    progress: Progress | None
    what: str
    total: int
    done: int = 0

    def __post_init__(self) -> None:
        self._tell()

    def one(self) -> None:
        """One more part is done."""
        self.done += 1
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.what, self.done, self.total)
