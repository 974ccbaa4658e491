"""Versions of a record that say the same, one after the other: they are taken for one that was there all the time.

Invariant: at every instant the records that can be seen are the same before and after, value by value. Two are joined
only where the one ends at the very instant at which the other begins, and key, event time, sequence and all columns
are equal, bit by bit; of records that are equal in all, each has one that follows it.

A day that is computed again supersedes all of its records, also those that it says again. Most are of that kind, and
joined they are never superseded: what remains out of order is what was really corrected.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.compute.aggregates.slot import Ints, Records

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 by the golden ratio: what it multiplies is spread over all bits."""
_SHIFT = np.uint64(29)
_FEW = 1024
Hashes = npt.NDArray[np.uint64]


def joined(records: Records, key: Ints, available_at: Ints, superseded_at: Ints) -> tuple[Ints, Ints] | None:
    """The rows that remain, ascending, and until when each can be seen; None if all of them do, as they are.

    Microseconds; `OPEN` for what is never superseded.
    """
    if not superseded_at.strides[0] or len(superseded_at) < 2:  # noqa: PLR2004 - one row has no other
        return None
    ended = np.flatnonzero((superseded_at < OPEN) & (available_at < superseded_at))
    if not len(ended):
        return None
    begun = np.flatnonzero(_is_one_of(available_at, superseded_at[ended]) & (available_at < superseded_at))
    if not len(begun):
        return None
    either = np.zeros(len(key), np.bool_)
    either[ended] = True
    either[begun] = True
    content = _content(records, key, np.flatnonzero(either))
    place = np.cumsum(either) - 1
    one, other = place[ended], place[begun]
    ends, begins = superseded_at[ended], available_at[begun]
    hashes = _hash(content)
    mine, next_one = _pairs(_mixed(hashes[one], ends), _mixed(hashes[other], begins))
    same = ends[mine] == begins[next_one]
    for column in content:
        same &= column[one[mine]] == column[other[next_one]]
    mine, next_one = ended[mine[same]], begun[next_one[same]]
    if not len(mine):
        return None
    return _chains(mine, next_one, superseded_at)


def _chains(mine: Ints, next_one: Ints, superseded_at: Ints) -> tuple[Ints, Ints]:
    """The first row of each chain, and the end of its last: from each row to the one that follows it."""
    last = np.arange(len(superseded_at))
    last[mine] = next_one
    # Twice as far at each step; time goes on along a chain, so that it has an end.
    further = last[last]
    while (further != last).any():
        last, further = further, further[further]
    remains = np.ones(len(last), np.bool_)
    remains[next_one] = False
    rows = np.flatnonzero(remains)
    return rows, superseded_at[last[rows]]


def _is_one_of(times: Ints, some: Ints) -> npt.NDArray[np.bool_]:
    """Whether each time is one of some, of which few are different: that of a commit's records is one."""
    distinct = np.sort(some)
    distinct = distinct[np.append(True, distinct[1:] != distinct[:-1])]
    if len(distinct) < _FEW:
        found: npt.NDArray[np.bool_] = np.isin(times, distinct)
        return found
    place = np.minimum(np.searchsorted(distinct, times), len(distinct) - 1)
    is_one: npt.NDArray[np.bool_] = distinct[place] == times
    return is_one


def _content(records: Records, key: Ints, rows: Ints) -> list[Ints]:
    """Some rows as columns of integers, of which all are equal exactly where rows say the same."""
    chosen = pa.array(rows)
    columns = [_integers(column.take(chosen)) for column in records.columns.values()]
    return [key[rows], records.event_at[rows], records.sequence[rows], *columns]


def _integers(column: pa.Array) -> Ints:
    """A number for each value: equal ones are equal bit by bit, and so are nulls."""
    plain = column
    if pa.types.is_floating(plain.type):
        wide = plain.type == pa.float64()
        bits = np.asarray(plain.fill_null(0.0)).view(np.int64 if wide else np.int32).astype(np.int64)
        plain = pa.array(bits, mask=np.asarray(plain.is_null()))
    encoded = plain if pa.types.is_dictionary(plain.type) else plain.dictionary_encode(null_encoding="encode")
    codes: Ints = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    return codes


def _hash(columns: list[Ints]) -> Hashes:
    found = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        found = _mixed(found, column)
    return found


def _mixed(hashes: Hashes, column: Ints) -> Hashes:
    found = (hashes ^ column.view(np.uint64)) * _ODD
    return found ^ found >> _SHIFT


def _pairs(one: Hashes, other: Hashes) -> tuple[Ints, Ints]:
    """Places in both that have the same hash: of equal ones the first with the first, the second with the second."""
    by_one, by_other = np.argsort(one, kind="stable"), np.argsort(other, kind="stable")
    one, other = one[by_one], other[by_other]
    fresh = np.append(True, one[1:] != one[:-1])
    index = np.arange(len(one))
    rank = index - np.maximum.accumulate(np.where(fresh, index, 0))
    place = np.searchsorted(other, one) + rank
    inside = np.flatnonzero(place < len(other))
    inside = inside[other[place[inside]] == one[inside]]
    return by_one[inside], by_other[place[inside]]
