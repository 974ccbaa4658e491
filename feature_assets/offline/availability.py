"""When was a row visible? Ledger rows in, visibility intervals out. Pure.

Invariant: outside `[sent_at, available_at]` of what it asks for, a reader of the store saw at an instant exactly the
rows with `available_at <= instant < superseded_at`; the result depends on nothing but the arguments, so pinned ones
resolve the same for ever.

A batch row is visible from the earliest acknowledged push of its bucket that had its commit in its state, and
superseded when the next passed version of its partition is visible. What was acknowledged before the version first
served was never read at its time: of each partition only the newest passed version of that past counts, from an
inherited instant (when the version before this one made a partition of at least the same source visible) or else from
a simulated one.

It reads no table: the caller brings the ledger's rows and the partition versions, and says which verdicts failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import OPEN, duration_us
from feature_assets.errors import InputError
from feature_assets.offline.acknowledgement import acknowledgements
from feature_assets.offline.ledger import LedgerRow, valid

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

DAY_US = 86_400_000_000


class Provenance(IntEnum):
    """Where an `available_at` comes from."""

    RECORDED = 0
    INHERITED = 1
    SIMULATED = 2
    RECOVERED = 3


PROVENANCE_NAMES = tuple(kind.name.lower() for kind in Provenance)


@dataclass(frozen=True, slots=True)
class Resolved:
    """One entry per row asked for. Microseconds; `OPEN` is "never available" or "not superseded".

    `sent_at` is when the write that made the row visible may have begun: between it and `available_at` a reader may
    have seen either. `provenance` holds `Provenance` codes; it means nothing where the row was never available.
    """

    available_at: Ints
    superseded_at: Ints
    sent_at: Ints
    provenance: Codes


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of the partitions, sorted by (partition, commit_seq); `key` combines both for look-up."""

    partitions: pa.Array
    code: Ints
    commit_seq: Ints
    source_seq: Ints
    passed: npt.NDArray[np.bool_]

    @property
    def key(self) -> Ints:
        return self.code * self._radix + self.commit_seq

    @property
    def _radix(self) -> int:
        return int(self.commit_seq.max(initial=0)) + 1

    def find(self, partition: pa.ChunkedArray, commit_seq: Ints) -> Ints:
        """The number of the version of each row. Raises `InputError` for a row of a version that is not there."""
        code = np.asarray(pc.fill_null(pc.index_in(partition, value_set=self.partitions), -1)).astype(np.int64)
        wanted = code * self._radix + commit_seq
        keys = self.key
        at = np.searchsorted(keys, wanted)
        wrong = (code < 0) | (commit_seq >= self._radix)
        wrong |= keys[np.minimum(at, len(keys) - 1)] != wanted if len(keys) else True
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"a row of partition {partition[row].as_py()!r}, commit {int(commit_seq[row])}, "
                "belongs to none of the partition versions given",
                hint="read rows and partition versions up to the same commit_seq",
            )
        return at


