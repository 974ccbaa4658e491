"""`training_set`: features for a spine of keys and instants, exactly as they could be seen then.

Invariant: rows out equal rows in, in the same order, duplicates kept, the spine's columns untouched; by default no
value was invisible at its row's instant. What is read is pinned in the manifest before it is read.
It trains nothing, and it does not ask the online store: what that showed is in the ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

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
from feature_assets.offline.table import feature_table
from feature_assets.training import memory, window_parts
from feature_assets.training.answer import added_columns, assembled
from feature_assets.training.digest import table_digest
from feature_assets.training.history import History, KnownVerdicts, ViewPin, ViewState, pinned, state
from feature_assets.training.manifest import LabelPin, Manifest, ResultPin, SpinePin, library_versions, sealed
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets.training.modes import Mode, parse_mode
from feature_assets.training.point_in_time import Looked, looked_up, versions_looked_at
from feature_assets.training.spine import Immature, Spine, mature, parse_spine
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
    mode: str | Mode = "as_served",
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
    are refused, or dropped. `name` is where `to_delta` writes.

    Raises `InputError` and what is under it for what cannot be asked, `OfflineError` for what cannot be read.
    """
    chosen = project.service(service) if isinstance(service, str) else service
    question = Question(chosen, timestamp, parse_mode(mode), memory_limit=memory_limit)
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, target)
    now = clock.now()
    asked = parse_spine(spine, timestamp=timestamp, service=chosen, added=added_columns(chosen))
    if label is not None:
        asked = mature(asked, label.name, label.matured_at, to_us(now), immature)
    pins, position = pins_now(chosen, history, ttl or {})
    table = built(question, asked, pins, history, position, progress)
    manifest = Manifest(
        name=name,
        service=chosen.name,
        service_version=service_version(chosen),
        timestamp=timestamp,
        mode=question.mode,
        target=target,
        ledger_position=position,
        views=pins,
        label=None if label is None else LabelPin(label.name, label.matured_at, immature),
        spine=SpinePin(asked.table.num_rows, table_digest(asked.table), asked.table.schema.serialize().to_pybytes()),
        result=ResultPin(tuple(table.column_names), table_digest(table)),
        libraries=library_versions(),
        created_at=now,
    )
    return TrainingSet(table, sealed(manifest), lake)


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
    fixed = _fixed_bytes(question.service, spine)
    if fixed > question.memory_limit:
        raise InputError(
            f"the spine and the answer take about {fixed:,} bytes, more than memory_limit={question.memory_limit:,}",
            hint="raise memory_limit, or ask for the training set in several parts",
        )
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


def _fixed_bytes(service: FeatureService, spine: Spine) -> int:
    """About what is held whatever the parts are: the spine, the questions, and the answer."""
    answer = memory.row_bytes(column.dtype for column in service.output_columns)
    origins = len(service.refs) * (memory.row_bytes([INSTANT, pa.string()]) + memory.QUESTION_OVERHEAD)
    return memory.READ_OVERHEAD + int(spine.table.nbytes) + len(spine.as_of) * (answer + origins)


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
