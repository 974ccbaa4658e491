"""Availability, resolved by tables, against the rules applied row by row, over ledgers that may say anything."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.offline.availability import PROVENANCE_NAMES, Timeline, timeline
from feature_assets.offline.ledger import LedgerRow
from feature_assets_tests.oracle.availability import NEVER, Event, PartitionVersion, Seen, Story

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
DAY_US = 86_400_000_000
FIRST_DAY = 20_454
"""2026-01-01 in days since 1970."""
BASE = FIRST_DAY * DAY_US


@st.composite
def stories(draw: st.DrawFn, *, previous: Story | None = None, buckets: int = 2) -> Story:
    """A history of at most eight commits, and a ledger with pushes that finish, die, sleep and come too late."""
    versions = []
    for seq in range(1, draw(st.integers(1, 8)) + 1):
        for day in draw(st.sets(st.sampled_from(range(len(DAYS))), min_size=1, max_size=2)):
            end = BASE + (day + 1) * DAY_US
            passed = draw(st.sampled_from([True, True, True, False]))
            versions.append(PartitionVersion(DAYS[day], end, seq, draw(st.integers(0, 4)), passed))
    numbers = st.integers(0, len(versions) + 1)
    instants = st.integers(0, 6 * 24).map(lambda hours: BASE + hours * DAY_US // 24)
    events = draw(
        st.lists(
            st.builds(
                Event,
                kind=st.sampled_from(["intent", "ack", "ack", "ack", "serving", "retired"]),
                sent_at=instants,
                acked_at=instants,
                bucket=st.integers(0, buckets - 1),
                n=numbers,
                life=st.sampled_from([0, 0, 0, 0, 1, 1, 2]),
            ),
            max_size=14,
        )
    )
    delay = draw(st.integers(0, 3)) * DAY_US // 24
    return Story(events, versions, buckets, delay, previous)


@st.composite
def chained(draw: st.DrawFn) -> Story:
    """A story, with or without a previous version, which may have another number of buckets."""
    if draw(st.booleans()):
        return draw(stories())
    return draw(stories(previous=draw(stories(buckets=draw(st.sampled_from([1, 2, 3]))))))


def ledger_rows(events: Sequence[Event]) -> list[LedgerRow]:
    rows = []
    for event in events:
        about_bucket = event.kind in {"intent", "ack"}
        rows.append(
            LedgerRow(
                kind=event.kind,
                view="v",
                version="1",
                target="t",
                sent_at=event.sent_at,
                bucket=event.bucket if about_bucket else None,
                commit_seq=None if event.kind == "retired" else event.n,
                acked_at=None if event.kind == "intent" else event.acked_at,
                life=event.life,
            )
        )
    return rows


def resolved(story: Story) -> Timeline:
    versions = sorted(story.versions, key=lambda each: (each.seq, each.partition))
    table = pa.table(
        {
            "partition": pa.array([each.partition for each in versions], pa.string()),
            "commit_seq": pa.array([each.seq for each in versions], pa.int64()),
            "source_seq": pa.array([each.source_seq for each in versions], pa.int64()),
        }
    )
    return timeline(
        ledger_rows(story.events),
        table,
        buckets=story.buckets,
        delay=timedelta(microseconds=story.delay),
        excluded=frozenset((each.partition, each.seq) for each in versions if not each.passed),
        previous=None if story.previous is None else resolved(story.previous),
    )


@settings(max_examples=300)
@given(story=chained(), lateness=st.integers(-2, 5))
def test_every_row_is_visible_when_the_rules_say(story: Story, lateness: int) -> None:
    rows = [
        (version, bucket, version.end + (lateness + bucket) * DAY_US // 2)
        for version in story.versions
        for bucket in range(story.buckets)
    ]
    found = resolved(story).resolve_batch(
        commit_seq=np.array([version.seq for version, _, _ in rows], np.int64),
        bucket=np.array([bucket for _, bucket, _ in rows], np.int32),
        partition=pa.array([version.partition for version, _, _ in rows], pa.string()),
        arrived_at=np.array([arrived_at for _, _, arrived_at in rows], np.int64),
    )
    for number, (version, bucket, arrived_at) in enumerate(rows):
        expected = story.seen(version, bucket, arrived_at)
        available_at = int(found.available_at[number])
        # Where a row was never available nothing else about it means anything.
        got = Seen(
            available_at,
            int(found.superseded_at[number]),
            int(found.sent_at[number]) if available_at != NEVER else expected.sent_at,
            PROVENANCE_NAMES[found.provenance[number]] if available_at != NEVER else expected.provenance,
        )
        assert got == expected, (version, bucket, arrived_at)


@settings(max_examples=100)
@given(story=chained())
def test_of_one_partition_at_most_one_version_is_visible_at_any_instant(story: Story) -> None:
    line = resolved(story)
    instants = sorted({event.acked_at for event in story.events} | {version.end for version in story.versions})
    for bucket in range(story.buckets):
        for partition in DAYS:
            numbers = [
                number
                for number, code in enumerate(line.versions.code.tolist())
                if line.versions.partitions[code].as_py() == partition
            ]
            for instant in instants:
                visible = [
                    number
                    for number in numbers
                    if line.available_at[number, bucket] <= instant < line.superseded_at[number, bucket]
                ]
                assert len(visible) <= 1, (partition, bucket, instant)