@dataclass(frozen=True, slots=True)
class Timeline:
    """The visibility of every partition version of one view version on one target, by bucket. Made by `timeline`.

    The tables have one row per version (in the order of `versions`) and one column per bucket.
    """

    versions: Versions
    buckets: int
    serving_at: int
    delay: int
    available_at: Ints
    superseded_at: Ints
    sent_at: Ints
    provenance: Codes

    def resolve_batch(
        self,
        *,
        commit_seq: Ints,
        bucket: npt.NDArray[np.integer],
        partition: pa.Array | pa.ChunkedArray,
        arrived_at: Ints,
    ) -> Resolved:
        """Visibility of feature rows, one entry per row.

        Raises `InputError` for a row that belongs to no version given to `timeline`, or to a bucket out of range.
        """
        return self.resolve(self.versions.find(_plain(partition), commit_seq), bucket, arrived_at)

    def resolve(self, version: Ints, bucket: npt.NDArray[np.integer], arrived_at: Ints | None) -> Resolved:
        """The same for rows whose versions are known by their numbers in `versions`.

        `arrived_at` None: no row arrived after its partition had ended.
        """
        _check_buckets(bucket, self.buckets)
        cell = version * self.buckets + bucket
        available = self.available_at.ravel()[cell]
        sent = self.sent_at.ravel()[cell]
        provenance = self.provenance.ravel()[cell]
        simulated = np.flatnonzero((provenance == Provenance.SIMULATED) & (available != OPEN))
        if len(simulated):
            known_at = available[simulated]
            if arrived_at is not None:
                known_at = np.maximum(known_at, arrived_at[simulated] + self.delay)
            available[simulated] = sent[simulated] = np.minimum(known_at, self.serving_at)
        if arrived_at is not None:
            # The version before may have read other sources: what it had by then does not make this row known by then.
            early = np.flatnonzero((provenance == Provenance.INHERITED) & (available < arrived_at))
            available[early] = sent[early] = np.minimum(arrived_at[early], self.serving_at)
        return Resolved(available, self.superseded_at.ravel()[cell], sent, provenance)

    def inherited(self, partition: str, source_seq: int, buckets: int) -> tuple[Ints, Ints]:
        """What a later version takes over: per bucket the earliest availability of at least that source position.

        Returns (available_at, sent_at), `OPEN` where nothing was recorded. Buckets of another number are other sets of
        entities: then it is when every bucket had it.
        """
        versions = self.versions
        index = pc.index(versions.partitions, partition).as_py()
        rows = np.flatnonzero((versions.code == index) & (versions.source_seq >= source_seq) & versions.passed)
        none = np.full(buckets, OPEN)
        if not len(rows):
            return none, none
        available = np.where(self.provenance[rows] == Provenance.SIMULATED, OPEN, self.available_at[rows])
        first = available.argmin(axis=0)
        columns = np.arange(self.buckets)
        at, sent = available[first, columns], self.sent_at[rows][first, columns]
        if buckets == self.buckets:
            return at, np.where(at == OPEN, OPEN, sent)
        if at.max() == OPEN:
            return none, none
        return np.full(buckets, at.max()), np.full(buckets, sent.min())


def timeline(
    rows: Sequence[LedgerRow],
    versions: pa.Table,
    *,
    buckets: int,
    delay: timedelta,
    excluded: frozenset[tuple[str, int]] = frozenset(),
    previous: Timeline | None = None,
) -> Timeline:
    """The timeline of one view version on one target.

    `rows`: all ledger rows of that version and target, in the order of appending. `versions`: `partition`, `commit_seq`
    and `source_seq` of every version up to a commit at which every verdict is known. `excluded`: the versions that
    failed. `previous`: the timeline of the version that served before this one, if there is one.
    """
    if len({(row.view, row.version, row.target) for row in rows}) > 1:
        raise InputError("a timeline is of one view version on one target, and the ledger rows given are of several")
    sorted_versions = _versions(versions, excluded)
    counted = valid(rows)
    serving = [row.acked_at for row in counted if row.kind == "serving" and row.acked_at is not None]
    serving_at = serving[0] if serving else OPEN
    acknowledged = acknowledgements(counted, buckets)
    shape = (len(sorted_versions.commit_seq), buckets)
    table = Timeline(
        versions=sorted_versions,
        buckets=buckets,
        serving_at=serving_at,
        delay=duration_us(delay),
        available_at=np.full(shape, OPEN),
        superseded_at=np.full(shape, OPEN),
        sent_at=np.full(shape, OPEN),
        provenance=np.zeros(shape, np.int8),
    )
    past = np.zeros(shape, np.bool_)
    for bucket, pushes in enumerate(acknowledged):
        available, sent, recovered = pushes.of(sorted_versions.commit_seq)
        table.available_at[:, bucket], table.sent_at[:, bucket] = available, sent
        table.provenance[:, bucket] = np.where(recovered, Provenance.RECOVERED, Provenance.RECORDED)
        past[:, bucket] = (sorted_versions.commit_seq <= pushes.before_serving) | (serving_at == OPEN)
    _rewrite_past(table, past, previous)
    table.available_at[~sorted_versions.passed] = table.sent_at[~sorted_versions.passed] = OPEN
    _supersede(table)
    return table


