"""What an asset says about itself in the UI: rows, nulls, schema, a preview, a plot, the Delta version.

Invariant: only plain Python numbers and text reach Dagster (its metadata refuses numpy's), and no secret can: values
come from feature tables, never from settings. It computes nothing that anything else depends on.
"""

import base64
import io
from collections.abc import Mapping, Sequence

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.aggregates.layout import Use, layout_of
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.source import BatchSource
from feature_assets.definition.view import FeatureView
from feature_assets.definition.window import Window, duration_label
from feature_assets.offline.table import Commit

PREVIEW_ROWS = 8
_PLOT_FEATURES = 4
_PARAMETERS = ("by", "k", "bound", "precision", "percentile", "accuracy", "edges", "half_life", "scale")
"""Of an aggregate, beside its columns."""
_MARGIN = 0.06
"""Free space left and right of a histogram, as a share of its width."""
_PLOT_SHARES = 12


def table_metadata(table: pa.Table, features: Sequence[str]) -> dict[str, dg.MetadataValue]:
    """Rows, share of nulls per column (a number each, so that the UI plots it over time) and a preview."""
    out: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(table.num_rows),
        "preview": dg.MetadataValue.md(markdown_table(table.slice(0, PREVIEW_ROWS))),
    }
    worst = 0.0
    rows = []
    for name in features:
        share = float(table[name].null_count / table.num_rows) if table.num_rows else 0.0
        worst = max(worst, share)
        rows.append(dg.TableRecord({"column": name, "null_share": round(share, 6)}))
    out["max_null_share"] = dg.MetadataValue.float(worst)
    if rows:
        out["nulls"] = dg.MetadataValue.table(rows)
    return out


def schema_metadata(schema: pa.Schema, descriptions: Mapping[str, str]) -> dg.TableSchemaMetadataValue:
    """A column table with types, nullability and descriptions."""
    return dg.MetadataValue.table_schema(
        dg.TableSchema(
            columns=[
                dg.TableColumn(name=field.name, type=str(field.type), description=descriptions.get(field.name) or None)
                for field in schema
            ]
        )
    )


def commit_metadata(commit: Commit) -> dict[str, dg.MetadataValue]:
    """What was committed: the sequence, the Delta version, which partitions changed and which did not."""
    return {
        "commit_seq": dg.MetadataValue.int(commit.seq or 0),
        "delta_version": dg.MetadataValue.int(commit.delta_version),
        "partitions_written": dg.MetadataValue.int(len(commit.written)),
        "partitions_unchanged": dg.MetadataValue.int(len(commit.unchanged)),
        "rows_committed": dg.MetadataValue.int(commit.rows),
    }


def source_descriptions(source: BatchSource) -> dict[str, str]:
    """Column descriptions of a source: what the time columns mean."""
    texts = {source.event_at: "when it happened in the world (UTC)"}
    if source.arrived_at is not None:
        texts[source.arrived_at] = "when the log took it (UTC)"
    return texts


def view_descriptions(view: FeatureView) -> dict[str, str]:
    """Column descriptions of a view: keys, times, features."""
    return {
        **dict.fromkeys(view.entity.key_names, f"key of entity {view.entity.name}"),
        "event_at": "when it happened; for an aggregate, the end of its period (UTC)",
        "arrived_at": "when the last of its inputs arrived in the log (UTC)",
        "sequence": "order among rows of the same instant",
        **{feature.name: feature.description for feature in view.stored},
    }


def aggregates_metadata(view: FeatureView) -> dict[str, dg.MetadataValue]:
    """The features of a view of aggregates: of what, over which window, and how exactly. Nothing of a view of rows."""
    if not view.aggregates:
        return {}
    rows = [_aggregate_row(use) for use in layout_of(view).uses]
    return {"aggregates": dg.MetadataValue.md(markdown_table(pa.Table.from_pylist(rows)))}


