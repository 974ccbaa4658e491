"""The registry and the record of decisions: whole models only, one champion at a time, nothing changed unnoticed."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from feature_assets.clock import ManualClock
from feature_assets.errors import InputError, RetrainingError, UnknownNameError
from feature_assets.offline.lake import Lake
from feature_assets.retraining.decisions import Decision, DecisionRow, Decisions, Kind
from feature_assets.retraining.manifest import Trained
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.trainer import train
from feature_assets_tests.delays import data_of, model_of

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def models() -> tuple[Trained, Trained]:
    clock = ManualClock(NOW)
    return train(model_of(), data_of(0, rows=500), clock=clock), train(model_of(), data_of(1, rows=500), clock=clock)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def row(candidate: str, champion: str | None, kind: Kind = Kind.CHAMPION, model: str = "late") -> DecisionRow:
    return DecisionRow(
        model=model,
        kind=kind,
        candidate=candidate,
        champion=champion,
        training_set="set",
        go=True,
        complete=True,
        reasons=("because", "it is better"),
        evidence="{}",
        comparison="",
        decided_at=NOW,
    )


def test_a_model_is_kept_and_read_back(lake: Lake, models: tuple[Trained, Trained]) -> None:
    registry = ModelRegistry(lake, "late")
    ids = [registry.save(one) for one in models]
    assert registry.ids() == tuple(sorted(ids))
    assert registry.manifest(ids[0]) == models[0].manifest
    rows = data_of(5, rows=100).table
    scores = [registry.load(id_).predict(rows).tolist() for id_ in ids]
    assert scores[0] != scores[1]
    assert registry.champion() is None


def test_saving_again_changes_nothing(lake: Lake, models: tuple[Trained, Trained]) -> None:
    registry = ModelRegistry(lake, "late")
    id_ = registry.save(models[0])
    later = msgspec.structs.replace(models[0].manifest, created_at=datetime(2026, 5, 1, tzinfo=UTC))
    registry.save(Trained(manifest=later, text=models[0].text))
    assert registry.manifest(id_).created_at == NOW


def test_a_text_without_a_manifest_is_no_model(lake: Lake, models: tuple[Trained, Trained]) -> None:
    """What a process killed in the middle of `save` leaves behind; the next one completes it."""
    registry, id_ = ModelRegistry(lake, "late"), models[0].manifest.id
    lake.write_bytes(b"half", "models", "late", id_, "model.txt")
    assert (registry.ids(), registry.has(id_)) == ((), False)
    with pytest.raises(UnknownNameError):
        registry.load(id_)
    registry.save(models[0])
    assert registry.load(id_).manifest == models[0].manifest


@pytest.mark.parametrize("file", ["model.txt", "manifest.json"])
def test_a_changed_or_torn_file_is_refused(lake: Lake, models: tuple[Trained, Trained], file: str) -> None:
    registry = ModelRegistry(lake, "late")
    at = ("models", "late", registry.save(models[0]), file)
    whole = lake.read_bytes(*at)
    assert whole is not None
    for changed in (whole[: len(whole) // 2], b""):
        lake.write_bytes(changed, *at)
        with pytest.raises(RetrainingError, match=r"was changed|cannot be read"):
            registry.load(at[2])
    lake.write_bytes(whole, *at)
    registry.load(at[2])


def test_files_that_were_swapped_or_lost_are_refused(lake: Lake, models: tuple[Trained, Trained]) -> None:
    registry = ModelRegistry(lake, "late")
    one, other = (registry.save(model) for model in models)
    text = lake.read_bytes("models", "late", other, "model.txt")
    assert text is not None
    lake.write_bytes(text, "models", "late", one, "model.txt")
    with pytest.raises(RetrainingError, match="was changed"):
        registry.load(one)
    manifest = lake.read_bytes("models", "late", other, "manifest.json")
    assert manifest is not None
    lake.write_bytes(manifest, "models", "late", one, "manifest.json")
    with pytest.raises(RetrainingError, match=f"that of late/{other}"):
        registry.load(one)
    (Path(lake.root) / "models" / "late" / other / "model.txt").unlink()
    with pytest.raises(RetrainingError, match="text is gone"):
        registry.load(other)


def test_a_newer_format_is_refused_by_name(lake: Lake, models: tuple[Trained, Trained]) -> None:
    registry = ModelRegistry(lake, "late")
    registry.save(Trained(manifest=msgspec.structs.replace(models[0].manifest, format=2), text=models[0].text))
    with pytest.raises(RetrainingError, match="format 2"):
        registry.load(models[0].manifest.id)


@pytest.mark.parametrize("id_", ["../../secrets", "", "0123456789ABCDEF", "0" * 17, "manifest.json"])
def test_an_id_never_leaves_its_folder(lake: Lake, id_: str) -> None:
    with pytest.raises(InputError, match="no model's id"):
        ModelRegistry(lake, "late").load(id_)
    with pytest.raises(InputError, match="no model's name"):
        ModelRegistry(lake, "../late")


def test_a_model_belongs_among_its_own(lake: Lake, models: tuple[Trained, Trained]) -> None:
    with pytest.raises(InputError, match="'late' does not belong"):
        ModelRegistry(lake, "early").save(models[0])


def test_the_champion_is_the_last_that_was_promoted(lake: Lake) -> None:
    log = Decisions(lake)
    assert log.champion("late") is None
    log.promote(row("a", None))
    log.promote(row("b", "a"))
    log.append(row("c", "b", Kind.PROMOTION))
    log.promote(row("x", None, model="early"))
    assert (log.champion("late"), log.champion("early")) == ("b", "x")
    assert [(one.kind, one.candidate) for one in log.rows("late")] == [
        (Kind.CHAMPION, "a"),
        (Kind.CHAMPION, "b"),
        (Kind.PROMOTION, "c"),
    ]
    assert log.rows("late")[0] == row("a", None)
    assert log.rows("late")[0].decision == Decision(go=True, complete=True, reasons=("because", "it is better"))


def test_a_promotion_said_twice_is_said_once(lake: Lake) -> None:
    log = Decisions(lake)
    log.promote(row("a", None))
    log.promote(row("a", None))
    assert len(log.rows("late")) == 1
    log.append(row("a", None))
    log.promote(row("b", "a"))
    assert log.champion("late") == "b"


def test_of_two_promotions_against_the_same_champion_the_first_wins(lake: Lake) -> None:
    log = Decisions(lake)
    log.promote(row("a", None))
    log.promote(row("b", "a"))
    with pytest.raises(RetrainingError, match="the champion is b now"):
        log.promote(row("c", "a"))
    assert log.champion("late") == "b"
    log.promote(row("c", "b"))
    assert log.champion("late") == "c"


def test_an_old_champion_can_come_back(lake: Lake) -> None:
    log = Decisions(lake)
    for candidate, champion in (("a", None), ("b", "a"), ("a", "b")):
        log.promote(row(candidate, champion))
    assert log.champion("late") == "a"
