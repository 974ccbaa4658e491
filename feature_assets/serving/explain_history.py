"""The rows of one entity in the durable history of a view version, and what is known of each at an instant.

Invariant: whether a row was visible is said by the same timeline that training sets are made with. Days are read from
the newest back, of the entity's bucket alone, and no further than is needed or allowed.
It judges neither windows nor winners, and reads no store.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import OPEN, from_us
from feature_assets.compute.keys import buckets_of, encoded_keys
from feature_assets.definition.view import FeatureView
from feature_assets.offline.availability import DAY_US
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.versions import Version, newest
from feature_assets.online.matching import matched
from feature_assets.serving.explanation import Limits
from feature_assets.training.history import History, Told, ViewPin, ViewState, pinned, state
from feature_assets.training.point_in_time import integers, micros

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_FIRST_LOOK: Final = 8
"""Days that are read at once, at first; then twice as many each time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A view version in the durable history: its state as pinned, and all that was ever committed of it."""

    state: ViewState
    told: Told
    ledger: Sequence[LedgerRow]

    @classmethod
    def of(cls, view: FeatureView, version: str, history: History, position: int) -> "Kept":
        """Raises `InputError` if nothing of the version is there to be read, `OfflineError` if it cannot be."""
        pin = pinned(view, version, history, position=position, ttl=view.ttl)
        ledger = history.ledger.rows(view=view.name, version=version, target=history.target, upto=position)
        found = state(view, _with_buckets(pin, ledger), history, position=position)
        return cls(found, history.told(view, version), ledger)

    def bucket(self, key: pa.Table) -> int:
        """The bucket of an entity."""
        return int(buckets_of(encoded_keys(key, self.state.view.entity.key_names), self.state.pin.buckets)[0])

    def visible_versions(self, bucket: int, as_of: int) -> dict[str, int]:
        """The last version of each day that had become available in a bucket by an instant."""
        available = self.state.timeline.available_at[self.state.place, bucket] <= as_of
        return newest([version for version, there in zip(self.state.versions, available, strict=True) if there])

    def newest(self, n: int) -> dict[str, int]:
        """The version of each day that is in the state at commit `n`."""
        return newest(_pairs(self.told), upto=n, excluded=self.told.failed)

    def published_through(self, as_of: int) -> int | None:
        """The end of the newest day that every bucket was acknowledged to have (microseconds); None: there is none."""
        acked = dict.fromkeys(range(self.state.pin.buckets), 0)
        for row in self.ledger:
            if row.kind == "ack" and row.bucket in acked and row.acked_at is not None and row.acked_at <= as_of:
                acked[row.bucket] = max(acked[row.bucket], row.commit_seq or 0)
        days = self.newest(min(acked.values()))
        return _start_of(max(days)) + DAY_US if days else None


def _with_buckets(pin: ViewPin, rows: Sequence[LedgerRow]) -> ViewPin:
    """With as many buckets as the version was pushed in: another one than the code's may have had others."""
    seen = max((row.bucket for row in rows if row.bucket is not None), default=-1) + 1
    return msgspec.structs.replace(pin, buckets=seen) if seen else pin


@dataclass(frozen=True)
class EntityRows:
    """Rows of one entity. Instants in microseconds, `OPEN` for never; everything has one entry per row.

    `passed`, `judged`: of the version of its day that a row is of; `replaced`: it never was available, a later one was.
    `since`: the first day looked at, None if there was none to look at; `complete`: whether nothing that was left out
    could be needed.
    """

    table: pa.Table
    versions: tuple[Version, ...]
    event_at: Ints
    arrived_at: Ints
    sequence: Ints
    available_at: Ints
    superseded_at: Ints
    sent_at: Ints
    provenance: npt.NDArray[np.int8]
    passed: Bools
    judged: Bools
    replaced: Bools
    since: str | None
    complete: bool

    def __len__(self) -> int:
        return len(self.versions)

    def visible(self, as_of: int) -> Bools:
        """Which the ledger says were visible."""
        mask: Bools = (self.available_at <= as_of) & (as_of < self.superseded_at)
        return mask

    def of_state(self, counts: dict[str, int]) -> Bools:
        """Which are in a state: of the version of their day that it has."""
        return np.array([counts.get(partition) == seq for partition, seq in self.versions], np.bool_)

    @cached_property
    def newest_first(self) -> Ints:
        """The places of the rows by (event_at, sequence, partition, commit), descending."""
        names = {name: number for number, name in enumerate(sorted({name for name, _ in self.versions}))}
        partition = np.array([names[name] for name, _ in self.versions], np.int64)
        commit = np.array([seq for _, seq in self.versions], np.int64)
        return np.lexsort((commit, partition, self.sequence, self.event_at))[::-1]


Enough = Callable[[EntityRows], bool]
"""Whether nothing further back is needed, asked after each look."""