def _aggregate_row(use: Use) -> dict[str, str]:
    one = use.aggregate
    return {
        "feature": use.feature.name,
        "type": str(use.feature.dtype),
        "function": _function_text(one),
        "column": " / ".join(filter(None, (one.column, one.over))),
        "window": _window_text(use.window),
        "hop": "" if use.window.size is None else duration_label(use.window.hop),
        "error bound": use.computation.error_bound or "exact",
        "description": use.feature.description,
    }


def _function_text(one: Aggregate) -> str:
    """The function with its parameters: `approx_percentile(percentile=0.9, accuracy=0.01, bound=2048)`."""
    given = {name: getattr(one, name) for name in _PARAMETERS if getattr(one, name) is not None}
    if one.half_life is not None:
        given["half_life"] = duration_label(one.half_life)
    return one.function + (f"({', '.join(f'{name}={value}' for name, value in given.items())})" if given else "")


def _window_text(window: Window) -> str:
    if window.size is None:
        return "lifetime"
    size = duration_label(window.size)
    if window.count > 1:
        return f"{window.count} x {size}"
    if window.offset:
        return f"{size}, {duration_label(window.offset)} ago"
    return f"the last whole {size}" if window.closed else size


def markdown_table(table: pa.Table) -> str:
    """A small table as GitHub markdown; `|` in a value is escaped."""
    names = table.column_names
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in table.to_pylist()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def histogram_plot(table: pa.Table, features: Sequence[str]) -> dg.MarkdownMetadataValue | None:
    """Histograms of the first numeric features as a PNG inside markdown; None if there is nothing to plot."""
    numeric = [
        n
        for n in features
        if pa.types.is_integer(table.schema.field(n).type) or pa.types.is_floating(table.schema.field(n).type)
    ]
    shown = [(name, _finite(table[name])) for name in numeric[:_PLOT_FEATURES]]
    shown = [(name, values) for name, values in shown if len(values)]
    if not shown:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(shown), 2.2))
    # All of them in one pair of axes: making a pair, with its ticks, is most of what drawing one costs.
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, len(shown))
    axes.set_ylim(-0.25, 1.25)
    for left, (name, values) in enumerate(shown):
        counts, edges = np.histogram(values.to_numpy(zero_copy_only=False), bins=30)
        width = edges[-1] - edges[0]
        axes.stairs(
            counts / counts.max(),
            left + _MARGIN + (1 - 2 * _MARGIN) * (edges - edges[0]) / width,
            fill=True,
            color="#4c78a8",
        )
        axes.text(left + 0.5, 1.1, name, fontsize=9, ha="center", parse_math=False)
        axes.text(left + _MARGIN, -0.15, f"{edges[0]:.3g}", fontsize=7)
        axes.text(left + 1 - _MARGIN, -0.15, f"{edges[-1]:.3g}", fontsize=7, ha="right")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80)
    return dg.MetadataValue.md(png_markdown(png.getvalue(), "distribution of features"))


def share_plot(title: str, shares: Sequence[tuple[str, float]]) -> dg.MarkdownMetadataValue:
    """The first of `shares` (name and share) as bars from 0 to 1, the first on top: a PNG inside markdown."""
    from matplotlib.figure import Figure

    shown = shares[:_PLOT_SHARES]
    figure = Figure(figsize=(6.4, 0.6 + 0.22 * len(shown)), layout="constrained")
    axis = figure.subplots()
    axis.barh(range(len(shown)), [share for _, share in shown], color="#e07b00")
    axis.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=7)
    axis.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"], fontsize=7)
    axis.set_xlim(0, 1)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80)
    return dg.MetadataValue.md(png_markdown(png.getvalue(), title))


def _finite(column: pa.ChunkedArray) -> pa.Array:
    values = pc.drop_null(column).combine_chunks().cast(pa.float64())
    return values.filter(pc.is_finite(values))


def png_markdown(png: bytes, text: str) -> str:
    """A PNG as a markdown image that needs no other file."""
    return f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})"
