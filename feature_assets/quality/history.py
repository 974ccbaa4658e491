"""What drift was found, kept: the tables `drift/<view>`.

Invariant: a report is appended as it was made, one row per column, in one commit; the newest one is the last appended.
"""

from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.lake import Lake
from feature_assets.quality.drift import Bin, DriftReport, FeatureDrift

SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("version", pa.string()),
        ("reference", pa.string()),
        ("checked_at", pa.timestamp("us", tz="UTC")),
        ("baseline_first", pa.string()),
        ("baseline_last", pa.string()),
        ("baseline_seq", pa.int64()),
        ("current_first", pa.string()),
        ("current_last", pa.string()),
        ("current_seq", pa.int64()),
        ("rows_ref", pa.int64()),
        ("rows_cur", pa.int64()),
        ("max_psi", pa.float64()),
        ("feature", pa.string()),
        ("drifted", pa.bool_()),
        ("reason", pa.string()),
        ("psi", pa.float64()),
        ("psi_noise", pa.float64()),
        ("ks", pa.float64()),
        ("null_share_ref", pa.float64()),
        ("null_share_cur", pa.float64()),
        ("new_categories", pa.string()),
        ("new_share", pa.float64()),
        ("p_value", pa.float64()),
        ("bins", pa.string()),
    ]
)
"""One row per report and column. `new_categories` and `bins` are JSON lists."""


class Window(msgspec.Struct, frozen=True):
    """Partitions `first` to `last` (YYYY-MM-DD, both included) of a view, in its state at `commit_seq`."""

    first: str
    last: str
    commit_seq: int


class DriftRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A report, with what was compared with what. `reference` names what the baseline stands for, e.g. a model's id."""

    view: str
    version: str
    baseline: Window
    current: Window
    reference: str
    checked_at: datetime
    report: DriftReport


class DriftHistory:
    """The reports of one view."""

    def __init__(self, lake: Lake, view: str) -> None:
        self._table = AppendTable(lake, ("drift", view), SCHEMA)

    def append(self, record: DriftRecord, *, run_id: str = "") -> int:
        """Keep a report, in one commit; returns its number. A report without columns leaves no trace."""
        report = record.report
        common = {
            "view": record.view,
            "version": record.version,
            "reference": record.reference,
            "checked_at": record.checked_at,
            **_window_columns("baseline", record.baseline),
            **_window_columns("current", record.current),
            "rows_ref": report.rows_ref,
            "rows_cur": report.rows_cur,
            "max_psi": report.max_psi,
        }
        rows = [{**common, **_feature_columns(feature)} for feature in report.features]
        return self._table.append(pa.Table.from_pylist(rows, schema=SCHEMA), run_id=run_id)

    def latest(self, version: str | None = None) -> DriftRecord | None:
        """The newest report, of any version or of the one given; None if there is none."""
        found = self.records(version)
        return found[-1] if found else None

    def records(self, version: str | None = None) -> list[DriftRecord]:
        """All reports, oldest first."""
        rows = self._table.read(equal=None if version is None else {"version": version})
        by_commit: dict[int, list[dict[str, Any]]] = {}
        for row in rows.to_pylist():
            by_commit.setdefault(row["commit_seq"], []).append(row)
        return [_record(rows_of_one) for rows_of_one in by_commit.values()]


def _window_columns(side: str, window: Window) -> dict[str, str | int]:
    return {f"{side}_first": window.first, f"{side}_last": window.last, f"{side}_seq": window.commit_seq}


def _window(side: str, row: dict[str, Any]) -> Window:
    return Window(row[f"{side}_first"], row[f"{side}_last"], row[f"{side}_seq"])


def _feature_columns(feature: FeatureDrift) -> dict[str, object]:
    columns = {name: getattr(feature, name) for name in SCHEMA.names if name in FeatureDrift.__struct_fields__}
    return {
        **columns,
        "feature": feature.name,
        "new_categories": msgspec.json.encode(feature.new_categories).decode(),
        "bins": msgspec.json.encode(feature.bins).decode(),
    }


def _record(rows: list[dict[str, Any]]) -> DriftRecord:
    first = rows[0]
    return DriftRecord(
        view=first["view"],
        version=first["version"],
        baseline=_window("baseline", first),
        current=_window("current", first),
        reference=first["reference"],
        checked_at=first["checked_at"],
        report=DriftReport(
            features=tuple(_feature(row) for row in rows),
            rows_ref=first["rows_ref"],
            rows_cur=first["rows_cur"],
            max_psi=first["max_psi"],
        ),
    )


def _feature(row: dict[str, Any]) -> FeatureDrift:
    decoded = {
        **row,
        "name": row["feature"],
        "new_categories": msgspec.json.decode(row["new_categories"], type=tuple[str, ...]),
        "bins": msgspec.json.decode(row["bins"], type=tuple[Bin, ...]),
    }
    return FeatureDrift(**{name: decoded[name] for name in FeatureDrift.__struct_fields__})
