"""The leakage report: what a join on event time would have smuggled into training, and how stale what is served was.

Invariant: a row counts as leaked unless a feature row with its key, time and values was visible at its instant, by the
ledger; that is looked up by an ordinary join, not by the kernel that chose the row.
It joins the rows of a training set again, from the same pins, in other modes, and changes nothing.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import from_us
from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature, FeatureRef
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.table import feature_table
from feature_assets.training.answer import AVAILABILITY, EVENT_AT, with_default
from feature_assets.training.differences import same_values
from feature_assets.training.history import History, KnownVerdicts, ViewPin, ViewState, state
from feature_assets.training.leakage_figures import LeakageFigures, feature_figures
from feature_assets.training.leakage_page import markdown, page
from feature_assets.training.leakage_words import summary
from feature_assets.training.loader import Progress, Question, TrainingSet, looked_up_view, parts_of
from feature_assets.training.manifest import Manifest
from feature_assets.training.memory import DEFAULT_LIMIT, Part
from feature_assets.training.modes import AsOfEvent, AsServed, Mode, WhatIf, mode_text
from feature_assets.training.point_in_time import seen_rows, versions_looked_at
from feature_assets.training.rebuild import asked_again, in_mode
from feature_assets.training.spine import Spine

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
_ROW, _NUMBER = "#row", "#number"
"""Names that no key can have."""


class LeakageReport(LeakageFigures, frozen=True, kw_only=True):
    """A training set as served beside what other modes give for the same rows, and ways to read it."""

    def summary(self) -> list[str]:
        """The report in sentences, the verdict first."""
        return summary(self)

    def to_markdown(self) -> str:
        """The report as a table, under a summary."""
        return markdown(self)

    def to_html(self) -> str:
        """The report as a page of its own, that loads nothing and runs nothing."""
        return page(self)


def leakage_report(
    made: TrainingSet,
    *,
    project: Project,
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    what_if: WhatIf | None = None,
    memory_limit: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> LeakageReport:
    """Compare the rows of a training set as served with a join on event time, and with a schedule if one is given.

    A training set that was made in another mode is joined as served first; if that mode is a schedule, it is compared,
    too, unless `what_if` is another. Raises `ManifestError` if the project's code is not what the set was made with.
    """
    manifest = made.manifest
    service = project.service(manifest.service)
    schedule = what_if or (manifest.mode if isinstance(manifest.mode, WhatIf) else None)
    modes: list[Mode] = [AsServed(), AsOfEvent(), *([] if schedule is None else [schedule])]
    tables = [
        made.table
        if mode == manifest.mode
        else in_mode(
            made,
            mode,
            project=project,
            lake=lake,
            ledger=ledger,
            verdicts=verdicts,
            memory_limit=memory_limit,
            progress=progress,
        )
        for mode in modes
    ]
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, manifest.target)
    # Each under the pins that it was joined from.
    audited = [TrainingSet(tables[at], msgspec.structs.replace(manifest, mode=modes[at])) for at in (0, 1)]
    leaked = [int(rows.sum()) for rows in _leaked(audited, service, history, memory_limit)]
    return _reported(manifest, service, modes, tables, asked_again(made, service).as_of, leaked)


def _reported(
    manifest: Manifest,
    service: FeatureService,
    modes: Sequence[Mode],
    tables: Sequence[pa.Table],
    as_of: Ints,
    leaked: Sequence[int],
) -> LeakageReport:
    ttl = {pin.view: pin.ttl for pin in manifest.views}
    features, differing = feature_figures(service, tables, as_of, ttl)
    origins = pc.value_counts(tables[0].column(AVAILABILITY).combine_chunks()).to_pylist()
    return LeakageReport(
        training_set=manifest.id,
        name=manifest.name,
        service=service.name,
        target=manifest.target,
        made_at=manifest.created_at,
        first=from_us(int(as_of.min())) if len(as_of) else None,
        last=from_us(int(as_of.max())) if len(as_of) else None,
        rows=len(as_of),
        modes=tuple(mode_text(mode) for mode in modes),
        differing=differing,
        leaked_served=leaked[0],
        leaked_by_event=leaked[1],
        availability={str(one["values"] or "nothing found"): one["counts"] for one in origins},
        features=features,
    )


# ------------------------------------------------------------------------------------------------------------ the audit


def leaked_rows(made: TrainingSet, service: FeatureService, history: History, memory_limit: int) -> Bools:
    """For each row of a training set, whether a value in it was not available at its instant, by the ledger."""
    return _leaked([made], service, history, memory_limit)[0]


def _leaked(
    several: Sequence[TrainingSet], service: FeatureService, history: History, memory_limit: int
) -> list[Bools]:
    """`leaked_rows` of several training sets of one spine."""
    spine = asked_again(several[0], service)
    leaked = [np.zeros(made.table.num_rows, np.bool_) for made in several]
    for view in service.views:
        refs = [ref for ref in service.refs if ref.view.name == view.name]
        served: dict[tuple[ViewPin, int], dict[str, pa.ChunkedArray]] = {}
        for made, rows in zip(several, leaked, strict=True):
            at = made.manifest.pin(view.name), made.manifest.ledger_position
            of = state(view, at[0], history, position=at[1])
            if view.aggregates:
                # Aggregates are computed again: for all training sets that were made from the same state at once.
                if at not in served:
                    served[at] = _served(spine, service, refs, of, memory_limit)
                for name, column in served[at].items():
                    np.logical_or(rows, ~same_values(made.table.column(name), column), out=rows)
                continue
            parts = parts_of(of, refs, AsServed(), budget=memory_limit)
            for ref in refs:
                unjustified = _used(made.table, ref) & ~_justified(made.table, spine, ref, of, parts)
                np.logical_or(rows, unjustified, out=rows)
    return leaked


def _served(
    spine: Spine, service: FeatureService, refs: Sequence[FeatureRef], of: ViewState, limit: int
) -> dict[str, pa.ChunkedArray]:
    """The aggregates of the records that were available, by the names of their columns."""
    question = Question(service, spine.timestamp, AsServed(), memory_limit=limit)
    found = {}
    for looked in looked_up_view(question, of, refs, spine, limit):
        for feature in looked.ref.selected:
            values = with_default(looked.features[feature.name], feature)
            whole = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
            found[looked.ref.column(feature.name)] = whole
    return found


def _used(table: pa.Table, ref: FeatureRef) -> Bools:
    """The rows in which some feature row was found for the reference."""
    return np.asarray(table.column(f"{ref.prefix}{SEPARATOR}{EVENT_AT}").is_valid())


def _justified(table: pa.Table, spine: Spine, ref: FeatureRef, of: ViewState, parts: Sequence[Part]) -> Bools:
    """The rows for which there is a feature row of that key, time and values that was visible at their instant."""
    names = [feature.name for feature in ref.selected]
    keys = list(of.view.entity.key_names)
    used = np.flatnonzero(_used(table, ref))
    asked = pa.table(
        {
            **{f"key {name}": column for name, column in zip(keys, spine.keys(ref), strict=True)},
            EVENT_AT: table.column(f"{ref.prefix}{SEPARATOR}{EVENT_AT}"),
            _ROW: pa.array(np.arange(table.num_rows)),
        }
    ).take(pa.array(used))
    justified = np.zeros(table.num_rows, np.bool_)
    for part in parts:
        seen = seen_rows(of, versions_looked_at(of, AsServed()), part, tuple(names), AsServed())
        there = seen.table.select([*keys, EVENT_AT]).append_column(_NUMBER, pa.array(np.arange(len(seen.version))))
        both = asked.join(
            there, keys=[*(f"key {name}" for name in keys), EVENT_AT], right_keys=[*keys, EVENT_AT], join_type="inner"
        )
        row, number = np.asarray(both.column(_ROW)), np.asarray(both.column(_NUMBER))
        ok = (seen.available_at[number] <= spine.as_of[row]) & (spine.as_of[row] < seen.superseded_at[number])
        for feature in ref.selected:
            ok &= _is_value_of(
                table.column(ref.column(feature.name)).take(pa.array(row)),
                seen.table.column(feature.name).take(pa.array(number)),
                feature,
            )
        justified[row[ok]] = True
    return justified


def _is_value_of(answered: pa.ChunkedArray, stored: pa.ChunkedArray, feature: Feature) -> Bools:
    """Whether an answer is the stored value, or the default (or null), which stands in for an expired one."""
    stands_in = pa.chunked_array([pa.array([feature.default] * len(answered), feature.dtype)])
    return same_values(answered, stored) | same_values(answered, stands_in)
