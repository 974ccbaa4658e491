"""The leakage report: what a join on event time would have smuggled into training, feature by feature.

Invariant: a row counts as leaked unless a feature row with its key, time and values was visible at its instant, by the
ledger; that is looked up by an ordinary join, not by the kernel that chose the row.
It compares two training sets of the same spine, and changes neither.
"""

from collections.abc import Sequence
from datetime import timedelta
from html import escape

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import Feature, FeatureRef
from feature_assets.errors import InputError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.table import feature_table
from feature_assets.training.answer import EVENT_AT, added_columns, with_default
from feature_assets.training.history import History, KnownVerdicts, ViewPin, ViewState, state
from feature_assets.training.loader import Question, TrainingSet, looked_up_view, parts_of
from feature_assets.training.memory import DEFAULT_LIMIT, Part
from feature_assets.training.modes import AsServed
from feature_assets.training.point_in_time import seen_rows, versions_looked_at
from feature_assets.training.spine import Spine, parse_spine

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
PERCENTILES = (50, 90, 99)
_ROW, _NUMBER = "#row", "#number"
"""Names that no key can have."""


class FeatureLeakage(msgspec.Struct, frozen=True):
    """One feature: `share` of the rows have another value in the other training set.

    `mean_absolute_difference` is over rows where both are numbers, None where there are none. `staleness` holds the
    50th, 90th and 99th percentile of as_of minus event_at of the served values; empty if none was found, or if the
    feature is computed at request time.
    """

    feature: str
    share: float
    mean_absolute_difference: float | None
    staleness: tuple[timedelta, ...]


class LeakageReport(msgspec.Struct, frozen=True):
    """A training set as served beside the one that a join on event time gives.

    `leaked_served`, `leaked_by_event`: in how many of the `rows` a feature was used that was not available then.
    """

    rows: int
    leaked_served: int
    leaked_by_event: int
    features: tuple[FeatureLeakage, ...]

    def to_markdown(self) -> str:
        """The report as a table, under two lines of summary."""
        lines = [*self._summary(), "", _md(_HEADER), _md(["---", *["---:"] * (len(_HEADER) - 1)])]
        return "\n".join([*lines, *(_md(_cells(feature)) for feature in self.features)]) + "\n"

    def to_html(self) -> str:
        """The report as a page of its own, that loads nothing."""
        header = "".join(f"<th>{escape(cell)}</th>" for cell in _HEADER)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(feature))}</tr>" for feature in self.features
        )
        summary = "".join(f"<p>{escape(line)}</p>" for line in self._summary())
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Leakage report</title>'
            f"<style>{_STYLE}</style></head><body><h1>Leakage report</h1>{summary}"
            f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></body></html>"
        )

    def _summary(self) -> list[str]:
        return [
            f"As served: {self.leaked_served:,} of {self.rows:,} rows use a value that was not available.",
            f"By event time: {self.leaked_by_event:,} of {self.rows:,} rows do.",
        ]


_HEADER = ("feature", "rows that differ", "mean absolute difference", "age p50", "age p90", "age p99")
_STYLE = (
    "body{font-family:sans-serif;margin:2em}td,th{padding:.3em 1em;text-align:right}td:first-child{text-align:left}"
)


def leakage_report(
    served: TrainingSet,
    by_event: TrainingSet,
    *,
    project: Project,
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    memory_limit: int = DEFAULT_LIMIT,
) -> LeakageReport:
    """Compare the training sets of one spine made with `as_served` and `as_of_event`.

    Raises `InputError` if they are not of the same service and spine.
    """
    one, other = served.manifest, by_event.manifest
    if (one.service, one.spine.digest, one.timestamp) != (other.service, other.spine.digest, other.timestamp):
        raise InputError(
            f"training sets {one.id} and {other.id} are not of the same service and spine",
            hint="make both from the same spine, one with mode='as_served' and one with mode='as_of_event'",
        )
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, one.target)
    return compared(served, by_event, project.service(one.service), history, memory_limit)


