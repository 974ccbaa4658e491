"""Any history of commits, compactions and vacuums reads as the oracle says, at every number, before and after."""

import tempfile
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.offline.lake import Lake
from feature_assets.offline.maintenance import vacuum
from feature_assets.offline.rewrite import rewrite_partitioned
from feature_assets.offline.table import PartitionedTable
from feature_assets_tests.oracle.partition_history import PartitionHistory, Values
from feature_assets_tests.partitions import PATH, feature_rows, speeds, xs

DAYS = ("2013-01-01", "2013-01-31", "2013-02-01", "2014-01-01")


@dataclass(frozen=True)
class Commit:
    days: dict[str, list[float | None]]


contents = st.lists(st.sampled_from([None, 0.0, 1.5, -2.0]), max_size=5)
commits = st.builds(Commit, st.dictionaries(st.sampled_from(DAYS), contents, min_size=1))
steps = st.lists(
    st.one_of(commits, commits, st.sampled_from(["rewrite", "vacuum", "optimize"])), min_size=1, max_size=9
)


def as_values(values: list[float | None]) -> Values:
    return tuple((f"k{i}", value) for i, value in enumerate(values))


def read_values(table: PartitionedTable, upto: int, excluded: frozenset[tuple[str, int]]) -> dict[str, Values]:
    rows = table.read(upto=upto, excluded=excluded)
    held: dict[str, list[tuple[str, float | None]]] = {}
    for partition, key, x in zip(
        rows.column("partition").to_pylist(), rows.column("k").to_pylist(), xs(rows), strict=True
    ):
        held.setdefault(partition, []).append((key, x))
    return {name: tuple(sorted(values)) for name, values in held.items()}


def take(step: Commit | str, table: PartitionedTable, oracle: PartitionHistory) -> None:
    if isinstance(step, Commit):
        done = table.commit({day: feature_rows(day, values) for day, values in step.days.items()})
        assert done.seq == oracle.commit({day: as_values(values) for day, values in step.days.items()})
    elif not oracle.commits:
        return
    elif step == "rewrite":
        rewrite_partitioned(table)
    elif step == "optimize":
        table.lake.open(*PATH).optimize.compact()
    else:
        vacuum(table.lake, *PATH, retention=timedelta(0))


@settings(max_examples=40)
@given(steps, st.data())
def test_every_number_reads_as_the_oracle_says(history: list[Commit | str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        table, oracle = speeds(Lake(root)), PartitionHistory()
        for step in history:
            take(step, table, oracle)
        head = len(oracle.commits)
        assert table.head() == head
        every = [(name, seq) for name, seq, _ in oracle.versions(head)]
        failed = frozenset(data.draw(st.sets(st.sampled_from(every)))) if every else frozenset()
        for upto in range(head + 1):
            wanted = {name: values for name, values in oracle.state(upto, failed).items() if values}
            assert read_values(table, upto, failed) == wanted
            rows = table.partition_versions(upto).to_pylist()
            assert [(row["partition"], row["commit_seq"], row["rows"]) for row in rows] == oracle.versions(upto)


@settings(max_examples=12)
@given(st.lists(commits, min_size=1, max_size=6))
def test_a_rewrite_and_a_vacuum_change_no_byte_of_what_is_read(history: list[Commit]) -> None:
    with tempfile.TemporaryDirectory() as root:
        table, oracle = speeds(Lake(root)), PartitionHistory()
        for step in history:
            take(step, table, oracle)
        head = table.head()
        before = [(table.read(upto=n), table.read_versions(upto=n)) for n in range(head + 1)]
        rewrite_partitioned(table)
        vacuum(table.lake, *PATH, retention=timedelta(0))
        assert len({file.month for file in table.snapshot().files}) == len(table.snapshot().files)
        assert [(table.read(upto=n), table.read_versions(upto=n)) for n in range(head + 1)] == before
