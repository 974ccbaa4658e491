"""Which files and rows a reader of some versions needs: coarsely by file and row group, then exactly by row.

Invariant: what is skipped holds no wanted row, and what is selected is exactly the rows of the wanted versions.
Pure: it reads nothing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as pds

from feature_assets.clock import to_us
from feature_assets.offline.files import FileInfo
from feature_assets.offline.versions import Version

Ints = npt.NDArray[np.int64]
EventRange = tuple[datetime | None, datetime | None]
MARKER_ROW = -1
"""The `row`, and the `bucket`, of the one row that stands for an empty version."""
_LISTED_PARTITIONS = 64
"""Up to so many partitions are looked for by name; more, by their range."""


class Chosen:
    """A set of versions, as a reader of files and rows needs it."""

    def __init__(self, versions: Collection[Version]) -> None:
        self.versions = sorted(versions)
        self.partitions = sorted({partition for partition, _ in self.versions})
        self.seqs = np.array(sorted({seq for _, seq in self.versions}), dtype=np.int64)
        self._rank = {partition: rank for rank, partition in enumerate(self.partitions)}
        ranks = np.array([self._rank[partition] for partition, _ in self.versions], dtype=np.int64)
        seqs = np.searchsorted(self.seqs, np.array([seq for _, seq in self.versions], dtype=np.int64))
        self._known = np.sort(ranks * max(len(self.seqs), 1) + seqs)
        self._set = set(self.versions)

    def may_be_in(self, file: FileInfo) -> bool:
        """Whether the file can have rows of a chosen version."""
        if not self.versions:
            return False
        partition, seq = file.constant("partition"), file.constant("commit_seq")
        if isinstance(partition, str) and isinstance(seq, int):
            return (partition, seq) in self._set
        return file.may_hold("partition", self.partitions[0], self.partitions[-1]) and file.may_hold(
            "commit_seq", int(self.seqs[0]), int(self.seqs[-1])
        )

    def covers(self, file: FileInfo) -> bool:
        """Whether nothing in the file lies beyond the chosen commits, nor on a day that is not chosen."""
        least, greatest = file.bounds.get("partition", (None, None))
        _, last = file.bounds.get("commit_seq", (None, None))
        if not (isinstance(least, str) and isinstance(greatest, str) and isinstance(last, int)):
            return False
        days = (date.fromisoformat(greatest) - date.fromisoformat(least)).days + 1
        chosen = bisect_right(self.partitions, greatest) - bisect_left(self.partitions, least)
        return chosen == days and last <= int(self.seqs[-1])

    def places(self, partition: pa.ChunkedArray, seq: Ints) -> Ints:
        """For each row the place of its version in (partition, commit_seq) order, or -1 if it is not chosen."""
        whole = partition.unify_dictionaries().combine_chunks()
        code = whole.indices.to_numpy(zero_copy_only=False)
        # Rows of a version lie together, so that each run of them is looked up once.
        first = np.flatnonzero(np.append(True, (code[1:] != code[:-1]) | (seq[1:] != seq[:-1])))
        found = self._places(whole.dictionary.to_pylist(), code[first], seq[first])
        return np.repeat(found, np.diff(np.append(first, len(code))))

    def _places(self, partitions: Sequence[str], code: Ints, seq: Ints) -> Ints:
        ranks = np.array([self._rank.get(text, -1) for text in partitions], dtype=np.int64)
        rank = ranks[code]
        at = np.searchsorted(self.seqs, seq)
        np.minimum(at, len(self.seqs) - 1, out=at)
        code = rank * len(self.seqs) + at
        place = np.searchsorted(self._known, code)
        np.minimum(place, len(self._known) - 1, out=place)
        hit = (rank >= 0) & (self.seqs[at] == seq) & (self._known[place] == code)
        return np.where(hit, place, -1)


def selected(rows: pa.Table, commit_seq: Ints, chosen: Chosen, marked: str) -> tuple[pa.Table, Ints]:
    """The rows of chosen versions that are no markers, and for each the place of its version."""
    if rows.num_rows == 0 or not chosen.versions:
        return rows.slice(0, 0), np.empty(0, np.int64)
    place = chosen.places(rows.column("partition"), commit_seq)
    keep = (place >= 0) & (rows.column(marked).to_numpy() != MARKER_ROW)
    return (rows, place) if keep.all() else (rows.filter(pa.array(keep)), place[keep])


def bounds_of(event_range: EventRange | None) -> tuple[int | None, int | None]:
    """The range in microseconds."""
    low, high = event_range or (None, None)
    return (None if low is None else to_us(low)), (None if high is None else to_us(high))


def expression(
    chosen: Chosen,
    kept: Sequence[FileInfo],
    buckets: Collection[int] | None,
    event_at: str,
    event_range: EventRange | None,
) -> pds.Expression | None:
    """What row groups are skipped by. Exact for buckets and the range; versions are exact only afterwards."""
    terms = []
    # A term that holds for every row of every file costs as much as reading the rows, and skips nothing.
    if len(chosen.seqs) and not all(chosen.covers(file) for file in kept):
        terms.append(pds.field("commit_seq") <= int(chosen.seqs[-1]))
        terms.append(_partition_expression(chosen.partitions))
    if buckets is not None and not all(_has_only(file, buckets) for file in kept):
        wanted = sorted(buckets)
        field = pds.field("bucket")
        terms.append(field == wanted[0] if len(wanted) == 1 else field.isin(pa.array(wanted, pa.int32())))
    low, high = event_range or (None, None)
    time = pa.timestamp("us", tz="UTC")
    if low is not None:
        terms.append(pds.field(event_at) >= pa.scalar(low, time))
    if high is not None:
        terms.append(pds.field(event_at) <= pa.scalar(high, time))
    whole: pds.Expression | None = None
    for term in terms:
        whole = term if whole is None else whole & term
    return whole


def _has_only(file: FileInfo, buckets: Collection[int]) -> bool:
    """Whether every row of the file is in one of the buckets, or a marker, which is left out afterwards."""
    least, greatest = file.bounds.get("bucket", (None, None))
    if not (isinstance(least, int) and isinstance(greatest, int)):
        return False
    return all(bucket in buckets for bucket in range(max(least, 0), greatest + 1))


def _partition_expression(partitions: Sequence[str]) -> pds.Expression:
    field = pds.field("partition")
    if len(partitions) <= _LISTED_PARTITIONS:
        return field.isin(pa.array(partitions, pa.string()))
    return (field >= partitions[0]) & (field <= partitions[-1])
