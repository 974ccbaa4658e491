"""The leakage report as a page of HTML and as markdown.

Invariant: the page is one file that loads nothing and runs nothing (a policy in it forbids both), is well-formed, also
as XML, and holds every feature; names and values from outside are escaped.
It is a projection of the figures: the same report gives the same bytes.
"""

import re
from collections.abc import Sequence
from typing import Final

from feature_assets.training.leakage_figures import FeatureLeakage, LeakageFigures
from feature_assets.training.leakage_plots import KINDS, ages, cleaned, differences, escaped, stacked
from feature_assets.training.leakage_style import STYLE
from feature_assets.training.leakage_words import NOTHING, age, mode_name, number, percent, summary

_TAG: Final = re.compile("<(?=[A-Za-z/!?])")
_DIFFERENCE: Final = ("rows that differ", "median difference", "p95 difference", "median / std")
_AGES: Final = ("median", "p90", "p99", "most")

_READING: Final = (
    ("as served", "what the model was given, or would have been: values by the recorded time of their publication"),
    ("by event time", "what a join gives that asks only when something happened, not when it could be read"),
    ("rows that differ", "the share of rows in which the two give different values of the feature"),
    ("difference", "between numbers, in rows that differ; std: the feature's standard deviation as served"),
    ("age", "from the time that a value is about to the moment it was used"),
    ("simulated", "history that nobody was served: it became available by the delay that its view declares"),
    ("no value", "the share of rows in which the model is given nothing for the feature"),
)


def markdown(report: LeakageFigures) -> str:
    """The summary, a sentence a line, over a table with a line for each feature, in the service's order."""
    # One line of names: in this mode, rows that differ, and so on.
    header = ["feature"]
    for number_of, (group, columns) in enumerate(_groups(report)):
        of = mode_name(report.modes[number_of + 1]) if columns is _DIFFERENCE else group
        header += [f"{of}: {column}" for column in columns]
    lines = [*(_md_cell(line) for line in summary(report)), "", _md(header), _md(["---", *["---:"] * len(header[1:])])]
    return "\n".join([*lines, *(_md([feature.feature, *_cells(feature)]) for feature in report.features)]) + "\n"


def page(report: LeakageFigures) -> str:
    """The whole page."""
    title = f"Leakage report: {report.name or report.service}"
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>",
            f"<title>{escaped(title)}</title><style>{STYLE}</style></head>\n<body><h1>{escaped(title)}</h1>",
            _origin(report),
            _headline(report),
            _reading(),
            _table(report),
            _plots(report),
            "</body></html>\n",
        )
    )


def _origin(report: LeakageFigures) -> str:
    when = (
        ""
        if report.first is None
        else f", asked from {report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC"
    )
    made = f"training set {report.training_set} made {report.made_at:%Y-%m-%d %H:%M} UTC"
    text = f"Service {report.service} on {report.target}; {report.rows:,} rows{when}; {made}."
    return f'<p class="quiet">{escaped(text)}</p>'


def _headline(report: LeakageFigures) -> str:
    verdict, *rest = summary(report)
    kind = "bad" if report.leaked_served else "good"
    tiles = "".join(_tile(*one) for one in _tiles(report)) if report.rows else ""
    sentences = "".join(f"<p>{escaped(line)}</p>" for line in rest)
    return (
        f'<section class="verdict {kind}"><strong>{escaped(verdict)}</strong></section>\n'
        f'<div class="tiles">{tiles}</div>{sentences}\n'
    )


