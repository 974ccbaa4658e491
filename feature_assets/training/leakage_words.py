"""A leakage report in plain words: the summary, and how shares, numbers and ages are written.

Invariant: the same figures give the same words; a share that is not zero is never written as zero.
It knows neither HTML nor markdown: nothing here is escaped.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from feature_assets.training.leakage_figures import FeatureLeakage, LeakageFigures

NOTHING: Final = "-"
"""Stands where there is no figure."""

_AGE_UNITS: Final = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("min", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
)
_SMALLEST: Final = 0.001
_SHOWN_UNITS: Final = 2


def percent(share: float) -> str:
    """A share with one decimal; only nothing is written as 0%, and only all as 100%."""
    if share in (0, 1):
        return f"{share:.0%}"
    if share < _SMALLEST:
        return "<0.1%"
    return ">99.9%" if share > 1 - _SMALLEST else f"{share:.1%}"


def number(value: float | None) -> str:
    """A number with up to three digits that count."""
    return NOTHING if value is None else f"{value:.3g}"


def age(duration: timedelta | None) -> str:
    """A duration in its two greatest units, rounded down: `1 d 6 h`, `45 s`."""
    if duration is None:
        return NOTHING
    words: list[str] = []
    for unit, length in _AGE_UNITS:
        count, duration = divmod(duration, length)
        if words or count:
            words.append(f"{count} {unit}" if count else "")
        if len(words) == _SHOWN_UNITS:
            break
    return " ".join(word for word in words if word) or "0 s"


def mode_name(mode: str) -> str:
    """A mode as people say it."""
    known = {"as_served": "as served", "as_of_event": "by event time"}
    return known.get(mode) or mode.replace("what_if(", "what if ").replace("=", " ").rstrip(")")


def summary(report: LeakageFigures) -> list[str]:
    """What the report says, in sentences; the first is the verdict."""
    if not report.rows:
        return ["There are no rows, so there is nothing to compare."]
    found = [_verdict(report), _by_event_time(report)]
    found += [f"{_most(report.by_share[0])}."] if report.features and report.by_share[0].share else []
    found += [_ages(report)] if any(feature.staleness for feature in report.features) else []
    found += [
        f"{schedule_text(mode)}, {_rows(differing, report.rows)} would hold other values than were served."
        for mode, differing in zip(report.modes[2:], report.differing[2:], strict=True)
    ]
    return [*found, _origins(report)]


def _verdict(report: LeakageFigures) -> str:
    if not report.leaked_served:
        return f"As served, none of {report.rows:,} rows uses a value that was not available when it was asked for."
    rows = _rows(report.leaked_served, report.rows)
    return f"As served, {rows} of {report.rows:,} use a value that was not available when it was asked for."


def _by_event_time(report: LeakageFigures) -> str:
    if not report.leaked_by_event:
        return "Joined on event time alone, none would either."
    return (
        f"Joined on event time alone, {_rows(report.leaked_by_event, report.rows)} would: "
        "a model trained on that learns from values that it will not be given."
    )


def _most(feature: FeatureLeakage) -> str:
    size = feature.differences[0].size
    text = f"The feature that differs most is {feature.feature}: in {percent(feature.share)} of the rows"
    if size is None:
        return text
    relative = size.relative_median
    spread = "" if relative is None else f" ({number(relative)} standard deviations)"
    return f"{text}, and where it does, typically by {number(size.median)}{spread}"


def _ages(report: LeakageFigures) -> str:
    medians = sorted(feature.staleness[0] for feature in report.features if feature.staleness)
    low, high = age(medians[0]), age(medians[-1])
    if low == high:
        return f"The typical value as served was {low} old when it was used."
    return f"The typical value as served was {low} to {high} old when it was used, depending on the feature."


def schedule_text(mode: str) -> str:
    """A schedule as the beginning of a sentence; zero between runs is a stream."""
    text = mode_name(mode).replace("what if every 0s", "Published as a stream")
    return text.replace("what if every", "Published every").replace(", delay", " with a delay of")


def origins_text(availability: Mapping[str, int]) -> str:
    """Rows by the origin of their availability."""
    return ", ".join(f"{what} for {_counted(rows)}" for what, rows in sorted(availability.items()))


def _origins(report: LeakageFigures) -> str:
    if set(report.availability) == {"recorded"}:
        return "When the values became available was recorded for every row."
    return f"How it is known when the values became available: {origins_text(report.availability)}."


def _rows(count: int, rows: int) -> str:
    return f"{_counted(count)} ({percent(count / rows)})"


def _counted(rows: int) -> str:
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"