def _versions(versions: pa.Table, excluded: frozenset[tuple[str, int]]) -> Versions:
    encoded = pc.dictionary_encode(versions["partition"].combine_chunks())
    code = np.asarray(encoded.indices).astype(np.int64)
    commit_seq = np.asarray(versions["commit_seq"]).astype(np.int64)
    order = np.lexsort((commit_seq, code))
    code, commit_seq = code[order], commit_seq[order]
    names = encoded.dictionary.to_pylist()
    passed = np.ones(len(code), np.bool_)
    for row, pair in enumerate(zip(code.tolist(), commit_seq.tolist(), strict=True)):
        passed[row] = (names[pair[0]], pair[1]) not in excluded
    source_seq = np.asarray(pc.fill_null(versions["source_seq"], 0)).astype(np.int64)[order]
    return Versions(encoded.dictionary, code, commit_seq, source_seq, passed)


def _rewrite_past(table: Timeline, past: npt.NDArray[np.bool_], previous: Timeline | None) -> None:
    """Of what was acknowledged before anybody was served, each partition's newest passed version alone counts."""
    versions = table.versions
    candidate = past & versions.passed[:, None]
    newest = candidate.copy()
    following = (versions.code[1:] == versions.code[:-1])[:, None]
    # Sorted by commit within a partition: a candidate counts if no later version of its partition is one too.
    later = np.zeros_like(candidate)
    for row in range(len(candidate) - 2, -1, -1):
        later[row] = following[row] & (candidate[row + 1] | later[row + 1])
    newest &= ~later
    table.available_at[past] = table.sent_at[past] = OPEN
    ends = _partition_ends(versions)
    for row in np.flatnonzero(newest.any(axis=1)).tolist():
        cells = newest[row]
        table.available_at[row, cells] = min(int(ends[row]) + table.delay, table.serving_at)
        table.provenance[row, cells] = Provenance.SIMULATED
        if previous is None:
            continue
        partition = versions.partitions[int(versions.code[row])].as_py()
        at, sent = previous.inherited(partition, int(versions.source_seq[row]), table.buckets)
        known = cells & (at != OPEN)
        table.available_at[row, known] = np.minimum(at[known], table.serving_at)
        table.sent_at[row, known] = np.minimum(sent[known], table.serving_at)
        table.provenance[row, known] = Provenance.INHERITED


def _partition_ends(versions: Versions) -> Ints:
    """The end of each version's partition: it is a UTC day, named by its date."""
    days = np.asarray(versions.partitions.to_pylist(), dtype="datetime64[D]").astype(np.int64)
    ends: Ints = (days[versions.code] + 1) * DAY_US if len(versions.code) else versions.code
    return ends


def _supersede(table: Timeline) -> None:
    """Each passed version ends when the next passed version of its partition is available."""
    versions = table.versions
    passed = np.flatnonzero(versions.passed)
    same = versions.code[passed[1:]] == versions.code[passed[:-1]]
    before, after = passed[:-1][same], passed[1:][same]
    table.superseded_at[before] = table.available_at[after]
    table.superseded_at[table.available_at == OPEN] = OPEN


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    chunked = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    return chunked.cast(chunked.type.value_type) if pa.types.is_dictionary(chunked.type) else chunked


def _check_buckets(bucket: npt.NDArray[np.integer], buckets: int) -> None:
    if len(bucket) and (int(bucket.min()) < 0 or int(bucket.max()) >= buckets):
        wrong = int(bucket.min()) if int(bucket.min()) < 0 else int(bucket.max())
        raise InputError(
            f"a row of bucket {wrong}, and the view has buckets 0 to {buckets - 1}",
            hint="the number of buckets of a view cannot change under rows that were written with another",
        )
