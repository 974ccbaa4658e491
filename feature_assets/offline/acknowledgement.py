"""What the ledger says was acknowledged, bucket by bucket, in the form in which availability asks for it. Pure.

Invariant: a commit is in the store from the earliest acknowledgement of its bucket at a state that contains it, and any
push of such a state may have written it since that push began.
It knows no partitions, verdicts or history: see `availability`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_assets.clock import OPEN
from feature_assets.offline.ledger import LedgerRow

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """The pushes of one bucket, as suffix minima: for any commit, the earliest one at or above it.

    `acked_n`, ascending, is paired with `available_at` and `acked_sent_at`, `begun_n` with `begun_at`.
    `before_serving`: the last commit that was in the store when readers were first answered from it.
    """

    acked_n: Ints
    available_at: Ints
    acked_sent_at: Ints
    begun_n: Ints
    begun_at: Ints
    before_serving: int

    def of(self, commits: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
        """For each commit: available_at, sent_at (the start of the interval), and whether a write was recovered."""
        at = np.searchsorted(self.acked_n, commits)
        known = at < len(self.acked_n)
        available = np.full(len(commits), OPEN)
        sent = available.copy()
        available[known] = self.available_at[at[known]]
        sent[known] = self.acked_sent_at[at[known]]
        begun = np.searchsorted(self.begun_n, commits)
        some = begun < len(self.begun_n)
        start = sent.copy()
        start[some] = np.minimum(start[some], self.begun_at[begun[some]])
        # A push that began earlier and is not the one acknowledged was killed or overtaken: what it wrote was visible.
        recovered = known & (start < sent)
        return available, start, recovered


def acknowledgements(rows: Sequence[LedgerRow], buckets: int) -> list[Acknowledgements]:
    """What was pushed, bucket by bucket; by the valid rows of one view version on one target."""
    acks: list[list[tuple[int, int, int]]] = [[] for _ in range(buckets)]
    begun: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]
    before = [0] * buckets
    served = False
    for row, visible_at in zip(rows, _visible_from(rows), strict=True):
        n = row.commit_seq or 0
        if row.kind == "serving" and not served:
            before, served = [max(known, n) for known in before], True
        if row.kind not in {"ack", "intent"} or row.bucket is None or row.bucket >= buckets:
            continue
        begun[row.bucket].append((n, row.sent_at))
        if row.kind == "ack":
            acks[row.bucket].append((n, visible_at, row.sent_at))
            before[row.bucket] = max(before[row.bucket], 0 if served else n)
    return [_suffix_minima(acks[bucket], begun[bucket], before[bucket]) for bucket in range(buckets)]


def _visible_from(rows: Sequence[LedgerRow]) -> list[int]:
    """When readers saw what a row acknowledges: at once while the version served, else from when it next did."""
    next_serving = OPEN
    upcoming: list[int] = []
    for row in reversed(rows):
        upcoming.append(next_serving)
        if row.kind == "serving":
            next_serving = OPEN if row.acked_at is None else row.acked_at
        elif row.kind == "retired":
            next_serving = OPEN
    found: list[int] = []
    serving = False
    for row, later in zip(rows, reversed(upcoming), strict=True):
        if row.kind in {"serving", "retired"}:
            serving = row.kind == "serving"
        found.append(row.acked_at if serving and row.acked_at is not None else later)
    return found


def _suffix_minima(acks: list[tuple[int, int, int]], begun: list[tuple[int, int]], before: int) -> Acknowledgements:
    acked_n, available, sent = np.array(sorted(acks), np.int64).reshape(-1, 3).T
    # Of equal acknowledgements the one that was sent first, so that the interval is the widest.
    order = np.lexsort((sent, available))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    best = order[np.minimum.accumulate(rank[::-1])[::-1]]
    begun_n, begun_at = np.array(sorted(begun), np.int64).reshape(-1, 2).T
    earliest = np.minimum.accumulate(begun_at[::-1])[::-1]
    return Acknowledgements(acked_n, available[best], sent[best], begun_n, earliest, before)