def _tiles(report: LeakageFigures) -> list[tuple[str, str, str]]:
    """What is seen from afar: a figure, what it is about, and the class of its colour."""
    served, by_event = report.leaked_served / report.rows, report.leaked_by_event / report.rows
    tiles = [
        (percent(served), "of the rows as served use a value that nobody could have read yet", "m0"),
        (percent(by_event), "of the rows do, if joined by event time", "m1"),
    ]
    medians = sorted(feature.staleness[0] for feature in report.features if feature.staleness)
    tiles += [(age(medians[len(medians) // 2]), "was the age of a typical value as served", "m0")] if medians else []
    tiles += [
        (percent(differing / report.rows), f"of the rows would hold fresher or other values: {mode_name(mode)}", "m2")
        for mode, differing in zip(report.modes[2:], report.differing[2:], strict=True)
    ]
    return tiles


def _tile(figure: str, about: str, kind: str) -> str:
    return f'<div class="tile {kind}"><b>{escaped(figure)}</b><span>{escaped(about)}</span></div>'


def _reading() -> str:
    words = "".join(f"<dt>{escaped(word)}</dt><dd>{escaped(meaning)}</dd>" for word, meaning in _READING)
    return f"<details><summary>How to read this</summary><dl>{words}</dl></details>\n"


# --------------------------------------------------------------------------------------------------------- the table


def _groups(report: LeakageFigures) -> list[tuple[str, tuple[str, ...]]]:
    """The columns after the feature's name, under what they have in common."""
    return [
        *((f"{mode_name(mode)}, against as served", _DIFFERENCE) for mode in report.modes[1:]),
        ("no value", tuple(mode_name(mode) for mode in report.modes)),
        ("age as served", _AGES),
    ]


def _cells(feature: FeatureLeakage) -> list[str]:
    """A feature's figures, one for each column of `_groups`."""
    cells = []
    for one in feature.differences:
        size = one.size
        figures = (None, None, None) if size is None else (size.median, size.p95, size.relative_median)
        cells += [percent(one.share), *(number(figure) for figure in figures)]
    staleness = [age(one) for one in feature.staleness] or [NOTHING] * len(_AGES)
    return [*cells, *(percent(share) for share in feature.without_value), *staleness]


def _table(report: LeakageFigures) -> str:
    groups = _groups(report)
    above = "".join(f'<th colspan="{len(columns)}" class="group">{escaped(group)}</th>' for group, columns in groups)
    below = "".join(f"<th>{escaped(column)}</th>" for _, columns in groups for column in columns)
    header = f'<tr><th rowspan="2">feature</th>{above}</tr><tr>{below}</tr>'
    rows = "".join(_row(feature, at) for at, feature in enumerate(report.by_share))
    return (
        "<h2>Every feature, those that differ in most rows first</h2>"
        f'<div class="wide"><table><thead>{header}</thead><tbody>{rows}</tbody></table></div>\n'
    )


def _row(feature: FeatureLeakage, at: int) -> str:
    first, *rest = _cells(feature)
    # As a bar behind the figure: where the differences are is seen without reading.
    bar = f'<td style="--share:{feature.share:.4f}" class="bar">{escaped(first)}</td>'
    return (
        f'<tr><td><a href="#f{at}">{escaped(feature.feature)}</a></td>{bar}'
        + "".join(f"<td>{escaped(cell)}</td>" for cell in rest)
        + "</tr>\n"
    )


# --------------------------------------------------------------------------------------------------------- the plots


def _plots(report: LeakageFigures) -> str:
    modes = "".join(f'<li class="m{at}">{escaped(mode_name(mode))}</li>' for at, mode in enumerate(report.modes))
    kinds = "".join(f'<li class="k{at}">{escaped(kind)}</li>' for at, kind in enumerate(KINDS))
    cards = "".join(_card(report, feature, at) for at, feature in enumerate(report.by_share))
    return f'<h2>Feature by feature</h2><ul class="key">{modes}</ul><ul class="key">{kinds}</ul>\n{cards}'


def _card(report: LeakageFigures, feature: FeatureLeakage, at: int) -> str:
    others = report.modes[1:]
    plots = [stacked([one.kinds for one in feature.differences], others, report.rows)]
    plots += [
        differences(one.size, mode, which)
        for which, (one, mode) in enumerate(zip(feature.differences, others, strict=True), start=1)
        if one.size is not None
    ]
    if any(one is not None for one in feature.ages):
        plots.append(ages(feature.ages, report.modes))
    figures = "".join(f"<figure>{plot}</figure>" for plot in plots)
    return (
        f'<section class="card" id="f{at}"><h3>{escaped(feature.feature)} <small>{escaped(feature.dtype)}</small></h3>'
        f'<div class="plots">{figures}</div></section>\n'
    )


def _md(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_md_cell(cell) for cell in cells)} |"


def _md_cell(text: str) -> str:
    """Text as it may stand in a cell: markdown lets tags through, and a bar or a new line ends a cell."""
    plain = _TAG.sub("&lt;", cleaned(text))
    return re.sub(r"([\\|\[\]`])", r"\\\1", plain).replace("\n", " ")
