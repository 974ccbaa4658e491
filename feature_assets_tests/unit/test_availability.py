"""Availability by example: each rule once, with numbers that can be followed by hand."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from feature_assets.clock import OPEN
from feature_assets.errors import InputError
from feature_assets.offline.availability import DAY_US, PROVENANCE_NAMES, Resolved, Timeline, timeline
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.stream_availability import stream_timeline

FIRST = "2026-01-01"
END = 20_455 * DAY_US
"""The end of that day."""
HOUR = DAY_US // 24


def intent(n: int, sent_at: int, bucket: int = 0) -> LedgerRow:
    return LedgerRow(
        kind="intent", view="v", version="1", target="t", bucket=bucket, commit_seq=n, sent_at=END + sent_at
    )


def ack(n: int, sent_at: int, acked_at: int, bucket: int = 0) -> LedgerRow:
    return LedgerRow(
        kind="ack",
        view="v",
        version="1",
        target="t",
        bucket=bucket,
        commit_seq=n,
        sent_at=END + sent_at,
        acked_at=END + acked_at,
    )


def turn(n: int, acked_at: int, kind: str = "serving") -> LedgerRow:
    assert kind in {"serving", "retired"}
    plain = ack(n, acked_at, acked_at)
    return LedgerRow(
        kind="serving" if kind == "serving" else "retired",
        view="v",
        version="1",
        target="t",
        commit_seq=n,
        sent_at=plain.sent_at,
        acked_at=plain.acked_at,
    )


SERVED = (intent(1, -9), ack(1, -9, -8), turn(1, -7))
"""Commit 1 was there from the beginning; what follows it is recorded."""


def versions(*seqs: int, source: Sequence[int] = (), partition: str = FIRST) -> pa.Table:
    return pa.table(
        {
            "partition": pa.array([partition] * len(seqs), pa.string()),
            "commit_seq": pa.array(seqs, pa.int64()),
            "source_seq": pa.array(source or [0] * len(seqs), pa.int64()),
        }
    )


def line(
    rows: Sequence[LedgerRow],
    table: pa.Table,
    *,
    buckets: int = 1,
    failed: frozenset[tuple[str, int]] = frozenset(),
    previous: Timeline | None = None,
) -> Timeline:
    return timeline(rows, table, buckets=buckets, delay=timedelta(0), excluded=failed, previous=previous)


def seen(found: Timeline, seq: int, *, bucket: int = 0, arrived_at: int = 0) -> tuple[int | None, int | None, str]:
    """(available_at, superseded_at, provenance) relative to the end of the day; None is never."""
    resolved: Resolved = found.resolve_batch(
        commit_seq=np.array([seq]),
        bucket=np.array([bucket]),
        partition=pa.array([FIRST]),
        arrived_at=np.array([END + arrived_at]),
    )
    at, until = int(resolved.available_at[0]), int(resolved.superseded_at[0])
    return (
        None if at == OPEN else at - END,
        None if until == OPEN else until - END,
        PROVENANCE_NAMES[resolved.provenance[0]],
    )


def test_recorded_is_the_earliest_acknowledgement_of_a_state_that_has_it() -> None:
    rows = [*SERVED, intent(3, 10), ack(3, 10, 15), intent(4, 20), ack(4, 20, 25), ack(2, 12, 99)]
    found = line(rows, versions(1, 2))
    assert seen(found, 2) == (15, None, "recorded")


def test_a_version_ends_when_its_successor_is_visible() -> None:
    rows = [*SERVED, intent(2, 10), ack(2, 10, 15), intent(3, 20), ack(3, 20, 25)]
    found = line(rows, versions(1, 2, 3))
    assert seen(found, 2) == (15, 25, "recorded")
    assert seen(found, 3) == (25, None, "recorded")


def test_versions_pushed_together_leave_the_older_one_no_time() -> None:
    found = line([*SERVED, intent(3, 10), ack(3, 10, 15)], versions(1, 2, 3))
    assert seen(found, 2) == (15, 15, "recorded")
    assert seen(found, 3) == (15, None, "recorded")


def test_what_is_not_pushed_yet_supersedes_nothing() -> None:
    found = line([*SERVED, intent(2, 10), ack(2, 10, 15), intent(3, 20)], versions(1, 2, 3))
    assert seen(found, 2) == (15, None, "recorded")
    assert seen(found, 3)[0] is None


def test_a_killed_push_makes_the_next_one_a_recovery() -> None:
    rows = [*SERVED, intent(2, 10), intent(3, 20), ack(3, 20, 25)]
    found = line(rows, versions(1, 2, 3))
    assert seen(found, 2) == (25, 25, "recovered")
    assert seen(found, 3) == (25, None, "recorded")
    assert found.sent_at[1:, 0].tolist() == [END + 10, END + 20]


def test_an_overtaken_push_may_have_written_first() -> None:
    rows = [*SERVED, intent(2, 5), intent(3, 10), ack(3, 10, 15), ack(2, 5, 99)]
    found = line(rows, versions(1, 2, 3))
    assert seen(found, 2) == (15, 15, "recovered")
    assert seen(found, 3) == (15, None, "recorded")


def test_a_failed_version_never_was_and_supersedes_nothing() -> None:
    rows = [*SERVED, intent(3, 10), ack(3, 10, 15)]
    found = line(rows, versions(1, 2, 3), failed=frozenset({(FIRST, 2)}))
    assert seen(found, 1, arrived_at=-HOUR) == (-7, 15, "simulated")
    assert seen(found, 2)[0] is None
    assert seen(found, 3) == (15, None, "recorded")


def test_buckets_have_acknowledgements_of_their_own() -> None:
    rows = [*SERVED, ack(1, -9, -8, bucket=1), intent(2, 10), intent(2, 10, 1), ack(2, 10, 12), ack(2, 10, 19, 1)]
    found = line(rows, versions(1, 2), buckets=2)
    assert [seen(found, 2, bucket=bucket)[0] for bucket in (0, 1)] == [12, 19]


def test_of_the_time_before_serving_only_the_newest_version_counts_from_a_simulated_instant() -> None:
    rows = [intent(2, HOUR), ack(2, HOUR, 2 * HOUR), turn(2, 3 * HOUR)]
    found = line(rows, versions(1, 2))
    assert seen(found, 1)[0] is None
    assert seen(found, 2, arrived_at=-HOUR) == (0, None, "simulated")
    assert seen(found, 2, arrived_at=HOUR) == (HOUR, None, "simulated")
    assert seen(found, 2, arrived_at=9 * HOUR) == (3 * HOUR, None, "simulated"), "it was there when it began to serve"


def test_what_was_acknowledged_after_the_first_state_but_before_serving_is_past_as_well() -> None:
    rows = [ack(1, 1, 2), ack(1, 1, 2, 1), ack(2, 3, 4), turn(1, 5), ack(2, 3, 6, 1)]
    found = line(rows, versions(1, 2), buckets=2)
    assert seen(found, 1)[0] is None
    assert seen(found, 2)[::2] == (0, "simulated")
    assert seen(found, 1, bucket=1) == (0, 6, "simulated")
    assert seen(found, 2, bucket=1) == (6, None, "recorded")


def test_a_version_that_never_served_is_simulated_without_a_bound() -> None:
    found = line([ack(1, 1, 2)], versions(1))
    assert found.serving_at == OPEN
    assert seen(found, 1, arrived_at=9 * HOUR) == (9 * HOUR, None, "simulated")


def test_history_is_inherited_from_the_version_before() -> None:
    before = line([*SERVED, intent(2, 10), ack(2, 10, 15)], versions(1, 2, source=(3, 5)))
    rows = [ack(1, 50, 60), turn(1, 70)]
    assert seen(line(rows, versions(1, source=(5,)), previous=before), 1) == (15, None, "inherited")
    assert seen(line(rows, versions(1, source=(4,)), previous=before), 1) == (15, None, "inherited")
    # What the version before had not made of this source position, or only from a simulated instant, is not inherited.
    assert seen(line(rows, versions(1, source=(6,)), previous=before), 1) == (0, None, "simulated")
    assert seen(line(rows, versions(1, source=(3,)), previous=before), 1) == (15, None, "inherited")


def test_what_is_inherited_is_inherited_again() -> None:
    first = line([*SERVED, intent(2, 10), ack(2, 10, 15)], versions(1, 2, source=(3, 5)))
    second = line([ack(1, 50, 60), turn(1, 70)], versions(1, source=(5,)), previous=first)
    third = line([ack(1, 80, 90), turn(1, 95)], versions(1, source=(5,)), previous=second)
    assert seen(third, 1) == (15, None, "inherited")


def test_a_lost_table_is_visible_again_when_it_serves_again() -> None:
    again = [
        LedgerRow(
            kind=row.kind,
            view="v",
            version="1",
            target="t",
            bucket=row.bucket,
            commit_seq=row.commit_seq,
            sent_at=row.sent_at,
            acked_at=row.acked_at,
            life=1,
        )
        for row in (intent(3, 40), ack(3, 40, 45), turn(3, 50))
    ]
    rows = [*SERVED, intent(2, 10), ack(2, 10, 15), turn(2, 30, "retired"), ack(3, 20, 35), *again]
    found = line(rows, versions(1, 2, 3))
    assert seen(found, 2) == (15, 50, "recorded")
    # What a push of the first life acknowledged at 35 was about a table that was gone.
    assert seen(found, 3) == (50, None, "recorded")


def test_a_ledger_of_two_versions_is_refused() -> None:
    other = LedgerRow(kind="serving", view="v", version="2", target="t", sent_at=0, acked_at=0)
    with pytest.raises(InputError, match="of several"):
        line([*SERVED, other], versions(1))


def test_a_row_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(InputError, match="commit 9, belongs to none"):
        seen(line(SERVED, versions(1)), 9)


def test_a_bucket_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="a row of bucket 3, and the view has buckets 0 to 0"):
        seen(line(SERVED, versions(1)), 1, bucket=3)


def test_nothing_resolves_to_nothing() -> None:
    found = line([], versions())
    resolved = found.resolve_batch(
        commit_seq=np.zeros(0, np.int64),
        bucket=np.zeros(0, np.int64),
        partition=pa.array([], pa.string()),
        arrived_at=np.zeros(0, np.int64),
    )
    assert len(resolved.available_at) == len(resolved.provenance) == 0


@pytest.mark.parametrize("encoded", [False, True])
def test_partitions_come_as_strings_or_dictionaries(encoded: bool) -> None:
    table = pa.concat_tables([versions(1), versions(1, partition="2026-01-02")])
    partition = pa.chunked_array([["2026-01-02"], [FIRST]])
    found = line(SERVED, table).resolve_batch(
        commit_seq=np.array([1, 1]),
        bucket=np.array([0, 0], np.int32),
        partition=partition.dictionary_encode() if encoded else partition,
        arrived_at=np.array([0, 0]),
    )
    assert found.available_at.tolist() == [END - 7, END - 7]


def span(first: int, last: int, sent_at: int, acked_at: int, entity: bytes | None = None) -> LedgerRow:
    return LedgerRow(
        kind="range",
        view="v",
        version="1",
        target="t",
        source_partition="log/0",
        first=first,
        last=last,
        entity=entity,
        sent_at=sent_at,
        acked_at=acked_at,
        provenance="recorded" if entity is None else "recovered",
    )


def test_an_entitys_own_rows_answer_for_it() -> None:
    rows = [span(0, 4, 10, 20), span(3, 6, 30, 40), span(2, 3, 5, 25, b"a"), span(2, 2, 5, 15, b"a")]
    found = stream_timeline(rows).resolve(
        source_partition=pa.array(["log/0"] * 6),
        offset=np.array([0, 2, 3, 3, 5, 7]),
        entity=[b"a", b"a", b"a", b"b", b"a", b"a"],
    )
    assert found.available_at.tolist() == [20, 15, 25, 20, 40, OPEN]
    assert [PROVENANCE_NAMES[code] for code in found.provenance[:5]] == [
        "recorded",
        "recovered",
        "recovered",
        "recorded",
        "recorded",
    ]


def test_of_equal_acknowledgements_the_first_row_answers() -> None:
    found = stream_timeline([span(0, 4, 12, 20), span(0, 4, 10, 20)]).resolve(
        source_partition=pa.array(["log/0"]), offset=np.array([1]), entity=[b"a"]
    )
    assert found.sent_at.tolist() == [12]


def test_a_record_that_a_life_had_made_visible_stays_so_in_the_next() -> None:
    gone = LedgerRow(kind="retired", view="v", version="1", target="t", sent_at=50, acked_at=50)
    again = [span(0, 4, 60, 70), span(2, 2, 60, 90, b"a"), span(5, 5, 60, 95, b"a")]
    rows = [span(0, 3, 10, 20), gone, span(4, 4, 40, 55), *(msgspec.structs.replace(one, life=1) for one in again)]
    found = stream_timeline(rows).resolve(
        source_partition=pa.array(["log/0"] * 3), offset=np.array([2, 4, 5]), entity=[b"a"] * 3
    )
    # What a worker of the life before said after its end is about a table that was not there any more.
    assert found.available_at.tolist() == [20, 70, 95]