def compared(
    served: TrainingSet, by_event: TrainingSet, service: FeatureService, history: History, memory_limit: int
) -> LeakageReport:
    """The report on two training sets of the same service and spine."""
    spine = _spine(served, service)
    features = []
    for column in service.output_columns:
        ours, theirs = served.table.column(column.name), by_event.table.column(column.name)
        differing = ~same_values(ours, theirs)
        features.append(
            FeatureLeakage(
                feature=column.name,
                share=float(differing.mean()) if len(differing) else 0.0,
                mean_absolute_difference=_mean_difference(ours, theirs),
                staleness=_staleness(served.table, spine.as_of, column.ref),
            )
        )
    leaked_served, leaked_by_event = (
        int(leaked.sum()) for leaked in _leaked([served, by_event], service, history, memory_limit)
    )
    return LeakageReport(
        rows=served.table.num_rows,
        leaked_served=leaked_served,
        leaked_by_event=leaked_by_event,
        features=tuple(features),
    )


# ------------------------------------------------------------------------------------------------------------ the audit


def leaked_rows(made: TrainingSet, service: FeatureService, history: History, memory_limit: int) -> Bools:
    """For each row of a training set, whether a value in it was not available at its instant, by the ledger."""
    return _leaked([made], service, history, memory_limit)[0]


def _leaked(
    several: Sequence[TrainingSet], service: FeatureService, history: History, memory_limit: int
) -> list[Bools]:
    """`leaked_rows` of several training sets of one spine."""
    spine = _spine(several[0], service)
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


def _spine(made: TrainingSet, service: FeatureService) -> Spine:
    return parse_spine(
        made.table.drop_columns(list(added_columns(service))),
        timestamp=made.manifest.timestamp,
        service=service,
        added=added_columns(service),
    )


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


# --------------------------------------------------------------------------------------------------------- the figures


def same_values(left: pa.ChunkedArray, right: pa.ChunkedArray) -> Bools:
    """Row by row, whether two columns of one type hold the same; null equals null, and NaN equals NaN."""
    if pa.types.is_nested(left.type):
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.fromiter((repr(one) == repr(other) for one, other in pairs), np.bool_, count=len(left))
    same: Bools = np.array(pc.fill_null(pc.equal(left, right), False))  # noqa: FBT003 - Arrow's signature
    if pa.types.is_floating(left.type):
        same |= np.asarray(pc.fill_null(pc.and_(pc.is_nan(left), pc.is_nan(right)), False))  # noqa: FBT003
    same |= np.asarray(left.is_null()) & np.asarray(right.is_null())
    return same


def _mean_difference(left: pa.ChunkedArray, right: pa.ChunkedArray) -> float | None:
    if not (pa.types.is_integer(left.type) or pa.types.is_floating(left.type)):
        return None
    one, other = (np.asarray(column.cast(pa.float64()), np.float64) for column in (left, right))
    both = np.isfinite(one) & np.isfinite(other)
    return float(np.abs(one[both] - other[both]).mean()) if both.any() else None


def _staleness(table: pa.Table, as_of: Ints, ref: FeatureRef | None) -> tuple[timedelta, ...]:
    if ref is None:
        return ()
    event_at = table.column(f"{ref.prefix}{SEPARATOR}{EVENT_AT}")
    found = np.asarray(event_at.is_valid())
    if not found.any():
        return ()
    age = np.maximum(as_of[found] - np.asarray(event_at.drop_null().cast(pa.int64())), 0)
    return tuple(timedelta(microseconds=int(one)) for one in np.percentile(age, PERCENTILES, method="nearest"))


def _cells(feature: FeatureLeakage) -> list[str]:
    difference = feature.mean_absolute_difference
    ages = [_age(age) for age in feature.staleness] or ["-"] * len(PERCENTILES)
    return [feature.feature, f"{feature.share:.1%}", "-" if difference is None else f"{difference:.4g}", *ages]


def _age(age: timedelta) -> str:
    """To the second, or finer below one."""
    return str(age if age < timedelta(seconds=1) else timedelta(seconds=age // timedelta(seconds=1)))


def _md(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
