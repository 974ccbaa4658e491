"""What a training set is read from: the durable history of its views, pinned.

Invariant: a pin (version, commit_seq, and with it the ledger's position) reads the same rows with the same availability
for ever: at or below a settled commit every verdict is known, and nothing that is appended later changes what is there.
It reads partition versions, verdicts and ledger rows; the feature rows themselves are read a part at a time elsewhere.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError
from feature_assets.offline.availability import Timeline, timeline
from feature_assets.offline.ledger import Ledger, LedgerRow, previous_version
from feature_assets.offline.source_positions import is_comparable
from feature_assets.offline.verdicts import settled_head
from feature_assets.offline.versions import Version, newest

Ints = npt.NDArray[np.int64]


class FeatureRows(Protocol):
    """What the loader reads of the table of a view version."""

    def partition_versions(self, upto: int | None = None) -> pa.Table:
        """Every version ever committed: `partition`, `commit_seq`, `source_seq`, `rows`; by (commit_seq, partition)."""

    def counted_in(self) -> str | None:
        """What the source positions of its versions are positions in; None if the table does not say."""

    def read_numbered(
        self,
        versions: Collection[Version],
        *,
        columns: tuple[str, ...],
        buckets: Collection[int] | None = None,
        event_range: tuple[datetime | None, datetime | None] | None = None,
        ordered: bool = True,
    ) -> tuple[pa.Table, Ints]:
        """The rows of those versions, and for each the place of its version in `sorted(versions)`."""


class KnownVerdicts(Protocol):
    """What the loader reads of the verdicts."""

    def of(self, view: str, version: str) -> pa.Table:
        """Every verdict: `partition`, `commit_seq`, `passed`."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a view's version: its partition versions, and which of them failed."""

    committed: pa.Table
    verdicts: pa.Table

    @property
    def settled(self) -> int:
        """The greatest commit at or below which every verdict is known."""
        return settled_head(self.committed, self.verdicts)

    @property
    def failed(self) -> frozenset[Version]:
        """The versions that failed."""
        return frozenset(_pairs(self.verdicts.filter(pc.invert(self.verdicts.column("passed")))))

    def upto(self, commit_seq: int) -> pa.Table:
        """The partition versions up to a commit."""
        return self.committed.filter(pc.less_equal(self.committed.column("commit_seq"), commit_seq))


@dataclass(frozen=True, slots=True)
class History:
    """Where the durable history is: the table of a view's version, the verdicts, and the ledger of one target store.

    Made for one training set: what it was told of a version it remembers.
    """

    table: Callable[[FeatureView, str], FeatureRows]
    verdicts: KnownVerdicts
    ledger: Ledger
    target: str
    _told: dict[tuple[str, str], Told] = field(default_factory=dict, repr=False)

    def told(self, view: FeatureView, version: str) -> Told:
        """What is known of a version; asked for once, as each asking opens two tables."""
        known = self._told.get((view.name, version))
        if known is None:
            committed = self.table(view, version).partition_versions()
            known = self._told[view.name, version] = Told(committed, self.verdicts.of(view.name, version))
        return known


class VersionPin(msgspec.Struct, frozen=True):
    """A version that served before: how far its history is looked at, and into how many buckets it was divided."""

    version: str
    commit_seq: int
    buckets: int


