"""The pure rules of versions, each against its definition written out."""

from hypothesis import given
from hypothesis import strategies as st

from feature_assets.offline.versions import (
    is_committed,
    newest,
    next_seq,
    settled,
    superseded_by,
    to_recommit,
)

version_sets = st.sets(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=12)


def test_numbers_are_dense_from_one() -> None:
    assert [next_seq(None), next_seq(0), next_seq(7)] == [1, 1, 8]
    assert [is_committed(1, None), is_committed(1, 0), is_committed(7, 7), is_committed(8, 7)] == [
        False,
        False,
        True,
        False,
    ]


@given(version_sets, version_sets, st.none() | st.integers(0, 7))
def test_the_newest_version_is_the_greatest_that_counts(
    versions: set[tuple[str, int]], excluded: set[tuple[str, int]], upto: int | None
) -> None:
    found = newest(versions, upto=upto, excluded=excluded)
    for partition in "abc":
        seqs = [
            seq
            for name, seq in versions
            if name == partition and (name, seq) not in excluded and (upto is None or seq <= upto)
        ]
        assert found.get(partition) == (max(seqs) if seqs else None)


@given(version_sets, version_sets)
def test_below_the_settled_number_everything_is_judged_and_at_the_next_something_is_not(
    versions: set[tuple[str, int]], judged: set[tuple[str, int]]
) -> None:
    n = settled(versions, judged)
    assert all(version in judged for version in versions if version[1] <= n)
    above = {version[1] for version in versions if version[1] > n}
    if above:
        assert min(above) == n + 1 or n + 1 not in {seq for _, seq in versions}
        assert any(version not in judged for version in versions if version[1] == min(above))
    else:
        assert n == max((seq for _, seq in versions), default=0)


def test_a_gap_before_what_is_open_belongs_to_what_is_settled() -> None:
    assert settled([("a", 1), ("a", 2)], {("a", 1)}) == 1
    assert settled([("a", 1), ("b", 2), ("a", 2)], {("a", 1), ("a", 2)}) == 1
    assert settled([], set()) == 0
    assert settled([("a", 1)], set()) == 0


@given(version_sets, version_sets)
def test_a_version_is_superseded_by_the_next_that_counts(
    versions: set[tuple[str, int]], excluded: set[tuple[str, int]]
) -> None:
    found = superseded_by(versions, excluded=excluded)
    counting = versions - excluded
    for partition, seq in counting:
        later = [other for name, other in counting if name == partition and other > seq]
        assert found.get((partition, seq)) == (min(later) if later else None)
    assert set(found) <= counting


def test_only_a_newest_version_that_failed_is_committed_again() -> None:
    counts = {"a": 3, "b": 2}
    assert to_recommit(["a", "b", "c"], counts, {("a", 3), ("b", 1), ("c", 1)}) == {"a"}
    assert to_recommit(["b"], counts, {("a", 3)}) == frozenset()