def rows_of(
    kept: Kept,
    key: pa.Table,
    columns: Sequence[str],
    limits: Limits,
    *,
    since: int | None = None,
    enough: Enough = lambda _: False,
) -> EntityRows:
    """The rows of the entity `key` (one row of key columns), with `columns`; of its view's version.

    `since`: no row that happened earlier is needed (microseconds); None: any may be.
    """
    names = sorted({partition for partition, _ in _pairs(kept.told)})
    wanted = names if since is None else [name for name in names if name >= _day_before(since)]
    allowed = wanted[max(0, len(wanted) - limits.partitions) :]
    end, span = len(allowed), _FIRST_LOOK
    look = _Look(kept, key, tuple(columns), since)
    found = look.resolved(allowed[-1] if allowed else None, complete=len(allowed) == len(wanted))
    while end > 0:
        start = max(0, end - span)
        look.at(frozenset(allowed[start:end]))
        found = look.resolved(allowed[start], complete=start == 0 and len(allowed) == len(wanted))
        if enough(found):
            return look.resolved(allowed[start], complete=True)
        if len(found) > limits.rows:
            return found
        end, span = start, span * 2
    return found


class _Look:
    """What was read so far."""

    def __init__(self, kept: Kept, key: pa.Table, columns: tuple[str, ...], since: int | None) -> None:
        self._kept, self._key = kept, key
        self._columns = tuple(dict.fromkeys((*key.column_names, "event_at", "sequence", "arrived_at", *columns)))
        self._since = None if since is None else from_us(since)
        self._tables: list[pa.Table] = []
        self._versions: list[Version] = []

    def at(self, partitions: Collection[str]) -> None:
        """Look at all versions of some days."""
        versions = sorted(version for version in _pairs(self._kept.told) if version[0] in partitions)
        table, number = self._kept.state.table.read_numbered(
            versions,
            columns=self._columns,
            buckets=[self._kept.bucket(self._key)],
            event_range=None if self._since is None else (self._since, None),
        )
        # The rows' places, to know afterwards which versions those are of that are the entity's.
        placed = table.append_column(_PLACE, pa.array(number))
        mine, _ = matched(placed, self._key, self._key.column_names)
        self._versions += [versions[place] for place in mine.column(_PLACE).to_pylist()]
        self._tables.append(mine.drop_columns([_PLACE]))

    def resolved(self, since: str | None, *, complete: bool) -> EntityRows:
        """The rows, with when each was visible."""
        state, told = self._kept.state, self._kept.told
        counted = frozenset(state.versions)
        table = pa.concat_tables(self._tables) if self._tables else _empty(self._key, self._columns)
        rows = len(self._versions)
        arrived_at = micros(table.column("arrived_at")) if rows else np.empty(0, np.int64)
        times = {name: np.full(rows, OPEN) for name in ("available_at", "superseded_at", "sent_at")}
        provenance = np.zeros(rows, np.int8)
        known = np.flatnonzero([version in counted for version in self._versions])
        if len(known):
            mine = [self._versions[row] for row in known]
            distinct = sorted(set(mine))
            number = dict(zip(distinct, state.places(distinct).tolist(), strict=True))
            place = np.array([number[version] for version in mine], np.int64)
            bucket = np.full(len(known), self._kept.bucket(self._key))
            resolved = state.timeline.resolve(place, bucket, arrived_at[known])
            for name, found in times.items():
                found[known] = getattr(resolved, name)
            provenance[known] = resolved.provenance
        failed = told.failed
        return EntityRows(
            table,
            tuple(self._versions),
            micros(table.column("event_at")) if rows else np.empty(0, np.int64),
            arrived_at,
            integers(table.column("sequence")) if rows else np.empty(0, np.int64),
            **times,
            provenance=provenance,
            passed=np.array([version not in failed for version in self._versions], np.bool_),
            judged=np.array([version in failed or version in counted for version in self._versions], np.bool_),
            replaced=self._replaced(times["available_at"]),
            since=since,
            complete=complete,
        )

    def _replaced(self, available_at: Ints) -> Bools:
        last = self._kept.visible_versions(self._kept.bucket(self._key), OPEN - 1)
        later = np.array([last.get(partition, 0) > seq for partition, seq in self._versions], np.bool_)
        never: Bools = later & (available_at == OPEN)
        return never


_PLACE: Final = "\0place"
"""A name that no column can have: names are identifiers."""


def _empty(key: pa.Table, columns: Sequence[str]) -> pa.Table:
    return pa.table({name: key.column(name).slice(0, 0) if name in key.column_names else [] for name in columns})


def _pairs(told: Told) -> list[Version]:
    columns = (told.committed.column(name).to_pylist() for name in ("partition", "commit_seq"))
    return list(zip(*columns, strict=True))


def _start_of(partition: str) -> int:
    """The start of a day, in microseconds."""
    return int(np.datetime64(partition, "us").astype(np.int64))


def _day_before(us: int) -> str:
    """The first day whose rows may have happened at an instant or later: one may be at the very end of its day."""
    return str(np.datetime64(us, "us").astype("datetime64[D]") - np.timedelta64(1, "D"))
