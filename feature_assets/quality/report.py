"""Drift as people see it: a table, flat records, a plot.

Invariant: a projection of a `DriftReport`; the same report gives the same text and the same picture. It judges nothing.
"""

import base64
import io
from typing import TYPE_CHECKING

from feature_assets.quality.drift import DriftReport, FeatureDrift

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 8
"""Columns that are drawn: the drifted ones first, then by stability index."""

_PANELS_PER_ROW = 4
_LABEL_LENGTH = 12
_PANEL_HEIGHT, _TITLE, _LABELS = 2.6, 0.42, 0.62
"""Inches: of a panel as a whole, above its axes, and below them."""
_NAMES = 3
_REFERENCE, _CURRENT, _ALARM = "#9aa5b1", "#2f6fde", "#c0392b"


def drift_rows(report: DriftReport) -> list[dict[str, str | float | bool]]:
    """One flat record per column, in the report's order; a distance that does not exist is -1."""
    return [
        {
            "feature": feature.name,
            "drifted": feature.drifted,
            "psi": -1.0 if feature.psi is None else round(feature.psi, 4),
            "ks": -1.0 if feature.ks is None else round(feature.ks, 4),
            "null_share_ref": round(feature.null_share_ref, 4),
            "null_share_cur": round(feature.null_share_cur, 4),
            "new_share": round(feature.new_share, 4),
            "p_value": feature.p_value,
            "reason": feature.reason,
        }
        for feature in report.features
    ]


def markdown(report: DriftReport) -> str:
    """The report as a markdown table, with a line that says how many columns drifted."""
    rows = f"{report.rows_ref:,} reference rows, {report.rows_cur:,} current rows"
    lines = [
        f"{len(report.drifted)} of {len(report.features)} columns drifted ({rows}, PSI limit {report.max_psi:g}).",
        "",
        "| column | drifted | PSI | KS | missing | new categories | why |",
        "|---|---|---:|---:|---|---|---|",
    ]
    for feature in report.features:
        missing = f"{feature.null_share_ref:.1%} -> {feature.null_share_cur:.1%}"
        cells = [
            feature.name,
            "**yes**" if feature.drifted else "no",
            _number(feature.psi),
            _number(feature.ks),
            missing,
            _several(feature.new_categories),
            feature.reason,
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def image(png: bytes, alt: str) -> str:
    """A picture as markdown that needs no file: a data URI."""
    return f"![{_cell(alt)}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def plot(report: DriftReport) -> bytes:
    """The distributions then and now as a PNG: drifted columns first, then the least stable ones; at most `PANELS`."""
    from matplotlib.figure import Figure

    drawn = sorted((f for f in report.features if f.bins), key=lambda f: (not f.drifted, -(f.psi or 0.0)))[:PANELS]
    rows = max(1, -(-len(drawn) // _PANELS_PER_ROW))
    figure = Figure(figsize=(3.2 * _PANELS_PER_ROW, _PANEL_HEIGHT * rows))
    # Room for two lines of title and a slanting label, said here: to find it out, everything would be drawn twice.
    height = _PANEL_HEIGHT * rows
    room = (_TITLE + _LABELS) / (_PANEL_HEIGHT - _TITLE - _LABELS)
    figure.subplots_adjust(0.03, _LABELS / height, 0.99, 1 - _TITLE / height, wspace=0.15, hspace=room)
    for index, feature in enumerate(drawn):
        _panel(figure.add_subplot(rows, _PANELS_PER_ROW, index + 1), feature)
    if not drawn:
        figure.text(0.5, 0.5, "no column has values on both sides", ha="center", va="center")
    target = io.BytesIO()
    # Without the library's version in the file, the same report is the same bytes.
    figure.savefig(target, format="png", dpi=80, metadata={"Software": None})
    return target.getvalue()


def _panel(axes: "Axes", feature: FeatureDrift) -> None:
    at = range(len(feature.bins))
    axes.bar([x - 0.2 for x in at], [b.reference for b in feature.bins], width=0.4, color=_REFERENCE, label="reference")
    axes.bar([x + 0.2 for x in at], [b.current for b in feature.bins], width=0.4, color=_CURRENT, label="current")
    labels = [b.label if len(b.label) <= _LABEL_LENGTH else b.label[: _LABEL_LENGTH - 1] + "…" for b in feature.bins]
    axes.set_xticks(list(at), labels, rotation=60, ha="right", fontsize=6)
    axes.tick_params(axis="y", labelsize=6)
    title = f"{feature.name}\nPSI {_number(feature.psi)}  KS {_number(feature.ks)}"
    axes.set_title(title, fontsize=8, color=_ALARM if feature.drifted else "black", parse_math=False)
    axes.legend(fontsize=6, frameon=False)


def _several(names: tuple[str, ...]) -> str:
    return ", ".join([*names[:_NAMES], *(["..."] if len(names) > _NAMES else [])])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