class ViewPin(msgspec.Struct, frozen=True, kw_only=True):
    """What the values taken from one view depend on.

    `delay` and `ttl` are those that were used: the view's, or the caller's override. `previous`: the versions that
    served before on the target, the latest first, and are comparable; from them availability is inherited.
    """

    view: str
    version: str
    commit_seq: int
    buckets: int
    delay: timedelta
    ttl: timedelta | None
    previous: tuple[VersionPin, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewState:
    """The pinned state of one view.

    `versions`: (partition, commit_seq) that passed, sorted. `rows`: how many rows each has. `timeline`: when each was
    visible, by the ledger; `place` leads from `versions` to the timeline's own numbering.
    """

    view: FeatureView
    pin: ViewPin
    table: FeatureRows
    versions: tuple[Version, ...]
    rows: Ints
    timeline: Timeline
    place: Ints

    def newest(self) -> tuple[Version, ...]:
        """Of each partition the version that counts in the state at the pinned commit, sorted."""
        return tuple(sorted(newest(self.versions).items()))

    def ever_visible(self) -> tuple[Version, ...]:
        """The versions that the ledger says were visible to somebody at some time, sorted."""
        seen = np.any(self.timeline.available_at < self.timeline.superseded_at, axis=1).tolist()
        places = self.place.tolist()
        return tuple(version for version, place in zip(self.versions, places, strict=True) if seen[place])

    def places(self, versions: Collection[Version]) -> Ints:
        """Those versions' numbers in the timeline, in the order of `sorted(versions)`."""
        of = dict(zip(self.versions, self.place.tolist(), strict=True))
        return np.array([of[version] for version in sorted(versions)], np.int64)

    def rows_of(self, versions: Collection[Version]) -> dict[str, int]:
        """How many rows those versions have, by partition."""
        wanted = set(versions)
        counts: dict[str, int] = {}
        for version, rows in zip(self.versions, self.rows.tolist(), strict=True):
            if version in wanted:
                counts[version[0]] = counts.get(version[0], 0) + rows
        return counts


def pinned(view: FeatureView, version: str, history: History, *, position: int, ttl: timedelta | None) -> ViewPin:
    """The pin of a view as it is now: the greatest commit at which every verdict is known.

    `position`: the ledger's, taken before this is called, so that whatever it acknowledges is already committed. Raises
    `InputError` if nothing of the view is there to be read.
    """
    told = history.told(view, version)
    upto = told.settled
    if not upto:
        what = "no verdict on its first commit yet" if told.committed.num_rows else "not been materialized"
        raise InputError(
            f"view {view.name!r} (version {version}) has {what}, so it has no values to train on",
            hint=f"materialize it: feature-assets materialize --view {view.name}",
        )
    rows = history.ledger.rows(view=view.name, target=history.target, upto=position)
    return ViewPin(
        view=view.name,
        version=version,
        commit_seq=upto,
        buckets=view.buckets,
        delay=view.delay,
        ttl=ttl,
        previous=_previous(view, version, rows, history),
    )


def _previous(view: FeatureView, version: str, rows: Sequence[LedgerRow], history: History) -> tuple[VersionPin, ...]:
    """The versions that served before, the latest first, as far back as they can be inherited from."""
    chain: list[VersionPin] = []
    after, before = version, previous_version(rows, version)
    while before is not None and is_comparable(history.table(view, after), history.table(view, before)):
        upto = history.told(view, before).settled
        buckets = [row.bucket for row in rows if row.version == before and row.bucket is not None]
        chain.append(VersionPin(before, upto, max(buckets, default=view.buckets - 1) + 1))
        after, before = before, previous_version(rows, before)
    return tuple(chain)


def state(view: FeatureView, pin: ViewPin, history: History, *, position: int) -> ViewState:
    """The state of a view at its pin, with the ledger up to `position`."""
    ledger_rows = history.ledger.rows(view=view.name, target=history.target, upto=position)
    before: Timeline | None = None
    for older in reversed(pin.previous):
        before = _timeline(
            view, older.version, older.commit_seq, older.buckets, pin.delay, history, ledger_rows, before
        )
    line = _timeline(view, pin.version, pin.commit_seq, pin.buckets, pin.delay, history, ledger_rows, before)
    told = history.told(view, pin.version)
    committed, failed = told.upto(pin.commit_seq), told.failed
    sizes = zip(_pairs(committed), committed.column("rows").to_pylist(), strict=True)
    counted = {version: rows for version, rows in sizes if version not in failed}
    versions = tuple(sorted(counted))
    place = line.versions.find(
        pa.chunked_array([pa.array([partition for partition, _ in versions], pa.string())]),
        np.array([commit_seq for _, commit_seq in versions], np.int64),
    )
    rows = np.array([counted[version] for version in versions], np.int64)
    return ViewState(view, pin, history.table(view, pin.version), versions, rows, line, place)


def _timeline(
    view: FeatureView,
    version: str,
    upto: int,
    buckets: int,
    delay: timedelta,
    history: History,
    ledger_rows: Sequence[LedgerRow],
    previous: Timeline | None,
) -> Timeline:
    told = history.told(view, version)
    mine = [row for row in ledger_rows if row.version == version]
    return timeline(mine, told.upto(upto), buckets=buckets, delay=delay, excluded=told.failed, previous=previous)


def _pairs(rows: pa.Table) -> list[Version]:
    return list(zip(rows.column("partition").to_pylist(), rows.column("commit_seq").to_pylist(), strict=True))
