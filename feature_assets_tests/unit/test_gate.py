"""The gate: what asks for a new model, what forbids it, what is missing, and who is surely better."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.model import Gate
from feature_assets.errors import RetrainingError
from feature_assets.offline.lake import Lake
from feature_assets.quality.checked import ViewVerdicts
from feature_assets.quality.consistency import ConsistencyRecord
from feature_assets.retraining.decisions import Decision, Decisions, Kind
from feature_assets.retraining.gate import DriftEvidence, Evidence, decide_promotion, decide_retrain
from feature_assets.retraining.manifest import ModelManifest, TrainingData, model_id
from feature_assets.retraining.metrics import Comparison
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.retrain import Outcome, retrain
from feature_assets.retraining.trainer import train
from feature_assets_tests.delays import SPLIT, TARGET, UNTIL, data_of, model_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)
LATER = UNTIL + timedelta(days=28)
GOOD_VERDICTS = ViewVerdicts(view="weather", version="v", commit_seq=3, passed=9, failed=(), missing=())
GOOD_COPY = ConsistencyRecord(
    view="weather", version="v", target=TARGET, pushed_seq=3, sampled=9, mismatches=0, missing=0, checked_at=NOW
)
COMPLETE = Evidence(views=("weather",), online=("weather",), verdicts=(GOOD_VERDICTS,), consistency=(GOOD_COPY,))
IN_USE = msgspec.structs.replace(COMPLETE, champion="0" * 16, champion_since=NOW - timedelta(days=10))


def having(base: Evidence = IN_USE, **changes: Any) -> Evidence:  # noqa: ANN401 - any field of it
    return msgspec.structs.replace(base, **changes)


def drift(*features: str) -> tuple[DriftEvidence, ...]:
    return (DriftEvidence(view="weather", version="v", checked_at=NOW, drifted=features),)


def bounded(lower: float) -> Comparison:
    return Comparison(
        difference=lower + 0.01,
        lower=lower,
        upper=lower + 0.02,
        confidence=0.95,
        champion_auc=0.7,
        challenger_auc=0.71 + lower,
        rows=1_000,
        units=14,
        resamples=1_000,
        seed=1,
    )


FAILED = msgspec.structs.replace(GOOD_VERDICTS, passed=8, failed=("2026-01-02",))
UNJUDGED = msgspec.structs.replace(GOOD_VERDICTS, passed=8, missing=("2026-01-02",))
WRONG_COPY = msgspec.structs.replace(GOOD_COPY, mismatches=1)
UNSEEN_COPY = msgspec.structs.replace(GOOD_COPY, sampled=0)


@pytest.mark.parametrize(
    ("evidence", "go", "complete", "says"),
    [
        (COMPLETE, True, True, "there is no champion"),
        (IN_USE, False, True, "nothing asks for it"),
        (having(drift=drift()), False, True, "0 drifted features, 1 would matter"),
        (having(drift=drift("wind")), True, True, "drift: weather.wind"),
        (having(champion_since=NOW - timedelta(days=31)), True, True, "31 days old, more than 30"),
        (having(champion_since=NOW - timedelta(days=30)), False, True, "the champion is 30 of 30 days old"),
        (having(COMPLETE, verdicts=(FAILED,)), False, True, "expectations failed for 2026-01-02"),
        (having(COMPLETE, consistency=(WRONG_COPY,)), False, True, "9 sampled, 1 differ, 0 missing"),
        (having(COMPLETE, consistency=(UNSEEN_COPY,)), False, True, "0 sampled"),
        (having(COMPLETE, verdicts=()), True, False, "view weather: no verdicts"),
        (having(COMPLETE, verdicts=(UNJUDGED,)), True, False, "no verdict for 2026-01-02"),
        (having(COMPLETE, consistency=()), True, False, "never read back"),
        (having(COMPLETE, consistency=(), online=()), True, True, "there is no champion"),
        (having(drift=drift("wind"), verdicts=(FAILED,)), False, True, "drift: weather.wind"),
    ],
)
def test_retraining_needs_a_reason_and_nothing_against_it(
    evidence: Evidence, go: bool, complete: bool, says: str
) -> None:
    found = decide_retrain(model_of(gate=Gate(max_age=timedelta(days=30))), evidence, NOW)
    assert (found.go, found.complete) == (go, complete)
    assert any(says in reason for reason in found.reasons), found.reasons


def test_the_number_of_drifted_features_that_matters_is_the_models() -> None:
    model = model_of(gate=Gate(min_drifted_features=2))
    assert not decide_retrain(model, having(drift=drift("wind")), NOW).go
    assert decide_retrain(model, having(drift=drift("wind", "sky")), NOW).go


def test_being_asked_for_is_a_reason_and_overrules_nothing() -> None:
    assert decide_retrain(model_of(), IN_USE, NOW, force=True).go
    assert not decide_retrain(model_of(), having(verdicts=(FAILED,)), NOW, force=True).go


@pytest.mark.parametrize(
    ("evidence", "comparison", "go", "says"),
    [
        (IN_USE, bounded(0.002), True, "better by +0.0120, at least +0.0020 with 95% confidence (margin 0)"),
        (IN_USE, bounded(0.0), False, "not surely better"),
        (IN_USE, bounded(-0.002), False, "not surely better"),
        (COMPLETE, bounded(0.2), True, "guessing"),
        (IN_USE, "there are no rows that neither has seen", False, "not compared: there are no rows"),
        (having(verdicts=()), bounded(0.2), False, "missing: view weather: no verdicts"),
        (having(consistency=()), bounded(0.2), False, "missing: view weather: never read back"),
        (having(verdicts=(FAILED,)), bounded(0.2), False, "against: view weather"),
        (having(consistency=(WRONG_COPY,)), bounded(0.2), False, "differs from Delta"),
    ],
)
def test_promotion_needs_all_evidence_and_a_sure_advantage(
    evidence: Evidence, comparison: Comparison | str, go: bool, says: str
) -> None:
    found = decide_promotion(model_of(), evidence, comparison)
    assert found.go is go
    assert any(says in reason for reason in found.reasons), found.reasons


def test_the_margin_has_to_be_cleared() -> None:
    assert not decide_promotion(model_of(gate=Gate(margin=0.01)), IN_USE, bounded(0.009)).go
    assert decide_promotion(model_of(gate=Gate(margin=0.01)), IN_USE, bounded(0.011)).go


# ---- the whole way
@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def run(
    lake: Lake, data: TrainingData, base: Evidence = COMPLETE, *, at: datetime = NOW, force: bool = False
) -> Outcome:
    registry = ModelRegistry(lake, "late")
    champion = registry.champion()
    since = registry.manifest(champion).created_at if champion is not None else None
    evidence = having(base, champion=champion, champion_since=since)
    return retrain(model_of(), data, evidence=evidence, lake=lake, clock=ManualClock(at), force=force)


def kinds(lake: Lake) -> list[tuple[Kind, str, bool]]:
    return [(row.kind, row.candidate, row.go) for row in Decisions(lake).rows("late")]


def test_the_first_model_is_promoted_if_it_is_surely_better_than_guessing(lake: Lake) -> None:
    found = run(lake, data_of())
    assert found.promotion is not None
    assert found.promotion.go
    assert found.champion == found.model_id == ModelRegistry(lake, "late").champion()
    assert found.comparison is not None
    assert found.comparison.champion_auc == 0.5
    assert found.comparison.units == 14, "the days of the test period"
    assert [kind for kind, _, _ in kinds(lake)] == [Kind.RETRAIN, Kind.PROMOTION, Kind.CHAMPION]


def test_a_model_that_learned_nothing_is_not_promoted(lake: Lake) -> None:
    found = run(lake, data_of(strength=0.0))
    assert found.promotion is not None
    assert not found.promotion.go
    assert found.model_id is not None
    assert found.champion is None


def test_running_it_again_changes_nothing(lake: Lake) -> None:
    first = run(lake, data_of())
    before = kinds(lake)
    for _ in range(2):
        again = run(lake, data_of(), at=NOW + timedelta(days=1))
        assert again == first
        assert kinds(lake) == before


def test_running_a_refused_one_again_changes_nothing(lake: Lake) -> None:
    first = run(lake, data_of(strength=0.0))
    before = kinds(lake)
    assert run(lake, data_of(strength=0.0), at=NOW + timedelta(days=1)) == first
    assert kinds(lake) == before


def test_without_a_reason_nothing_is_trained(lake: Lake) -> None:
    champion = run(lake, data_of()).champion
    found = run(lake, data_of(1, until=LATER))
    assert (found.retrain.go, found.model_id, found.promotion) == (False, None, None)
    assert found.champion == champion
    assert ModelRegistry(lake, "late").ids() == (champion,)
    assert kinds(lake)[-1] == (Kind.RETRAIN, model_id(model_of(), data_of(1, until=LATER)), False)


def test_a_worse_challenger_is_refused(lake: Lake) -> None:
    champion = run(lake, data_of(rows=8_000)).champion
    few = data_of(1, rows=2_500, until=LATER)
    labels = np.asarray(few.table["late"].to_numpy(zero_copy_only=False), dtype=bool)
    trained = few.table["asked_at"].to_numpy() < np.datetime64("2026-03-08")
    wrong = TrainingData(
        table=few.table.set_column(few.table.column_names.index("late"), "late", [np.where(trained, ~labels, labels)]),
        manifest_id=few.manifest_id,
        versions=few.versions,
        commit_seq=few.commit_seq,
        until=few.until,
    )
    found = run(lake, wrong, having(drift=drift("wind")))
    assert found.promotion is not None
    assert not found.promotion.go
    assert "not surely better" in found.promotion.reasons
    assert found.comparison is not None
    assert found.comparison.upper < 0
    assert found.champion == champion
    assert found.model_id in ModelRegistry(lake, "late").ids(), "refused, and kept for whoever wants to know why"


def test_an_equal_challenger_is_refused(lake: Lake) -> None:
    champion = run(lake, data_of()).champion
    found = run(lake, data_of(until=LATER, name="the same rows, later"), force=True)
    assert found.model_id != champion
    assert found.champion == champion


def test_a_better_challenger_takes_over(lake: Lake) -> None:
    first = run(lake, data_of(rows=600, strength=1.0))
    found = run(lake, data_of(1, rows=12_000, until=LATER), having(drift=drift("wind")))
    assert first.champion is not None
    assert found.promotion is not None
    assert found.promotion.go, found.promotion.reasons
    assert found.champion == found.model_id != first.champion
    assert found.comparison is not None
    assert found.comparison.lower > 0


def test_models_are_compared_on_rows_that_neither_has_seen(lake: Lake) -> None:
    """The champion has seen all but its last fortnight; a challenger trained on an older set must not use the rest."""
    run(lake, data_of(until=LATER))
    found = run(lake, data_of(1, until=UNTIL), force=True)
    assert found.promotion is not None
    assert found.promotion.reasons == ("not compared: there are no rows that neither has seen",)
    champion = ModelRegistry(lake, "late").manifest(str(found.champion))
    assert champion.seen_until == LATER - timedelta(days=14) == UNTIL + timedelta(days=14)


def test_missing_evidence_blocks_promotion_and_not_training(lake: Lake) -> None:
    found = run(lake, data_of(), having(COMPLETE, consistency=()))
    assert found.retrain.go
    assert found.model_id in ModelRegistry(lake, "late").ids()
    assert found.promotion is not None
    assert not found.promotion.go
    assert found.champion is None


def test_evidence_that_turns_up_later_is_decided_upon_again_without_training_again(lake: Lake) -> None:
    refused = run(lake, data_of(), having(COMPLETE, consistency=()))
    whole = data_of()
    tested = pc.greater_equal(whole.table["asked_at"], pa.scalar(UNTIL - SPLIT.test, pa.timestamp("us", tz="UTC")))
    untrainable = replace(whole, table=whole.table.filter(tested))
    with pytest.raises(RetrainingError, match="has no rows"):
        train(model_of(), untrainable, clock=ManualClock(NOW))
    found = run(lake, untrainable)
    assert found.champion == refused.model_id
    assert [kind for kind, _, _ in kinds(lake)] == [
        Kind.RETRAIN,
        Kind.PROMOTION,
        Kind.RETRAIN,
        Kind.PROMOTION,
        Kind.CHAMPION,
    ]


def test_a_champion_that_cannot_read_the_training_set_is_not_replaced_silently(lake: Lake) -> None:
    first = run(lake, data_of())
    registry = ModelRegistry(lake, "late")
    manifest = registry.manifest(str(first.champion))
    renamed = (msgspec.structs.replace(manifest.inputs[0], name="weather__gusts"), *manifest.inputs[1:])
    changed: ModelManifest = msgspec.structs.replace(manifest, inputs=renamed)
    lake.write_bytes(msgspec.json.encode(changed), "models", "late", manifest.id, "manifest.json")
    found = run(lake, data_of(1, until=LATER), force=True)
    assert found.promotion is not None
    assert "the champion cannot be asked" in found.promotion.reasons[0]
    assert found.champion == first.champion


def test_a_tampered_champion_stops_everything(lake: Lake) -> None:
    first = run(lake, data_of())
    lake.write_bytes(b"tree", "models", "late", str(first.champion), "model.txt")
    with pytest.raises(RetrainingError, match="was changed"):
        run(lake, data_of(1, until=LATER), force=True)
    assert ModelRegistry(lake, "late").champion() == first.champion


def test_a_champion_that_changed_meanwhile_is_not_overrun(lake: Lake) -> None:
    """Two retrainings started from the same evidence: the second compared with a champion that no longer is one."""
    evidence = COMPLETE
    clock = ManualClock(NOW)
    first = retrain(model_of(), data_of(), evidence=evidence, lake=lake, clock=clock)
    with pytest.raises(RetrainingError, match="run the retraining again"):
        retrain(model_of(), data_of(1), evidence=evidence, lake=lake, clock=clock)
    assert ModelRegistry(lake, "late").champion() == first.champion


def test_every_decision_is_recorded_with_its_reasons_and_evidence(lake: Lake) -> None:
    run(lake, data_of())
    rows = Decisions(lake).rows("late")
    assert all(row.reasons for row in rows)
    assert all(msgspec.json.decode(row.evidence, type=Evidence) == having(COMPLETE) for row in rows)
    assert all(row.decided_at == NOW for row in rows)
    assert {row.training_set for row in rows} == {data_of().manifest_id}
    comparison = msgspec.json.decode(rows[1].comparison, type=Comparison)
    assert f"AUC {comparison.challenger_auc:.4f}" in rows[1].reasons[0]
    assert rows[0].decision == Decision(go=True, complete=True, reasons=("there is no champion",))
