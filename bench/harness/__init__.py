"""What every bench shares: its options, fair timing, and one form of result.

    options = parser(__doc__)                     # argparse, with --json
    options.add_argument("--rows", type=int, default=1000)
    given = options.parse_args()
    taken = compared({"ours": ours, "bare": bare}, rounds=50)
    finish([Figure("read", taken["ours"].median, taken["bare"].median, "s", at_most=1.3)], given)

Invariant: what is compared is timed in the same run, in turns, so that whatever else the machine does falls on all
alike; and the last line of the output is one JSON object `{name, measured, limit, ratio, unit, ...}`.
Importing it makes the packages at the root of the tree importable, wherever the bench was started from.
It asserts nothing: a figure says whether it is within its bound, and a reader decides.
"""

import argparse
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@dataclass(frozen=True, slots=True)
class Samples:
    """How long each round took, in seconds."""

    seconds: NDArray[np.float64]

    @property
    def median(self) -> float:
        """The middle one: what it usually takes."""
        return float(np.median(self.seconds))

    @property
    def quiet(self) -> float:
        """What one round in ten stayed within: what it takes where little else runs. To compare on a shared machine."""
        return self.percentile(10)

    @property
    def best(self) -> float:
        """The shortest: the least disturbed."""
        return float(self.seconds.min())

    @property
    def total(self) -> float:
        """All of them together."""
        return float(self.seconds.sum())

    def percentile(self, q: float) -> float:
        """What `q` percent of the rounds stayed within."""
        return float(np.percentile(self.seconds, q))


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. `limit` is what the bare means reached in the same run, and `ratio` is measured over limit.

    `at_most` and `at_least` bound the ratio: the first for what is better smaller (time, memory), the second for what
    is better larger (rows per second). `more` goes into the JSON as it is.
    """

    name: str
    measured: float
    limit: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Measured over limit; 0 if there is no limit."""
        return self.measured / self.limit if self.limit else 0.0

    @property
    def within(self) -> bool:
        """Whether the ratio keeps its bounds."""
        return (self.at_most is None or self.ratio <= self.at_most) and (
            self.at_least is None or self.ratio >= self.at_least
        )

    def as_json(self) -> dict[str, object]:
        """The object that is printed."""
        bounds = {"at_most": self.at_most, "at_least": self.at_least}
        return {
            "name": self.name,
            "measured": _rounded(self.measured),
            "limit": _rounded(self.limit),
            "ratio": _rounded(self.ratio),
            "unit": self.unit,
            **{name: bound for name, bound in bounds.items() if bound is not None},
            "within": self.within,
            **self.more,
        }


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every bench has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print nothing but the last line")
    return made


def compared(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2, in_a_row: int = 1
) -> dict[str, Samples]:
    """Time each contestant `rounds` times, in turns; who begins a turn changes. Garbage is collected between turns.

    `in_a_row`: how often in each turn, for what is as fast as it is only while it is used.
    """
    names = list(contestants)
    for _ in range(warmup):
        for name in names:
            contestants[name]()
    taken: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for turn in range(-(-rounds // in_a_row)):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                taken[name] += [timed(contestants[name]) for _ in range(in_a_row)]
            gc.collect(0)
    finally:
        gc.enable()
    return {name: Samples(np.array(seconds)) for name, seconds in taken.items()}


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def finish(figures: Sequence[Figure], options: argparse.Namespace, *, headline: str | None = None) -> None:
    """Print the figures as a table (not with --json), then the headline (default: the first) as the last line.

    The other figures are in the last line too, under `figures`.
    """
    chosen = next((one for one in figures if one.name == headline), figures[0])
    if not options.json:
        _print_table(figures)
    whole = chosen.as_json() | {"figures": [one.as_json() for one in figures], "machine": machine()}
    print(json.dumps(whole), flush=True)


def machine() -> dict[str, object]:
    """What it ran on."""
    return {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform(terse=True)}


def _print_table(figures: Sequence[Figure]) -> None:
    width = max(len(one.name) for one in figures)
    print(f"{'':{width}}  {'measured':>12} {'bare':>12} {'ratio':>7} {'bound':>8}  unit")
    for one in figures:
        bound = f"<= {one.at_most:g}" if one.at_most is not None else ""
        bound = f">= {one.at_least:g}" if one.at_least is not None else bound
        flag = "" if one.within else "  beyond its bound"
        figures_of = f"{one.measured:>12.4g} {one.limit:>12.4g} {one.ratio:>7.2f}"
        print(f"{one.name:{width}}  {figures_of} {bound:>8}  {one.unit}{flag}")


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
