"""A retraining in a process of its own, to be killed: `python -m ... <root> <seed> <until> <rows> <strength>`.

It prints the outcome as JSON.
Invariant: the same arguments are the same training set and the same evidence, so a second process repeats the first.
"""

import sys
from datetime import datetime

import msgspec

from feature_assets.clock import ManualClock
from feature_assets.definition.model import Gate
from feature_assets.offline.lake import Lake
from feature_assets.quality.checked import ViewVerdicts
from feature_assets.quality.consistency import ConsistencyRecord
from feature_assets.retraining.gate import Evidence
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.retrain import Outcome, retrain
from feature_assets_tests.delays import TARGET, data_of, model_of


def retrained(lake: Lake, seed: int, until: datetime, *, rows: int, strength: float) -> Outcome:
    """One retraining, with evidence that lets it through."""
    registry = ModelRegistry(lake, "late")
    champion = registry.champion()
    evidence = Evidence(
        views=("weather",),
        online=("weather",),
        verdicts=(ViewVerdicts(view="weather", version="v", commit_seq=3, passed=9, failed=(), missing=()),),
        consistency=(
            ConsistencyRecord(
                view="weather",
                version="v",
                target=TARGET,
                pushed_seq=3,
                sampled=9,
                mismatches=0,
                missing=0,
                checked_at=until,
            ),
        ),
        champion=champion,
        champion_since=registry.manifest(champion).created_at if champion is not None else None,
    )
    data = data_of(seed, rows=rows, strength=strength, until=until)
    return retrain(model_of(gate=Gate()), data, evidence=evidence, lake=lake, clock=ManualClock(until), force=True)


if __name__ == "__main__":
    root, seed, until, rows, strength = sys.argv[1:]
    outcome = retrained(Lake(root), int(seed), datetime.fromisoformat(until), rows=int(rows), strength=float(strength))
    sys.stdout.write(msgspec.json.encode(outcome).decode())
