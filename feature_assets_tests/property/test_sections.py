"""What a push computes, newest partitions first and in pieces, against a look at every row of the state."""

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.offline.ledger import LedgerRow, MemoryLedger
from feature_assets.online.plan import PushPlan, plan_push
from feature_assets.online.protocol import WriteProtocol
from feature_assets.online.sections import Sections
from feature_assets.online.winning_rows import WinningRows
from feature_assets.testing.lake import MemoryTable, MemoryVerdicts
from feature_assets.testing.subject import DAY, FEATURE_SCHEMA, HOUR, KEY_NAMES, SimulatedView, packed_values
from feature_assets_tests.oracle.winning_rows import Commit, Row, state, touched

DAYS = [f"2026-01-{number:02}" for number in range(1, 7)]
START = 1_767_225_600_000_000
ENTITIES = [f"e{number}" for number in range(5)]
VIEW = SimulatedView(buckets=3)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Commit], set[tuple[str, int]], int]:
    """Commits, the versions that failed, and a state that was acknowledged before."""
    commits: list[Commit] = []
    failed: set[tuple[str, int]] = set()
    value = 0
    for number in range(1, draw(st.integers(1, 7)) + 1):
        commit: dict[str, list[Row]] = {}
        for place in sorted(draw(st.sets(st.integers(0, len(DAYS) - 1), min_size=1, max_size=3))):
            keys = draw(
                st.sets(
                    # Both ends of the day: the end is the start of the next.
                    st.tuples(st.sampled_from([0, 1, 12, 24]), st.integers(0, 2), st.sampled_from(ENTITIES)),
                    max_size=4,
                )
            )
            rows = []
            for hour, sequence, entity in sorted(keys):
                value += 1
                rows.append(Row(START + place * DAY + hour * HOUR, sequence, DAYS[place], entity, value))
            # So that no partition's content is that of the version before, which would be no commit.
            value += 1
            rows.append(Row(START + place * DAY, 9, DAYS[place], "filler", value))
            commit[DAYS[place]] = rows
            if draw(st.integers(0, 4)) == 0:
                failed.add((DAYS[place], number))
        commits.append(commit)
    return commits, failed, draw(st.integers(0, len(commits) - 1))


def arrow(rows: list[Row]) -> pa.Table:
    keys = encoded_keys(pa.table({"entity": [row.entity for row in rows]}), ("entity",))
    instants = np.array([row.event_at for row in rows], "datetime64[us]")
    columns = [
        [row.entity for row in rows],
        instants,
        instants,
        [row.sequence for row in rows],
        [row.value for row in rows],
        buckets_of(keys, VIEW.buckets),
    ]
    return pa.table(columns, schema=FEATURE_SCHEMA)


def planned(commits: list[Commit], failed: set[tuple[str, int]], since: int) -> tuple[PushPlan | None, MemoryTable]:
    table, verdicts, ledger = MemoryTable(FEATURE_SCHEMA), MemoryVerdicts(), MemoryLedger()
    for number, commit in enumerate(commits, start=1):
        assert table.commit({name: arrow(list(rows)) for name, rows in commit.items()}) == number
        for name in commit:
            verdicts.record((name, number), passed=(name, number) not in failed)
    about = {"view": VIEW.name, "version": "v1", "target": "t", "sent_at": 0, "acked_at": 0, "commit_seq": since}
    if since:
        ledger.append(
            [msgspec.convert({**about, "kind": "ack", "bucket": bucket}, LedgerRow) for bucket in range(VIEW.buckets)]
        )
        ledger.append([msgspec.convert({**about, "kind": "serving"}, LedgerRow)])
    plan = plan_push(VIEW, version="v1", table=table, verdicts=verdicts, ledger=ledger, target="t")
    return plan, table


@settings(max_examples=120)
@given(history=histories(), partitions_at_once=st.sampled_from([1, 2, 8]), together=st.booleans())
def test_a_push_computes_the_state(
    history: tuple[list[Commit], set[tuple[str, int]], int], partitions_at_once: int, together: bool
) -> None:
    commits, failed, since = history
    plan, table = planned(commits, failed, since)
    if plan is None:
        # Nothing has passed, so nothing begins to serve.
        assert not since
        assert state(commits, failed, len(commits)) == {}
        return
    sections = Sections(plan, VIEW, table, WinningRows(KEY_NAMES, packed_values, partitions_at_once), WriteProtocol())
    groups = [plan.buckets] if together else [(bucket,) for bucket in plan.buckets]
    found: dict[bytes, tuple[int, int, str, int] | None] = {}
    order: list[tuple[int, bytes]] = []
    for group in groups:
        entities = sections.of(group, 0)
        order += list(zip(buckets_of(entities.keys, VIEW.buckets).tolist(), entities.keys, strict=True))
        some = sections.of(group, 0, lambda entities: range(entities - 1, -1, -2))
        assert (some.keys, some.rows) == (entities.keys[::-2], entities.rows[::-2]), "chosen ones have the same rows"
        assert sections.of(group, 0, lambda _: ()).keys == []
        for key, row in zip(entities.keys, entities.rows, strict=True):
            value = None if row is None else msgspec.msgpack.decode(row.values, type=int)
            found[key] = None if row is None or value is None else (row.event_at, row.sequence, row.partition, value)
    names = sorted(touched(commits, failed, since, plan.commit_seq))
    keys = encoded_keys(pa.table({"entity": pa.array(names, pa.string())}), ("entity",))
    winning = {
        name: (row.event_at, row.sequence, row.partition, row.value)
        for name, row in state(commits, failed, plan.commit_seq).items()
    }
    assert found == {key: winning.get(name) for key, name in zip(keys, names, strict=True)}
    assert [bucket for bucket, _ in order] == sorted(bucket for bucket, _ in order)
    assert len(order) == len(found)
