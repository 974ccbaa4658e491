"""Retraining over both kinds of lake: a folder and an S3-compatible store."""

from datetime import timedelta
from pathlib import Path

import pytest

from feature_assets.errors import RetrainingError
from feature_assets.offline.lake import Lake
from feature_assets.retraining.decisions import Decisions, Kind
from feature_assets.retraining.registry import ModelRegistry
from feature_assets_tests.delays import UNTIL, data_of
from feature_assets_tests.drills.retraining_process import retrained

LATER = UNTIL + timedelta(days=28)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.server)])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    server = request.getfixturevalue("s3_server")
    return Lake(server.url(), server.storage_options)


def test_from_no_champion_to_a_better_one(lake: Lake) -> None:
    registry = ModelRegistry(lake, "late")
    assert (registry.ids(), registry.champion()) == ((), None)
    first = retrained(lake, 0, UNTIL, rows=600, strength=1.0)
    second = retrained(lake, 1, LATER, rows=12_000, strength=2.0)
    assert first.champion is not None
    assert second.champion not in {None, first.champion}
    assert registry.champion() == second.champion
    assert registry.ids() == tuple(sorted([str(first.champion), str(second.champion)]))
    assert retrained(lake, 1, LATER, rows=12_000, strength=2.0) == second
    assert [row.kind for row in Decisions(lake).rows("late")] == [Kind.RETRAIN, Kind.PROMOTION, Kind.CHAMPION] * 2
    assert len(registry.load(str(second.champion)).predict(data_of(5, rows=10).table)) == 10


def test_a_changed_file_is_refused(lake: Lake) -> None:
    champion = str(retrained(lake, 0, UNTIL, rows=600, strength=1.0).champion)
    lake.write_bytes(b"tree", "models", "late", champion, "model.txt")
    with pytest.raises(RetrainingError, match="was changed"):
        ModelRegistry(lake, "late").load(champion)
