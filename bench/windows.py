"""Windows as of each row: the kernel against bare numpy, in the same run.

    python bench/windows.py [--events 5000000] [--spine 200000] [--keys 50000] [--json] [--quick] [--growth]

Count, sum, mean and max over an hour, a day and a week, of events whose keys are skewed (Zipf, exponent 1). *Bare* is
the one kernel that a person would write by hand for events that arrive in order: one sort, prefix sums of doubles,
binary searches, and maxima of runs of 2**k; it makes no exact sums, knows no nulls, no late and no corrected events.
Against that same bare kernel the events are also late: 1% and 20% of them by one hour to three days, and all of them
by a jitter of up to ten seconds, which puts the events of busy keys out of order everywhere.

What counts is the user's share of the processor's time, of which the least of some rounds is taken: other work on the
machine disturbs that least. `--growth` adds 1 to 20 million events; one key with half of all events is always measured,
with the peak of memory, in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from harness import Figure, finish, parser

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.layout import Layout, layout_of
from feature_assets.compute.aggregates.slot import Finished, Records
from feature_assets.compute.windows import Questions, Visibility, windowed
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.view import FeatureView
from feature_assets.definition.window import Window
from feature_assets_tests.histories import SOURCE, unchanged

Ints = npt.NDArray[np.int64]
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
DAYS = 60
DELAY = 2 * SECOND
WINDOWS = tuple(Window.sliding(size) for size in (timedelta(hours=1), timedelta(days=1), timedelta(days=7)))
MIB = 1024**2


@dataclass(frozen=True)
class Events:
    """A log of events, in the order of their time, and what is asked of it."""

    key: Ints
    event_at: Ints
    available_at: Ints
    amount: npt.NDArray[np.float64]
    spine_key: Ints
    as_of: Ints


def layout() -> Layout:
    """Four aggregates over three windows."""
    aggregates = [
        Aggregate("count", None, WINDOWS),
        *(Aggregate(function, "amount", WINDOWS) for function in ("sum", "mean", "max")),
    ]
    entity = Entity("card", {"card": pa.int64()})
    return layout_of(
        FeatureView("cards", entity, SOURCE, unchanged, columns=[("amount", pa.float64())], aggregates=aggregates)
    )


def events(count: int, spine: int, keys: int, *, late: float = 0.0, jitter: int = 0, half: bool = False) -> Events:
    """Events of two months. `late`: which share of them; `jitter`: seconds; `half`: one key has half of them."""
    random = np.random.default_rng(3)
    share = 1.0 / np.arange(1, keys + 1)
    if half:
        share[0] = share[1:].sum()
    odds = np.cumsum(share / share.sum())
    # Which key is busy must not follow from its number.
    names = random.permutation(keys)
    key = names[np.searchsorted(odds, random.random(count))].astype(np.int64)
    event_at = np.sort(random.integers(0, DAYS * DAY, count))
    delay = DELAY + random.integers(0, jitter * SECOND + 1, count)
    chosen = random.random(count) < late
    delay[chosen] += random.integers(HOUR, 3 * DAY, int(chosen.sum()))
    amount = np.round(random.lognormal(3.0, 1.0, count), 2)
    asked = names[np.searchsorted(odds, random.random(spine))].astype(np.int64)
    return Events(key, event_at, event_at + delay, amount, asked, random.integers(8 * DAY, DAYS * DAY, spine))


def ours(of: Layout, given: Events) -> list[Finished]:
    """The kernel, as the loader calls it."""
    records = Records({"amount": pa.array(given.amount)}, given.event_at, np.zeros(len(given.key), np.int64))
    seen = Visibility(given.key, given.available_at, np.broadcast_to(np.int64(OPEN), given.key.shape))
    return windowed(of.uses, of.slots, records, seen, Questions(given.spine_key, given.as_of))


def bare(given: Events) -> dict[str, npt.NDArray[np.float64]]:
    """By hand, for events that arrive in order."""
    span = 2 * DAYS * DAY
    order = np.argsort(given.key * span + given.event_at, kind="stable")
    packed = (given.key * span + given.event_at)[order]
    amount = given.amount[order]
    prefix = np.concatenate(([0.0], np.cumsum(amount)))
    questions = np.argsort(given.spine_key * span + given.as_of, kind="stable")
    key, at = given.spine_key[questions], given.as_of[questions]
    visible = (given.key * span + given.available_at)[order]
    high = np.searchsorted(visible, key * span + at, side="right")
    found = {}
    for window in WINDOWS:
        start = window.spans(at)[0][:, 0]
        low = np.minimum(np.searchsorted(packed, key * span + start, side="left"), high)
        count = high - low
        total = prefix[high] - prefix[low]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
        columns = {"count": count, "amount_sum": total, "amount_mean": mean, "amount_max": maxima(amount, low, high)}
        for name, values in columns.items():
            back = np.empty(len(values))
            back[questions] = values
            found[f"{name}_{window.label}"] = back
    return found


def maxima(values: npt.NDArray[np.float64], low: Ints, high: Ints) -> npt.NDArray[np.float64]:
    """The greatest of values[low:high], from runs of 2**k values; NaN for none."""
    best = np.full(len(low), np.nan)
    bits = np.frexp((high - low).astype(np.float64))[1]
    runs = values
    for level in range(int(bits.max(initial=0))):
        if level:
            half = 1 << level >> 1
            runs = np.maximum(runs[:-half], runs[half:])
        mine = np.flatnonzero(bits == level + 1)
        best[mine] = np.maximum(runs[low[mine]], runs[high[mine] - (1 << level)])
    return best


def agree(of: Layout, given: Events) -> None:
    """Both find the same, but for the last digits of the bare sums."""
    theirs = bare(given)
    for use, answer in zip(of.uses, ours(of, given), strict=True):
        values = np.asarray(answer.values.cast(pa.float64()).fill_null(np.nan))
        expected = theirs[use.feature.name]
        if use.feature.name.startswith("amount_sum"):
            expected = np.where(np.isnan(values), np.nan, expected)
        assert np.allclose(values, expected, rtol=1e-6, atol=1e-3, equal_nan=True), use.feature.name


def least(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least seconds of user time that each took, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
            work()
            taken[name].append(resource.getrusage(resource.RUSAGE_SELF).ru_utime - began)
    # A clock that counts in ticks may not have seen a very small one.
    return {name: max(min(seconds), 1e-6) for name, seconds in taken.items()}


# ------------------------------------------------------------------------------------------------------------- the runs


def figures(given: argparse.Namespace) -> list[Figure]:
    """All of them."""
    of = layout()
    size = {"events": given.events, "spine": given.spine, "keys": given.keys}
    make = partial(events, given.events, given.spine, given.keys)
    in_order = make()
    agree(of, in_order)
    results = []
    for name, log, bound in (
        ("in order", in_order, 1.5),
        ("1% late", make(late=0.01), 3.0),
        ("20% late", make(late=0.2), None),
        ("jitter", make(jitter=10), None),
        ("half of all events are of one key", make(half=True), None),
        ("half of all events are of one key, 1% late", make(half=True, late=0.01), None),
    ):
        taken = least({"ours": partial(ours, of, log), "bare": partial(bare, log)}, given.rounds)
        label = f"windows, {name}"
        results.append(Figure(label, taken["ours"], taken["bare"], "s of user time", at_most=bound, more=size))
        if not given.json:
            print(f"{name}: {taken}", flush=True)
    results += memory(given)
    if given.growth:
        results += growth(of, given)
    return results


def growth(of: Layout, given: argparse.Namespace) -> list[Figure]:
    """From a fifth of the events to four times as many: time per event against that at the smallest."""
    results: list[Figure] = []
    first = given.events // 5
    base = 0.0
    for times in (1, 5, 20):
        log = events(first * times, given.spine, given.keys, late=0.01)
        seconds = least({"ours": partial(ours, of, log)}, given.rounds)["ours"]
        base = base or seconds
        name = f"windows, {first * times:,} events, 1% late"
        results.append(Figure(name, seconds, base * times, "s of user time", at_most=1.5))
    return results


def memory(given: argparse.Namespace) -> list[Figure]:
    """The peak with skewed keys against that with half of all events at one key."""
    peaks = {}
    for half in (False, True):
        arguments = ["--peak", "half" if half else "skewed", "--events", str(given.events), "--keys", str(given.keys)]
        command = [sys.executable, __file__, *arguments, "--spine", str(given.spine)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[half] = json.loads(done.stdout.splitlines()[-1])["bytes"] / MIB
    label = "peak memory, half of all events are of one key"
    return [Figure(label, peaks[True], max(peaks[False], 1e-6), "MiB", at_most=1.5)]


def measure_peak(given: argparse.Namespace) -> None:
    """In the process of its own: what the peak rises by."""
    of = layout()
    log = events(given.events, given.spine, given.keys, late=0.01, half=given.peak == "half")
    # Linux: begin the high-water mark anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmHWM")
    ours(of, log)
    print(json.dumps({"bytes": max(_status("VmHWM") - before, 1)}))


def _status(name: str) -> int:
    """A figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Make events, compare, print."""
    options = parser(__doc__)
    options.add_argument("--events", type=int, default=5_000_000)
    options.add_argument("--spine", type=int, default=200_000)
    options.add_argument("--keys", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--quick", action="store_true", help="a size that shows nothing but that it runs")
    options.add_argument("--growth", action="store_true", help="also a fifth, and four times as many events")
    options.add_argument("--peak", choices=("skewed", "half"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.quick:
        given.events, given.spine, given.keys, given.rounds = 3_000, 200, 50, 1
    if given.peak:
        measure_peak(given)
        return
    finish(figures(given), given)


if __name__ == "__main__":
    main()
