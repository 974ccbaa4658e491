"""The drift gate over many seeds: without drift it stays shut, at sudden drift it opens, few rows never open it."""

from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from feature_assets.quality.drift import DriftReport, drifted
from feature_assets.quality.profile import Profile, profiled
from feature_assets.retraining.gate import DriftEvidence, Evidence, decide_retrain
from feature_assets_tests.delays import model_of

pytestmark = pytest.mark.drill

NOW = datetime(2026, 3, 2, tzinfo=UTC)
IN_USE = Evidence(views=("weather",), online=(), champion="0" * 16, champion_since=NOW)
SKIES = np.array(["clear", "cloudy", "storm", "fog", "hail"])
USUAL, STORMY = [0.5, 0.25, 0.15, 0.07, 0.03], [0.1, 0.2, 0.5, 0.15, 0.05]


def table_of(rng: np.random.Generator, rows: int, *, drift: str = "") -> pa.Table:
    """Twelve columns of all kinds; `drift` names the one that has drifted."""
    wind = rng.normal(size=rows) + (drift == "wind")
    gusts = np.exp(rng.normal(size=rows)) * (3 if drift == "gusts" else 1)
    rain = np.where(rng.random(rows) < (0.4 if drift == "rain" else 0.9), 0.0, rng.random(rows))
    absent = rng.random(rows) < (0.5 if drift == "missing" else 0.1)
    sky = SKIES[rng.choice(5, rows, p=STORMY if drift == "sky" else USUAL)]
    if drift == "new":
        sky = np.where(rng.random(rows) < 0.2, "ash", sky)
    return pa.table(
        {
            "wind": wind,
            "gusts": gusts,
            "rain": rain,
            "missing": pa.array(rng.normal(size=rows), mask=absent),
            "sky": pa.array(sky.tolist()),
            "runways": rng.integers(1, 5, rows) + 4 * (drift == "runways"),
            "delays": rng.poisson(9 if drift == "delays" else 3, rows),
            "open": pa.array(rng.random(rows) < (0.4 if drift == "open" else 0.98)),
            "flight": pa.array([f"{value:08x}" for value in rng.integers(0, 2**32, rows)]),
            "carrier": pa.array([f"c{value}" for value in np.minimum(rng.zipf(1.6, rows), 500)]),
            "nothing": pa.array([1.0] * rows if drift == "nothing" else [None] * rows, pa.float64()),
            "constant": pa.array([7 + (drift == "constant")] * rows),
        }
    )


def gate_opens(report: DriftReport) -> bool:
    """Whether the gate retrains for this report alone."""
    found = DriftEvidence(
        view="weather", version="v", checked_at=NOW, drifted=tuple(feature.name for feature in report.drifted)
    )
    return decide_retrain(model_of(), msgspec.structs.replace(IN_USE, drift=(found,)), NOW).go


def report_of(reference: Profile, current: pa.Table) -> DriftReport:
    return drifted(reference, profiled(current, reference=reference))


SIZES = [(2_000, 20), (2_000, 500), (300, 300)]
LONG_SIZES = [*SIZES, (20_000, 5_000), (2_000, 50), (50, 2_000), (30, 30), (5, 5_000)]
KINDS = ["wind", "gusts", "rain", "missing", "sky", "new", "runways", "delays", "open", "nothing", "constant"]


def test_without_drift_the_gate_stays_shut(long_drills: bool) -> None:
    """At most 1% of 200 seeds for each size; the short form takes 70 seeds and allows none."""
    seeds = 200 if long_drills else 70
    for reference_rows, rows in LONG_SIZES if long_drills else SIZES:
        opened = {}
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            reference = profiled(table_of(rng, reference_rows))
            report = report_of(reference, table_of(rng, rows))
            if gate_opens(report):
                opened[seed] = [(feature.name, feature.reason) for feature in report.drifted]
        assert len(opened) <= seeds // 100, (reference_rows, rows, opened)


@pytest.mark.parametrize("kind", KINDS)
def test_sudden_drift_always_opens_it(kind: str, long_drills: bool) -> None:
    """And only the column that drifted is named."""
    for seed in range(200 if long_drills else 20):
        rng = np.random.default_rng(seed)
        reference = profiled(table_of(rng, 2_000))
        report = report_of(reference, table_of(rng, 300, drift=kind))
        assert gate_opens(report), (seed, kind)
        assert [feature.name for feature in report.drifted] == ["sky" if kind == "new" else kind], seed


def test_a_tiny_sample_opens_nothing_however_it_looks(long_drills: bool) -> None:
    """Three rows: even of other weather they prove nothing, except where even one row is impossible by chance."""
    for seed in range(200 if long_drills else 40):
        rng = np.random.default_rng(seed)
        reference = profiled(table_of(rng, 2_000))
        for kind in ("", "wind", "sky", "missing", "open"):
            assert not gate_opens(report_of(reference, table_of(rng, 3, drift=kind))), (seed, kind)


def test_gradual_drift_opens_it_once_it_adds_up_and_it_stays_open(long_drills: bool) -> None:
    for seed in range(50 if long_drills else 8):
        rng = np.random.default_rng(seed)
        reference = profiled(pa.table({"wind": rng.normal(size=5_000)}))
        weeks = [pa.table({"wind": rng.normal(size=2_000) + 0.08 * week}) for week in range(14)]
        flags = [gate_opens(report_of(reference, week)) for week in weeks]
        assert flags == sorted(flags)
        assert not any(flags[:3])
        assert flags[-1]
