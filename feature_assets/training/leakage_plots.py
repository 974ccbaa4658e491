"""The plots of a leakage page, as SVG that stands in the page: which rows differ, by how much, and how old values were.

Invariant: colours are classes of the page's style and text has its colour, so a plot is legible in the dark, too; what
comes from outside is escaped; the same figures give the same text.
It draws; what is drawn was counted before.
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from feature_assets.clock import duration_text
from feature_assets.training.differences import AGE_BOUNDS, HALF_BINS, Ages, Kinds, Size
from feature_assets.training.leakage_words import mode_name, number, percent

_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Characters that no document may hold, or that break a line where none is."""

_WIDTH: Final = 320
_LEFT, _RIGHT, _TOP = 6, 314, 34
"""From there on down there is room for bars: below a line that says what they are, and their figures."""
_BASE: Final = 100
"""Where bars stand, from above."""
_HEIGHT: Final = 134
_ROW: Final = 38

KINDS: Final = ("another value", "a value instead of none", "none instead of a value")
"""The kinds of change, in the order in which they are stacked."""


def stacked(kinds: Sequence[Kinds], modes: Sequence[str], rows: int) -> str:
    """One bar per mode, as long as the share of rows that differ, of all rows; divided by the kind of change."""
    parts = []
    for at, (kind, mode) in enumerate(zip(kinds, modes, strict=True)):
        top = at * _ROW
        share = kind.rows / rows if rows else 0.0
        parts.append(_text(_LEFT, top + 12, f"{mode_name(mode)}: {percent(share)} of the rows differ"))
        parts.append(_rect("track", _LEFT, top + 18, _RIGHT - _LEFT, 12))
        x = float(_LEFT)
        counts = (kind.value_to_other, kind.null_to_value, kind.value_to_null)
        for number_of, (count, label) in enumerate(zip(counts, KINDS, strict=True)):
            width = (_RIGHT - _LEFT) * count / rows if rows else 0.0
            if width:
                parts.append(_rect(f"k{number_of}", x, top + 18, width, 12, f"{label}: {percent(count / rows)}"))
            x += width
    return _svg("which rows differ", max(_ROW * len(kinds), 1), parts)


def differences(size: Size, mode: str, which: int) -> str:
    """How many rows differ by how much, and in which direction."""
    step = (_RIGHT - _LEFT) / len(size.counts)
    most = max(size.counts)
    parts = [_text(_LEFT, 12, f"{mode_name(mode)} less as served")]
    for at, count in enumerate(size.counts):
        height = (_BASE - _TOP) * count / most
        title = f"{_between(size, at)}: {count:,} rows"
        parts.append(_rect(f"m{which}", _LEFT + at * step + 0.5, _BASE - height, step - 1, height, title))
    middle = (_LEFT + _RIGHT) / 2
    parts += [_axis(), _line(middle, _TOP, middle, _BASE)]
    ticks = (
        (_LEFT, f"≤ {number(-size.p95)}", "start"),
        (middle, "0", "middle"),
        (_RIGHT, f"≥ {number(size.p95)}", "end"),
    )
    parts += [_text(x, _BASE + 14, text, anchor) for x, text, anchor in ticks]
    parts.append(_text(_LEFT, _BASE + 30, f"half of them by at most {number(size.median)}, 95% by {number(size.p95)}"))
    return _svg("how much they differ", _HEIGHT, parts)


def _between(size: Size, at: int) -> str:
    """The differences that a bar counts; the outermost hold what lies beyond them."""
    low, high = (number((at + side - HALF_BINS) / HALF_BINS * size.p95) for side in (0, 1))
    if at == 0:
        return f"{high} or less"
    return f"{low} or more" if at == len(size.counts) - 1 else f"{low} to {high}"


def ages(found: Sequence[Ages | None], modes: Sequence[str]) -> str:
    """How old used values were, one group of bars for each step of time, one bar of each mode in a group."""
    shares = [None if one is None else [count / one.rows for count in one.counts] for one in found]
    used = [at for at in range(len(AGE_BOUNDS) + 1) if any(one is not None and one[at] > 0 for one in shares)]
    shown = range(min(used), max(used) + 1)
    step = (_RIGHT - _LEFT) / len(shown)
    most = max(value for one in shares if one is not None for value in one)
    width = step * 0.86 / len(shares)
    parts = []
    for group, at in enumerate(shown):
        x = _LEFT + group * step + step * 0.07
        # Over the highest bar of each mode its share, but one label a group: two would lie over one another.
        labels = []
        for which, one in enumerate(shares):
            if one is not None and one[at]:
                height = (_BASE - _TOP) * one[at] / most
                title = f"{mode_name(modes[which])}, {_step(at)}: {percent(one[at])} of the values"
                left = x + which * width
                parts.append(_rect(f"m{which}", left, _BASE - height, width, height, title))
                if one[at] == max(one):
                    labels.append((height, left + width / 2, f"{one[at]:.0%}"))
        parts += [_text(left, _BASE - height - 4, label, "middle") for height, left, label in sorted(labels)[-1:]]
        parts.append(_text(_LEFT + (group + 0.5) * step, _BASE + 14, _step(at), "middle"))
    parts += [_text(_LEFT, 12, "age of the value when it was used"), _axis()]
    return _svg("how old the values were", _HEIGHT, parts)


def _step(at: int) -> str:
    """A step of age, by what it ends with; the last by what it starts with."""
    return f"<{duration_text(AGE_BOUNDS[at])}" if at < len(AGE_BOUNDS) else f"{duration_text(AGE_BOUNDS[-1])}+"


def cleaned(text: str) -> str:
    """Text from anywhere without what a document may not hold; it is not escaped."""
    return _UNSEEN.sub("\ufffd", text)


def escaped(text: str) -> str:
    """Text from anywhere, as it may stand in a document."""
    return escape(cleaned(text))


def _svg(label: str, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escaped(label)}">' + "".join(parts) + "</svg>"


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str = "") -> str:
    told = f"<title>{escaped(title)}</title>" if title else ""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {place}>{told}</rect>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'


def _axis() -> str:
    return _line(_LEFT, _BASE, _RIGHT, _BASE)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
