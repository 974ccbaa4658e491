"""Verdicts: the first one counts, and the state at a settled number is a function of that number."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.offline.lake import Lake
from feature_assets.offline.table import VERSIONS_SCHEMA
from feature_assets.offline.verdicts import Verdict, Verdicts, settled_head

AT = datetime(2013, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(Lake(str(tmp_path)))


def verdict(
    partition: str, commit_seq: int, *, passed: bool = True, view: str = "speeds", version: str = "a"
) -> Verdict:
    return Verdict(
        view=view,
        version=version,
        partition=partition,
        commit_seq=commit_seq,
        passed=passed,
        blocking_failures=int(not passed),
        warnings=2,
        error="" if passed else "it raised",
        suite="5u1te",
        results='[{"type": "expect"}]',
        checked_at=AT,
    )


def versions(*pairs: tuple[str, int]) -> pa.Table:
    rows = [{"partition": name, "commit_seq": seq, "source_seq": 1, "rows": 1} for name, seq in pairs]
    return pa.Table.from_pylist(rows, VERSIONS_SCHEMA)


def test_nothing_recorded_is_nothing_known(verdicts: Verdicts) -> None:
    assert verdicts.of("speeds", "a").num_rows == 0
    assert verdicts.excluded("speeds", "a") == frozenset()
    assert verdicts.pending("speeds", "a", versions(("d1", 1))).to_pylist() == versions(("d1", 1)).to_pylist()
    assert verdicts.record([]) == 0


def test_a_verdict_comes_back_as_it_was(verdicts: Verdicts) -> None:
    given = [verdict("d2", 1, passed=False), verdict("d1", 1)]
    assert verdicts.record(given, run_id="r") == 2
    rows = verdicts.of("speeds", "a").to_pylist()
    assert [Verdict(**row) for row in rows] == [given[1], given[0]]


def test_the_first_verdict_counts(verdicts: Verdicts) -> None:
    assert verdicts.record([verdict("d1", 1, passed=False), verdict("d1", 1)]) == 1
    assert verdicts.record([verdict("d1", 1), verdict("d1", 2)]) == 1
    assert verdicts.excluded("speeds", "a") == {("d1", 1)}
    assert verdicts.of("speeds", "a").column("passed").to_pylist() == [False, True]


def test_of_two_recorded_at_the_same_time_the_first_counts(verdicts: Verdicts, tmp_path: Path) -> None:
    class Late(Verdicts):
        """Has looked before the other one recorded."""

        def of(self, view: str, version: str) -> pa.Table:
            return super().of(view, version).slice(0, 0)

    verdicts.record([verdict("d1", 1, passed=False)])
    assert Late(Lake(str(tmp_path))).record([verdict("d1", 1)]) == 1
    assert verdicts.excluded("speeds", "a") == {("d1", 1)}
    assert verdicts.of("speeds", "a").num_rows == 1


def test_views_and_versions_have_verdicts_of_their_own(verdicts: Verdicts) -> None:
    verdicts.record([verdict("d1", 1, passed=False), verdict("d1", 1, version="b"), verdict("d1", 1, view="other")])
    assert verdicts.excluded("speeds", "a") == {("d1", 1)}
    assert verdicts.excluded("speeds", "b") == verdicts.excluded("other", "a") == frozenset()
    assert verdicts.pending("speeds", "b", versions(("d1", 1), ("d2", 1))).column("partition").to_pylist() == ["d2"]


def test_settled_is_what_no_verdict_to_come_can_change(verdicts: Verdicts) -> None:
    committed = versions(("d1", 1), ("d2", 1), ("d1", 2), ("d3", 3))
    expected = {("d1", 1): 0, ("d1", 2): 0, ("d2", 1): 2, ("d3", 3): 3}
    for (partition, seq), settled in expected.items():
        verdicts.record([verdict(partition, seq, passed=seq != 2)])
        assert settled_head(committed, verdicts.of("speeds", "a")) == settled
