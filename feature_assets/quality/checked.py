"""Checking a commit: expectations evaluated on what was committed, verdicts recorded.

Invariant: a version of a partition without a verdict is not published, so a process that dies between the commit and
its verdict leaves work, never a bad value: whoever checks next evaluates what has none yet, from what is in the lake.
"""

from collections.abc import Mapping

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import Clock
from feature_assets.compute.engine import view_schema
from feature_assets.crash import crash_point
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.lake import Lake
from feature_assets.offline.materialize import ViewCommit
from feature_assets.offline.table import PartitionedTable, feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets.offline.versions import Version, newest
from feature_assets.quality.expectations import evaluated


class ViewVerdicts(msgspec.Struct, frozen=True, kw_only=True):
    """How the state of a view at one commit stands: of the partition versions it consists of, how many passed."""

    view: str
    version: str
    commit_seq: int
    passed: int
    failed: tuple[str, ...]
    missing: tuple[str, ...]


def check_commit(
    view: FeatureView, done: ViewCommit, *, lake: Lake, verdicts: Verdicts, clock: Clock, run_id: str = ""
) -> list[Verdict]:
    """Evaluate and record whatever of the view has no verdict yet: the commit, and what an earlier run left behind.

    Returns the recorded verdicts (which are the first ones, should another process have been faster) of all that was
    evaluated, and of the partitions that the run found unchanged.
    """
    version, table = view_version(view), feature_table(lake, view)
    versions = table.partition_versions()
    pending = _by_commit(verdicts.pending(view.name, version, versions))
    for commit_seq, partitions in pending.items():
        given = done.tables if commit_seq == done.commit.seq else {}
        tables = _tables(view, table, commit_seq, partitions, given)
        verdicts.record(evaluated(view, version, tables, commit_seq, clock=clock), run_id=run_id)
    crash_point("materialize.after_verdict")
    asked = {(partition, seq) for seq, partitions in pending.items() for partition in partitions}
    asked |= {pair for pair in _newest(versions) if pair[0] in done.commit.unchanged}
    recorded = [msgspec.convert(row, Verdict) for row in verdicts.of(view.name, version).to_pylist()]
    return [verdict for verdict in recorded if (verdict.partition, verdict.commit_seq) in asked]


def verdicts_at(view: FeatureView, version: str, commit_seq: int, *, lake: Lake, verdicts: Verdicts) -> ViewVerdicts:
    """The verdicts behind the state of a view at `commit_seq`: of the newest version of each partition up to there.

    A partition whose newest version failed counts as failed although an older one is read in its place: what should
    have been there is not.
    """
    current = _newest(feature_table(lake, view, version).partition_versions(commit_seq))
    known = verdicts.of(view.name, version)
    pairs = zip(known["partition"].to_pylist(), known["commit_seq"].to_pylist(), strict=True)
    passed = dict(zip(pairs, known["passed"].to_pylist(), strict=True))
    return ViewVerdicts(
        view=view.name,
        version=version,
        commit_seq=commit_seq,
        passed=sum(passed.get(pair) is True for pair in current),
        failed=tuple(sorted(pair[0] for pair in current if passed.get(pair) is False)),
        missing=tuple(sorted(pair[0] for pair in current if pair not in passed)),
    )


def _newest(versions: pa.Table) -> set[Version]:
    return set(newest(_pairs(versions)).items())


def _pairs(versions: pa.Table) -> list[Version]:
    return list(zip(versions["partition"].to_pylist(), versions["commit_seq"].to_pylist(), strict=True))


def _by_commit(pending: pa.Table) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for partition, commit_seq in sorted(_pairs(pending), key=lambda pair: (pair[1], pair[0])):
        found.setdefault(commit_seq, []).append(partition)
    return found


def _tables(
    view: FeatureView, table: PartitionedTable, commit_seq: int, partitions: list[str], given: Mapping[str, pa.Table]
) -> dict[str, pa.Table]:
    """The rows of each partition as committed: at hand, else from the lake; an empty version has none."""
    schema = view_schema(view)
    tables = {partition: given[partition] for partition in partitions if partition in given}
    absent = [partition for partition in partitions if partition not in given]
    if absent:
        # The newest version up to the commit that wrote it is that version itself.
        stored = table.read(partitions=absent, upto=commit_seq)
        tables |= {partition: stored.filter(pc.equal(stored["partition"], partition)) for partition in absent}
    return {partition: tables[partition].select(schema.names).cast(schema) for partition in partitions}
