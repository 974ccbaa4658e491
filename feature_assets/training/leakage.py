"""The leakage report: what ignoring availability would have changed, how stale values are, and whether anything leaked.

Two training sets of the same spine are compared, one as it was served, one as things happened (`as_of_event`). The
share of rows in which a feature differs is what a join on event time alone would have got wrong. The audit is
separate and naive on purpose: it derives from the ledger's rows, one by one, when each used row first was visible,
and uses nothing of the loader.

Invariant: null equals null and NaN equals NaN; a report of zero rows says so instead of dividing by them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import OPEN, duration_us, to_us
from feature_assets.definition.naming import SEPARATOR
from feature_assets.definition.service import FeatureService
from feature_assets.definition.view import FeatureRef, FeatureView
from feature_assets.errors import InputError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow
from feature_assets.offline.table import feature_table
from feature_assets.training.loader import TrainingSet

HOUR_US = 3_600_000_000


class FeatureLeakage(msgspec.Struct, frozen=True, kw_only=True):
    """One feature. `mean_difference` is over rows in which both have a number; None if there is none."""

    name: str
    differing_share: float
    mean_difference: float | None


class Staleness(msgspec.Struct, frozen=True, kw_only=True):
    """How old what was served was, `as_of - event_at`, in hours, over the rows that have a value of the view."""

    prefix: str
    matched_share: float
    p50_hours: float | None
    p90_hours: float | None
    p99_hours: float | None


class LeakageReport(msgspec.Struct, frozen=True, kw_only=True):
    """`leaked_rows`: values used before they were visible; `unaudited_rows`: inherited ones, which are not judged."""

    rows: int
    leaked_rows: int
    unaudited_rows: int
    features: tuple[FeatureLeakage, ...]
    staleness: tuple[Staleness, ...]

    def markdown(self) -> str:
        """The report as two markdown tables, the most affected features first."""
        worst = sorted(self.features, key=lambda feature: -feature.differing_share)
        lines = [
            f"{self.leaked_rows} leaked values in {self.rows:,} rows ({self.unaudited_rows:,} inherited, not judged).",
            "",
            "| feature | rows that differ from a join on event time | mean difference |",
            "|---|---:|---:|",
            *(f"| {f.name} | {f.differing_share:.1%} | {_number(f.mean_difference)} |" for f in worst),
            "",
            "| view | rows with a value | age p50 (h) | p90 | p99 |",
            "|---|---:|---:|---:|---:|",
        ]
        for one in self.staleness:
            ages = " | ".join(_number(hours) for hours in (one.p50_hours, one.p90_hours, one.p99_hours))
            lines.append(f"| {one.prefix} | {one.matched_share:.1%} | {ages} |")
        return "\n".join(lines)


def leakage_report(
    served: TrainingSet, by_event: TrainingSet, *, service: FeatureService, lake: Lake, ledger: Ledger
) -> LeakageReport:
    """Compare `served` (mode `as_served`) with `by_event` (`as_of_event`) of the same spine, and audit `served`.

    Raises `InputError` if they are not of the same rows.
    """
    rows = served.table.num_rows
    if by_event.table.num_rows != rows:
        raise InputError(
            f"the training sets have {rows} and {by_event.table.num_rows} rows", hint="build both from the same spine"
        )
    as_of = _micros(served.table[served.manifest.timestamp])
    leaked = unaudited = 0
    for ref in service.refs:
        found = _audited(ref, served, as_of, lake, ledger)
        leaked, unaudited = leaked + found[0], unaudited + found[1]
    return LeakageReport(
        rows=rows,
        leaked_rows=leaked,
        unaudited_rows=unaudited,
        features=tuple(
            _compared(column.name, served.table[column.name], by_event.table[column.name])
            for column in service.output_columns
        ),
        staleness=tuple(_staleness(ref.prefix, served.table, as_of) for ref in service.refs),
    )


def _compared(name: str, one: pa.ChunkedArray, other: pa.ChunkedArray) -> FeatureLeakage:
    if not len(one):
        return FeatureLeakage(name=name, differing_share=0.0, mean_difference=None)
    differs = pc.fill_null(pc.not_equal(one, other), fill_value=True) if not pa.types.is_nested(one.type) else None
    if differs is None:
        unequal = np.array([a != b for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True)])
    else:
        unequal = np.asarray(differs)
        unequal &= ~np.asarray(pc.and_(pc.is_null(one), pc.is_null(other)))
    mean = None
    if pa.types.is_floating(one.type) or pa.types.is_integer(one.type):
        a, b = (np.asarray(column.cast(pa.float64(), safe=False).to_numpy()) for column in (one, other))
        unequal &= ~(np.isnan(a) & np.isnan(b) & np.asarray(pc.is_valid(one)) & np.asarray(pc.is_valid(other)))
        gaps = np.abs(a - b)
        gaps = gaps[np.isfinite(gaps)]
        mean = float(gaps.mean()) if len(gaps) else None
    return FeatureLeakage(name=name, differing_share=float(unequal.mean()), mean_difference=mean)


def _staleness(prefix: str, table: pa.Table, as_of: npt.NDArray[np.int64]) -> Staleness:
    event_at = table[f"{prefix}{SEPARATOR}event_at"]
    has = np.asarray(pc.is_valid(event_at))
    ages = np.maximum(as_of[has] - _micros(event_at.filter(pa.array(has))), 0) / HOUR_US
    p50, p90, p99 = np.percentile(ages, [50, 90, 99]).tolist() if len(ages) else (None, None, None)
    share = float(has.mean()) if len(has) else 0.0
    return Staleness(prefix=prefix, matched_share=share, p50_hours=p50, p90_hours=p90, p99_hours=p99)


# ------------------------------------------------------------------------------------------------------------ the audit
def _audited(
    ref: FeatureRef, served: TrainingSet, as_of: npt.NDArray[np.int64], lake: Lake, ledger: Ledger
) -> tuple[int, int]:
    """How many rows used something of this view before it was visible, and how many could not be judged."""
    view, pin = ref.view, served.manifest.pin(ref.view.name)
    keys = list(view.entity.key_names)
    rows = feature_table(lake, view, pin.version).read_versions(
        upto=pin.commit_seq, columns=(*keys, "event_at", "arrived_at", "partition", "commit_seq", "bucket")
    )
    ledger_rows = ledger.rows(
        view=view.name,
        version=pin.version,
        target=served.manifest.target,
        upto=served.manifest.ledger_position,
    )
    first = pd.DataFrame({name: rows[name].to_pandas() for name in keys})
    first["event_at"] = _micros(rows["event_at"])
    first["visible"] = _first_visible(view, rows, ledger_rows)
    first = first.groupby([*keys, "event_at"])["visible"].min().reset_index()
    used = pd.DataFrame({name: served.table[column].to_pandas() for name, column in ref.key_map})
    used["event_at"] = _micros(served.table[f"{ref.prefix}{SEPARATOR}event_at"])
    used["as_of"] = as_of
    availability = served.table[f"{ref.prefix}{SEPARATOR}availability"]
    matched = np.asarray(pc.is_valid(served.table[f"{ref.prefix}{SEPARATOR}event_at"]))
    inherited = np.asarray(pc.fill_null(pc.equal(availability, "inherited"), fill_value=False))
    judged = used[matched & ~inherited].merge(first, on=[*keys, "event_at"], how="left")
    leaked = judged["visible"].isna() | (judged["visible"] > judged["as_of"])
    return int(leaked.sum()), int((matched & inherited).sum())


def _first_visible(view: FeatureView, rows: pa.Table, ledger_rows: Sequence[LedgerRow]) -> npt.NDArray[np.int64]:
    """When each row first was visible, by the ledger's rows read one by one; `OPEN` for never."""
    serving = min((row.acked_at for row in ledger_rows if row.kind == "serving" and row.acked_at), default=None)
    acks: dict[int, list[LedgerRow]] = {}
    for row in ledger_rows:
        if row.kind == "ack" and row.bucket is not None:
            acks.setdefault(row.bucket, []).append(row)
    known: dict[tuple[str, int, int], tuple[int, bool]] = {}
    partitions, commits, buckets = (rows[name].to_pylist() for name in ("partition", "commit_seq", "bucket"))
    arrived = _micros(rows["arrived_at"])
    out = np.full(rows.num_rows, OPEN)
    ends: Mapping[str, int] = {name: _end_of(name) for name in set(partitions)}
    delay = duration_us(view.delay)
    for place, case in enumerate(zip(partitions, commits, buckets, strict=True)):
        if case not in known:
            known[case] = _acknowledged(case[1], acks.get(case[2], ()), serving)
        at, bulk = known[case]
        simulated = max(ends[case[0]], int(arrived[place])) + delay
        out[place] = min(at, simulated) if bulk else at
    return out


def _acknowledged(commit: int, acks: Sequence[LedgerRow], serving: int | None) -> tuple[int, bool]:
    """The first acknowledgement of a state with `commit` in it, and whether that was before anybody was answered."""
    if serving is None:
        return OPEN, True
    covering = [row for row in acks if (row.commit_seq or 0) >= commit and row.acked_at is not None]
    if any(row.bootstrap for row in covering):
        return serving, True
    return min((row.acked_at for row in covering if row.acked_at is not None), default=OPEN), False


def _end_of(partition: str) -> int:
    return to_us(datetime.combine(date.fromisoformat(partition) + timedelta(days=1), time(), tzinfo=UTC))


def _micros(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), 0)).astype(np.int64)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
